//! When to try again, and after how long. Pure but for the jitter.

use std::time::Duration;

use reqwest::StatusCode;

/// The longest pause, also when a registry asks for more.
const LONGEST: Duration = Duration::from_secs(60);

/// Whether an answer says "not now": the only answers that are asked for again.
pub fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The pause before attempt `attempt` (1 is the second): `base` doubled each time, the upper half of it random, so
/// that many clients do not come back at once. What the registry asked for is a lower bound.
pub fn pause(base: Duration, attempt: u32, asked: Option<Duration>) -> Duration {
    let full = base.saturating_mul(1 << attempt.saturating_sub(1).min(10));
    let jittered = full.mul_f64(0.5 + 0.5 * random_fraction());
    jittered.max(asked.unwrap_or_default()).min(LONGEST)
}

/// `Retry-After`: seconds, or an HTTP date compared with `now` (seconds since 1970).
pub fn retry_after(value: &str, now: i64) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(Duration::from_secs(u64::try_from(date.as_second().saturating_sub(now)).unwrap_or(0)))
}

fn random_fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 784_111_770; // 1994-11-06 08:49:30
        for (value, seconds) in [
            ("120", Some(120)),
            (" 1 ", Some(1)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn pauses_double_and_have_a_ceiling() {
        let base = Duration::from_secs(1);
        for attempt in 1..30 {
            let pause = pause(base, attempt, None);
            let full = Duration::from_secs(1 << (attempt - 1).min(10));
            assert!(pause <= full.min(LONGEST) && pause >= (full / 2).min(LONGEST), "{attempt}: {pause:?}");
        }
        assert_eq!(pause(base, 1, Some(Duration::from_secs(5))), Duration::from_secs(5));
        assert_eq!(pause(base, 1, Some(Duration::from_secs(86400))), LONGEST);
    }
}
