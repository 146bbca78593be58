//! Reading a moment by a layout.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

use super::super::quote::quote;
use super::layout::{Token, next_token};
use super::{DAYS, MONTHS, Time};

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
