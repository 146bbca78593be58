//! Whatever two commits hold: the files of one, and then the difference, are the files of the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, Signature};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};
use slipway::git::{ArchiveSpec, Repo, merge};
use slipway::ids::CommitId;
use slipway::layer::LayerSource;
use slipway::stage::mapping::PathFilter;

use crate::support::git_repo::apply;

#[derive(Clone, Debug)]
enum Node {
    File(u8, bool),
    Link(u8),
    Directory(BTreeMap<&'static str, Node>),
}

/// Few names, so that the trees overlap; some sort between a directory and what is in it.
const NAMES: [&str; 6] = ["a", "a-b", "a.txt", "b", "b.py", "[x]"];
const PATTERNS: [&str; 9] = ["a", "b", "a/b", "*.py", "**/*.txt", "**/a", "*/b", "[x]", "a*/**"];

fn tree() -> impl Strategy<Value = BTreeMap<&'static str, Node>> {
    let leaf = prop_oneof![
        4 => (0..3u8, any::<bool>()).prop_map(|(content, executable)| Node::File(content, executable)),
        1 => (0..2u8).prop_map(Node::Link),
    ];
    let node =
        leaf.prop_recursive(3, 24, 4, |node| btree_map(select(&NAMES[..]), node, 1..4).prop_map(Node::Directory));
    btree_map(select(&NAMES[..]), node, 0..5)
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    vec(select(&PATTERNS[..]).prop_map(str::to_owned), 0..3)
}

fn write(repository: &Repository, tree: &BTreeMap<&'static str, Node>) -> Oid {
    let mut builder = repository.treebuilder(None).unwrap();
    for (name, node) in tree {
        let blob = |text: String| repository.blob(text.as_bytes()).unwrap();
        let (id, mode) = match node {
            Node::File(content, executable) => {
                (blob(format!("content {content}")), if *executable { 0o100755 } else { 0o100644 })
            }
            Node::Link(target) => (blob(format!("target-{target}")), 0o120000),
            Node::Directory(children) => (write(repository, children), 0o040000),
        };
        builder.insert(name, id, mode).unwrap();
    }
    builder.write().unwrap()
}

fn commit(repository: &Repository, tree: &BTreeMap<&'static str, Node>) -> CommitId {
    let tree = repository.find_tree(write(repository, tree)).unwrap();
    let who = Signature::new("Test", "test@example.com", &git2::Time::new(0, 0)).unwrap();
    repository.commit(None, &who, &who, "x", &tree, &[]).unwrap().to_string().parse().unwrap()
}

fn files(image: &BTreeMap<PathBuf, String>) -> BTreeMap<&PathBuf, &String> {
    image.iter().filter(|(_, what)| *what != "d").collect()
}

/// One repository for all cases of a property: what they write stays apart by its content.
struct Cases {
    directory: tempfile::TempDir,
    runner: TestRunner,
}

impl Cases {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Repository::init(directory.path()).unwrap();
        let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
        Self { directory, runner: TestRunner::new(config) }
    }

    fn open(&self) -> (Repository, Repo) {
        (Repository::open(self.directory.path()).unwrap(), Repo::open(self.directory.path()).unwrap())
    }

    fn check<S: Strategy>(mut self, strategy: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
        if let Err(failure) = self.runner.run(&strategy, property) {
            panic!("{failure}");
        }
    }
}

#[test]
fn archive_and_patch_make_the_next_archive() {
    let cases = Cases::new();
    let (repository, repo) = cases.open();
    let input = (tree(), tree(), select(vec!["", "a", "b"]), patterns(), patterns());
    cases.check(input, |(old, new, base, include, exclude)| {
        let (from, to) = (commit(&repository, &old), commit(&repository, &new));
        let whole = include.is_empty() && exclude.is_empty();
        let filter = PathFilter { base: base.to_owned(), include, exclude };
        let spec = ArchiveSpec { filter, to: "/x/app".into(), uid: 0, gid: 0, mtime: 0 };
        let (Ok(before), Ok(after)) = (repo.archive(&from, &spec), repo.archive(&to, &spec)) else { return Ok(()) };
        let mut patch = repo.patch(&from, &to, &spec).unwrap();

        let mut expected = BTreeMap::new();
        apply(&mut expected, &after);
        let mut image = BTreeMap::new();
        apply(&mut image, &before);
        // Where neither commit has a selected file, a base that turns from file to directory may bring that directory or not.
        let undecided = before.kind() != after.kind() && before.files() + after.files() == 0;
        let same = files(&image) == files(&expected);
        let below = |directory: &Path| {
            let inside = |path: &&PathBuf| path.starts_with(directory) && *path != directory;
            Ok(image.keys().filter(inside).cloned().collect())
        };
        patch.remove_emptied(below).unwrap();
        apply(&mut image, &patch);
        if whole {
            prop_assert_eq!(&image, &expected);
        } else {
            // A directory that is mapped in part stays when git's part of it is gone: another mapping may have the other part.
            prop_assert_eq!(files(&image), files(&expected));
            prop_assert!(expected.keys().all(|path| image.contains_key(path)));
        }
        prop_assert!(undecided || patch.is_empty() == same);
        prop_assert_eq!(patch.is_empty(), patch.entries().unwrap().next().is_none());
        Ok(())
    });
}

#[test]
fn checksums_differ_exactly_when_selected_files_do() {
    let cases = Cases::new();
    let (repository, repo) = cases.open();
    cases.check((tree(), tree(), select(&PATTERNS[..]), patterns()), |(old, new, pattern, exclude)| {
        let (from, to) = (commit(&repository, &old), commit(&repository, &new));
        let filter = PathFilter { exclude: exclude.clone(), ..PathFilter::default() };
        let sum = |commit| repo.checksum(commit, &filter, &[pattern.to_owned()]).unwrap().remove(0).checksum;
        let narrowed = PathFilter { include: vec![pattern.to_owned()], exclude, ..PathFilter::default() };
        let spec = ArchiveSpec { filter: narrowed, to: "/app".into(), uid: 0, gid: 0, mtime: 0 };
        let empty = |commit| repo.archive(commit, &spec).unwrap().is_empty();
        prop_assert_eq!(sum(&from).is_none(), empty(&from));
        prop_assert_eq!(sum(&from) == sum(&to), repo.patch(&from, &to, &spec).unwrap().is_empty());
        Ok(())
    });
}

#[test]
fn one_mapping_cut_in_two_merges_to_the_whole() {
    let cases = Cases::new();
    let (repository, repo) = cases.open();
    cases.check((tree(), select(&PATTERNS[..])), |(old, pattern)| {
        let commit = commit(&repository, &old);
        let archive = |include: &[&str], exclude: &[&str]| {
            let own = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            let filter = PathFilter { base: String::new(), include: own(include), exclude: own(exclude) };
            let spec = ArchiveSpec { filter, to: "/app".into(), uid: 0, gid: 0, mtime: 0 };
            std::sync::Arc::new(repo.archive(&commit, &spec).unwrap()) as std::sync::Arc<dyn LayerSource>
        };
        let merged = merge(vec![archive(&[pattern], &[]), archive(&[], &[pattern])]);
        let (mut image, mut expected) = (BTreeMap::new(), BTreeMap::new());
        apply(&mut image, &merged);
        apply(&mut expected, &*archive(&[], &[]));
        prop_assert_eq!(image, expected);
        Ok(())
    });
}
