//! The files of a commit under a mapping's path rules, across submodules, in the order of their paths.

use std::sync::Arc;

use git2::Oid;

use super::error::Error;
use super::objects::Objects;
use super::submodule;
use crate::ids::CommitId;
use crate::stage::mapping::{PathFilter, PathRules, Reach, RulesPosition};

/// Longest path that is read, in bytes: Linux's own limit. It bounds the depth of a tree as well.
const PATH_LIMIT: usize = 4096;
/// Longest name of one file or directory.
const NAME_LIMIT: usize = 255;

/// A repository at one commit: the one that was asked, or a submodule below it.
pub(super) struct Origin {
    pub(super) objects: Arc<Objects>,
    /// The tree of the commit; `.gitmodules` and `.gitattributes` are looked up in it.
    pub(super) root: Oid,
    /// Paths of a walk are counted from the root of the repository that was asked. So many bytes of them are the way to the
    /// submodule, with the `/` behind it.
    pub(super) cut: usize,
}

impl Origin {
    /// What a path of the walk is called in this repository.
    pub(super) fn path<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        path.get(self.cut..).unwrap_or_default()
    }
}

/// A directory of a commit.
#[derive(Clone)]
pub(super) struct Directory {
    pub(super) origin: Arc<Origin>,
    pub(super) tree: Oid,
}

/// A file or symbolic link of a commit.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) origin: Arc<Origin>,
    pub(super) mode: LeafMode,
    pub(super) id: Oid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeafMode {
    File,
    Executable,
    Symlink,
}

/// What a path of a commit is. A submodule has already been entered and is a directory.
#[derive(Clone)]
pub(super) enum Node {
    Directory(Directory),
    Leaf(Leaf),
}

/// One name in a tree object.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TreeEntry {
    pub(super) name: Vec<u8>,
    pub(super) kind: TreeEntryKind,
    pub(super) id: Oid,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TreeEntryKind {
    Directory,
    Leaf(LeafMode),
    Submodule,
}

/// What `add` names at a commit.
pub(super) fn base(objects: &Arc<Objects>, commit: &CommitId, filter: &PathFilter) -> Result<Node, Error> {
    base_in(objects, objects.root_of(commit)?, commit.as_str(), filter)
}

/// The same in any tree; `commit` is for messages. Symbolic links on the way are not followed.
pub(super) fn base_in(objects: &Arc<Objects>, root: Oid, commit: &str, filter: &PathFilter) -> Result<Node, Error> {
    let origin = Arc::new(Origin { objects: objects.clone(), root, cut: 0 });
    let mut node = Node::Directory(Directory { origin, tree: root });
    let mut path = Vec::new();
    for name in filter.base.split('/').filter(|name| !name.is_empty()) {
        let not_found = |symlink| Error::BasePathNotFound {
            add: filter.base.clone(),
            commit: commit.to_owned(),
            repo: objects.name.clone(),
            symlink,
        };
        let parent = match &node {
            Node::Directory(directory) => directory,
            Node::Leaf(leaf) => {
                let symlink = (leaf.mode == LeafMode::Symlink).then(|| shown(&path));
                return Err(not_found(symlink));
            }
        };
        let entry = parent.entries(&path)?.into_iter().find(|entry| entry.name == name.as_bytes());
        path = join(&path, name.as_bytes());
        node = parent.child(&entry.ok_or_else(|| not_found(None))?, &path)?;
    }
    Ok(node)
}

impl Directory {
    /// What is in it, checked, in git's order. `path` is its own, for messages.
    pub(super) fn entries(&self, path: &[u8]) -> Result<Vec<TreeEntry>, Error> {
        let objects = &self.origin.objects;
        let handle = objects.handle()?;
        let tree = handle.find_tree(self.tree).map_err(|error| objects.object_error(self.tree, &error))?;
        let refused =
            |name: &[u8], reason| Error::BadTree { path: shown(&join(path, name)), repo: objects.name.clone(), reason };
        let mut entries = Vec::with_capacity(tree.len());
        for entry in &tree {
            let name = entry.name_bytes();
            bad_name(name).map_or(Ok(()), |reason| Err(refused(name, reason)))?;
            let kind = kind_of(entry.filemode_raw())
                .ok_or_else(|| refused(name, "its tree gives it a mode that git does not know"))?;
            entries.push(TreeEntry { name: name.to_owned(), kind, id: entry.id() });
        }
        match disorder(&entries) {
            Some(name) => Err(refused(name, "its tree is not sorted or names it twice")),
            None => Ok(entries),
        }
    }

    /// One of its entries; a submodule is entered. `path` is the entry's own.
    pub(super) fn child(&self, entry: &TreeEntry, path: &[u8]) -> Result<Node, Error> {
        if path.len() > PATH_LIMIT {
            let path = shown(path.get(..NAME_LIMIT).unwrap_or_default()) + "…";
            let repo = self.origin.objects.name.clone();
            return Err(Error::BadTree { path, repo, reason: "the path is longer than 4096 bytes" });
        }
        let origin = self.origin.clone();
        Ok(match entry.kind {
            TreeEntryKind::Directory => Node::Directory(Self { origin, tree: entry.id }),
            TreeEntryKind::Leaf(mode) => Node::Leaf(Leaf { origin, mode, id: entry.id }),
            TreeEntryKind::Submodule => Node::Directory(submodule::enter(&origin, path, entry.id)?),
        })
    }
}

/// Why a name cannot be a file of an image, or is an attack on those who check it out (hostile-inputs.md 25).
fn bad_name(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        Some("it is not a file name")
    } else if name.eq_ignore_ascii_case(b".git") || name.eq_ignore_ascii_case(b"git~1") {
        Some("git reserves the name for itself")
    } else if name.len() > NAME_LIMIT {
        Some("the name is longer than 255 bytes")
    } else {
        None
    }
}

fn kind_of(mode: i32) -> Option<TreeEntryKind> {
    Some(match mode {
        0o040_000 => TreeEntryKind::Directory,
        0o100_644 | 0o100_664 => TreeEntryKind::Leaf(LeafMode::File),
        0o100_755 => TreeEntryKind::Leaf(LeafMode::Executable),
        0o120_000 => TreeEntryKind::Leaf(LeafMode::Symlink),
        0o160_000 => TreeEntryKind::Submodule,
        _ => return None,
    })
}

/// A name that stands out of git's order (a directory sorts as if it ended in `/`), or twice.
fn disorder(entries: &[TreeEntry]) -> Option<&[u8]> {
    fn key(entry: &TreeEntry) -> impl Iterator<Item = &u8> {
        let slash: &[u8] = if entry.kind == TreeEntryKind::Directory { b"/" } else { b"" };
        entry.name.iter().chain(slash)
    }
    let unsorted = entries.windows(2).find(|pair| matches!(pair, [a, b] if key(a).ge(key(b))));
    if let Some([_, second]) = unsorted {
        return Some(&second.name);
    }
    let mut names: Vec<&[u8]> = entries.iter().map(|entry| entry.name.as_slice()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| matches!(pair, [a, b] if a == b)).and_then(|pair| pair.first().copied())
}

/// A selected file and its path from the root of the repository that was asked.
pub(super) struct Item {
    pub(super) path: Vec<u8>,
    pub(super) leaf: Leaf,
}

/// Walks the selected files below a directory, depth first.
pub(super) struct Walk<'a> {
    rules: &'a PathRules,
    open: Vec<Frame>,
}

/// A directory that the walk is in.
struct Frame {
    directory: Directory,
    path: Vec<u8>,
    position: RulesPosition,
    entries: std::vec::IntoIter<TreeEntry>,
}

impl<'a> Walk<'a> {
    /// A walk of the directory at `path`, where the rules stand at `position`.
    pub(super) fn new(
        rules: &'a PathRules,
        directory: Directory,
        path: Vec<u8>,
        position: RulesPosition,
    ) -> Result<Self, Error> {
        let mut walk = Self { rules, open: Vec::new() };
        walk.enter(directory, path, position)?;
        Ok(walk)
    }

    fn enter(&mut self, directory: Directory, path: Vec<u8>, position: RulesPosition) -> Result<(), Error> {
        let entries = directory.entries(&path)?.into_iter();
        self.open.push(Frame { directory, path, position, entries });
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Item>, Error> {
        while let Some(frame) = self.open.last_mut() {
            let Some(entry) = frame.entries.next() else {
                self.open.pop();
                continue;
            };
            let position = self.rules.step(&frame.position, &entry.name);
            let selected = match entry.kind {
                TreeEntryKind::Leaf(_) => position.selects_file(),
                TreeEntryKind::Directory | TreeEntryKind::Submodule => position.reach() != Reach::Nothing,
            };
            if !selected {
                continue;
            }
            let path = join(&frame.path, &entry.name);
            match frame.directory.child(&entry, &path)? {
                Node::Leaf(leaf) => return Ok(Some(Item { path, leaf })),
                Node::Directory(directory) => self.enter(directory, path, position)?,
            }
        }
        Ok(None)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if matches!(item, Some(Err(_))) {
            self.open.clear();
        }
        item
    }
}

/// `parent/name`, or just one of them when the other is empty.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    if !parent.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path in a message.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().flat_map(|c| c.escape_debug()).collect()
}
