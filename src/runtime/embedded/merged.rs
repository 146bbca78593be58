//! The files of an image as a container would see them, read from the directories of its layers without mounting anything.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::marks::{self, Marks};
use crate::layer::{Content, Entry, EntryKind, LayerSource};

/// Layers over each other.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Top first.
    layers: Vec<PathBuf>,
    marks: Marks,
}

/// Something that a container would see.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is on this host; for a directory the topmost.
    pub real: PathBuf,
    pub stat: Stat,
    /// All directories that make up this one, top first; empty for what is no directory.
    directories: Vec<PathBuf>,
}

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

impl Merged {
    /// `layers` are directories on this host, top first.
    pub fn new(layers: Vec<PathBuf>, marks: Marks) -> Self {
        Self { layers, marks }
    }

    /// What is at a path, with all links followed within the image.
    pub fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        Ok(self.resolve(path)?.1)
    }

    /// The path with all links followed within the image, from its root and without a leading `/`, and what is there. Where
    /// a component is missing, the rest of the path is taken as it is.
    pub fn resolve(&self, path: &Path) -> io::Result<(PathBuf, Option<Found>)> {
        let mut trail = vec![self.root()?];
        let mut reached = PathBuf::new();
        let mut rest: Vec<OsString> = components(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                reached.pop();
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let found = match trail.last() {
                Some(directory) => self.look_up(&directory.directories, &name)?,
                None => None,
            };
            let Some(found) = found else {
                reached.push(name);
                reached.extend(rest.iter().rev());
                return Ok((reached, None));
            };
            if FileType::from_raw_mode(found.stat.st_mode) == FileType::Symlink {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other(format!("too many links at `{}` in the image", path.display())));
                }
                let target = std::fs::read_link(&found.real)?;
                if target.is_absolute() {
                    trail.truncate(1);
                    reached = PathBuf::new();
                }
                rest.extend(components(&target));
                continue;
            }
            reached.push(name);
            trail.push(found);
        }
        Ok((reached, trail.pop()))
    }

    /// The content of a regular file, as far as `limit` bytes; `None` when there is no such file.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        use std::io::Read as _;
        let Some(found) = self.find(path)?.filter(|found| found.kind() == FileType::RegularFile) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        std::fs::File::open(found.real)?.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// All entries at and under what was found, under the name `path`; the root itself is left out.
    pub fn entries_under(&self, path: &Path, found: Found) -> Entries {
        let mut steps = Vec::new();
        if found.kind() == FileType::Directory {
            steps.push(Step::Descend(path.to_owned(), found.clone()));
        }
        if !path.as_os_str().is_empty() {
            steps.push(Step::Emit(path.to_owned(), found));
        }
        Entries { marks: self.marks, hidden: Hidden::Applied, steps, links: HashMap::new() }
    }

    pub fn root(&self) -> io::Result<Found> {
        let top = self.layers.first().ok_or_else(|| io::Error::other("an image without layers has no files"))?;
        let stat = marks::stat(top)?.ok_or(io::ErrorKind::NotFound)?;
        let mut directories = Vec::new();
        for layer in &self.layers {
            directories.push(layer.clone());
            if self.marks.is_opaque(layer) {
                break;
            }
        }
        Ok(Found { real: top.clone(), stat, directories })
    }

    fn look_up(&self, directories: &[PathBuf], name: &OsStr) -> io::Result<Option<Found>> {
        look_up(directories, name, self.marks, Hidden::Applied)
    }
}

/// What the layers of `directories` have under a name.
fn look_up(directories: &[PathBuf], name: &OsStr, marks: Marks, hidden: Hidden) -> io::Result<Option<Found>> {
    let mut found: Option<Found> = None;
    for directory in directories {
        let real = directory.join(name);
        let Some(stat) = marks::stat(&real)? else { continue };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_directory {
            if hidden == Hidden::Applied && marks.is_whiteout(&stat) {
                break;
            }
            return Ok(found.or(Some(Found { real, stat, directories: Vec::new() })));
        }
        let opaque = marks.is_opaque(&real);
        found.get_or_insert_with(|| Found { real: real.clone(), stat, directories: Vec::new() }).directories.push(real);
        if opaque {
            break;
        }
    }
    Ok(found)
}

impl Found {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Components in reverse, for a stack.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Whether marks of removal are obeyed, or become entries of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hidden {
    Applied,
    Shown,
}

/// One layer's directory as the source of that layer.
pub struct TreeSource {
    root: PathBuf,
    marks: Marks,
}

impl TreeSource {
    pub fn new(root: PathBuf, marks: Marks) -> Self {
        Self { root, marks }
    }
}

impl LayerSource for TreeSource {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        let found = Merged::new(vec![self.root.clone()], self.marks).root()?;
        let steps = vec![Step::Descend(PathBuf::new(), found)];
        Ok(Box::new(Entries { marks: self.marks, hidden: Hidden::Shown, steps, links: HashMap::new() }))
    }
}

/// A part of an image as a source.
pub struct MergedSource {
    pub merged: Merged,
    /// The name it goes by, without a leading `/`.
    pub path: PathBuf,
    pub found: Found,
}

impl LayerSource for MergedSource {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        Ok(Box::new(self.merged.entries_under(&self.path, self.found.clone())))
    }
}

/// Entries in the order of their paths, bytewise.
pub struct Entries {
    marks: Marks,
    hidden: Hidden,
    steps: Vec<Step>,
    /// Paths of files with several names, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

/// A directory is named where its name sorts, and entered where its name with a `/` sorts: `a`, `a-b`, `a/b`.
enum Step {
    Emit(PathBuf, Found),
    Descend(PathBuf, Found),
}

impl Iterator for Entries {
    type Item = anyhow::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Descend(path, found) => {
                    if let Err(error) = self.descend(&path, &found) {
                        return Some(Err(failed(&path, error)));
                    }
                }
                Step::Emit(path, found) => match self.entry(&path, &found) {
                    Ok(Some(entry)) => return Some(Ok(entry)),
                    Ok(None) => {}
                    Err(error) => return Some(Err(failed(&path, error))),
                },
            }
        }
        None
    }
}

fn failed(path: &Path, error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot read `{}` of a layer", path.display()))
}

impl Entries {
    fn descend(&mut self, path: &Path, directory: &Found) -> io::Result<()> {
        let mut names: BTreeSet<OsString> = BTreeSet::new();
        for real in &directory.directories {
            for entry in std::fs::read_dir(real)? {
                names.insert(entry?.file_name());
            }
        }
        let mut steps: Vec<(Vec<u8>, Step)> = Vec::with_capacity(names.len());
        for name in names {
            let Some(found) = look_up(&directory.directories, &name, self.marks, self.hidden)? else { continue };
            let child = path.join(&name);
            let mut key = name.into_vec();
            if found.kind() == FileType::Directory {
                let entered = [key.as_slice(), b"/"].concat();
                steps.push((entered, Step::Descend(child.clone(), found.clone())));
            }
            steps.push((std::mem::take(&mut key), Step::Emit(child, found)));
        }
        steps.sort_by(|a, b| b.0.cmp(&a.0));
        self.steps.extend(steps.into_iter().map(|(_, step)| step));
        Ok(())
    }

    /// `None` for a socket, which no layer can hold.
    fn entry(&mut self, path: &Path, found: &Found) -> io::Result<Option<Entry>> {
        let Found { real, stat, .. } = found;
        let Some(kind) = self.kind(path, real, stat)? else { return Ok(None) };
        Ok(Some(Entry {
            path: path.to_owned(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            xattrs: match kind {
                EntryKind::Whiteout | EntryKind::Hardlink { .. } => Default::default(),
                _ => attributes(real)?,
            },
            kind,
        }))
    }

    fn kind(&mut self, path: &Path, real: &Path, stat: &Stat) -> io::Result<Option<EntryKind>> {
        let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if stat.st_nlink > 1 && !matches!(file_type, FileType::Directory) && !self.marks.is_whiteout(stat) {
            if let Some(target) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return Ok(Some(EntryKind::Hardlink { target: target.clone() }));
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        Ok(Some(match file_type {
            FileType::RegularFile => EntryKind::File {
                size: u64::try_from(stat.st_size).unwrap_or_default(),
                content: Content::File(real.to_owned()),
            },
            FileType::Directory if self.hidden == Hidden::Shown && self.marks.is_opaque(real) => EntryKind::Opaque,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink { target: std::fs::read_link(real)? },
            FileType::CharacterDevice if self.marks.is_whiteout(stat) => EntryKind::Whiteout,
            FileType::CharacterDevice => EntryKind::CharDevice { major: device.0, minor: device.1 },
            FileType::BlockDevice => EntryKind::BlockDevice { major: device.0, minor: device.1 },
            FileType::Fifo => EntryKind::Fifo,
            _ => return Ok(None),
        }))
    }
}

/// The attributes that belong to a layer: file capabilities and the user's own. Others belong to the host.
fn attributes(path: &Path) -> io::Result<std::collections::BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 1024];
    let length = loop {
        match rustix::fs::llistxattr(path, &mut names) {
            Err(rustix::io::Errno::RANGE) => names.resize(names.len() * 4, 0),
            Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Default::default()),
            result => break result?,
        }
    };
    let mut attributes = std::collections::BTreeMap::new();
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if Marks::is_own_attribute(name) || !(name == "security.capability" || name.starts_with("user.")) {
            continue;
        }
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice())?;
        value.truncate(length);
        attributes.insert(name.to_owned(), value);
    }
    Ok(attributes)
}

/// Bytes of all files under a directory, each once.
pub fn size_of(root: &Path, marks: Marks) -> anyhow::Result<u64> {
    let source = TreeSource::new(root.to_owned(), marks);
    let mut size = 0;
    for entry in source.entries()? {
        if let EntryKind::File { size: bytes, .. } = entry?.kind {
            size += bytes;
        }
    }
    Ok(size)
}

/// Whether a directory is there with nothing in it.
pub fn is_empty(directory: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(directory)?.next().is_none())
}

/// A path from the root of an image: no leading `/`, no `.` and `..`.
pub fn relative(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut relative, component| {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::ParentDir => drop(relative.pop()),
            _ => {}
        }
        relative
    })
}
