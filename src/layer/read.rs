//! Foreign layers, entry by entry, trusting nothing in them.
//!
//! Everything that two tar readers could understand differently is refused, as is everything that could reach outside of the
//! image or hide from a scan. What real tools write passes: leading `/` and `./`, directories listed twice, PAX and GNU names.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::Digest as _;

use super::header::RawHeader;
use super::seen::Seen;
use super::write::{BLOCK, OPAQUE, TarSummary, WHITEOUT};
use super::{Content, Entry, EntryKind, decompress, pax};
use crate::error::{ErrorKind, Explain};
use crate::ids::Digest;

/// How much a layer may contain.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of the uncompressed stream.
    pub total: u64,
    /// Bytes of all extended attributes of one entry.
    pub xattrs: usize,
    /// How many times its compressed size the stream may swell to, beyond the first GiB.
    pub ratio: u64,
    pub devices: Devices,
}

/// Whether a layer may have device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    Allow,
    Refuse,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            file: 128 << 30,
            total: 256 << 30,
            xattrs: 256 << 10,
            ratio: 200,
            devices: Devices::Allow,
        }
    }
}

/// Bytes of a path, as the kernel has it.
const PATH: usize = 4096;
/// Bytes of one component of a path.
const COMPONENT: usize = 255;
/// Bytes of one extended header.
const EXTENDED: u64 = 1 << 20;

/// A layer that is damaged, hostile, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the layer is damaged at byte {position}: {reason}")]
    Damaged { position: u64, reason: String },
    /// `path` is made printable.
    #[error("the layer is refused: `{path}` {reason}")]
    Refused { path: String, reason: String },
    #[error("the layer is refused: it has more than {limit} {what}")]
    TooLarge { limit: u64, what: &'static str },
    #[error("the layer cannot be read: {0}")]
    Io(#[source] io::Error),
}

impl ReadError {
    /// What our own readers reported through an [`io::Error`] comes out as it was.
    fn from_io(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Io)
    }
}

impl Explain for ReadError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(error) if error.kind() != io::ErrorKind::InvalidData => ErrorKind::Environment,
            _ => ErrorKind::Remote,
        }
    }
}

/// The entries of a layer in the order of its stream: not sorted, directories possibly repeated.
///
/// Paths are as [`Entry`] wants them; the root directory itself has the empty path. A file's content can be opened once, and
/// read as long as its entry is the last one that was returned. After an error there are no more entries.
pub struct LayerReader {
    stream: Arc<Mutex<Stream>>,
    limits: Limits,
    seen: Seen,
    entries: u64,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Reading,
    Complete,
    Failed,
}

impl LayerReader {
    /// A layer as it comes from a registry or an archive: gzip, zstd or plain, told apart by its first bytes.
    pub fn new(stream: impl Read + Send + 'static, limits: Limits) -> Result<Self, ReadError> {
        let plain = decompress::open(stream, limits.ratio).map_err(ReadError::from_io)?;
        let stream = Stream {
            plain,
            hash: sha2::Sha256::new(),
            position: 0,
            total: limits.total,
            content: 0,
            padding: 0,
            serial: 0,
        };
        let stream = Arc::new(Mutex::new(stream));
        Ok(Self { stream, limits, seen: Seen::default(), entries: 0, state: State::Reading })
    }

    /// Reads what is left and gives the summary of the whole stream; the caller compares the diff id.
    pub fn finish(mut self) -> Result<TarSummary, ReadError> {
        for entry in self.by_ref() {
            entry?;
        }
        let stream = self.stream();
        if self.state != State::Complete {
            return Err(stream.damaged("the layer could not be read to its end"));
        }
        let diff_id = Digest::from_sha256(&stream.hash.clone().finalize());
        Ok(TarSummary { diff_id, size: stream.position, entries: self.entries })
    }

    /// Where in the uncompressed stream we are, in bytes: after an entry was returned, where its content begins.
    pub fn position(&self) -> u64 {
        self.stream().position
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        let member = self.stream().next_member(&self.limits)?;
        let Some(member) = member else { return Ok(None) };
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ReadError::TooLarge { limit: self.limits.entries, what: "entries" });
        }
        let entry = self.entry(member)?;
        self.seen
            .add(entry.path.as_os_str().as_bytes(), &entry.kind)
            .map_err(|reason| refused(entry.path.as_os_str().as_bytes(), reason))?;
        Ok(Some(entry))
    }

    fn entry(&self, member: Member) -> Result<Entry, ReadError> {
        let Member { header, name, link, xattrs, serial } = member;
        let refuse = |reason: &str| refused(&name, reason);
        let path = plain_path(&name)?;
        let is_file = matches!(header.kind, b'0' | 0);
        if header.size > 0 && !is_file {
            return Err(refuse("has content, but is not a file"));
        }
        let (path, kind) = match header.kind {
            0 if name.ends_with(b"/") => (path, EntryKind::Directory),
            b'0' if name.ends_with(b"/") => return Err(refuse("is a file whose name ends with `/`")),
            b'0' | 0 => file(path, &name, self.content(header.size, serial))?,
            b'1' => (path, EntryKind::Hardlink { target: into_path(&plain_path(&link)?) }),
            b'2' => (path, EntryKind::Symlink { target: into_path(link_target(&name, &link)?) }),
            b'3' | b'4' if self.limits.devices == Devices::Refuse => return Err(refuse("is a device node")),
            b'3' => (path, EntryKind::CharDevice { major: header.device.0, minor: header.device.1 }),
            b'4' => (path, EntryKind::BlockDevice { major: header.device.0, minor: header.device.1 }),
            b'5' => (path, EntryKind::Directory),
            b'6' => (path, EntryKind::Fifo),
            b'S' => return Err(refuse("is a sparse file, which layers do not have")),
            kind => return Err(refuse(&format!("is of the unknown type `{}`", kind.escape_ascii()))),
        };
        check_place(&name, &path, &kind)?;
        Ok(Entry {
            path: into_path(&path),
            kind,
            mode: header.mode,
            uid: u32::try_from(header.uid).map_err(|_| refuse("has an owner beyond 32 bits"))?,
            gid: u32::try_from(header.gid).map_err(|_| refuse("has a group beyond 32 bits"))?,
            mtime: header.mtime,
            xattrs: xattrs.into_iter().collect(),
        })
    }

    fn content(&self, size: u64, serial: u64) -> EntryKind {
        let stream = Arc::clone(&self.stream);
        let open = move || -> io::Result<Box<dyn Read + Send>> {
            let held = stream.lock().unwrap_or_else(PoisonError::into_inner);
            if held.serial != serial || held.content != size {
                return Err(io::Error::other("the layer has been read beyond this file"));
            }
            Ok(Box::new(CurrentContent { stream: Arc::clone(&stream), serial }))
        };
        EntryKind::File { size, content: Content::Open(Arc::new(open)) }
    }
}

impl Iterator for LayerReader {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state != State::Reading {
            return None;
        }
        let entry = self.next_entry().transpose();
        match &entry {
            None => self.state = State::Complete,
            Some(Err(_)) => self.state = State::Failed,
            Some(Ok(_)) => {}
        }
        entry
    }
}

/// A file, or what a file's name makes of it.
fn file(path: Vec<u8>, name: &[u8], content: EntryKind) -> Result<(Vec<u8>, EntryKind), ReadError> {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (parent, last) = path.split_at_checked(at).unwrap_or_default();
    let Some(removed) = last.strip_prefix(WHITEOUT) else { return Ok((path, content)) };
    if matches!(content, EntryKind::File { size: 1.., .. }) {
        return Err(refused(name, "is a removal with content"));
    }
    match removed {
        _ if last == OPAQUE => Ok((parent.strip_suffix(b"/").unwrap_or(parent).to_vec(), EntryKind::Opaque)),
        b"" | b"." | b".." => Err(refused(name, "is a removal of nothing that can be removed")),
        _ if removed.starts_with(WHITEOUT) => Err(refused(name, "is bookkeeping of AUFS, which layers do not have")),
        _ => Ok(([parent, removed].concat(), EntryKind::Whiteout)),
    }
}

fn check_place(name: &[u8], path: &[u8], kind: &EntryKind) -> Result<(), ReadError> {
    if path.is_empty() {
        return match kind {
            EntryKind::Directory => Ok(()),
            EntryKind::Opaque => Err(refused(name, "hides the whole image")),
            _ => Err(refused(name, "replaces the root of the image")),
        };
    }
    if path.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
        return Err(refused(name, "has `.wh.` in a place where it means nothing"));
    }
    Ok(())
}

/// The components of a name without empty ones and `.`, which also takes a leading `/` away.
fn plain_path(name: &[u8]) -> Result<Vec<u8>, ReadError> {
    if name.is_empty() {
        return Err(refused(name, "is an empty name"));
    }
    if name.len() > PATH {
        return Err(refused(name, "is longer than 4096 bytes"));
    }
    if name.contains(&0) {
        return Err(refused(name, "has a NUL byte"));
    }
    let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err(refused(name, "leads out of the image by `..`"));
    }
    if parts.iter().any(|part| part.len() > COMPONENT) {
        return Err(refused(name, "has a component longer than 255 bytes"));
    }
    Ok(parts.join(&b'/'))
}

fn link_target<'a>(name: &[u8], link: &'a [u8]) -> Result<&'a [u8], ReadError> {
    if link.is_empty() || link.len() >= PATH || link.contains(&0) {
        return Err(refused(name, "is a symbolic link whose target is empty, too long or has a NUL byte"));
    }
    Ok(link)
}

fn into_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn refused(name: &[u8], reason: impl Into<String>) -> ReadError {
    let mut path: String = name.escape_ascii().to_string().chars().take(200).collect();
    if let Ok(text) = std::str::from_utf8(name) {
        path = text.chars().take(200).flat_map(char::escape_debug).collect();
    }
    ReadError::Refused { path, reason: reason.into() }
}

/// A header with all that extended headers say about it.
struct Member {
    header: RawHeader,
    name: Vec<u8>,
    link: Vec<u8>,
    xattrs: Vec<(String, Vec<u8>)>,
    serial: u64,
}

/// Extended headers in front of a member.
#[derive(Default)]
struct Extended {
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    pax: Option<Vec<(String, Vec<u8>)>>,
}

/// The plain stream and where in it we are.
struct Stream {
    plain: Box<dyn Read + Send>,
    hash: sha2::Sha256,
    position: u64,
    total: u64,
    /// Bytes of the current member not yet read, and zeros after it.
    content: u64,
    padding: u64,
    /// Which member is current.
    serial: u64,
}

impl Stream {
    /// The next member that is not an extended header; `None` at the end of the layer.
    fn next_member(&mut self, limits: &Limits) -> Result<Option<Member>, ReadError> {
        let mut extended = Extended::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                let dangling = extended.gnu_name.is_some() || extended.gnu_link.is_some() || extended.pax.is_some();
                return if dangling { Err(self.damaged("an extended header stands before the end")) } else { Ok(None) };
            };
            let taken = match header.kind {
                b'L' => extended.gnu_name.replace(self.gnu_text(&header)?).is_some(),
                b'K' => extended.gnu_link.replace(self.gnu_text(&header)?).is_some(),
                b'x' => extended.pax.replace(self.pax(&header)?).is_some(),
                b'g' => self.pax(&header)?.iter().any(|(key, _)| key != "comment"),
                _ => return self.member(header, extended, limits).map(Some),
            };
            if taken && header.kind == b'g' {
                return Err(self.damaged("a global extended header changes more than the comment"));
            }
            if taken {
                return Err(self.damaged("two extended headers of one kind describe one entry"));
            }
        }
    }

    /// The next header block; `None` after the two blocks of zeros that end a tar, and nothing but zeros behind them.
    fn header(&mut self) -> Result<Option<RawHeader>, ReadError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block, "the stream ends without the end of the archive")?;
        if block.iter().any(|byte| *byte != 0) {
            return RawHeader::parse(&block).map(Some).map_err(|reason| self.damaged(reason));
        }
        self.fill(&mut block, "the stream ends within the end of the archive")?;
        loop {
            if block.iter().any(|byte| *byte != 0) {
                return Err(self.damaged("something follows the end of the archive"));
            }
            let read = self.read(&mut block).map_err(ReadError::from_io)?;
            if read == 0 {
                return Ok(None);
            }
            block.get_mut(read..).unwrap_or_default().fill(0);
        }
    }

    fn member(&mut self, mut header: RawHeader, extended: Extended, limits: &Limits) -> Result<Member, ReadError> {
        let mut name = extended.gnu_name.clone();
        let mut link = extended.gnu_link.clone();
        let mut xattrs = Vec::new();
        for (key, value) in extended.pax.unwrap_or_default() {
            match key.as_str() {
                "path" if name.is_some() => {
                    return Err(self.damaged("a GNU long name and a PAX path describe one entry"));
                }
                "path" => name = Some(value),
                "linkpath" if link.is_some() => {
                    return Err(self.damaged("a GNU long link and a PAX linkpath describe one entry"));
                }
                "linkpath" => link = Some(value),
                "size" => header.size = self.pax_size(header.size, &value)?,
                "uid" => header.uid = self.pax_number(&value, "uid")?,
                "gid" => header.gid = self.pax_number(&value, "gid")?,
                "mtime" => header.mtime = self.pax_time(&value)?,
                key if key.starts_with("GNU.sparse.") => {
                    return Err(self.damaged("a sparse file, which layers do not have"));
                }
                key => xattrs.extend(key.strip_prefix(pax::XATTR).map(|name| (name.to_owned(), value))),
            }
        }
        let name = name.unwrap_or_else(|| header.name.clone());
        let link = link.unwrap_or_else(|| header.link.clone());
        check_xattrs(&name, &xattrs, limits)?;
        if header.size > limits.file {
            return Err(ReadError::TooLarge { limit: limits.file, what: "bytes in one file" });
        }
        self.start_content(header.size);
        Ok(Member { header, name, link, xattrs, serial: self.serial })
    }

    /// A size in PAX must be the one of the header, or one that the header has no room for.
    fn pax_size(&self, header: u64, value: &[u8]) -> Result<u64, ReadError> {
        let size = self.pax_number(value, "size")?;
        let beyond_octal = size >= 1 << 33 && header == 0;
        if size == header || beyond_octal {
            Ok(size)
        } else {
            Err(self.damaged("the header and its PAX record give two sizes"))
        }
    }

    fn pax_number(&self, value: &[u8], what: &str) -> Result<u64, ReadError> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        number.ok_or_else(|| self.damaged(format!("the PAX {what} is not a number")))
    }

    /// Whole seconds, rounded down.
    fn pax_time(&self, value: &[u8]) -> Result<i64, ReadError> {
        let wrong = || self.damaged("the PAX mtime is not a time");
        let text = std::str::from_utf8(value).map_err(|_| wrong())?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.trim_start_matches('-').is_empty()
            || whole.starts_with('+')
            || !fraction.bytes().all(|digit| digit.is_ascii_digit())
        {
            return Err(wrong());
        }
        let seconds: i64 = whole.parse().map_err(|_| wrong())?;
        let below = text.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
        Ok(seconds.saturating_sub(i64::from(below)))
    }

    fn gnu_text(&mut self, header: &RawHeader) -> Result<Vec<u8>, ReadError> {
        let mut text = self.extended_header(header)?;
        if text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    fn pax(&mut self, header: &RawHeader) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        let bytes = self.extended_header(header)?;
        pax::parse(&bytes).map_err(|reason| self.damaged(reason))
    }

    fn extended_header(&mut self, header: &RawHeader) -> Result<Vec<u8>, ReadError> {
        if header.size > EXTENDED {
            return Err(self.damaged("an extended header is larger than 1 MiB"));
        }
        let mut bytes = vec![0; header.size as usize];
        self.fill(&mut bytes, "the stream ends within an extended header")?;
        self.start_content(header.size);
        self.content = 0;
        Ok(bytes)
    }

    fn start_content(&mut self, size: u64) {
        self.serial += 1;
        self.content = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip_content(&mut self) -> Result<(), ReadError> {
        let mut buffer = vec![0; if self.content > 0 { 64 * 1024 } else { 0 }];
        while self.content > 0 {
            self.read_content(&mut buffer).map_err(ReadError::from_io)?;
        }
        let mut padding = vec![0; std::mem::take(&mut self.padding) as usize];
        self.fill(&mut padding, "the stream ends after the content of a file")
    }

    fn read_content(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.read(buffer.get_mut(..most).unwrap_or_default())? {
            0 => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                self.damaged("the stream ends within the content of a file"),
            )),
            read => {
                self.content -= read as u64;
                Ok(read)
            }
        }
    }

    fn fill(&mut self, mut buffer: &mut [u8], at_end: &str) -> Result<(), ReadError> {
        while !buffer.is_empty() {
            match self.read(buffer).map_err(ReadError::from_io)? {
                0 => return Err(self.damaged(at_end)),
                read => buffer = buffer.get_mut(read..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = loop {
            match self.plain.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.position += read as u64;
        if self.position > self.total {
            let error = ReadError::TooLarge { limit: self.total, what: "bytes" };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(read)
    }

    fn damaged(&self, reason: impl Into<String>) -> ReadError {
        ReadError::Damaged { position: self.position, reason: reason.into() }
    }
}

fn check_xattrs(name: &[u8], xattrs: &[(String, Vec<u8>)], limits: &Limits) -> Result<(), ReadError> {
    if xattrs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > limits.xattrs {
        return Err(refused(name, format!("has more than {} bytes of extended attributes", limits.xattrs)));
    }
    for (key, _) in xattrs {
        if key.is_empty() || key.len() > COMPONENT {
            return Err(refused(name, "has an extended attribute whose name is empty or too long"));
        }
        if key.starts_with("trusted.overlay.") || key.starts_with("user.overlay.") {
            return Err(refused(
                name,
                format!("has the extended attribute `{}`, which steers the kernel's overlay", key.escape_debug()),
            ));
        }
    }
    Ok(())
}

/// The content of the current member; an error once it is no longer current.
struct CurrentContent {
    stream: Arc<Mutex<Stream>>,
    serial: u64,
}

impl Read for CurrentContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.serial != self.serial {
            return Err(io::Error::other("the layer has been read beyond this file"));
        }
        stream.read_content(buffer)
    }
}
