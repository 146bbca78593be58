//! The only wiring place: what every command is given.

use std::path::PathBuf;

use crate::sys::clock::Clock;
use crate::sys::env::Env;
use crate::sys::exterminator;
use crate::sys::signal::Interruption;
use crate::ui::Ui;

use super::flags::{LogFlags, PlaceFlags};
use super::log_options::{terminal_columns, ui_options};

/// Made once by [`super::run`] and handed down. No globals.
pub struct App {
    pub env: Env,
    pub clock: Clock,
    pub ui: Ui,
    pub interruption: Interruption,
}

impl App {
    /// Needs a tokio runtime: signals are watched from here on.
    pub fn new(env: Env, log: &LogFlags) -> anyhow::Result<Self> {
        let clock = Clock::System;
        let ui = Ui::new(ui_options(log, &env, terminal_columns())?, Box::new(std::io::stderr()), clock.clone());
        Ok(Self { env, clock, ui, interruption: Interruption::watch()? })
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
