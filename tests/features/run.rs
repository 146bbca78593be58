//! `run`: a built image in a container.

use std::time::{Duration, Instant};

use crate::on_both_runtimes;
use crate::support::build_project::{BuildProject, Kind};

on_both_runtimes!(
    command_environment_and_mounts_are_given,
    the_exit_code_of_the_container_is_told,
    a_dry_run_prints_the_line,
    a_detached_container_goes_on_until_it_is_removed,
    sigterm_ends_the_container,
);

const APP: &str = "image: app\nfrom: BASE\ngit: [{add: /, to: /app}]\ndocker: {CMD: [cat, /app/file], WORKDIR: /app}\n";

fn built(project: &BuildProject) {
    project.repo.write("file", "content\n");
    project.commit_yaml(APP);
    project.build();
}

fn command_environment_and_mounts_are_given(project: BuildProject) {
    built(&project);
    assert_eq!(project.slipway(["run", "--docker-options=--rm"]).stdout(), "content\n");
    let shared = project.host().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let options = format!("--docker-options=--rm -e A=b -w /tmp -u 1000:50 -v {}:/shared:ro", shared.display());
    let script = "echo $A; pwd; id -u; id -g; touch /shared/x 2>/dev/null || echo read-only";
    let output = project.slipway(["run", "app", &options, "--", "sh", "-c", script]).stdout();
    assert_eq!(output, "b\n/tmp\n1000\n50\nread-only\n");
    let options = "--docker-options=--rm --entrypoint /bin/echo";
    assert_eq!(project.slipway(["run", "app", options, "--", "a b", "c"]).stdout(), "a b c\n");
    assert_eq!(project.leftovers(), [""; 0]);
}

fn the_exit_code_of_the_container_is_told(project: BuildProject) {
    built(&project);
    let output = project
        .slipway(["run", "app", "--docker-options=--rm", "--", "sh", "-c", "echo out; echo err >&2; exit 9"])
        .run();
    assert_eq!(output.stdout, "out\n");
    assert!(output.stderr.starts_with("err\n"), "{}", output.stderr);
    match project.kind {
        // The docker client has taken over: its code is the container's.
        Kind::Docker => assert_eq!(output.code, 9),
        Kind::Embedded => {
            assert_eq!(
                (output.code, output.stderr.as_str()),
                (1, "err\nError: the container ended with exit code 9\n")
            );
        }
    }
    assert_eq!(project.leftovers(), [""; 0]);
}

fn a_dry_run_prints_the_line(project: BuildProject) {
    built(&project);
    let name = project.slipway(["stage", "image"]).stdout();
    let line = project.slipway(["run", "--dry-run", "--docker-options=-d -p 80:80", "--", "a", "b"]).stdout();
    assert_eq!(line, format!("docker run -d -p 80:80 {} a b\n", name.trim()));
    let shell = project.slipway(["run", "--dry-run", "--shell"]).stdout();
    assert_eq!(shell, format!("docker run -ti --rm {} /bin/sh\n", name.trim()));
}

fn a_detached_container_goes_on_until_it_is_removed(project: BuildProject) {
    built(&project);
    let container = format!("{}-server", project.name);
    let served = project.host().join("served");
    std::fs::create_dir(&served).unwrap();
    let options = format!("--docker-options=-d --name {container} -v {}:/served", served.display());
    project.slipway(["run", "app", &options, "--", "sh", "-c", "touch /served/up; sleep 1000"]).stdout();
    let waited = Instant::now();
    while !served.join("up").exists() {
        assert!(waited.elapsed() < Duration::from_secs(20), "the container does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Another command beside it does not take it for left over.
    assert_eq!(project.build().built(), [""; 0]);
    match project.kind {
        Kind::Docker => {
            crate::support::build_project::docker(["rm", "-f", &container]);
        }
        Kind::Embedded => {
            assert!(project.leftovers().iter().any(|line| line.contains(&container)));
            project.slipway(["image", "stop", &container]).stdout();
        }
    }
    assert_eq!(project.leftovers(), [""; 0]);
}

fn sigterm_ends_the_container(project: BuildProject) {
    built(&project);
    let served = project.host().join("served");
    std::fs::create_dir(&served).unwrap();
    let options = format!("--docker-options=--rm --init=false -v {}:/served", served.display());
    let options = if project.kind == Kind::Docker { options } else { options.replace("--init=false ", "") };
    let script = "trap 'exit 0' TERM; touch /served/up; while :; do sleep 0.1; done";
    let mut child = project.command(["run", "app", &options, "--", "sh", "-c", script]).spawn().unwrap();
    let waited = Instant::now();
    while !served.join("up").exists() {
        assert!(waited.elapsed() < Duration::from_secs(20), "the container does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(if project.kind == Kind::Docker { 0 } else { 17 }));
    assert_eq!(project.leftovers(), [""; 0]);
}

#[test]
fn what_cannot_be_run_is_explained() {
    let Some(project) = BuildProject::embedded() else { return };
    project.commit_yaml("image: app\nfrom: BASE\n---\nimage: b\nfrom: BASE\ndocker: {CMD: []}\n");
    let told = |args: &[&str]| {
        let output = project.slipway(["run"].into_iter().chain(args.iter().copied())).run();
        let error = output.stderr.split_once("Error: ").map_or(output.stderr.as_str(), |(_, error)| error);
        let error = match error.split_once(" (signature ") {
            Some((place, rest)) => format!("{place} (signature …{}", &rest[56..]),
            None => error.to_owned(),
        };
        format!("{}: {error}", output.code)
    };
    insta::assert_snapshot!(told(&["app"]), @r"
    1: image app, stage from (signature …): stages required: app/from is not in the stages storage
    hint: because it has not been built before
    hint: build it first with the same commit, --stages-storage and environment: slipway build
    hint: a template that prints changing values (a date, a job id) gives other stages every time; cleanup may have removed it
    ");
    project.build();
    insta::assert_snapshot!(told(&[]), @r"
    2: name an image: werf.yaml defines more than one
    hint: one of: app, b
    ");
    insta::assert_snapshot!(told(&["nothing"]), @r"
    1: specified image `nothing` is not defined in werf.yaml
    hint: it defines `app`, `b`
    ");
    insta::assert_snapshot!(told(&["b"]), @r"
    2: the image has no command of its own
    hint: give one: slipway run IMAGE -- COMMAND
    ");
    insta::assert_snapshot!(told(&["app", "--docker-options=--gpus all", "--", "true"]), @r"
    2: the embedded runtime does not know the option --gpus of docker run
    hint: it knows -d, -p, -v, -e, -w, -u, --rm, --name, --entrypoint, -i and -t
    hint: SLIPWAY_RUNTIME=docker takes every option
    ");
    insta::assert_snapshot!(told(&["app", "--shell", "--docker-options=-d"]), @r#"
    2: --shell and --bash cannot be combined with --docker-options or a command
    hint: give the options and the program yourself: --docker-options="-ti --rm" -- /bin/sh
    "#);
    insta::assert_snapshot!(told(&["app", "--shell", "--bash"]), @r"
    2: error: the argument '--shell[=<BOOL>]' cannot be used with '--bash[=<BOOL>]'

    Usage: slipway run --shell[=<BOOL>] <IMAGE> [-- <COMMAND>...]

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(told(&["app", "--", "/bin/nothing"]), @r"1: cannot execute `/bin/nothing` in the container: No such file or directory");
}
