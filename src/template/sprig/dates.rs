//! Dates. `now` is the moment that the functions were made with; they never ask a clock.

use std::rc::Rc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::super::error::Failure;
use super::super::exec::Engine;
use super::super::functions::{Args, Outcome, Row, table};
use super::super::time::{self, Time, duration_text, parse_duration};
use super::super::value::Value;
use super::text;

pub const ROWS: &[Row] = table! {
    "now" () => |engine, _| Ok(value(now(engine)?)),
    "ago" (Any) => ago,
    "date" (Str, Any) => |engine, a| format(engine, a.str(0), a.any(1), local(engine)),
    "dateInZone" (Str, Any, Str) => |engine, a| format(engine, a.str(0), a.any(1), zone(engine, a.str(2))),
    "date_in_zone" (Str, Any, Str) => |engine, a| format(engine, a.str(0), a.any(1), zone(engine, a.str(2))),
    "htmlDate" (Any) => |engine, a| format(engine, "2006-01-02", a.any(0), local(engine)),
    "htmlDateInZone" (Any, Str) => |engine, a| format(engine, "2006-01-02", a.any(0), zone(engine, a.str(1))),
    "dateModify" (Str, Time) => |_, a| modify(a).or_else(|_| Ok(a.any(1).clone())),
    "date_modify" (Str, Time) => |_, a| modify(a).or_else(|_| Ok(a.any(1).clone())),
    "mustDateModify" (Str, Time) => |_, a| modify(a),
    "must_date_modify" (Str, Time) => |_, a| modify(a),
    "toDate" (Str, Str) => |engine, a| parse(engine, a).or_else(|_| time::parse("2006", "0001", &TimeZone::UTC).map(value).map_err(Failure::from)),
    "mustToDate" (Str, Str) => parse,
    "unixEpoch" (Time) => |_, a| text(given(a.any(0)).map_or(0, |time| time.timestamp().as_second()).to_string()),
    "duration" (Any) => duration,
    "durationRound" (Any) => duration_round,
};

fn value(time: Time) -> Value {
    Value::object(Rc::new(time))
}

fn now(engine: &Engine<'_>) -> Result<Time, Failure> {
    engine.now().cloned().map(Time).ok_or_else(|| "the time is not known here".into())
}

fn local(engine: &Engine<'_>) -> TimeZone {
    engine.now().map_or(TimeZone::UTC, |now| now.time_zone().clone())
}

/// A zone by name, UTC when there is none of that name.
fn zone(engine: &Engine<'_>, name: &str) -> TimeZone {
    match name {
        "Local" => local(engine),
        "" | "UTC" => TimeZone::UTC,
        name => TimeZone::get(name).unwrap_or(TimeZone::UTC),
    }
}

fn given(value: &Value) -> Option<&Zoned> {
    match value {
        Value::Object(object) => object.as_any()?.downcast_ref::<Time>().map(|time| &time.0),
        _ => None,
    }
}

/// A time, or a number of seconds since 1970; anything else is now.
fn moment(engine: &Engine<'_>, value: &Value) -> Result<Zoned, Failure> {
    if let Some(time) = given(value) {
        return Ok(time.clone());
    }
    match value {
        Value::Int(seconds) | Value::Int64(seconds) => match Timestamp::from_second(*seconds) {
            Ok(timestamp) => Ok(timestamp.to_zoned(local(engine))),
            Err(error) => Err(error.to_string().into()),
        },
        _ => Ok(now(engine)?.0),
    }
}

fn format(engine: &Engine<'_>, layout: &str, date: &Value, zone: TimeZone) -> Outcome {
    text(Time(moment(engine, date)?.with_time_zone(zone)).format(layout))
}

fn parse(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    Ok(value(time::parse(args.str(0), args.str(1), &local(engine))?))
}

fn modify(args: Args<'_>) -> Outcome {
    let duration = parse_duration(args.str(0))?;
    let Some(time) = given(args.any(1)) else { return Ok(args.any(1).clone()) };
    Ok(value(Time(time.checked_add(duration).map_err(|error| error.to_string())?)))
}

fn ago(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    let then = moment(engine, args.any(0))?;
    text(duration_text(now(engine)?.0.duration_since(&then).as_secs()))
}

/// Seconds, as text or as an `int64`.
fn duration(_: &Engine<'_>, args: Args<'_>) -> Outcome {
    text(duration_text(match args.any(0) {
        Value::Str(text) => text.parse().unwrap_or_default(),
        Value::Int64(seconds) => *seconds,
        _ => 0,
    }))
}

/// The largest unit that fits.
fn duration_round(engine: &Engine<'_>, args: Args<'_>) -> Outcome {
    const UNITS: [(i128, &str); 6] =
        [(31_536_000, "y"), (2_592_000, "mo"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let duration = match args.any(0) {
        Value::Str(text) => parse_duration(text).unwrap_or(SignedDuration::ZERO),
        Value::Int64(nanoseconds) => SignedDuration::from_nanos(*nanoseconds),
        other => match given(other) {
            Some(time) => now(engine)?.0.duration_since(time),
            None => SignedDuration::ZERO,
        },
    };
    let (size, sign) = (duration.as_nanos().abs(), if duration.is_negative() { "-" } else { "" });
    for (seconds, unit) in UNITS {
        let nanoseconds = seconds * 1_000_000_000;
        if size > nanoseconds {
            return text(format!("{sign}{}{unit}", size / nanoseconds));
        }
    }
    text("0s")
}
