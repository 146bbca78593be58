//! Durations such as `1h30m`.

use jiff::SignedDuration;

use super::super::quote::quote;

/// Reads `1h30m`, `-1.5h`, `300ms`.
pub fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (value, after) = rest.split_at(digits);
        let value: f64 = value.parse().map_err(|_| invalid())?;
        let letters = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        total += value
            * match unit {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "" => return Err(format!("time: missing unit in duration {}", quote(text))),
                _ => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
            };
        rest = after;
    }
    if total > i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(SignedDuration::from_nanos(if negative { -(total as i64) } else { total as i64 }))
}

/// Writes `1h30m0s`, for whole seconds.
pub fn duration_text(seconds: i64) -> String {
    let size = seconds.unsigned_abs();
    let sign = if seconds < 0 { "-" } else { "" };
    match size {
        0..60 => format!("{sign}{size}s"),
        60..3600 => format!("{sign}{}m{}s", size / 60, size % 60),
        _ => format!("{sign}{}h{}m{}s", size / 3600, size / 60 % 60, size % 60),
    }
}
