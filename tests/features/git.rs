//! Git mappings: files of commits as layers, and what changed between commits.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use insta::assert_snapshot;
use slipway::config::model::{GitReference, GitRemote};
use slipway::error::Explain;
use slipway::git::{Access, ArchiveKind, ArchiveSpec, ChangeKind, Error, Remotes, Repo};
use slipway::ids::CommitId;
use slipway::layer::{Below, LayerSource, Looks};
use slipway::stage::VirtualMerge;
use slipway::stage::mapping::PathFilter;
use slipway::sys::env::Env;

use crate::support::git_repo::{GitRepo, apply, listing};

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
    - app/dir/inner/x
    - app/dir/inner/y
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

#[test]
fn names_may_be_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let repo = GitRepo::new();
    let names: [&[u8]; 6] = [b"with space", b"new\nline", b"\xff\xfe", "ünïcode/ж".as_bytes(), b"quote\"'", b"-dash"];
    for name in names {
        repo.write(Path::new(std::ffi::OsStr::from_bytes(name)), "1");
    }
    let from = repo.commit("first");
    for name in names {
        repo.write(Path::new(std::ffi::OsStr::from_bytes(name)), "2");
    }
    let to = repo.commit("second");
    let git = open(&repo);
    let mut image = BTreeMap::new();
    apply(&mut image, &git.archive(&from, &spec("", "/")).unwrap());
    apply(&mut image, &git.patch(&from, &to, &spec("", "/")).unwrap());
    for name in names {
        let path = Path::new(std::ffi::OsStr::from_bytes(name));
        assert_eq!(image.get(path).map(String::as_str), Some("644 [50]"), "{path:?}");
    }
}

#[test]
fn a_mapping_that_was_empty_can_fill() {
    let repo = GitRepo::new();
    let from = repo.write("app/x.md", "").commit("first");
    let to = repo.write("app/x.py", "").commit("second");
    let mut spec = spec("app", "/app");
    spec.filter.include = vec!["*.py".into()];
    let git = open(&repo);
    let archive = git.archive(&from, &spec).unwrap();
    assert!(archive.is_empty());
    assert_snapshot!(listing(&archive).join("\n"), @"d 755 0:0 app");
    assert_snapshot!(listing(&git.patch(&from, &to, &spec).unwrap()).join("\n"), @r#"f 644 0:0 app/x.py """#);
}

#[test]
fn an_emptied_directory_goes_unless_others_put_something_there() {
    let repo = GitRepo::new();
    let from = repo.write("a/b/x", "").write("a/y", "").write("z", "").commit("first");
    let to = repo.remove("a").commit("second");
    let git = open(&repo);
    let removed = |image: &[&str]| {
        let mut patch = git.patch(&from, &to, &spec("", "/app")).unwrap();
        let below = |directory: &Path| {
            let paths = image.iter().map(PathBuf::from);
            Ok(paths.filter(|path| path.starts_with(directory) && path != directory).collect())
        };
        patch.remove_emptied(below).unwrap();
        listing(&patch)
    };
    let git_only = ["app/a", "app/a/b", "app/a/b/x", "app/a/y", "app/z"];
    assert_eq!(removed(&git_only), ["- app/a"]);
    assert_eq!(removed(&[&git_only[..], &["app/a/cache"]].concat()), ["- app/a/b", "- app/a/y"]);
    assert_eq!(removed(&[&git_only[..], &["app/a/b/cache"]].concat()), ["- app/a/b/x", "- app/a/y"]);
    // Nobody looked: only what git had is removed.
    assert_eq!(listing(&git.patch(&from, &to, &spec("", "/app")).unwrap()), ["- app/a/b/x", "- app/a/y"]);
}

#[test]
fn a_base_may_turn_from_file_to_directory_and_back() {
    let repo = GitRepo::new();
    let file = repo.write("conf", "a file").commit("file");
    let directory = repo.remove("conf").write("conf/a", "1").write("conf/b/c", "2").commit("directory");
    let git = open(&repo);
    let spec = spec("conf", "/etc/x");
    assert_eq!(
        listing(&git.patch(&file, &directory, &spec).unwrap()),
        ["d 755 0:0 etc/x", "f 644 0:0 etc/x/a \"1\"", "d 755 0:0 etc/x/b", "f 644 0:0 etc/x/b/c \"2\""]
    );
    assert_eq!(listing(&git.patch(&directory, &file, &spec).unwrap()), ["f 644 0:0 etc/x \"a file\""]);
}

#[test]
fn a_linked_work_tree_is_a_repository() {
    let repo = GitRepo::new();
    let commit = repo.write("a", "1").commit("first");
    let linked = repo.beside("linked");
    repo.git(["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    let git = Repo::open(&linked).unwrap();
    assert_eq!(git.head().unwrap(), commit);
    assert_eq!(git.archive(&commit, &spec("", "/app")).unwrap().files(), 1);
}

#[test]
fn a_large_file_is_streamed() {
    let repo = GitRepo::new();
    let content = "0123456789abcdef".repeat(200_000);
    let commit = repo.write("large", &content).commit("first");
    let git = open(&repo);
    let read = || {
        let archive = git.archive(&commit, &spec("large", "/large")).unwrap();
        let mut image = BTreeMap::new();
        apply(&mut image, &archive);
        image.remove(Path::new("large")).unwrap()
    };
    let loose = read();
    assert_eq!(loose, format!("644 {:?}", content.as_bytes()));
    repo.git(["gc", "--quiet"]);
    assert!(read() == loose, "packed and loose objects read alike");
}

#[test]
fn layers_can_be_walked_from_other_threads() {
    let repo = GitRepo::new();
    for n in 0..50 {
        repo.write(format!("file-{n}"), n.to_string());
    }
    let commit = repo.commit("first");
    let archive = open(&repo).archive(&commit, &spec("", "/app")).unwrap();
    let listings: Vec<Vec<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| listing(&archive))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(listings.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Hostile input 27: history that is cut off.
#[test]
fn hostile_27_shallow_clones_know_what_they_lack() {
    let origin = GitRepo::new();
    let first = origin.write("a", "1").commit("first");
    let second = origin.write("a", "2").commit("second");
    let third = origin.write("a", "3").commit("third");
    let clone = GitRepo::cloned(["clone", "--quiet", "--depth=2", &origin.url()]);
    let git = open(&clone);
    assert!(git.is_shallow());
    assert!(!git.contains(&first));
    assert!(git.is_ancestor(&second, &third).unwrap());
    assert!(!git.is_ancestor(&first, &third).unwrap());
    assert!(!git.is_ancestor(&third, &second).unwrap());
    let error = git.patch(&first, &third, &spec("", "/app")).err().unwrap();
    assert_snapshot!(error.hints().join("\n"), @"the clone is shallow: run `git fetch --unshallow`, or set `GIT_DEPTH: 0` in the GitLab job");
    git.unshallow(&access()).unwrap();
    assert!(!git.is_shallow());
    assert!(git.is_ancestor(&first, &third).unwrap());
    assert!(!git.patch(&first, &third, &spec("", "/app")).unwrap().is_empty());
}

/// Hostile input 27: a repository whose objects have other names.
#[test]
fn hostile_27_a_sha256_repository_is_refused() {
    let repo = GitRepo::new();
    repo.remove(".git").git(["init", "--quiet", "--object-format=sha256"]);
    assert_snapshot!(message(Repo::open(repo.path()), &repo), @"git repository `REPO` stores its objects as `sha256`, and only `sha1` can be read");
}

/// Hostile input 27: a partial clone lacks blobs that its trees name.
#[test]
fn hostile_27_a_partial_clone_says_what_is_missing() {
    let origin = GitRepo::new();
    origin.git(["config", "uploadpack.allowFilter", "true"]);
    let commit = origin.write("a", "1").commit("first");
    let clone = GitRepo::cloned(["clone", "--quiet", "--no-checkout", "--filter=blob:none", &origin.url()]);
    let archive = open(&clone).archive(&commit, &spec("", "/app")).unwrap();
    let error = archive.entries().unwrap().find_map(Result::err).unwrap();
    let error = error.downcast::<Error>().unwrap();
    assert_snapshot!(error.hints().join("\n"), @"the clone is partial or damaged: clone it again without `--filter`, or run `git fsck`");
    assert_snapshot!(message::<()>(Err(error), &clone), @"content of `a` (object 56a6051ca2b02b04ef92d5150c9ef600403cb1de) is missing in git repository `REPO`");
}

/// Hostile input 28: the base commit of a patch is gone after a force-push and a collection.
#[test]
fn hostile_28_a_collected_base_commit_is_named() {
    let repo = GitRepo::new();
    repo.write("a", "1").commit("first");
    let lost = repo.write("a", "2").commit("lost");
    repo.git(["reset", "--quiet", "--hard", "HEAD~1"]);
    let kept = repo.write("a", "3").commit("kept");
    let git = open(&repo);
    assert!(git.contains(&lost) && !git.is_ancestor(&lost, &kept).unwrap());
    repo.git(["reflog", "expire", "--expire=now", "--all"]);
    repo.git(["gc", "--quiet", "--prune=now"]);
    let git = open(&repo);
    assert!(!git.contains(&lost) && !git.is_ancestor(&lost, &kept).unwrap());
    assert_eq!(
        message(git.patch(&lost, &kept, &spec("", "/app")), &repo),
        format!("commit {lost} not found in git repository `REPO`")
    );
}

/// Hostile input 29: no smudge filter, no end-of-line conversion and no export-subst changes a file.
#[test]
fn hostile_29_attributes_change_nothing() {
    let repo = GitRepo::new();
    repo.write(".gitattributes", "* filter=evil text eol=crlf ident\nversion export-subst export-ignore\n");
    repo.write("version", "$Format:%H$ $Id$\n");
    repo.git(["config", "filter.evil.smudge", "touch ../smudged; cat"]);
    let commit = repo.commit("first");
    let git = open(&repo);
    let archive = git.archive(&commit, &spec("version", "/version")).unwrap();
    assert_eq!(listing(&archive), [r#"f 644 0:0 version "$Format:%H$ $Id$\n""#]);
    assert!(!repo.beside("smudged").exists());
}

/// Hostile input 29: the content of a file in git LFS comes from the LFS store, or is missed by name.
#[test]
fn hostile_29_lfs_content_comes_from_the_store() {
    let repo = GitRepo::new();
    let oid = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 3\n");
    repo.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    repo.write("data/model.bin", &pointer).write("fixtures/pointer.txt", &pointer);
    let commit = repo.commit("first");
    let git = open(&repo);
    let archive = git.archive(&commit, &spec("data", "/data")).unwrap();
    let error = archive.entries().unwrap().find_map(Result::err).unwrap().downcast::<Error>().unwrap();
    assert_snapshot!(error.hints().join("\n"), @"run `git lfs fetch` in the repository before");
    assert_snapshot!(message::<()>(Err(error), &repo), @"content of `data/model.bin` is kept by git LFS and object 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae is not in git repository `REPO`");
    repo.write(format!(".git/lfs/objects/2c/26/{oid}"), "foo");
    assert_eq!(listing(&archive)[1], r#"f 644 0:0 data/model.bin "foo""#);
    let text = git.archive(&commit, &spec("fixtures/pointer.txt", "/p")).unwrap();
    assert!(listing(&text)[0].contains("version https"), "without the attribute a pointer is a text");
    repo.write(format!(".git/lfs/objects/2c/26/{oid}"), "bar");
    let entry = archive.entries().unwrap().nth(1).unwrap().unwrap();
    let slipway::layer::EntryKind::File { content, .. } = entry.kind else { panic!() };
    let error = content.open().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_snapshot!(error.to_string().replace(&repo.path().display().to_string(), "REPO"), @"git LFS object `REPO/.git/lfs/objects/2c/26/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae` is damaged");
}

fn access() -> Access {
    Access::new(Env::literal([("PATH", std::env::var("PATH").unwrap())], "/"), vec![]).unwrap()
}

/// A repository with a submodule `libs/x`, which has a submodule `deep` of its own.
fn with_submodules() -> (GitRepo, GitRepo, GitRepo) {
    let deep = GitRepo::new();
    deep.write("d", "deep").commit("first");
    let inner = GitRepo::new();
    inner.write("code", "1").git(["submodule", "--quiet", "add", &deep.url(), "deep"]);
    inner.commit("first");
    let repo = GitRepo::new();
    repo.write("top", "1").git(["submodule", "--quiet", "add", &inner.url(), "libs/x"]);
    repo.git(["submodule", "--quiet", "update", "--init", "--recursive"]);
    repo.commit("with submodule");
    (repo, inner, deep)
}

#[test]
fn submodules_are_part_of_the_files() {
    let (repo, inner, _deep) = with_submodules();
    let from = repo.head();
    let git = open(&repo);
    let files = |commit: &CommitId, add: &str| listing(&git.archive(commit, &spec(add, "/app")).unwrap()).join("\n");
    assert_snapshot!(files(&from, "libs"), @r#"
    d 755 0:0 app
    d 755 0:0 app/x
    f 644 0:0 app/x/.gitmodules "[submodule \"deep\"]\n\tpath = deep\n\turl = f"
    f 644 0:0 app/x/code "1"
    d 755 0:0 app/x/deep
    f 644 0:0 app/x/deep/d "deep"
    "#);
    assert_snapshot!(files(&from, "libs/x/deep/d"), @r#"f 644 0:0 app "deep""#);
    let sum = |commit: &CommitId, pattern: &str| {
        git.checksum(commit, &PathFilter::everything(), &[pattern.to_owned()]).unwrap().remove(0).checksum.unwrap()
    };
    inner.write("code", "2").write("new", "2").commit("second");
    repo.git(["-C", "libs/x", "pull", "--quiet", "origin", "main"]);
    let to = repo.commit("move the submodule");
    assert_snapshot!(listing(&git.patch(&from, &to, &spec("", "/app")).unwrap()).join("\n"), @r#"
    f 644 0:0 app/libs/x/code "2"
    f 644 0:0 app/libs/x/new "2"
    "#);
    assert_ne!(sum(&from, "libs"), sum(&to, "libs"));
    assert_ne!(sum(&from, "libs/x/*"), sum(&to, "libs/x/*"));
    assert_eq!(sum(&from, "libs/x/deep/*"), sum(&to, "libs/x/deep/*"));
    repo.git(["rm", "--quiet", "-r", "libs/x"]);
    let dropped = repo.commit("drop it");
    std::fs::remove_dir_all(repo.path().join(".git/modules")).unwrap();
    let git = open(&repo);
    let listed = listing(&git.patch(&to, &dropped, &spec("", "/app")).unwrap());
    assert!(listed.contains(&"- app/libs/x".to_owned()), "{listed:?}");
}

#[test]
fn a_submodule_that_is_not_there_is_named() {
    let (repo, _inner, _deep) = with_submodules();
    let clone = GitRepo::cloned(["clone", "--quiet", &repo.url()]);
    let git = open(&clone);
    let commit = clone.head();
    let error = git.archive(&commit, &spec("", "/app")).err().unwrap();
    assert_snapshot!(error.hints().join("\n"), @r#"
    run `git submodule update --init --recursive`, or set `GIT_SUBMODULE_STRATEGY: recursive` in the GitLab job
    if it is an older commit that is missing, set `GIT_SUBMODULE_DEPTH: 0` as well
    "#);
    let submodule = clone.git(["rev-parse", "HEAD:libs/x"]);
    assert_snapshot!(message::<()>(Err(error), &clone).replace(&submodule, "COMMIT"), @"commit COMMIT of submodule `libs/x` is not available in git repository `REPO`");
    let mut without = spec("", "/app");
    without.filter.exclude = vec!["libs".into()];
    assert_eq!(git.archive(&commit, &without).unwrap().files(), 2);
    let remote = Remotes::new(clone.beside("cache"), access()).fetch(&remote(&repo)).unwrap();
    let error = remote.archive(&commit, &spec("", "/app")).err().unwrap();
    assert_snapshot!(error.hints().join("\n"), @"submodules of remote repositories are not fetched: give it a git mapping of its own, and name it in `excludePaths` of this one");
}

/// Hostile input 23: names in `.gitmodules` that leave the repository, or links in the way.
#[test]
fn hostile_23_submodules_stay_inside() {
    let (repo, inner, _deep) = with_submodules();
    let target = repo.git(["rev-parse", "HEAD:libs/x"]);
    let refused = |gitmodules: &str, path: &str| {
        let evil = GitRepo::new();
        evil.write(".gitmodules", gitmodules).git(["add", ".gitmodules"]);
        evil.git(["update-index", "--add", "--cacheinfo", &format!("160000,{target},{path}")]);
        evil.git(["commit", "--quiet", "-m", "evil"]);
        let git = open(&evil);
        message(git.archive(&evil.head(), &spec("", "/app")), &evil)
    };
    assert_snapshot!(refused("[submodule \"../../evil\"]\n\tpath = x\n\turl = u\n", "x"), @"submodule `x` of git repository `REPO` is refused: its name or path `../../evil` leaves the repository");
    assert_snapshot!(refused("[submodule \"-u\"]\n\tpath = x\n\turl = u\n", "x"), @r#"submodule `x` of git repository `REPO` is refused: its name or path "-u" starts with a dash or holds control characters"#);
    assert_snapshot!(refused("[submodule \"a\"]\n\tpath = x\n\turl = u\n", "-x"), @r#"submodule `-x` of git repository `REPO` is refused: its name or path "-x" starts with a dash or holds control characters"#);
    assert_snapshot!(refused("[submodule \"a\"]\n\tpath = \"x\r\"\n\turl = u\n", "x\r"), @r#"submodule `x\r` of git repository `REPO` is refused: its name or path "x\r" starts with a dash or holds control characters"#);
    let linked = GitRepo::new();
    linked.write(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = u\n").git(["add", ".gitmodules"]);
    linked.git(["update-index", "--add", "--cacheinfo", &format!("160000,{},x", inner.head())]);
    linked.git(["commit", "--quiet", "-m", "evil"]);
    linked.link("x", inner.path().to_str().unwrap());
    assert_snapshot!(message(open(&linked).archive(&linked.head(), &spec("", "/app")), &linked), @"submodule `x` of git repository `REPO` is refused: `REPO/x` is a symbolic link");
    linked.remove("x").link("x/.git", inner.path().join(".git").to_str().unwrap());
    assert_snapshot!(message(open(&linked).archive(&linked.head(), &spec("", "/app")), &linked), @"submodule `x` of git repository `REPO` is refused: its `.git` is a symbolic link");
}

/// Writes a tree object as it is, sorted or not.
fn raw_tree(repo: &GitRepo, entries: &[(&str, &[u8], &str)]) -> CommitId {
    let mut tree = Vec::new();
    for (mode, name, id) in entries {
        tree.extend_from_slice(mode.as_bytes());
        tree.push(b' ');
        tree.extend_from_slice(name);
        tree.push(0);
        tree.extend((0..20).map(|byte| u8::from_str_radix(&id[byte * 2..byte * 2 + 2], 16).unwrap()));
    }
    let git = git2::Repository::open(repo.path()).unwrap();
    let tree = git.odb().unwrap().write(git2::ObjectType::Tree, &tree).unwrap();
    repo.git(["commit-tree", "-m", "raw", &tree.to_string()]).parse().unwrap()
}

/// Hostile input 25: trees that no git makes.
#[test]
fn hostile_25_malformed_trees_are_refused() {
    let repo = GitRepo::new();
    repo.write("x", "x").commit("first");
    let blob = repo.git(["rev-parse", "HEAD:x"]);
    let tree = repo.git(["rev-parse", "HEAD^{tree}"]);
    let git = open(&repo);
    let refused = |entries: &[(&str, &[u8], &str)]| {
        let commit = raw_tree(&repo, entries);
        message(git.archive(&commit, &spec("", "/app")), &repo)
    };
    let file = |name: &'static [u8]| ("100644", name, blob.as_str());
    assert_snapshot!(refused(&[file(b"b"), file(b"a")]), @"`a` in git repository `REPO` is refused: its tree is not sorted or names it twice");
    assert_snapshot!(refused(&[file(b"a"), file(b"a")]), @"`a` in git repository `REPO` is refused: its tree is not sorted or names it twice");
    assert_snapshot!(refused(&[file(b"a"), file(b"a-b"), ("40000", b"a", &tree)]), @"`a` in git repository `REPO` is refused: its tree is not sorted or names it twice");
    assert_snapshot!(refused(&[file(b"..")]), @"`..` in git repository `REPO` is refused: it is not a file name");
    assert_snapshot!(refused(&[("40000", b"..", &tree)]), @"`..` in git repository `REPO` is refused: it is not a file name");
    assert_snapshot!(refused(&[file(b"a/../../x")]), @"`a/../../x` in git repository `REPO` is refused: it is not a file name");
    assert_snapshot!(refused(&[("40000", b".GIT", &tree)]), @"`.GIT` in git repository `REPO` is refused: git reserves the name for itself");
    assert_snapshot!(refused(&[("40000", b"git~1", &tree)]), @"`git~1` in git repository `REPO` is refused: git reserves the name for itself");
    assert_snapshot!(refused(&[("100600", b"a", &blob)]), @"`a` in git repository `REPO` is refused: its tree gives it a mode that git does not know");
    assert_snapshot!(refused(&[file(b".wh.a")]), @"`.wh.a` in git repository `REPO` is refused: image layers reserve names that start with `.wh.` for removals");
    assert_snapshot!(refused(&[("100644", &[b'n'; 300], &blob)]).replace(&"n".repeat(300), "NNN"), @"`NNN` in git repository `REPO` is refused: the name is longer than 255 bytes");
    assert_snapshot!(refused(&[("40000", b"a", &blob)]).replace(&blob, "BLOB"), @"object BLOB is missing in git repository `REPO`");
}

/// Hostile input 26: directories without end.
#[test]
fn hostile_26_deep_trees_are_refused() {
    let repo = GitRepo::new();
    repo.write("x", "x").commit("first");
    let git = git2::Repository::open(repo.path()).unwrap();
    let odb = git.odb().unwrap();
    let mut tree = git.head().unwrap().peel_to_tree().unwrap().id();
    for _ in 0..10_000 {
        let bytes = [b"40000 d\0".as_slice(), tree.as_bytes()].concat();
        tree = odb.write(git2::ObjectType::Tree, &bytes).unwrap();
    }
    let commit = repo.git(["commit-tree", "-m", "deep", &tree.to_string()]).parse().unwrap();
    let deep = open(&repo);
    let expected = "is refused: the path is longer than 4096 bytes";
    assert!(message(deep.archive(&commit, &spec("", "/app")), &repo).ends_with(expected));
    assert!(message(deep.patch(&repo.head(), &commit, &spec("", "/app")), &repo).ends_with(expected));
    let sum = deep.checksum(&commit, &PathFilter::everything(), &["**/none".to_owned()]);
    assert!(message(sum, &repo).ends_with(expected));
}

fn remote(repo: &GitRepo) -> GitRemote {
    GitRemote { url: repo.url(), name: "company/name".into(), reference: GitReference::Default }
}

#[test]
fn a_remote_is_cloned_once_and_follows_its_branches_and_tags() {
    let origin = GitRepo::new();
    let first = origin.write("a", "1").commit("first");
    origin.git(["tag", "--annotate", "--message=v1", "v1"]);
    let cache = origin.beside("cache");
    let fetch = || Remotes::new(cache.clone(), access()).fetch(&remote(&origin)).unwrap();
    let branch = |name: &str| GitReference::Branch(name.into());
    let clone = fetch();
    assert_eq!(clone.resolve(&GitReference::Default).unwrap(), first);
    assert_eq!(clone.resolve(&GitReference::Tag("v1".into())).unwrap(), first);
    assert_eq!(clone.resolve(&branch("main")).unwrap(), first);
    assert_eq!(clone.resolve(&GitReference::Commit(first.as_str()[..10].into())).unwrap(), first);
    assert_eq!(listing(&clone.archive(&first, &spec("", "/app")).unwrap()).len(), 2);
    let mode = std::fs::metadata(&cache).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "what may be private is not for others");
    // A branch is added, another rewritten, a tag moved.
    origin.git(["checkout", "--quiet", "-b", "топик"]);
    let topic = origin.write("b", "1").commit("topic");
    origin.git(["checkout", "--quiet", "main"]);
    origin.git(["commit", "--quiet", "--amend", "--message=rewritten"]);
    origin.git(["tag", "--force", "v1"]);
    let clone = fetch();
    assert_eq!(clone.resolve(&branch("main")).unwrap(), origin.head());
    assert_eq!(clone.resolve(&branch("топик")).unwrap(), topic);
    assert_eq!(clone.resolve(&GitReference::Tag("v1".into())).unwrap(), origin.head());
    origin.git(["branch", "-D", "топик"]);
    assert!(fetch().resolve(&branch("топик")).is_err());
}

#[test]
fn one_process_asks_a_remote_once() {
    let origin = GitRepo::new();
    origin.write("a", "1").commit("first");
    let remotes = Remotes::new(origin.beside("cache"), access());
    let first = remotes.fetch(&remote(&origin)).unwrap().resolve(&GitReference::Default).unwrap();
    origin.write("a", "2").commit("second");
    assert_eq!(remotes.fetch(&remote(&origin)).unwrap().resolve(&GitReference::Default).unwrap(), first);
}

#[test]
fn clones_by_many_threads_at_once_are_one_clone() {
    let origin = GitRepo::new();
    let commit = origin.write("a", "1").commit("first");
    let cache = origin.beside("cache");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let remotes = Remotes::new(cache.clone(), access());
                let clone = remotes.fetch(&remote(&origin)).unwrap();
                assert_eq!(clone.resolve(&GitReference::Default).unwrap(), commit);
            });
        }
    });
    let mut names: Vec<String> =
        std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let kinds: Vec<&str> = names.iter().map(|name| name.rsplit('.').next().unwrap()).collect();
    assert_eq!(kinds, ["git", "lock"]);
}

#[test]
fn a_broken_or_interrupted_clone_is_made_again() {
    let origin = GitRepo::new();
    let commit = origin.write("a", "1").commit("first");
    let cache = origin.beside("cache");
    let fetch = || Remotes::new(cache.clone(), access()).fetch(&remote(&origin)).unwrap();
    fetch();
    let clone =
        std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    std::fs::create_dir_all(clone.with_extension("tmp").join("objects")).unwrap();
    for damage in ["objects", "HEAD"] {
        let path = clone.join(damage);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(fetch().archive(&commit, &spec("", "/app")).unwrap().files(), 1, "{damage}");
    }
    std::fs::write(clone.join("config.lock"), "").unwrap();
    std::fs::write(clone.join("packed-refs.lock"), "").unwrap();
    origin.write("a", "2").commit("second");
    assert_eq!(fetch().resolve(&GitReference::Default).unwrap(), origin.head());
}

#[test]
fn an_empty_remote_and_a_missing_one_are_told_apart() {
    let origin = GitRepo::new();
    let remotes = Remotes::new(origin.beside("cache"), access());
    let clone = remotes.fetch(&remote(&origin)).unwrap();
    assert_snapshot!(message(clone.resolve(&GitReference::Default), &origin), @"default branch (HEAD) not found in git repository `file://REPO`");
    let missing = GitRemote { url: format!("file://{}", origin.beside("nowhere").display()), ..remote(&origin) };
    let error = remotes.fetch(&missing).err().unwrap();
    assert_eq!(error.kind().exit_code(), 4);
    assert_snapshot!(error.to_string().replace(&origin.beside("").display().to_string(), "DIR/"), @"`git fetch` failed for `file://DIR/nowhere`: fatal: 'DIR/nowhere' does not appear to be a git repository; fatal: Could not read from remote repository");
}

/// A web server for one directory that wants user `ci` with password `s3cr@t`; dumb HTTP, which git still speaks.
fn serve(root: PathBuf) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = log.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut request = String::new();
            while reader.read_line(&mut request).unwrap_or(0) > 2 {}
            let path = request.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap().to_owned();
            lines.lock().unwrap().push(path.clone());
            let allowed = request.contains("Authorization: Basic Y2k6czNjckB0\r\n");
            let body = std::fs::read(root.join(path.trim_start_matches('/')));
            let (status, body) = match (allowed, body) {
                (false, _) => ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"", Vec::new()),
                (true, Ok(body)) => ("200 OK", body),
                (true, Err(_)) => ("404 Not Found", Vec::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    (address, log)
}

#[test]
fn credentials_in_a_url_are_used_and_left_nowhere() {
    let origin = GitRepo::new();
    let commit = origin.write("a", "1").commit("first");
    origin.git(["update-server-info"]);
    let (address, log) = serve(origin.path().to_owned());
    let cache = origin.beside("cache");
    let remotes = Remotes::new(cache.clone(), access());
    let at = |user: &str| GitRemote { url: format!("http://{user}{address}/.git"), ..remote(&origin) };
    let clone = remotes.fetch(&at("ci:s3cr%40t@")).unwrap();
    assert_eq!(clone.resolve(&GitReference::Default).unwrap(), commit);
    assert!(!log.lock().unwrap().is_empty());
    let found = std::process::Command::new("grep").args(["-rlE", "s3cr"]).arg(&cache).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    // The clone is there, but whoever may not read the remote does not get it.
    for user in ["", "ci:wr0ng@"] {
        let error = remotes.fetch(&at(user)).err().unwrap();
        assert_eq!(error.kind().exit_code(), 4);
        assert!(!error.to_string().contains("wr0ng"), "{error}");
    }
    let error = remotes.fetch(&at("ci:wr0ng@")).err().unwrap();
    assert_snapshot!(error.to_string().replace(&address, "HOST"), @"`git fetch` failed for `http://HOST/.git`: fatal: Authentication failed for 'http://HOST/.git/'");
}

#[test]
fn a_virtual_merge_is_made_again_when_its_commit_is_gone() {
    let repo = GitRepo::new();
    repo.write("shared", "1\n2\n3\n4\n5\n").commit("first");
    repo.git(["checkout", "--quiet", "-b", "topic"]);
    let from = repo.write("shared", "1\n2\n3\n4\nfive\n").write("topic", "t").commit("topic");
    repo.git(["checkout", "--quiet", "main"]);
    let into = repo.write("shared", "one\n2\n3\n4\n5\n").write("main", "m").commit("main");
    repo.git(["checkout", "--quiet", "--detach"]);
    repo.git(["merge", "--quiet", "--no-ff", "-m", "virtual", "topic"]);
    let merge = repo.head();
    let git = open(&repo);
    let base = VirtualMerge { from, into: into.clone() };
    assert_eq!(git.merged_by(&merge).unwrap(), Some(base.clone()));
    assert_eq!(git.merged_by(&into).unwrap(), None);
    let next = repo.write("more", "x").commit("next");
    repo.git(["checkout", "--quiet", "main"]);
    let objects = || repo.git(["count-objects", "-v"]);
    let before = objects();
    let patch = git.patch_since_merge(&base, &next, &spec("", "/app")).unwrap();
    assert_eq!(listing(&patch), [r#"f 644 0:0 app/more "x""#]);
    assert_eq!(patch.checksum(), git.patch(&merge, &next, &spec("", "/app")).unwrap().checksum());
    assert_eq!(objects(), before, "nothing is written to the repository");
    repo.git(["checkout", "--quiet", "topic"]);
    let from = repo.write("main", "other").commit("conflict");
    let conflict = VirtualMerge { from: from.clone(), into: into.clone() };
    let error = message(git.patch_since_merge(&conflict, &next, &spec("", "/app")), &repo);
    assert_snapshot!(error.replace(from.as_str(), "FROM").replace(into.as_str(), "INTO"), @"commits INTO and FROM cannot be merged without conflicts in git repository `REPO`");
}

#[test]
fn a_repository_of_somebody_else_needs_trust() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let repo = GitRepo::new();
    repo.write("a", "1").commit("first");
    let give = |path: &Path| std::os::unix::fs::chown(path, Some(12345), None).unwrap();
    give(repo.path());
    let error = Repo::open(repo.path()).err().unwrap();
    assert_snapshot!(error.hints().join("\n").replace(&repo.path().display().to_string(), "REPO"), @"if you trust its owner, run `git config --global --add safe.directory REPO`");
    assert_snapshot!(message::<()>(Err(error), &repo), @"git repository `REPO` belongs to user 12345, and slipway runs as user 0");
    assert!(Repo::open_trusted(repo.path()).unwrap().head().is_ok());
}

/// Hostile input 24: names of branches and tags are looked up, and never become arguments.
#[test]
fn hostile_24_reference_names_are_only_names() {
    let origin = GitRepo::new();
    let commit = origin.write("a", "1").commit("first");
    let names = ["$(touch pwned)", "--upload-pack=touch pwned", "emoji-🚢", &"n".repeat(240), "`id`;'\""];
    let names = names.map(|name| name.replace(' ', "${IFS}"));
    let git = git2::Repository::open(origin.path()).unwrap();
    for name in &names {
        for kind in ["heads", "tags"] {
            let id = git2::Oid::from_str(commit.as_str()).unwrap();
            git.reference(&format!("refs/{kind}/{name}"), id, false, "").unwrap();
        }
    }
    let clone = Remotes::new(origin.beside("cache"), access()).fetch(&remote(&origin)).unwrap();
    for name in &names {
        assert_eq!(clone.resolve(&GitReference::Branch(name.clone())).unwrap(), commit);
        assert_eq!(clone.resolve(&GitReference::Tag(name.clone())).unwrap(), commit);
    }
    for name in ["../../HEAD", "a\nb", "main^", "main~1", ""] {
        assert!(clone.resolve(&GitReference::Branch(name.into())).is_err(), "{name:?}");
    }
}

/// Hostile input 27: what makes git see another history than the objects tell.
#[test]
fn hostile_27_replacements_and_grafts_change_nothing() {
    let repo = GitRepo::new();
    let first = repo.write("a", "1").commit("first");
    let second = repo.write("a", "2").commit("second");
    repo.git(["replace", second.as_str(), first.as_str()]);
    repo.write(".git/info/grafts", format!("{second}\n"));
    let git = open(&repo);
    assert!(git.is_ancestor(&first, &second).unwrap());
    assert!(listing(&git.archive(&second, &spec("", "/app")).unwrap())[1].ends_with("\"2\""));
    let shared = GitRepo::cloned(["clone", "--quiet", "--shared", &repo.path().display().to_string()]);
    assert_eq!(open(&shared).archive(&first, &spec("", "/app")).unwrap().files(), 1);
}

/// Hostile input 26: a directory with more files than anybody needs.
#[test]
fn hostile_26_a_wide_tree_is_walked() {
    let repo = GitRepo::new();
    repo.write("x", "x").commit("first");
    let blob = repo.git(["rev-parse", "HEAD:x"]);
    let names: Vec<String> = (0..200_000).map(|n| format!("{n:06}")).collect();
    let entries: Vec<_> = names.iter().map(|name| ("100644", name.as_bytes(), blob.as_str())).collect();
    let commit = raw_tree(&repo, &entries);
    let git = open(&repo);
    assert_eq!(git.archive(&commit, &spec("", "/app")).unwrap().files(), 200_000);
    let sums = git.checksum(&commit, &PathFilter::everything(), &["*9".to_owned()]).unwrap();
    assert!(sums[0].checksum.is_some());
}

/// What an image with a merged `/usr` has.
fn usr_merged(path: &Path) -> anyhow::Result<Below> {
    Ok(match path.to_str().unwrap() {
        "bin" => Below::LinkTo("usr/bin".into()),
        "tmp" => Below::Directory(Looks { mode: 0o1777, uid: 0, gid: 0 }),
        "usr" | "usr/bin" | "opt" => Below::Directory(Looks { mode: 0o755, uid: 0, gid: 3 }),
        "opt/link" => Below::LinkTo("usr".into()),
        _ => Below::Nothing,
    })
}

#[test]
fn a_layer_fitted_to_an_image_follows_its_links_and_leaves_its_directories() {
    let repo = GitRepo::new();
    repo.write("bin/run", "1").write("usr/bin/other", "2").write("tmp/x", "3").write("new/y", "4");
    let from = repo.commit("first");
    let git = open(&repo);
    let archive = git.archive(&from, &spec("", "/")).unwrap().onto(usr_merged).unwrap();
    assert_snapshot!(listing(&archive).join("\n"), @r#"
    d 755 0:0 new
    f 644 0:0 new/y "4"
    d 1777 0:0 tmp
    f 644 0:0 tmp/x "3"
    d 755 0:3 usr
    d 755 0:3 usr/bin
    f 644 0:0 usr/bin/other "2"
    f 644 0:0 usr/bin/run "1"
    "#);
    let owned = ArchiveSpec { uid: 7, gid: 7, ..spec("new", "/opt") };
    assert_snapshot!(listing(&git.archive(&from, &owned).unwrap().onto(usr_merged).unwrap()).join("\n"), @r#"
    d 755 7:7 opt
    f 644 7:7 opt/y "4"
    "#);
    let through = git.archive(&from, &spec("bin", "/opt/link/bin")).unwrap().onto(usr_merged).unwrap();
    assert_eq!(listing(&through), ["d 755 0:3 usr", "d 755 0:3 usr/bin", r#"f 644 0:0 usr/bin/run "1""#]);
    let to = repo.remove("bin").remove("new").write("usr/bin/other", "5").commit("second");
    let mut patch = git.patch(&from, &to, &spec("", "/")).unwrap();
    patch.remove_emptied(|_| Ok(vec![])).unwrap();
    let patch = patch.onto(usr_merged).unwrap();
    assert_snapshot!(listing(&patch).join("\n"), @r#"
    - new
    d 755 0:3 usr
    d 755 0:3 usr/bin
    f 644 0:0 usr/bin/other "5"
    - usr/bin/run
    "#);
}

/// Prints how long questions about 100 000 files take: `cargo test measure_large -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn measure_large_repository() {
    let repo = GitRepo::new();
    let path = |n: usize| format!("d{}/e{}/file-{n}.{}", n / 5000, n / 100 % 50, ["py", "js", "txt"][n % 3]);
    let mut stream = String::new();
    for (commit, step) in [("first", 1), ("second", 25)] {
        stream += "commit refs/heads/main\ncommitter T <t@example.com> 1600000000 +0000\ndata 1\nx\n";
        for n in (0..100_000).step_by(step) {
            let content = format!("{commit} content of {n}\n").repeat(n % 50);
            stream += &format!("M 100644 inline {}\ndata {}\n{content}\n", path(n), content.len());
        }
    }
    repo.fast_import(&stream);
    let (from, to) = (repo.git(["rev-parse", "HEAD~1"]).parse().unwrap(), repo.head());
    let git = open(&repo);
    let timed = |what: &str, act: &dyn Fn() -> usize| {
        let start = std::time::Instant::now();
        let count = act();
        println!("{what}: {count} in {:.0?}", start.elapsed());
    };
    let sum = |pattern: &str| {
        git.checksum(&to, &PathFilter::everything(), &[pattern.to_owned()])
            .unwrap()
            .iter()
            .flat_map(|s| &s.checksum)
            .count()
    };
    timed("checksum d7", &|| sum("d7"));
    timed("checksum d7/**/*.py", &|| sum("d7/**/*.py"));
    timed("checksum **/*.py", &|| sum("**/*.py"));
    timed("archive, list", &|| git.archive(&to, &spec("", "/app")).unwrap().files());
    let archive = git.archive(&to, &spec("", "/app")).unwrap();
    timed("archive, walk", &|| archive.entries().unwrap().map(Result::unwrap).count());
    timed("patch, list", &|| git.patch(&from, &to, &spec("", "/app")).unwrap().changes().len());
    let patch = git.patch(&from, &to, &spec("", "/app")).unwrap();
    timed("patch, walk", &|| patch.entries().unwrap().map(Result::unwrap).count());
    timed("git ls-tree", &|| repo.git(["ls-tree", "-r", to.as_str()]).lines().count());
    timed("git diff --name-only", &|| repo.git(["diff", "--name-only", from.as_str(), to.as_str()]).lines().count());
}
