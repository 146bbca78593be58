//! The one place where templates read and write YAML.

use serde_yaml::{Mapping, Number, Value as Yaml};

use super::limits::{Budget, VALUE_DEPTH};
use super::number::json_float;
use super::value::{Value, too_deep};

/// The first document of a text; numbers become floats, keys texts, as in Go by way of JSON.
pub fn parse(budget: &Budget, text: &str) -> Result<Value, String> {
    budget.spend(text.len() as u64)?;
    if text.trim().is_empty() {
        return Ok(Value::Nil);
    }
    let mut yaml: Yaml = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    yaml.apply_merge().map_err(|error| error.to_string())?;
    Ok(Value::from(yaml))
}

/// Numbers become floats, keys texts, tags are dropped.
impl From<Yaml> for Value {
    fn from(yaml: Yaml) -> Self {
        match yaml {
            Yaml::Null => Self::Nil,
            Yaml::Bool(value) => Self::Bool(value),
            Yaml::Number(number) => Self::Float(number.as_f64().unwrap_or_default()),
            Yaml::String(text) => Self::from(text),
            Yaml::Sequence(items) => Self::list(items.into_iter().map(Self::from).collect()),
            Yaml::Mapping(entries) => {
                entries.into_iter().map(|(key, value)| (key_text(key), Self::from(value))).collect()
            }
            Yaml::Tagged(tagged) => Self::from(tagged.value),
        }
    }
}

fn key_text(key: Yaml) -> String {
    match key {
        Yaml::String(text) => text,
        other => serde_yaml::to_string(&other).unwrap_or_default().trim_end().to_owned(),
    }
}

/// Block style with sorted keys, without a newline at the end.
pub fn print(budget: &Budget, value: &Value) -> Result<String, String> {
    let yaml = write(budget, value, 0)?;
    let mut text = serde_yaml::to_string(&yaml).map_err(|error| error.to_string())?;
    budget.text(text.len())?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

fn write(budget: &Budget, value: &Value, depth: usize) -> Result<Yaml, String> {
    if depth > VALUE_DEPTH {
        return Err(too_deep());
    }
    budget.spend(1)?;
    Ok(match value {
        Value::Nil => Yaml::Null,
        Value::Bool(value) => Yaml::Bool(*value),
        Value::Int(value) | Value::Int64(value) => Yaml::Number((*value).into()),
        Value::Uint(value) => Yaml::Number((*value).into()),
        Value::Float(value) => Yaml::Number(number(*value)),
        Value::Str(text) => Yaml::String(text.to_string()),
        Value::List(list) => {
            let items = list.items().iter().map(|item| write(budget, item, depth + 1));
            Yaml::Sequence(items.collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            let mut mapping = Mapping::new();
            for (key, item) in map.entries() {
                mapping.insert(Yaml::String(key.to_string()), write(budget, &item, depth + 1)?);
            }
            Yaml::Mapping(mapping)
        }
        Value::Object(object) => Yaml::String(object.text()),
    })
}

/// `1000000`, not `1e+06` and not `1000000.0`.
fn number(value: f64) -> Number {
    json_float(value).and_then(|text| text.parse::<i64>().ok()).map_or_else(|| value.into(), Number::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_ways(text: &str) -> Result<String, String> {
        let budget = Budget::new(crate::template::Limits::default());
        print(&budget, &parse(&budget, text)?)
    }

    #[test]
    fn yaml_goes_through_values_and_back() {
        for (text, expected) in [
            ("b: 1\na: [x, 2.5, null, 1000000]", "a:\n- x\n- 2.5\n- null\n- 1000000\nb: 1"),
            ("1: x\ntrue: y", "'1': x\n'true': y"),
            ("base: &b {x: 1}\nchild: {<<: *b, y: 2}", "base:\n  x: 1\nchild:\n  x: 1\n  y: 2"),
            ("", "null"),
        ] {
            assert_eq!(both_ways(text).as_deref(), Ok(expected), "{text}");
        }
    }
}
