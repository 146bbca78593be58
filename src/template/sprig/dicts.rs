//! Maps. `set`, `unset` and the merges change the map that they are given.

use super::super::error::Failure;
use super::super::exec::Engine;
use super::super::functions::{Args, Outcome, Row, table};
use super::super::limits::VALUE_DEPTH;
use super::super::value::{Element, Map, Value, too_deep};
use super::{is_empty, text_of};

pub const ROWS: &[Row] = table! {
    "dict" (; Any) => dict,
    "get" (Map, Str) => |_, a| Ok(a.map(0).and_then(|map| map.get(a.str(1))).unwrap_or_else(|| Value::from(""))),
    "set" (Map, Str, Any) => set,
    "unset" (Map, Str) => unset,
    "hasKey" (Map, Str) => |_, a| Ok(Value::Bool(a.map(0).is_some_and(|map| map.has(a.str(1))))),
    "pluck" (Str; Map) => pluck,
    "dig" (; Any) => dig,
    "keys" (; Map) => keys,
    "values" (Map) => |_, a| Ok(Value::list(entries(a, 0).into_iter().map(|(_, value)| value).collect())),
    "pick" (Map; Str) => |_, a| Ok(entries(a, 0).into_iter().filter(|(key, _)| is_named(a, key)).collect()),
    "omit" (Map; Str) => |_, a| Ok(entries(a, 0).into_iter().filter(|(key, _)| !is_named(a, key)).collect()),
    "merge" (Map; Map) => |engine, a| merge_all(engine, a, Winner::Destination),
    "mustMerge" (Map; Map) => |engine, a| merge_all(engine, a, Winner::Destination),
    "mergeOverwrite" (Map; Map) => |engine, a| merge_all(engine, a, Winner::Source),
    "mustMergeOverwrite" (Map; Map) => |engine, a| merge_all(engine, a, Winner::Source),
};

fn entries(args: Args<'_>, index: usize) -> Vec<(std::rc::Rc<str>, Value)> {
    args.map(index).map(Map::entries).unwrap_or_default()
}

fn is_named(args: Args<'_>, key: &str) -> bool {
    args.rest(1).iter().any(|name| matches!(name, Value::Str(name) if **name == *key))
}

fn dict(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let map = Map::new(Element::Any);
    for pair in args.0.chunks(2) {
        let [key, rest @ ..] = pair else { continue };
        map.set(text_of(engine, key)?, rest.first().cloned().unwrap_or_else(|| Value::from("")));
    }
    Ok(Value::Map(map))
}

fn set(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let Some(map) = args.map(0) else { return Err("assignment to entry in nil map".into()) };
    map.set(args.str(1), args.any(2).clone());
    engine.budget.elements(0)?;
    if map.len() > engine.budget.limits().elements {
        engine.budget.elements(map.len())?;
    }
    Ok(Value::Map(map.clone()))
}

fn unset(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let Some(map) = args.map(0) else { return Ok(Value::map()) };
    map.remove(args.str(1));
    Ok(Value::Map(map.clone()))
}

fn pluck(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let maps = args.rest(1).iter().filter_map(|value| match value {
        Value::Map(map) => map.get(args.str(0)),
        _ => None,
    });
    Ok(Value::list(maps.collect()))
}

/// Go gives the keys in any order; we sort them.
fn keys(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let all = (0..args.len()).flat_map(|index| entries(args, index));
    Ok(Value::strings(all.map(|(key, _)| key)))
}

/// `dig "a" "b" default map`
fn dig(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let [path @ .., default, map] = args.0 else { return Err("dig needs at least three arguments".into()) };
    if path.is_empty() {
        return Err("dig needs at least three arguments".into());
    }
    let mut value = map.clone();
    if !matches!(map, Value::Map(_)) {
        return Err(conversion(map, "map[string]interface {}"));
    }
    if let Some(key) = path.iter().find(|key| !matches!(key, Value::Str(_))) {
        return Err(conversion(key, "string"));
    }
    for key in path {
        let Value::Str(key) = key else { continue };
        let Value::Map(map) = &value else { return Err(conversion(&value, "map[string]interface {}")) };
        match map.get(key) {
            Some(found) => value = found,
            None => return Ok(default.clone()),
        }
    }
    Ok(value)
}

fn conversion(value: &Value, wanted: &str) -> Failure {
    let got = match value {
        Value::Nil => "nil".to_owned(),
        other => other.type_name(),
    };
    format!("interface conversion: interface {{}} is {got}, not {wanted}").into()
}

/// Whose value stays where both have one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Winner {
    /// Unless it is empty.
    Destination,
    /// Also when it is empty.
    Source,
}

fn merge_all(engine: &Engine<'_>, args: Args<'_>, winner: Winner) -> Outcome {
    let destination = &args.map(0).cloned().unwrap_or_else(|| Map::new(Element::Any));
    for source in args.rest(1) {
        if let Value::Map(source) = source {
            merge(engine, destination, source, winner, 0)?;
        }
    }
    Ok(Value::Map(destination.clone()))
}

fn merge(engine: &Engine<'_>, into: &Map, from: &Map, winner: Winner, depth: usize) -> Result<(), Failure> {
    if depth > VALUE_DEPTH {
        return Err(too_deep().into());
    }
    for (key, value) in from.entries() {
        engine.budget.spend(1)?;
        match (into.get(&key), &value) {
            (Some(Value::Map(old)), Value::Map(new)) => {
                if !old.is(new) {
                    merge(engine, &old, new, winner, depth + 1)?;
                }
            }
            (Some(old), _) if winner == Winner::Destination && !is_empty(&old) => {}
            (None, Value::Nil) if winner == Winner::Destination => {}
            _ => into.set(key, value),
        }
    }
    Ok(())
}
