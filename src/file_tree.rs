//! Files by path, wherever they come from: a work tree, a commit, a test.
//!
//! Rules (`config`, `chart`) read through a [`FileTree`] and never learn the source. Paths are relative to the root of the
//! tree, `/`-separated, without `.` or `..`; the door that makes a tree confines it to its root.

use std::collections::BTreeMap;
use std::io;

type Read<'a> = Box<dyn Fn(&str) -> io::Result<Option<Vec<u8>>> + 'a>;
type List<'a> = Box<dyn Fn(&str) -> io::Result<Vec<String>> + 'a>;

/// A tree of files, read on demand.
pub struct FileTree<'a> {
    read: Read<'a>,
    list: List<'a>,
}

impl<'a> FileTree<'a> {
    /// A tree over two functions: `read` gives the bytes of a regular file (`None` when there is none at that path),
    /// `list` gives the paths of all regular files under a directory (`""` for the root), sorted bytewise.
    pub fn new(
        read: impl Fn(&str) -> io::Result<Option<Vec<u8>>> + 'a,
        list: impl Fn(&str) -> io::Result<Vec<String>> + 'a,
    ) -> Self {
        Self { read: Box::new(read), list: Box::new(list) }
    }

    /// The bytes of a regular file, `None` when there is none.
    pub fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        (self.read)(path)
    }

    /// Every regular file under `directory` (`""` for all), as paths from the root, sorted bytewise.
    pub fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        (self.list)(directory)
    }
}

impl FileTree<'static> {
    /// A tree held in memory.
    pub fn from_files<P: Into<String>, B: Into<Vec<u8>>>(files: impl IntoIterator<Item = (P, B)>) -> Self {
        let files: BTreeMap<String, Vec<u8>> =
            files.into_iter().map(|(path, bytes)| (path.into(), bytes.into())).collect();
        let paths: Vec<String> = files.keys().cloned().collect();
        Self::new(
            move |path| Ok(files.get(path).cloned()),
            move |directory| {
                let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
                Ok(paths.iter().filter(|path| path.starts_with(&prefix)).cloned().collect())
            },
        )
    }
}
