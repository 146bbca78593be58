//! Small words of the log: sizes, durations, counts, lists.

use std::time::Duration;

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes in binary units with one decimal, `512 B` or `1.5 MiB`; may be negative (spec/build.md 8.2).
pub fn size(bytes: impl Into<i128>) -> String {
    let bytes = bytes.into();
    if bytes.abs() < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        // 1023.95 would be printed as 1024.0, so it belongs to the next unit already.
        if !unit.is_empty() && value.abs() < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `1.23 seconds`.
pub fn seconds(time: Duration) -> String {
    format!("{:.2} seconds", time.as_secs_f64())
}

/// Whole seconds for people: `45s`, `1m30s`, `2h0m5s`.
pub fn elapsed(time: Duration) -> String {
    let total = time.as_secs();
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `1 image`, `2 images`.
pub fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A name between backticks, as in error texts.
pub fn ticked(name: impl std::fmt::Display) -> String {
    format!("`{name}`")
}

/// Names between backticks: `` `a` ``, `` `a` and `b` ``, `` `a`, `b` and `c` ``.
pub fn list<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let mut ticked: Vec<String> = names.into_iter().map(ticked).collect();
    match ticked.pop() {
        None => String::new(),
        Some(only) if ticked.is_empty() => only,
        Some(last) => format!("{} and {last}", ticked.join(", ")),
    }
}

/// Milliseconds since 1970 as people read them, in UTC: `2020-08-03 11:20:41.5 +0000 UTC`.
pub fn timestamp(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    let fraction = milliseconds.rem_euclid(1000) / 100;
    format!("{}.{fraction} +0000 UTC", time.strftime("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_with_one_decimal() {
        let table: [(i128, &str); 10] = [
            (0, "0 B"),
            (512, "512 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (115_133_645, "109.8 MiB"),
            (1_048_575, "1.0 MiB"),
            (-3_145_728, "-3.0 MiB"),
            (u64::MAX.into(), "16.0 EiB"),
            (i128::MAX, "147573952589676412928.0 EiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_counts_and_lists() {
        assert_eq!(seconds(Duration::from_millis(24_914)), "24.91 seconds");
        assert_eq!(elapsed(Duration::from_secs(45)), "45s");
        assert_eq!(elapsed(Duration::from_secs(90)), "1m30s");
        assert_eq!(elapsed(Duration::from_secs(7205)), "2h0m5s");
        assert_eq!(plural(1, "entry", "entries"), "1 entry");
        assert_eq!(plural(0, "entry", "entries"), "0 entries");
        assert_eq!(list(["a"]), "`a`");
        assert_eq!(list(["a", "b"]), "`a` and `b`");
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(list(Vec::<String>::new()), "");
    }
}
