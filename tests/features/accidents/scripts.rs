//! What a stage's commands do that they should not.

use std::process::Stdio;

use super::left;
use crate::support::build_project::BuildProject;

fn with_commands(commands: &str) -> Option<BuildProject> {
    let project = BuildProject::embedded()?;
    let lines: String = commands.lines().map(|line| format!("    {line}\n")).collect();
    project.commit_yaml(&format!("image: app\nfrom: BASE\nshell:\n  install:\n  - |\n{lines}"));
    Some(project)
}

#[test]
fn what_runs_in_the_background_ends_with_the_stage() {
    let Some(project) = with_commands(
        "setsid sleep 86391 &\n(setsid sh -c 'while :; do sleep 86392; done' >/dev/null 2>&1 &)\necho started",
    ) else {
        return;
    };
    assert_eq!(project.build().lines_with("  started"), ["app/install  started"]);
    assert_eq!(left(&project), [""; 0]);
}

#[test]
fn a_flood_of_output_needs_little_memory_and_is_complete() {
    let Some(project) = with_commands("seq 1 150000\nhead -c 20000000 /dev/zero\necho; echo the end") else { return };
    let log = project.host().join("log");
    let mut command = project.command(["build"]);
    let mut child = command.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        let memory = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = memory.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(peak);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    };
    assert!(status.success());
    assert!((1000..80_000).contains(&peak), "{peak} kB at the peak");
    let log = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    let numbers = log.lines().filter_map(|line| line.split_once("app/install  ")?.1.parse::<u32>().ok());
    assert!(numbers.eq(1..=150_000));
    assert!(log.contains("app/install  the end\n"));
}

#[test]
fn closed_descriptors_do_not_end_a_stage() {
    let Some(project) = with_commands("exec <&- >&- 2>&-\nsleep 0.2\ntouch /made") else { return };
    project.build();
    assert_eq!(project.sh("app", "ls /made"), "/made\n");
}

#[test]
fn killing_everything_kills_only_the_stage() {
    let Some(project) = with_commands("sleep 86393 &\nkill -9 -1 && echo survived") else { return };
    assert_eq!(project.build().lines_with("survived"), ["app/install  survived"]);
    assert_eq!(left(&project), [""; 0]);
}

#[test]
fn nothing_is_to_be_read_from_standard_input() {
    let Some(project) = with_commands("cat\nread line || echo nothing to read") else { return };
    let mut command = project.command(["build"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let held_open = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(held_open);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains("app/install  nothing to read"), "{log}");
}

#[test]
fn forged_sections_and_escapes_do_not_reach_a_job_log() {
    let script = "printf 'section_start:1700000000:evil[collapsed=true]\\r\\033[0Kforged\\n'\nprintf '\\033]0;title\\007\\033[2J\\033[31mred\\033[0m\\033[999A\\n'\nprintf 'section_end:1700000000:evil\\r\\033[0K\\n'";
    let Some(project) = with_commands(script) else { return };
    let output = project.slipway(["build"]).env("CI", "true").env("GITLAB_CI", "true").run();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let log = output.stderr;
    for forged in ["evil\r", "evil[collapsed=true]\r", "\x1b]0", "\x1b[2J", "\x1b[999A"] {
        assert!(!log.contains(forged), "{forged:?} in {log:?}");
    }
    // A section is only what ends like this.
    let sections = log.split_inclusive("\r\x1b[0K").filter(|part| part.ends_with("\r\x1b[0K"));
    assert!(sections.clone().all(|part| part.rsplit_once("section_").unwrap().1.contains(":slipway_")), "{log:?}");
    // The image, and the list of its stages: each begins and ends once.
    assert_eq!(sections.count(), 4);
    assert!(log.contains("forged") && log.contains("red"), "{log:?}");
}
