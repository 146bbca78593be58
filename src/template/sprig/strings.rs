//! Texts.

use super::super::exec::Engine;
use super::super::functions::{Args, Outcome, Row, table};
use super::super::quote::quote;
use super::super::value::{Element, Map, Value};
use super::{text, text_of, texts_of};

pub const ROWS: &[Row] = table! {
    "hello" () => |_, _| text("Hello!"),
    "trim" (Str) => |_, a| text(a.str(0).trim()),
    "trimAll" (Str, Str) => trim_all,
    "trimall" (Str, Str) => trim_all,
    "trimPrefix" (Str, Str) => |_, a| text(a.str(1).strip_prefix(a.str(0)).unwrap_or(a.str(1))),
    "trimSuffix" (Str, Str) => |_, a| text(a.str(1).strip_suffix(a.str(0)).unwrap_or(a.str(1))),
    "upper" (Str) => |_, a| text(a.str(0).chars().map(upper).collect::<String>()),
    "lower" (Str) => |_, a| text(a.str(0).chars().map(lower).collect::<String>()),
    "title" (Str) => |_, a| text(title(a.str(0))),
    "untitle" (Str) => |_, a| text(untitle(a.str(0))),
    "swapcase" (Str) => |_, a| text(swap_case(a.str(0))),
    "snakecase" (Str) => |_, a| text(words(a.str(0), '_')),
    "kebabcase" (Str) => |_, a| text(words(a.str(0), '-')),
    "camelcase" (Str) => |_, a| text(camel_case(a.str(0))),
    "repeat" (Int, Str) => repeat,
    "substr" (Int, Int, Str) => substr,
    "trunc" (Int, Str) => |_, a| text(truncate(a.int(0), a.str(1))),
    "abbrev" (Int, Str) => |_, a| text(abbreviate(a.str(1), 0, a.int(0))),
    "abbrevboth" (Int, Int, Str) => |_, a| text(abbreviate_both(a.int(0), a.int(1), a.str(2))),
    "initials" (Str) => |_, a| text(a.str(0).split_whitespace().filter_map(|word| word.chars().next()).collect::<String>()),
    "nospace" (Str) => |_, a| text(a.str(0).split_whitespace().collect::<String>()),
    "wrap" (Int, Str) => |engine, a| wrap(engine, a.str(1), a.int(0), "\n", false),
    "wrapWith" (Int, Str, Str) => |engine, a| wrap(engine, a.str(2), a.int(0), if a.str(1).is_empty() { "\n" } else { a.str(1) }, true),
    "contains" (Str, Str) => |_, a| Ok(Value::Bool(a.str(1).contains(a.str(0)))),
    "hasPrefix" (Str, Str) => |_, a| Ok(Value::Bool(a.str(1).starts_with(a.str(0)))),
    "hasSuffix" (Str, Str) => |_, a| Ok(Value::Bool(a.str(1).ends_with(a.str(0)))),
    "quote" (; Any) => |engine, a| each_quoted(engine, a, quote),
    "squote" (; Any) => |engine, a| each_quoted(engine, a, |text| format!("'{text}'")),
    "cat" (; Any) => cat,
    "indent" (Int, Str) => |engine, a| indent(engine, "", a),
    "nindent" (Int, Str) => |engine, a| indent(engine, "\n", a),
    "replace" (Str, Str, Str) => replace,
    "plural" (Str, Str, Int) => |_, a| text(if a.int(2) == 1 { a.str(0) } else { a.str(1) }),
    "toString" (Any) => |engine, a| text(text_of(engine, a.any(0))?),
    "toStrings" (Any) => |engine, a| Ok(Value::strings(texts_of(engine, a.any(0))?)),
    "join" (Str, Any) => join,
    "split" (Str, Str) => |engine, a| Ok(numbered(split(engine, a.str(0), a.str(1))?.into_iter())),
    "splitn" (Str, Int, Str) => split_n,
    "splitList" (Str, Str) => |engine, a| Ok(Value::strings(split(engine, a.str(0), a.str(1))?)),
    "sortAlpha" (Any) => sort_alpha,
};

/// One character for one, as Go maps case.
fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    mapped.next().filter(|_| mapped.next().is_none()).unwrap_or(c)
}

fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

fn trim_all(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    text(args.str(1).trim_matches(|c| args.str(0).contains(c)))
}

/// Capital letters behind all that is no letter, digit, underscore or apostrophe.
fn title(text: &str) -> String {
    let mut before = ' ';
    let capital = |c: char| {
        let begins = is_separator(before);
        before = c;
        if begins { upper(c) } else { c }
    };
    text.chars().map(capital).collect()
}

fn is_separator(c: char) -> bool {
    match c {
        '_' => false,
        _ if c.is_ascii() => !c.is_ascii_alphanumeric(),
        _ => !c.is_alphanumeric() && c.is_whitespace(),
    }
}

fn untitle(text: &str) -> String {
    let mut begins = true;
    let small = |c: char| {
        let first = std::mem::replace(&mut begins, c.is_whitespace());
        if first { lower(c) } else { c }
    };
    text.chars().map(small).collect()
}

/// Small letters become capitals, also where a word begins with a small one; capitals become small.
fn swap_case(text: &str) -> String {
    let swap = |c: char| match c {
        _ if c.is_uppercase() => lower(c),
        _ if c.is_lowercase() => upper(c),
        _ => c,
    };
    text.chars().map(swap).collect()
}

fn repeat(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let Ok(count) = usize::try_from(args.int(0)) else { return Err("strings: negative Repeat count".into()) };
    engine.budget.text(args.str(1).len().saturating_mul(count))?;
    text(args.str(1).repeat(if args.str(1).is_empty() { 0 } else { count }))
}

/// Bytes of a text; a character cut in two becomes a replacement character.
fn bytes(text: &str, start: usize, end: usize) -> Result<String, String> {
    match text.as_bytes().get(start..end) {
        Some(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        None if end > text.len() => {
            Err(format!("runtime error: slice bounds out of range [:{end}] with length {}", text.len()))
        }
        None => Err(format!("runtime error: slice bounds out of range [{start}:{end}]")),
    }
}

fn substr(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let (start, end, whole) = (args.int(0), args.int(1), args.str(2));
    let length = whole.len();
    let to = usize::try_from(end);
    let from = usize::try_from(start);
    let part = match (from, to) {
        (Err(_), Ok(to)) => bytes(whole, 0, to),
        (Err(_), Err(_)) => Err(format!("runtime error: slice bounds out of range [:{end}]")),
        (Ok(from), Ok(to)) if to <= length => bytes(whole, from, to),
        (Ok(from), _) => bytes(whole, from, length),
    };
    text(part?)
}

fn truncate(count: i64, whole: &str) -> String {
    let length = whole.len();
    let count_of = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let range = match count < 0 {
        true if count_of < length => length - count_of..length,
        false if count_of < length => 0..count_of,
        _ => 0..length,
    };
    String::from_utf8_lossy(whole.as_bytes().get(range).unwrap_or_default()).into_owned()
}

fn abbreviate(whole: &str, offset: usize, width: i64) -> String {
    let Some(width) = usize::try_from(width).ok().filter(|width| *width >= 4) else { return whole.to_owned() };
    let length = whole.len();
    if length <= width {
        return whole.to_owned();
    }
    let cut = |start: usize, end: usize| bytes(whole, start, end).unwrap_or_default();
    let offset = offset.min(length).min((length + 3).saturating_sub(width));
    if offset <= 4 {
        return format!("{}...", cut(0, width - 3));
    }
    if width < 7 {
        return String::new();
    }
    if offset + width - 3 < length {
        return format!("...{}", abbreviate(&cut(offset, length), 0, width as i64 - 3));
    }
    format!("...{}", cut(length + 3 - width, length))
}

fn abbreviate_both(left: i64, right: i64, whole: &str) -> String {
    if right < 4 || (left > 0 && right < 7) {
        return whole.to_owned();
    }
    abbreviate(whole, usize::try_from(left).unwrap_or_default(), right)
}

/// Lines of at most `width` bytes, broken at blanks; a longer word is broken too, or left whole.
fn wrap(engine: &Engine<'_>, whole: &str, width: i64, newline: &str, break_words: bool) -> Outcome {
    let width = usize::try_from(width).unwrap_or_default().max(1);
    engine.budget.text(whole.len().saturating_mul(newline.len() + 1))?;
    let input = whole.as_bytes();
    let blank_after = |from: usize| input.iter().skip(from).position(|byte| *byte == b' ').map(|at| at + from);
    let mut out: Vec<u8> = Vec::new();
    let mut offset = 0;
    while input.len().saturating_sub(offset) > width {
        if input.get(offset) == Some(&b' ') {
            offset += 1;
            continue;
        }
        let window = input.get(offset..=offset + width).unwrap_or_default();
        let (end, next) = match window.iter().rposition(|byte| *byte == b' ') {
            Some(blank) => (offset + blank, offset + blank + 1),
            None if break_words => (offset + width, offset + width),
            None => match blank_after(offset + width) {
                Some(blank) => (blank, blank + 1),
                None => break,
            },
        };
        out.extend_from_slice(input.get(offset..end).unwrap_or_default());
        out.extend_from_slice(newline.as_bytes());
        offset = next;
    }
    out.extend_from_slice(input.get(offset..).unwrap_or_default());
    text(String::from_utf8_lossy(&out))
}

fn each_quoted(engine: &Engine<'_>, args: Args<'_>, quote: fn(&str) -> String) -> Outcome {
    let mut quoted = Vec::new();
    for value in args.0.iter().filter(|value| !matches!(value, Value::Nil)) {
        quoted.push(quote(&text_of(engine, value)?));
    }
    text(quoted.join(" "))
}

fn cat(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let present = args.0.iter().filter(|value| !matches!(value, Value::Nil));
    let texts: Result<Vec<String>, String> = present.map(|value| text_of(engine, value)).collect();
    text(texts?.join(" "))
}

/// Every line, empty ones too.
fn indent(engine: &Engine<'_>, before: &str, args: Args<'_>) -> Outcome {
    let Ok(width) = usize::try_from(args.int(0)) else { return Err("strings: negative Repeat count".into()) };
    let lines = args.str(1).matches('\n').count() + 1;
    engine.budget.text(lines.saturating_mul(width).saturating_add(args.str(1).len()))?;
    let pad = " ".repeat(width);
    text(format!("{before}{pad}{}", args.str(1).replace('\n', &format!("\n{pad}"))))
}

fn replace(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let (old, new, whole) = (args.str(0), args.str(1), args.str(2));
    let count = whole.matches(old).count();
    engine.budget.text(whole.len().saturating_add(count.saturating_mul(new.len())))?;
    text(whole.replace(old, new))
}

fn join(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let texts = texts_of(engine, args.any(1))?;
    let length = texts.iter().map(|text| text.len() + args.str(0).len()).fold(0, usize::saturating_add);
    engine.budget.text(length)?;
    text(texts.join(args.str(0)))
}

/// By `separator`; an empty one gives the characters.
fn split<'a>(engine: &Engine<'_>, separator: &'a str, whole: &'a str) -> Result<Vec<&'a str>, String> {
    engine.budget.elements(whole.matches(separator).count())?;
    if separator.is_empty() {
        return Ok(whole.split("").filter(|part| !part.is_empty()).collect());
    }
    Ok(whole.split(separator).collect())
}

/// `_0`, `_1` …
fn numbered<'a>(parts: impl Iterator<Item = &'a str>) -> Value {
    let map = Map::new(Element::Str);
    parts.enumerate().for_each(|(index, part)| map.set(format!("_{index}"), Value::from(part)));
    Value::Map(map)
}

fn split_n(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let (separator, whole) = (args.str(0), args.str(2));
    let mut parts = split(engine, separator, whole)?;
    let Ok(count) = usize::try_from(args.int(1)) else { return Ok(numbered(parts.into_iter())) };
    if !separator.is_empty() {
        return Ok(numbered(whole.splitn(count, separator)));
    }
    // Characters, the last part being all that is left.
    if count > 0 && parts.len() > count {
        let taken: usize = parts.iter().take(count - 1).map(|part| part.len()).sum();
        parts.truncate(count - 1);
        parts.extend(whole.get(taken..));
    }
    parts.truncate(count);
    Ok(numbered(parts.into_iter()))
}

fn sort_alpha(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let mut texts = match args.any(0) {
        Value::List(_) => texts_of(engine, args.any(0))?,
        single => vec![text_of(engine, single)?],
    };
    texts.sort();
    Ok(Value::strings(texts))
}

/// What stands for a boundary between words already.
fn is_joint(c: char) -> bool {
    matches!(c, '_' | '-') || c.is_whitespace()
}

/// Symbols in a row count as a word; punctuation does not.
fn is_symbol(c: char) -> bool {
    "$+<=>^`|~".contains(c) || !(c.is_ascii() || c.is_alphanumeric() || is_joint(c))
}

/// A name in any style as words in small letters with `joint` between them. Digits belong to the word before, unless a
/// small letter follows; capitals in a row are one word, up to the one before a small letter.
fn words(name: &str, joint: char) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let mut after_word = false;
    while let Some(c) = chars.get(at).copied() {
        let end = word_end(&chars, at);
        if is_joint(c) {
            out.push(joint);
        } else {
            if after_word && (c.is_alphanumeric() || is_symbol(c)) {
                out.push(joint);
            }
            out.extend(chars.get(at..end).unwrap_or_default().iter().copied().map(lower));
        }
        after_word = c.is_alphanumeric() || is_symbol(c);
        at = end;
    }
    out
}

/// Where the word, or the single other character, that starts at `at` ends.
fn word_end(chars: &[char], at: usize) -> usize {
    let run = |from: usize, is: fn(char) -> bool| from + chars.iter().skip(from).take_while(|c| is(**c)).count();
    let is = |at: usize, is: fn(char) -> bool| chars.get(at).copied().is_some_and(is);
    let small: fn(char) -> bool = |c| c.is_alphabetic() && !c.is_uppercase();
    let digit: fn(char) -> bool = char::is_numeric;
    // Digits behind a word are its own unless a small letter follows them.
    let with_digits = |end: usize| {
        let after = run(end, digit);
        if is(after, small) { end } else { after }
    };
    if is(at, digit) {
        return run(at, |c| c.is_numeric() || (c.is_alphabetic() && !c.is_uppercase()));
    }
    if is(at, small) {
        return with_digits(run(at, small));
    }
    if !is(at, char::is_uppercase) {
        return run(at, is_symbol).max(at + 1);
    }
    let capitals = run(at, char::is_uppercase);
    match is(capitals, small) {
        true if capitals - at > 1 => capitals - 1,
        true => with_digits(run(capitals, small)),
        false => with_digits(capitals),
    }
}

/// Words without what stood between them, each with a capital; capitals in a row that begin a word become small behind
/// the first.
fn camel_case(name: &str) -> String {
    let inner = name.trim_matches(is_joint);
    let Some(start) = name.find(inner).filter(|_| !inner.is_empty()) else { return name.to_owned() };
    let mut out: String = name.get(..start).unwrap_or_default().to_owned();
    let mut words = inner.split(is_joint).peekable();
    let mut joints = inner.chars().filter(|c| is_joint(*c));
    while let Some(word) = words.next() {
        if word.is_empty() {
            // Of several joints in a row all but one stay.
            out.extend(joints.next());
            continue;
        }
        let capitals = word.chars().take_while(|c| c.is_uppercase()).count();
        for (index, c) in word.chars().enumerate() {
            out.push(if index == 0 {
                upper(c)
            } else if index < capitals {
                lower(c)
            } else {
                c
            });
        }
        if words.peek().is_some_and(|next| !next.is_empty()) {
            joints.next();
        }
    }
    out.push_str(name.get(start + inner.len()..).unwrap_or_default());
    out
}
