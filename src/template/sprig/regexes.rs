//! Regular expressions, in Go's syntax.

use regex::{Regex, RegexBuilder};

use super::super::error::Failure;
use super::super::exec::Engine;
use super::super::functions::{Args, Outcome, Row, table};
use super::super::value::Value;
use super::text;

pub const ROWS: &[Row] = table! {
    "regexMatch" (Str, Str) => |engine, a| Ok(Value::Bool(compile(engine, a.str(0)).is_ok_and(|regex| regex.is_match(a.str(1))))),
    "mustRegexMatch" (Str, Str) => |engine, a| Ok(Value::Bool(compile(engine, a.str(0))?.is_match(a.str(1)))),
    "regexFind" (Str, Str) => |engine, a| find(engine, required(engine, a.str(0))?, a),
    "mustRegexFind" (Str, Str) => |engine, a| find(engine, compile(engine, a.str(0))?, a),
    "regexFindAll" (Str, Str, Int) => |engine, a| find_all(engine, required(engine, a.str(0))?, a),
    "mustRegexFindAll" (Str, Str, Int) => |engine, a| find_all(engine, compile(engine, a.str(0))?, a),
    "regexReplaceAll" (Str, Str, Str) => |engine, a| replace(engine, required(engine, a.str(0))?, a, Replacement::Template),
    "mustRegexReplaceAll" (Str, Str, Str) => |engine, a| replace(engine, compile(engine, a.str(0))?, a, Replacement::Template),
    "regexReplaceAllLiteral" (Str, Str, Str) => |engine, a| replace(engine, required(engine, a.str(0))?, a, Replacement::Literal),
    "mustRegexReplaceAllLiteral" (Str, Str, Str) => |engine, a| replace(engine, compile(engine, a.str(0))?, a, Replacement::Literal),
    "regexSplit" (Str, Str, Int) => |engine, a| split(engine, required(engine, a.str(0))?, a),
    "mustRegexSplit" (Str, Str, Int) => |engine, a| split(engine, compile(engine, a.str(0))?, a),
    "regexQuoteMeta" (Str) => |_, a| text(quote_meta(a.str(0))),
};

/// Memory that a compiled expression may take.
const MAX_COMPILED: usize = 4 << 20;

/// The steps that a compilation counts as.
const COMPILATION: u64 = 5000;

/// How many compiled expressions are kept.
const MAX_KNOWN: usize = 64;

/// The compiled pattern; each is compiled once per execution, as long as they are few.
fn compile(engine: &Engine<'_>, pattern: &str) -> Result<Regex, Failure> {
    let mut known = engine.regexes.borrow_mut();
    if let Some(regex) = known.get(pattern) {
        return Ok(regex.clone());
    }
    engine.budget.spend(COMPILATION)?;
    let built = RegexBuilder::new(&translate(pattern)).size_limit(MAX_COMPILED).build();
    let regex = built.map_err(|error| format!("error parsing regexp: {}: `{pattern}`", reason(&error)))?;
    if known.len() >= MAX_KNOWN {
        known.clear();
    }
    known.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

/// The same; the functions without `must` say more.
fn required(engine: &Engine<'_>, pattern: &str) -> Result<Regex, Failure> {
    compile(engine, pattern).map_err(|failure| match failure {
        Failure::Message(message) => format!("regexp: Compile(`{pattern}`): {message}").into(),
        nested => nested,
    })
}

/// The last line of the library's drawing says what is wrong.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

fn find(_: &Engine<'_>, regex: Regex, args: Args<'_>) -> Outcome {
    text(regex.find(args.str(1)).map_or("", |found| found.as_str()))
}

/// At most `n` matches; all for a negative `n`.
fn count_of(n: i64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn find_all(engine: &Engine<'_>, regex: Regex, args: Args<'_>) -> Outcome {
    let mut all = Vec::new();
    for found in regex.find_iter(args.str(1)).take(count_of(args.int(2))) {
        all.push(found.as_str());
        one_more(engine, all.len())?;
    }
    Ok(Value::strings(all))
}

/// Pays for one element of a list that grows.
fn one_more(engine: &Engine<'_>, length: usize) -> Result<(), String> {
    if length > engine.budget.limits().elements {
        engine.budget.elements(length)?;
    }
    engine.budget.spend(1)
}

enum Replacement {
    /// `$1` and `${name}` stand for groups.
    Template,
    Literal,
}

fn replace(engine: &Engine<'_>, regex: Regex, args: Args<'_>, replacement: Replacement) -> Outcome {
    let (whole, with) = (args.str(1), args.str(2));
    let mut out = String::new();
    let mut end = 0;
    for groups in regex.captures_iter(whole) {
        let Some(found) = groups.get(0) else { continue };
        out.push_str(whole.get(end..found.start()).unwrap_or_default());
        match replacement {
            Replacement::Template => groups.expand(with, &mut out),
            Replacement::Literal => out.push_str(with),
        }
        engine.budget.spend(1)?;
        if out.len() > engine.budget.limits().text {
            engine.budget.text(out.len())?;
        }
        end = found.end();
    }
    out.push_str(whole.get(end..).unwrap_or_default());
    text(out)
}

fn split(engine: &Engine<'_>, regex: Regex, args: Args<'_>) -> Outcome {
    let (whole, n) = (args.str(1), args.int(2));
    let limit = count_of(n);
    if whole.is_empty() && !args.str(0).is_empty() && n != 0 {
        return Ok(Value::strings([""]));
    }
    let mut parts: Vec<&str> = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for found in regex.find_iter(whole).take(limit) {
        if parts.len() + 1 >= limit {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.extend(whole.get(begin..end));
            one_more(engine, parts.len())?;
        }
        begin = found.end();
    }
    if n != 0 && (end != whole.len() || whole.is_empty()) {
        parts.extend(whole.get(begin..));
    }
    Ok(Value::strings(parts))
}

fn quote_meta(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Go's syntax in the library's: `\d`, `\w`, `\s` and `\b` know ASCII only, `\Q…\E` quotes, a `{` that repeats nothing is
/// itself, and a class has no operators.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        match c {
            '\\' => length = escape(rest, in_class, &mut out),
            '[' if in_class && !rest.starts_with("[:") => out.push_str("\\["),
            '[' if in_class => {
                length = rest.find(":]").map_or(1, |end| end + 2);
                out.push_str(rest.get(..length).unwrap_or_default());
            }
            '[' => {
                in_class = true;
                length = class_start(rest);
                out.push_str(rest.get(..length).unwrap_or_default().replace(']', "\\]").as_str());
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => out.extend(['\\', c]),
            '{' if !in_class && !repeats(rest) => out.push_str("\\{"),
            _ => out.push(c),
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// `[`, `[^`, and a `]` that stands first and so is itself.
fn class_start(text: &str) -> usize {
    let negated = if text.starts_with("[^") { 2 } else { 1 };
    if text.get(negated..).is_some_and(|rest| rest.starts_with(']')) { negated + 1 } else { negated }
}

/// Writes the escape at the front of `text`; gives its length.
fn escape(text: &str, in_class: bool, out: &mut String) -> usize {
    let Some(kind) = text.chars().nth(1) else {
        out.push('\\');
        return 1;
    };
    let length = 1 + kind.len_utf8();
    match kind {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        '<' | '>' => out.push(kind),
        'Q' => {
            let quoted = text.get(2..).unwrap_or_default();
            let end = quoted.find("\\E").unwrap_or(quoted.len());
            out.push_str(&regex::escape(quoted.get(..end).unwrap_or_default()));
            return (4 + end).min(text.len());
        }
        _ => out.push_str(text.get(..length).unwrap_or_default()),
    }
    length
}

/// `{n}`, `{n,}` or `{n,m}`.
fn repeats(text: &str) -> bool {
    let Some(inner) = text.get(1..).and_then(|rest| rest.split_once('}')).map(|(inner, _)| inner) else { return false };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}
