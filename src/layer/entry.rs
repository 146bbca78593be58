//! One entry of a layer, and where a layer's entries come from.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

/// A file, directory, link or removal in a layer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Relative to the root of the image: no leading `/`, no `.`, `..` or empty component. Unix bytes, UTF-8 or not.
    pub path: PathBuf,
    pub kind: EntryKind,
    /// Permission bits only (`0o7777`).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Extended attributes by full name (`security.capability`, `user.x`).
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Debug)]
pub enum EntryKind {
    /// A regular file of `size` bytes.
    File {
        size: u64,
        content: Content,
    },
    Directory,
    /// A symbolic link; the target is stored as is and never followed by us.
    Symlink {
        target: PathBuf,
    },
    /// A second name of a file that stands earlier in the same layer, as a path from the root of the image. Owner, mode and
    /// time of the entry are those of the file: who unpacks a layer applies them again.
    Hardlink {
        target: PathBuf,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    /// Removes this path of the layers below (`.wh.<name>` in a tar).
    Whiteout,
    /// This directory hides all that the layers below have in it (`.wh..wh..opq` in a tar).
    Opaque,
}

/// The bytes of a file entry, opened when they are needed and as often as they are needed.
#[derive(Clone)]
pub enum Content {
    Bytes(Bytes),
    /// A file on this host.
    File(PathBuf),
    /// Anything else: an object of a git repository, a file in another image.
    Open(Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>),
}

impl Content {
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            Self::File(path) => Ok(Box::new(std::fs::File::open(path)?)),
            Self::Open(open) => open(),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Open(_) => f.write_str("opened on demand"),
        }
    }
}

/// The entries of one layer in the order of their paths (bytewise, a directory before what is in it), each path once.
///
/// A source can be walked more than once and gives the same entries each time; nothing but the current entry is held in
/// memory. Missing parent directories are allowed: they come from the layers below or are made as `0755 root`.
pub trait LayerSource: Send + Sync {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>>;
}

impl LayerSource for Vec<Entry> {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        Ok(Box::new(self.iter().cloned().map(Ok)))
    }
}

/// Mends entries that were sorted by the bytes of their paths: that may bring a hard link before its file; then the link becomes
/// the file, and the file a link to it.
pub fn put_files_before_links(entries: &mut BTreeMap<Vec<u8>, Entry>) {
    let mut first_names: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for entry in entries.values() {
        if let EntryKind::Hardlink { target } = &entry.kind {
            let first = first_names.entry(target.clone()).or_insert_with(|| target.clone());
            if entry.path.as_os_str().as_bytes() < first.as_os_str().as_bytes() {
                *first = entry.path.clone();
            }
        }
    }
    let kind_of = |file: &PathBuf| Some((file.clone(), entries.get(file.as_os_str().as_bytes())?.kind.clone()));
    let kinds: BTreeMap<PathBuf, EntryKind> = first_names.keys().filter_map(kind_of).collect();
    for entry in entries.values_mut() {
        let file = match &entry.kind {
            EntryKind::Hardlink { target } => target.clone(),
            _ => entry.path.clone(),
        };
        if let (Some(first), Some(kind)) = (first_names.get(&file), kinds.get(&file)) {
            let is_first = *first == entry.path;
            entry.kind = if is_first { kind.clone() } else { EntryKind::Hardlink { target: first.clone() } };
        }
    }
}
