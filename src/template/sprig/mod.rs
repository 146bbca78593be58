//! The functions of the sprig library (spec/deploy.md 3.6), a table per topic.
//!
//! Absent are the random ones and those that make keys and certificates.

mod dates;
mod defaults;
mod dicts;
mod encoding;
mod lists;
mod math;
mod paths;
mod regexes;
mod semver;
mod strings;
mod types;
mod urls;

use super::exec::Engine;
use super::functions::{Outcome, Row};
use super::printf;
use super::value::Value;

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [
        strings::ROWS,
        defaults::ROWS,
        lists::ROWS,
        dicts::ROWS,
        math::ROWS,
        types::ROWS,
        regexes::ROWS,
        paths::ROWS,
        encoding::ROWS,
        semver::ROWS,
        dates::ROWS,
        urls::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// A value as text, as most functions take it.
fn text_of(engine: &Engine<'_>, value: &Value) -> Result<String, String> {
    printf::text_of(&engine.budget, value)
}

/// A list of anything, or a single value, as texts; nil is left out.
fn texts_of(engine: &Engine<'_>, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::List(list) => {
            let present = list.items().iter().filter(|item| !matches!(item, Value::Nil));
            present.map(|item| text_of(engine, item)).collect()
        }
        single => Ok(vec![text_of(engine, single)?]),
    }
}

/// What sprig takes for empty: nil, zeros, and what has no length.
fn is_empty(value: &Value) -> bool {
    !value.is_true()
}

fn text(text: impl Into<String>) -> Outcome {
    Ok(Value::from(text.into()))
}
