//! `.gitlab-ci.yml`: from its text to one job, as GitLab would hand it to a runner.
//!
//! `extends` is merged first, then `!reference` is filled in, then defaults apply. Pure; includes are not read.

use std::fmt;

use crate::error::{ErrorKind, Explain};
use crate::yaml::{self, Dialect, Limits, Node, Position};

/// GitLab's own limits.
const DEEPEST_EXTENDS: usize = 11;
const DEEPEST_REFERENCE: usize = 10;

/// Top-level keys that are no jobs.
const GLOBAL: &[&str] = &[
    "after_script",
    "before_script",
    "cache",
    "default",
    "image",
    "include",
    "services",
    "spec",
    "stages",
    "types",
    "variables",
    "workflow",
];

/// Keys of a job that mean nothing when one job is run by itself.
const WITHOUT_EFFECT: &[&str] =
    &["allow_failure", "coverage", "description", "inherit", "interruptible", "resource_group", "retry", "trigger"];

/// What a job is, before its variables have values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CiJob {
    pub name: String,
    pub stage: String,
    /// Global ones, then the job's; of two with one name the later counts.
    pub variables: Vec<CiVariable>,
    pub before_script: Vec<String>,
    pub script: Vec<String>,
    pub after_script: Vec<String>,
    pub tags: Vec<String>,
    pub environment: Option<Environment>,
    /// Seconds.
    pub timeout: Option<u64>,
    /// One line for each thing that is written and not done.
    pub ignored: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CiVariable {
    pub name: String,
    pub value: String,
    /// `expand: false`: a `$` in it is just a `$`.
    pub raw: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    pub name: String,
    pub url: Option<String>,
}

/// A mistake in the file, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CiFileError {
    #[error("{file}: {reason}")]
    Yaml { file: String, reason: String },
    #[error("{file}:{at}: {reason}")]
    Mistake { file: String, at: Place, reason: String },
    #[error("{file}: there is no job `{name}`")]
    NoJob { file: String, name: String, jobs: Vec<String> },
}

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(Position);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.line, self.0.column)
    }
}

impl Explain for CiFileError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::User
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoJob { jobs, .. } if jobs.is_empty() => vec!["the file has no jobs".into()],
            Self::NoJob { jobs, .. } => vec![format!("jobs of this file: {}", jobs.join(", "))],
            _ => Vec::new(),
        }
    }
}

/// A read file.
#[derive(Clone, Debug)]
pub struct CiFile {
    name: String,
    root: Item,
}

/// A value with its place; scalars as they were written.
#[derive(Clone, Debug, Default)]
struct Item {
    at: Place,
    value: Value,
}

#[derive(Clone, Debug, Default)]
enum Value {
    #[default]
    Null,
    Text(String),
    List(Vec<Item>),
    Map(Vec<(String, Item)>),
    Reference(Vec<String>),
}

impl CiFile {
    /// Reads the text of a file; `name` is what mistakes call it.
    pub fn parse(text: &str, name: &str) -> Result<Self, CiFileError> {
        let document = yaml::load(text, Dialect::Core12, &Limits::default())
            .map_err(|error| CiFileError::Yaml { file: name.to_owned(), reason: error.to_string() })?;
        Ok(Self { name: name.to_owned(), root: Item::of(document.root()) })
    }

    /// Names of all jobs that can be run, in order.
    pub fn jobs(&self) -> Vec<String> {
        let names = self.root.entries().iter().map(|(name, _)| name);
        names.filter(|name| !name.starts_with('.') && !GLOBAL.contains(&name.as_str())).cloned().collect()
    }

    /// One job with all that it inherits.
    pub fn job(&self, name: &str) -> Result<CiJob, CiFileError> {
        if !self.jobs().iter().any(|job| job == name) {
            return Err(CiFileError::NoJob { file: self.name.clone(), name: name.to_owned(), jobs: self.jobs() });
        }
        let job = self.filled(self.extended(name, &mut Vec::new())?, 0)?;
        let default = self.filled(self.defaults(), 0)?;
        let inherits = |key: &str, of: &str| {
            job.get("inherit").and_then(|inherit| inherit.get(of)).is_none_or(|from| from.allows(key))
        };
        let pick = |key: &str| job.get(key).or_else(|| default.get(key).filter(|_| inherits(key, "default")));
        let script = pick("script").or_else(|| pick("run"));
        let Some(script) = script else { return Err(self.mistake(job.at, format!("job `{name}` has no `script`"))) };
        let globals = self.filled(self.root.get("variables").cloned().unwrap_or_default(), 0)?;
        let mut variables = self.variables(&globals)?;
        variables.retain(|variable| inherits(&variable.name, "variables"));
        variables.extend(self.variables(job.get("variables").unwrap_or(&Item::default()))?);
        Ok(CiJob {
            name: name.to_owned(),
            stage: job.get("stage").and_then(Item::text).unwrap_or("test").to_owned(),
            variables,
            before_script: self.commands(pick("before_script"))?,
            script: self.commands(Some(script))?,
            after_script: self.commands(pick("after_script"))?,
            tags: self.commands(pick("tags"))?,
            environment: self.environment(job.get("environment"))?,
            timeout: pick("timeout").map(|timeout| self.timeout(timeout)).transpose()?,
            ignored: self.ignored(&job, &default),
        })
    }

    /// `default`, and what older files write at the top level instead.
    fn defaults(&self) -> Item {
        let mut defaults = self.root.get("default").cloned().unwrap_or_default();
        if !matches!(defaults.value, Value::Map(_)) {
            defaults.value = Value::Map(Vec::new());
        }
        for key in ["before_script", "after_script", "image", "services", "cache"] {
            if let (Some(item), None, Value::Map(entries)) =
                (self.root.get(key), defaults.get(key).is_some().then_some(()), &mut defaults.value)
            {
                entries.push((key.to_owned(), item.clone()));
            }
        }
        defaults
    }

    /// The job merged over all that it extends.
    fn extended(&self, name: &str, below: &mut Vec<String>) -> Result<Item, CiFileError> {
        let Some(job) = self.root.get(name) else { return Ok(Item::default()) };
        let Value::Map(_) = job.value else {
            return Err(self.mistake(job.at, format!("job `{name}` must be a map")));
        };
        below.push(name.to_owned());
        let mut merged = Item { at: job.at, value: Value::Map(Vec::new()) };
        if let Some(extends) = job.get("extends") {
            for parent in self.commands(Some(extends))? {
                if below.contains(&parent) {
                    return Err(
                        self.mistake(extends.at, format!("`extends` goes in a circle: {}, {parent}", below.join(", ")))
                    );
                }
                if below.len() > DEEPEST_EXTENDS {
                    return Err(self
                        .mistake(extends.at, format!("`extends` is nested more than {DEEPEST_EXTENDS} levels deep")));
                }
                if self.root.get(&parent).is_none() {
                    return Err(
                        self.mistake(extends.at, format!("`{name}` extends `{parent}`, which is not in this file"))
                    );
                }
                merged.merge(self.extended(&parent, below)?);
            }
        }
        below.pop();
        let mut own = job.clone();
        if let Value::Map(entries) = &mut own.value {
            entries.retain(|(key, _)| key != "extends");
        }
        merged.merge(own);
        Ok(merged)
    }

    /// The item with every `!reference` replaced by what it names.
    fn filled(&self, item: Item, depth: usize) -> Result<Item, CiFileError> {
        let value = match item.value {
            Value::Reference(path) => {
                let shown = path.join(", ");
                if depth >= DEEPEST_REFERENCE {
                    return Err(self.mistake(
                        item.at,
                        format!("`!reference [{shown}]` leads through more than {DEEPEST_REFERENCE} others"),
                    ));
                }
                let Some((first, rest)) = path.split_first() else {
                    return Err(self.mistake(item.at, "`!reference` names nothing".into()));
                };
                let is_job = self.root.get(first).is_some_and(|job| matches!(job.value, Value::Map(_)));
                let target =
                    if is_job { Some(self.extended(first, &mut Vec::new())?) } else { self.root.get(first).cloned() };
                let target = rest.iter().try_fold(target.unwrap_or_default(), |item, key| item.get(key).cloned());
                match target {
                    Some(target) if !matches!(target.value, Value::Null) => return self.filled(target, depth + 1),
                    _ => {
                        return Err(self.mistake(item.at, format!("`!reference [{shown}]` names nothing in this file")));
                    }
                }
            }
            Value::List(items) => {
                Value::List(items.into_iter().map(|item| self.filled(item, depth)).collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let fill = |(key, item)| Ok((key, self.filled(item, depth)?));
                Value::Map(entries.into_iter().map(fill).collect::<Result<_, _>>()?)
            }
            value => value,
        };
        Ok(Item { at: item.at, value })
    }

    /// A text, or a list of texts and such lists.
    fn commands(&self, item: Option<&Item>) -> Result<Vec<String>, CiFileError> {
        let Some(item) = item else { return Ok(Vec::new()) };
        match &item.value {
            Value::Null => Ok(Vec::new()),
            Value::Text(text) => Ok(vec![text.clone()]),
            Value::List(items) => {
                let nested = items.iter().map(|item| self.commands(Some(item))).collect::<Result<Vec<_>, _>>()?;
                Ok(nested.into_iter().flatten().collect())
            }
            Value::Map(_) => {
                Err(self.mistake(item.at, "a text is expected here, not a map; quote a text with `: ` in it".into()))
            }
            Value::Reference(_) => Err(self.mistake(item.at, "`!reference` has no place here".into())),
        }
    }

    fn variables(&self, item: &Item) -> Result<Vec<CiVariable>, CiFileError> {
        let variable = |(name, item): &(String, Item)| {
            let value = item.get("value").unwrap_or(item);
            let value = match &value.value {
                Value::Null => "",
                Value::Text(text) => text,
                _ => {
                    return Err(
                        self.mistake(item.at, format!("the value of variable `{name}` must be a text or a number"))
                    );
                }
            };
            let raw = item.get("expand").and_then(Item::text) == Some("false");
            Ok(CiVariable { name: name.clone(), value: value.to_owned(), raw })
        };
        item.entries().iter().map(variable).collect()
    }

    fn environment(&self, item: Option<&Item>) -> Result<Option<Environment>, CiFileError> {
        let Some(item) = item else { return Ok(None) };
        let text = |key| item.get(key).and_then(Item::text).map(str::to_owned);
        match item.text().map(str::to_owned).or_else(|| text("name")) {
            Some(name) => Ok(Some(Environment { name, url: text("url") })),
            None => Err(self.mistake(item.at, "`environment` has no `name`".into())),
        }
    }

    /// `1h 30m`, `90 minutes`, `3600`.
    fn timeout(&self, item: &Item) -> Result<u64, CiFileError> {
        let parsed = item.text().and_then(parse_duration).filter(|seconds| *seconds > 0);
        parsed.ok_or_else(|| self.mistake(item.at, "`timeout` must be a duration like `1h 30m`".into()))
    }

    fn ignored(&self, job: &Item, default: &Item) -> Vec<String> {
        let mut lines = Vec::new();
        if self.root.get("include").is_some() {
            lines.push("`include` is not read: only this file counts".into());
        }
        let mut keys: Vec<&str> = job.entries().iter().map(|(key, _)| key.as_str()).collect();
        keys.extend(default.entries().iter().map(|(key, _)| key.as_str()).filter(|key| job.get(key).is_none()));
        for key in keys {
            let reason = match key {
                "image" | "services" => "jobs run on this host itself",
                "artifacts" | "cache" | "dependencies" | "needs" => "nothing is kept between jobs here",
                "rules" | "only" | "except" | "when" => "the job runs because it was asked for",
                "hooks" | "id_tokens" | "identity" | "pages" | "parallel" | "release" | "secrets" | "start_in" => {
                    "GitLab does this"
                }
                key if WITHOUT_EFFECT.contains(&key) => continue,
                "after_script" | "before_script" | "environment" | "extends" | "run" | "script" | "stage" | "tags"
                | "timeout" | "variables" => continue,
                _ => "it is not known here",
            };
            lines.push(format!("`{key}` is ignored: {reason}"));
        }
        lines
    }

    fn mistake(&self, at: Place, reason: String) -> CiFileError {
        CiFileError::Mistake { file: self.name.clone(), at, reason }
    }
}

impl Item {
    fn of(node: Node<'_>) -> Self {
        let value = match node.value {
            serde_yaml::Value::Tagged(tagged) if tagged.tag == "reference" => {
                Value::Reference(node.items().filter_map(|item| item.text().map(str::to_owned)).collect())
            }
            serde_yaml::Value::Null => Value::Null,
            serde_yaml::Value::Sequence(_) => Value::List(node.items().map(Self::of).collect()),
            serde_yaml::Value::Mapping(_) => Value::Map(
                node.entries().filter_map(|(key, value)| Some((key.text()?.to_owned(), Self::of(value)))).collect(),
            ),
            _ => Value::Text(node.text().unwrap_or_default().to_owned()),
        };
        Self { at: Place(node.spans.start), value }
    }

    fn entries(&self) -> &[(String, Item)] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    fn get(&self, key: &str) -> Option<&Item> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, item)| item)
    }

    fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// `inherit`: a boolean, or a list of names.
    fn allows(&self, key: &str) -> bool {
        match &self.value {
            Value::List(items) => items.iter().any(|item| item.text() == Some(key)),
            _ => self.text() != Some("false"),
        }
    }

    /// Maps are merged key by key, anything else is replaced.
    fn merge(&mut self, over: Item) {
        match (&mut self.value, over.value) {
            (Value::Map(entries), Value::Map(others)) => {
                for (key, other) in others {
                    match entries.iter_mut().find(|(name, _)| *name == key) {
                        Some((_, entry)) => entry.merge(other),
                        None => entries.push((key, other)),
                    }
                }
            }
            (value, other) => *value = other,
        }
        self.at = over.at;
    }
}

/// Seconds of `1h 30m`, `1 hour 30 minutes`, `90m`, `3600`.
fn parse_duration(text: &str) -> Option<u64> {
    let mut seconds = 0u64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match rest.get(..letters)? {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86400,
            "w" | "week" | "weeks" => 604_800,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = rest.get(letters..)?.trim_start_matches([' ', ',']);
        rest = rest.strip_prefix("and ").unwrap_or(rest);
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(text: &str, name: &str) -> CiJob {
        CiFile::parse(text, ".gitlab-ci.yml").unwrap().job(name).unwrap()
    }

    fn mistake(text: &str, name: &str) -> String {
        CiFile::parse(text, ".gitlab-ci.yml").and_then(|file| file.job(name)).unwrap_err().to_string()
    }

    #[test]
    fn the_guides_file_is_read() {
        let text = "
variables:
  WERF_STAGES_STORAGE: \":local\"
stages: [build, deploy]
before_script:
  - type multiwerf && source <(multiwerf use 1.1 stable)
  - type werf && source <(werf ci-env gitlab --verbose)
Build:
  stage: build
  script:
    - werf build-and-publish
  tags:
    - werf
";
        let job = job(text, "Build");
        assert_eq!(
            (job.stage.as_str(), job.script.as_slice(), job.before_script.len()),
            ("build", &["werf build-and-publish".to_owned()][..], 2)
        );
        assert_eq!(
            job.variables,
            [CiVariable { name: "WERF_STAGES_STORAGE".into(), value: ":local".into(), raw: false }]
        );
        assert_eq!((job.tags, job.ignored), (vec!["werf".to_owned()], vec![]));
    }

    #[test]
    fn extends_merges_maps_and_replaces_lists() {
        let text = "
.base: {variables: {A: 1, B: 1.10}, script: [base], tags: [x], environment: {name: a, url: u}}
.more: {extends: .base, variables: {B: yes}, environment: {name: b}}
.other: {variables: {A: 0777}}
job: {extends: [.more, .other], script: [own], timeout: 1h 30m}
";
        let job = job(text, "job");
        let variables: Vec<_> = job.variables.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect();
        assert_eq!(variables, [("A", "0777"), ("B", "yes")]);
        assert_eq!((job.script, job.tags), (vec!["own".to_owned()], vec!["x".to_owned()]));
        assert_eq!(job.environment, Some(Environment { name: "b".into(), url: Some("u".into()) }));
        assert_eq!(job.timeout, Some(5400));
    }

    #[test]
    fn references_and_anchors_are_filled_in_and_scripts_flattened() {
        let text = "
.setup:
  script: &lines
    - one
    - |
      two
      three
  variables: {URL: \"https://x\"}
.nested:
  script: [!reference [.setup, script], four]
.anchored: &anchored {stage: deploy}
job:
  <<: *anchored
  variables: {URL: !reference [.setup, variables, URL]}
  before_script: *lines
  script:
    - !reference [.nested, script]
    - [five, [six]]
";
        let job = job(text, "job");
        assert_eq!(job.script, ["one", "two\nthree\n", "four", "five", "six"]);
        assert_eq!(job.before_script, ["one", "two\nthree\n"]);
        assert_eq!((job.stage.as_str(), job.variables[0].value.as_str()), ("deploy", "https://x"));
    }

    #[test]
    fn defaults_apply_unless_the_job_says_otherwise() {
        let text = "
default: {before_script: [default], after_script: [bye], timeout: 10 minutes, image: ruby}
variables: {A: a, B: {value: b, description: x, expand: false}}
job: {script: x}
own: {script: x, before_script: [], inherit: {default: [timeout], variables: [B]}, cache: {}, rules: [], foo: 1}
";
        let inherits = job(text, "job");
        assert_eq!(
            (inherits.before_script, inherits.after_script),
            (vec!["default".to_owned()], vec!["bye".to_owned()])
        );
        assert_eq!(inherits.ignored, ["`image` is ignored: jobs run on this host itself"]);
        let own = job(text, "own");
        assert_eq!((own.before_script.len(), own.after_script.len(), own.timeout), (0, 0, Some(600)));
        assert_eq!(own.variables, [CiVariable { name: "B".into(), value: "b".into(), raw: true }]);
        assert_eq!(
            own.ignored,
            [
                "`cache` is ignored: nothing is kept between jobs here",
                "`rules` is ignored: the job runs because it was asked for",
                "`foo` is ignored: it is not known here",
                "`image` is ignored: jobs run on this host itself",
            ]
        );
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, expected) in [
            ("a: {script: x}\n", ".gitlab-ci.yml: there is no job `job`"),
            ("job: 1\n", ".gitlab-ci.yml:1:6: job `job` must be a map"),
            ("job: {stage: x}\n", ".gitlab-ci.yml:1:6: job `job` has no `script`"),
            ("job:\n  extends: .x\n", ".gitlab-ci.yml:2:12: `job` extends `.x`, which is not in this file"),
            (
                ".x: {extends: job}\njob: {extends: .x}\n",
                ".gitlab-ci.yml:1:15: `extends` goes in a circle: job, .x, job",
            ),
            (
                "job:\n  script: [!reference [.x, script]]\n",
                ".gitlab-ci.yml:2:12: `!reference [.x, script]` names nothing in this file",
            ),
            (
                ".x: {script: [!reference [.x, script]]}\njob: {script: [!reference [.x, script]]}\n",
                ".gitlab-ci.yml:1:15: `!reference [.x, script]` leads through more than 10 others",
            ),
            (
                "job:\n  script:\n  - echo a: b\n",
                ".gitlab-ci.yml:3:5: a text is expected here, not a map; quote a text with `: ` in it",
            ),
            ("job: {script: x, timeout: soon}\n", ".gitlab-ci.yml:1:27: `timeout` must be a duration like `1h 30m`"),
            ("job: {script: x, environment: {url: y}}\n", ".gitlab-ci.yml:1:31: `environment` has no `name`"),
            (
                "job: {script: x, variables: {A: [1]}}\n",
                ".gitlab-ci.yml:1:33: the value of variable `A` must be a text or a number",
            ),
        ] {
            assert_eq!(mistake(text, "job"), expected, "{text}");
        }
        let error = CiFile::parse("b: {}\na: {}\n.c: {}\nstages: []\n", "f").unwrap().job("x").unwrap_err();
        assert_eq!(error.hints(), ["jobs of this file: b, a"]);
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, expected) in [
            ("3600", Some(3600)),
            ("1h30m", Some(5400)),
            ("1 hour 30 minutes", Some(5400)),
            ("2 days, 1 hour and 5 seconds", Some(176_405)),
            ("soon", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
