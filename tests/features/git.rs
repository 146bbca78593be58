//! Git mappings: files of commits as layers, and what changed between commits.

use std::path::Path;

use insta::assert_snapshot;
use slipway::config::model::GitReference;
use slipway::git::{ArchiveKind, ArchiveSpec, ChangeKind, Error, Repo};
use slipway::ids::CommitId;
use slipway::stage::mapping::PathFilter;

use crate::support::git_repo::{GitRepo, listing};

fn spec(add: &str, to: &str) -> ArchiveSpec {
    let filter = PathFilter { base: add.to_owned(), ..PathFilter::default() };
    ArchiveSpec { filter, to: to.to_owned(), uid: 0, gid: 0, mtime: 1_600_000_000 }
}

fn open(repo: &GitRepo) -> Repo {
    Repo::open(repo.path()).unwrap()
}

/// The message of a failure, with the places of this run taken out.
fn message<T>(result: Result<T, Error>, repo: &GitRepo) -> String {
    let Err(error) = result else { panic!("must fail") };
    error.to_string().replace(&repo.path().display().to_string(), "REPO")
}

fn missing() -> CommitId {
    "0123456789abcdef0123456789abcdef01234567".parse().unwrap()
}

#[test]
fn an_archive_holds_the_files_of_a_commit() {
    let repo = GitRepo::new();
    repo.write("a.txt", "one").executable("bin/run", "#!/bin/sh").link("bin/start", "run").write("b/c/d", "deep");
    let commit = repo.commit("first");
    repo.write("a.txt", "not committed").write("new", "not committed");
    let archive = open(&repo).archive(&commit, &ArchiveSpec { uid: 1000, gid: 50, ..spec("", "/app") }).unwrap();
    assert_eq!(archive.kind(), ArchiveKind::Directory);
    assert_snapshot!(listing(&archive).join("\n"), @r##"
    d 755 1000:50 app
    f 644 1000:50 app/a.txt "one"
    d 755 1000:50 app/b
    d 755 1000:50 app/b/c
    f 644 1000:50 app/b/c/d "deep"
    d 755 1000:50 app/bin
    f 755 1000:50 app/bin/run "#!/bin/sh"
    l app/bin/start -> run
    "##);
}

#[test]
fn a_file_lands_under_the_name_of_to() {
    let repo = GitRepo::new();
    let commit = repo.write("conf/site.conf", "x").commit("first");
    let archive = open(&repo).archive(&commit, &spec("conf/site.conf", "/etc/nginx/default.conf")).unwrap();
    assert_eq!(archive.kind(), ArchiveKind::File);
    assert_snapshot!(listing(&archive).join("\n"), @r#"f 644 0:0 etc/nginx/default.conf "x""#);
}

#[test]
fn include_and_exclude_choose_files_below_add() {
    let repo = GitRepo::new();
    repo.write("src/app/a.py", "").write("src/app/a.pyc", "").write("src/doc/x.md", "").write("other", "");
    let commit = repo.commit("first");
    let mut spec = spec("src", "/app");
    spec.filter.include = vec!["app".into(), "*.md".into()];
    spec.filter.exclude = vec!["**/*.pyc".into()];
    assert_snapshot!(listing(&open(&repo).archive(&commit, &spec).unwrap()).join("\n"), @r#"
    d 755 0:0 app
    d 755 0:0 app/app
    f 644 0:0 app/app/a.py ""
    "#);
}

#[test]
fn a_patch_writes_changed_files_whole_and_removes_the_rest() {
    let repo = GitRepo::new();
    repo.write("keep", "same")
        .write("text", "old")
        .write("gone", "x")
        .write("dir/inner/x", "1")
        .write("dir/inner/y", "2");
    repo.write("tool", "#!/bin/sh").link("link", "keep").write("lib", "a file").write("conf/a", "1");
    let from = repo.commit("first");
    repo.write("text", "new").remove("gone").remove("dir").remove("link").link("link", "text");
    repo.executable("tool", "#!/bin/sh").remove("lib").write("lib/code", "now a directory");
    repo.remove("conf").write("conf", "now a file").write("fresh/deep/file", "\0binary");
    let to = repo.commit("second");
    let patch = open(&repo).patch(&from, &to, &spec("", "/app")).unwrap();
    assert_snapshot!(listing(&patch).join("\n"), @r##"
    f 644 0:0 app/conf "now a file"
    - app/dir
    d 755 0:0 app/fresh
    d 755 0:0 app/fresh/deep
    f 644 0:0 app/fresh/deep/file "\0binary"
    - app/gone
    d 755 0:0 app/lib
    f 644 0:0 app/lib/code "now a directory"
    l app/link -> text
    f 644 0:0 app/text "new"
    f 755 0:0 app/tool "#!/bin/sh"
    "##);
    assert_eq!(patch.count(ChangeKind::Added), 3);
    let changes: Vec<String> = patch.changes().iter().map(|c| format!("{:?} {}", c.kind, c.path.display())).collect();
    assert_snapshot!(changes.join("\n"), @r#"
    Added conf
    Removed conf/a
    Removed dir/inner/x
    Removed dir/inner/y
    Added fresh/deep/file
    Removed gone
    Removed lib
    Added lib/code
    Changed link
    Changed text
    Changed tool
    "#);
}

#[test]
fn a_patch_is_empty_when_nothing_under_the_mapping_changed() {
    let repo = GitRepo::new();
    let from = repo.write("app/a", "1").write("docs/b", "1").commit("first");
    let to = repo.write("docs/b", "2").commit("second");
    let git = open(&repo);
    assert!(git.patch(&from, &to, &spec("app", "/app")).unwrap().is_empty());
    let patch = git.patch(&from, &to, &spec("docs", "/docs")).unwrap();
    assert_eq!((patch.is_empty(), patch.size()), (false, 1));
}

#[test]
fn errors_say_what_is_missing_where() {
    let repo = GitRepo::new();
    let git = open(&repo);
    assert_snapshot!(message(git.head(), &repo), @"git repository `REPO` has no commit yet");
    repo.write("real/file", "x").link("link", "/etc");
    let commit = repo.commit("first");
    assert_snapshot!(message(git.archive(&commit, &spec("nowhere/x", "/app")), &repo).replace(commit.as_str(), "COMMIT"), @"base path `/nowhere/x` not found at commit COMMIT of git repository `REPO`");
    assert_snapshot!(message(git.archive(&commit, &spec("link/passwd", "/app")), &repo).replace(commit.as_str(), "COMMIT"), @"base path `/link/passwd` not found at commit COMMIT of git repository `REPO`: `/link` is a symbolic link, and links are not followed");
    assert_snapshot!(message(git.archive(&missing(), &spec("", "/app")), &repo), @"commit 0123456789abcdef0123456789abcdef01234567 not found in git repository `REPO`");
    assert_snapshot!(message(git.archive(&commit, &spec("real/file", "/")), &repo), @"file `/real/file` cannot be put at `/`: `to` must name a file");
    assert_snapshot!(message(git.resolve(&GitReference::Branch("main".into())), &repo), @"branch `main` not found in git repository `REPO`");
    assert_snapshot!(message(git.resolve(&GitReference::Tag("$(x)\n".into())), &repo), @r#"tag `$(x)\n` not found in git repository `REPO`"#);
    assert_snapshot!(message(git.resolve(&GitReference::Commit("--help".into())), &repo), @"commit `--help` not found in git repository `REPO`");
    assert_snapshot!(message(Repo::open(&repo.path().join("real")), &repo), @"no git repository in `REPO/real`");
    assert_snapshot!(message(Repo::open(Path::new("/nonexistent")), &repo), @"no git repository in `/nonexistent`");
}

#[test]
fn a_checksum_depends_on_paths_modes_and_contents_only() {
    let repo = GitRepo::new();
    repo.write("src/a.py", "1").write("src/b.py", "2").write("Makefile", "all:");
    let first = repo.commit("first");
    let git = open(&repo);
    let patterns = ["src".to_owned(), "src/*.py".to_owned(), "Makefile".to_owned(), "none".to_owned()];
    let sums = |commit: &CommitId| {
        git.checksum(commit, &PathFilter::everything(), &patterns)
            .unwrap()
            .into_iter()
            .map(|sum| sum.checksum)
            .collect::<Vec<_>>()
    };
    let before = sums(&first);
    assert!(before[..3].iter().all(Option::is_some));
    assert_eq!(before[3], None);
    let same = repo.write("README", "not looked at").commit("second");
    assert_eq!(sums(&same), before);
    let mode = repo.executable("src/a.py", "1").commit("mode");
    assert_ne!(sums(&mode)[1], before[1]);
    assert_ne!(sums(&mode)[0], before[0]);
    assert_eq!(sums(&mode)[2], before[2]);
    repo.git(["mv", "src/b.py", "src/c.py"]);
    assert_ne!(sums(&repo.commit("rename"))[1], sums(&mode)[1]);
}

#[test]
fn ancestry_follows_all_parents() {
    let repo = GitRepo::new();
    let first = repo.write("a", "1").commit("first");
    repo.git(["checkout", "--quiet", "-b", "side"]);
    let side = repo.write("b", "1").commit("side");
    repo.git(["checkout", "--quiet", "main"]);
    let main = repo.write("c", "1").commit("main");
    repo.git(["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    let merge = repo.head();
    let git = open(&repo);
    assert!(git.is_ancestor(&first, &merge).unwrap());
    assert!(git.is_ancestor(&side, &merge).unwrap());
    assert!(git.is_ancestor(&merge, &merge).unwrap());
    assert!(!git.is_ancestor(&side, &main).unwrap());
    assert!(!git.is_ancestor(&merge, &first).unwrap());
    assert!(!git.is_ancestor(&missing(), &merge).unwrap());
}
