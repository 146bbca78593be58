//! The files of a project's directory, and nothing outside of it (hostile-inputs 33).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::file_tree::FileTree;

/// No file that a template reads is larger.
const LARGEST: u64 = 64 << 20;

/// The regular files under a directory, read when they are asked for.
///
/// A symbolic link counts as the file it leads to as long as that lies in the directory; reading one that leads outside is
/// [`io::ErrorKind::PermissionDenied`]. Lists do not follow links to directories, and leave out `.git` and names that are not
/// UTF-8, which no template could spell.
pub fn project_tree(directory: &Path) -> FileTree<'static> {
    let (for_read, for_list) = (directory.to_owned(), directory.to_owned());
    FileTree::new(move |path| read(&for_read, path), move |path| list(&for_list, path))
}

fn read(directory: &Path, path: &str) -> io::Result<Option<Vec<u8>>> {
    let Some((_, real)) = resolve(directory, path)? else {
        return Ok(None);
    };
    if !fs::metadata(&real)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(&real)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("`{path}` is larger than {LARGEST} bytes")));
    }
    Ok(Some(bytes))
}

fn list(directory: &Path, path: &str) -> io::Result<Vec<String>> {
    let Some((root, start)) = resolve(directory, path)? else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    let mut directories = if start.is_dir() { vec![(path.trim_matches('/').to_owned(), start)] } else { Vec::new() };
    while let Some((name, directory)) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let Ok(entry_name) = entry.file_name().into_string() else { continue };
            let path = if name.is_empty() { entry_name } else { format!("{name}/{entry_name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && path != ".git" {
                directories.push((path, entry.path()));
            } else if kind.is_file() || kind.is_symlink() && leads_to_file_in(&root, &entry.path()) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The real paths of the directory and of something in it; `None` when there is nothing.
fn resolve(directory: &Path, path: &str) -> io::Result<Option<(PathBuf, PathBuf)>> {
    let root = directory.canonicalize()?;
    let real = match root.join(path).canonicalize() {
        Ok(real) => real,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if real.starts_with(&root) {
        Ok(Some((root, real)))
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("`{path}` leads out of the project's directory")))
    }
}

fn leads_to_file_in(root: &Path, link: &Path) -> bool {
    link.canonicalize().is_ok_and(|real| real.starts_with(root) && real.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn project() -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("project");
        for directory in ["a/b", ".git/objects", "links"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(outer.path().join("secret"), "secret").unwrap();
        for file in ["z", "a/x", "a/b/y", "a.txt", ".git/objects/o", ".hidden"] {
            fs::write(root.join(file), file).unwrap();
        }
        symlink("../a/x", root.join("links/inside")).unwrap();
        symlink("../a", root.join("links/directory")).unwrap();
        symlink("../../secret", root.join("links/outside")).unwrap();
        symlink("/etc/hostname", root.join("links/absolute")).unwrap();
        symlink("loop", root.join("links/loop")).unwrap();
        (outer, root)
    }

    #[test]
    fn files_are_listed_sorted_without_git_and_without_what_leads_outside() {
        let (_outer, root) = project();
        let tree = project_tree(&root);
        assert_eq!(tree.list("").unwrap(), [".hidden", "a.txt", "a/b/y", "a/x", "links/inside", "z"]);
        assert_eq!(tree.list("a").unwrap(), ["a/b/y", "a/x"]);
        assert_eq!(tree.list("a/b/").unwrap(), ["a/b/y"]);
        assert_eq!(tree.list("missing").unwrap(), [""; 0]);
        assert_eq!(tree.list("z").unwrap(), [""; 0]);
    }

    #[test]
    fn files_are_read_through_links_inside() {
        let (_outer, root) = project();
        let tree = project_tree(&root);
        assert_eq!(tree.read("links/inside").unwrap().unwrap(), b"a/x");
        assert_eq!(tree.read("links/directory/b/y").unwrap().unwrap(), b"a/b/y");
        for nothing in ["missing", "a", "z/x"] {
            assert_eq!(tree.read(nothing).unwrap(), None, "{nothing}");
        }
    }

    /// hostile-inputs 33.
    #[test]
    fn nothing_leads_out_of_the_project() {
        let (_outer, root) = project();
        let tree = project_tree(&root);
        for path in ["../secret", "a/../../secret", "/etc/passwd", "links/outside", "links/absolute"] {
            assert_eq!(tree.read(path).unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{path}");
        }
        assert_eq!(tree.list("..").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(tree.read("links/loop").is_err());
    }
}
