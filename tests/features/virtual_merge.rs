//! Merge commits that a CI system makes for one pipeline of a merge request and nobody keeps (spec/build.md 3.8).

use slipway::git::Repo;

use crate::on_both_runtimes;
use crate::support::build_project::BuildProject;

on_both_runtimes!(
    a_merge_made_again_reuses_the_stages,
    stages_of_a_merge_request_serve_its_branch_and_the_target_after_it,
    a_target_that_was_rewritten_builds_anew,
    labels_tell_what_was_merged,
    a_parent_that_is_not_known_is_named,
);

const YAML: &str = "image: app\nfrom: BASE\ngit:\n- add: /\n  to: /app\n  excludePaths: [werf.yaml]\n  stageDependencies: {install: [deps]}\nshell: {install: [cat /app/deps > /installed]}\ndocker: {ENV: {A: b}}\n";
const STAGES: [&str; 4] = ["app/from", "app/gitArchive", "app/install", "app/dockerInstructions"];

/// A target branch `main` and a branch `feature` that has left it.
fn merge_request(project: &BuildProject) {
    let repo = &project.repo;
    repo.write("deps", "1\n").write("target", "1\n").write("source", "1\n").write("old", "1\n");
    project.commit_yaml(YAML);
    repo.git(["branch", "feature"]);
    on(project, "feature", "source", "2\n");
    on(project, "main", "target", "2\n");
}

/// One more commit on a branch.
fn on(project: &BuildProject, branch: &str, file: &str, content: &str) {
    project.repo.git(["checkout", "-q", branch]);
    project.repo.write(file, content).commit(file);
}

/// Checks out a merge of `feature` into `main` that no branch keeps; every earlier one is gone.
fn merge(project: &BuildProject, number: u32) {
    let repo = &project.repo;
    repo.git(["checkout", "-q", "--detach", "main"]);
    let before = repo.head();
    repo.git(["merge", "-q", "--no-ff", "-m", &format!("Merge {number}"), "feature"]);
    assert_ne!(repo.head(), before);
    forget(project);
}

fn forget(project: &BuildProject) {
    project.repo.git(["reflog", "expire", "--expire=now", "--all"]);
    for name in ["ORIG_HEAD", "MERGE_HEAD", "AUTO_MERGE"] {
        let _ = std::fs::remove_file(project.repo.path().join(".git").join(name));
    }
    project.repo.git(["gc", "-q", "--prune=now"]);
}

fn a_merge_made_again_reuses_the_stages(project: BuildProject) {
    merge_request(&project);
    merge(&project, 1);
    let first = project.repo.head();
    assert_eq!(project.build_with(["--virtual-merge"]).built(), STAGES);
    // The same merge for another pipeline: the same files, so nothing is new.
    merge(&project, 2);
    assert!(!Repo::open(project.repo.path()).unwrap().contains(&first));
    assert_eq!(project.build_with(["--virtual-merge"]).built(), [""; 0]);
    assert_eq!(project.slipway(["run", "--virtual-merge", "app", "--", "cat", "/app/source"]).stdout(), "2\n");

    // Both sides go on: only what changed since the merge that is gone.
    on(&project, "feature", "source", "3\n");
    project.repo.remove("old").commit("Remove");
    on(&project, "main", "target", "3\n");
    merge(&project, 3);
    let log = project.build_with(["--virtual-merge"]);
    assert_eq!(log.reused(), STAGES[..3]);
    assert_eq!(log.built(), ["app/gitLatestPatch", "app/dockerInstructions"]);
    let because = log.lines_with("because the sources");
    assert!(because[0].starts_with(&format!("because the sources of / -> /app have changed since {:.12}", first)));
    assert!(because[0].ends_with(": old, source, target"), "{because:?}");
    let look = "cd /app; find . -type f | sort; cat source target deps";
    let run = project.slipway(["run", "app", "--virtual-merge", "--docker-options=--rm", "--", "/bin/sh", "-ec", look]);
    assert_eq!(run.stdout(), "./deps\n./source\n./target\n3\n3\n1\n");

    // A stage in the middle: it brings the files up to date by itself.
    on(&project, "feature", "deps", "2\n");
    merge(&project, 4);
    let log = project.build_with(["--virtual-merge"]);
    assert_eq!(log.built(), ["app/install", "app/dockerInstructions"]);
    let look = "cat /installed /app/source /app/target; test ! -e /app/old";
    let run = project.slipway(["run", "app", "--virtual-merge", "--docker-options=--rm", "--", "/bin/sh", "-ec", look]);
    assert_eq!(run.stdout(), "2\n3\n3\n");
}

fn stages_of_a_merge_request_serve_its_branch_and_the_target_after_it(project: BuildProject) {
    merge_request(&project);
    merge(&project, 1);
    project.build_with(["--virtual-merge"]);
    project.repo.git(["checkout", "-q", "feature"]);
    forget(&project);
    let log = project.build();
    assert_eq!(log.built(), ["app/gitLatestPatch", "app/dockerInstructions"]);
    assert_eq!(project.sh("app", "cat /app/source /app/target"), "2\n1\n");
    // Merged for good: the files are those of the virtual merge.
    project.repo.git(["checkout", "-q", "main"]);
    project.repo.git(["merge", "-q", "--no-ff", "-m", "Merge for good", "feature"]);
    assert_eq!(project.build().built(), [""; 0]);
    assert_eq!(project.sh("app", "cat /app/source /app/target"), "2\n2\n");
}

fn a_target_that_was_rewritten_builds_anew(project: BuildProject) {
    merge_request(&project);
    merge(&project, 1);
    project.build_with(["--virtual-merge"]);
    project.repo.git(["checkout", "-q", "main"]);
    project.repo.write("target", "4\n").git(["commit", "-q", "-a", "--amend", "-m", "Rewrite"]);
    merge(&project, 2);
    let log = project.build_with(["--virtual-merge"]);
    assert_eq!(log.built(), STAGES[1..]);
    let run = project.slipway(["run", "app", "--virtual-merge", "--docker-options=--rm", "--", "cat", "/app/target"]);
    assert_eq!(run.stdout(), "4\n");
}

fn labels_tell_what_was_merged(project: BuildProject) {
    merge_request(&project);
    let (from, into) = (project.repo.git(["rev-parse", "feature"]), project.repo.git(["rev-parse", "main"]));
    merge(&project, 1);
    let output = project.slipway(["build"]).env("WERF_VIRTUAL_MERGE", "1").run();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let with_labels = |stage: &str| {
        let stages = project.stages();
        let image = stages.iter().find(|image| image.config.labels["io.slipway.stage"] == stage).unwrap();
        let labels = image.config.labels.iter();
        let of_git =
            labels.filter_map(|(name, value)| Some((name.strip_prefix("werf-git-")?.split_once('-')?.1, value)));
        of_git.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>()
    };
    let expected = [
        format!("commit {}", project.repo.head()),
        "type directory".to_owned(),
        "virtual-merge true".to_owned(),
        format!("virtual-merge-from-commit {from}"),
        format!("virtual-merge-into-commit {into}"),
    ];
    for stage in ["gitArchive", "install", "dockerInstructions"] {
        assert_eq!(with_labels(stage), expected, "{stage}");
    }
    assert_eq!(with_labels("from"), [""; 0]);
    // An ordinary commit says so.
    project.repo.git(["checkout", "-q", "feature"]);
    project.build();
    assert!(with_labels("gitLatestPatch").contains(&"virtual-merge false".to_owned()));
}

fn a_parent_that_is_not_known_is_named(project: BuildProject) {
    merge_request(&project);
    let output = project.failed_build(["--virtual-merge"]);
    let head = format!("{:.12}", project.repo.head());
    assert_eq!(output.code, 2);
    let expected = format!(
        "Error: --virtual-merge-from-commit=COMMIT param required: HEAD ({head}) is not a commit with two parents\nhint: check out the merge commit itself, or leave out --virtual-merge\n"
    );
    assert!(output.stderr.ends_with(&expected), "{}", output.stderr);
    let output = project.failed_build(["--virtual-merge", "--virtual-merge-from-commit=feature"]);
    assert!(output.stderr.contains("bad --virtual-merge-from-commit"), "{}", output.stderr);
    let output = project.failed_build(["--virtual-merge", &format!("--virtual-merge-from-commit={head}")]);
    assert!(output.stderr.contains("--virtual-merge-into-commit=COMMIT param required"), "{}", output.stderr);
    let (from, into) = (project.repo.git(["rev-parse", "feature"]), project.repo.git(["rev-parse", "main"]));
    let (from, into) = (format!("--virtual-merge-from-commit={from}"), format!("--virtual-merge-into-commit={into}"));
    assert_eq!(project.build_with(["--virtual-merge", &from, &into]).built(), STAGES);
}
