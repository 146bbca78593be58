//! Values that stand in for others, JSON, and copies.

use super::super::exec::Engine;
use super::super::functions::{Args, Outcome, Row, table};
use super::super::json;
use super::super::limits::VALUE_DEPTH;
use super::super::value::{List, Map, Value, too_deep};
use super::{is_empty, text};

pub const ROWS: &[Row] = table! {
    "default" (Any; Any) => |_, a| Ok(if is_empty(a.any(1)) { a.any(0) } else { a.any(1) }.clone()),
    "empty" (Any) => |_, a| Ok(Value::Bool(is_empty(a.any(0)))),
    "coalesce" (; Any) => |_, a| Ok(a.0.iter().find(|value| !is_empty(value)).cloned().unwrap_or_default()),
    "all" (; Any) => |_, a| Ok(Value::Bool(!a.0.iter().any(is_empty))),
    "any" (; Any) => |_, a| Ok(Value::Bool(!a.0.iter().all(is_empty))),
    "ternary" (Any, Any, Bool) => |_, a| Ok(if a.bool(2) { a.any(0) } else { a.any(1) }.clone()),
    "fail" (Str) => |_, a| Err(a.str(0).into()),
    "fromJson" (Str) => |engine, a| Ok(json::parse(&engine.budget, a.str(0)).unwrap_or_default()),
    "mustFromJson" (Str) => |engine, a| Ok(json::parse(&engine.budget, a.str(0))?),
    "toJson" (Any) => |engine, a| text(json::print(&engine.budget, a.any(0), json::Style::Html).unwrap_or_default()),
    "mustToJson" (Any) => |engine, a| text(json::print(&engine.budget, a.any(0), json::Style::Html)?),
    "toPrettyJson" (Any) => |engine, a| text(json::print(&engine.budget, a.any(0), json::Style::Pretty).unwrap_or_default()),
    "mustToPrettyJson" (Any) => |engine, a| text(json::print(&engine.budget, a.any(0), json::Style::Pretty)?),
    "toRawJson" (Any) => |engine, a| text(json::print(&engine.budget, a.any(0), json::Style::Raw)?),
    "mustToRawJson" (Any) => |engine, a| text(json::print(&engine.budget, a.any(0), json::Style::Raw)?),
    "deepCopy" (Any) => deep_copy,
    "mustDeepCopy" (Any) => deep_copy,
};

fn deep_copy(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    if matches!(args.any(0), Value::Nil) {
        return Err("reflect: call of reflect.Value.Type on zero Value".into());
    }
    Ok(copy(engine, args.any(0), 0)?)
}

/// A copy that shares no map with the original.
pub fn copy(engine: &Engine<'_>, value: &Value, depth: usize) -> Result<Value, String> {
    if depth > VALUE_DEPTH {
        return Err(too_deep());
    }
    engine.budget.spend(1)?;
    Ok(match value {
        Value::List(list) => {
            let items: Result<Vec<Value>, String> =
                list.items().iter().map(|item| copy(engine, item, depth + 1)).collect();
            Value::List(List::new(list.element(), items?))
        }
        Value::Map(map) => {
            let copied = Map::new(map.element());
            for (key, item) in map.entries() {
                copied.set(key, copy(engine, &item, depth + 1)?);
            }
            Value::Map(copied)
        }
        plain => plain.clone(),
    })
}
