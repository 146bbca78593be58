//! A layer fitted to the image it goes on: links on the way are followed, and directories that are there stay as they are.
//!
//! A container that unpacks `bin/run` over an image whose `/bin` is a link to `usr/bin` puts it into `/usr/bin`. A layer that
//! holds a directory `bin` would hide the link and all that is behind it. So what the image has must be known first.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::archive::ArchiveSpec;
use super::entries::{Planned, PlannedKind, path_buf};
use super::tree::join;
use crate::layer::{Entry, LayerSource};

/// What an image has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    /// Nothing, or something that a directory may replace.
    Nothing,
    Directory,
    /// A symbolic link that leads to this directory of the image, as a path from its root in which no component is a link.
    LinkTo(PathBuf),
}

/// Asks for a path from the root of the image, whose parent is a directory of it.
pub(super) type Lookup<'a> = dyn FnMut(&Path) -> anyhow::Result<Below> + 'a;

/// An archive or patch with the places of its entries in one image.
pub struct Placed {
    entries: BTreeMap<Vec<u8>, Planned>,
    spec: ArchiveSpec,
}

impl LayerSource for Placed {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        let entry = |(path, planned): (&Vec<u8>, &Planned)| Ok(planned.entry_at(path_buf(path.clone()), &self.spec)?);
        Ok(Box::new(self.entries.iter().map(entry)))
    }
}

/// Finds the place of each entry. A directory that the image has gets no entry; only `to` keeps its own when the mapping has an
/// owner, which then becomes the owner of the directory.
pub(super) fn place(planned: Vec<Planned>, spec: &ArchiveSpec, lookup: &mut Lookup<'_>) -> anyhow::Result<Placed> {
    let mut ground = Ground { lookup, known: HashMap::new() };
    let owned = (spec.uid, spec.gid) != (0, 0);
    let mut entries = BTreeMap::new();
    for planned in planned {
        let path = planned.image_path(spec);
        let at = match planned.kind {
            PlannedKind::Directory => {
                let place = ground.directory(&path)?;
                if place.exists && !(owned && planned.path.is_empty()) {
                    continue;
                }
                place.at
            }
            _ => ground.beside(&path)?,
        };
        entries.insert(at, planned);
    }
    Ok(Placed { entries, spec: spec.clone() })
}

/// Whether the image has a link at a path.
pub(super) fn is_link(path: &Path, lookup: &mut Lookup<'_>) -> anyhow::Result<bool> {
    let mut ground = Ground { lookup, known: HashMap::new() };
    let path = path.as_os_str().as_bytes();
    let (parent, _) = split(path);
    let exists = ground.directory(parent)?.exists;
    let at = path_buf(ground.beside(path)?);
    Ok(exists && matches!((ground.lookup)(&at)?, Below::LinkTo(_)))
}

/// Directories of the image as far as they have been asked for.
struct Ground<'a, 'b> {
    lookup: &'a mut Lookup<'b>,
    known: HashMap<Vec<u8>, Place>,
}

/// Where a directory really is.
#[derive(Clone)]
struct Place {
    at: Vec<u8>,
    exists: bool,
}

impl Ground<'_, '_> {
    /// The place of a directory; links on the way and at its end are followed.
    fn directory(&mut self, path: &[u8]) -> anyhow::Result<Place> {
        if path.is_empty() {
            return Ok(Place { at: Vec::new(), exists: true });
        }
        if let Some(place) = self.known.get(path) {
            return Ok(place.clone());
        }
        let (parent, name) = split(path);
        let parent = self.directory(parent)?;
        let at = join(&parent.at, name);
        let below = if parent.exists { (self.lookup)(&path_buf(at.clone()))? } else { Below::Nothing };
        let place = match below {
            Below::Nothing => Place { at, exists: false },
            Below::Directory => Place { at, exists: true },
            Below::LinkTo(directory) => Place { at: directory.as_os_str().as_bytes().to_owned(), exists: true },
        };
        self.known.insert(path.to_owned(), place.clone());
        Ok(place)
    }

    /// The place of something that is no directory: links on the way are followed, one at its end is not.
    fn beside(&mut self, path: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (parent, name) = split(path);
        Ok(join(&self.directory(parent)?.at, name))
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}
