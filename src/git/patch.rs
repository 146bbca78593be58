//! What changed under a mapping between two commits, as a layer (spec/build.md 3.5).
//!
//! Changed files are written whole, so nothing has to be applied in a container; renames are a removal and an addition.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Repo;
use super::archive::{ArchiveKind, ArchiveSpec, file_position};
use super::checksum::leaf_mark;
use super::entries::{Planned, below_base, directories_above, path_buf};
use super::error::Error;
use super::tree::{self, Directory, Item, Leaf, Node, TreeEntry, Walk, join};
use crate::ids::{CommitId, hex};
use crate::layer::{Entry, LayerSource};
use crate::stage::mapping::{PathRules, Reach, RulesPosition};

/// One file or symbolic link that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Relative to the mapping's base; empty when the base is a file.
    pub path: PathBuf,
    pub kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Added,
    /// Other content, mode or type.
    Changed,
    Removed,
}

/// The difference between two commits under one mapping.
///
/// As a layer: every added or changed file whole, directories that are new, a whiteout for what is gone. A directory of
/// which nothing is left in the repository gets one whiteout, which also removes what others put into it; a caller that can
/// look may [`keep`](Patch::keep_directory) it, and then only git's files go.
pub struct Patch {
    kind: ArchiveKind,
    changes: Vec<Change>,
    size: u64,
    checksum: String,
    spec: ArchiveSpec,
    planned: Vec<Planned>,
    /// Files that are gone and not replaced by something at their place, sorted.
    removed: Vec<Vec<u8>>,
    /// Directories that are gone with all that was in them, and not kept.
    gone: BTreeSet<Vec<u8>>,
}

impl Repo {
    /// What changed from one commit to another under `spec.filter`. `add` must exist at `to`; where it does not at `from`,
    /// everything is added.
    pub fn patch(&self, from: &CommitId, to: &CommitId, spec: &ArchiveSpec) -> Result<Patch, Error> {
        let old = existing(tree::base(&self.objects, from, &spec.filter))?;
        self.patch_since(old, to, spec)
    }

    pub(super) fn patch_since(&self, old: Option<Node>, to: &CommitId, spec: &ArchiveSpec) -> Result<Patch, Error> {
        let new = tree::base(&self.objects, to, &spec.filter)?;
        let rules = spec.filter.rules();
        let kind = match &new {
            Node::Directory(_) => ArchiveKind::Directory,
            Node::Leaf(_) if spec.is_root() => return Err(Error::FileAtRoot { add: spec.filter.base.clone() }),
            Node::Leaf(_) => ArchiveKind::File,
        };
        let difference = Difference::between(&rules, spec, old, new)?;
        difference.into_patch(kind, spec)
    }
}

/// A base path that does not exist is an empty one.
pub(super) fn existing(base: Result<Node, Error>) -> Result<Option<Node>, Error> {
    match base {
        Ok(node) => Ok(Some(node)),
        Err(Error::BasePathNotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Patch {
    /// What the mapping's base is at the newer commit.
    pub fn kind(&self) -> ArchiveKind {
        self.kind
    }

    /// Nothing changed under the mapping.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Every changed file, sorted by path.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// How many files were added, changed or removed.
    pub fn count(&self, kind: ChangeKind) -> usize {
        self.changes.iter().filter(|change| change.kind == kind).count()
    }

    /// Bytes of the added and changed files as git stores them (of a file in git LFS: its pointer).
    pub fn size(&self) -> u64 {
        self.size
    }

    /// 64 hex digits over paths, modes, object ids and removals; equal for equal changes, whatever the commits are.
    pub fn checksum(&self) -> &str {
        &self.checksum
    }

    /// Directories in the image that get one whiteout because git has nothing left in them; relative to the image's root.
    pub fn emptied_directories(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let to = self.spec.to.trim_matches('/').as_bytes();
        topmost(&self.gone).map(move |path| path_buf(join(to, path)))
    }

    /// Removes only git's files from one of the [`emptied_directories`](Patch::emptied_directories), because something else
    /// lies in it. Those of its own directories that are emptied too come forward then.
    pub fn keep_directory(&mut self, directory: &Path) {
        let to = self.spec.to.trim_matches('/').as_bytes();
        let path = directory.as_os_str().as_bytes();
        let below = path.strip_prefix(to).unwrap_or(path);
        self.gone.remove(below.strip_prefix(b"/").unwrap_or(below));
        self.plan_removals();
    }

    fn plan_removals(&mut self) {
        self.planned.retain(|planned| !planned.is_whiteout());
        let covered = |path: &[u8]| directories_above(path).any(|above| self.gone.contains(above));
        let files = self.removed.iter().filter(|path| !covered(path)).cloned();
        let directories = topmost(&self.gone).map(<[u8]>::to_owned);
        let whiteouts: Vec<Planned> = files.chain(directories).map(Planned::whiteout).collect();
        self.planned.extend(whiteouts);
        self.planned.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    }
}

impl LayerSource for Patch {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        Ok(Box::new(self.planned.iter().map(|planned| Ok(planned.entry(&self.spec)?))))
    }
}

/// Of a set of directories those that lie in no other of it.
fn topmost(directories: &BTreeSet<Vec<u8>>) -> impl Iterator<Item = &[u8]> {
    let inner = |path: &[u8]| directories_above(path).any(|above| directories.contains(above));
    directories.iter().map(Vec::as_slice).filter(move |path| !inner(path))
}

/// A path at which the two commits differ, or may.
struct Pair {
    path: Vec<u8>,
    position: RulesPosition,
    old: Option<Node>,
    new: Option<Node>,
}

/// What a comparison of two trees collects. Paths are relative to the base.
struct Difference<'a> {
    rules: &'a PathRules,
    spec: &'a ArchiveSpec,
    open: Vec<Pair>,
    added: Vec<(Item, ChangeKind)>,
    removed: BTreeSet<Vec<u8>>,
    /// Directories of the older commit of which nothing is left; only such that the mapping took whole.
    gone: BTreeSet<Vec<u8>>,
    /// Directories that the newer commit has and the older one had not.
    fresh: BTreeSet<Vec<u8>>,
    /// Directories that both have, where the older one may have had nothing that is selected.
    doubtful: HashMap<Vec<u8>, (Directory, RulesPosition)>,
}

impl<'a> Difference<'a> {
    fn between(rules: &'a PathRules, spec: &'a ArchiveSpec, old: Option<Node>, new: Node) -> Result<Self, Error> {
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

    fn into_patch(mut self, kind: ArchiveKind, spec: &ArchiveSpec) -> Result<Patch, Error> {
        self.added.sort_unstable_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        let directories = self.new_directories()?;
        let (removed, gone) = self.unreplaced(&directories);
        let (changes, checksum, size) = (self.changes(), self.checksum(), self.size()?);
        let leaf = |(item, _)| Planned::leaf(item, &spec.filter);
        let mut planned = self.added.into_iter().map(leaf).collect::<Result<Vec<_>, _>>()?;
        planned.extend(directories.into_iter().map(Planned::directory));
        let mut patch = Patch { kind, changes, size, checksum, spec: spec.clone(), planned, removed, gone };
        patch.plan_removals();
        Ok(patch)
    }

    /// Directories above added files that the mapping had not made before.
    fn new_directories(&self) -> Result<BTreeSet<Vec<u8>>, Error> {
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
    fn unreplaced(&self, directories: &BTreeSet<Vec<u8>>) -> (Vec<Vec<u8>>, BTreeSet<Vec<u8>>) {
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

    fn size(&self) -> Result<u64, Error> {
        let sizes = self.added.iter().map(|(item, _)| item.leaf.origin.objects.blob_size(item.leaf.id));
        sizes.sum()
    }

    fn relative<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        below_base(path, &self.spec.filter)
    }

    fn changes(&self) -> Vec<Change> {
        let path = |item: &Item| path_buf(self.relative(&item.path).to_owned());
        let added = self.added.iter().map(|(item, kind)| Change { path: path(item), kind: *kind });
        let removed =
            self.removed.iter().map(|path| Change { path: path_buf(path.clone()), kind: ChangeKind::Removed });
        let mut changes: Vec<Change> = added.chain(removed).collect();
        changes.sort_unstable_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        changes
    }

    fn checksum(&self) -> String {
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
