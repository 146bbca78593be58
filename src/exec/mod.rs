//! `slipway exec JOB`: a job of a local `.gitlab-ci.yml` through the four hooks of the executor, each a process of its
//! own, as GitLab Runner would do it (decisions 5.4). The job is that of the commit that is checked out.

pub mod ci_file;
pub mod facts;
pub mod runner;
pub mod script;
pub mod variables;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::Error;
use crate::slug;
use crate::sys::env::Env;
use crate::sys::signal::Interruption;

use ci_file::CiJob;
use runner::{Attempt, Ended, Runner};
use script::{Colours, Place, Script};
use variables::{Commit, JobVariable, Project};

/// As the runner: the host may fail this often before the job does.
const PREPARE_ATTEMPTS: usize = 3;
const PREPARE_PAUSE: Duration = Duration::from_secs(3);
const DEFAULT_TIMEOUT: u64 = 3600;

/// What a job needs beside the file.
#[derive(Debug)]
pub struct Exec<'a> {
    pub program: &'a Path,
    pub env: &'a Env,
    pub commit: &'a Commit,
    /// How many changes of the work tree are not in the commit.
    pub changes: usize,
    /// Variables from the command line.
    pub given: &'a [JobVariable],
    pub job_id: u64,
    pub colours: Colours,
    pub interruption: &'a Interruption,
}

/// Runs one job and prints its log. Gives the exit code of the job: its script's own.
pub async fn exec(job: &CiJob, exec: &Exec<'_>) -> Result<u8, Error> {
    let project = Project::of(exec.commit);
    let variables = variables::variables(job, exec.job_id, exec.commit, &project, exec.given);
    let timeout = job.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let response = response(job, exec, &project, &variables, timeout);
    let runner = Runner {
        program: exec.program,
        env: exec.env,
        variables: &variables,
        response: &response,
        interruption: exec.interruption,
        deadline: Instant::now() + Duration::from_secs(timeout),
    };
    let log = Log { colours: exec.colours };
    log.title(&format!("Running with slipway {}", env!("CARGO_PKG_VERSION")));
    for line in &job.ignored {
        log.line(&format!("Warning: {line}"));
    }
    if exec.changes > 0 {
        let what = if exec.changes == 1 { "1 change is" } else { "some changes are" };
        log.line(&format!("Warning: {what} not committed, and so no part of the job"));
    }
    log.title("Preparing the \"custom\" executor");
    let (attempt, mut ended) = prepare(&runner, &log).await?;
    if ended == Ended::Well {
        let project_dir = attempt.builds_dir.join(&project.path);
        let place =
            Place { project_dir: &project_dir, commit: exec.commit, variables: &variables, colours: exec.colours };
        ended = run_scripts(job, &runner, &attempt, &place, &log).await?;
    }
    if runner.cleanup(&attempt).await? != Ended::Well {
        log.line("WARNING: Cleanup script failed");
    }
    log.verdict(ended, timeout)
}

/// `config` and `prepare`, again when the host failed; what a failed attempt made is removed first.
async fn prepare(runner: &Runner<'_>, log: &Log) -> Result<(Attempt, Ended), Error> {
    for _ in 1..PREPARE_ATTEMPTS {
        let (attempt, ended) = runner.prepare().await?;
        if ended != Ended::System {
            return Ok((attempt, ended));
        }
        log.line("ERROR: Preparation failed, will be retried in 3s ...");
        runner.cleanup(&attempt).await?;
        tokio::time::sleep(PREPARE_PAUSE).await;
    }
    runner.prepare().await
}

async fn run_scripts(
    job: &CiJob,
    runner: &Runner<'_>,
    attempt: &Attempt,
    place: &Place<'_>,
    log: &Log,
) -> Result<Ended, Error> {
    let run = async |script: &Script| {
        log.title(script.title);
        runner.run(attempt, script).await
    };
    for script in script::preparations(place) {
        let ended = run(&script).await?;
        if ended != Ended::Well {
            return Ok(ended);
        }
    }
    let ended = run(&script::build(job, place)).await?;
    let status = match ended {
        Ended::Well => "success",
        Ended::Script(_) => "failed",
        _ => return Ok(ended),
    };
    if let Some(script) = script::after_script(job, place, status) {
        let after = run(&script).await?;
        if matches!(after, Ended::TimedOut | Ended::Interrupted) {
            return Ok(after);
        }
    }
    run(&script::cleanup(place)).await?;
    Ok(ended)
}

/// The job as GitLab would have sent it (spec/executor.md 5).
fn response(job: &CiJob, exec: &Exec, project: &Project, variables: &[JobVariable], timeout: u64) -> Value {
    let project_id = u64::from_str_radix(&slug::hash(&project.path), 16).unwrap_or(1);
    let value = |name: &str| variables.iter().find(|variable| variable.name == name).map(|variable| &variable.value);
    let variables: Vec<Value> = variables
        .iter()
        .map(|variable| {
            json!({"key": variable.name, "value": variable.value, "public": !variable.masked,
                   "masked": variable.masked, "file": false, "raw": true})
        })
        .collect();
    let commands: Vec<&String> = job.before_script.iter().chain(&job.script).collect();
    json!({
        "id": exec.job_id,
        "token": value("CI_JOB_TOKEN"),
        "allow_git_fetch": true,
        "job_info": {"name": job.name, "stage": job.stage, "pipeline_id": exec.job_id, "project_id": project_id,
                     "project_name": value("CI_PROJECT_NAME"), "project_full_path": project.path},
        "git_info": {"repo_url": format!("{}/{}.git", project.server_url, project.path), "ref": value("CI_COMMIT_REF_NAME"),
                     "sha": exec.commit.sha, "before_sha": exec.commit.before_sha,
                     "ref_type": if exec.commit.tag.is_some() { "tag" } else { "branch" }},
        "runner_info": {"timeout": timeout},
        "variables": variables,
        "steps": [{"name": "script", "script": commands},
                  {"name": "after_script", "script": job.after_script}],
        "features": {"trace_sections": false},
    })
}

/// The job log, on stdout as asked for.
struct Log {
    colours: Colours,
}

impl Log {
    fn title(&self, title: &str) {
        self.print(title, "\u{1b}[36;1m");
    }

    fn line(&self, line: &str) {
        let colour = if line.starts_with("ERROR") { "\u{1b}[31;1m" } else { "\u{1b}[0;33m" };
        self.print(line, colour);
    }

    fn print(&self, text: &str, colour: &str) {
        let text = match self.colours {
            Colours::On => format!("{colour}{text}\u{1b}[0;m\n"),
            Colours::Off => format!("{text}\n"),
        };
        let mut stdout = std::io::stdout().lock();
        // A reader of the log that is gone does not end the job.
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }

    /// The last line of the log, and the exit code.
    fn verdict(&self, ended: Ended, timeout: u64) -> Result<u8, Error> {
        match ended {
            Ended::Well => {
                self.print("Job succeeded", "\u{1b}[32;1m");
                Ok(0)
            }
            Ended::Script(code) => {
                self.line(&format!("ERROR: Job failed: exit status {code}"));
                Ok(code)
            }
            Ended::TimedOut => {
                self.line(&format!("ERROR: Job failed: execution took longer than {timeout} seconds"));
                Ok(1)
            }
            Ended::System => {
                self.line("ERROR: Job failed (system failure)");
                Err(Error::environment("the job could not be run on this host").hint("the job log above says why"))
            }
            Ended::Interrupted => Err(Interruption::error()),
        }
    }
}

/// The file with the jobs of a project.
pub fn ci_file_path(commit: &Commit, given: Option<&Path>, current_dir: &Path) -> PathBuf {
    given.map_or_else(|| commit.directory.join(".gitlab-ci.yml"), |given| current_dir.join(given))
}
