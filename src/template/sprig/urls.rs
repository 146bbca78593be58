//! URLs, taken apart and put together as Go does.

use super::super::exec::Engine;
use super::super::functions::{Args, Outcome, Row, table};
use super::super::quote::quote;
use super::super::value::{Map, Value};
use super::text;

pub const ROWS: &[Row] = table! {
    "urlParse" (Str) => url_parse,
    "urlJoin" (Map) => url_join,
};

fn url_parse(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let whole = args.str(0);
    let failed = |reason: &str| format!("unable to parse url: parse {}: {reason}", quote(whole));
    if whole.chars().any(|c| c.is_ascii_control()) {
        return Err(failed("net/url: invalid control character in URL").into());
    }
    let (rest, fragment) = whole.split_once('#').unwrap_or((whole, ""));
    let (scheme, rest) = split_scheme(rest).map_err(|reason| failed(&reason))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let opaque = if !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/') { rest } else { "" };
    let path = if opaque.is_empty() { path } else { "" };
    if scheme.is_empty() && !rest.starts_with('/') && path.split('/').next().is_some_and(|first| first.contains(':')) {
        return Err(failed("first path segment in URL cannot contain colon").into());
    }
    let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.starts_with('[') && !host.contains(']') {
        return Err(failed("missing ']' in host").into());
    }
    let (path, fragment) =
        (unescape(path).map_err(|reason| failed(&reason))?, unescape(fragment).map_err(|reason| failed(&reason))?);
    let parts = [
        ("scheme", scheme.to_ascii_lowercase()),
        ("host", host.to_owned()),
        ("hostname", hostname(host).to_owned()),
        ("path", path),
        ("query", query.to_owned()),
        ("opaque", opaque.to_owned()),
        ("fragment", fragment),
        ("userinfo", userinfo.to_owned()),
    ];
    Ok(parts.into_iter().map(|(name, part)| (name, Value::from(part))).collect())
}

fn split_scheme(url: &str) -> Result<(&str, &str), String> {
    let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(url.len());
    match (url.get(..end), url.get(end..).and_then(|rest| rest.strip_prefix(':'))) {
        (Some(""), Some(_)) => Err("missing protocol scheme".to_owned()),
        (Some(scheme), Some(rest)) if scheme.starts_with(|c: char| c.is_ascii_alphabetic()) => Ok((scheme, rest)),
        _ => Ok(("", url)),
    }
}

/// The host without its port and brackets.
fn hostname(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

fn unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(percent) = rest.find('%') {
        let (plain, escape) = rest.split_at(percent);
        bytes.extend_from_slice(plain.as_bytes());
        let digits = escape.get(1..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            let shown: String = escape.chars().take(3).collect();
            return Err(format!("invalid URL escape {}", quote(&shown)));
        };
        bytes.push(byte);
        rest = escape.get(3..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn escape(text: &str, kept: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || "-_.~".contains(char::from(byte)) || kept.contains(char::from(byte)) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn url_join(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    let map = args.map(0);
    let mut parts = Vec::new();
    for name in ["scheme", "userinfo", "host", "path", "query", "opaque", "fragment"] {
        parts.push(part(map, name)?);
    }
    let [scheme, userinfo, host, path, query, opaque, fragment] = parts.as_slice() else { return text("") };
    let mut url = String::new();
    if !scheme.is_empty() {
        url = format!("{scheme}:");
    }
    if !opaque.is_empty() {
        url.push_str(opaque);
    } else {
        let has_authority = !host.is_empty() || !userinfo.is_empty();
        if has_authority || (!scheme.is_empty() && !path.is_empty()) {
            url.push_str("//");
        }
        if !userinfo.is_empty() {
            url.push_str(&format!("{userinfo}@"));
        }
        url.push_str(host);
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            url.push('/');
        }
        url.push_str(&escape(path, "$&+,/:;=@"));
    }
    if !query.is_empty() {
        url.push_str(&format!("?{query}"));
    }
    if !fragment.is_empty() {
        url.push_str(&format!("#{}", escape(fragment, "$&+,/:;=@!()*?")));
    }
    text(url)
}

fn part(map: Option<&Map>, name: &str) -> Result<String, String> {
    match map.and_then(|map| map.get(name)) {
        None => Ok(String::new()),
        Some(Value::Str(text)) => Ok(text.to_string()),
        Some(other) => {
            Err(format!("unable to parse {name} key, must be of type string, but {} found", other.type_name()))
        }
    }
}
