//! The functions that every Go template has, and `include` and `tpl`.

use super::exec::Engine;
use super::functions::{Args, Outcome, Row, table};
use super::printf;
use super::value::{List, Value};
use super::yaml;

/// The table.
pub const ROWS: &[Row] = table! {
    "not" (Any) => |_, args| Ok(Value::Bool(!args.any(0).is_true())),
    "len" (Any) => len,
    "index" (Any; Any) => index,
    "print" (; Any) => |engine, args| text(printf::print(&engine.budget, args.0)),
    "println" (; Any) => |engine, args| text(printf::println(&engine.budget, args.0)),
    "printf" (Str; Any) => |engine, args| text(printf::printf(&engine.budget, args.str(0), args.rest(1))),
    "html" (; Any) => |engine, args| escaped(engine, args, html),
    "js" (; Any) => |engine, args| escaped(engine, args, js),
    "urlquery" (; Any) => |engine, args| escaped(engine, args, url_query),
    "call" (Any; Any) => call,
    "eq" (Any; Any) => eq,
    "ne" (Any, Any) => |engine, args| Ok(Value::Bool(!equal(engine, args.any(0), args.any(1))?)),
    "lt" (Any, Any) => |_, args| Ok(Value::Bool(less(args.any(0), args.any(1))?)),
    "le" (Any, Any) => |_, args| Ok(Value::Bool(less_or_equal(args.any(0), args.any(1))?)),
    "gt" (Any, Any) => |_, args| Ok(Value::Bool(!less_or_equal(args.any(0), args.any(1))?)),
    "ge" (Any, Any) => |_, args| Ok(Value::Bool(!less(args.any(0), args.any(1))?)),
    "include" (Str, Any) => |engine, args| engine.include(args.str(0), args.any(1)),
    "tpl" (Str, Any) => |engine, args| engine.tpl(&args.str(0).into(), args.any(1)),
    "required" (Str, Any) => required,
    "fromYaml" (Str) => from_yaml,
    "fromYamlArray" (Str) => from_yaml_list,
    "toYaml" (Any) => |engine, args| Ok(Value::from(yaml::print(&engine.budget, args.any(0)).unwrap_or_default())),
    "mustToYaml" (Any) => |engine, args| text(yaml::print(&engine.budget, args.any(0))),
    "env" (Str) => |engine, args| Ok(Value::from(variable(engine, args.str(0)))),
    "expandenv" (Str) => expand_variables,
};

fn text(printed: Result<String, String>) -> Outcome {
    Ok(Value::from(printed?))
}

fn len(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let length = match args.any(0) {
        Value::Str(text) => text.len(),
        Value::List(list) => list.items().len(),
        Value::Map(map) => map.len(),
        Value::Nil => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.type_name()).into()),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let mut item = args.any(0).clone();
    if matches!(item, Value::Nil) {
        return Err("index of untyped nil".into());
    }
    for index in args.rest(1) {
        item = match &item {
            Value::Nil => return Err("index of nil pointer".into()),
            Value::List(list) => item_at(list, index)?,
            Value::Str(text) => {
                let position = position(index, text.len(), "string")?;
                Value::Uint(text.as_bytes().get(position).copied().unwrap_or_default().into())
            }
            Value::Map(map) => match index {
                Value::Str(key) => map.get(key).unwrap_or_else(|| zero(map.element())),
                Value::Nil => return Err("value is nil; should be of type string".into()),
                other => return Err(format!("value has type {}; should be string", other.type_name()).into()),
            },
            other => return Err(format!("can't index item of type {}", other.type_name()).into()),
        };
    }
    Ok(item)
}

fn zero(element: super::value::Element) -> Value {
    match element {
        super::value::Element::Any => Value::Nil,
        super::value::Element::Str => Value::from(""),
        super::value::Element::Int => Value::Int(0),
    }
}

fn item_at(list: &List, index: &Value) -> Outcome {
    let position = position(index, list.items().len(), "slice")?;
    Ok(list.items().get(position).cloned().unwrap_or_default())
}

fn position(index: &Value, length: usize, kind: &str) -> Result<usize, String> {
    let wanted = match index {
        Value::Int(value) | Value::Int64(value) => i128::from(*value),
        Value::Uint(value) => i128::from(*value),
        Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        other => return Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    match usize::try_from(wanted) {
        Ok(position) if position < length => Ok(position),
        Ok(position) if position == length => Err(format!("reflect: {kind} index out of range")),
        _ => Err(format!("index out of range: {wanted}")),
    }
}

/// There are no function values here, so there is nothing that could be called.
fn call(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    match args.any(0) {
        Value::Nil => Err("call of nil".into()),
        other => Err(format!("non-function of type {}", other.type_name()).into()),
    }
}

/// The kinds that can be compared; what differs in kind cannot.
#[derive(PartialEq)]
enum Basic {
    Bool,
    Int,
    Float,
    Str,
    Other,
}

fn basic(value: &Value) -> Basic {
    match value {
        Value::Bool(_) => Basic::Bool,
        Value::Int(_) | Value::Int64(_) | Value::Uint(_) => Basic::Int,
        Value::Float(_) => Basic::Float,
        Value::Str(_) => Basic::Str,
        _ => Basic::Other,
    }
}

fn integer(value: &Value) -> i128 {
    match value {
        Value::Int(value) | Value::Int64(value) => i128::from(*value),
        Value::Uint(value) => i128::from(*value),
        _ => 0,
    }
}

/// `eq a b c`: a equals any.
fn eq(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    if args.len() == 1 {
        return Err("missing argument for comparison".into());
    }
    for other in args.rest(1) {
        if equal(engine, args.any(0), other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(engine: &Engine<'_>, a: &Value, b: &Value) -> Result<bool, String> {
    if matches!(a, Value::Nil) || matches!(b, Value::Nil) {
        for value in [a, b] {
            if matches!(value, Value::List(_) | Value::Map(_)) && basic(a) == basic(b) {
                return Ok(false);
            }
        }
        return Ok(matches!((a, b), (Value::Nil, Value::Nil)));
    }
    if basic(a) != basic(b) {
        return Err(incompatible(a, b));
    }
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Str(a), Value::Str(b)) => Ok(a == b),
        (Value::Object(_), Value::Object(_)) => a.deep_equal(b, &engine.budget),
        (Value::List(_) | Value::Map(_) | Value::Object(_), _) => Err(not_comparable(engine, a, b)),
        _ => Ok(integer(a) == integer(b)),
    }
}

fn incompatible(a: &Value, b: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
}

fn not_comparable(engine: &Engine<'_>, a: &Value, b: &Value) -> String {
    let print = |verb: &str, value: &Value| printf::printf(&engine.budget, verb, std::slice::from_ref(value));
    let (a_type, b_type) = (a.type_name(), b.type_name());
    if a_type == b_type {
        return format!("non-comparable type {}: {b_type}", print("%s", b).unwrap_or_default());
    }
    let (a, b) = (print("%s", a).unwrap_or_default(), print("%v", b).unwrap_or_default());
    format!("non-comparable types {a}: {a_type}, {b_type}: {b}")
}

fn less(a: &Value, b: &Value) -> Result<bool, String> {
    if matches!(basic(a), Basic::Other) || matches!(basic(b), Basic::Other) {
        return Err("invalid type for comparison".to_owned());
    }
    if basic(a) != basic(b) {
        return Err(incompatible(a, b));
    }
    match (a, b) {
        (Value::Bool(_), _) => Err("invalid type for comparison".to_owned()),
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Str(a), Value::Str(b)) => Ok(a < b),
        _ => Ok(integer(a) < integer(b)),
    }
}

fn less_or_equal(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(less(a, b)? || !less(b, a)?)
}

fn escaped(engine: &Engine<'_>, args: Args<'_>, escape: fn(&mut String, char)) -> Outcome {
    let shown = args.0.iter().map(|value| match value {
        Value::Nil => Value::from("<no value>"),
        other => other.clone(),
    });
    let plain = printf::print(&engine.budget, &shown.collect::<Vec<_>>())?;
    engine.budget.text(plain.len().saturating_mul(6))?;
    let mut out = String::with_capacity(plain.len());
    plain.chars().for_each(|c| escape(&mut out, c));
    Ok(Value::from(out))
}

fn html(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("&#34;"),
        '\'' => out.push_str("&#39;"),
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '\0' => out.push('\u{fffd}'),
        _ => out.push(c),
    }
}

fn js(out: &mut String, c: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\'' => out.push_str("\\'"),
        '"' => out.push_str("\\\""),
        '<' | '>' | '&' | '=' | '\0'..='\x1f' => out.push_str(&format!("\\u{:04X}", c as u32)),
        _ if super::quote::is_printable(c) => out.push(c),
        _ => out.push_str(&format!("\\u{:04X}", c as u32)),
    }
}

fn url_query(out: &mut String, c: char) {
    match c {
        ' ' => out.push('+'),
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | '~' => out.push(c),
        _ => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}"))),
    }
}

/// The value, unless it is nil or an empty text.
fn required(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    match args.any(1) {
        Value::Nil => Err(args.str(0).into()),
        Value::Str(text) if text.is_empty() => Err(args.str(0).into()),
        value => Ok(value.clone()),
    }
}

/// A map; bad YAML, or YAML that is no map, is an error.
fn from_yaml(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    match yaml::parse(&engine.budget, args.str(0))? {
        Value::Nil => Ok(Value::map()),
        map @ Value::Map(_) => Ok(map),
        Value::List(_) => Err("the YAML text is a list, not a map".into()),
        other => Err(format!("the YAML text is a {}, not a map", other.kind()).into()),
    }
}

fn from_yaml_list(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    match yaml::parse(&engine.budget, args.str(0))? {
        Value::Nil => Ok(Value::list(Vec::new())),
        list @ Value::List(_) => Ok(list),
        other => Err(format!("the YAML text is a {}, not a list", other.kind()).into()),
    }
}

fn variable(engine: &Engine<'_>, name: &str) -> String {
    engine.environment().get(name).cloned().unwrap_or_default()
}

/// `$NAME` and `${NAME}`, as a shell has them, without any of its operators.
fn expand_variables(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let mut out = String::new();
    let mut rest = args.str(0);
    while let Some(dollar) = rest.find('$') {
        let (before, after) = rest.split_at(dollar);
        out.push_str(before);
        let after = after.get(1..).unwrap_or_default();
        let (name, length) = variable_name(after);
        match name {
            Some(name) => out.push_str(&variable(engine, name)),
            None if length == 0 => out.push('$'),
            None => {}
        }
        engine.budget.text(out.len())?;
        rest = after.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(Value::from(out))
}

/// The name behind a `$` and how much of the text it takes; bad syntax such as `${}` is taken and has no name.
fn variable_name(text: &str) -> (Option<&str>, usize) {
    const SPECIAL: &str = "*#$@!?-0123456789";
    if let Some(inner) = text.strip_prefix('{') {
        return match inner.find('}') {
            Some(0) => (None, 2),
            Some(end) => (inner.get(..end), end + 2),
            None => (None, 1),
        };
    }
    if text.starts_with(|c| SPECIAL.contains(c)) {
        return (text.get(..1), 1);
    }
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    (text.get(..length).filter(|name| !name.is_empty()), length)
}
