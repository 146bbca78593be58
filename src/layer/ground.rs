//! Where the entries of a layer land in the image it goes on: links on the way are followed, directories are found.
//!
//! A container that unpacks `bin/run` over an image whose `/bin` is a link to `usr/bin` puts it into `/usr/bin`. A layer that
//! holds a directory `bin` would hide the link and all that is behind it; one that holds `tmp/x` alone gives `/tmp` the looks of
//! any new directory, for engines do not look further down when they unpack. So what the image has must be known first.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What an image has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    /// Nothing, or something that a directory may replace.
    Nothing,
    Directory(Looks),
    /// A symbolic link that leads to this directory of the image, as a path from its root in which no component is a link.
    LinkTo(PathBuf),
}

/// Mode (permission bits) and owner of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Asks for a path from the root of the image, whose parent is a directory of it.
pub type Lookup<'a> = dyn FnMut(&Path) -> anyhow::Result<Below> + 'a;

/// Directories of an image as far as they have been asked for.
pub struct Ground<'a, 'b> {
    lookup: &'a mut Lookup<'b>,
    known: HashMap<PathBuf, Place>,
}

/// Where a directory really is.
#[derive(Clone, Debug)]
pub struct Place {
    pub at: PathBuf,
    /// The image has it.
    pub exists: bool,
}

impl<'a, 'b> Ground<'a, 'b> {
    pub fn new(lookup: &'a mut Lookup<'b>) -> Self {
        Self { lookup, known: HashMap::new() }
    }

    /// The place of a directory; links on the way and at its end are followed.
    ///
    /// # Errors
    /// Those of the lookup.
    pub fn directory(&mut self, path: &Path) -> anyhow::Result<Place> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Place { at: PathBuf::new(), exists: true });
        };
        if let Some(place) = self.known.get(path) {
            return Ok(place.clone());
        }
        let parent = self.directory(parent)?;
        let at = parent.at.join(name);
        let below = if parent.exists { (self.lookup)(&at)? } else { Below::Nothing };
        let place = match below {
            Below::Nothing => Place { at, exists: false },
            Below::Directory(_) => Place { at, exists: true },
            Below::LinkTo(directory) => Place { at: directory, exists: true },
        };
        self.known.insert(path.to_owned(), place.clone());
        Ok(place)
    }

    /// The place of something that is no directory: links on the way are followed, one at its end is not.
    ///
    /// # Errors
    /// Those of the lookup.
    pub fn beside(&mut self, path: &Path) -> anyhow::Result<PathBuf> {
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok(self.directory(parent)?.at.join(path.file_name().unwrap_or(OsStr::new(""))))
    }

    /// The directories of the image above `places` that are not among them, with their looks: a layer that holds something in
    /// them must hold them too.
    ///
    /// # Errors
    /// Those of the lookup.
    pub fn above<'p>(&mut self, places: impl Iterator<Item = &'p Path>) -> anyhow::Result<Vec<(PathBuf, Looks)>> {
        let mut above: BTreeSet<&Path> = BTreeSet::new();
        let mut present: BTreeSet<&Path> = BTreeSet::new();
        for place in places {
            present.insert(place);
            for directory in place.ancestors().skip(1) {
                if !above.insert(directory) {
                    break;
                }
            }
        }
        let mut found = Vec::new();
        for directory in above.difference(&present).filter(|path| !path.as_os_str().is_empty()) {
            if let Below::Directory(looks) = (self.lookup)(directory)? {
                found.push((directory.to_path_buf(), looks));
            }
        }
        Ok(found)
    }

    /// Whether the image has a link to a directory at a path.
    ///
    /// # Errors
    /// Those of the lookup.
    pub fn is_link(&mut self, path: &Path) -> anyhow::Result<bool> {
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        let at = self.beside(path)?;
        Ok(parent.exists && matches!((self.lookup)(&at)?, Below::LinkTo(_)))
    }
}

/// The bytes that a path sorts by in a layer.
pub fn sort_key(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_owned()
}
