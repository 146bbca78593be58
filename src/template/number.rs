//! Numbers as Go writes and reads them.

use super::ast::Number;
use super::quote::quote;

/// A number constant of a template.
pub fn constant(text: &str) -> Result<Number, String> {
    let looks_float = text.contains(['.', 'e', 'E', 'p', 'P']) && !is_hex_int(text);
    let mut number = Number { looks_float, ..Number::default() };
    match parse_integer(text) {
        Some((negative, magnitude)) => {
            number.int = signed(negative, magnitude);
            number.uint = (!negative || magnitude == 0).then_some(magnitude);
            number.float = number.int.map(|value| value as f64).or(number.uint.map(|value| value as f64));
        }
        None => {
            let Some(float) = parse_float(text) else { return Err(illegal(text)) };
            if !text.contains(['.', 'e', 'E', 'p', 'P']) {
                return Err(format!("integer overflow: {}", quote(text)));
            }
            number.float = Some(float);
            number.int = (float.fract() == 0.0 && float.abs() < 9.2e18).then_some(float as i64);
            number.uint = (float.fract() == 0.0 && (0.0..1.8e19).contains(&float)).then_some(float as u64);
        }
    }
    if number.int.is_none() && number.uint.is_none() && number.float.is_none() {
        return Err(illegal(text));
    }
    Ok(number)
}

fn illegal(text: &str) -> String {
    format!("illegal number syntax: {}", quote(text))
}

fn is_hex_int(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    (digits.starts_with("0x") || digits.starts_with("0X")) && !digits.contains(['p', 'P'])
}

/// An integer in Go's syntax (sign, base prefix, `_`): sign and magnitude.
pub fn parse_integer(text: &str) -> Option<(bool, u64)> {
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    let prefixed = radix != 10;
    if body.contains('_') && !underscores_separate(body, prefixed) {
        return None;
    }
    let plain = body.replace('_', "");
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    Some((negative, u64::from_str_radix(&plain, radix).ok()?))
}

/// The value of sign and magnitude when it fits.
pub fn signed(negative: bool, magnitude: u64) -> Option<i64> {
    let value = i128::from(magnitude);
    i64::try_from(if negative { -value } else { value }).ok()
}

fn underscores_separate(digits: &str, prefixed: bool) -> bool {
    !digits.ends_with('_') && !digits.contains("__") && (prefixed || !digits.starts_with('_'))
}

/// A float in Go's syntax: decimal or hexadecimal with exponent.
pub fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if unsigned.starts_with("0x") || unsigned.starts_with("0X") {
        return parse_hex_float(text);
    }
    if text.contains('_') {
        let fine = text.split(['.', 'e', 'E', '+', '-']).all(|part| underscores_separate(part, false));
        return if fine { parse_float(&text.replace('_', "")) } else { None };
    }
    let value: f64 = text.parse().ok()?;
    let written_infinite = unsigned.starts_with(|c: char| c.is_ascii_alphabetic());
    (value.is_finite() || written_infinite).then_some(value)
}

fn parse_hex_float(text: &str) -> Option<f64> {
    let negative = text.starts_with('-');
    let body = text.trim_start_matches(['+', '-']).get(2..)?.to_ascii_lowercase().replace('_', "");
    let (mantissa, exponent) = body.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value = 0f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let shift = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?.checked_mul(4)?)?;
    let value = value * 2f64.powi(shift);
    value.is_finite().then_some(if negative { -value } else { value })
}

/// A float by the verbs of Go's `strconv`: `e` always with exponent, `f` never, `g` iff the decimal exponent is below -4
/// or not below the precision. Without a precision: the fewest digits that read back the same, and 6 for that decision.
pub fn format_float(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    match verb {
        'f' | 'F' => match precision {
            Some(precision) => format!("{value:.precision$}"),
            None => format!("{value}"),
        },
        'e' => with_exponent(value, precision),
        'E' => with_exponent(value, precision).to_uppercase(),
        'G' => general(value, precision).to_uppercase(),
        _ => general(value, precision),
    }
}

fn with_exponent(value: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(precision) => format!("{value:.precision$e}"),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn general(value: f64, precision: Option<usize>) -> String {
    let significant = precision.map(|precision| precision.max(1));
    let text = with_exponent(value, significant.map(|digits| digits - 1));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // Without a precision Go decides as if it were 6.
    let threshold = significant.map_or(Some(6), |digits| i32::try_from(digits).ok()).unwrap_or(i32::MAX);
    let mantissa = if mantissa.contains('.') && significant.is_some() {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    if exponent < -4 || exponent >= threshold {
        let (_, tail) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{mantissa}e{tail}");
    }
    let decimals = mantissa.bytes().filter(u8::is_ascii_digit).count() as i32 - 1 - exponent;
    format!("{value:.*}", usize::try_from(decimals).unwrap_or_default())
}

/// As `encoding/json` writes a float; `None` for what JSON cannot say.
pub fn json_float(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = with_exponent(value, None);
        return Some(text.replace("e-0", "e-"));
    }
    Some(format!("{value}"))
}
