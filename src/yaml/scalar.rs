//! From the text of a scalar to its value.

use serde_yaml::{Number, Value};

/// Which plain words are numbers, booleans and nulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// As Go's YAML 1.1 parser: `yes`, `on`, `0777`, `1_000` (spec/deploy.md 3.9). For werf.yaml, charts and values.
    Go11,
    /// The core schema of YAML 1.2. For our own files.
    Core12,
}

/// The value of a plain scalar without a tag.
pub(super) fn resolve(text: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::Go11 => resolve_go11(text),
        Dialect::Core12 => resolve_core12(text),
    }
}

/// The value of a scalar under a tag of YAML's own (`!!int`); `None` when the text does not fit the tag.
pub(super) fn resolve_tagged(tag: &str, text: &str, dialect: Dialect) -> Option<Value> {
    match tag {
        "binary" => Some(Value::String(decode_binary(text)?)),
        "null" => Some(Value::Null),
        "bool" => Some(resolve(text, dialect)).filter(Value::is_bool),
        "int" => Some(resolve(text, dialect)).filter(|value| value.is_i64() || value.is_u64()),
        "float" => resolve(text, dialect).as_f64().map(|float| Value::Number(Number::from(float))),
        _ => Some(Value::String(text.to_owned())),
    }
}

fn resolve_go11(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => special_float(text).or_else(|| go11_number(text)).unwrap_or_else(|| Value::String(text.to_owned())),
    }
}

fn resolve_core12(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => special_float(text).or_else(|| core12_number(text)).unwrap_or_else(|| Value::String(text.to_owned())),
    }
}

fn special_float(text: &str) -> Option<Value> {
    let float = match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        _ => return None,
    };
    Some(Value::Number(Number::from(float)))
}

/// Underscores anywhere after the first character; bases `0x`, `0o`, `0b` and a leading `0`; what is no integer may be a
/// float, so `08` is 8.0.
fn go11_number(text: &str) -> Option<Value> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return None;
    }
    let plain = text.replace('_', "");
    let (negative, digits) = sign(&plain);
    let integer = match split_base(digits) {
        Some((base, digits)) => integer(negative, digits, base),
        None if digits.len() > 1 && digits.starts_with('0') => integer(negative, digits, 8),
        None => integer(negative, digits, 10),
    };
    integer.or_else(|| float(&plain))
}

/// Bases `0x` and `0o` without a sign; no underscores; a leading `0` means nothing.
fn core12_number(text: &str) -> Option<Value> {
    let (negative, digits) = sign(text);
    let integer = match split_base(text) {
        Some((2, _)) => None,
        Some((base, digits)) => integer(false, digits, base),
        None => integer(negative, digits, 10),
    };
    integer.or_else(|| float(text))
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn split_base(digits: &str) -> Option<(u32, &str)> {
    let bases = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    bases.iter().find_map(|(prefix, base)| Some((*base, digits.strip_prefix(prefix)?)))
}

fn integer(negative: bool, digits: &str, base: u32) -> Option<Value> {
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, base).ok()?;
    let number = if negative { Number::from(0i64.checked_sub_unsigned(magnitude)?) } else { Number::from(magnitude) };
    Some(Value::Number(number))
}

/// `1.5`, `.5`, `1.`, `1e3`; not the words that Rust takes for floats, and nothing that overflows to infinity.
fn float(text: &str) -> Option<Value> {
    let well_formed = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let float: f64 = text.parse().ok().filter(|float: &f64| well_formed && float.is_finite())?;
    Some(Value::Number(Number::from(float)))
}

/// Base64, with line breaks anywhere, of UTF-8 text.
fn decode_binary(text: &str) -> Option<String> {
    use base64::Engine as _;
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(compact).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, dialect: Dialect) -> String {
        match resolve(text, dialect) {
            Value::Number(number) if number.is_f64() => format!("float {number}"),
            Value::Number(number) => format!("int {number}"),
            Value::String(text) => format!("string {text}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// spec/deploy.md 3.9, and checked against Go's parser.
    #[test]
    fn plain_words_mean_what_go_takes_them_for() {
        for (text, expected) in [
            ("", "null"),
            ("~", "null"),
            ("NULL", "null"),
            ("y", "bool(true)"),
            ("N", "bool(false)"),
            ("yes", "bool(true)"),
            ("off", "bool(false)"),
            ("oN", "string oN"),
            ("1_000", "int 1000"),
            ("1_", "int 1"),
            ("_1", "string _1"),
            ("0x1F", "int 31"),
            ("+0x1F", "int 31"),
            ("0x", "string 0x"),
            ("010", "int 8"),
            ("-010", "int -8"),
            ("00", "int 0"),
            ("0o17", "int 15"),
            ("0b11", "int 3"),
            ("-0b11", "int -3"),
            ("0b12", "string 0b12"),
            ("+1", "int 1"),
            ("+-1", "string +-1"),
            ("08", "float 8.0"),
            ("09.5", "float 9.5"),
            ("1:30", "string 1:30"),
            (".5", "float 0.5"),
            ("-.5", "float -0.5"),
            ("1.", "float 1.0"),
            ("1e3", "float 1000.0"),
            ("1e", "string 1e"),
            (".", "string ."),
            ("1__0.5_0", "float 10.5"),
            (".1_0", "float 0.1"),
            (".inf", "float .inf"),
            ("-.INF", "float -.inf"),
            (".NaN", "float .nan"),
            ("inf", "string inf"),
            ("1e400", "string 1e400"),
            ("2001-01-01", "string 2001-01-01"),
            ("9007199254740993", "int 9007199254740993"),
            ("18446744073709551615", "int 18446744073709551615"),
            ("18446744073709551616", "float 1.8446744073709552e19"),
            ("-9223372036854775808", "int -9223372036854775808"),
            ("=", "string ="),
        ] {
            assert_eq!(shown(text, Dialect::Go11), expected, "`{text}`");
        }
    }

    #[test]
    fn the_core_schema_knows_fewer_words() {
        for (text, expected) in [
            ("yes", "string yes"),
            ("n", "string n"),
            ("True", "bool(true)"),
            ("010", "int 10"),
            ("0o17", "int 15"),
            ("0x1F", "int 31"),
            ("0b11", "string 0b11"),
            ("1_000", "string 1_000"),
            ("-7", "int -7"),
            ("1e3", "float 1000.0"),
        ] {
            assert_eq!(shown(text, Dialect::Core12), expected, "`{text}`");
        }
    }

    #[test]
    fn a_tag_decides_or_refuses() {
        for (tag, text, expected) in [
            ("str", "12", Some(Value::from("12"))),
            ("int", "12", Some(Value::from(12u64))),
            ("int", "abc", None),
            ("float", "3", Some(Value::from(3.0))),
            ("bool", "yes", Some(Value::from(true))),
            ("binary", "aGVs\n bG8=", Some(Value::from("hello"))),
            ("binary", "!!", None),
            ("binary", "/w==", None),
            ("timestamp", "2001-01-01", Some(Value::from("2001-01-01"))),
        ] {
            assert_eq!(resolve_tagged(tag, text, Dialect::Go11), expected, "`!!{tag} {text}`");
        }
    }
}
