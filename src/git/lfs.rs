//! Git LFS: what a commit holds instead of a large file, and where its content is. No filter program is ever run.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::error::Error;
use super::tree::{Leaf, Origin, shown};
use crate::ids::hex;
use crate::layer::Content;
use crate::stage::mapping::PathFilter;

/// A pointer file: `version …`, then sorted lines, `oid sha256:…` and `size …` among them.
pub(super) struct Pointer {
    oid: String,
    size: u64,
}

impl Pointer {
    /// `None` when the bytes are no pointer.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() >= 1024 {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let lines = text.strip_prefix("version https://git-lfs.github.com/spec/v1\n")?.lines();
        let (mut oid, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ')? {
                ("oid", value) => oid = value.strip_prefix("sha256:"),
                ("size", value) => size = value.parse().ok(),
                _ => {}
            }
        }
        let oid =
            oid.filter(|oid| oid.len() == 64 && oid.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))?;
        Some(Self { oid: oid.to_owned(), size: size? })
    }

    /// The content from the repository's own LFS store, checked against the pointer while it is read.
    pub(super) fn content(&self, leaf: &Leaf, path: &[u8]) -> Result<(u64, Content), Error> {
        let store = leaf.origin.objects.common_dir()?.join("lfs/objects");
        let (first, rest) = self.oid.split_at(2);
        let second = rest.get(..2).unwrap_or_default();
        let file = store.join(first).join(second).join(&self.oid);
        let present = file.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == self.size);
        if !present {
            return Err(Error::LfsMissing {
                path: shown(leaf.origin.path(path)),
                object: self.oid.clone(),
                repo: leaf.origin.objects.name.clone(),
            });
        }
        let oid = self.oid.clone();
        let open = move || Ok(Box::new(Verified::open(file.clone(), oid.clone())?) as Box<dyn Read + Send>);
        Ok((self.size, Content::Open(Arc::new(open))))
    }
}

/// A file whose last byte is only followed by its end when its SHA-256 is the expected one.
struct Verified {
    file: std::fs::File,
    path: PathBuf,
    expected: String,
    hash: Sha256,
}

impl Verified {
    fn open(path: PathBuf, expected: String) -> io::Result<Self> {
        Ok(Self { file: std::fs::File::open(&path)?, path, expected, hash: Sha256::new() })
    }
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        if read == 0 && !buffer.is_empty() && hex(&self.hash.clone().finalize()) != self.expected {
            let message = format!("git LFS object `{}` is damaged", self.path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(read)
    }
}

/// Whether `.gitattributes` of the commit say `filter=lfs` of a path of a walk. A pointer elsewhere is a text like any other.
///
/// The files from the root down to the file's directory count, the last line that matches wins (gitattributes(5)).
pub(super) fn is_tracked(origin: &Origin, path: &[u8]) -> Result<bool, Error> {
    let path = origin.path(path);
    let handle = origin.objects.handle()?;
    let mut tree = handle.find_tree(origin.root).map_err(|error| origin.objects.object_error(origin.root, &error))?;
    let mut rest = path;
    let mut tracked = false;
    loop {
        if let Some(entry) = tree.get_name(".gitattributes") {
            let text = origin.objects.blob(entry.id())?;
            for line in String::from_utf8_lossy(&text).lines() {
                tracked = says_lfs(line, rest).unwrap_or(tracked);
            }
        }
        let Some(slash) = rest.iter().position(|byte| *byte == b'/') else { return Ok(tracked) };
        let (name, below) = rest.split_at(slash);
        let Some(id) = tree.iter().find(|entry| entry.name_bytes() == name).map(|entry| entry.id()) else {
            return Ok(tracked);
        };
        tree = handle.find_tree(id).map_err(|error| origin.objects.object_error(id, &error))?;
        rest = below.get(1..).unwrap_or_default();
    }
}

/// What one line of `.gitattributes` says of a path relative to it; `None` when it says nothing.
fn says_lfs(line: &str, path: &[u8]) -> Option<bool> {
    let (pattern, attributes) = pattern_and_attributes(line.trim())?;
    let filter = attributes.split_whitespace().rev().find_map(|attribute| match attribute {
        "-filter" | "!filter" => Some(false),
        _ => Some(attribute.strip_prefix("filter=")? == "lfs"),
    })?;
    matches_attribute(&pattern, path).then_some(filter)
}

fn pattern_and_attributes(line: &str) -> Option<(String, &str)> {
    if line.is_empty() || line.starts_with('#') || line.starts_with("[attr]") {
        return None;
    }
    if let Some(quoted) = line.strip_prefix('"') {
        let end = quoted.find('"')?;
        return Some((quoted.get(..end)?.to_owned(), quoted.get(end + 1..)?));
    }
    line.split_once([' ', '\t']).map(|(pattern, attributes)| (pattern.to_owned(), attributes))
}

/// A pattern without a slash is held against the name alone, one with a slash against the whole path.
fn matches_attribute(pattern: &str, path: &[u8]) -> bool {
    let include = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
    // Our patterns also match what lies below; with `/` patterns of attributes do not, which `/**` alone makes differ.
    PathFilter { include: vec![include], ..PathFilter::default() }.rules().selects(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_from_texts() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");
        let pointer = Pointer::parse(text.as_bytes()).unwrap();
        assert_eq!((pointer.oid.as_str(), pointer.size), (oid, 12345));
        assert!(Pointer::parse(text.replace(oid, "../../../etc/passwd").as_bytes()).is_none());
        assert!(Pointer::parse(text.replace("size 12345\n", "").as_bytes()).is_none());
        assert!(Pointer::parse(b"version https://git-lfs.github.com/spec/v1\n").is_none());
        assert!(Pointer::parse(b"hello").is_none());
    }

    #[test]
    fn attribute_lines_say_what_lfs_keeps() {
        let line = "*.bin filter=lfs diff=lfs merge=lfs -text";
        assert_eq!(says_lfs(line, b"a.bin"), Some(true));
        assert_eq!(says_lfs(line, b"deep/a.bin"), Some(true));
        assert_eq!(says_lfs(line, b"a.txt"), None);
        assert_eq!(says_lfs("/data/*.bin filter=lfs", b"data/a.bin"), Some(true));
        assert_eq!(says_lfs("/data/*.bin filter=lfs", b"x/data/a.bin"), None);
        assert_eq!(says_lfs("data/** filter=lfs", b"data/x/a.bin"), Some(true));
        assert_eq!(says_lfs("*.bin -filter", b"a.bin"), Some(false));
        assert_eq!(says_lfs("\"a b.bin\" filter=lfs", b"a b.bin"), Some(true));
        assert_eq!(says_lfs("# *.bin filter=lfs", b"a.bin"), None);
        assert_eq!(says_lfs("*.bin text", b"a.bin"), None);
    }
}
