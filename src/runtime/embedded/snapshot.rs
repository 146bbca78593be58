//! A layer in its forms: a directory, a compressed blob, and each from the other when it is first needed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::Path;

use super::marks::Marks;
use super::merged::{TreeSource, size_of};
use super::store::{Blob, LayerId, LayerRecord, Store};
use super::unpack::Unpacker;
use crate::error::Error;
use crate::ids::Digest;
use crate::layer::{GzipWriter, LayerReader, LayerSource, Limits, write_tar};
use crate::registry::manifest::DOCKER_LAYER_GZIP;

/// A finished upper directory becomes a layer: it is moved, not copied. Its digests come later, if anybody publishes it.
pub fn keep_directory(store: &Store, upper: &Path, marks: Marks) -> anyhow::Result<(LayerId, LayerRecord)> {
    let record = LayerRecord { size: size_of(upper, marks)?, ..LayerRecord::default() };
    let id = LayerId::random()?;
    let directory = store.temporary()?;
    fs::create_dir(&directory)?;
    fs::rename(upper, directory.join("tree"))?;
    store.add_layer(&id, &record, &directory)?;
    Ok((id, record))
}

/// Entries become a layer in its compressed form; no directory is made before a container needs it.
pub fn keep_entries(store: &Store, source: &dyn LayerSource) -> anyhow::Result<(LayerId, LayerRecord)> {
    let directory = store.temporary()?;
    fs::create_dir(&directory)?;
    let (diff_id, size, blob) = write_blob(source, &directory.join("blob"))?;
    let id = LayerId::of_diff_id(&diff_id);
    let record = LayerRecord { diff_id: Some(diff_id), blob: Some(blob), sources: Vec::new(), size };
    store.add_layer(&id, &record, &directory)?;
    Ok((id, record))
}

/// A tar stream, compressed or not, becomes a layer in the form of a directory. `expected` is its diff id, where known.
pub fn keep_tar(
    store: &Store,
    stream: impl Read + Send + 'static,
    marks: Marks,
    expected: Option<&Digest>,
) -> anyhow::Result<(LayerId, LayerRecord)> {
    let directory = store.temporary()?;
    fs::create_dir(&directory)?;
    let (stream_digest, size) = unpack_stream(stream, &directory.join("tree"), marks)?;
    let record = LayerRecord { diff_id: expected.cloned(), size, ..LayerRecord::default() };
    check_diff_id(&record, &stream_digest)?;
    let id = LayerId::of_diff_id(&stream_digest);
    store.add_layer(&id, &record, &directory)?;
    Ok((id, record))
}

/// Makes the directory of a layer from its blob where it is missing. Several processes that want the same one wait for each
/// other.
pub fn ensure_tree(store: &Store, id: &LayerId, marks: Marks) -> anyhow::Result<()> {
    if store.has_tree(id) {
        return Ok(());
    }
    let _lock = store.lock_layer(id, "tree")?;
    if store.has_tree(id) {
        return Ok(());
    }
    let record = store.layer(id)?;
    let tree = store.temporary()?;
    let blob = File::open(store.blob_file(id))
        .map_err(|error| Error::environment(format!("layer `{id}` of the image is not on this host")).because(error))?;
    let (diff_id, size) = unpack_stream(blob, &tree, marks)?;
    check_diff_id(&record, &diff_id)?;
    store.mark_unsynced(id)?;
    fs::rename(&tree, store.tree_dir(id))?;
    if size != record.size {
        store.update_layer(id, |record| record.size = size)?;
    }
    Ok(())
}

/// The record of a layer with its digests known; makes its blob where it has none and no registry does.
pub fn ensure_blob(store: &Store, id: &LayerId, marks: Marks) -> anyhow::Result<LayerRecord> {
    let record = store.layer(id)?;
    if record.diff_id.is_some() && record.blob.is_some() {
        return Ok(record);
    }
    let _lock = store.lock_layer(id, "blob")?;
    let record = store.layer(id)?;
    if record.diff_id.is_some() && record.blob.is_some() {
        return Ok(record);
    }
    let file = store.temporary()?;
    let (diff_id, _, blob) = write_blob(&TreeSource::new(store.tree_dir(id), marks), &file)?;
    store.mark_unsynced(id)?;
    fs::rename(&file, store.blob_file(id))?;
    store.update_layer(id, |record| {
        record.diff_id = Some(diff_id);
        record.blob = Some(blob);
    })
}

/// Writes a layer in its compressed form. Gives its diff id, its size uncompressed and what the blob is.
fn write_blob(source: &dyn LayerSource, file: &Path) -> anyhow::Result<(Digest, u64, Blob)> {
    let mut gzip = GzipWriter::new(BufWriter::with_capacity(1 << 18, File::create_new(file)?));
    let tar = write_tar(source, &mut gzip)?;
    let (out, digest, size) = gzip.finish()?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok((tar.diff_id, tar.size, Blob { media_type: DOCKER_LAYER_GZIP.to_owned(), digest, size }))
}

/// Unpacks a stream into the new directory `tree`. Gives the digest of the uncompressed stream and the bytes of all files.
fn unpack_stream(stream: impl Read + Send + 'static, tree: &Path, marks: Marks) -> anyhow::Result<(Digest, u64)> {
    fs::create_dir(tree)?;
    set_root_mode(tree)?;
    let mut reader = LayerReader::new(stream, Limits::default())?;
    let mut unpacker = Unpacker::new(tree, marks)?;
    for entry in &mut reader {
        unpacker.write(&entry?)?;
    }
    let size = unpacker.finish()?;
    Ok((reader.finish()?.diff_id, size))
}

fn check_diff_id(record: &LayerRecord, unpacked: &Digest) -> anyhow::Result<()> {
    match &record.diff_id {
        Some(expected) if expected != unpacked => Err(Error::remote(format!(
            "the layer is not what the image's configuration says: its diff id is `{unpacked}`, not `{expected}`"
        ))
        .into()),
        _ => Ok(()),
    }
}

/// The root of an image that says nothing about its root.
pub fn set_root_mode(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}
