//! The `prepare` hook: the job's directories, the names on its PATH, its credentials. Again without harm.

use std::fs;
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::registry::DockerConfig;
use crate::registry::docker_config::DockerConfigError;
use crate::sys::{process_table, remove};

use super::Hook;
use super::error::{ExecutorError, file};
use super::job::Job;
use super::plan::{self, JobPlan};
use super::state::make_dir;

/// Prepares the host for a job. Gives what people should read in the job log.
pub fn prepare(hook: &Hook) -> Result<Vec<String>, ExecutorError> {
    let job = Job::read(&hook.contract)?;
    let state = hook.state();
    state.claim(&job)?;
    let _lock = state.lock(job.id, &job.key())?;
    let job_dir = state.job_dir(&job.key());
    let plan = plan::plan(&job, &job_dir, &hook.program, &runner_program());
    make(&plan)?;
    make_docker_config(hook, &job, &job_dir, &plan)?;
    let mut lines = vec![format!("Job {} runs on this host (slipway {}).", job.id, env!("CARGO_PKG_VERSION"))];
    lines.extend(plan.notes.into_iter().map(|note| format!("Warning: {note}")));
    Ok(lines)
}

fn make(plan: &JobPlan) -> Result<(), ExecutorError> {
    for directory in &plan.directories {
        make_dir(directory)?;
    }
    for (link, program) in &plan.programs {
        match fs::remove_file(link) {
            Err(error) if error.kind() != NotFound => return Err(file("replace", link)(error)),
            _ => symlink(program, link).map_err(file("create", link))?,
        }
    }
    Ok(())
}

/// The service user's credentials with those of the job over them, for the job alone.
fn make_docker_config(hook: &Hook, job: &Job, job_dir: &Path, plan: &JobPlan) -> Result<(), ExecutorError> {
    let directory = &plan.docker_config;
    remove::remove_beneath(job_dir, Path::new("docker")).map_err(file("remove", directory))?;
    let cannot = |error: DockerConfigError| ExecutorError::DockerConfig(error.into());
    DockerConfig::session_copy(&docker_config_of_user(hook), directory).map_err(cannot)?;
    for credentials in plan::registry_credentials(job) {
        DockerConfig::add_auth(directory, &credentials.address, &credentials.user, &credentials.password)
            .map_err(cannot)?;
    }
    Ok(())
}

fn docker_config_of_user(hook: &Hook) -> PathBuf {
    match hook.env.get_os("DOCKER_CONFIG") {
        Some(directory) => directory.into(),
        None => Path::new(hook.env.get_os("HOME").unwrap_or_default()).join(".docker"),
    }
}

/// The program that started this hook.
fn runner_program() -> PathBuf {
    let program = process_table::starter().and_then(|pid| fs::read_link(format!("/proc/{pid}/exe")));
    program.unwrap_or_default()
}
