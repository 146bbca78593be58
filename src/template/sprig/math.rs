//! Integers and floats.

use super::super::exec::Engine;
use super::super::functions::{Args, Outcome, Row, table};
use super::super::number::{parse_float, parse_integer, signed};
use super::super::value::{Element, List, Value};
use super::{text, text_of};

pub const ROWS: &[Row] = table! {
    "add" (; Any) => |_, a| Ok(Value::Int64(a.0.iter().map(integer).fold(0, i64::wrapping_add))),
    "add1" (Any) => |_, a| Ok(Value::Int64(integer(a.any(0)).wrapping_add(1))),
    "sub" (Any, Any) => |_, a| Ok(Value::Int64(integer(a.any(0)).wrapping_sub(integer(a.any(1))))),
    "mul" (Any; Any) => |_, a| Ok(Value::Int64(a.0.iter().map(integer).fold(1, i64::wrapping_mul))),
    "div" (Any, Any) => |_, a| divided(a, i64::wrapping_div),
    "mod" (Any, Any) => |_, a| divided(a, i64::wrapping_rem),
    "max" (Any; Any) => |_, a| Ok(Value::Int64(a.0.iter().map(integer).max().unwrap_or_default())),
    "biggest" (Any; Any) => |_, a| Ok(Value::Int64(a.0.iter().map(integer).max().unwrap_or_default())),
    "min" (Any; Any) => |_, a| Ok(Value::Int64(a.0.iter().map(integer).min().unwrap_or_default())),
    "maxf" (Any; Any) => |_, a| Ok(Value::Float(a.0.iter().map(float).fold(f64::NEG_INFINITY, f64::max))),
    "minf" (Any; Any) => |_, a| Ok(Value::Float(a.0.iter().map(float).fold(f64::INFINITY, f64::min))),
    "ceil" (Any) => |_, a| Ok(Value::Float(float(a.any(0)).ceil())),
    "floor" (Any) => |_, a| Ok(Value::Float(float(a.any(0)).floor())),
    "round" (Any, Int; Float) => round,
    "addf" (; Any) => |_, a| Ok(Value::Float(a.0.iter().map(float).fold(0.0, |sum, x| decimal(sum, x, Operation::Add)))),
    "add1f" (Any) => |_, a| Ok(Value::Float(decimal(float(a.any(0)), 1.0, Operation::Add))),
    "subf" (Any; Any) => |_, a| Ok(folded(a, Operation::Subtract)),
    "mulf" (Any; Any) => |_, a| Ok(folded(a, Operation::Multiply)),
    "divf" (Any; Any) => divided_floats,
    "int" (Any) => |_, a| Ok(Value::Int(integer(a.any(0)))),
    "int64" (Any) => |_, a| Ok(Value::Int64(integer(a.any(0)))),
    "float64" (Any) => |_, a| Ok(Value::Float(float(a.any(0)))),
    "atoi" (Str) => |_, a| Ok(Value::Int(a.str(0).parse().unwrap_or_default())),
    "toDecimal" (Any) => |engine, a| Ok(Value::Int64(i64::from_str_radix(&text_of(engine, a.any(0))?, 8).unwrap_or_default())),
    "until" (Int) => |engine, a| steps(engine, 0, a.int(0), if a.int(0) < 0 { -1 } else { 1 }),
    "untilStep" (Int, Int, Int) => |engine, a| steps(engine, a.int(0), a.int(1), a.int(2)),
    "seq" (; Int) => seq,
};

/// Any value as an integer: floats are cut, texts read with their base prefix, what cannot be read is 0.
pub fn integer(value: &Value) -> i64 {
    match value {
        Value::Bool(value) => i64::from(*value),
        Value::Int(value) | Value::Int64(value) => *value,
        Value::Uint(value) => *value as i64,
        Value::Float(value) => *value as i64,
        Value::Str(text) => {
            let whole = match text.split_once('.') {
                Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
                _ => text,
            };
            parse_integer(whole).and_then(|(negative, magnitude)| signed(negative, magnitude)).unwrap_or_default()
        }
        _ => 0,
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Int(value) | Value::Int64(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Str(text) => parse_float(text).unwrap_or_default(),
        _ => 0.0,
    }
}

fn divided(args: Args<'_>, divide: fn(i64, i64) -> i64) -> Outcome {
    let divisor = integer(args.any(1));
    if divisor == 0 {
        return Err("runtime error: integer divide by zero".into());
    }
    Ok(Value::Int64(divide(integer(args.any(0)), divisor)))
}

/// Half up from `.5`, or from the fraction given.
fn round(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let threshold = match args.any(2) {
        Value::Float(threshold) => *threshold,
        _ => 0.5,
    };
    let value = float(args.any(0));
    let scale = 10f64.powi(i32::try_from(args.int(1)).unwrap_or_default());
    let scaled = scale * value;
    let (whole, fraction) = (scaled.trunc(), scaled.fract());
    let rounded = match value < 0.0 {
        true if fraction <= -threshold => scaled.floor(),
        true => scaled.ceil(),
        false if fraction >= threshold => scaled.ceil(),
        false => whole,
    };
    Ok(Value::Float(rounded / scale))
}

/// The integers from `start` towards `stop`, which is not among them.
fn steps(engine: &Engine<'_>, start: i64, stop: i64, step: i64) -> Outcome {
    let distance = i128::from(stop) - i128::from(start);
    let step = i128::from(step);
    if distance == 0 || step == 0 || (distance < 0) != (step < 0) {
        return Ok(Value::List(List::new(Element::Int, Vec::new())));
    }
    let count = distance.unsigned_abs().div_ceil(step.unsigned_abs());
    engine.budget.elements(usize::try_from(count).unwrap_or(usize::MAX))?;
    let items = (0..count as i128).map(|index| Value::Int((i128::from(start) + index * step) as i64));
    Ok(Value::List(List::new(Element::Int, items.collect())))
}

/// As the command of that name: one to three bounds, the step in the middle, the end included.
fn seq(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let (start, end, step) = match args.len() {
        1 => (1, args.int(0), None),
        2 => (args.int(0), args.int(1), None),
        3 => (args.int(0), args.int(2), Some(args.int(1))),
        _ => return text(""),
    };
    let direction = if end < start { -1 } else { 1 };
    if direction < 0 && step.is_some_and(|step| step > 0) {
        return text("");
    }
    let list = steps(engine, start, end.saturating_add(direction), step.unwrap_or(direction))?;
    let printed = text_of(engine, &list)?;
    text(printed.trim_matches(['[', ']']))
}

#[derive(Clone, Copy)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

fn folded(args: Args<'_>, operation: Operation) -> Value {
    let mut floats = args.0.iter().map(float);
    let first = floats.next().unwrap_or_default();
    Value::Float(floats.fold(first, |value, operand| decimal(value, operand, operation)))
}

fn divided_floats(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    if args.rest(1).iter().any(|value| float(value) == 0.0) {
        return Err("decimal division by 0".into());
    }
    Ok(folded(args, Operation::Divide))
}

/// Decimal arithmetic, so that 0.1 + 0.2 is 0.3; beyond 38 digits that of floats.
fn decimal(a: f64, b: f64, operation: Operation) -> f64 {
    exact(a, b, operation).unwrap_or(match operation {
        Operation::Add => a + b,
        Operation::Subtract => a - b,
        Operation::Multiply => a * b,
        Operation::Divide => a / b,
    })
}

fn exact(a: f64, b: f64, operation: Operation) -> Option<f64> {
    const DIVISION_DIGITS: u32 = 16;
    let ((a, a_scale), (b, b_scale)) = (digits(a)?, digits(b)?);
    let scale = a_scale.max(b_scale);
    let align = |value: i128, from: u32| value.checked_mul(10i128.checked_pow(scale - from)?);
    let (value, scale) = match operation {
        Operation::Add => (align(a, a_scale)?.checked_add(align(b, b_scale)?)?, scale),
        Operation::Subtract => (align(a, a_scale)?.checked_sub(align(b, b_scale)?)?, scale),
        Operation::Multiply => (a.checked_mul(b)?, a_scale + b_scale),
        Operation::Divide => {
            let dividend = align(a, a_scale)?.checked_mul(10i128.checked_pow(DIVISION_DIGITS)?)?;
            let divisor = align(b, b_scale)?;
            let quotient = dividend.checked_div(divisor)?;
            let remainder = dividend.checked_rem(divisor)?.unsigned_abs();
            let up = remainder.checked_mul(2)? >= divisor.unsigned_abs();
            let sign = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
            (if up { quotient + sign } else { quotient }, DIVISION_DIGITS)
        }
    };
    format!("{value}e-{scale}").parse().ok()
}

/// The shortest decimal form of a float: digits and how many of them stand behind the point.
fn digits(value: f64) -> Option<(i128, u32)> {
    if !value.is_finite() {
        return None;
    }
    let text = value.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    Some((format!("{whole}{fraction}").parse().ok()?, u32::try_from(fraction.len()).ok()?))
}
