//! The only wiring place: what every command is given.

use crate::sys::clock::Clock;
use crate::sys::env::Env;
use crate::ui::Ui;

use super::flags::LogFlags;
use super::log_options::{mask_known_secrets, terminal_columns, ui_options};

/// Made once by [`super::run`] and handed down. No globals.
pub struct App {
    pub env: Env,
    pub clock: Clock,
    pub ui: Ui,
}

impl App {
    pub fn new(log: &LogFlags) -> anyhow::Result<Self> {
        let env = Env::of_process()?;
        let clock = Clock::System;
        let ui = Ui::new(ui_options(log, &env, terminal_columns())?, Box::new(std::io::stderr()), clock.clone());
        mask_known_secrets(ui.mask(), &env);
        Ok(Self { env, clock, ui })
    }
}
