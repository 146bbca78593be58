//! The admin's file: what this host allows and where things lie (decisions 5.1, 5.2).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, Explain};
use crate::runtime::Limits;

/// Which runtime builds images and runs their containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeChoice {
    /// Docker when its daemon answers, else the embedded one; decided once per host.
    #[default]
    Auto,
    Docker,
    Embedded,
}

/// All settings, each with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub runtime: Setting<RuntimeChoice>,
    /// Everything that slipway keeps on this host.
    pub state_dir: Setting<PathBuf>,
    /// Work trees of jobs.
    pub builds_dir: Setting<PathBuf>,
    /// Cache archives of jobs.
    pub cache_dir: Setting<PathBuf>,
    /// Registries (`host[:port]`) that are spoken to without TLS.
    pub insecure_registries: Setting<Vec<String>>,
    /// What a container of a build may use of this host. Nothing in a job changes it.
    pub limits: Setting<Limits>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    pub source: Source,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File(PathBuf),
    Variable(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// The file as it is written. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsFile {
    pub runtime: Option<RuntimeChoice>,
    pub state_dir: Option<PathBuf>,
    pub builds_dir: Option<PathBuf>,
    pub cache_dir: Option<PathBuf>,
    pub insecure_registries: Option<Vec<String>>,
    pub limits: Option<Limits>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("{}:{line}:{column}: {reason}", path.display())]
    File { path: PathBuf, line: usize, column: usize, reason: String },
    #[error("{source_text}: `{name}` must be an absolute path, not `{}`", value.display())]
    RelativePath { source_text: String, name: &'static str, value: PathBuf },
    #[error("$SLIPWAY_RUNTIME: `{0}` is not a runtime")]
    Runtime(String),
    #[error("there is no place for state: neither HOME nor XDG_DATA_HOME is set")]
    NoHome,
}

impl Explain for SettingsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Runtime(_) => vec!["use `auto`, `docker` or `embedded`".into()],
            Self::NoHome => vec!["set `state_dir` in the settings file".into()],
            Self::File { .. } | Self::RelativePath { .. } => Vec::new(),
        }
    }
}

/// What the defaults depend on.
#[derive(Clone, Debug, Default)]
pub struct Host {
    pub is_root: bool,
    pub home: Option<PathBuf>,
    pub xdg_data_home: Option<PathBuf>,
    pub xdg_config_home: Option<PathBuf>,
}

impl Host {
    /// Where the file is looked for, the first that exists counts.
    pub fn settings_files(&self) -> Vec<PathBuf> {
        let config_home = self.xdg_config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")));
        let own = config_home.map(|directory| directory.join("slipway/config.yaml"));
        [Some(PathBuf::from("/etc/slipway/config.yaml")), own].into_iter().flatten().collect()
    }

    fn state_dir(&self) -> Option<PathBuf> {
        if self.is_root {
            return Some(PathBuf::from("/var/lib/slipway"));
        }
        let data_home = self.xdg_data_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/share")))?;
        Some(data_home.join("slipway"))
    }
}

impl SettingsFile {
    /// Reads the text of the file at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let has_content = |line: &str| !matches!(line.trim_start().as_bytes().first(), None | Some(b'#'));
        if !text.lines().any(has_content) {
            return Ok(Self::default());
        }
        serde_yaml::from_str(text).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |place| (place.line(), place.column()));
            let text = error.to_string();
            let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned();
            SettingsError::File { path: path.to_owned(), line, column, reason }
        })
    }
}

impl Settings {
    /// Puts the layers together: defaults of the host, the file, then variables.
    pub fn layered<'a>(
        host: &Host,
        file: Option<(&Path, SettingsFile)>,
        variable: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<Self, SettingsError> {
        let (path, file) =
            file.map_or((PathBuf::new(), SettingsFile::default()), |(path, file)| (path.to_owned(), file));
        let layers = Layers { path, variable };
        let state_dir = match layers.directory("SLIPWAY_STATE_DIR", "state_dir", file.state_dir)? {
            Some(state_dir) => state_dir,
            None => Setting { value: host.state_dir().ok_or(SettingsError::NoHome)?, source: Source::Default },
        };
        let below = |name| Setting { value: state_dir.value.join(name), source: Source::Default };
        let builds_dir = layers.directory("SLIPWAY_BUILDS_DIR", "builds_dir", file.builds_dir)?;
        let cache_dir = layers.directory("SLIPWAY_CACHE_DIR", "cache_dir", file.cache_dir)?;
        Ok(Self {
            runtime: layers.runtime(file.runtime)?,
            builds_dir: builds_dir.unwrap_or_else(|| below("builds")),
            cache_dir: cache_dir.unwrap_or_else(|| below("cache")),
            insecure_registries: layers.or_default(file.insecure_registries),
            limits: layers.or_default(file.limits),
            state_dir,
        })
    }
}

impl Settings {
    /// Name, value and source of every setting, in the order of the file.
    pub fn entries(&self) -> Vec<(&'static str, serde_json::Value, Source)> {
        fn entry<T: Serialize>(name: &'static str, setting: &Setting<T>) -> (&'static str, serde_json::Value, Source) {
            (name, serde_json::json!(setting.value), setting.source.clone())
        }
        vec![
            entry("runtime", &self.runtime),
            entry("state_dir", &self.state_dir),
            entry("builds_dir", &self.builds_dir),
            entry("cache_dir", &self.cache_dir),
            entry("insecure_registries", &self.insecure_registries),
            entry("limits", &self.limits),
        ]
    }
}

struct Layers<V> {
    path: PathBuf,
    variable: V,
}

impl<'a, V: Fn(&'static str) -> Option<&'a str>> Layers<V> {
    fn directory(
        &self,
        variable: &'static str,
        name: &'static str,
        in_file: Option<PathBuf>,
    ) -> Result<Option<Setting<PathBuf>>, SettingsError> {
        let setting = match ((self.variable)(variable), in_file) {
            (Some(value), _) => Setting { value: PathBuf::from(value), source: Source::Variable(variable) },
            (None, Some(value)) => Setting { value, source: Source::File(self.path.clone()) },
            (None, None) => return Ok(None),
        };
        if setting.value.is_relative() {
            let source_text = setting.source.to_string();
            return Err(SettingsError::RelativePath { source_text, name, value: setting.value });
        }
        Ok(Some(setting))
    }

    fn runtime(&self, in_file: Option<RuntimeChoice>) -> Result<Setting<RuntimeChoice>, SettingsError> {
        let value = match (self.variable)("SLIPWAY_RUNTIME") {
            None => return Ok(self.or_default(in_file)),
            Some("auto") => RuntimeChoice::Auto,
            Some("docker") => RuntimeChoice::Docker,
            Some("embedded") => RuntimeChoice::Embedded,
            Some(other) => return Err(SettingsError::Runtime(other.to_owned())),
        };
        Ok(Setting { value, source: Source::Variable("SLIPWAY_RUNTIME") })
    }

    fn or_default<T: Default>(&self, in_file: Option<T>) -> Setting<T> {
        match in_file {
            Some(value) => Setting { value, source: Source::File(self.path.clone()) },
            None => Setting { value: T::default(), source: Source::Default },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host { home: Some("/home/u".into()), ..Host::default() }
    }

    fn parse(text: &str) -> Result<SettingsFile, SettingsError> {
        SettingsFile::parse(text, Path::new("/etc/slipway/config.yaml"))
    }

    #[test]
    fn layers_are_put_together_and_each_value_knows_its_source() {
        let path = Path::new("/etc/slipway/config.yaml");
        let file = parse("runtime: embedded\nstate_dir: /srv/state\ninsecure_registries: [127.0.0.1:5000]\n").unwrap();
        let variable = |name| (name == "SLIPWAY_CACHE_DIR").then_some("/cache");
        let settings = Settings::layered(&host(), Some((path, file)), variable).unwrap();
        let from_file = || Source::File(path.to_owned());
        assert_eq!(settings.runtime, Setting { value: RuntimeChoice::Embedded, source: from_file() });
        assert_eq!(settings.builds_dir, Setting { value: "/srv/state/builds".into(), source: Source::Default });
        assert_eq!(
            settings.cache_dir,
            Setting { value: "/cache".into(), source: Source::Variable("SLIPWAY_CACHE_DIR") }
        );
        assert_eq!(settings.insecure_registries.value, ["127.0.0.1:5000"]);
    }

    #[test]
    fn defaults_follow_the_user() {
        let state_dir = |host: &Host| Settings::layered(host, None, |_| None).map(|settings| settings.state_dir.value);
        assert_eq!(state_dir(&Host { is_root: true, ..Host::default() }).unwrap(), Path::new("/var/lib/slipway"));
        assert_eq!(state_dir(&host()).unwrap(), Path::new("/home/u/.local/share/slipway"));
        let xdg = Host { xdg_data_home: Some("/data".into()), ..host() };
        assert_eq!(state_dir(&xdg).unwrap(), Path::new("/data/slipway"));
        assert_eq!(state_dir(&Host::default()).unwrap_err(), SettingsError::NoHome);
        assert_eq!(
            host().settings_files(),
            [Path::new("/etc/slipway/config.yaml"), Path::new("/home/u/.config/slipway/config.yaml")]
        );
    }

    #[test]
    fn mistakes_are_shown_with_their_place() {
        for (text, expected) in [
            (
                "runtime: podman\n",
                "/etc/slipway/config.yaml:1:10: runtime: unknown variant `podman`, expected one of `auto`, `docker`, `embedded`",
            ),
            (
                "state_dir: /x\nbuild_dir: /y\n",
                "/etc/slipway/config.yaml:2:1: unknown field `build_dir`, expected one of `runtime`, `state_dir`, `builds_dir`, `cache_dir`, `insecure_registries`, `limits`",
            ),
            (
                "state_dir: []\n",
                "/etc/slipway/config.yaml:1:12: state_dir: invalid type: sequence, expected path string",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        for (limits, expected) in [
            (
                "{ memory: 2GB }",
                "1:19: limits.memory: invalid value: string \"2GB\", expected a size of at least 16MiB, such as `512MiB` or `2GiB`",
            ),
            (
                "{ memory: 4096 }",
                "1:19: limits.memory: invalid value: integer `4096`, expected a size of at least 16MiB, such as `512MiB` or `2GiB`",
            ),
            (
                "{ pids: 0 }",
                "1:17: limits.pids: invalid value: integer `0`, expected a number of processes, at least 16",
            ),
            (
                "{ cpus: .inf }",
                "1:17: limits.cpus: invalid value: floating point `inf`, expected a number of processors, at least 0.01",
            ),
            ("{ cpu: 2 }", "1:11: limits: unknown field `cpu`, expected one of `memory`, `pids`, `cpus`"),
        ] {
            let error = parse(&format!("limits: {limits}\n")).unwrap_err().to_string();
            assert_eq!(error, format!("/etc/slipway/config.yaml:{expected}"));
        }
        assert_eq!(parse("# nothing\n").unwrap(), SettingsFile::default());
        let relative = parse("state_dir: state\n").unwrap();
        assert_eq!(
            Settings::layered(&host(), Some((Path::new("/c.yaml"), relative)), |_| None).unwrap_err().to_string(),
            "/c.yaml: `state_dir` must be an absolute path, not `state`"
        );
    }
}
