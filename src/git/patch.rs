//! What changed under a mapping between two commits, as a layer (spec/build.md 3.5).
//!
//! Changed files are written whole, so nothing has to be applied in a container; renames are a removal and an addition.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Repo;
use super::archive::{ArchiveKind, ArchiveSpec};
use super::difference::Difference;
use super::entries::{Planned, directories_above, path_buf};
use super::error::Error;
use super::place::{Placed, place};
use super::tree::{self, Node, join};
use crate::ids::CommitId;
use crate::layer::ground::Ground;
use crate::layer::{Below, Entry, LayerSource};

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
/// As a layer: every added or changed file whole, directories that are new, a whiteout for each file that is gone. Directories
/// of which git has nothing left remain, because others may have put something there: commands, the base image; whoever can
/// look into the image has them removed by [`remove_emptied`](Patch::remove_emptied).
pub struct Patch {
    kind: ArchiveKind,
    changes: Vec<Change>,
    size: u64,
    checksum: String,
    spec: ArchiveSpec,
    planned: Vec<Planned>,
    /// Files that are gone and not replaced by something at their place, sorted.
    removed: Vec<Vec<u8>>,
    /// Directories of which git has nothing left.
    gone: BTreeSet<Vec<u8>>,
    /// Those of them that get one whiteout for all that is in them.
    dropped: BTreeSet<Vec<u8>>,
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
        Patch::of(Difference::between(&rules, spec, old, new)?, kind, spec)
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

    /// Whether there are directories of which git has nothing left.
    pub fn empties_directories(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Removes the directories of which git has nothing left, unless something else lies in them. `contents` gives all paths
    /// under a directory of the image that the patch goes on; both are counted from the root of the image.
    pub fn remove_emptied(
        &mut self,
        mut contents: impl FnMut(&Path) -> anyhow::Result<Vec<PathBuf>>,
    ) -> anyhow::Result<()> {
        let to = self.spec.to.trim_matches('/').as_bytes();
        let in_image = |path: &Vec<u8>| path_buf(join(to, path));
        let git: BTreeSet<PathBuf> = self.removed.iter().chain(&self.gone).map(in_image).collect();
        for directory in &self.gone {
            let is_dropped = directories_above(directory).any(|above| self.dropped.contains(above));
            let foreign = |path: &PathBuf| !git.contains(path);
            if !is_dropped && !contents(&in_image(directory))?.iter().any(foreign) {
                self.dropped.insert(directory.clone());
            }
        }
        self.plan_removals();
        Ok(())
    }

    /// The patch fitted to an image, as [`Archive::onto`](super::Archive::onto). A link of the image is never removed because
    /// the directory behind it is empty in git.
    pub fn onto(mut self, mut lookup: impl FnMut(&Path) -> anyhow::Result<Below>) -> anyhow::Result<Placed> {
        let to = self.spec.to.trim_matches('/').as_bytes();
        let mut ground = Ground::new(&mut lookup);
        for directory in std::mem::take(&mut self.dropped) {
            if !ground.is_link(&path_buf(join(to, &directory)))? {
                self.dropped.insert(directory);
            }
        }
        self.plan_removals();
        place(self.planned, &self.spec, &mut lookup)
    }

    fn of(difference: Difference<'_>, kind: ArchiveKind, spec: &ArchiveSpec) -> Result<Self, Error> {
        let directories = difference.new_directories()?;
        let (removed, gone) = difference.unreplaced(&directories);
        let (changes, checksum, size) = (difference.changes(), difference.checksum(), difference.size()?);
        let leaf = |(item, _)| Planned::leaf(item, &spec.filter);
        let mut planned = difference.added.into_iter().map(leaf).collect::<Result<Vec<_>, _>>()?;
        planned.extend(directories.into_iter().map(Planned::directory));
        let (spec, dropped) = (spec.clone(), BTreeSet::new());
        let mut patch = Self { kind, changes, size, checksum, spec, planned, removed, gone, dropped };
        patch.plan_removals();
        Ok(patch)
    }

    fn plan_removals(&mut self) {
        self.planned.retain(|planned| !planned.is_whiteout());
        let covered = |path: &[u8]| directories_above(path).any(|above| self.dropped.contains(above));
        let files = self.removed.iter().filter(|path| !covered(path)).cloned();
        let whiteouts: Vec<Planned> = files.chain(self.dropped.iter().cloned()).map(Planned::whiteout).collect();
        self.planned.extend(whiteouts);
        self.planned.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    }
}

impl LayerSource for Patch {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        Ok(Box::new(self.planned.iter().map(|planned| Ok(planned.entry(&self.spec)?))))
    }
}
