//! What goes wrong while building, what several builds at once do to each other, and what a killed one leaves.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::on_both_runtimes;
use crate::support::build_project::BuildProject;
use crate::support::git_repo::GitRepo;
use crate::support::program::SLIPWAY;

on_both_runtimes!(
    a_failing_command_is_shown_and_leaves_nothing,
    the_real_failure_is_told_and_nothing_new_begins,
    one_after_another_stops_at_the_first_failure,
    sigterm_ends_a_stage_cleanly,
    after_sigkill_a_plain_second_run_succeeds,
    two_builds_at_once_make_each_stage_once,
    five_builds_at_once_make_each_stage_once,
    equal_images_of_one_run_are_built_once,
    limits_hold_and_output_is_not_mixed,
    a_removed_stage_is_built_again,
    shells_need_a_terminal_but_no_luck,
    only_errors_are_said_quietly,
);

fn a_failing_command_is_shown_and_leaves_nothing(project: BuildProject) {
    project.commit_yaml("image: app\nfrom: BASE\nshell:\n  install:\n  - echo before\n  - echo reason >&2; sh -c 'exit 7'\n  - echo after\n");
    let output = project.failed_build([]);
    assert_eq!(output.code, 1);
    let log = &output.stderr;
    assert!(log.contains("app/install  before") && log.contains("app/install  reason"), "{log}");
    assert!(!log.contains("after\n"), "{log}");
    let failed: Vec<&str> = log.lines().filter(|line| line.ends_with(" FAILED")).collect();
    assert_eq!(failed.len(), 2, "{log}");
    assert!(
        failed[0].starts_with("│ └ Building stage app/install (") && failed[1].starts_with("└ ⛵ image app ("),
        "{log}"
    );
    let (_, error) = log.split_once("Error: ").unwrap();
    let (place, error) = error.split_once(" (signature ").unwrap();
    assert_eq!(place, "image app, stage install");
    assert_eq!(
        error.split_once("): ").unwrap().1,
        "container run failed: exit code 7\nhint: the last lines above are the command's own; --introspect-error opens a shell in the failed container\n"
    );
    assert_eq!(project.leftovers(), [""; 0]);
    assert_eq!(project.stages().len(), 1);
}

fn the_real_failure_is_told_and_nothing_new_begins(project: BuildProject) {
    project.commit_yaml(
        "image: slow\nfrom: BASE\nshell: {install: [sleep 60]}\n---\nimage: bad\nfrom: BASE\nshell: {install: [sleep 1; exit 3]}\n---\nimage: late\nfrom: BASE\nshell: {install: [echo late]}\n",
    );
    let started = Instant::now();
    let output = project.failed_build(["--parallel-tasks-limit=2"]);
    assert!(started.elapsed() < Duration::from_secs(40));
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains("Error: image bad, stage install (signature "), "{}", output.stderr);
    assert!(output.stderr.contains("container run failed: exit code 3\n"), "{}", output.stderr);
    assert!(!output.stderr.contains("image late ("), "{}", output.stderr);
    assert_eq!(project.leftovers(), [""; 0]);
}

fn one_after_another_stops_at_the_first_failure(project: BuildProject) {
    project.commit_yaml("image: bad\nfrom: BASE\nshell: {install: [exit 3]}\n---\nimage: late\nfrom: BASE\n");
    let output = project.failed_build(["--parallel=false"]);
    assert!(output.stderr.contains("container run failed: exit code 3\n"), "{}", output.stderr);
    assert!(!output.stderr.contains("late"), "{}", output.stderr);
}

/// Starts a build whose command says `begun` and sleeps; gives it once it does, with what reads the rest of its log.
fn begun(project: &BuildProject) -> (Child, BufReader<std::process::ChildStderr>) {
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: ['test -e /quick/go || echo begun; until test -e /quick/go; do sleep 0.1; done; echo done > /done']}\nmount: [{fromPath: quick, to: /quick}]\n");
    let mut child = project.command(["build"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.ends_with("  begun\n") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the build ended");
    }
    (child, log)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn sigterm_ends_a_stage_cleanly(project: BuildProject) {
    let (mut child, mut log) = begun(&project);
    let sent = Instant::now();
    signal(&child, Signal::TERM);
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(17), "{rest}");
    assert!(sent.elapsed() < Duration::from_secs(20));
    assert!(rest.ends_with("Error: interrupted\n"), "{rest}");
    assert_eq!(project.leftovers(), [""; 0]);
}

fn after_sigkill_a_plain_second_run_succeeds(project: BuildProject) {
    let (mut child, _log) = begun(&project);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    project.repo.write("quick/go", "");
    let log = project.build();
    assert_eq!(log.built(), ["app/install"]);
    assert_eq!(project.leftovers(), [""; 0]);
    assert_eq!(project.stages().len(), 2);
}

/// Jobs of a GitLab runner have each their own process ids, and share the host's state.
#[test]
fn a_build_in_another_pid_namespace_is_left_alone() {
    let Some(project) = BuildProject::embedded() else { return };
    let (mut child, mut log) = begun(&project);
    let mut elsewhere = Command::new("unshare");
    elsewhere.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).args([SLIPWAY, "stage", "image"]);
    let environment = project.command(["stage"]);
    elsewhere.env_clear().current_dir(project.repo.path());
    elsewhere.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = elsewhere.output().unwrap();
    // The stage is not there yet; but this one has looked at the store.
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    project.repo.write("quick/go", "");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    assert_eq!(project.sh("app", "cat /done"), "done\n");
}

const SEVERAL: &str = "image: base\nfrom: BASE\nshell: {install: [echo base > /base]}\n---\nimage: app\nfromImage: base\ngit: [{add: /, to: /app}]\nshell: {install: [sleep 0.3; echo app > /app/made], setup: [cat /base /app/made]}\ndocker: {CMD: [run]}\n";

fn builds_at_once(project: &BuildProject, count: usize) {
    project.repo.write("file", "1\n");
    project.commit_yaml(SEVERAL);
    let builds: Vec<Child> =
        (0..count).map(|_| project.command(["build"]).stderr(Stdio::piped()).spawn().unwrap()).collect();
    for build in builds {
        let output = build.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut signatures: Vec<String> =
        project.stages().iter().map(|image| image.config.labels["werf-stage-signature"].clone()).collect();
    let names: usize = project.stages().iter().map(|image| image.names.len()).sum();
    signatures.sort();
    signatures.dedup();
    assert_eq!((signatures.len(), names), (7, 7));
    assert_eq!(project.build().built(), [""; 0]);
    assert_eq!(project.sh("app", "cat /base /app/made /app/file"), "base\napp\n1\n");
    assert_eq!(project.leftovers(), [""; 0]);
}

fn two_builds_at_once_make_each_stage_once(project: BuildProject) {
    builds_at_once(&project, 2);
}

fn five_builds_at_once_make_each_stage_once(project: BuildProject) {
    builds_at_once(&project, 5);
}

fn equal_images_of_one_run_are_built_once(project: BuildProject) {
    project.commit_yaml("image: [a, b, c]\nfrom: BASE\nshell: {install: [sleep 0.5; echo made]}\n");
    let log = project.build();
    assert_eq!(log.built().len(), 2, "{}", log.0);
    assert_eq!(log.reused().len(), 4, "{}", log.0);
    assert_eq!(log.lines_with("  made").len(), 1, "{}", log.0);
}

fn limits_hold_and_output_is_not_mixed(project: BuildProject) {
    let image = |name: &str| {
        format!(
            "image: {name}\nfrom: BASE\nfromCacheVersion: {name}\nmount: [{{fromPath: seen, to: /seen}}]\nshell: {{install: ['for i in 1 2 3 4 5; do echo {name}$i; sleep 0.1; done; mkdir /seen/{name}; ls /seen | wc -l > /count; sleep 0.3; rmdir /seen/{name}']}}\n"
        )
    };
    project.commit_yaml(&["a", "b", "c", "d"].map(image).join("---\n"));
    let log = project.build_with(["--parallel-tasks-limit=2"]);
    assert!(
        log.0
            .contains("┌ Concurrent builds plan (no more than 2 images at the same time)\n│ Set #0:\n│ - ⛵ image a\n"),
        "{}",
        log.0
    );
    // The lines of one image stand together.
    let order: Vec<char> = log.output_of("/install").iter().map(|line| line.chars().next().unwrap()).collect();
    let mut images = order.clone();
    images.dedup();
    assert_eq!((order.len(), images.len()), (20, 4), "{}", log.0);
    for image in ["a", "b", "c", "d"] {
        let seen: u32 = project.sh(image, "cat /count").trim().parse().unwrap();
        assert!(seen <= 2, "{image} saw {seen} at once");
    }
    let serial = project.slipway(["build", "--parallel-tasks-limit=wide"]).run();
    assert_eq!(serial.code, 2);
}

fn a_removed_stage_is_built_again(project: BuildProject) {
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: [echo 1], setup: [echo 2]}\n");
    project.build();
    let setup = project.image("app").names[0].clone();
    project.with_runtime(async |runtime| runtime.untag(&setup).await.unwrap());
    let log = project.build();
    assert_eq!((log.reused(), log.built()), (vec!["app/from", "app/install"], vec!["app/setup"]));
}

fn shells_need_a_terminal_but_no_luck(project: BuildProject) {
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: [touch /tried; exit 4]}\n");
    for flag in ["--introspect-error", "--introspect-before-error"] {
        let output = project.failed_build([flag]);
        // Without a terminal the shell reads its end of input and goes; the command still fails.
        assert_eq!(output.code, 1, "{}", output.stderr);
        assert!(output.stderr.contains("container run failed: exit code 4\n"), "{}", output.stderr);
        assert_eq!(project.leftovers(), [""; 0]);
    }
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: [touch /tried]}\n");
    let log = project.build_with(["--introspect-stage=app/install"]);
    assert_eq!(log.built(), ["app/install"]);
    assert_eq!(project.leftovers(), [""; 0]);
}

fn only_errors_are_said_quietly(project: BuildProject) {
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: [echo loud]}\n");
    let output = project.slipway(["build", "--log-quiet"]).run();
    assert_eq!((output.code, output.stdout.as_str()), (0, ""));
    // Warnings count as what goes wrong.
    assert_eq!(output.stderr.lines().filter(|line| !line.starts_with("WARNING: ")).count(), 0, "{}", output.stderr);
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: [echo loud; exit 5]}\n");
    let output = project.slipway(["build", "--log-quiet"]).run();
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("Error: image app, stage install (signature "), "{}", output.stderr);
    assert!(!output.stderr.contains("loud"), "{}", output.stderr);
}

fn error_of(project: &BuildProject, args: &[&str]) -> (i32, String) {
    let output = project.slipway(args.iter().copied()).run();
    let (_, error) = output.stderr.split_once("Error: ").unwrap_or(("", &output.stderr));
    let mut error = error.replace(&project.name, "PROJECT").replace(project.repo.path().to_str().unwrap(), "REPO");
    if let Some((place, rest)) = error.clone().split_once(" (signature ") {
        error = format!("{place} (signature …{}", &rest[56..]);
    }
    (output.code, error.replace(project.repo.head().as_str(), "HEAD"))
}

#[test]
fn mistakes_are_explained() {
    let Some(project) = BuildProject::embedded() else { return };
    project.commit_yaml("image: app\nfrom: BASE\n---\nartifact: art\nfrom: BASE\n");
    let told = |args: &[&str]| {
        let (code, error) = error_of(&project, args);
        format!("{code}: {error}")
    };
    insta::assert_snapshot!(told(&["build", "nothing"]), @r"
    1: specified image `nothing` is not defined in werf.yaml
    hint: it defines `app`, `art`
    ");
    insta::assert_snapshot!(told(&["build", "--introspect-stage=app/nothing"]), @r"
    2: --introspect-stage `app/nothing`: there is no stage `nothing`
    hint: stages are from, beforeInstall, gitArchive, install, beforeSetup, setup, …, dockerInstructions
    ");
    insta::assert_snapshot!(told(&["build", "--introspect-stage=nothing/install"]), @r"2: --introspect-stage `nothing/install`: image `nothing` is not defined in werf.yaml");
    insta::assert_snapshot!(told(&["build", "--stages-storage=registry.example.com/x"]), @r"
    1: stages storage `registry.example.com/x`: stages are kept only on this host so far
    hint: use --stages-storage :local, or WERF_STAGES_STORAGE=:local among the job's variables
    ");
    insta::assert_snapshot!(told(&["build", "--synchronization=x"]), @r"
    1: bad --synchronization `x`
    hint: one of: :local, kubernetes://NAMESPACE[:CONTEXT][@(base64:DATA|PATH)], http(s)://HOST
    ");
    insta::assert_snapshot!(told(&["build", "--ssh-key=/nonexistent"]), @r"1: ssh key `/nonexistent` cannot be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(told(&["publish", "--images-repo=127.0.0.1:1/x", "--tag-custom=a"]), @r"
    1: image app, stage from (signature …): stages required: app/from is not in the stages storage
    hint: because it has not been built before
    hint: build it first with the same commit, --stages-storage and environment: slipway build
    hint: a template that prints changing values (a date, a job id) gives other stages every time; cleanup may have removed it
    ");
    assert_eq!(project.build_with(["art"]).built(), ["art/from"]);
}

#[test]
fn what_a_project_cannot_have_is_explained() {
    let Some(project) = BuildProject::embedded() else { return };
    let told = |yaml: &str| {
        project.commit_yaml(yaml);
        let (code, error) = error_of(&project, &["build"]);
        format!("{code}: {error}")
    };
    project.repo.write("f", "1");
    let unreachable = told("image: app\nfrom: 127.0.0.1:1/nothing:1\n");
    assert!(
        unreachable
            .starts_with("4: image app, stage from (signature …): cannot use the base image 127.0.0.1:1/nothing:1: "),
        "{unreachable}"
    );
    insta::assert_snapshot!(told("image: app\nfrom: BASE\ngit: [{add: /f, to: /f, owner: nobody-here}]\n"), @r"
    1: image app, stage gitArchive (signature …): owner `nobody-here` does not exist in the image
    hint: create the user in a stage before, or give a number
    ");
    insta::assert_snapshot!(told("image: app\nfrom: BASE\ngit: [{add: /f, to: /f, group: nobody-here}]\n"), @r"
    1: image app, stage gitArchive (signature …): group `nobody-here` does not exist in the image
    hint: create the group in a stage before, or give a number
    ");
    insta::assert_snapshot!(told("image: app\nfrom: BASE\ngit: [{add: /missing, to: /f}]\n"), @r"1: image app, stage gitArchive (signature …): base path `/missing` not found at commit HEAD of git repository `REPO`");
    insta::assert_snapshot!(told("artifact: art\nfrom: BASE\n---\nimage: app\nfrom: BASE\nimport: [{artifact: art, add: /missing, to: /x, after: install}]\n"), @r"
    1: image app, stage importsAfterInstall (signature …): import of /missing from art: there is no such path in the image
    hint: look into it: slipway run --shell art
    ");
    insta::assert_snapshot!(told("image: app\nfrom: BASE\ndocker: {HEALTHCHECK: curl}\n"), @r"
    1: image app, stage dockerInstructions (signature …): docker.HEALTHCHECK `curl`: expected `CMD` with a command, or `NONE`
    hint: write it as in a Dockerfile: `--interval=30s --timeout=5s CMD curl -f http://localhost/`, or `NONE`
    ");
    insta::assert_snapshot!(told("image: app\nfrom: BASE\nasLayers: true\nshell: {install: [a]}\n"), @r"
    1: image app: asLayers is not built yet
    hint: remove `asLayers`: the stages are the same, with fewer layers
    ");
    insta::assert_snapshot!(told("image: app\nfrom: BASE\nansible: {install: [{command: a}]}\n"), @r"
    1: image app, stage install (signature …): image app: ansible stages are not built yet
    hint: write the tasks as `shell` commands for now
    ");
    insta::assert_snapshot!(told("image: app\ndockerfile: Dockerfile\n"), @r"
    1: image app: Dockerfile images are not built yet
    hint: name the other images on the command line to build only those
    ");
    insta::assert_snapshot!(told("image: app\nfrom: BASE\nmount: [{fromPath: ~other/x, to: /x}]\nshell: {install: [a]}\n"), @r"1: image app, stage install (signature …): mount fromPath `~other/x`: other users' home directories are not looked up");
    insta::assert_snapshot!(told("image: app\nfrom: BASE\ngit: [{url: file:///nonexistent/repo.git, branch: main, add: /, to: /x, herebyIAdmitThatBranchMightBreakReproducibility: true}]\n"), @r"
    4: `git fetch` failed for `file:///nonexistent/repo.git`: fatal: '/nonexistent/repo.git' does not appear to be a git repository; fatal: Could not read from remote repository
    hint: check the URL, the network, and that the credentials or ssh keys given allow to read it
    ");
}

#[test]
fn shallow_clones_are_refused_allowed_or_completed() {
    let Some(mut project) = BuildProject::embedded() else { return };
    project.repo.write("file", "1\n");
    project.commit_yaml("image: app\nfrom: BASE\ngit: [{add: /, to: /app}]\n");
    project.build();
    project.repo.write("file", "2\n").commit("Second");
    let clone = GitRepo::cloned(["clone", "-q", "--depth=1", &project.repo.url()]);
    let _origin = std::mem::replace(&mut project.repo, clone);
    let (code, error) = error_of(&project, &["build"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(error, @r"
    shallow git clone is not allowed: stages are reused by the history it lacks
    hint: pass --git-unshallow to fetch the rest, or --allow-git-shallow-clone to build without reuse
    hint: in GitLab: set GIT_DEPTH to 0 for the job
    ");
    // The stage of the first commit cannot be known for an ancestor's: it is built anew.
    assert_eq!(project.build_with(["--allow-git-shallow-clone"]).built(), ["app/gitArchive"]);
    let log = project.build_with(["--git-unshallow"]);
    assert_eq!((log.reused(), log.built()), (vec!["app/from", "app/gitArchive"], vec!["app/gitLatestPatch"]));
    assert_eq!(project.sh("app", "cat /app/file"), "2\n");
    assert_eq!(project.build().built(), [""; 0]);
}

#[test]
fn remote_repositories_are_cloned_once_and_fetched_after() {
    let Some(project) = BuildProject::embedded() else { return };
    let remote = GitRepo::new();
    remote.write("lib/a", "1\n").commit("First");
    project.commit_yaml(&format!(
        "image: app\nfrom: BASE\ngit: [{{url: {}, branch: main, add: /lib, to: /lib, herebyIAdmitThatBranchMightBreakReproducibility: true}}]\n",
        remote.url()
    ));
    // Own commits do not matter: nothing of the project is in the image.
    assert_eq!(project.build().built(), ["app/from", "app/gitArchive"]);
    project.repo.write("own", "1").commit("Own");
    assert_eq!(project.build().built(), [""; 0]);
    remote.write("lib/a", "2\n").commit("Second");
    assert_eq!(project.build().built(), ["app/gitLatestPatch"]);
    assert_eq!(project.sh("app", "cat /lib/a"), "2\n");
}
