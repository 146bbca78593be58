//! The only wiring place: what every command is given.

use crate::sys::clock::Clock;
use crate::sys::env::Env;

/// Made once by [`super::run`] and handed down. No globals.
pub struct App {
    pub env: Env,
    pub clock: Clock,
}

impl App {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { env: Env::of_process()?, clock: Clock::System })
    }
}
