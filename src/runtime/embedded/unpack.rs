//! Entries of a layer -> a directory that an overlay can use as a layer.
//!
//! Nothing is written outside of the directory, whatever the entries say: the parent of each entry is opened by the kernel
//! beneath the root and without following any link, and the entry itself is made in that open directory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::marks::Marks;
use super::rootless;
use crate::error::{ErrorKind, Explain};
use crate::layer::{Entry, EntryKind, LayerSource};

/// A layer that cannot become a directory.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the layer writes `{path}` through `{parent}`, which is no directory in it")]
    ThroughLink { path: String, parent: String },
    #[error("the layer has a hard link `{path}` to `{target}`, which is no file that stands before it")]
    Hardlink { path: String, target: String },
    #[error("the layer removes its own root")]
    RemovesRoot,
    #[error("the layer sets the attribute `{name}` of `{path}`, which belongs to the host")]
    HostAttribute { path: String, name: String },
    #[error("cannot write `{path}` of a layer")]
    Write { path: String, source: io::Error },
}

impl Explain for UnpackError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Write { .. } => ErrorKind::Environment,
            _ => ErrorKind::User,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Write { source, .. } if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                vec!["a user id of the layer may lie outside of the ids this user has; see /etc/subuid".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// Writes all entries into `root`. Gives the bytes of all files.
pub fn unpack(source: &dyn LayerSource, root: &Path, marks: Marks) -> anyhow::Result<u64> {
    let mut unpacker = Unpacker::new(root, marks)?;
    for entry in source.entries()? {
        unpacker.write(&entry?)?;
    }
    unpacker.finish()
}

/// Writes entries one by one, in any order that has a file before its hard links.
pub struct Unpacker {
    root: OwnedFd,
    marks: Marks,
    /// This process has one id, and every file is its own.
    one_id: bool,
    /// The last parent directory; most entries have the one of the entry before.
    parent: (PathBuf, OwnedFd),
    /// Times of directories, to be set when nothing is written into them any more.
    directory_times: Vec<(PathBuf, i64)>,
    bytes: u64,
}

impl Unpacker {
    pub fn new(root: &Path, marks: Marks) -> anyhow::Result<Self> {
        let root = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let parent = (PathBuf::new(), root.try_clone()?);
        let one_id = rootless::has_one_id();
        Ok(Self { root, marks, one_id, parent, directory_times: Vec::new(), bytes: 0 })
    }

    pub fn write(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let Some(name) = entry.path.file_name() else { return self.write_root(entry) };
        let parent = self.open_parent(&entry.path)?;
        self.write_in(&parent, Path::new(name), entry)?;
        self.parent = (entry.path.parent().unwrap_or(Path::new("")).to_owned(), parent);
        Ok(())
    }

    /// Sets the times of directories. Gives the bytes of all files.
    pub fn finish(self) -> anyhow::Result<u64> {
        for (path, mtime) in self.directory_times.iter().rev() {
            match self.open_directory(path) {
                Ok(directory) => set_time(&directory, *mtime).map_err(|error| failed(path, error))?,
                // A later entry has replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(failed(path, error).into()),
            }
        }
        Ok(self.bytes)
    }

    fn write_root(&mut self, entry: &Entry) -> anyhow::Result<()> {
        match entry.kind {
            EntryKind::Directory => {}
            EntryKind::Opaque => self.marks.set_opaque(&self.root)?,
            _ => return Err(UnpackError::RemovesRoot.into()),
        }
        self.dress(&self.root, entry)?;
        self.directory_times.push((PathBuf::new(), entry.mtime));
        Ok(())
    }

    fn write_in(&mut self, parent: &OwnedFd, name: &Path, entry: &Entry) -> anyhow::Result<()> {
        let fail = |error: Errno| failed(&entry.path, error);
        if !matches!(entry.kind, EntryKind::Directory | EntryKind::Opaque) {
            self.clear_place(parent, name).map_err(fail)?;
        }
        match &entry.kind {
            EntryKind::Directory | EntryKind::Opaque => return self.write_directory(parent, name, entry),
            EntryKind::File { content, .. } => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
                let mut file = File::from(file);
                self.bytes += io::copy(&mut content.open()?, &mut file)
                    .map_err(|source| UnpackError::Write { path: shown(&entry.path), source })?;
                self.dress(&OwnedFd::from(file), entry)?;
                return Ok(());
            }
            EntryKind::Hardlink { target } => return self.link(parent, name, entry, target),
            EntryKind::Symlink { target } => rustix::fs::symlinkat(target, parent, name).map_err(fail)?,
            EntryKind::Fifo => make_node(parent, name, FileType::Fifo, (0, 0)).map_err(fail)?,
            // Nobody can make a device node in a user namespace, and none would work there: a container has its own `/dev`.
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } if self.marks == Marks::User => return Ok(()),
            EntryKind::CharDevice { major, minor } => {
                make_node(parent, name, FileType::CharacterDevice, (*major, *minor)).map_err(fail)?;
            }
            EntryKind::BlockDevice { major, minor } => {
                make_node(parent, name, FileType::BlockDevice, (*major, *minor)).map_err(fail)?;
            }
            EntryKind::Whiteout => return Ok(self.marks.make_whiteout(parent, name).map_err(fail)?),
        }
        self.dress_at(parent, name, entry)
    }

    fn write_directory(&mut self, parent: &OwnedFd, name: &Path, entry: &Entry) -> anyhow::Result<()> {
        let fail = |error: Errno| failed(&entry.path, error);
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_directory(&stat) => {}
            Ok(_) => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(fail)?;
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)).map_err(fail)?;
            }
            Err(_) => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)).map_err(fail)?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(fail)?;
        if matches!(entry.kind, EntryKind::Opaque) {
            self.marks.set_opaque(&directory).map_err(fail)?;
        }
        self.dress(&directory, entry)?;
        self.directory_times.push((entry.path.clone(), entry.mtime));
        Ok(())
    }

    fn link(&self, parent: &OwnedFd, name: &Path, entry: &Entry, target: &Path) -> anyhow::Result<()> {
        let bad = || UnpackError::Hardlink { path: shown(&entry.path), target: shown(target) };
        let target_name = target.file_name().ok_or_else(bad)?;
        let target_parent = self.open_directory(target.parent().unwrap_or(Path::new(""))).map_err(|_| bad())?;
        let stat = rustix::fs::statat(&target_parent, target_name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| bad())?;
        if is_directory(&stat) || self.marks.is_whiteout(&stat) {
            return Err(bad().into());
        }
        rustix::fs::linkat(&target_parent, target_name, parent, name, AtFlags::empty())
            .map_err(|error| failed(&entry.path, error))?;
        Ok(())
    }

    /// Removes what an earlier entry of the same path has made: the last one counts.
    fn clear_place(&self, parent: &OwnedFd, name: &Path) -> Result<(), Errno> {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
            Ok(stat) if is_directory(&stat) => remove_beneath(parent, name),
            Ok(_) => rustix::fs::unlinkat(parent, name, AtFlags::empty()),
        }
    }

    /// The parent directory of a path; what is missing of it is made as `0755 root`.
    fn open_parent(&mut self, path: &Path) -> anyhow::Result<OwnedFd> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.parent.0 == parent {
            return Ok(self.parent.1.try_clone()?);
        }
        let through = |at: &Path| UnpackError::ThroughLink { path: shown(path), parent: shown(at) };
        match self.open_directory(parent) {
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(through(parent).into()),
            result => return Ok(result.map_err(|error| failed(path, error))?),
        }
        let mut made = PathBuf::new();
        for component in parent.components() {
            let above = self.open_directory(&made).map_err(|_| through(&made))?;
            made.push(component);
            match rustix::fs::mkdirat(&above, Path::new(&component), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(path, error).into()),
            }
        }
        Ok(self.open_directory(parent).map_err(|_| through(parent))?)
    }

    fn open_directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }

    /// Owner, attributes, mode and time of an open file; the mode last, for a change of owner clears bits of it.
    fn dress(&self, file: &OwnedFd, entry: &Entry) -> Result<(), UnpackError> {
        let fail = |error: Errno| failed(&entry.path, error);
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        if !self.one_id {
            rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(fail)?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(fail)?;
        for (name, value) in &entry.xattrs {
            check_attribute(name, entry)?;
            rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty()).map_err(fail)?;
        }
        set_time(file, entry.mtime).map_err(fail)
    }

    /// The same for what cannot be opened; a symbolic link has no mode.
    fn dress_at(&self, parent: &OwnedFd, name: &Path, entry: &Entry) -> anyhow::Result<()> {
        let fail = |error: Errno| failed(&entry.path, error);
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        if !self.one_id {
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        }
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty()).map_err(fail)?;
        }
        for name in entry.xattrs.keys() {
            check_attribute(name, entry)?;
        }
        rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        Ok(())
    }
}

/// Removes a directory with all that is in it, without following a link.
fn remove_beneath(parent: &OwnedFd, name: &Path) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let child = Path::new(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()));
        if matches!(child.as_os_str().as_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::unlinkat(&directory, child, AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_beneath(&directory, child)?,
            result => result?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn make_node(parent: &OwnedFd, name: &Path, kind: FileType, (major, minor): (u32, u32)) -> Result<(), Errno> {
    rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), rustix::fs::makedev(major, minor))
}

/// `trusted.` and `user.overlay.` steer the overlay itself (hostile 10).
fn check_attribute(name: &str, entry: &Entry) -> Result<(), UnpackError> {
    if name.starts_with("trusted.") || name.starts_with("user.overlay.") {
        return Err(UnpackError::HostAttribute { path: shown(&entry.path), name: name.to_owned() });
    }
    Ok(())
}

fn set_time(file: impl AsFd, mtime: i64) -> Result<(), Errno> {
    rustix::fs::futimens(file, &times(mtime))
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: time }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn failed(path: &Path, error: Errno) -> UnpackError {
    UnpackError::Write { path: shown(path), source: error.into() }
}

/// A path from a layer as it may stand in a message.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Content;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        // Our own ids, so that the tests need no privilege.
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Entry { path: path.into(), kind, mode: 0o755, uid, gid, mtime: 1_600_000_000, xattrs: Default::default() }
    }

    fn file(path: &str, content: &'static str) -> Entry {
        let size = content.len() as u64;
        entry(path, EntryKind::File { size, content: Content::Bytes(content.as_bytes().into()) })
    }

    fn symlink(path: &str, target: &Path) -> Entry {
        entry(path, EntryKind::Symlink { target: target.to_owned() })
    }

    fn unpacked(entries: Vec<Entry>) -> (tempfile::TempDir, anyhow::Result<u64>) {
        let root = tempfile::tempdir().unwrap();
        let result = unpack(&entries, root.path(), Marks::User);
        (root, result)
    }

    /// hostile 7: also when the reader that refuses such layers is not in between.
    #[test]
    fn nothing_is_written_through_a_link() {
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        std::fs::write(&victim, "untouched").unwrap();
        let (_root, result) = unpacked(vec![symlink("link", outside.path()), file("link/new", "x")]);
        insta::assert_snapshot!(result.unwrap_err(), @"the layer writes `link/new` through `link`, which is no directory in it");
        let (root, result) = unpacked(vec![symlink("f", &victim), file("f", "x")]);
        assert_eq!(result.unwrap(), 1);
        assert_eq!(std::fs::read(root.path().join("f")).unwrap(), b"x", "the last entry counts");
        let (_root, result) = unpacked(vec![symlink("d", outside.path()), entry("d", EntryKind::Directory)]);
        result.unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    /// hostile 8
    #[test]
    fn a_hard_link_stays_in_the_layer() {
        let link = |target: &str| entry("b", EntryKind::Hardlink { target: target.into() });
        let (root, result) = unpacked(vec![file("a", "x"), link("a")]);
        result.unwrap();
        assert_eq!(std::fs::read(root.path().join("b")).unwrap(), b"x");
        for target in ["missing", "../a", "dir"] {
            let (_root, result) = unpacked(vec![entry("dir", EntryKind::Directory), link(target)]);
            let text = result.unwrap_err().to_string();
            assert_eq!(
                text,
                format!("the layer has a hard link `b` to `{target}`, which is no file that stands before it")
            );
        }
    }

    /// hostile 9, 10
    #[test]
    fn a_layer_neither_removes_its_root_nor_steers_the_overlay() {
        let (_root, result) = unpacked(vec![entry("", EntryKind::Whiteout)]);
        insta::assert_snapshot!(result.unwrap_err(), @"the layer removes its own root");
        let mut steering = file("x", "x");
        steering.xattrs.insert("trusted.overlay.redirect".to_owned(), b"/etc".to_vec());
        let (_root, result) = unpacked(vec![steering]);
        insta::assert_snapshot!(
            result.unwrap_err(),
            @"the layer sets the attribute `trusted.overlay.redirect` of `x`, which belongs to the host"
        );
    }

    #[test]
    fn modes_and_times_are_those_of_the_entries() {
        use std::os::unix::fs::MetadataExt as _;
        let mut suid = file("dir/suid", "x");
        suid.mode = 0o4755;
        let (root, result) = unpacked(vec![entry("dir", EntryKind::Directory), suid]);
        result.unwrap();
        let dir = std::fs::metadata(root.path().join("dir")).unwrap();
        assert_eq!(
            (dir.mode() & 0o7777, dir.mtime()),
            (0o755, 1_600_000_000),
            "also after something was written in it"
        );
        let suid = std::fs::metadata(root.path().join("dir/suid")).unwrap();
        assert_eq!((suid.mode() & 0o7777, suid.mtime()), (0o4755, 1_600_000_000));
    }
}
