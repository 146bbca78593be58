//! A layer planned from trees: paths and object ids only, contents are read when the layer is walked.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::archive::ArchiveSpec;
use super::blob;
use super::error::Error;
use super::tree::{Item, Leaf, LeafMode, join, shown};
use crate::layer::{Entry, EntryKind, Looks};
use crate::stage::mapping::PathFilter;

/// An entry to be, by its path relative to the mapping's base.
pub(super) struct Planned {
    pub(super) path: Vec<u8>,
    pub(super) kind: PlannedKind,
}

pub(super) enum PlannedKind {
    Directory,
    /// One that the image has.
    Existing(Looks),
    /// With its path in the repository.
    Leaf(Leaf, Vec<u8>),
    Whiteout,
}

impl Planned {
    pub(super) fn leaf(item: Item, filter: &PathFilter) -> Result<Self, Error> {
        refuse_whiteout_names(&item)?;
        let path = below_base(&item.path, filter).to_owned();
        Ok(Self { path, kind: PlannedKind::Leaf(item.leaf, item.path) })
    }

    pub(super) fn directory(path: Vec<u8>) -> Self {
        Self { path, kind: PlannedKind::Directory }
    }

    pub(super) fn whiteout(path: Vec<u8>) -> Self {
        Self { path, kind: PlannedKind::Whiteout }
    }

    pub(super) fn is_whiteout(&self) -> bool {
        matches!(self.kind, PlannedKind::Whiteout)
    }

    /// Its path from the root of the image.
    pub(super) fn image_path(&self, spec: &ArchiveSpec) -> Vec<u8> {
        join(spec.to.trim_matches('/').as_bytes(), &self.path)
    }

    /// The entry with its content. Entries of a sorted plan come out sorted.
    pub(super) fn entry(&self, spec: &ArchiveSpec) -> Result<Entry, Error> {
        self.entry_at(path_buf(self.image_path(spec)), spec)
    }

    /// The same at another place.
    pub(super) fn entry_at(&self, at: PathBuf, spec: &ArchiveSpec) -> Result<Entry, Error> {
        let (mut uid, mut gid) = (spec.uid, spec.gid);
        let (kind, mode) = match &self.kind {
            PlannedKind::Directory => (EntryKind::Directory, 0o755),
            PlannedKind::Existing(looks) => {
                (uid, gid) = (looks.uid, looks.gid);
                (EntryKind::Directory, looks.mode)
            }
            PlannedKind::Whiteout => (EntryKind::Whiteout, 0),
            PlannedKind::Leaf(leaf, path) if leaf.mode == LeafMode::Symlink => {
                (EntryKind::Symlink { target: path_buf(blob::link_target(leaf, path)?) }, 0o777)
            }
            PlannedKind::Leaf(leaf, path) => {
                let (size, content) = blob::file(leaf, path)?;
                let mode = if leaf.mode == LeafMode::Executable { 0o755 } else { 0o644 };
                (EntryKind::File { size, content }, mode)
            }
        };
        Ok(Entry { path: at, kind, mode, uid, gid, mtime: spec.mtime, xattrs: Default::default() })
    }
}

/// What a path of a walk is called below the base of its mapping; empty for the base itself.
pub(super) fn below_base<'a>(path: &'a [u8], filter: &PathFilter) -> &'a [u8] {
    let base = filter.base.trim_matches('/');
    let rest = path.strip_prefix(base.as_bytes()).unwrap_or(path);
    rest.strip_prefix(b"/").unwrap_or(rest)
}

/// The directories above a path, the nearest last, without the base itself.
pub(super) fn directories_above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').filter_map(|(at, _)| path.get(..at))
}

pub(super) fn path_buf(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// In a layer a name `.wh.x` means that `x` is gone, so a file cannot be called so.
fn refuse_whiteout_names(item: &Item) -> Result<(), Error> {
    if item.path.split(|byte| *byte == b'/').any(|name| name.starts_with(b".wh.")) {
        return Err(Error::BadTree {
            path: shown(&item.path),
            repo: item.leaf.origin.objects.name.clone(),
            reason: "image layers reserve names that start with `.wh.` for removals",
        });
    }
    Ok(())
}
