//! `exec`: a job of a local `.gitlab-ci.yml`, run by the real hooks.

use crate::support::program::{Output, Program};
use crate::support::project::Project;

fn exec(project: &Project, args: &[&str]) -> Output {
    Program::new(["exec"].iter().chain(args))
        .dir(project.path())
        .env("HOME", project.path())
        .env("SLIPWAY_STATE_DIR", project.state_dir())
        .run()
}

/// What a job leaves in the state directory.
fn leftovers(project: &Project) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["leases", "jobs"] {
        let entries = std::fs::read_dir(project.state_dir().join(name)).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    for project in std::fs::read_dir(project.state_dir().join("slots")).unwrap() {
        let entries = std::fs::read_dir(project.unwrap().path()).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    found
}

#[test]
fn the_job_of_the_guide_runs_unchanged() {
    let project = Project::with([(
        ".gitlab-ci.yml",
        "variables:\n    WERF_STAGES_STORAGE: \":local\"\n\
         before_script:\n  - type multiwerf && source <(multiwerf use 1.1 stable)\n  \
         - type werf && source <(werf ci-env gitlab --verbose)\n\
         Build:\n  stage: build\n  script:\n    - werf version\n    - echo \"$WERF_STAGES_STORAGE $WERF_IMAGES_REPO\"\n  \
         tags:\n    - werf\n",
    )]);
    let output = exec(&project, &["Build", "--variable", "CI_REGISTRY_IMAGE=127.0.0.1:5000/tools"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("$ werf version\n0.1.0\n"), "{}", output.stdout);
    assert!(output.stdout.contains("\n:local 127.0.0.1:5000/tools\n"), "{}", output.stdout);
    assert!(output.stdout.contains("\n### OTHER\n"), "what the executor set does not change what ci-env shows");
    assert!(output.stdout.ends_with("\nJob succeeded\n"));
    assert_eq!((leftovers(&project), output.stderr.as_str()), (vec![], ""));
}

#[test]
fn jobs_that_call_nothing_have_werfs_variables_too() {
    let project = Project::with([(
        ".gitlab-ci.yml",
        "job:\n  script:\n  - echo \"$WERF_TAG_BY_STAGES_SIGNATURE $WERF_LOG_TERMINAL_WIDTH $WERF_ENV\"\n  \
         - test -f $DOCKER_CONFIG/config.json && which werf multiwerf slipway\n  environment: production\n",
    )]);
    let output = exec(&project, &["job"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("\ntrue 95 production\n"), "{}", output.stdout);
}

#[test]
fn the_exit_code_is_the_scripts_and_the_after_script_knows() {
    let project = Project::with([(
        ".gitlab-ci.yml",
        "fail: {script: [exit 42], after_script: ['echo status=$CI_JOB_STATUS', exit 3]}\ntwo: {script: [exit 2]}\n",
    )]);
    let output = exec(&project, &["fail"]);
    assert_eq!(output.code, 42, "{output:?}");
    assert!(output.stdout.contains("\nstatus=failed\n"), "{}", output.stdout);
    assert!(output.stdout.ends_with("\nERROR: Job failed: exit status 42\n"), "{}", output.stdout);
    assert_eq!(exec(&project, &["two"]).code, 2);
    assert_eq!(leftovers(&project), [""; 0]);
}

#[test]
fn the_job_is_that_of_the_commit() {
    let project =
        Project::with([(".gitlab-ci.yml", "job: {script: [cat file, 'git status --porcelain']}\n"), ("file", "one\n")]);
    let first = exec(&project, &["job"]);
    assert!(first.stdout.contains("\nCloning repository...\n") && first.stdout.contains("\none\n"), "{first:?}");
    project.commit([("file", "two\n")]);
    project.write("file", "three\n");
    let second = exec(&project, &["job"]);
    assert!(second.stdout.contains("Warning: 1 change is not committed, and so no part of the job\n"), "{second:?}");
    assert!(second.stdout.contains("\nFetching changes...\n") && second.stdout.contains("\ntwo\n"), "{second:?}");
}

/// Hostile input 24: a branch whose name is a command.
#[test]
fn names_of_branches_are_only_names() {
    let project = Project::with([(".gitlab-ci.yml", "job: {script: ['echo \"<$CI_COMMIT_REF_NAME>\"']}\n")]);
    for branch in ["$(touch${IFS}hacked)", "a'b\"c`id`", "emoji-\u{1f980}", &"x".repeat(200)] {
        project.git(&["checkout", "-q", "-b", branch]);
        let output = exec(&project, &["job"]);
        assert_eq!(output.code, 0, "{branch}: {output:?}");
        assert!(output.stdout.contains(&format!("\n<{branch}>\n")), "{branch}: {}", output.stdout);
    }
}

/// Hostile input 46: what a job wrote into the work tree's configuration does not run in the next one.
#[test]
fn the_next_job_runs_nothing_that_the_last_one_left() {
    let project = Project::with([(
        ".gitlab-ci.yml",
        "bad:\n  script:\n  - git config core.fsmonitor 'touch /tmp/never; false'\n  \
         - printf '#!/bin/sh\\ntouch %s/ran\\n' \"$OUT\" > .git/hooks/post-checkout\n  \
         - chmod +x .git/hooks/post-checkout; touch untracked\n\
         good: {script: ['git config core.fsmonitor || ls']}\n",
    )]);
    let out = format!("OUT={}", project.state_dir().display());
    assert_eq!(exec(&project, &["bad", "--variable", &out]).code, 0);
    let output = exec(&project, &["good"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(!project.state_dir().join("ran").exists());
    assert!(!output.stdout.contains("untracked"), "{}", output.stdout);
}

#[test]
fn masked_variables_do_not_reach_the_log() {
    let project = Project::with([(
        ".gitlab-ci.yml",
        "job: {script: ['echo \"$SECRET\"; echo \"$SECRET\" | base64', 'printf hunter; sleep 0.1; echo 2-long']}\n",
    )]);
    let output = Program::new(["exec", "job", "--masked-variable", "SECRET"])
        .dir(project.path())
        .env("HOME", project.path())
        .env("SLIPWAY_STATE_DIR", project.state_dir())
        .env("SECRET", "hunter2-long")
        .run();
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.stdout.matches("[MASKED]").count(), 3, "{}", output.stdout);
    assert!(!output.stdout.contains("hunter2-long\n") && !output.stdout.contains("aHVudGVy"), "{}", output.stdout);
}

#[test]
fn a_job_that_takes_too_long_is_ended() {
    let project = Project::with([(".gitlab-ci.yml", "job: {script: ['sleep 1000 & sleep 1000'], timeout: 2s}\n")]);
    let output = exec(&project, &["job"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stdout.ends_with("\nERROR: Job failed: execution took longer than 2 seconds\n"),
        "{}",
        output.stdout
    );
    assert_eq!(leftovers(&project), [""; 0]);
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let project = Project::with([(".gitlab-ci.yml", "a: {script: x}\nb: {extends: .c, script: x}\n")]);
    for (args, code, expected) in [
        (&["c"][..], 1, "Error: .gitlab-ci.yml: there is no job `c`\nhint: jobs of this file: a, b\n"),
        (&["b"], 1, "Error: .gitlab-ci.yml:2:14: `b` extends `.c`, which is not in this file\n"),
        (&[], 2, "Error: name the job to run\nhint: jobs of `.gitlab-ci.yml`: a, b\n"),
        (&["a", "--variable", "NOT_SET"], 2, "Error: variable `NOT_SET` has no value, and none in the environment\n"),
    ] {
        let output = exec(&project, args);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (code, "", expected));
    }
    let empty = tempfile::tempdir().unwrap();
    let output = Program::new(["exec", "a"]).dir(empty.path()).env("HOME", empty.path()).run();
    assert_eq!(output.code, 1);
    assert!(output.stderr.starts_with("Error: cannot read the git repository at `"), "{}", output.stderr);
}
