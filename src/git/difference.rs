//! Two trees held against each other, as far as a mapping selects; equal trees are never opened.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sha2::{Digest as _, Sha256};

use super::archive::{ArchiveSpec, file_position};
use super::checksum::leaf_mark;
use super::entries::{below_base, directories_above, path_buf};
use super::error::Error;
use super::patch::{Change, ChangeKind};
use super::tree::{Directory, Item, Leaf, Node, TreeEntry, Walk, join};
use crate::ids::hex;
use crate::stage::mapping::{PathRules, Reach, RulesPosition};

/// A path at which the two commits differ, or may.
struct Pair {
    path: Vec<u8>,
    position: RulesPosition,
    old: Option<Node>,
    new: Option<Node>,
}

/// What a comparison of two trees collects. Paths are relative to the base, but for those in `open` and of items.
pub(super) struct Difference<'a> {
    rules: &'a PathRules,
    spec: &'a ArchiveSpec,
    open: Vec<Pair>,
    /// Added and changed files, sorted.
    pub(super) added: Vec<(Item, ChangeKind)>,
    removed: BTreeSet<Vec<u8>>,
    /// Directories of the older commit of which nothing is left; only such that the mapping took whole.
    gone: BTreeSet<Vec<u8>>,
    /// Directories that the newer commit has and the older one had not.
    fresh: BTreeSet<Vec<u8>>,
    /// Directories that both have, where the older one may have had nothing that is selected.
    doubtful: HashMap<Vec<u8>, (Directory, RulesPosition)>,
}

impl<'a> Difference<'a> {
    /// Compares two bases of a mapping; `None` is an empty one.
    pub(super) fn between(
        rules: &'a PathRules,
        spec: &'a ArchiveSpec,
        old: Option<Node>,
        new: Node,
    ) -> Result<Self, Error> {
        let path = spec.filter.base.trim_matches('/').as_bytes().to_owned();
        let mut difference = Self {
            rules,
            spec,
            open: Vec::new(),
            added: Vec::new(),
            removed: BTreeSet::new(),
            gone: BTreeSet::new(),
            fresh: BTreeSet::new(),
            doubtful: HashMap::new(),
        };
        // A file is matched by its name, a directory is where matching starts: a base that turned from one into the other is
        // compared twice, each time with nothing on the other side.
        let as_file = file_position(rules, &path);
        let (old_file, old_directory) = split(old);
        let (new_file, new_directory) = split(Some(new));
        let pair = |position, old, new| Pair { path: path.clone(), position, old, new };
        difference.open.push(pair(as_file, old_file, new_file));
        difference.open.push(pair(rules.start(), old_directory, new_directory));
        while let Some(pair) = difference.open.pop() {
            difference.compare(pair)?;
        }
        difference.added.sort_unstable_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        Ok(difference)
    }

    fn compare(&mut self, pair: Pair) -> Result<(), Error> {
        let Pair { path, position, old, new } = pair;
        let (old_leaf, old_directory) = leaf_or_directory(old);
        let (new_leaf, new_directory) = leaf_or_directory(new);
        if position.selects_file() {
            self.compare_leaves(&path, old_leaf, new_leaf);
        }
        if position.reach() != Reach::Nothing {
            self.compare_directories(path, &position, old_directory, new_directory)?;
        }
        Ok(())
    }

    fn compare_leaves(&mut self, path: &[u8], old: Option<Leaf>, new: Option<Leaf>) {
        match (old, new) {
            (Some(old), Some(new)) if (old.mode, old.id) == (new.mode, new.id) => {}
            (old, Some(leaf)) => {
                let kind = if old.is_some() { ChangeKind::Changed } else { ChangeKind::Added };
                self.added.push((Item { path: path.to_owned(), leaf }, kind));
            }
            (Some(_), None) => {
                self.removed.insert(self.relative(path).to_owned());
            }
            (None, None) => {}
        }
    }

    fn compare_directories(
        &mut self,
        path: Vec<u8>,
        position: &RulesPosition,
        old: Option<Directory>,
        new: Option<Directory>,
    ) -> Result<(), Error> {
        let relative = self.relative(&path).to_owned();
        match (&old, &new) {
            (None, None) => return Ok(()),
            (Some(old), Some(new)) if old.tree == new.tree => return Ok(()),
            (Some(old), Some(_)) if position.reach() == Reach::Partly => {
                self.doubtful.insert(relative, (old.clone(), position.clone()));
            }
            (Some(_), None) if position.reach() == Reach::Everything => {
                self.gone.insert(relative);
            }
            (None, Some(_)) => {
                self.fresh.insert(relative);
            }
            _ => {}
        }
        for (name, (old_entry, new_entry)) in both(&path, old.as_ref(), new.as_ref())? {
            let position = self.rules.step(position, &name);
            if same(old_entry.as_ref(), new_entry.as_ref()) || is_out_of_reach(&position) {
                continue;
            }
            let path = join(&path, &name);
            let new = child(new.as_ref(), new_entry.as_ref(), &path)?;
            let old = match child(old.as_ref(), old_entry.as_ref(), &path) {
                // A submodule that was dropped, repository and all: nobody can say what was in it, and nobody has to.
                Err(Error::SubmoduleMissing { .. }) if is_dropped(new.as_ref(), &position) => {
                    self.removed.insert(self.relative(&path).to_owned());
                    None
                }
                old => old?,
            };
            self.open.push(Pair { path, position, old, new });
        }
        Ok(())
    }

    /// Directories above added files that the mapping had not made before.
    pub(super) fn new_directories(&self) -> Result<BTreeSet<Vec<u8>>, Error> {
        let mut directories = BTreeSet::new();
        let mut known: BTreeSet<&[u8]> = BTreeSet::new();
        if !self.spec.is_root() && self.fresh.contains(b"".as_slice()) {
            directories.insert(Vec::new());
        }
        for (item, _) in self.added.iter().filter(|(_, kind)| *kind == ChangeKind::Added) {
            for above in directories_above(self.relative(&item.path)) {
                if known.insert(above) && self.is_new(above)? {
                    directories.insert(above.to_owned());
                }
            }
        }
        Ok(directories)
    }

    fn is_new(&self, relative: &[u8]) -> Result<bool, Error> {
        let Some((directory, position)) = self.doubtful.get(relative) else {
            return Ok(self.fresh.contains(relative));
        };
        let path = join(self.spec.filter.base.trim_matches('/').as_bytes(), relative);
        let mut files = Walk::new(self.rules, directory.clone(), path, position.clone())?;
        Ok(files.next().transpose()?.is_none())
    }

    /// Removed files, and directories that are gone, at whose place no other entry of the layer stands: neither a directory
    /// where a file was, nor a file where they or a directory above them was.
    pub(super) fn unreplaced(&self, directories: &BTreeSet<Vec<u8>>) -> (Vec<Vec<u8>>, BTreeSet<Vec<u8>>) {
        let files: BTreeSet<&[u8]> = self.added.iter().map(|(item, _)| self.relative(&item.path)).collect();
        let replaced = |path: &Vec<u8>| {
            files.contains(path.as_slice())
                || directories.contains(path)
                || files.contains(b"".as_slice())
                || directories_above(path).any(|above| files.contains(above))
        };
        let removed = self.removed.iter().filter(|path| !replaced(path)).cloned().collect();
        let gone = self.gone.iter().filter(|path| !replaced(path)).cloned().collect();
        (removed, gone)
    }

    /// See `Patch::size`.
    pub(super) fn size(&self) -> Result<u64, Error> {
        let sizes = self.added.iter().map(|(item, _)| item.leaf.origin.objects.blob_size(item.leaf.id));
        sizes.sum()
    }

    fn relative<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        below_base(path, &self.spec.filter)
    }

    /// Every file that differs, sorted.
    pub(super) fn changes(&self) -> Vec<Change> {
        let path = |item: &Item| path_buf(self.relative(&item.path).to_owned());
        let added = self.added.iter().map(|(item, kind)| Change { path: path(item), kind: *kind });
        let removed =
            self.removed.iter().map(|path| Change { path: path_buf(path.clone()), kind: ChangeKind::Removed });
        let mut changes: Vec<Change> = added.chain(removed).collect();
        changes.sort_unstable_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        changes
    }

    /// See `Patch::checksum`.
    pub(super) fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"slipway patch 1");
        let mut add = |mark: u8, path: &[u8], id: &[u8]| {
            hash.update([mark]);
            hash.update((path.len() as u64).to_be_bytes());
            hash.update(path);
            hash.update([id.len() as u8]);
            hash.update(id);
        };
        for (item, _) in &self.added {
            add(leaf_mark(item.leaf.mode), self.relative(&item.path), item.leaf.id.as_bytes());
        }
        for path in &self.removed {
            add(b'-', path, b"");
        }
        hex(&hash.finalize())
    }
}

fn is_out_of_reach(position: &RulesPosition) -> bool {
    !position.selects_file() && position.reach() == Reach::Nothing
}

fn split(node: Option<Node>) -> (Option<Node>, Option<Node>) {
    match node {
        Some(Node::Leaf(leaf)) => (Some(Node::Leaf(leaf)), None),
        directory => (None, directory),
    }
}

fn leaf_or_directory(node: Option<Node>) -> (Option<Leaf>, Option<Directory>) {
    match node {
        Some(Node::Leaf(leaf)) => (Some(leaf), None),
        Some(Node::Directory(directory)) => (None, Some(directory)),
        None => (None, None),
    }
}

fn is_dropped(new: Option<&Node>, position: &RulesPosition) -> bool {
    !matches!(new, Some(Node::Directory(_))) && position.reach() == Reach::Everything
}

type Entries = BTreeMap<Vec<u8>, (Option<TreeEntry>, Option<TreeEntry>)>;

/// The entries of both directories by name.
fn both(path: &[u8], old: Option<&Directory>, new: Option<&Directory>) -> Result<Entries, Error> {
    let mut entries = Entries::new();
    if let Some(directory) = old {
        entries.extend(directory.entries(path)?.into_iter().map(|entry| (entry.name.clone(), (Some(entry), None))));
    }
    if let Some(directory) = new {
        for entry in directory.entries(path)? {
            let name = entry.name.clone();
            entries.entry(name).or_default().1 = Some(entry);
        }
    }
    Ok(entries)
}

fn same(old: Option<&TreeEntry>, new: Option<&TreeEntry>) -> bool {
    matches!((old, new), (Some(old), Some(new)) if old.kind == new.kind && old.id == new.id)
}

fn child(parent: Option<&Directory>, entry: Option<&TreeEntry>, path: &[u8]) -> Result<Option<Node>, Error> {
    match (parent, entry) {
        (Some(parent), Some(entry)) => parent.child(entry, path).map(Some),
        _ => Ok(None),
    }
}
