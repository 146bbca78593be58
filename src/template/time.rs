//! Moments and durations as Go writes and reads them: by a layout such as `2006-01-02 15:04`.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Zoned};

use super::quote::quote;
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

/// A part of a layout that stands for something.
#[derive(Clone, Copy)]
enum Token<'l> {
    Part(&'static str),
    /// `.000` or `,999`
    Fraction(&'l str),
}

impl<'l> Token<'l> {
    fn text(self) -> &'l str {
        match self {
            Self::Part(text) => text,
            Self::Fraction(text) => text,
        }
    }
}

/// Longer ones first where one begins with another.
const PARTS: [&str; 33] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "2006",
    "__2",
    "_2",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// The text before the next token, the token, and the rest.
fn next_token(layout: &str) -> Option<(&str, Token<'_>, &str)> {
    for (at, _) in layout.char_indices() {
        let (before, rest) = layout.split_at(at);
        if let Some(length) = fraction_length(rest) {
            let (pattern, after) = rest.split_at(length);
            return Some((before, Token::Fraction(pattern), after));
        }
        // `_2006` is an underscore and a year.
        if rest.starts_with("_2006") {
            continue;
        }
        let part = PARTS.into_iter().find(|part| rest.starts_with(part));
        let Some((part, after)) = part.and_then(|part| Some((part, rest.get(part.len()..)?))) else { continue };
        let is_word = matches!(part, "Jan" | "Mon") && after.starts_with(|c: char| c.is_ascii_lowercase());
        if !is_word {
            return Some((before, Token::Part(part), after));
        }
    }
    None
}

fn fraction_length(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(['.', ','])?;
    let digit = digits.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
    let count = digits.len() - digits.trim_start_matches(digit).len();
    let ends = !digits.get(count..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    ends.then_some(count + 1)
}

/// Reads `text` by a Go layout; without an offset in it, the moment is of `zone`.
///
/// # Errors
/// What does not fit, in Go's words.
pub fn parse(layout: &str, text: &str, zone: &TimeZone) -> Result<Time, String> {
    let context = || format!("parsing time {} as {}", quote(text), quote(layout));
    let mut fields = Fields::default();
    let (mut pattern, mut rest) = (layout, text);
    loop {
        let next = next_token(pattern);
        let literal = next.map_or(pattern, |(literal, _, _)| literal);
        rest = skip(rest, literal)
            .map_err(|(rest, literal)| format!("{}: cannot parse {} as {}", context(), quote(rest), quote(literal)))?;
        let Some((_, token, after)) = next else { break };
        rest = match fields.read(token, rest, after) {
            Ok(rest) => rest,
            Err(Misfit::Text) => {
                return Err(format!("{}: cannot parse {} as {}", context(), quote(rest), quote(token.text())));
            }
            Err(Misfit::Range(what)) => return Err(format!("parsing time {}: {what} out of range", quote(text))),
        };
        pattern = after;
    }
    if !rest.is_empty() {
        return Err(format!("parsing time {}: extra text: {}", quote(text), quote(rest)));
    }
    fields.moment(zone).ok_or_else(|| format!("parsing time {}: day out of range", quote(text)))
}

/// Moves over literal text; blanks in it stand for any number of blanks.
fn skip<'t, 'l>(mut text: &'t str, mut literal: &'l str) -> Result<&'t str, (&'t str, &'l str)> {
    while let Some(wanted) = literal.chars().next() {
        let found = text.chars().next();
        if wanted == ' ' {
            if found.is_some_and(|found| found != ' ') {
                return Err((text, literal));
            }
            literal = literal.trim_start_matches(' ');
            text = text.trim_start_matches(' ');
        } else if found == Some(wanted) {
            literal = literal.get(wanted.len_utf8()..).unwrap_or_default();
            text = text.get(wanted.len_utf8()..).unwrap_or_default();
        } else {
            return Err((text, literal));
        }
    }
    Ok(text)
}

enum Misfit {
    Text,
    Range(&'static str),
}

/// What has been read so far.
#[derive(Default)]
struct Fields {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    afternoon: Option<bool>,
    offset: Option<i32>,
}

type Rest<'t> = Result<&'t str, Misfit>;

impl Fields {
    /// Reads one token off the front of `text`; `after` is the layout behind it.
    fn read<'t>(&mut self, token: Token<'_>, text: &'t str, after: &str) -> Rest<'t> {
        match token {
            Token::Part(part @ ("2006" | "06")) => {
                let (value, rest) = number(text, part.len(), part.len())?;
                let century = match part {
                    "06" if value >= 69 => 1900,
                    "06" => 2000,
                    _ => 0,
                };
                self.year = i16::try_from(century + value).map_err(|_| Misfit::Text)?;
                Ok(rest)
            }
            Token::Part(part @ ("01" | "1")) => {
                let (value, rest) = number(text, part.len(), 2)?;
                self.month = Some(in_range(value, 1, 12, "month")?);
                Ok(rest)
            }
            Token::Part(part @ ("January" | "Jan")) => {
                let (index, rest) = name(&MONTHS, text, part == "Jan")?;
                self.month = i8::try_from(index + 1).ok();
                Ok(rest)
            }
            Token::Part(part @ ("Monday" | "Mon")) => name(&DAYS, text, part == "Mon").map(|(_, rest)| rest),
            Token::Part(part @ ("02" | "2" | "_2")) => {
                let text = if part == "_2" { text.strip_prefix(' ').unwrap_or(text) } else { text };
                let (value, rest) = number(text, if part == "02" { 2 } else { 1 }, 2)?;
                self.day = Some(value as i8);
                Ok(rest)
            }
            Token::Part("15") => self.clock(text, 1, 23, "hour", |fields| &mut fields.hour),
            Token::Part(part @ ("03" | "3")) => self.clock(text, part.len(), 12, "hour", |fields| &mut fields.hour),
            Token::Part(part @ ("04" | "4")) => self.clock(text, part.len(), 59, "minute", |fields| &mut fields.minute),
            Token::Part(part @ ("05" | "5")) => {
                let rest = self.clock(text, part.len(), 59, "second", |fields| &mut fields.second)?;
                // A fraction is taken also where the layout has none.
                let expected = matches!(next_token(after), Some(("", Token::Fraction(_), _)));
                Ok(if expected { rest } else { self.fraction(rest, None).unwrap_or(rest) })
            }
            Token::Part("PM" | "pm") => {
                let half = text.get(..2).ok_or(Misfit::Text)?;
                self.afternoon = Some(match half {
                    "PM" | "pm" => true,
                    "AM" | "am" => false,
                    _ => return Err(Misfit::Text),
                });
                Ok(text.get(2..).unwrap_or_default())
            }
            Token::Part("MST") => {
                let letters = text.bytes().take_while(u8::is_ascii_uppercase).count();
                self.offset = Some(0);
                if (3..=5).contains(&letters) { Ok(text.get(letters..).unwrap_or_default()) } else { Err(Misfit::Text) }
            }
            Token::Part("002" | "__2") => Err(Misfit::Text),
            Token::Part(zone) => self.zone(zone, text),
            Token::Fraction(pattern) if pattern.ends_with('0') => {
                self.fraction(text, Some(pattern.len() - 1)).ok_or(Misfit::Text)
            }
            Token::Fraction(_) => Ok(self.fraction(text, None).unwrap_or(text)),
        }
    }

    fn clock<'t>(
        &mut self,
        text: &'t str,
        digits: usize,
        most: i32,
        what: &'static str,
        field: fn(&mut Self) -> &mut i8,
    ) -> Rest<'t> {
        let (value, rest) = number(text, digits, 2)?;
        *field(self) = in_range(value, 0, most, what)?;
        Ok(rest)
    }

    /// `.123`, of exactly `count` digits when that is given.
    fn fraction<'t>(&mut self, text: &'t str, count: Option<usize>) -> Option<&'t str> {
        let digits = text.strip_prefix(['.', ','])?;
        let found = digits.bytes().take_while(u8::is_ascii_digit).count();
        let taken = match count {
            Some(count) if found < count => return None,
            Some(count) => count,
            None if found == 0 => return None,
            None => found,
        };
        let kept = digits.get(..taken.min(9)).unwrap_or_default();
        self.nanosecond = format!("{kept:0<9}").parse().ok()?;
        digits.get(taken..)
    }

    fn zone<'t>(&mut self, pattern: &str, text: &'t str) -> Rest<'t> {
        if pattern.starts_with('Z')
            && let Some(rest) = text.strip_prefix('Z')
        {
            self.offset = Some(0);
            return Ok(rest);
        }
        let sign = match text.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            _ => return Err(Misfit::Text),
        };
        let count = pattern.bytes().filter(u8::is_ascii_digit).count() / 2;
        let mut rest = text.get(1..).unwrap_or_default();
        let mut seconds = 0;
        for (index, unit) in [3600, 60, 1].into_iter().take(count).enumerate() {
            if index > 0 && pattern.contains(':') {
                rest = rest.strip_prefix(':').ok_or(Misfit::Text)?;
            }
            let (value, after) = number(rest, 2, 2)?;
            seconds += value * unit;
            rest = after;
        }
        self.offset = Some(sign * seconds);
        Ok(rest)
    }

    /// `None` for a day that its month does not have.
    fn moment(&self, zone: &TimeZone) -> Option<Time> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let date = Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok()?;
        let civil =
            DateTime::from_parts(date, jiff::civil::Time::new(hour, self.minute, self.second, self.nanosecond).ok()?);
        let zone = match self.offset {
            None => zone.clone(),
            Some(0) => TimeZone::UTC,
            Some(seconds) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
        };
        civil.to_zoned(zone).ok().map(Time)
    }
}

/// A number of `least` to `most` digits.
fn number(text: &str, least: usize, most: usize) -> Result<(i32, &str), Misfit> {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if digits < least {
        return Err(Misfit::Text);
    }
    let (digits, rest) = text.split_at(digits);
    digits.parse().map(|value| (value, rest)).map_err(|_| Misfit::Text)
}

fn in_range(value: i32, least: i32, most: i32, what: &'static str) -> Result<i8, Misfit> {
    if !(least..=most).contains(&value) {
        return Err(Misfit::Range(what));
    }
    i8::try_from(value).map_err(|_| Misfit::Range(what))
}

fn name<'t>(names: &[&str], text: &'t str, short: bool) -> Result<(usize, &'t str), Misfit> {
    let wanted = |name: &str| if short { name.get(..3).unwrap_or_default().to_owned() } else { name.to_owned() };
    for (index, name) in names.iter().enumerate() {
        let name = wanted(name);
        if text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(&name)) {
            return Ok((index, text.get(name.len()..).unwrap_or_default()));
        }
    }
    Err(Misfit::Text)
}

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
