//! Bad input and accidents, as a user meets them: what is said, with which exit code, that nothing is lost or left behind, and
//! that the plain second run succeeds. Mostly without a daemon; needs root and a static busybox.

mod disk;
mod git;
mod killed;
mod layers;
mod registry;
mod scripts;
mod werf_yaml;

use std::path::Path;

use crate::support::build_project::BuildProject;
use crate::support::program::Output;

/// What a run has left anywhere: files, containers, mounts, and processes that live in a container of ours.
fn left(project: &BuildProject) -> Vec<String> {
    let mut found = project.leftovers();
    for directory in ["tmp", "containers", "pending"] {
        let entries = std::fs::read_dir(project.state().join("embedded").join(directory));
        found.extend(entries.into_iter().flatten().map(|entry| entry.unwrap().path().display().to_string()));
    }
    let state = project.state().display().to_string();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let mounts = std::fs::read_to_string(process.path().join("mounts")).unwrap_or_default();
        if mounts.lines().any(|line| line.contains(" overlay ") && line.contains(&state)) {
            let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            found.push(format!("{}: {command}", process.path().display()));
        }
    }
    found.retain(|line| !line.starts_with(disk::SOURCE));
    found
}

/// The error and its hints, without the log before it.
fn error_of(output: &Output) -> &str {
    output.stderr.split_once("Error: ").unwrap_or_else(|| panic!("no error: {}", output.stderr)).1
}

/// Every signature once.
fn assert_one_stage_per_signature(project: &BuildProject) {
    let stages = project.stages();
    let mut signatures: Vec<&String> =
        stages.iter().map(|stage| &stage.config.labels["werf-stage-signature"]).collect();
    let names: usize = stages.iter().map(|stage| stage.names.len()).sum();
    signatures.sort();
    signatures.dedup();
    assert_eq!(signatures.len(), names);
}

fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().symlink_metadata().is_ok()
}
