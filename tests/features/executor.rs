//! The four hooks, started by hand as GitLab Runner starts them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::{Output, SLIPWAY};

const BUILD_FAILURE: i32 = 11;
const SYSTEM_FAILURE: i32 = 12;

/// A runner with one job.
struct Runner {
    directory: TempDir,
    response: Value,
    env: Vec<(OsString, OsString)>,
    /// What stands before our program on the command line.
    wrapper: Vec<OsString>,
}

impl Runner {
    fn new() -> Self {
        let runner = Self {
            directory: tempfile::tempdir().unwrap(),
            response: json!({
                "id": 101, "token": "glcbt-job101",
                "job_info": {"project_id": 42},
                "git_info": {"repo_url": "https://gitlab-ci-token:glcbt-job101@git.example.com/article/tools.git"},
                "variables": [], "runner_info": {"timeout": 600},
            }),
            env: Vec::new(),
            wrapper: Vec::new(),
        };
        fs::create_dir(runner.path("tmp")).unwrap();
        runner
    }

    fn prepared() -> Self {
        let runner = Self::new();
        assert_eq!(runner.hook(&["config"]).code, 0);
        assert_eq!(runner.hook(&["prepare"]).code, 0);
        runner
    }

    /// As [`Runner::prepared`], where nothing may make a PID namespace.
    fn without_namespaces() -> Self {
        let mut runner = Self::prepared();
        let capability = "-sys_admin";
        let wrapper = ["setpriv", "--bounding-set", capability, "--inh-caps", capability];
        runner.wrapper = wrapper.map(OsString::from).to_vec();
        runner
    }

    fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.env.push((name.into(), OsString::new()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, args: &[&OsStr]) -> Command {
        fs::write(self.path("tmp/response.json"), self.response.to_string()).unwrap();
        let mut line = self.wrapper.clone();
        line.extend([SLIPWAY, "executor"].map(OsString::from));
        line.extend(args.iter().map(OsString::from));
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).stdin(Stdio::null()).process_group(0).current_dir(self.path("tmp"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.path("home"));
        command.env("SLIPWAY_STATE_DIR", self.path("state")).env("TMPDIR", self.path("tmp"));
        command.env("BUILD_FAILURE_EXIT_CODE", BUILD_FAILURE.to_string());
        command.env("SYSTEM_FAILURE_EXIT_CODE", SYSTEM_FAILURE.to_string());
        command.env("JOB_RESPONSE_FILE", self.path("tmp/response.json"));
        command.env("BUILD_EXIT_CODE_FILE", self.path("tmp/build_exit_code"));
        for (name, value) in &self.env {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        command
    }

    fn hook(&self, args: &[&str]) -> Output {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        finish(self.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn script(&self, text: &str) -> PathBuf {
        let path = self.path("tmp/script");
        fs::write(&path, format!("#!/usr/bin/env bash\n{text}")).unwrap();
        path
    }

    fn run(&self, text: &str) -> Output {
        self.hook(&["run", self.script(text).to_str().unwrap(), "build_script"])
    }

    /// Starts a script and waits until it says `ready`.
    fn start(&self, text: &str) -> Child {
        let script = self.script(text);
        let args = [OsStr::new("run"), script.as_os_str(), OsStr::new("build_script")];
        let mut child = self.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"ready\n");
        child
    }

    fn code_file(&self) -> Option<String> {
        fs::read_to_string(self.path("tmp/build_exit_code")).ok()
    }

    fn builds_dir(&self) -> PathBuf {
        let answer: Value = serde_json::from_str(&self.hook(&["config"]).stdout).unwrap();
        answer["builds_dir"].as_str().unwrap().into()
    }

    /// Files that belong to jobs.
    fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in ["state/leases", "state/jobs", "state/slots/p42-1f71fb1b"] {
            let entries = fs::read_dir(self.path(directory)).into_iter().flatten();
            found.extend(entries.map(|entry| entry.unwrap().path()));
        }
        found
    }
}

fn finish(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap()),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Whether a process whose command line has this text is there.
fn is_running(marker: &str) -> bool {
    let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let mut lines = entries.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.any(|line| line.starts_with("sleep") && line.contains(marker))
}

fn wait_until(what: &str, limit: Duration, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A duration for `sleep` that no other test uses.
fn marker(number: u32) -> String {
    format!("{}.{number}", 10_000 + std::process::id())
}

#[test]
fn config_answers_with_one_json_object() {
    let runner = Runner::new().env("RUST_LOG", "trace");
    let output = runner.hook(&["config"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    let state = runner.path("state");
    assert_eq!(
        answer,
        json!({
            "builds_dir": state.join("builds/p42-1f71fb1b/s0"), "builds_dir_is_shared": false,
            "cache_dir": state.join("cache/p42-1f71fb1b"), "driver": {"name": "slipway", "version": env!("CARGO_PKG_VERSION")},
        })
    );
}

#[test]
fn identity_is_not_the_authors_to_choose() {
    let honest = Runner::new();
    let expected = honest.hook(&["config"]).stdout.replace(honest.directory.path().to_str().unwrap(), "");
    let hostile = Runner::new()
        .env("CUSTOM_ENV_CI_PROJECT_DIR", "/etc")
        .env("CUSTOM_ENV_CI_JOB_ID", "1")
        .env("CUSTOM_ENV_CI_CONCURRENT_PROJECT_ID", "../..")
        .env("CUSTOM_ENV_CI_PROJECT_PATH", "../../x");
    assert_eq!(hostile.hook(&["config"]).stdout.replace(hostile.directory.path().to_str().unwrap(), ""), expected);
}

#[test]
fn a_runner_that_gives_no_response_file_is_refused() {
    let runner = Runner::new().without("JOB_RESPONSE_FILE");
    for hook in ["config", "prepare", "cleanup"] {
        let output = runner.hook(&[hook]);
        assert_eq!(
            (output.code, output.stdout.as_str(), output.stderr.as_str()),
            (
                SYSTEM_FAILURE,
                "",
                "Error: the runner gave no job response file (JOB_RESPONSE_FILE is not set)\n\
                 hint: GitLab Runner 15 or later starts this command; `slipway exec JOB` runs a job by hand\n"
            )
        );
    }
}

#[test]
fn what_is_wrong_with_the_host_is_a_system_failure() {
    let runner = Runner::new();
    let output = runner.run("true");
    assert_eq!(output.code, SYSTEM_FAILURE);
    assert!(output.stderr.starts_with("Error: job 101 was not prepared on this host: "), "{}", output.stderr);
    fs::write(runner.path("config.yaml"), "runtime: podman\n").unwrap();
    let runner = Runner { response: json!("not a job"), ..runner };
    let output = runner.hook(&["prepare"]);
    assert_eq!((output.code, output.stderr.ends_with("is not a job: it has no job `id`\n")), (SYSTEM_FAILURE, true));
    let file = runner.path("config.yaml");
    let output = runner.env("SLIPWAY_CONFIG", file).hook(&["config"]);
    assert_eq!((output.code, output.stdout.as_str()), (SYSTEM_FAILURE, ""));
    assert!(output.stderr.contains("config.yaml:1:10: runtime: unknown variant `podman`"), "{}", output.stderr);
}

#[test]
fn prepare_says_what_is_ignored_and_can_be_repeated() {
    let mut runner = Runner::new();
    runner.response["image"] = json!({"name": "ruby:3"});
    runner.response["services"] = json!([{"name": "redis:7"}]);
    for _ in 0..2 {
        let output = runner.hook(&["prepare"]);
        assert_eq!((output.code, output.stdout.as_str()), (0, ""));
        let lines: Vec<&str> = output.stderr.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "Warning: image `ruby:3` is ignored: jobs run on this host itself",
                "Warning: services redis:7 are ignored: jobs run on this host itself",
            ]
        );
    }
    assert_eq!(runner.run("type werf multiwerf slipway >/dev/null && werf version").stdout, "0.1.0\n");
}

/// Checklist 5, hostile input 41: prepare is killed anywhere, and the next one makes it good.
#[test]
fn prepare_survives_being_killed_anywhere() {
    let runner = Runner::new();
    for microseconds in (0..20).map(|step| step * 500) {
        let mut child = runner.command(&[OsStr::new("prepare")]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(microseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(runner.hook(&["prepare"]).code, 0);
    assert_eq!(runner.run("werf version").code, 0);
    assert_eq!(runner.hook(&["cleanup"]).code, 0);
    assert_eq!(runner.leftovers(), [PathBuf::new(); 0]);
}

#[test]
fn scripts_see_credentials_of_the_job_in_a_configuration_of_their_own() {
    let mut runner = Runner::new();
    let home = runner.path("home/.docker");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("config.json"), r#"{"auths": {"mine.io": {"auth": "bWU6bWU="}}}"#).unwrap();
    runner.response["credentials"] = json!([{"type": "registry", "url": "registry.example.com", "username": "gitlab-ci-token", "password": "glcbt-job101"}]);
    runner.hook(&["prepare"]);
    let output = runner.run("stat -c %a $DOCKER_CONFIG $DOCKER_CONFIG/config.json; cat $DOCKER_CONFIG/config.json");
    assert!(output.stdout.starts_with("700\n600\n"), "{output:?}");
    assert!(output.stdout.contains("mine.io") && output.stdout.contains("registry.example.com"), "{output:?}");
    assert!(output.stdout.contains("[MASKED]") && !output.stdout.contains("Z2xjYnQtam9iMTAx"), "{output:?}");
    assert_eq!(fs::read_to_string(home.join("config.json")).unwrap().matches("auth\"").count(), 1);
}

#[test]
fn the_scripts_code_goes_into_the_file_and_never_into_the_exit() {
    let runner = Runner::prepared();
    for (script, code, file) in [
        ("exit 42", BUILD_FAILURE, Some("42\n")),
        ("exit 0", 0, None),
        ("exit 2", BUILD_FAILURE, Some("2\n")),
        ("kill -9 $$", BUILD_FAILURE, Some("137\n")),
        ("exec 1>&- 2>&-; sleep 0.1; exit 3", BUILD_FAILURE, Some("3\n")),
        ("no-such-program", BUILD_FAILURE, Some("127\n")),
    ] {
        // An older script's code must not be taken for this one's.
        fs::write(runner.path("tmp/build_exit_code"), "99\n").unwrap();
        assert_eq!((runner.run(script).code, runner.code_file().as_deref()), (code, file), "{script}");
    }
    let runner = runner.without("BUILD_EXIT_CODE_FILE");
    assert_eq!((runner.run("exit 0").code, runner.run("exit 5").code), (0, BUILD_FAILURE));
}

#[test]
fn output_passes_as_it_is_and_secrets_do_not() {
    let mut runner = Runner::prepared();
    runner.response["variables"] = json!([{"key": "A", "value": "hunter2-long", "masked": true}]);
    let output = runner.run("printf 'a\\r\\033[0Kb'; printf hun; sleep 0.05; echo ter2-long; echo glcbt-job101 >&2");
    assert_eq!(output.stdout, "a\r\u{1b}[0Kb[MASKED]\n");
    assert_eq!(output.stderr, "[MASKED]\n");
    let output = runner.run("head -c 30000000 /dev/zero | tr '\\0' x");
    assert_eq!((output.code, output.stdout.len()), (0, 30_000_000));
}

/// Hostile input 44: nothing that the runner has open reaches a script.
#[test]
fn scripts_inherit_three_descriptors_and_little_environment() {
    let mut runner = Runner::prepared().env("SERVICE_SECRET", "x").env("CUSTOM_ENV_A", "b");
    runner.wrapper = ["bash", "-c", "exec 7</etc/passwd 9>/dev/null; exec \"$@\"", "bash"].map(OsString::from).to_vec();
    let output = runner.run("for fd in /proc/$$/fd/*; do readlink $fd; done; env; pwd");
    let open: Vec<&str> = output.stdout.lines().take_while(|line| line.starts_with(['/', 'p'])).collect();
    // The shell itself holds its script open.
    assert_eq!(open.len(), 4, "{}", output.stdout);
    assert!(!output.stdout.contains("passwd") && !output.stdout.contains("SERVICE_SECRET"), "{}", output.stdout);
    assert!(!output.stdout.contains("CUSTOM_ENV") && !output.stdout.contains("JOB_RESPONSE_FILE"), "{}", output.stdout);
    let tmp = format!("TMPDIR={}", runner.path("state/jobs/j101-1f71fb1b/tmp").display());
    assert!(output.stdout.contains(&tmp), "{}", output.stdout);
}

/// Checklist 14, hostile input 43: however a script tries to leave something running.
#[test]
fn nothing_outlives_its_script() {
    for (runner, number) in [(Runner::prepared(), 1), (Runner::without_namespaces(), 2)] {
        let marker = marker(number);
        let started = Instant::now();
        let output = runner.run(&format!(
            "sleep {marker} & nohup sleep {marker} >/dev/null 2>&1 & (setsid sleep {marker} &); \
             setsid bash -c 'trap \"\" TERM HUP; (sleep {marker} &) & sleep {marker}' & disown -a; sleep 0.2; echo done"
        ));
        assert_eq!((output.code, output.stdout.as_str()), (0, "done\n"), "{output:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        assert!(!is_running(&marker), "run {number}");
    }
}

#[test]
fn a_script_that_kills_all_it_can_see_kills_only_itself() {
    let runner = Runner::prepared();
    assert_eq!(runner.run("kill -9 -1; sleep 0.1; exit 4").code, BUILD_FAILURE);
    assert_eq!(runner.run("true").code, 0);
}

/// Checklist 15: the script is asked first, then all is ended.
#[test]
fn a_signal_ends_the_script_and_the_hook_fails() {
    for (runner, number) in [(Runner::prepared(), 11), (Runner::without_namespaces(), 12)] {
        let marker = marker(number);
        let child = runner.start(&format!(
            "trap 'echo bye; exit 0' TERM; (trap '' TERM; sleep {marker}) & sleep {marker} & echo ready; wait"
        ));
        let started = Instant::now();
        kill(Pid::from_raw(-child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let output = finish(child);
        assert_eq!((output.code, output.stdout.as_str()), (SYSTEM_FAILURE, "bye\n"), "{output:?}");
        assert!(output.stderr.contains("Error: ended by signal SIGTERM\n"), "{}", output.stderr);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert!(!is_running(&marker) && runner.code_file().is_none());
    }
}

#[test]
fn a_killed_hook_takes_its_script_along() {
    for (runner, number) in [(Runner::prepared(), 21), (Runner::without_namespaces(), 22)] {
        let marker = marker(number);
        let mut child = runner.start(&format!("setsid sleep {marker} & echo ready; sleep {marker}"));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until("the script goes on", Duration::from_secs(5), || !is_running(&marker));
        assert_eq!(runner.hook(&["cleanup"]).code, 0);
    }
}

/// Checklist 19: the runner has given up a `run` hook that does not end, and calls cleanup.
#[test]
fn cleanup_takes_over_from_a_stuck_hook() {
    let runner = Runner::prepared();
    let marker = marker(31);
    let child = runner.start(&format!("echo ready; sleep {marker}"));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGSTOP).unwrap();
    let output = runner.hook(&["cleanup"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    wait_until("the script goes on", Duration::from_secs(5), || !is_running(&marker));
    assert_eq!(runner.leftovers(), [PathBuf::new(); 0]);
    finish(child);
}

#[test]
fn cleanup_is_silent_and_safe_at_any_time() {
    let runner = Runner::new();
    let clean = || {
        let output = runner.hook(&["cleanup"]);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "", ""));
        assert_eq!(runner.leftovers(), [PathBuf::new(); 0]);
    };
    clean();
    runner.hook(&["config"]);
    clean();
    runner.hook(&["config"]);
    runner.hook(&["prepare"]);
    clean();
    clean();
}

/// Checklist 18, 47: secrets beside the work tree go, also when a link stands in their place.
#[test]
fn secrets_beside_the_work_tree_are_removed_and_links_not_followed() {
    let runner = Runner::prepared();
    let project = runner.builds_dir().join("article/tools");
    let precious = runner.path("precious");
    fs::create_dir_all(precious.join("kept")).unwrap();
    fs::create_dir_all(&project).unwrap();
    std::os::unix::fs::symlink(&precious, project.with_extension("tmp")).unwrap();
    assert_eq!(runner.hook(&["cleanup"]).code, 0);
    assert!(precious.join("kept").is_dir() && fs::symlink_metadata(project.with_extension("tmp")).is_err());

    assert_eq!(runner.hook(&["config"]).code, 0);
    fs::create_dir_all(project.with_extension("tmp").join("deep")).unwrap();
    std::os::unix::fs::symlink(&precious, project.with_extension("tmp").join("deep/link")).unwrap();
    assert_eq!(runner.hook(&["cleanup"]).code, 0);
    assert!(precious.join("kept").is_dir() && project.is_dir() && !project.with_extension("tmp").exists());
}

#[test]
fn two_jobs_of_a_project_have_two_directories() {
    let mut runner = Runner::new();
    let first = runner.builds_dir();
    runner.response["id"] = json!(102);
    assert_ne!(runner.builds_dir(), first);
}

/// What a dead runner has left is removed before the next job, and told.
#[test]
fn jobs_of_dead_runners_are_reaped() {
    let mut runner = Runner::new();
    // The shell is in a process group of its own and stands for the runner.
    runner.wrapper = ["setsid", "--wait", "sh", "-c", "setsid --wait \"$@\"", "sh"].map(OsString::from).to_vec();
    assert_eq!(runner.hook(&["prepare"]).code, 0);
    runner.wrapper.clear();
    runner.response["id"] = json!(102);
    let output = runner.hook(&["config"]);
    assert_eq!(output.stderr, "Removed what job 101 of a runner that is gone had left.\n");
    assert!(!runner.path("state/jobs/j101-1f71fb1b").exists());
}

#[test]
fn any_bytes_and_large_values_in_the_environment_do_no_harm() {
    let runner = Runner::new()
        .env("CUSTOM_ENV_BYTES", OsString::from_vec(vec![0xff, b'\n', 0xfe]))
        .env("CUSTOM_ENV_LARGE", "x".repeat(127 << 10));
    for hook in ["config", "prepare", "cleanup"] {
        assert_eq!(runner.hook(&[hook]).code, 0, "{hook}");
    }
    assert!(Path::new(SLIPWAY).exists());
}

/// Checklist 20 and section 3 of the contract: unknown sub-stages run like any other.
#[test]
fn unknown_sub_stages_are_run() {
    let runner = Runner::prepared();
    let script = runner.script("echo $WERF_TAG_BY_STAGES_SIGNATURE");
    for (sub_stage, expected) in [("step_release", "true\n"), ("foo", "\n"), ("get_sources", "\n")] {
        let output = runner.hook(&["run", script.to_str().unwrap(), sub_stage]);
        assert_eq!((output.code, output.stdout.as_str()), (0, expected), "{sub_stage}");
    }
}
