//! Versions and constraints on them, in the manner of the Masterminds library.

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::super::functions::{Args, Outcome, Row, table};
use super::super::value::{Object, Value};

pub const ROWS: &[Row] = table! {
    "semver" (Str) => |_, a| Ok(Value::object(Rc::new(Version::parse(a.str(0))?))),
    "semverCompare" (Str, Str) => |_, a| compare(a),
};

/// A version; parts that were left out are 0.
#[derive(Clone, Debug)]
struct Version {
    numbers: [u64; 3],
    prerelease: String,
    metadata: String,
    original: String,
}

const SUFFIX: &str = r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?";
const OPERATOR: &str = "!=|>=|=>|<=|=<|~>|=|>|<|~|\\^|";

/// `None` cannot be: the patterns are constant, and a test compiles them.
static VERSION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r"^v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?{SUFFIX}$")).ok());
static ONE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r"^\s*(!=|>=|=>|<=|=<|~>|=|>|<|~|\^)?\s*{}\s*,?", constraint_version())).ok());
static ALL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let one = format!(r"(?:{OPERATOR})\s*{}\s*", constraint_version());
    Regex::new(&format!(r"^(?:\s*{one})(?:(?:\s+|,\s*){one})*$")).ok()
});
static RANGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // The same without groups, so that $1 and $2 are the two versions.
    let version = constraint_version().replace("(?:", "(").replace('(', "(?:");
    Regex::new(&format!(r"\s*({version})\s+-\s+({version})\s*")).ok()
});

fn constraint_version() -> String {
    format!(r"v?([0-9]+|[xX*])(?:\.([0-9]+|[xX*]))?(?:\.([0-9]+|[xX*]))?{SUFFIX}")
}

impl Version {
    fn parse(text: &str) -> Result<Self, String> {
        let invalid = || "Invalid Semantic Version".to_owned();
        let groups = VERSION.as_ref().and_then(|regex| regex.captures(text)).ok_or_else(invalid)?;
        let mut numbers = [0; 3];
        for (number, index) in numbers.iter_mut().zip(1..) {
            if let Some(digits) = groups.get(index) {
                *number = digits.as_str().parse().map_err(|_| invalid())?;
            }
        }
        let group = |index| groups.get(index).map_or(String::new(), |found| found.as_str().to_owned());
        let version = Self { numbers, prerelease: group(4), metadata: group(5), original: text.to_owned() };
        if version.prerelease.split('.').any(has_leading_zero) {
            return Err("Version segment starts with 0".to_owned());
        }
        Ok(version)
    }

    fn major(&self) -> u64 {
        self.numbers[0]
    }

    fn minor(&self) -> u64 {
        self.numbers[1]
    }

    fn patch(&self) -> u64 {
        self.numbers[2]
    }

    /// Metadata does not count; a prerelease comes before its release.
    fn order(&self, other: &Version) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        numbers.then_with(|| match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => order_of_prereleases(&self.prerelease, &other.prerelease),
        })
    }
}

fn has_leading_zero(segment: &str) -> bool {
    segment.len() > 1 && segment.starts_with('0') && segment.bytes().all(|byte| byte.is_ascii_digit())
}

fn order_of_prereleases(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

impl Object for Version {
    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let plain = match method {
            "Major" => Value::Uint(self.major()),
            "Minor" => Value::Uint(self.minor()),
            "Patch" => Value::Uint(self.patch()),
            "Prerelease" => Value::from(self.prerelease.as_str()),
            "Metadata" => Value::from(self.metadata.as_str()),
            "Original" => Value::from(self.original.as_str()),
            "String" => Value::from(self.text()),
            "Compare" | "LessThan" | "GreaterThan" | "Equal" => return Some(self.compare(method, args)),
            _ => return None,
        };
        Some(Ok(plain))
    }

    fn type_name(&self) -> &str {
        "*semver.Version"
    }

    fn text(&self) -> String {
        let [major, minor, patch] = self.numbers;
        let suffix = |mark: &str, text: &str| if text.is_empty() { String::new() } else { format!("{mark}{text}") };
        format!("{major}.{minor}.{patch}{}{}", suffix("-", &self.prerelease), suffix("+", &self.metadata))
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl Version {
    fn compare(&self, method: &str, args: &[Value]) -> Result<Value, String> {
        let [Value::Object(other)] = args else { return Err(format!("`{method}` takes one version")) };
        let Some(other) = other.as_any().and_then(|any| any.downcast_ref::<Version>()) else {
            return Err(format!("wrong type for value; expected *semver.Version; got {}", other.type_name()));
        };
        let order = self.order(other);
        Ok(match method {
            "Compare" => Value::Int(order as i64),
            "LessThan" => Value::Bool(order.is_lt()),
            "GreaterThan" => Value::Bool(order.is_gt()),
            _ => Value::Bool(order.is_eq()),
        })
    }
}

/// `semverCompare constraint version`
fn compare(args: Args<'_>) -> Outcome {
    let (text, version) = (args.str(0), args.str(1));
    let constraints: Result<Vec<Vec<Constraint>>, String> =
        text.split("||").map(|part| alternative(part, text)).collect();
    let constraints = constraints?;
    let version = Version::parse(version)?;
    Ok(Value::Bool(constraints.iter().any(|all| all.iter().all(|constraint| constraint.admits(&version)))))
}

/// Constraints that must all hold; `1.2 - 1.4` is two of them.
fn alternative(part: &str, whole: &str) -> Result<Vec<Constraint>, String> {
    let improper = || format!("improper constraint: {whole}");
    let (Some(range), Some(all), Some(one)) = (RANGE.as_ref(), ALL.as_ref(), ONE.as_ref()) else {
        return Err(improper());
    };
    let part = range.replace_all(part, ">=$1,<=$2");
    if !all.is_match(&part) {
        return Err(improper());
    }
    let mut constraints = Vec::new();
    let mut rest: &str = &part;
    while !rest.trim().is_empty() {
        let groups = one.captures(rest).ok_or_else(improper)?;
        constraints.push(Constraint::new(&groups).ok_or_else(improper)?);
        let end = groups.get(0).map_or(rest.len(), |found| found.end());
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(constraints)
}

/// One operator with its version. What was left out or is `x` makes the version a range.
struct Constraint {
    operator: Operator,
    version: Version,
    /// Some part is free.
    free: bool,
    free_minor: bool,
    free_patch: bool,
}

#[derive(Clone, Copy)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

impl Constraint {
    fn new(groups: &Captures<'_>) -> Option<Self> {
        let operator = match groups.get(1).map_or("", |found| found.as_str()) {
            "" | "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            ">" => Operator::Greater,
            "<" => Operator::Less,
            ">=" | "=>" => Operator::GreaterOrEqual,
            "<=" | "=<" => Operator::LessOrEqual,
            "~" | "~>" => Operator::Tilde,
            _ => Operator::Caret,
        };
        let number = |index| groups.get(index).and_then(|found| found.as_str().parse::<u64>().ok());
        let (major, minor, patch) = (number(2), number(3), number(4));
        let free_minor = major.is_some() && minor.is_none();
        let free_patch = major.is_some() && minor.is_some() && patch.is_none();
        let numbers = match (major, minor) {
            (None, _) => [0, 0, 0],
            (Some(major), None) => [major, 0, 0],
            (Some(major), Some(minor)) => [major, minor, patch.unwrap_or_default()],
        };
        let prerelease = groups.get(5).map_or(String::new(), |found| found.as_str().to_owned());
        let version = Version { numbers, prerelease, metadata: String::new(), original: String::new() };
        Some(Self { operator, version, free: major.is_none() || free_minor || free_patch, free_minor, free_patch })
    }

    fn admits(&self, version: &Version) -> bool {
        let unwanted_prerelease = !version.prerelease.is_empty() && self.version.prerelease.is_empty();
        let order = version.order(&self.version);
        if let Operator::NotEqual = self.operator {
            return if self.free { !unwanted_prerelease && self.differs(version) } else { order.is_ne() };
        }
        if unwanted_prerelease {
            return false;
        }
        match self.operator {
            Operator::Equal if self.free => self.tilde(version),
            Operator::Equal | Operator::NotEqual => order.is_eq(),
            Operator::Greater => self.greater(version),
            Operator::Less => order.is_lt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::LessOrEqual => self.less_or_equal(version),
            Operator::Tilde => self.tilde(version),
            Operator::Caret => self.caret(version),
        }
    }

    fn differs(&self, version: &Version) -> bool {
        if version.major() != self.version.major() {
            return true;
        }
        if self.free_minor {
            return false;
        }
        if version.minor() != self.version.minor() {
            return true;
        }
        if self.free_patch {
            return version.prerelease != self.version.prerelease;
        }
        version.order(&self.version).is_ne()
    }

    fn greater(&self, version: &Version) -> bool {
        match version.major().cmp(&self.version.major()) {
            Ordering::Equal if self.free_minor => false,
            Ordering::Equal if self.free_patch => version.minor() > self.version.minor(),
            _ if !self.free => version.order(&self.version).is_gt(),
            Ordering::Equal => version.order(&self.version).is_gt(),
            order => order.is_gt(),
        }
    }

    fn less_or_equal(&self, version: &Version) -> bool {
        if !self.free {
            return version.order(&self.version).is_le();
        }
        match version.major().cmp(&self.version.major()) {
            Ordering::Greater => false,
            Ordering::Equal => self.free_minor || version.minor() <= self.version.minor(),
            Ordering::Less => true,
        }
    }

    fn tilde(&self, version: &Version) -> bool {
        if version.order(&self.version).is_lt() {
            return false;
        }
        if self.version.numbers == [0, 0, 0] && !self.free_minor && !self.free_patch {
            return true;
        }
        version.major() == self.version.major() && (self.free_minor || version.minor() == self.version.minor())
    }

    fn caret(&self, version: &Version) -> bool {
        if version.order(&self.version).is_lt() {
            return false;
        }
        if self.version.major() > 0 || self.free_minor {
            return version.major() == self.version.major();
        }
        if version.major() > 0 {
            return false;
        }
        if self.version.minor() > 0 || self.free_patch {
            return version.minor() == self.version.minor();
        }
        version.minor() == 0 && version.patch() == self.version.patch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_compile() {
        assert!(VERSION.is_some() && ONE.is_some() && ALL.is_some() && RANGE.is_some());
    }
}
