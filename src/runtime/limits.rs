//! How much of the host a container of a build may use (decisions 5.1): `{ memory: 2GiB, pids: 4096, cpus: 2 }`.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All optional; what is `None` is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory of all processes together, swap included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processes and threads at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
    /// Processor time, in processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
}

/// Bytes; written as a number, or with one of the units `KiB`, `MiB`, `GiB` and `TiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub i64);

/// A number of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pids(pub i64);

/// Thousandths of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus(pub u32);

/// Below these not even the start of a container works.
const LEAST_MEMORY: i64 = 16 << 20;
const LEAST_PIDS: i64 = 16;
/// The kernel accounts no smaller part (one millisecond of [`Cpus::PERIOD`]).
const LEAST_CPUS: f64 = 0.01;
const MOST_CPUS: u32 = 100_000;

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl Limits {
    /// Names of the limits that are set here and not there.
    pub fn names_not_in(&self, other: &Self) -> Vec<&'static str> {
        let lost = [
            ("memory", self.memory.is_some() && other.memory.is_none()),
            ("pids", self.pids.is_some() && other.pids.is_none()),
            ("cpus", self.cpus.is_some() && other.cpus.is_none()),
        ];
        lost.into_iter().filter_map(|(name, is_lost)| is_lost.then_some(name)).collect()
    }
}

impl Cpus {
    /// What a quota is a part of, in microseconds.
    pub const PERIOD: u32 = 100_000;

    /// Microseconds of each [`Cpus::PERIOD`].
    pub fn quota(self) -> i64 {
        i64::from(self.0) * i64::from(Self::PERIOD / 1000)
    }
}

impl Memory {
    fn parse(text: &str) -> Option<Self> {
        let (number, shift) = UNITS
            .into_iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?.trim_end(), shift)))
            .unwrap_or((text, 0));
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse::<i64>().ok().filter(|_| is_number)?;
        number.checked_mul(1 << shift).map(Self)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.into_iter().find(|(_, shift)| self.0.trailing_zeros() >= *shift);
        match whole {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 1000 {
            0 => serializer.serialize_u32(self.0 / 1000),
            _ => serializer.serialize_f64(f64::from(self.0) / 1000.0),
        }
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Memory;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a size of at least {}, such as `512MiB` or `2GiB`", Memory(LEAST_MEMORY))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Memory, E> {
                let memory = Memory::parse(text).filter(|memory| memory.0 >= LEAST_MEMORY);
                memory.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Memory, E> {
                let memory = i64::try_from(bytes).ok().filter(|bytes| *bytes >= LEAST_MEMORY).map(Memory);
                memory.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(bytes), &self))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl<'de> Deserialize<'de> for Pids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Pids;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of processes, at least {LEAST_PIDS}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Pids, E> {
                let pids = i64::try_from(number).ok().filter(|pids| *pids >= LEAST_PIDS).map(Pids);
                pids.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Cpus;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of processors, at least {LEAST_CPUS}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Cpus, E> {
                let cpus = u32::try_from(number).ok().filter(|cpus| (1..=MOST_CPUS).contains(cpus));
                let cpus = cpus.map(|cpus| Cpus(cpus * 1000));
                cpus.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Cpus, E> {
                if !(LEAST_CPUS..=f64::from(MOST_CPUS)).contains(&number) {
                    return Err(E::invalid_value(Unexpected::Float(number), &self));
                }
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
                Ok(Cpus((number * 1000.0).round() as u32))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_with_units() {
        for (text, bytes, written) in [
            ("2GiB", 2 << 30, "2GiB"),
            ("512 MiB", 512 << 20, "512MiB"),
            ("1048576KiB", 1 << 30, "1GiB"),
            ("20000001", 20_000_001, "20000001"),
        ] {
            assert_eq!(Memory::parse(text), Some(Memory(bytes)), "{text}");
            assert_eq!(Memory(bytes).to_string(), written);
        }
        for text in
            ["", "GiB", "2GB", "2G", "-1GiB", "+1GiB", "1.5GiB", "9223372036854775807KiB", "99999999999999999999"]
        {
            assert_eq!(Memory::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_quota_is_a_part_of_its_period() {
        let cpus: Cpus = serde_yaml::from_str("1.5").unwrap();
        assert_eq!((cpus, cpus.quota()), (Cpus(1500), 150_000));
        assert_eq!(serde_json::to_string(&[Cpus(2000), cpus]).unwrap(), "[2,1.5]");
    }
}
