//! Go string and character literals: reading and writing them.

/// `text` as a Go string literal in double quotes.
pub fn quote(text: &str) -> String {
    quote_with(text, '"', false)
}

/// `text` as a Go literal in `mark`s; with `ascii`, all but ASCII is escaped.
pub fn quote_with(text: &str, mark: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(mark);
    text.chars().for_each(|c| escape(&mut out, c, mark, ascii));
    out.push(mark);
    out
}

fn escape(out: &mut String, c: char, mark: char, ascii: bool) {
    match c {
        '\\' => out.push_str("\\\\"),
        _ if c == mark => out.extend(['\\', mark]),
        _ if is_printable(c) && (!ascii || c.is_ascii()) => out.push(c),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        _ if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
        _ if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
        _ => out.push_str(&format!("\\U{:08x}", c as u32)),
    }
}

/// Letters, marks, numbers, punctuation, symbols, and the ASCII space.
pub fn is_printable(c: char) -> bool {
    c == ' '
        || c == '\''
        || c == '"'
        || c == '\\'
        || (!c.is_control() && !c.is_whitespace() && c.escape_debug().count() == 1)
        || unicode_normalization::char::is_combining_mark(c)
}

/// The text of a Go string literal, quotes included: `"…"` or `` `…` ``.
pub fn unquote(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
        return (!raw.contains('`')).then(|| raw.replace('\r', ""));
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        rest = unescape(rest, '"', &mut bytes)?;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The character of a Go rune literal, quotes included.
pub fn unquote_char(literal: &str) -> Option<u32> {
    let inner = literal.strip_prefix('\'')?;
    let mut bytes = Vec::new();
    if unescape(inner, '\'', &mut bytes)? != "'" {
        return None;
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => text.chars().next().map(u32::from),
        Err(_) => bytes.first().copied().map(u32::from),
    }
}

/// Reads one character or escape off the front; the rest comes back.
fn unescape<'a>(text: &'a str, mark: char, out: &mut Vec<u8>) -> Option<&'a str> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if first == mark || first == '\n' {
        return None;
    }
    if first != '\\' {
        push(out, first);
        return Some(chars.as_str());
    }
    let kind = chars.next()?;
    let simple = match kind {
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        '\\' => Some('\\'),
        '\'' | '"' if kind == mark => Some(kind),
        _ => None,
    };
    if let Some(c) = simple {
        push(out, c);
        return Some(chars.as_str());
    }
    let (radix, digits, skipped) = match kind {
        'x' => (16, 2, 0),
        'u' => (16, 4, 0),
        'U' => (16, 8, 0),
        '0'..='7' => (8, 3, 1),
        _ => return None,
    };
    let rest = chars.as_str();
    let start = text.len() - rest.len() - skipped;
    let code = text.get(start..start + digits)?;
    if code.starts_with('+') {
        return None;
    }
    let code = u32::from_str_radix(code, radix).ok()?;
    if matches!(kind, 'u' | 'U') {
        push(out, char::from_u32(code)?);
    } else {
        out.push(u8::try_from(code).ok()?);
    }
    text.get(start + digits..)
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_go_both_ways() {
        for (literal, text) in [
            (r#""a\tb""#, "a\tb"),
            (r#""\"q\" \\""#, "\"q\" \\"),
            (r#""\u00e9\x41\101""#, "éAA"),
            (r#""\U0001F600""#, "😀"),
            ("`raw \\n`", "raw \\n"),
        ] {
            assert_eq!(unquote(literal).as_deref(), Some(text), "{literal}");
        }
        for bad in ["\"", "\"a", r#""\q""#, r#""\x4""#, r#""\'""#, r#""\ud800""#, "`a`b`", r#""\400""#] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
        assert_eq!(quote("é\u{7f}\u{200b}\"\n"), "\"é\\x7f\\u200b\\\"\\n\"");
        assert_eq!(unquote_char(r"'\''"), Some(39));
        assert_eq!(unquote_char("'ab'"), None);
    }
}
