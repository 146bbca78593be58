//! Several mappings as one layer.

use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::Error;
use super::tree::shown;
use crate::layer::{Entry, EntryKind, LayerSource};

/// The entries of all sources in the order of their paths, each path once: where several have it, the later source wins, but a
/// whiteout never wins over an entry. Walking fails where one source has a file at a path under which another has entries.
pub fn merge(sources: Vec<Arc<dyn LayerSource>>) -> impl LayerSource {
    Merged { sources }
}

struct Merged {
    sources: Vec<Arc<dyn LayerSource>>,
}

type Entries<'a> = Peekable<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + 'a>>;

struct MergedEntries<'a> {
    sources: Vec<Entries<'a>>,
    /// Paths that are no directories and could still be the parent of what comes: `a` until `a/…` is past, for `a-b` comes first.
    leaves: Vec<PathBuf>,
    failed: bool,
}

impl LayerSource for Merged {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        let sources = self.sources.iter().map(|source| Ok(source.entries()?.peekable()));
        let sources = sources.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Box::new(MergedEntries { sources, leaves: Vec::new(), failed: false }))
    }
}

impl MergedEntries<'_> {
    fn advance(&mut self) -> anyhow::Result<Option<Entry>> {
        let Some(path) = self.next_path() else { return Ok(None) };
        let mut chosen: Option<Entry> = None;
        for source in &mut self.sources {
            let here = |entry: &anyhow::Result<Entry>| entry.as_ref().map_or(true, |entry| entry.path == path);
            let Some(entry) = source.next_if(here) else { continue };
            let entry = entry?;
            if chosen.is_none() || !matches!(entry.kind, EntryKind::Whiteout) {
                chosen = Some(entry);
            }
        }
        if let Some(entry) = &chosen {
            self.refuse_below_leaf(entry)?;
        }
        Ok(chosen)
    }

    fn next_path(&mut self) -> Option<PathBuf> {
        let mut first: Option<PathBuf> = None;
        for source in &mut self.sources {
            match source.peek() {
                // Any path will do: the error is what the caller gets next.
                Some(Err(_)) => return Some(PathBuf::new()),
                Some(Ok(entry)) if first.as_ref().is_none_or(|first| is_before(&entry.path, first)) => {
                    first = Some(entry.path.clone());
                }
                _ => {}
            }
        }
        first
    }

    fn refuse_below_leaf(&mut self, entry: &Entry) -> Result<(), Error> {
        let path = entry.path.as_os_str().as_bytes();
        self.leaves.retain(|leaf| {
            let rest = path.strip_prefix(leaf.as_os_str().as_bytes());
            rest.and_then(<[u8]>::first).is_some_and(|next| *next <= b'/')
        });
        if let Some(leaf) = self.leaves.iter().find(|leaf| entry.path.starts_with(leaf)) {
            return Err(Error::MappingConflict { path: shown(leaf.as_os_str().as_bytes()) });
        }
        if !matches!(entry.kind, EntryKind::Directory | EntryKind::Opaque) {
            self.leaves.push(entry.path.clone());
        }
        Ok(())
    }
}

impl Iterator for MergedEntries<'_> {
    type Item = anyhow::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.advance().transpose();
        self.failed = matches!(entry, Some(Err(_)));
        entry
    }
}

/// The order of a layer: bytes, not components as `Path` compares.
fn is_before(a: &std::path::Path, b: &std::path::Path) -> bool {
    a.as_os_str().as_bytes() < b.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
        Entry { path: path.into(), kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: Default::default() }
    }

    fn file(path: &str, mode: u32) -> Entry {
        entry(path, EntryKind::Symlink { target: "x".into() }, mode)
    }

    fn merged(sources: Vec<Vec<Entry>>) -> anyhow::Result<Vec<String>> {
        let sources = sources.into_iter().map(|entries| Arc::new(entries) as Arc<dyn LayerSource>).collect();
        let merged = merge(sources);
        let entries: anyhow::Result<Vec<Entry>> = merged.entries()?.collect();
        Ok(entries?.iter().map(|entry| format!("{} {}", entry.path.display(), entry.mode)).collect())
    }

    #[test]
    fn paths_come_sorted_and_once_and_the_later_source_wins() {
        let directory = |path| entry(path, EntryKind::Directory, 0);
        let one = vec![directory("a"), file("a-b", 1), file("a/x", 1), file("b", 1)];
        let two = vec![directory("a"), file("a/w", 2), file("a/x", 2), entry("b", EntryKind::Whiteout, 2)];
        assert_eq!(merged(vec![one, two]).unwrap(), ["a 0", "a-b 1", "a/w 2", "a/x 2", "b 1"]);
        assert!(merged(vec![]).unwrap().is_empty());
    }

    #[test]
    fn a_file_of_one_mapping_is_no_directory_of_another() {
        let error = merged(vec![vec![file("a", 1), file("a-b", 1)], vec![file("a/x", 2)]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`/a` in the image has two sources that disagree: one makes it a file or removes it, and another puts files into it"
        );
    }
}
