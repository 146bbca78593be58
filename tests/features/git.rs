//! Git mappings: files of commits as layers, and what changed between commits.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use insta::assert_snapshot;
use slipway::config::model::GitReference;
use slipway::error::Explain;
use slipway::git::{Access, ArchiveKind, ArchiveSpec, ChangeKind, Error, Repo};
use slipway::ids::CommitId;
use slipway::layer::LayerSource;
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
fn an_emptied_directory_can_be_kept_for_what_others_put_there() {
    let repo = GitRepo::new();
    let from = repo.write("a/b/x", "").write("a/y", "").write("z", "").commit("first");
    let to = repo.remove("a").commit("second");
    let mut patch = open(&repo).patch(&from, &to, &spec("", "/app")).unwrap();
    assert_eq!(patch.emptied_directories().collect::<Vec<_>>(), [Path::new("app/a")]);
    patch.keep_directory(Path::new("app/a"));
    assert_eq!(patch.emptied_directories().collect::<Vec<_>>(), [Path::new("app/a/b")]);
    assert_eq!(listing(&patch), ["- app/a/b", "- app/a/y"]);
    patch.keep_directory(Path::new("app/a/b"));
    assert_eq!(listing(&patch), ["- app/a/b/x", "- app/a/y"]);
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
    assert_snapshot!(message::<()>(Err(error), &clone), @"object 56a6051ca2b02b04ef92d5150c9ef600403cb1de is missing in git repository `REPO`");
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
