//! The form of the log and what goes where, seen from outside.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::process::{Command, Output};

fn slipway(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.env_clear().envs(variables.iter().copied()).args(arguments).output().unwrap()
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn stdout_carries_only_what_was_asked_for() {
    let (code, stdout, stderr) = texts(&slipway(&["version", "--log-debug"], &[("GITLAB_CI", "true")]));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), concat!(env!("CARGO_PKG_VERSION"), "\n"), ""));
}

#[test]
fn a_bad_log_option_is_a_usage_error_that_names_its_place() {
    let text = "Error: bad value `blue` of --log-color-mode: expected `auto`, `on` or `off`\n";
    let output = slipway(&["build", "--log-color-mode", "blue"], &[]);
    assert_eq!(texts(&output), (Some(2), String::new(), text.to_owned()));
    let text = "Error: bad value `-3` of WERF_LOG_TERMINAL_WIDTH: expected a number of columns, or -1 for the terminal's width\n";
    let output = slipway(&["build"], &[("WERF_LOG_TERMINAL_WIDTH", "-3")]);
    assert_eq!(texts(&output), (Some(2), String::new(), text.to_owned()));
}

#[test]
fn a_wrong_command_line_leaves_stdout_empty() {
    let (code, stdout, stderr) = texts(&slipway(&["no-such-command"], &[]));
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("unrecognized subcommand 'no-such-command'"), "{stderr}");
}

#[test]
fn the_switches_of_werf_are_taken() {
    for arguments in [["version", "--quiet"], ["version", "--verbose=false"], ["version", "--log-pretty=0"]] {
        assert_eq!(texts(&slipway(&arguments, &[])).0, Some(0), "{arguments:?}");
    }
}
