//! Repositories that are not what a build needs.

use std::fs;
use std::path::{Path, PathBuf};

use super::{error_of, left};
use crate::support::build_project::BuildProject;
use crate::support::git_repo::GitRepo;

const SOURCES: &str = "image: app\nfrom: BASE\ngit: [{add: /, to: /app}]\n";

/// Builds; gives the exit code and the error, without what differs between runs.
fn told(project: &BuildProject, directory: &Path) -> (i32, String) {
    let output = project.slipway(["build"]).dir(directory).run();
    let error = error_of(&output).replace(&directory.display().to_string(), "REPO");
    assert_eq!(left(project), [""; 0]);
    let error = match (error.find(" (signature "), error.find("): ")) {
        (Some(start), Some(end)) if start < end => format!("{}{}", &error[..start], &error[end + 1..]),
        _ => error,
    };
    (output.code, error)
}

fn object(repo: &Path, id: &str) -> PathBuf {
    repo.join(".git/objects").join(&id[..2]).join(&id[2..])
}

/// A clone with a file of each object.
fn clone_of(project: &BuildProject) -> GitRepo {
    GitRepo::cloned(["clone", "--quiet", "--no-hardlinks", &project.repo.path().display().to_string()])
}

#[test]
fn without_a_commit_there_is_nothing_to_build() {
    let Some(project) = BuildProject::embedded() else { return };
    project.werf_yaml(SOURCES);
    insta::assert_debug_snapshot!(told(&project, project.repo.path()), @r#"
    (
        1,
        "git repository `REPO` has no commit yet\nhint: commit the files that the images need: only committed files are built\n",
    )
    "#);
    fs::rename(project.repo.path().join(".git"), project.host().join("git")).unwrap();
    insta::assert_debug_snapshot!(told(&project, project.repo.path()), @r#"
    (
        1,
        "werf.yaml takes files from git, but REPO is not a git repository\nhint: run the command in a clone, or commit the project first: `git init && git add -A && git commit`\n",
    )
    "#);
    fs::rename(project.host().join("git"), project.repo.path().join(".git")).unwrap();
    project.repo.commit("First");
    assert_eq!(project.build().built(), ["app/from", "app/gitArchive"]);
}

#[test]
fn a_path_that_the_commit_lacks_is_named() {
    let Some(project) = BuildProject::embedded() else { return };
    project.commit_yaml("image: app\nfrom: BASE\ngit: [{add: /sources, to: /app}]\n");
    project.repo.write("sources/file", "not committed");
    let (code, error) = told(&project, project.repo.path());
    let head = project.repo.head();
    let expected = format!(
        "image app, stage gitArchive: base path `/sources` not found at commit {head} of git repository `REPO`\n"
    );
    assert_eq!((code, error), (1, expected));
    project.repo.commit("Add sources");
    project.build();
}

#[test]
fn damaged_clones_are_told_as_such() {
    let Some(project) = BuildProject::embedded() else { return };
    project.repo.write("file", "content").write("dir/other", "other");
    project.commit_yaml(SOURCES);

    let clone = clone_of(&project);
    let file = object(clone.path(), &clone.git(["rev-parse", "HEAD:file"]));
    fs::remove_file(&file).unwrap();
    fs::write(&file, "garbage").unwrap();
    insta::assert_debug_snapshot!(told(&project, clone.path()), @r#"
    (
        1,
        "image app, stage gitArchive: cannot read git repository `REPO`: failed to read loose object header\nhint: if the clone is damaged, `git fsck` says where: clone it again\n",
    )
    "#);

    let clone = clone_of(&project);
    let tree = clone.git(["rev-parse", "HEAD:dir"]);
    fs::remove_file(object(clone.path(), &tree)).unwrap();
    let (code, error) = told(&project, clone.path());
    let expected = format!(
        "image app, stage gitArchive: object {tree} is missing in git repository `REPO`\nhint: the clone is partial or damaged: clone it again without `--filter`, or run `git fsck`\n"
    );
    assert_eq!((code, error), (1, expected));
    // The same commit from a good clone.
    assert_eq!(project.build().built(), ["app/gitArchive"]);
}

#[test]
fn a_repository_of_another_user_is_not_trusted() {
    let Some(project) = BuildProject::embedded() else { return };
    project.commit_yaml(SOURCES);
    let clone = clone_of(&project);
    for path in [clone.path().to_owned(), clone.path().join(".git")] {
        std::os::unix::fs::chown(path, Some(12345), None).unwrap();
    }
    insta::assert_debug_snapshot!(told(&project, clone.path()), @r#"
    (
        3,
        "git repository `REPO` belongs to user 12345, and slipway runs as user 0\nhint: if you trust its owner, run `git config --global --add safe.directory REPO`\n",
    )
    "#);
    let trusted = format!("[safe]\n\tdirectory = {}\n", clone.path().display());
    fs::write(project.host().join("home/.gitconfig"), trusted).unwrap();
    assert_eq!(project.slipway(["build"]).dir(clone.path()).run().code, 0);
}

#[test]
fn a_submodule_that_was_not_fetched_is_named() {
    let Some(project) = BuildProject::embedded() else { return };
    let library = GitRepo::new();
    library.write("lib", "1").commit("Library");
    project.werf_yaml(SOURCES);
    project.repo.git(["submodule", "--quiet", "add", &library.url(), "module"]);
    project.repo.commit("Submodule");
    let clone = clone_of(&project);
    let (code, error) = told(&project, clone.path());
    let commit = library.head();
    let expected = format!(
        "image app, stage gitArchive: commit {commit} of submodule `module` is not available in git repository `REPO`\nhint: run `git submodule update --init --recursive`, or set `GIT_SUBMODULE_STRATEGY: recursive` in the GitLab job\nhint: if it is an older commit that is missing, set `GIT_SUBMODULE_DEPTH: 0` as well\n"
    );
    assert_eq!((code, error), (1, expected));
    clone.git(["submodule", "--quiet", "update", "--init"]);
    assert_eq!(project.slipway(["build"]).dir(clone.path()).run().code, 0);
}
