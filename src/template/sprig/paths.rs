//! Paths, with `/` on every system.

use super::super::functions::{Row, table};
use super::super::value::Value;
use super::text;

pub const ROWS: &[Row] = table! {
    "base" (Str) => |_, a| text(base(a.str(0))),
    "dir" (Str) => |_, a| text(dir(a.str(0))),
    "ext" (Str) => |_, a| text(ext(a.str(0))),
    "clean" (Str) => |_, a| text(clean(a.str(0))),
    "isAbs" (Str) => |_, a| Ok(Value::Bool(a.str(0).starts_with('/'))),
    "osBase" (Str) => |_, a| text(base(a.str(0))),
    "osDir" (Str) => |_, a| text(dir(a.str(0))),
    "osExt" (Str) => |_, a| text(ext(a.str(0))),
    "osClean" (Str) => |_, a| text(clean(a.str(0))),
    "osIsAbs" (Str) => |_, a| Ok(Value::Bool(a.str(0).starts_with('/'))),
};

fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        _ if path.is_empty() => ".",
        Some("") | None => "/",
        Some(name) => name,
    }
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or_default())
}

fn ext(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rfind('.').and_then(|dot| name.get(dot..)).unwrap_or_default()
}

/// The shortest equal path: no `.`, no `..` behind a name, no double or trailing `/`.
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            ".." if absolute => {}
            name => names.push(name),
        }
    }
    match (absolute, names.is_empty()) {
        (true, _) => format!("/{}", names.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => names.join("/"),
    }
}
