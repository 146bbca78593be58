//! Blobs as contents of layer entries.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use git2::Oid;

use super::error::Error;
use super::lfs;
use super::objects::Objects;
use super::tree::{Leaf, shown};
use crate::layer::Content;

/// Up to this size a blob is read at once; larger ones are opened when their content is asked for.
const INLINE_LIMIT: u64 = 1024 * 1024;
/// libgit2 streams loose objects only; a packed one is held in memory, so there must be an end to it.
const PACKED_LIMIT: u64 = 2 * 1024 * 1024 * 1024;
const CHUNK: usize = 256 * 1024;

/// The size and content of the file at `path` of a walk. Where git LFS keeps the content, it comes from the LFS store.
pub(super) fn file(leaf: &Leaf, path: &[u8]) -> Result<(u64, Content), Error> {
    let objects = &leaf.origin.objects;
    let size = size_of(leaf, path)?;
    if size > INLINE_LIMIT {
        if size > PACKED_LIMIT && !is_loose(objects, leaf.id)? {
            let path = shown(leaf.origin.path(path));
            return Err(Error::TooLarge { path, repo: objects.name.clone(), size });
        }
        let (objects, id) = (objects.clone(), leaf.id);
        return Ok((size, Content::Open(Arc::new(move || Ok(Box::new(Streamed::start(&objects, id)?))))));
    }
    let bytes = objects.blob(leaf.id)?;
    match lfs::Pointer::parse(&bytes) {
        Some(pointer) if lfs::is_tracked(&leaf.origin, path)? => pointer.content(leaf, path),
        _ => Ok((size, Content::Bytes(Bytes::from(bytes)))),
    }
}

/// The target of a symbolic link.
pub(super) fn link_target(leaf: &Leaf, path: &[u8]) -> Result<Vec<u8>, Error> {
    let objects = &leaf.origin.objects;
    let refused = || Error::BadTree {
        path: shown(leaf.origin.path(path)),
        repo: objects.name.clone(),
        reason: "the target of the symbolic link is empty, longer than 4095 bytes, or holds a zero byte",
    };
    if !(1..4096).contains(&size_of(leaf, path)?) {
        return Err(refused());
    }
    let target = objects.blob(leaf.id)?;
    if target.contains(&0) { Err(refused()) } else { Ok(target) }
}

/// The size of a blob, or an error that names its path.
fn size_of(leaf: &Leaf, path: &[u8]) -> Result<u64, Error> {
    leaf.origin.objects.blob_size(leaf.id).map_err(|error| match error {
        Error::ObjectMissing { object, repo } => {
            Error::ContentMissing { path: shown(leaf.origin.path(path)), object, repo }
        }
        error => error,
    })
}

fn is_loose(objects: &Objects, id: Oid) -> Result<bool, Error> {
    let hex = id.to_string();
    let (directory, file) = hex.split_at(2);
    Ok(objects.common_dir()?.join("objects").join(directory).join(file).exists())
}

/// A blob read piece by piece on a thread of its own: libgit2's stream borrows its repository, and this reader must not.
struct Streamed {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Streamed {
    fn start(objects: &Arc<Objects>, id: Oid) -> io::Result<Self> {
        let (sender, pieces) = sync_channel(2);
        let objects = objects.clone();
        std::thread::Builder::new().name("git-blob".to_owned()).spawn(move || {
            if let Err(error) = send_pieces(&objects, id, &sender) {
                // A reader that has gone away wants no error either.
                let _ = sender.send(Err(error));
            }
        })?;
        Ok(Self { pieces, piece: io::Cursor::default() })
    }
}

fn send_pieces(objects: &Objects, id: Oid, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let handle = objects.handle().map_err(io::Error::other)?;
    let odb = handle.odb().map_err(io::Error::other)?;
    if let Ok((mut reader, size, _)) = odb.reader(id) {
        let mut sent = 0;
        while sent < size {
            let mut piece = vec![0; CHUNK.min(size - sent)];
            let read = reader.read(&mut piece)?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("object {id} is cut off")));
            }
            piece.truncate(read);
            sent += read;
            if sender.send(Ok(piece)).is_err() {
                return Ok(());
            }
        }
        return Ok(());
    }
    let object = odb.read(id).map_err(io::Error::other)?;
    for piece in object.data().chunks(CHUNK) {
        if sender.send(Ok(piece.to_owned())).is_err() {
            break;
        }
    }
    Ok(())
}

impl Read for Streamed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(buffer)? {
                0 if !buffer.is_empty() => match self.pieces.recv() {
                    Ok(piece) => self.piece = io::Cursor::new(piece?),
                    Err(_) => return Ok(0),
                },
                read => return Ok(read),
            }
        }
    }
}
