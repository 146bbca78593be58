//! A real GitLab Runner with our executor, against a server that has one job. `GITLAB_RUNNER` names the runner.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::coordinator::Coordinator;
use crate::support::program::SLIPWAY;
use crate::support::project::Project;

fn runner() -> Option<PathBuf> {
    let found = std::env::var_os("GITLAB_RUNNER").map(PathBuf::from).or_else(|| which::which("gitlab-runner").ok());
    if found.is_none() {
        println!("skipped: no gitlab-runner on PATH and none named by GITLAB_RUNNER");
    }
    found
}

fn job(project: &Project, script: &[&str]) -> Value {
    let variables = [
        ("CI_JOB_ID", "101"),
        ("CI_JOB_TOKEN", "glcbt-64_job101-0123456789"),
        ("CI_PROJECT_URL", "https://git.example.com/article/tools"),
        ("WERF_STAGES_STORAGE", ":local"),
        ("FF_TIMESTAMPS", "false"),
        ("SECRET", "hunter2-long"),
        ("GIT_DEPTH", "0"),
    ];
    let variables: Vec<Value> = variables
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value, "public": true, "masked": *key == "CI_JOB_TOKEN"}))
        .collect();
    json!({
        "id": 101, "token": "glcbt-64_job101-0123456789", "allow_git_fetch": true,
        "job_info": {"name": "Build", "stage": "build", "project_id": 42, "project_name": "tools"},
        "git_info": {"repo_url": format!("file://{}", project.path().display()), "ref": "main",
                     "sha": project.git(&["rev-parse", "HEAD"]), "before_sha": "0".repeat(40), "ref_type": "branch",
                     "refspecs": ["+refs/heads/main:refs/remotes/origin/main"], "depth": 0},
        "runner_info": {"timeout": 60},
        "variables": variables,
        "steps": [{"name": "script", "script": script, "timeout": 60, "when": "on_success", "allow_failure": false},
                  {"name": "after_script", "script": ["echo status=$CI_JOB_STATUS"], "timeout": 60, "when": "always",
                   "allow_failure": true}],
        "artifacts": [{"name": "out", "paths": ["out.txt"], "when": "always", "artifact_type": "archive", "artifact_format": "zip"}],
        "image": {"name": "ruby:3"},
        "credentials": [{"type": "registry", "url": "127.0.0.1:5000", "username": "gitlab-ci-token", "password": "glcbt-64_job101-0123456789"}],
        "features": {"trace_sections": true, "failure_reasons": ["script_failure", "runner_system_failure"]},
    })
}

struct Run {
    coordinator: Coordinator,
    directory: TempDir,
    /// What the runner itself said.
    log: String,
}

/// A runner that takes one job and ends.
fn command(runner: &Path, server: SocketAddr, directory: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(runner);
    command.args(["run-single", "--url", &format!("http://{server}"), "--token", "glrt-t", "--executor", "custom"]);
    command.args(["--shell", "bash", "--max-builds", "1", "--wait-timeout", "30"]);
    command.args(["--builds-dir", "/unused", "--cache-dir", "/unused"]);
    for hook in ["config", "prepare", "run", "cleanup"] {
        command.args([format!("--custom-{hook}-exec"), SLIPWAY.into()]);
        command.args([
            format!("--custom-{hook}-args"),
            "executor".into(),
            format!("--custom-{hook}-args"),
            hook.into(),
        ]);
    }
    command.env("SLIPWAY_STATE_DIR", directory.join("state")).env("HOME", directory);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .current_dir(directory);
    command
}

async fn run(runner: PathBuf, script: &[&str], prepare: impl FnOnce(&Coordinator)) -> Run {
    let project = Project::with([("file", "from git\n")]);
    let (coordinator, server) = Coordinator::serve(job(&project, script)).await;
    prepare(&coordinator);
    let directory = tempfile::tempdir().unwrap();
    let output = command(&runner, server, directory.path()).output();
    let output = tokio::time::timeout(Duration::from_secs(120), output).await.unwrap().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Run { coordinator, directory, log }
}

impl Run {
    fn assert_clean(&self) {
        for name in ["leases", "jobs", "slots"] {
            let below = self.directory.path().join("state").join(name);
            let left =
                std::process::Command::new("find").arg(&below).args(["-mindepth", "1", "!", "-type", "d"]).output();
            assert_eq!(String::from_utf8_lossy(&left.unwrap().stdout), "", "{name}");
        }
        let secrets = std::process::Command::new("find").arg(self.directory.path()).args(["-name", "*.tmp"]).output();
        assert_eq!(String::from_utf8_lossy(&secrets.unwrap().stdout), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_job_passes() {
    let Some(runner) = runner() else { return };
    let script = [
        "type multiwerf && source <(multiwerf use 1.1 stable)",
        "type werf && source <(werf ci-env gitlab --verbose)",
        "cat file; echo \"<$WERF_STAGES_STORAGE>\"; werf version; echo glcbt-64_job101-0123456789; echo out > out.txt",
    ];
    let run = run(runner, &script, |_| {}).await;
    let (trace, update) = (run.coordinator.trace(), run.coordinator.update());
    assert_eq!(update.get("state"), Some(&json!("success")), "{trace}\n{}", run.log);
    for expected in [
        "Using Custom executor with driver slipway",
        "Warning: image `ruby:3` is ignored: jobs run on this host itself",
        "from git\n<:local>\n0.1.0\n[MASKED]\n",
        "### IMAGE CLEANUP POLICIES\n",
        "status=success\n",
        "Job succeeded",
    ] {
        assert!(trace.contains(expected), "{expected:?} is missing in\n{trace}");
    }
    assert_eq!(run.coordinator.artifacts(), 1, "{trace}");
    run.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scripts_exit_code_reaches_gitlab() {
    let Some(runner) = runner() else { return };
    let run = run(runner, &["sleep 1000 &", "exit 42"], |_| {}).await;
    let (trace, update) = (run.coordinator.trace(), run.coordinator.update());
    assert_eq!(update.get("failure_reason"), Some(&json!("script_failure")), "{trace}\n{}", run.log);
    assert_eq!(update.get("exit_code"), Some(&json!(42)), "{trace}");
    assert!(trace.contains("status=failed\n"), "{trace}");
    run.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_runs_its_after_script() {
    let Some(runner) = runner() else { return };
    let run = run(runner, &["echo under way; sleep 1000"], |server| server.cancel_at("\nunder way", "canceling")).await;
    let trace = run.coordinator.trace();
    assert!(trace.contains("status=canceled\n"), "{trace}\n{}", run.log);
    run.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_taken_away_leaves_nothing() {
    let Some(runner) = runner() else { return };
    let run = run(runner, &["echo under way; sleep 1000"], |server| server.cancel_at("\nunder way", "canceled")).await;
    assert!(!run.coordinator.trace().contains("status="), "{}", run.coordinator.trace());
    run.assert_clean();
}

/// Checklist 22: nobody calls cleanup for the jobs of a runner that was killed; the next job finds and removes them.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_runner_left_is_removed_before_the_next_job() {
    let Some(runner) = runner() else { return };
    let project = Project::with([("file", "from git\n")]);
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("alive");
    let script = format!("setsid sh -c 'while sleep 0.1; do date +%s%N > {}; done' & sleep 1000", marker.display());
    let (coordinator, server) = Coordinator::serve(job(&project, &[&script])).await;
    let mut first = command(&runner, server, directory.path()).spawn().unwrap();
    tokio::time::timeout(Duration::from_secs(60), async {
        while !marker.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{}", coordinator.trace()));
    first.kill().await.unwrap();

    let mut next = job(&project, &["cat file"]);
    next["id"] = json!(102);
    let (coordinator, server) = Coordinator::serve(next).await;
    let output = command(&runner, server, directory.path()).output().await.unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let run = Run { coordinator, directory, log };
    let trace = run.coordinator.trace();
    assert!(trace.contains("Removed what job 101 of a runner that is gone had left.\n"), "{trace}\n{}", run.log);
    assert_eq!(run.coordinator.update().get("state"), Some(&json!("success")), "{trace}");
    let last = std::fs::read(&marker).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(std::fs::read(&marker).unwrap(), last, "a process of the first job goes on");
    run.assert_clean();
}
