//! Moments and durations as Go writes and reads them: by a layout such as `2006-01-02 15:04`.

mod duration;
mod layout;
mod parse;

use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Zoned};

pub use duration::{duration_text, parse_duration};
use layout::{Token, next_token};
pub use parse::parse;

use super::value::{Object, Value};

/// Go's `time.Time`.
#[derive(Clone)]
pub struct Time(pub Zoned);

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Object for Time {
    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let time = &self.0;
        Some(Ok(match (method, args) {
            ("Format", [Value::Str(layout)]) => Value::from(self.format(layout)),
            ("AddDate", [Value::Int(years), Value::Int(months), Value::Int(days)]) => {
                return Some(self.add_date(*years, *months, *days));
            }
            ("Format" | "AddDate", _) => return Some(Err(format!("wrong arguments for {method}"))),
            ("Year", []) => Value::Int(time.year().into()),
            ("Month", []) => Value::from(name_of(&MONTHS, time.month() - 1)),
            ("Day", []) => Value::Int(time.day().into()),
            ("Hour", []) => Value::Int(time.hour().into()),
            ("Minute", []) => Value::Int(time.minute().into()),
            ("Second", []) => Value::Int(time.second().into()),
            ("Weekday", []) => Value::from(name_of(&DAYS, time.weekday().to_sunday_zero_offset())),
            ("YearDay", []) => Value::Int(time.day_of_year().into()),
            ("Unix", []) => Value::Int64(time.timestamp().as_second()),
            ("UTC", []) => Value::object(std::rc::Rc::new(Time(time.with_time_zone(TimeZone::UTC)))),
            ("String", []) => Value::from(self.text()),
            _ => return None,
        }))
    }

    fn type_name(&self) -> &str {
        "time.Time"
    }

    fn text(&self) -> String {
        self.format("2006-01-02 15:04:05.999999999 -0700 MST")
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

fn name_of(names: &[&'static str], index: i8) -> &'static str {
    usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
}

impl Time {
    fn add_date(&self, years: i64, months: i64, days: i64) -> Result<Value, String> {
        let span =
            Span::new().try_years(years).and_then(|span| span.try_months(months)).and_then(|span| span.try_days(days));
        match span.and_then(|span| self.0.checked_add(span)) {
            Ok(time) => Ok(Value::object(std::rc::Rc::new(Time(time)))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// By a Go layout.
    pub fn format(&self, layout: &str) -> String {
        let mut out = String::new();
        let mut rest = layout;
        while let Some((literal, token, after)) = next_token(rest) {
            out.push_str(literal);
            self.format_token(token, &mut out);
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn format_token(&self, token: Token<'_>, out: &mut String) {
        let time = &self.0;
        let hour12 = if time.hour() % 12 == 0 { 12 } else { time.hour() % 12 };
        let text = match token {
            Token::Part("January") => name_of(&MONTHS, time.month() - 1).to_owned(),
            Token::Part("Jan") => name_of(&MONTHS, time.month() - 1).chars().take(3).collect(),
            Token::Part("Monday") => name_of(&DAYS, time.weekday().to_sunday_zero_offset()).to_owned(),
            Token::Part("Mon") => name_of(&DAYS, time.weekday().to_sunday_zero_offset()).chars().take(3).collect(),
            Token::Part("01") => format!("{:02}", time.month()),
            Token::Part("1") => time.month().to_string(),
            Token::Part("02") => format!("{:02}", time.day()),
            Token::Part("_2") => format!("{:>2}", time.day()),
            Token::Part("2") => time.day().to_string(),
            Token::Part("002") => format!("{:03}", time.day_of_year()),
            Token::Part("__2") => format!("{:>3}", time.day_of_year()),
            Token::Part("03") => format!("{hour12:02}"),
            Token::Part("3") => hour12.to_string(),
            Token::Part("15") => format!("{:02}", time.hour()),
            Token::Part("04") => format!("{:02}", time.minute()),
            Token::Part("4") => time.minute().to_string(),
            Token::Part("05") => format!("{:02}", time.second()),
            Token::Part("5") => time.second().to_string(),
            Token::Part("06") => format!("{:02}", time.year().rem_euclid(100)),
            Token::Part("2006") => format!("{:04}", time.year()),
            Token::Part("PM") => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
            Token::Part("pm") => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
            Token::Part("MST") => self.zone_name(),
            Token::Part(zone) => offset_text(zone, time.offset()),
            Token::Fraction(pattern) => self.fraction(pattern),
        };
        out.push_str(&text);
    }

    /// `.000` keeps its zeros, `.999` drops them.
    fn fraction(&self, pattern: &str) -> String {
        let digits = format!("{:09}", self.0.subsec_nanosecond());
        let digits = digits.get(..pattern.len() - 1).unwrap_or(&digits);
        let (mark, kept) = (pattern.get(..1).unwrap_or("."), digits.trim_end_matches('0'));
        match pattern.ends_with('9') {
            true if kept.is_empty() => String::new(),
            true => format!("{mark}{kept}"),
            false => format!("{mark}{digits}"),
        }
    }

    fn zone_name(&self) -> String {
        let info = self.0.time_zone().to_offset_info(self.0.timestamp());
        match info.abbreviation() {
            name if name.starts_with(|c: char| c.is_ascii_alphabetic()) => name.to_owned(),
            _ => offset_text("-0700", self.0.offset()),
        }
    }
}

/// The offset by a pattern such as `-07:00` or `Z0700`.
fn offset_text(pattern: &str, offset: Offset) -> String {
    let seconds = offset.seconds();
    if pattern.starts_with('Z') && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let size = seconds.unsigned_abs();
    let parts = [size / 3600, size / 60 % 60, size % 60];
    let colon = if pattern.contains(':') { ":" } else { "" };
    let count = pattern.bytes().filter(u8::is_ascii_digit).count() / 2;
    let texts: Vec<String> = parts.iter().take(count).map(|part| format!("{part:02}")).collect();
    format!("{sign}{}", texts.join(colon))
}
