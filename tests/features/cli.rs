//! The command line itself: help, flags of werf 1.1, names, mistakes.

use std::collections::BTreeSet;

use crate::support::program::{Program, named_copies};

/// Every command with the first line of its help.
const COMMANDS: &[(&str, &str)] = &[
    ("build", "Build the stages of images that are not there yet"),
    ("build-and-publish", "Build images, and publish each as soon as its stages are there"),
    ("ci-env", "Print the variables that a CI system means for werf, as a script to source"),
    ("config list", "List the images and artifacts of werf.yaml"),
    ("config render", "Print werf.yaml after its templates have run"),
    ("config show", "Print the settings of this host, and where each of them comes from"),
    ("exec", "Run a job of .gitlab-ci.yml on this host, as GitLab Runner would with this executor"),
    ("executor", "Hooks of GitLab Runner's custom executor"),
    ("image export", "Write an image into an archive for `docker load` and OCI tools"),
    ("image import", "Make an image of a root file system (tar) or an image archive (`docker save`, OCI layout)"),
    ("image ls", "List images, oldest first"),
    ("image rm", "Remove names of images; an image without names is dropped"),
    ("image stop", "End containers that were started in the background (`slipway run --docker-options=-d`)"),
    ("images publish", "Publish images whose stages are built; builds nothing"),
    ("publish", "Publish images whose stages are built; builds nothing"),
    ("run", "Run a built image"),
    ("slugify", "Print a name as it would be used for an image tag, a namespace or a release"),
    ("stage image", "Print the full name of the last stage of a built image, one line"),
    ("stages build", "Build the stages of images that are not there yet"),
    ("version", "Print the version, a single word"),
    ("why", "Tell why the stages of an image were built: what changed since the build before"),
];

#[test]
fn every_command_explains_itself() {
    for (command, first_line) in COMMANDS {
        let help = Program::new(command.split(' ').chain(["--help"])).stdout();
        assert_eq!(help.lines().next(), Some(*first_line), "{command}");
    }
}

/// The second column of a help text's list of commands, without `help` itself.
fn listed(group: &[&str]) -> Vec<String> {
    let help = Program::new(group.iter().copied().chain(["-h"])).stdout();
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_readme_names_exactly_the_commands_that_exist() {
    let mut exist: BTreeSet<String> = ["stage image".to_owned()].into();
    for name in listed(&[]) {
        match name.as_str() {
            "config" | "image" | "images" | "stages" => {
                exist.extend(listed(&[&name]).into_iter().map(|command| format!("{name} {command}")));
            }
            _ => {
                exist.insert(name);
            }
        }
    }
    assert_eq!(exist, COMMANDS.iter().map(|(name, _)| (*name).to_owned()).collect());

    let readme = include_str!("../../README.md");
    let section = readme.split("\n## Commands\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = section.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let named: BTreeSet<String> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|command| match command.split_once(' ') {
            Some((name @ ("why" | "ci-env"), _)) => name.to_owned(),
            _ => command.to_owned(),
        })
        .collect();
    assert_eq!(named, exist);
}

/// Flags that werf 1.1 has for a command, with a value where they take one (spec/build.md 6.2 and 6.3,
/// spec/publish-and-cleanup.md 8.3).
const PROJECT: &str = "--dir=. --config=x --config-templates-dir=x --tmp-dir=x --home-dir=x";
const LOG: &str =
    "--log-quiet --log-verbose=false --log-debug --log-pretty=false --log-color-mode=off --log-terminal-width=-1";
const STAGES: &str = "--ssh-key=a --ssh-key=b -s=:local -S=:local --repo-implementation=x \
    --stages-storage-repo-implementation=x --repo-docker-hub-username=x --repo-docker-hub-password=x \
    --repo-docker-hub-token=x --repo-github-token=x --repo-harbor-username=x --repo-harbor-password=x --repo-quay-token=x \
    --stages-storage-repo-docker-hub-username=x --stages-storage-repo-docker-hub-password=x \
    --stages-storage-repo-docker-hub-token=x --stages-storage-repo-github-token=x --stages-storage-repo-harbor-username=x \
    --stages-storage-repo-harbor-password=x --stages-storage-repo-quay-token=x --insecure-registry \
    --skip-tls-verify-registry=true --docker-config=x --kube-config=x --kube-config-base64=x --kube-context=x \
    --virtual-merge --virtual-merge-from-commit=x --virtual-merge-into-commit=x --git-unshallow=false \
    --allow-git-shallow-clone --log-project-dir";
const BUILD: &str = "--introspect-error=false --introspect-before-error --introspect-stage=a/install -p \
    --parallel-tasks-limit=-1";
const PUBLISH: &str = "-i=x --images-repo-mode=auto --images-repo-implementation=x --images-repo-repo-implementation=x \
    --images-repo-docker-hub-username=x --images-repo-docker-hub-password=x --images-repo-docker-hub-token=x \
    --images-repo-github-token=x --images-repo-harbor-username=x --images-repo-harbor-password=x \
    --images-repo-quay-token=x --tag-custom=a --tag-custom=b --tag-git-branch=x --tag-git-tag=x --tag-git-commit=x \
    --tag-by-stages-signature --publish-report-path=x --publish-report-format=json";

/// `--help` at the end stops the command after its line was read. With `IMAGE` before it, a switch that swallowed the word
/// after it would show: the word is no boolean.
#[test]
fn every_flag_of_werf_is_accepted() {
    let table: &[(&str, &[&str])] = &[
        ("build", &[PROJECT, LOG, STAGES, BUILD]),
        ("stages build", &[PROJECT, LOG, STAGES, BUILD]),
        ("build-and-publish", &[PROJECT, LOG, STAGES, BUILD, PUBLISH]),
        ("publish", &[PROJECT, LOG, STAGES, PUBLISH]),
        ("images publish", &[PROJECT, LOG, STAGES, PUBLISH]),
        ("run", &[PROJECT, LOG, STAGES, "--dry-run --shell=false --docker-options=-d"]),
        ("stage image", &[PROJECT, LOG, STAGES, "--dry-run"]),
        ("config render", &[PROJECT, LOG]),
        ("config list", &[PROJECT, LOG, "--images-only"]),
    ];
    for (command, groups) in table {
        for flag in groups.iter().flat_map(|group| group.split_whitespace()) {
            let image = (!command.ends_with("list")).then_some("app");
            let line = command.split(' ').chain([flag]).chain(image).chain(["--help"]);
            let output = Program::new(line).run();
            assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{command} {flag}");
        }
    }
}

#[test]
fn werf_is_the_same_program() {
    let names = named_copies(["werf"]);
    let version = Program::command("werf", ["version"]).path(names.path()).stdout();
    assert_eq!(version, Program::new(["version"]).stdout());
    assert_eq!(version, format!("{}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(version.split_whitespace().count(), 1);
}

#[test]
fn a_wrong_command_line_ends_with_2_and_leaves_stdout_empty() {
    let lines: &[&[&str]] =
        &[&[], &["biuld"], &["build", "--stage-storage=:local"], &["executor", "run"], &["exec", "--file"]];
    for line in lines {
        let output = Program::new(*line).run();
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{line:?}");
        assert!(output.stderr.contains("help"), "{line:?}: {}", output.stderr);
    }
    insta::assert_snapshot!(Program::new(["biuld"]).run().stderr, @r"
    error: unrecognized subcommand 'biuld'

      tip: a similar subcommand exists: 'build'

    Usage: slipway [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
}
