//! SIGKILL of the program at any moment, and nothing else is told to end.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::{assert_one_stage_per_signature, left};
use crate::support::build_project::BuildProject;

const MOMENTS: u32 = 12;

/// Each round builds other stages, of the same commit.
const STAGES: &str = "image: base\nfrom: BASE\nfromCacheVersion: '{{ env \"ROUND\" }}'\nshell: {install: [echo base > /base; sleep 0.05]}\n---\nimage: app\nfromImage: base\ngit: [{add: /, to: /app}]\nshell: {beforeInstall: [sleep 0.05], setup: [cat /base /app/file > /made]}\nimport: [{image: base, add: /base, to: /imported, after: setup}]\ndocker: {CMD: [run]}\n";
const COUNT: usize = 8;

fn start(project: &BuildProject, round: &str, args: &[&str]) -> Child {
    let mut command = project.command(args.iter().copied());
    command.env("ROUND", round).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Kills the command at moments spread over its whole run, and runs it again each time.
fn killed_at_every_moment(project: &BuildProject, args: &[&str]) {
    project.repo.write("file", "1\n");
    project.commit_yaml(STAGES);
    let started = Instant::now();
    finish(start(project, "measured", args));
    let whole = started.elapsed();
    for moment in 0..MOMENTS {
        let round = format!("killed-{moment}");
        let mut first = start(project, &round, args);
        std::thread::sleep(whole * moment / MOMENTS + Duration::from_millis(3));
        first.kill().unwrap();
        first.wait().unwrap();
        finish(start(project, &round, args));
        assert_eq!(gone(project), [""; 0], "killed after {moment}/{MOMENTS} of {whole:?}");
    }
    assert_eq!(project.stages().len(), COUNT * (MOMENTS as usize + 1));
    assert_one_stage_per_signature(project);
}

/// What is left once the kernel has ended what it is ending.
fn gone(project: &BuildProject) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = left(project);
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_build_killed_at_any_moment_is_finished_by_the_next() {
    let Some(project) = BuildProject::embedded() else { return };
    killed_at_every_moment(&project, &["build"]);
}

#[test]
fn a_publication_killed_at_any_moment_is_finished_by_the_next() {
    let Some(project) = BuildProject::embedded() else { return };
    let Ok(registry) = std::env::var("TESTBED_REGISTRY") else {
        println!("skipped: needs TESTBED_REGISTRY");
        return;
    };
    let repo = format!("--images-repo={registry}/{}", project.name);
    killed_at_every_moment(&project, &["build-and-publish", &repo, "--tag-by-stages-signature"]);
}
