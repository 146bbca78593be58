//! The `cleanup` hook: removes what the job owned. Without prepare, during it, after it and twice.

use super::Hook;
use super::error::ExecutorError;
use super::job::Job;

pub fn cleanup(hook: &Hook) -> Result<(), ExecutorError> {
    let job = Job::read(&hook.contract)?;
    hook.state().release(job.id, &job.key()).map(drop)
}
