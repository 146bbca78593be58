//! The GitLab Runner custom executor: four hooks, each a process of its own (spec/executor.md).
//!
//! `config` → `prepare` → `run`, once per sub-stage → `cleanup`. Between them there is only what [`state`] keeps on disk.

pub mod cleanup;
pub mod config_hook;
pub mod error;
pub mod job;
pub mod plan;
pub mod prepare;
pub mod run;
pub mod state;
pub mod sub_stage;
pub mod supervise;

use std::path::PathBuf;

use crate::ci_env::policies::Policies;
use crate::error::{ErrorKind, Explain as _};
use crate::settings::Settings;
use crate::sys::env::Env;

use error::ExecutorError;
use job::Contract;
use state::State;

/// What every hook is given.
#[derive(Clone, Debug)]
pub struct Hook {
    pub contract: Contract,
    pub env: Env,
    pub settings: Settings,
    pub policies: Policies,
    /// This program.
    pub program: PathBuf,
}

impl Hook {
    fn state(&self) -> State {
        State::new(&self.settings.state_dir.value, &self.settings.builds_dir.value)
    }
}

/// What became of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    Success,
    /// Its own exit code.
    ScriptFailed(u8),
}

impl Contract {
    /// The exit code of a hook whose script ran. A script's own code goes into a file, never into the hook's exit.
    pub fn exit_code(&self, outcome: JobOutcome) -> u8 {
        match outcome {
            JobOutcome::Success => 0,
            JobOutcome::ScriptFailed(_) => self.build_failure,
        }
    }

    /// The exit code of a hook that failed: the author's fault is no trouble of the host's.
    pub fn failure_code(&self, error: &ExecutorError) -> u8 {
        if error.kind() == ErrorKind::User { self.build_failure } else { self.system_failure }
    }
}
