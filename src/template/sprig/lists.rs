//! Lists. None is ever changed in place.

use super::super::error::Failure;
use super::super::exec::Engine;
use super::super::functions::{Args, Outcome, Row, table};
use super::super::value::{List, Value};
use super::is_empty;

pub const ROWS: &[Row] = table! {
    "list" (; Any) => |_, a| Ok(Value::list(a.0.to_vec())),
    "tuple" (; Any) => |_, a| Ok(Value::list(a.0.to_vec())),
    "first" (Any) => |_, a| Ok(items(a.any(0), "find first on type")?.first().cloned().unwrap_or_default()),
    "mustFirst" (Any) => |_, a| Ok(items(a.any(0), "find first on type")?.first().cloned().unwrap_or_default()),
    "last" (Any) => |_, a| Ok(items(a.any(0), "find last on type")?.last().cloned().unwrap_or_default()),
    "mustLast" (Any) => |_, a| Ok(items(a.any(0), "find last on type")?.last().cloned().unwrap_or_default()),
    "rest" (Any) => rest,
    "mustRest" (Any) => rest,
    "initial" (Any) => initial,
    "mustInitial" (Any) => initial,
    "append" (Any, Any) => append,
    "mustAppend" (Any, Any) => append,
    "push" (Any, Any) => append,
    "mustPush" (Any, Any) => append,
    "prepend" (Any, Any) => prepend,
    "mustPrepend" (Any, Any) => prepend,
    "concat" (; Any) => concat,
    "reverse" (Any) => reverse,
    "mustReverse" (Any) => reverse,
    "uniq" (Any) => uniq,
    "mustUniq" (Any) => uniq,
    "without" (Any; Any) => without,
    "mustWithout" (Any; Any) => without,
    "has" (Any, Any) => has,
    "mustHas" (Any, Any) => has,
    "slice" (Any; Any) => slice,
    "mustSlice" (Any; Any) => slice,
    "chunk" (Int, Any) => chunk,
    "mustChunk" (Int, Any) => chunk,
    "compact" (Any) => compact,
    "mustCompact" (Any) => compact,
};

/// The items of a list; `action` is what the refusal says cannot be done.
fn items<'a>(value: &'a Value, action: &str) -> Result<&'a [Value], Failure> {
    match value {
        Value::List(list) => Ok(list.items()),
        Value::Nil => Err("runtime error: invalid memory address or nil pointer dereference".into()),
        other => Err(format!("Cannot {action} {}", other.kind()).into()),
    }
}

fn rest(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let items = items(args.any(0), "find rest on type")?;
    Ok(Value::list(items.get(1..).unwrap_or_default().to_vec()))
}

fn initial(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let items = items(args.any(0), "find initial on type")?;
    Ok(Value::list(items.split_last().map(|(_, initial)| initial.to_vec()).unwrap_or_default()))
}

fn append(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let mut list = items(args.any(0), "push on type")?.to_vec();
    engine.budget.elements(list.len() + 1)?;
    list.push(args.any(1).clone());
    Ok(Value::list(list))
}

fn prepend(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let list = items(args.any(0), "prepend on type")?;
    engine.budget.elements(list.len() + 1)?;
    Ok(Value::list([std::slice::from_ref(args.any(1)), list].concat()))
}

fn concat(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let mut all = Vec::new();
    for value in args.0 {
        let items = match value {
            Value::List(_) | Value::Nil => items(value, "concat type")?,
            other => return Err(format!("Cannot concat type {} as list", other.kind()).into()),
        };
        engine.budget.elements(all.len() + items.len())?;
        all.extend_from_slice(items);
    }
    Ok(Value::list(all))
}

fn reverse(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::list(items(args.any(0), "find reverse on type")?.iter().rev().cloned().collect()))
}

fn contains(engine: &Engine<'_>, list: &[Value], wanted: &Value) -> Result<bool, Failure> {
    for item in list {
        if item.deep_equal(wanted, &engine.budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn uniq(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let mut kept: Vec<Value> = Vec::new();
    for item in items(args.any(0), "find uniq on type")? {
        if !contains(engine, &kept, item)? {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(kept))
}

fn without(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let mut kept = Vec::new();
    for item in items(args.any(0), "find without on type")? {
        if !contains(engine, args.rest(1), item)? {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(kept))
}

fn has(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    if matches!(args.any(1), Value::Nil) {
        return Ok(Value::Bool(false));
    }
    Ok(Value::Bool(contains(engine, items(args.any(1), "find has on type")?, args.any(0))?))
}

fn slice(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let list = match args.any(0) {
        Value::List(list) => list,
        Value::Nil => return items(args.any(0), "slice").map(|_| Value::Nil),
        other => return Err(format!("list should be type of slice or array but {}", other.kind()).into()),
    };
    let length = list.items().len();
    if length == 0 {
        return Ok(Value::Nil);
    }
    let bound = |index: usize, other: usize| match args.0.get(index) {
        Some(value) => usize::try_from(super::math::integer(value)).ok(),
        None => Some(other),
    };
    let part = match (bound(1, 0), bound(2, length)) {
        (Some(start), Some(end)) => list.items().get(start..end),
        _ => None,
    };
    match part {
        Some(items) => Ok(Value::List(List::new(list.element(), items.to_vec()))),
        None => Err("reflect.Value.Slice: slice index out of bounds".into()),
    }
}

fn chunk(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let list = items(args.any(1), "chunk type")?;
    let Some(size) = usize::try_from(args.int(0)).ok().filter(|size| *size > 0) else {
        return Err("the size of a chunk must be greater than 0".into());
    };
    Ok(Value::list(list.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect()))
}

fn compact(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let kept = items(args.any(0), "compact on type")?.iter().filter(|item| !is_empty(item));
    Ok(Value::list(kept.cloned().collect()))
}
