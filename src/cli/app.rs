//! The only wiring place: what every command is given.

use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};

use crate::ci_env::policies::Policies;
use crate::error::Error;
use crate::registry::Proxies;
use crate::settings::{Host, Settings, SettingsFile};
use crate::sys::clock::Clock;
use crate::sys::env::Env;
use crate::sys::exterminator;
use crate::sys::paths;
use crate::sys::signal::Interruption;
use crate::ui::Ui;

use super::flags::{LogFlags, PlaceFlags};
use super::log_options::{mask_known_secrets, terminal_columns, ui_options};

/// Made once by [`super::run`] and handed down. No globals.
pub struct App {
    pub env: Env,
    pub clock: Clock,
    pub ui: Ui,
    pub interruption: Interruption,
    /// Whether the command line or a variable asks for more words.
    pub verbose: bool,
}

impl App {
    /// Needs a tokio runtime: signals are watched from here on.
    pub fn new(env: Env, log: &LogFlags) -> anyhow::Result<Self> {
        let clock = Clock::System;
        let ui = Ui::new(ui_options(log, &env, terminal_columns())?, Box::new(std::io::stderr()), clock.clone());
        mask_known_secrets(ui.mask(), &env);
        let verbose = log.log_verbose.unwrap_or_else(|| env.is_on("WERF_VERBOSE") || env.is_on("WERF_LOG_VERBOSE"));
        Ok(Self { env, clock, ui, interruption: Interruption::watch()?, verbose })
    }

    /// `$WERF_HOME`, else the flag, else `~/.werf`: the user's own files.
    pub fn home(&self, flags: &PlaceFlags) -> PathBuf {
        let chosen = self.env.get_os("WERF_HOME").map(PathBuf::from).or_else(|| flags.home_dir.clone());
        chosen.unwrap_or_else(|| PathBuf::from(self.env.get_os("HOME").unwrap_or_default()).join(".werf"))
    }

    /// `$WERF_TMP_DIR`, else the flag, else the system's.
    pub fn tmp(&self, flags: &PlaceFlags) -> PathBuf {
        let chosen = self.env.get_os("WERF_TMP_DIR").map(PathBuf::from).or_else(|| flags.tmp_dir.clone());
        chosen.unwrap_or_else(|| PathBuf::from(self.env.get_os("TMPDIR").unwrap_or("/tmp".as_ref())))
    }

    /// Ends the run when a process above us is gone, if the environment asks for it (publish-and-cleanup.md 8.4).
    pub fn watch_parents(&self, flags: &PlaceFlags) -> anyhow::Result<()> {
        if self.env.is_on("WERF_ENABLE_PROCESS_EXTERMINATOR") {
            exterminator::watch_ancestors(self.interruption.clone(), &self.home(flags).join(".killed_pids"))?;
        }
        Ok(())
    }
}

/// The settings of this host: defaults, the admin's file, variables. `SLIPWAY_CONFIG` names another file.
pub fn settings(env: &Env) -> anyhow::Result<Settings> {
    let directory = |name| env.get_os(name).map(PathBuf::from);
    let host = Host {
        is_root: rustix::process::geteuid().is_root() && !paths::in_user_namespace(),
        home: directory("HOME"),
        xdg_data_home: directory("XDG_DATA_HOME"),
        xdg_config_home: directory("XDG_CONFIG_HOME"),
    };
    let file = match directory("SLIPWAY_CONFIG") {
        Some(path) => match read(&path)? {
            Some(text) => Some((path, text)),
            None => return Err(Error::environment(format!("there is no settings file `{}`", path.display())).into()),
        },
        None => first_file(&host.settings_files())?,
    };
    let parsed = match &file {
        Some((path, text)) => Some((path.as_path(), SettingsFile::parse(text, path)?)),
        None => None,
    };
    Ok(Settings::layered(&host, parsed, |name| env.get(name))?)
}

/// The user's own limits for cleanup, from `config/cleanup.yaml` of the werf home.
pub fn cleanup_policies(werf_home: &Path) -> anyhow::Result<Policies> {
    let path = werf_home.join("config/cleanup.yaml");
    let Some(text) = read(&path)? else { return Ok(Policies::default()) };
    if text.trim().is_empty() {
        return Ok(Policies::default());
    }
    let parsed = serde_yaml::from_str(&text);
    Ok(parsed.map_err(|error| Error::user(format!("{}: {error}", path.display())))?)
}

/// Proxies as the environment names them; the lower-case name comes first, as in curl.
pub fn proxies(env: &Env) -> Proxies {
    let either = |lower, upper| env.get(lower).or_else(|| env.get(upper)).map(str::to_owned);
    Proxies {
        https: either("https_proxy", "HTTPS_PROXY"),
        // Upper case is a request header's name in CGI programs, and not trusted.
        http: env.get("http_proxy").map(str::to_owned),
        except: either("no_proxy", "NO_PROXY"),
    }
}

/// Where werf keeps the user's own files: `~/.werf`.
pub fn werf_home(env: &Env) -> PathBuf {
    match env.get_os("WERF_HOME") {
        Some(home) => home.into(),
        None => Path::new(env.get_os("HOME").unwrap_or_default()).join(".werf"),
    }
}

fn first_file(paths: &[PathBuf]) -> anyhow::Result<Option<(PathBuf, String)>> {
    for path in paths {
        if let Some(text) = read(path)? {
            return Ok(Some((path.clone(), text)));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == NotFound => Ok(None),
        Err(error) => Err(Error::environment(format!("cannot read `{}`", path.display())).because(error).into()),
    }
}
