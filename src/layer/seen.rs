//! Which entries may stand together in one layer, so that everybody who unpacks it gets the same files.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::EntryKind;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    /// Anything that can have a second name.
    Leaf,
    Whiteout,
    /// Only the marker so far; the directory itself may follow.
    Opaque,
}

/// The paths of a layer so far.
#[derive(Default)]
pub(super) struct Seen(BTreeMap<Vec<u8>, Kind>);

impl Seen {
    /// Takes the next entry in. Fails with the reason why it may not stand beside the earlier ones:
    /// it would be written through a link, or replace, remove or hide what the same layer brings.
    pub(super) fn add(&mut self, path: &[u8], kind: &EntryKind) -> Result<(), &'static str> {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            match path.get(..at).and_then(|above| self.0.get(above)) {
                Some(Kind::Leaf) => return Err("lies below something that is not a directory in the same layer"),
                Some(Kind::Whiteout) => return Err("lies below something that the same layer removes"),
                Some(Kind::Directory | Kind::Opaque) | None => {}
            }
        }
        let new = match kind {
            EntryKind::Directory => Kind::Directory,
            EntryKind::Opaque => Kind::Opaque,
            EntryKind::Whiteout => Kind::Whiteout,
            EntryKind::Hardlink { target } => {
                self.check_target(target)?;
                Kind::Leaf
            }
            _ => Kind::Leaf,
        };
        match (self.0.get(path), new) {
            // Some tools list a directory again for each file in it; the last one counts.
            (Some(Kind::Directory | Kind::Opaque), Kind::Directory | Kind::Opaque) | (None, _) => {}
            (Some(Kind::Whiteout), _) | (_, Kind::Whiteout) => {
                return Err("is both there and removed in the same layer");
            }
            _ => return Err("is there twice in the same layer"),
        }
        if matches!(new, Kind::Leaf | Kind::Whiteout) && self.has_below(path) {
            return Err("is not a directory, but the same layer has files below it");
        }
        self.0.insert(path.to_vec(), new);
        Ok(())
    }

    fn check_target(&self, target: &std::path::Path) -> Result<(), &'static str> {
        use std::os::unix::ffi::OsStrExt as _;
        match self.0.get(target.as_os_str().as_bytes()) {
            Some(Kind::Leaf) => Ok(()),
            Some(_) => Err("is a hard link to something that is not a file"),
            None => Err("is a hard link to something that is not earlier in the same layer"),
        }
    }

    fn has_below(&self, path: &[u8]) -> bool {
        let prefix = [path, b"/"].concat();
        self.0
            .range((Bound::Included(prefix.clone()), Bound::Unbounded))
            .next()
            .is_some_and(|(below, _)| below.starts_with(&prefix))
    }
}
