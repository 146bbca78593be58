//! Images from files: a root file system as tar, or an image archive as `docker save` and OCI tools write it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::images::{self, Images};
use super::snapshot;
use super::store::{self, Blob, ImageRecord, LayerId, Temporary};
use crate::error::Error;
use crate::ids::{Digest, ImageId};
use crate::layer::{Content, Entry, EntryKind, LayerReader, Limits, write_tar};
use crate::registry::manifest::{DOCKER_LAYER_GZIP, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST};
use crate::registry::{self, Manifest};
use crate::runtime::{ImageConfig, ImageDescription};

/// No manifest or configuration is near this large.
const MAX_JSON: u64 = 16 << 20;

/// Makes an image of a file and gives it the name `name`. The file is read more than once.
pub fn import(images: &Images, file: &Path, name: &str) -> anyhow::Result<ImageDescription> {
    let lock = images.store.lock_to_add()?;
    let (id, record) = match Archive::open(file)? {
        Some(archive) => archive.import(images)?,
        None => import_root(images, file)?,
    };
    let id = images.store.add_image(id, &record)?;
    let former = images.store.tag(&id, name)?;
    drop(lock);
    images.drop_unused(former.as_ref())?;
    let names = images.store.names_of(&id)?;
    Ok(record.describe(id, names))
}

/// Copies a stream into a file that [`import`] can read.
pub fn spool(images: &Images, mut stream: impl Read) -> anyhow::Result<Temporary> {
    let path = images.store.temporary()?;
    io::copy(&mut stream, &mut File::create_new(&path)?)?;
    Ok(path)
}

/// Writes an archive with one image in the form of an OCI layout and in Docker's at once. `layers` are files with their blobs,
/// lowest first.
pub fn export(config: Bytes, layers: Vec<(PathBuf, Blob)>, name: Option<&str>, out: impl Write) -> anyhow::Result<()> {
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let config_digest = Digest::of(&config);
    let manifest = Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        config: registry::Descriptor::new(OCI_CONFIG, config_digest.clone(), config.len() as u64),
        layers: layers.iter().map(|(_, blob)| oci_layer(blob)).collect(),
        annotations: BTreeMap::new(),
    }
    .to_bytes();
    let mut index = registry::Descriptor::new(OCI_MANIFEST, Digest::of(&manifest), manifest.len() as u64);
    index.annotations.extend(name.map(|name| ("org.opencontainers.image.ref.name".to_owned(), name.to_owned())));
    let for_docker = json!([{
        "Config": path(&config_digest),
        "RepoTags": name.into_iter().collect::<Vec<_>>(),
        "Layers": layers.iter().map(|(_, blob)| path(&blob.digest)).collect::<Vec<_>>(),
    }]);
    let mut entries = BTreeMap::from([
        (path(&config_digest), Content::Bytes(config)),
        (path(&index.digest), Content::Bytes(manifest)),
        ("index.json".to_owned(), document(&json!({ "schemaVersion": 2, "manifests": [index] }))),
        ("manifest.json".to_owned(), document(&for_docker)),
        ("oci-layout".to_owned(), document(&json!({ "imageLayoutVersion": "1.0.0" }))),
    ]);
    entries.extend(layers.into_iter().map(|(file, blob)| (path(&blob.digest), Content::File(file))));
    let entries: Vec<Entry> = entries.into_iter().map(member).collect::<io::Result<_>>()?;
    let mut out = BufWriter::with_capacity(1 << 18, out);
    write_tar(&entries, &mut out)?;
    Ok(out.flush()?)
}

fn document(value: &Value) -> Content {
    Content::Bytes(value.to_string().into())
}

fn member((path, content): (String, Content)) -> io::Result<Entry> {
    let size = match &content {
        Content::File(file) => std::fs::metadata(file)?.len(),
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::Open(_) => 0,
    };
    let kind = EntryKind::File { size, content };
    Ok(Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() })
}

fn oci_layer(blob: &Blob) -> registry::Descriptor {
    let media_type = if blob.media_type == DOCKER_LAYER_GZIP { OCI_LAYER_GZIP } else { &blob.media_type };
    registry::Descriptor::new(media_type, blob.digest.clone(), blob.size)
}

/// A root file system: one layer, an empty configuration.
fn import_root(images: &Images, file: &Path) -> anyhow::Result<(Option<ImageId>, ImageRecord)> {
    let (layer, layer_record) = snapshot::keep_tar(&images.store, File::open(file)?, images.marks, None)?;
    let created = images.clock.now();
    let record = ImageRecord {
        layers: vec![layer],
        history: vec![images::history(created, false)],
        created,
        size: layer_record.size,
        nonce: Some(store::nonce()?),
        ..images::scratch()
    };
    Ok((None, record))
}

/// An image archive: what its small members say.
struct Archive {
    file: PathBuf,
    /// By path in the archive.
    documents: BTreeMap<PathBuf, Vec<u8>>,
    /// Links among members: older `docker save` has a layer once and links to it.
    links: BTreeMap<PathBuf, PathBuf>,
}

/// One image of an archive, whichever of the two forms it has.
struct Members {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct OciIndex {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct OciManifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
}

/// The configuration of an image as registries and archives have it.
#[derive(Deserialize)]
pub struct ConfigFile {
    #[serde(default)]
    pub config: Option<ImageConfig>,
    pub rootfs: RootFs,
    #[serde(default)]
    pub history: Option<Vec<Value>>,
    #[serde(default)]
    pub created: Option<String>,
    #[serde(flatten)]
    pub platform: Map<String, Value>,
}

#[derive(Deserialize)]
pub struct RootFs {
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

impl ConfigFile {
    /// The record of the image that this configuration describes; its layers are named by their diff ids.
    pub fn into_record(self, size: u64) -> ImageRecord {
        let created = self.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let mut platform = self.platform;
        // Of the container that older Docker made the image in; Docker drops it too.
        platform.remove("container");
        platform.remove("container_config");
        ImageRecord {
            parent: None,
            config: self.config.unwrap_or_default(),
            layers: self.rootfs.diff_ids.iter().map(LayerId::of_diff_id).collect(),
            history: self.history.unwrap_or_default(),
            platform,
            created: created.map_or(0, jiff::Timestamp::as_millisecond),
            size,
            nonce: None,
        }
    }
}

impl Archive {
    /// `None` when the file is a root file system and no archive of an image.
    fn open(file: &Path) -> anyhow::Result<Option<Self>> {
        let mut archive = Self { file: file.to_owned(), documents: BTreeMap::new(), links: BTreeMap::new() };
        for entry in LayerReader::new(File::open(file)?, Limits::default())? {
            let Entry { path, kind, .. } = entry?;
            if !belongs_to_archive(&path) {
                return Ok(None);
            }
            match kind {
                EntryKind::File { size, content } if size <= MAX_JSON && may_be_document(&path) => {
                    let mut bytes = Vec::new();
                    content.open()?.take(MAX_JSON).read_to_end(&mut bytes)?;
                    // Small layers look like documents among the blobs, but never start like one.
                    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| b"{[".contains(byte)) {
                        archive.documents.insert(path, bytes);
                    }
                }
                EntryKind::Symlink { target } => {
                    let target = path.parent().unwrap_or(Path::new("")).join(target);
                    archive.links.insert(path, super::merged::relative(&target));
                }
                _ => {}
            }
        }
        let known = ["manifest.json", "index.json"].iter().any(|name| archive.documents.contains_key(Path::new(name)));
        Ok(known.then_some(archive))
    }

    fn import(&self, images: &Images) -> anyhow::Result<(Option<ImageId>, ImageRecord)> {
        let manifest = self.manifest()?;
        let config = self.document(&manifest.config)?;
        let id = ImageId::from(Digest::of(config));
        let config: ConfigFile = parse(&manifest.config, config)?;
        let diff_ids = config.rootfs.diff_ids.clone();
        if diff_ids.len() != manifest.layers.len() {
            return Err(damaged(format!(
                "its configuration names {} layers, its manifest {}",
                diff_ids.len(),
                manifest.layers.len()
            )));
        }
        let mut wanted: BTreeMap<PathBuf, Vec<&Digest>> = BTreeMap::new();
        for (path, diff_id) in manifest.layers.iter().zip(&diff_ids) {
            if !images.store.has_layer(&LayerId::of_diff_id(diff_id)) {
                let path = self.links.get(path).unwrap_or(path).clone();
                wanted.entry(path).or_default().push(diff_id);
            }
        }
        self.import_layers(images, wanted)?;
        let mut size = 0;
        for diff_id in &diff_ids {
            size += images.store.layer(&LayerId::of_diff_id(diff_id))?.size;
        }
        Ok((Some(id), config.into_record(size)))
    }

    /// One more pass over the archive: each layer that is not here yet becomes a directory while it streams by.
    fn import_layers(&self, images: &Images, mut wanted: BTreeMap<PathBuf, Vec<&Digest>>) -> anyhow::Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        for entry in LayerReader::new(File::open(&self.file)?, Limits::default())? {
            let Entry { path, kind, .. } = entry?;
            let (Some(diff_ids), EntryKind::File { content, .. }) = (wanted.remove(&path), kind) else { continue };
            let Some(diff_id) = diff_ids.first() else { continue };
            snapshot::keep_tar(&images.store, content.open()?, images.marks, Some(diff_id))?;
            if wanted.is_empty() {
                return Ok(());
            }
        }
        match wanted.into_keys().next() {
            Some(path) => Err(damaged(format!("it lacks the layer `{}`", path.display()))),
            None => Ok(()),
        }
    }

    fn manifest(&self) -> anyhow::Result<Members> {
        let path = Path::new("manifest.json");
        if let Some(bytes) = self.documents.get(path) {
            let manifests: Vec<DockerManifest> = parse(path, bytes)?;
            let [DockerManifest { config, layers }] = <[DockerManifest; 1]>::try_from(manifests)
                .map_err(|all| damaged(format!("it has {} images; save one at a time", all.len())))?;
            return Ok(Members { config, layers });
        }
        let index = Path::new("index.json");
        let OciIndex { manifests } = parse(index, self.document(index)?)?;
        let [descriptor] = <[Descriptor; 1]>::try_from(manifests)
            .map_err(|all| damaged(format!("it has {} images; save one at a time", all.len())))?;
        let path = blob_path(&descriptor);
        let OciManifest { config, layers } = parse(&path, self.document(&path)?)?;
        Ok(Members { config: blob_path(&config), layers: layers.iter().map(blob_path).collect() })
    }

    fn document(&self, path: &Path) -> anyhow::Result<&Vec<u8>> {
        self.documents.get(path).ok_or_else(|| damaged(format!("it lacks `{}`", path.display())))
    }
}

fn blob_path(descriptor: &Descriptor) -> PathBuf {
    Path::new("blobs/sha256").join(descriptor.digest.hex())
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| damaged(format!("`{}` in it: {error}", path.display())))
}

fn damaged(reason: String) -> anyhow::Error {
    Error::user(format!("cannot import the image archive: {reason}")).into()
}

/// Whether a member may stand in an archive of an image. A root file system has others, and early on.
fn belongs_to_archive(path: &Path) -> bool {
    let mut components = path.components();
    let Some(Component::Normal(first)) = components.next() else { return true };
    let Some(first) = first.to_str() else { return false };
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let stem = first.split('.').next().unwrap_or_default();
    matches!(first, "manifest.json" | "index.json" | "oci-layout" | "repositories" | "blobs") || is_id(stem)
}

/// Old archives have `<id>.json` and `<id>/layer.tar`; in the others a document looks like any blob, but is small.
fn may_be_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json") || path.starts_with("blobs")
}
