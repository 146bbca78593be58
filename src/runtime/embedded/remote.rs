//! Images from a registry and to a registry. A base image is its manifest and configuration until something needs its files;
//! its layers go from registry to registry without ever being here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::archive::{self, ConfigFile};
use super::images::{Images, history, timestamp};
use super::snapshot;
use super::store::{Blob, ImageRecord, LayerId, LayerRecord};
use crate::error::Error;
use crate::ids::{Digest, ImageId};
use crate::image_ref::ImageRef;
use crate::registry::manifest::{self, DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP};
use crate::registry::{BlobSource, Client, Descriptor, Manifest, Platform, Progress, UploadOutcome};
use crate::runtime::{BasePolicy, ImageChange, ImageDescription, OnProgress, Pushed};

/// Transfers at a time.
const PARALLEL: usize = 4;
/// No configuration is near this large.
const MAX_CONFIG: u64 = 16 << 20;

/// The images of this host and the registries of the world.
#[derive(Clone)]
pub struct Remote {
    pub images: Images,
    pub client: Client,
}

/// What a reference stood for when the registry was asked last.
#[derive(Serialize, Deserialize)]
struct Remembered {
    manifest: Digest,
    image: ImageId,
}

impl Remote {
    /// The image that a stage starts from.
    pub async fn base(
        &self,
        reference: &str,
        policy: BasePolicy,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<ImageDescription> {
        let local = self.images.inspect(reference)?;
        if let (Some(image), BasePolicy::PreferLocal) = (&local, policy) {
            return Ok(image.clone());
        }
        let target: ImageRef = match (reference.parse(), &local) {
            (Ok(target), _) => target,
            (Err(_), Some(image)) => return Ok(image.clone()),
            (Err(error), None) => return Err(Error::user(error.to_string()).into()),
        };
        match (self.ask(reference, &target).await, local) {
            (Ok(image), _) => Ok(image),
            (Err(error), Some(image)) => {
                let warning = format!("warning: {error:#}; using the image `{reference}` of this host");
                progress(&warning, 0, None);
                Ok(image)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Asks the registry, and fetches manifest and configuration when they are not what is here.
    async fn ask(&self, reference: &str, target: &ImageRef) -> anyhow::Result<ImageDescription> {
        let missing = || {
            Error::user(format!("there is no image `{reference}`, neither on this host nor in its registry"))
                .hint(format!("`slipway image import {reference} FILE` takes a root file system or an image archive"))
        };
        let asking = || format!("cannot look up the base image `{reference}`");
        let remembered: Option<Remembered> = self.images.store.remembered_base(reference)?;
        let (named, ..) = self.client.manifest_head(target).await.with_context(asking)?.ok_or_else(missing)?;
        if let Some(Remembered { image, .. }) = remembered.filter(|remembered| remembered.manifest == named)
            && let Some(record) = self.images.store.image(&image)?
        {
            let names = self.images.store.names_of(&image)?;
            return Ok(record.describe(image, names));
        }
        let pinned = ImageRef { digest: Some(named.clone()), ..target.clone() };
        let (_, manifest) = self
            .client
            .image_manifest(&pinned, &Platform::of_host())
            .await
            .with_context(asking)?
            .ok_or_else(missing)?;
        let config = self.client.blob_bytes(target, &manifest.config, MAX_CONFIG).await.with_context(asking)?;
        let (remote, reference, source) = (self.clone(), reference.to_owned(), target.name());
        tokio::task::spawn_blocking(move || remote.remember(&reference, &source, named, &manifest, &config)).await?
    }

    /// Writes down an image whose layers stay where they are.
    fn remember(
        &self,
        reference: &str,
        source: &str,
        named: Digest,
        manifest: &Manifest,
        config: &Bytes,
    ) -> anyhow::Result<ImageDescription> {
        let unusable = |reason: String| Error::remote(format!("the image `{reference}` is not usable: {reason}"));
        let config: ConfigFile = serde_json::from_slice(config)
            .map_err(|error| unusable(format!("its configuration cannot be read: {error}")))?;
        let diff_ids = config.rootfs.diff_ids.clone();
        if diff_ids.len() != manifest.layers.len() {
            let (inner, outer) = (diff_ids.len(), manifest.layers.len());
            return Err(unusable(format!("its configuration names {inner} layers, its manifest {outer}")).into());
        }
        let store = &self.images.store;
        let lock = store.lock_to_add()?;
        let mut size = 0;
        for (diff_id, descriptor) in diff_ids.iter().zip(&manifest.layers) {
            size += self.remember_layer(diff_id, descriptor, source)?.size;
        }
        let id = ImageId::from(manifest.config.digest.clone());
        let record = config.into_record(size);
        let id = store.add_image(Some(id), &record)?;
        // Before the lock goes: somebody else may have added it first and drop it now.
        let former = store.tag(&id, reference)?;
        drop(lock);
        self.images.drop_unused(former.as_ref())?;
        store.remember_base(reference, &Remembered { manifest: named, image: id.clone() })?;
        let names = store.names_of(&id)?;
        Ok(record.describe(id, names))
    }

    fn remember_layer(&self, diff_id: &Digest, descriptor: &Descriptor, source: &str) -> anyhow::Result<LayerRecord> {
        let store = &self.images.store;
        let id = LayerId::of_diff_id(diff_id);
        let Descriptor { media_type, digest, size, .. } = descriptor.clone();
        let blob = Blob { media_type, digest, size };
        if store.has_layer(&id) {
            return store.update_layer(&id, |record| {
                // What is here may be compressed differently; then that registry does not have ours.
                if *record.blob.get_or_insert_with(|| blob.clone()) == blob {
                    add_source(record, source);
                }
            });
        }
        let record =
            LayerRecord { diff_id: Some(diff_id.clone()), blob: Some(blob), sources: vec![source.to_owned()], size };
        let directory = store.temporary()?;
        std::fs::create_dir(&directory)?;
        store.add_layer(&id, &record, &directory)?;
        Ok(record)
    }

    /// Makes sure that the files of an image are here: what is missing is fetched and unpacked, several layers at a time.
    pub async fn fetch(&self, id: &ImageId, progress: OnProgress<'_>) -> anyhow::Result<()> {
        let store = &self.images.store;
        let record = self.images.record(id)?;
        let missing: BTreeSet<LayerId> = record.layers.into_iter().filter(|layer| !store.has_tree(layer)).collect();
        let meters: Vec<Arc<AtomicU64>> = missing.iter().map(|_| Arc::default()).collect();
        let mut total = 0;
        for layer in &missing {
            total += store.layer(layer)?.blob.map_or(0, |blob| blob.size);
        }
        let all = futures_util::stream::iter(missing.into_iter().zip(meters.clone()))
            .map(|(layer, meter)| async move { self.fetch_layer(layer, meter).await })
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>();
        watched(all, &meters, |done| progress("Fetching layers", done, Some(total))).await?;
        Ok(())
    }

    /// One process fetches a layer, others that want it wait. The blob does not stay: the registry has it.
    async fn fetch_layer(&self, id: LayerId, meter: Arc<AtomicU64>) -> anyhow::Result<()> {
        let (images, layer) = (self.images.clone(), id.clone());
        let _lock = tokio::task::spawn_blocking(move || images.store.lock_layer(&layer, "fetch")).await??;
        let store = &self.images.store;
        let record = store.layer(&id)?;
        let file = store.blob_file(&id);
        let (false, false, Some(blob)) = (store.has_tree(&id), file.exists(), &record.blob) else { return Ok(()) };
        self.download(&id, &record, blob, meter).await?;
        let (images, layer) = (self.images.clone(), id.clone());
        tokio::task::spawn_blocking(move || snapshot::ensure_tree(&images.store, &layer, images.marks)).await??;
        Ok(std::fs::remove_file(&file)?)
    }

    /// Writes the blob of a layer into the store, from the first registry that gives it.
    async fn download(
        &self,
        id: &LayerId,
        record: &LayerRecord,
        blob: &Blob,
        meter: Arc<AtomicU64>,
    ) -> anyhow::Result<()> {
        let descriptor = Descriptor::new(&blob.media_type, blob.digest.clone(), blob.size);
        let file = self.images.store.blob_file(id);
        let unknown = format!("layer `{id}` is not on this host, and no registry is known to have it");
        let mut failure = Error::environment(unknown).into();
        let count: Progress = Arc::new(move |bytes| meter.store(bytes, Ordering::Relaxed));
        for source in &record.sources {
            let source: ImageRef = source.parse()?;
            match self.client.blob_file(&source, &descriptor, &file, &count).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    failure = anyhow::Error::new(error).context(format!("cannot fetch a layer of {}", source.name()));
                }
            }
        }
        Err(failure)
    }

    /// Writes an image into an archive that Docker and OCI tools read, with its layers compressed.
    pub async fn export(&self, name: &str, out: impl Write + Send + 'static) -> anyhow::Result<()> {
        let missing = || Error::user(format!("there is no image `{name}` on this host"));
        let (id, record) = self.images.store.find(name)?.ok_or_else(missing)?;
        let layers = self.packed(&record).await?;
        for (layer, record) in &layers {
            if let Some(blob) = record.blob.as_ref().filter(|_| !self.images.store.blob_file(layer).exists()) {
                self.download(layer, record, blob, Arc::default()).await?;
            }
        }
        let diff_ids: Vec<&Digest> = layers.iter().filter_map(|(_, layer)| layer.diff_id.as_ref()).collect();
        let config = config_document(&record, &id, &ImageChange::default(), &diff_ids)?;
        let blobs: Vec<(PathBuf, Blob)> = layers
            .into_iter()
            .filter_map(|(id, layer)| Some((self.images.store.blob_file(&id), layer.blob?)))
            .collect();
        let tag = name.parse::<ImageId>().is_err().then(|| name.to_owned());
        tokio::task::spawn_blocking(move || archive::export(config.into(), blobs, tag.as_deref(), out)).await?
    }

    /// Sends an image to a registry.
    pub async fn push(
        &self,
        id: &ImageId,
        change: &ImageChange,
        target: &ImageRef,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<Pushed> {
        let pushing = || format!("cannot push the image to {target}");
        let record = self.images.record(id)?;
        let layers = self.packed(&record).await?;
        let format = Format::of(&layers);
        let diff_ids: Vec<&Digest> = layers.iter().filter_map(|(_, layer)| layer.diff_id.as_ref()).collect();
        let config = Bytes::from(config_document(&record, id, change, &diff_ids)?);
        let config_descriptor = Descriptor::new(format.config(), Digest::of(&config), config.len() as u64);
        let manifest = Manifest {
            schema_version: 2,
            media_type: format.manifest().to_owned(),
            config: config_descriptor.clone(),
            layers: layers.iter().filter_map(|(_, layer)| Some(format.layer(layer.blob.as_ref()?))).collect(),
            annotations: BTreeMap::new(),
        };
        let mut blobs =
            vec![Upload { descriptor: config_descriptor.clone(), source: BlobSource::Bytes(config), mount: None }];
        blobs.extend(self.uploads(&layers, target)?);
        let mut pushed = self.upload(blobs, target, progress).await.with_context(pushing)?;
        pushed.digest =
            self.client.put_manifest(target, format.manifest(), manifest.to_bytes()).await.with_context(pushing)?;
        pushed.id = config_descriptor.digest.into();
        for (layer, _) in &layers {
            self.images.store.update_layer(layer, |record| add_source(record, &target.name()))?;
        }
        Ok(pushed)
    }

    /// All layers with their digests known. Compression takes all cores for each, so it is one after the other.
    async fn packed(&self, record: &ImageRecord) -> anyhow::Result<Vec<(LayerId, LayerRecord)>> {
        let (images, layers) = (self.images.clone(), record.layers.clone());
        let pack = move || {
            let pack = |id: LayerId| {
                let record = snapshot::ensure_blob(&images.store, &id, images.marks)?;
                anyhow::Ok((id, record))
            };
            layers.into_iter().map(pack).collect()
        };
        tokio::task::spawn_blocking(pack).await?
    }

    /// What has to be in the target repository, each blob once, and where it comes from.
    fn uploads(&self, layers: &[(LayerId, LayerRecord)], target: &ImageRef) -> anyhow::Result<Vec<Upload>> {
        let mut uploads = Vec::new();
        let mut seen = BTreeSet::new();
        for (id, record) in layers {
            let Some(blob) = record.blob.as_ref().filter(|blob| seen.insert(&blob.digest)) else { continue };
            let sources: Vec<ImageRef> =
                record.sources.iter().map(|source| source.parse()).collect::<Result<_, _>>()?;
            let sibling = sources.iter().find(|source| source.registry == target.registry);
            let file = self.images.store.blob_file(id);
            let source = match sources.first() {
                Some(elsewhere) if !file.exists() => BlobSource::Registry(sibling.unwrap_or(elsewhere).clone()),
                _ => BlobSource::File(file),
            };
            let mount = sibling.map(|source| source.repository.clone());
            let descriptor = Descriptor::new(&blob.media_type, blob.digest.clone(), blob.size);
            uploads.push(Upload { descriptor, source, mount });
        }
        Ok(uploads)
    }

    async fn upload(
        &self,
        uploads: Vec<Upload>,
        target: &ImageRef,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<Pushed> {
        let total = uploads.iter().map(|upload| upload.descriptor.size).sum();
        let meters: Vec<Arc<AtomicU64>> = uploads.iter().map(|_| Arc::default()).collect();
        let label = format!("Pushing {target}");
        let all = futures_util::stream::iter(uploads.into_iter().zip(meters.clone()))
            .map(|(upload, meter)| async move {
                let counter = Arc::clone(&meter);
                let count: Progress = Arc::new(move |bytes| counter.store(bytes, Ordering::Relaxed));
                let Upload { descriptor, source, mount } = upload;
                let outcome = self.client.upload(target, &descriptor, &source, mount.as_deref(), &count).await;
                meter.store(descriptor.size, Ordering::Relaxed);
                outcome
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<UploadOutcome>>();
        let outcomes = watched(all, &meters, |done| progress(&label, done, Some(total))).await?;
        let nothing = Digest::of(b"");
        let mut pushed = Pushed {
            digest: nothing.clone(),
            id: nothing.into(),
            uploaded_bytes: 0,
            reused_blobs: 0,
            mounted_blobs: 0,
        };
        for outcome in outcomes {
            match outcome {
                UploadOutcome::Existed => pushed.reused_blobs += 1,
                UploadOutcome::Mounted => pushed.mounted_blobs += 1,
                UploadOutcome::Uploaded(bytes) => pushed.uploaded_bytes += bytes,
            }
        }
        Ok(pushed)
    }
}

/// Waits for work and tells several times a second, and at its end, how far its meters are together.
async fn watched<T>(work: impl Future<Output = T>, meters: &[Arc<AtomicU64>], tell: impl Fn(u64)) -> T {
    let tell_all = || tell(meters.iter().map(|meter| meter.load(Ordering::Relaxed)).sum());
    let mut work = std::pin::pin!(work);
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = tick.tick() => tell_all(),
        }
    };
    tell_all();
    done
}

/// A blob on its way.
struct Upload {
    descriptor: Descriptor,
    source: BlobSource,
    /// Repository of the same registry that has it.
    mount: Option<String>,
}

/// Which family of media types an image is pushed with. Docker's, unless a layer of the base has a form that only the OCI
/// names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Docker,
    Oci,
}

impl Format {
    fn of(layers: &[(LayerId, LayerRecord)]) -> Self {
        let known = |blob: &Blob| [DOCKER_LAYER_GZIP, OCI_LAYER_GZIP].contains(&blob.media_type.as_str());
        let all_known = layers.iter().filter_map(|(_, layer)| layer.blob.as_ref()).all(known);
        if all_known { Self::Docker } else { Self::Oci }
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Docker => DOCKER_MANIFEST,
            Self::Oci => manifest::OCI_MANIFEST,
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Docker => DOCKER_CONFIG,
            Self::Oci => OCI_CONFIG,
        }
    }

    /// The two names of a gzip layer are exchanged for the one that fits; others stay.
    fn layer(self, blob: &Blob) -> Descriptor {
        let media_type = match (self, blob.media_type.as_str()) {
            (Self::Docker, OCI_LAYER_GZIP) => DOCKER_LAYER_GZIP,
            (Self::Oci, DOCKER_LAYER_GZIP) => OCI_LAYER_GZIP,
            (_, other) => other,
        };
        Descriptor::new(media_type, blob.digest.clone(), blob.size)
    }
}

/// The configuration as it is pushed: what the image had when it came, ours on top, and as `config.Image` the local id. Equal
/// for equal images, so that pushing twice sends nothing.
fn config_document(
    record: &ImageRecord,
    id: &ImageId,
    change: &ImageChange,
    diff_ids: &[&Digest],
) -> serde_json::Result<Vec<u8>> {
    let mut config = record.config.changed(change);
    config.other.insert("Image".to_owned(), id.as_str().into());
    let mut entries = record.history.clone();
    let with_layer = |entry: &Value| entry.get("empty_layer") != Some(&Value::Bool(true));
    // An image that came without a history, or with a wrong one, gets one: readers insist on an entry for each layer.
    if entries.iter().filter(|entry| with_layer(entry)).count() != diff_ids.len() {
        entries = diff_ids.iter().map(|_| history(record.created, false)).collect();
    }
    if *change != ImageChange::default() {
        entries.push(history(record.created, true));
    }
    let mut document = record.platform.clone();
    document.insert("config".to_owned(), serde_json::to_value(&config)?);
    document.insert("created".to_owned(), timestamp(record.created).into());
    document.insert("history".to_owned(), entries.into());
    document.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
    serde_json::to_vec(&document)
}

fn add_source(record: &mut LayerRecord, source: &str) {
    if !record.sources.iter().any(|known| known == source) {
        record.sources.push(source.to_owned());
    }
}
