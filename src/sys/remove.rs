//! Removal of directory trees whose content is foreign.
//!
//! Every step goes from an open directory to one name in it and never through a link, so nothing outside is touched
//! whatever the tree holds; it stays on one filesystem and needs no memory or descriptors that grow with depth.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Deeper directories are first moved up to the top of what is removed.
const DEEPEST: usize = 40;

/// Removes whatever stands at `path` below `root`. No part of `path` may be a link; a link at its end is removed
/// itself. What is not there is no error. `root` is ours and may be reached through links.
pub fn remove_beneath(root: &Path, path: &Path) -> io::Result<()> {
    let mut directory = match rustix::fs::openat(CWD, root, OPEN_ROOT, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let mut names = path.components().peekable();
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path must be relative and without `..`"));
        };
        let name = c_string(name)?;
        if names.peek().is_none() {
            return remove_entry(&directory, &name);
        }
        directory = match open(&directory, &name) {
            Err(Errno::NOENT) => return Ok(()),
            opened => opened?,
        };
    }
    Ok(())
}

const OPEN_ROOT: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);
const OPEN: OFlags = OPEN_ROOT.union(OFlags::NOFOLLOW);

fn remove_entry(parent: &OwnedFd, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // A directory; some filesystems say EPERM for it.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let tree = Tree { device: rustix::fs::fstat(parent)?.st_dev, top: open_forced(parent, name)?, moved: 0.into() };
    if rustix::fs::fstat(&tree.top)?.st_dev != tree.device {
        return Err(io::Error::new(io::ErrorKind::CrossesDevices, "another filesystem is mounted there"));
    }
    // What was moved up may itself be deep: empty the top until nothing is left in it.
    while tree.empty(&tree.top, 0)? {}
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

struct Tree {
    device: u64,
    top: OwnedFd,
    moved: std::cell::Cell<u64>,
}

impl Tree {
    /// Removes everything in `directory`; says whether something deep was moved up to the top meanwhile.
    fn empty(&self, directory: &OwnedFd, depth: usize) -> io::Result<bool> {
        let before = self.moved.get();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_directory = match entry.file_type() {
                FileType::Directory => true,
                FileType::Unknown => {
                    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                }
                _ => false,
            };
            if !is_directory {
                gone(rustix::fs::unlinkat(directory, name, AtFlags::empty()))?;
            } else if depth < DEEPEST {
                self.remove_directory(directory, name, depth)?;
            } else {
                self.move_up(directory, name)?;
            }
        }
        Ok(self.moved.get() != before)
    }

    fn remove_directory(&self, parent: &OwnedFd, name: &CStr, depth: usize) -> io::Result<()> {
        let directory = open_forced(parent, name)?;
        if rustix::fs::fstat(&directory)?.st_dev != self.device {
            let message = format!("another filesystem is mounted at `{}`", name.to_string_lossy());
            return Err(io::Error::new(io::ErrorKind::CrossesDevices, message));
        }
        self.empty(&directory, depth + 1)?;
        Ok(gone(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR))?)
    }

    fn move_up(&self, parent: &OwnedFd, name: &CStr) -> io::Result<()> {
        loop {
            self.moved.set(self.moved.get() + 1);
            let fresh = format!(".removed-{}", self.moved.get());
            match rustix::fs::renameat(parent, name, &self.top, fresh.as_str()) {
                // Something of that name is there already: the tree's own, or an earlier attempt's.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                renamed => return Ok(renamed?),
            }
        }
    }
}

fn open(parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, OPEN, Mode::empty())
}

/// Opens a directory even if its owner took the right away from himself.
fn open_forced(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let writable = |directory: OwnedFd| match rustix::fs::fchmod(&directory, Mode::RWXU) {
        // Somebody else's: what we may do in it is seen when we try.
        Ok(()) | Err(Errno::PERM) => Ok(directory),
        Err(error) => Err(error),
    };
    match open(parent, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            Ok(open(parent, name)?)
        }
        Ok(directory) => Ok(writable(directory)?),
        Err(error) => Err(error.into()),
    }
}

fn gone(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::NOENT) { Ok(()) } else { result }
}

fn c_string(name: &OsStr) -> io::Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_removed_and_never_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("outside/kept")).unwrap();
        fs::create_dir_all(root.join("builds/a/b/empty")).unwrap();
        symlink(root.join("outside"), root.join("builds/a/b/link")).unwrap();
        symlink(root.join("outside"), root.join("builds/link")).unwrap();
        remove_beneath(&root.join("builds"), Path::new("a/b")).unwrap();
        assert!(
            root.join("outside/kept").is_dir() && root.join("builds/a").is_dir() && !root.join("builds/a/b").exists()
        );
        assert!(remove_beneath(&root.join("builds"), Path::new("link/kept")).is_err());
        assert!(remove_beneath(&root.join("builds"), Path::new("../outside")).is_err());
        remove_beneath(&root.join("builds"), Path::new("link")).unwrap();
        assert!(root.join("outside/kept").is_dir() && !root.join("builds/link").exists());
        remove_beneath(&root.join("builds"), Path::new("missing/too")).unwrap();
        remove_beneath(&root.join("missing"), Path::new("x")).unwrap();
    }

    #[test]
    fn depth_and_missing_rights_do_not_matter() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let mut place: OwnedFd = fs::File::open(directory.path()).unwrap().into();
        for name in std::iter::repeat_n("deep", 3000) {
            rustix::fs::mkdirat(&place, name, Mode::RWXU).unwrap();
            place = rustix::fs::openat(&place, name, OPEN, Mode::empty()).unwrap();
        }
        let closed = directory.path().join("deep/closed");
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("file"), "").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        remove_beneath(directory.path(), Path::new("deep")).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
