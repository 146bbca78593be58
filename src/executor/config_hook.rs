//! The `config` hook: tells the runner where the job's directories are (spec/executor.md 2.5).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Hook;
use super::error::ExecutorError;
use super::job::Job;

/// How long jobs of dead runners are cleaned up here; the next hook goes on.
const REAP_AT_MOST: Duration = Duration::from_secs(2);

/// The answer, and what should be said in the job log.
pub fn config(hook: &Hook) -> Result<(Value, Vec<String>), ExecutorError> {
    let job = Job::read(&hook.contract)?;
    let state = hook.state();
    let reaped = state.reap(Instant::now() + REAP_AT_MOST);
    state.claim(&job)?;
    let builds_dir = state.slot(&job)?;
    let answer = json!({
        "builds_dir": builds_dir,
        "builds_dir_is_shared": false,
        "cache_dir": hook.settings.cache_dir.value.join(job.project_key()),
        "driver": {"name": "slipway", "version": env!("CARGO_PKG_VERSION")},
    });
    let lines =
        reaped.into_iter().map(|id| format!("Removed what job {id} of a runner that is gone had left.")).collect();
    Ok((answer, lines))
}
