//! The one place where templates read and write YAML.

use serde_yaml::{Mapping, Number, Value as Yaml};

use super::limits::{Budget, VALUE_DEPTH};
use super::number::json_float;
use super::value::{Element, Map, Value, too_deep};

/// The first document of a text; numbers become floats, keys texts, as in Go by way of JSON.
pub fn parse(budget: &Budget, text: &str) -> Result<Value, String> {
    budget.spend(text.len() as u64)?;
    if text.trim().is_empty() {
        return Ok(Value::Nil);
    }
    let mut yaml: Yaml = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    yaml.apply_merge().map_err(|error| error.to_string())?;
    read(yaml)
}

fn read(yaml: Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Null => Value::Nil,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Number(number) => Value::Float(number.as_f64().unwrap_or_default()),
        Yaml::String(text) => Value::from(text),
        Yaml::Sequence(items) => Value::list(items.into_iter().map(read).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let map = Map::new(Element::Any);
            for (key, value) in entries {
                map.set(key_text(&key)?, read(value)?);
            }
            Value::Map(map)
        }
        Yaml::Tagged(tagged) => read(tagged.value)?,
    })
}

fn key_text(key: &Yaml) -> Result<String, String> {
    match key {
        Yaml::String(text) => Ok(text.clone()),
        Yaml::Bool(value) => Ok(value.to_string()),
        Yaml::Number(number) => Ok(number.to_string()),
        _ => Err("a key must be a text, a number or a boolean".to_owned()),
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
