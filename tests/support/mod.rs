//! What several features need.

#![allow(clippy::unwrap_used)]

pub mod build_project;
pub mod coordinator;
pub mod fault_registry;
pub mod git_repo;
pub mod program;
pub mod project;
pub mod real_registry;
pub mod served_image;
pub mod tls;

use std::process::Command;

/// Runs one test of this binary again in a process of its own, with these variables; for what a process has only one of
/// (its environment, its memory). `true` in that process: do the work; `false` in the first one: it was done, and well.
pub fn in_own_process(test: &str, variables: &[(&str, &str)]) -> bool {
    const MARK: &str = "SLIPWAY_TEST_OWN_PROCESS";
    if std::env::var(MARK).is_ok_and(|name| name == test) {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(MARK, test).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}
