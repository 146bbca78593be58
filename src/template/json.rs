//! JSON as Go's `encoding/json` reads and writes it: sorted keys, numbers become floats.

use super::limits::{Budget, VALUE_DEPTH};
use super::number::json_float;
use super::value::{Value, too_deep};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One line; `<`, `>` and `&` escaped.
    Html,
    /// One line, as it is.
    Raw,
    /// Indented by two blanks; escaped as `Html`.
    Pretty,
}

pub fn parse(budget: &Budget, text: &str) -> Result<Value, String> {
    budget.spend(text.len() as u64)?;
    let json: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(Value::from(json))
}

pub fn print(budget: &Budget, value: &Value, style: Style) -> Result<String, String> {
    let mut writer = Writer { budget, style, out: String::new() };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer<'b> {
    budget: &'b Budget,
    style: Style,
    out: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        if depth > VALUE_DEPTH {
            return Err(too_deep());
        }
        self.budget.spend(1)?;
        match value {
            Value::Nil => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Int(value) | Value::Int64(value) => self.out.push_str(&value.to_string()),
            Value::Uint(value) => self.out.push_str(&value.to_string()),
            Value::Float(value) => {
                let Some(text) = json_float(*value) else { return Err(format!("json: unsupported value: {value}")) };
                self.out.push_str(&text);
            }
            Value::Str(text) => self.string(text),
            Value::List(list) => {
                self.out.push('[');
                for (index, item) in list.items().iter().enumerate() {
                    self.separate(index, depth + 1);
                    self.value(item, depth + 1)?;
                }
                self.close(']', list.items().is_empty(), depth);
            }
            Value::Map(map) => {
                self.out.push('{');
                for (index, (key, item)) in map.entries().into_iter().enumerate() {
                    self.separate(index, depth + 1);
                    self.string(&key);
                    self.out.push_str(if self.style == Style::Pretty { ": " } else { ":" });
                    self.value(&item, depth + 1)?;
                }
                self.close('}', map.is_empty(), depth);
            }
            Value::Object(_) => self.out.push_str("{}"),
        }
        let length = self.out.len();
        if length > self.budget.limits().text {
            return self.budget.text(length);
        }
        Ok(())
    }

    fn separate(&mut self, index: usize, depth: usize) {
        if index > 0 {
            self.out.push(',');
        }
        self.line(depth);
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if self.style == Style::Pretty {
            self.out.push('\n');
            self.out.push_str(&"  ".repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                '<' | '>' | '&' if self.style != Style::Raw => self.out.push_str(&format!("\\u{:04x}", c as u32)),
                '\0'..='\x1f' | '\u{2028}' | '\u{2029}' => self.out.push_str(&format!("\\u{:04x}", c as u32)),
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}
