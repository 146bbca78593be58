//! Files of another image as a layer: what rsync did in 1.1, without a container (spec/build.md 2.12, rules 3 to 5).

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Import;
use crate::layer::{Entry, EntryKind, LayerSource};
use crate::stage::mapping::{PathFilter, PathRules};

/// The entries of a tree, moved from `add` to `to`, filtered, and given to an owner when one is set.
pub struct Imported {
    source: Arc<dyn LayerSource>,
    /// Without the leading slash.
    add: PathBuf,
    to: PathBuf,
    rules: PathRules,
    owner: Option<(u32, u32)>,
}

impl Imported {
    /// `source` holds the entries at and under `root`, with paths from the root of the image. `root` is where `import.add`
    /// leads after symbolic links.
    pub fn new(source: Arc<dyn LayerSource>, root: PathBuf, import: &Import, owner: Option<(u32, u32)>) -> Self {
        let rules = PathFilter {
            base: String::new(),
            include: import.include_paths.clone(),
            exclude: import.exclude_paths.clone(),
        }
        .rules();
        Self { source, add: root, to: PathBuf::from(import.to.trim_start_matches('/')), rules, owner }
    }

    /// Whether any file comes with it; an import of nothing is worth a warning.
    pub fn is_empty(&self) -> anyhow::Result<bool> {
        let mut entries = self.entries()?;
        Ok(!entries.try_fold(false, |found, entry| {
            Ok::<_, anyhow::Error>(found || !matches!(entry?.kind, EntryKind::Directory))
        })?)
    }

    fn moved(&self, mut entry: Entry) -> Option<Entry> {
        let below = entry.path.strip_prefix(&self.add).ok()?.to_owned();
        let whole = below.as_os_str().is_empty();
        // Directories on the way to a wanted file are made when they are missing; only selected ones keep their looks.
        if !whole && !self.rules.selects(below.as_os_str().as_bytes()) {
            return None;
        }
        if whole && matches!(entry.kind, EntryKind::Directory) && self.to.as_os_str().is_empty() {
            return None;
        }
        if let EntryKind::Hardlink { target } = &mut entry.kind {
            *target = self.place(target.strip_prefix(&self.add).ok()?);
        }
        entry.path = self.place(&below);
        if let Some((uid, gid)) = self.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        Some(entry)
    }

    fn place(&self, below: &Path) -> PathBuf {
        if below.as_os_str().is_empty() { self.to.clone() } else { self.to.join(below) }
    }
}

impl LayerSource for Imported {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        let moved = self.source.entries()?.filter_map(|entry| match entry {
            Ok(entry) => self.moved(entry).map(Ok),
            Err(error) => Some(Err(error)),
        });
        Ok(Box::new(moved))
    }
}
