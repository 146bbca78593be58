//! Entries to a tar stream: bit-identical for equal entries.
//!
//! Headers are ustar, written field by field; what does not fit (long or non-ASCII names, large ids, odd times, extended
//! attributes) goes into a PAX header in front. Nothing depends on the host, the user or the clock.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use sha2::Digest as _;

use super::{Content, Entry, EntryKind, LayerSource, pax};
use crate::error::{ErrorKind, Explain};
use crate::ids::Digest;

/// Prefix of the name of a file in a tar that removes a file of the layers below (OCI image layer specification).
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// Name of the file in a tar that makes its directory opaque.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
pub(super) const BLOCK: usize = 512;

/// What came of a tar stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarSummary {
    /// SHA-256 of the uncompressed stream.
    pub diff_id: Digest,
    /// Bytes of the uncompressed stream.
    pub size: u64,
    pub entries: u64,
}

/// Entries that cannot become a layer: a mistake of who made them, or a file that changed meanwhile.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("the layer's entries are not sorted: `{}` comes after `{}`", path.display(), previous.display())]
    Unsorted { path: PathBuf, previous: PathBuf },
    #[error("the layer has `{}` twice", path.display())]
    Twice { path: PathBuf },
    #[error("`{}` cannot be in a layer: {reason}", path.display())]
    BadName { path: PathBuf, reason: &'static str },
    #[error("`{}` was to have {expected} bytes but has {}", path.display(), if *longer { "more".to_owned() } else { format!("only {actual}") })]
    SizeChanged { path: PathBuf, expected: u64, actual: u64, longer: bool },
}

impl Explain for WriteError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::SizeChanged { .. } => ErrorKind::Environment,
            Self::BadName { .. } => ErrorKind::User,
            Self::Unsorted { .. } | Self::Twice { .. } => ErrorKind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::SizeChanged { .. } => vec!["the file changed while it was read; run again".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Writes the entries as a complete tar stream.
///
/// Entries must be sorted bytewise by path, each path once, except that an opaque entry may follow the directory of the same
/// path: then it adds only the marker; alone it stands for the directory too. Missing parent directories are not added. A
/// directory with the empty path is the root.
///
/// Fails with a [`WriteError`], with what the source failed with, or with an [`io::Error`] of `out` or of a content.
pub fn write_tar(source: &dyn LayerSource, out: impl Write) -> anyhow::Result<TarSummary> {
    let mut tar = TarStream { out, hash: sha2::Sha256::new(), size: 0 };
    let mut previous: Option<(PathBuf, bool)> = None;
    let mut entries = 0;
    for entry in source.entries()? {
        let entry = entry?;
        let directory_written = check_order(&entry, previous.as_ref())?;
        check_name(&entry)?;
        tar.entry(&entry, directory_written)?;
        entries += 1;
        previous = Some((entry.path, matches!(entry.kind, EntryKind::Directory)));
    }
    tar.write_all(&[0; 2 * BLOCK])?;
    tar.flush()?;
    Ok(TarSummary { diff_id: Digest::from_sha256(&tar.hash.finalize()), size: tar.size, entries })
}

/// Whether the entry is the opaque marker of the directory just written.
fn check_order(entry: &Entry, previous: Option<&(PathBuf, bool)>) -> Result<bool, WriteError> {
    let Some((previous, was_directory)) = previous else { return Ok(false) };
    match entry.path.as_os_str().as_bytes().cmp(previous.as_os_str().as_bytes()) {
        std::cmp::Ordering::Greater => Ok(false),
        std::cmp::Ordering::Equal if *was_directory && matches!(entry.kind, EntryKind::Opaque) => Ok(true),
        std::cmp::Ordering::Equal => Err(WriteError::Twice { path: entry.path.clone() }),
        std::cmp::Ordering::Less => Err(WriteError::Unsorted { path: entry.path.clone(), previous: previous.clone() }),
    }
}

fn check_name(entry: &Entry) -> Result<(), WriteError> {
    let refuse = |reason| Err(WriteError::BadName { path: entry.path.clone(), reason });
    if entry.path.as_os_str().is_empty() && !matches!(entry.kind, EntryKind::Directory) {
        return refuse("only a directory can be the root");
    }
    if let Some(reason) = bad_path(&entry.path) {
        return refuse(reason);
    }
    if entry.path.components().any(|part| part.as_os_str().as_bytes().starts_with(WHITEOUT)) {
        return refuse("names that begin with `.wh.` mean removals in a layer");
    }
    match &entry.kind {
        EntryKind::Symlink { target } if target.as_os_str().is_empty() => refuse("its target is empty"),
        EntryKind::Symlink { target } if target.as_os_str().as_bytes().contains(&0) => {
            refuse("its target has a NUL byte")
        }
        EntryKind::Hardlink { target } if target.as_os_str().is_empty() || bad_path(target).is_some() => {
            refuse("its target is not a path from the root of the image")
        }
        _ if entry.xattrs.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) => {
            refuse("an extended attribute's name is empty or has `=` or a NUL byte")
        }
        _ => Ok(()),
    }
}

fn bad_path(path: &Path) -> Option<&'static str> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.contains(&0) {
        return Some("its name has a NUL byte");
    }
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let tidy = !bytes.ends_with(b"/")
        && !bytes.windows(2).any(|pair| pair == b"//")
        && !bytes.windows(3).any(|three| three == b"/./");
    (!plain || !tidy || bytes.ends_with(b"/.")).then_some("its name is not a plain path from the root of the image")
}

/// The stream so far: where it goes, its hash, its length.
struct TarStream<W> {
    out: W,
    hash: sha2::Sha256,
    size: u64,
}

impl<W: Write> Write for TarStream<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> TarStream<W> {
    fn entry(&mut self, entry: &Entry, directory_written: bool) -> anyhow::Result<()> {
        let path = entry.path.as_os_str().as_bytes();
        match &entry.kind {
            EntryKind::File { size, content } => {
                self.header(entry, path, b'0', *size, None, (0, 0))?;
                self.content(&entry.path, *size, content)?;
            }
            EntryKind::Directory => self.header(entry, &directory_name(path), b'5', 0, None, (0, 0))?,
            EntryKind::Symlink { target } => self.header(entry, path, b'2', 0, Some(target), (0, 0))?,
            EntryKind::Hardlink { target } => self.header(entry, path, b'1', 0, Some(target), (0, 0))?,
            EntryKind::CharDevice { major, minor } => self.header(entry, path, b'3', 0, None, (*major, *minor))?,
            EntryKind::BlockDevice { major, minor } => self.header(entry, path, b'4', 0, None, (*major, *minor))?,
            EntryKind::Fifo => self.header(entry, path, b'6', 0, None, (0, 0))?,
            EntryKind::Whiteout => self.header(entry, &whiteout_name(&entry.path), b'0', 0, None, (0, 0))?,
            EntryKind::Opaque => {
                if !directory_written {
                    self.header(entry, &directory_name(path), b'5', 0, None, (0, 0))?;
                }
                let marker = Entry { xattrs: Default::default(), mode: 0o644, ..entry.clone() };
                self.header(&marker, &[path, b"/", OPAQUE].concat(), b'0', 0, None, (0, 0))?;
            }
        }
        Ok(())
    }

    fn header(
        &mut self,
        entry: &Entry,
        name: &[u8],
        kind: u8,
        size: u64,
        link: Option<&Path>,
        device: (u32, u32),
    ) -> anyhow::Result<()> {
        let link = link.map_or(&b""[..], |link| link.as_os_str().as_bytes());
        let mut pax = pax::Records::default();
        let mut header = tar::Header::new_ustar();
        if let Some(fields) = header.as_ustar_mut() {
            fields.typeflag = [kind];
            put_text(&mut fields.name, name, "path", &mut pax);
            put_text(&mut fields.linkname, link, "linkpath", &mut pax);
            put_octal(&mut fields.mode, u64::from(entry.mode & 0o7777));
            put_number(&mut fields.uid, i64::from(entry.uid), "uid", &mut pax);
            put_number(&mut fields.gid, i64::from(entry.gid), "gid", &mut pax);
            put_number(&mut fields.size, i64::try_from(size)?, "size", &mut pax);
            put_number(&mut fields.mtime, entry.mtime, "mtime", &mut pax);
            put_device(&mut fields.dev_major, device.0)?;
            put_device(&mut fields.dev_minor, device.1)?;
        }
        for (name, value) in &entry.xattrs {
            pax.add(format!("{}{name}", pax::XATTR).as_bytes(), value);
        }
        if !pax.is_empty() {
            self.pax_header(&pax)?;
        }
        header.set_cksum();
        Ok(self.write_all(header.as_bytes())?)
    }

    fn pax_header(&mut self, pax: &pax::Records) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        if let Some(fields) = header.as_ustar_mut() {
            fields.typeflag = *b"x";
            put_text(&mut fields.name, b"PaxHeaders.0", "path", &mut pax::Records::default());
            put_octal(&mut fields.mode, 0o644);
            put_octal(&mut fields.uid, 0);
            put_octal(&mut fields.gid, 0);
            put_octal(&mut fields.size, pax.as_bytes().len() as u64);
            put_octal(&mut fields.mtime, 0);
        }
        header.set_cksum();
        self.write_all(header.as_bytes())?;
        self.write_all(pax.as_bytes())?;
        self.pad(pax.as_bytes().len() as u64)
    }

    fn content(&mut self, path: &Path, size: u64, content: &Content) -> anyhow::Result<()> {
        use anyhow::Context as _;
        let wrong = |actual, longer| WriteError::SizeChanged { path: path.to_owned(), expected: size, actual, longer };
        let reading = || format!("cannot read `{}`", path.display());
        let mut reader = content.open().with_context(reading)?;
        let mut buffer = vec![0; 64 * 1024];
        let mut done = 0;
        loop {
            let read = match reader.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.with_context(reading)?,
            };
            if read == 0 {
                break;
            }
            done += read as u64;
            if done > size {
                return Err(wrong(done, true).into());
            }
            self.write_all(buffer.get(..read).unwrap_or_default())?;
        }
        if done < size {
            return Err(wrong(done, false).into());
        }
        Ok(self.pad(size)?)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size % BLOCK as u64) as usize;
        if rest == 0 { Ok(()) } else { self.write_all(&[0; BLOCK][rest..]) }
    }
}

fn directory_name(path: &[u8]) -> Vec<u8> {
    if path.is_empty() { b"./".to_vec() } else { [path, b"/"].concat() }
}

fn whiteout_name(path: &Path) -> Vec<u8> {
    let name = [WHITEOUT, path.file_name().unwrap_or_default().as_bytes()].concat();
    path.with_file_name(OsStr::from_bytes(&name)).into_os_string().as_bytes().to_vec()
}

/// A text as far as it fits; the whole of it in a PAX record when it is longer or not plain ASCII.
fn put_text(field: &mut [u8], text: &[u8], key: &str, pax: &mut pax::Records) {
    if text.len() > field.len() || !text.is_ascii() {
        pax.add(key.as_bytes(), text);
    }
    field.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
}

/// A number in octal; a PAX record and zero here when it is negative or too large.
fn put_number(field: &mut [u8], value: i64, key: &str, pax: &mut pax::Records) {
    let most = (1_u64 << (3 * (field.len() - 1))) - 1;
    let fits = u64::try_from(value).ok().filter(|value| *value <= most);
    if fits.is_none() {
        pax.add(key.as_bytes(), value.to_string().as_bytes());
    }
    put_octal(field, fits.unwrap_or(0));
}

/// Device numbers have no place but their field: 21 bits.
fn put_device(field: &mut [u8; 8], value: u32) -> anyhow::Result<()> {
    anyhow::ensure!(value < 1 << 21, "the device number {value} does not fit into a layer");
    put_octal(field, u64::from(value));
    Ok(())
}

/// Octal digits with leading zeros and a NUL; `value` must fit.
fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}\0");
    field.iter_mut().zip(text.as_bytes()).for_each(|(to, from)| *to = *from);
}
