//! The process environment as a value: the OS's, or a literal one in tests.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Variables, working directory and arguments are read once, here, and handed down.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: BTreeMap<OsString, OsString>,
    pub current_dir: PathBuf,
}

impl Env {
    /// What the operating system says now. Values may be any bytes.
    pub fn of_process() -> std::io::Result<Self> {
        Ok(Self { variables: std::env::vars_os().collect(), current_dir: std::env::current_dir()? })
    }

    pub fn literal<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
        current_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            variables: variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            current_dir: current_dir.into(),
        }
    }

    /// A variable that is set and not empty.
    pub fn get_os(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable that is set, not empty and UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_os(name)?.to_str()
    }

    pub fn all(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Values of all variables whose name starts with `prefix`, sorted by the whole `NAME=VALUE` text
    /// (spec/publish-and-cleanup.md 0.1).
    pub fn with_prefix(&self, prefix: &str) -> Vec<String> {
        let mut found: Vec<(String, String)> = self
            .all()
            .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (format!("{name}={value}"), value.to_owned()))
            .collect();
        found.sort();
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// A switch that is off by default: on for exactly `1`, `true`, `yes` (spec/publish-and-cleanup.md 0.1).
    pub fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true" | "yes"))
    }

    /// A switch that is on by default: off for exactly `0`, `false`, `no`.
    pub fn is_off(&self, name: &str) -> bool {
        matches!(self.get(name), Some("0" | "false" | "no"))
    }
}
