//! Images made without a container: an archive with nothing but a configuration and a new layer, given to `load`.
//!
//! The engine takes the layers below from its own store and never looks for them in the archive (decisions 3.2). An engine
//! that does look for them, as those with containerd's image store may, gets them back from its own export: correct, but slow.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bollard::models::ImageHistoryResponseItem;
use bollard::query_parameters::ImportImageOptions;
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use tokio_util::io::ReaderStream;

use super::tree::entries_of;
use super::{DockerError, DockerRuntime};
use crate::ids::{Digest, ImageId};
use crate::layer::{Entry, EntryKind, LayerSource, write_tar};
use crate::runtime::ImageConfig;

/// Bytes of the manifest of an export that are read.
const EXPORT_MANIFEST: u64 = 16 << 20;

/// What an image shall be: everything but its new layer.
#[derive(Clone)]
pub(super) struct NewImage {
    /// The image of the engine that has exactly the layers below.
    pub(super) below: Option<ImageId>,
    pub(super) platform: Platform,
    /// Milliseconds since 1970.
    pub(super) created: i64,
    pub(super) config: ImageConfig,
    /// Layers that the engine has.
    pub(super) diff_ids: Vec<String>,
    pub(super) history: Vec<HistoryEntry>,
    /// Tells of the step that makes this image.
    pub(super) comment: String,
}

/// What an image runs on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Platform {
    pub(super) architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<String>,
    pub(super) os: String,
}

/// One step of how an image came about (OCI image configuration).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct HistoryEntry {
    pub(super) created: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) created_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) comment: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) empty_layer: bool,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    platform: &'a Platform,
    created: &'a str,
    config: &'a ImageConfig,
    rootfs: RootFs<'a>,
    history: &'a [HistoryEntry],
}

#[derive(Serialize)]
struct RootFs<'a> {
    r#type: &'static str,
    diff_ids: &'a [String],
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    config: String,
    layers: Vec<String>,
}

impl DockerRuntime {
    /// Makes the image and gives its id.
    pub(super) async fn load(&self, image: NewImage, layer: Option<Arc<dyn LayerSource>>) -> anyhow::Result<ImageId> {
        if !self.wants_whole_archives.load(Ordering::Relaxed) {
            match self.load_with(Vec::new(), image.clone(), layer.clone()).await {
                Err(error) if image.below.is_some() && misses_layers(&error) => {}
                loaded => return loaded,
            }
        }
        let below = match &image.below {
            Some(below) => self.exported_layers(below).await?,
            None => Vec::new(),
        };
        let loaded = self.load_with(below, image, layer).await?;
        self.wants_whole_archives.store(true, Ordering::Relaxed);
        Ok(loaded)
    }

    async fn load_with(
        &self,
        below: Vec<Entry>,
        image: NewImage,
        layer: Option<Arc<dyn LayerSource>>,
    ) -> anyhow::Result<ImageId> {
        let tmp_dir = self.tmp_dir.clone();
        let archive = tokio::task::spawn_blocking(move || archive(&tmp_dir, &below, image, layer.as_deref())).await??;
        let body = ReaderStream::with_capacity(tokio::fs::File::from_std(archive), 128 << 10);
        let options = ImportImageOptions { quiet: true, ..Default::default() };
        let answers: Vec<_> = self
            .docker
            .import_image(options, bollard::body_try_stream(body), None)
            .try_collect()
            .await
            .map_err(self.failed("add an image to the engine"))?;
        let text: String = answers.into_iter().filter_map(|answer| answer.stream).collect();
        let id = text.lines().find_map(|line| line.strip_prefix("Loaded image ID: ")?.trim().parse().ok());
        Ok(id.ok_or(DockerError::Strange { what: "an answer to a loaded image", text })?)
    }

    /// The layers of an image, lowest first, as files of an archive that the engine wrote.
    async fn exported_layers(&self, id: &ImageId) -> anyhow::Result<Vec<Entry>> {
        let chunks = self.docker.export_image(id.as_str());
        let spool = self.spool(chunks, &format!("export image `{id}`")).await?;
        tokio::task::spawn_blocking(move || layers_of(entries_of(&spool, Path::new(""), true)?)).await?
    }

    /// How an image came about, oldest step first.
    pub(super) async fn history(&self, id: &ImageId, layers: usize) -> Result<Vec<HistoryEntry>, DockerError> {
        let mut steps = self
            .docker
            .image_history(id.as_str())
            .await
            .map_err(self.failed(format!("read the history of image `{id}`")))?;
        steps.reverse();
        Ok(history_entries(steps, layers))
    }
}

/// Whether the engine looked for layers in the archive that it has itself.
fn misses_layers(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<DockerError>() {
        Some(DockerError::Refused { message, .. }) => {
            ["no such file", "not found"].iter().any(|word| message.contains(word))
        }
        _ => false,
    }
}

/// The files that the manifest of an exported image names as its layers. One that is a link stands for another.
fn layers_of(files: Vec<Entry>) -> anyhow::Result<Vec<Entry>> {
    let strange = |text: String| DockerError::Strange { what: "an export", text };
    let find = |path: &Path| files.iter().find(|file| file.path == path);
    let mut manifest = Vec::new();
    if let Some(Entry { kind: EntryKind::File { content, .. }, .. }) = find(Path::new("manifest.json")) {
        content.open()?.take(EXPORT_MANIFEST).read_to_end(&mut manifest)?;
    }
    let manifests: Vec<Manifest> = serde_json::from_slice(&manifest).map_err(|error| strange(error.to_string()))?;
    let names = manifests.into_iter().next().map(|manifest| manifest.layers).unwrap_or_default();
    let layer = |name: String| {
        let path = match find(Path::new(&name)) {
            Some(Entry { kind: EntryKind::Symlink { target }, path, .. }) => beside(path, target),
            _ => name.clone().into(),
        };
        let is_file = |file: &&Entry| matches!(file.kind, EntryKind::File { .. });
        Ok(find(&path).filter(is_file).cloned().ok_or_else(|| strange(format!("no layer `{name}`")))?)
    };
    names.into_iter().map(layer).collect()
}

/// What a relative link at `path` means.
fn beside(path: &Path, target: &Path) -> PathBuf {
    let mut meant = path.parent().map(Path::to_owned).unwrap_or_default();
    for part in target.components() {
        match part {
            Component::ParentDir => drop(meant.pop()),
            part => meant.push(part),
        }
    }
    meant
}

/// The engine tells the size of each step, but not which of those without size have a layer of their own. There must be as
/// many with one as there are layers: sizeless steps that ran something come first, then others, then steps we make up.
fn history_entries(steps: Vec<ImageHistoryResponseItem>, layers: usize) -> Vec<HistoryEntry> {
    let mut entries: Vec<HistoryEntry> = Vec::new();
    let sized = steps.iter().filter(|step| step.size > 0).count();
    let mut missing = layers.saturating_sub(sized);
    let mut surplus = sized.saturating_sub(layers);
    let ran = |step: &ImageHistoryResponseItem| step.size == 0 && !step.created_by.contains("#(nop)");
    let mut others = missing.saturating_sub(steps.iter().filter(|step| ran(step)).count());
    for step in &steps {
        let mut empty_layer = step.size == 0;
        let taken_from = if ran(step) { &mut missing } else { &mut others };
        if empty_layer && *taken_from > 0 {
            *taken_from -= 1;
            empty_layer = false;
        } else if !empty_layer && surplus > 0 {
            surplus -= 1;
            empty_layer = true;
        }
        let created = rfc3339(step.created.saturating_mul(1000));
        entries.push(HistoryEntry {
            created,
            created_by: step.created_by.clone(),
            comment: step.comment.clone(),
            empty_layer,
        });
    }
    let with_layer = entries.iter().filter(|entry| !entry.empty_layer).count();
    for _ in with_layer..layers {
        entries.push(HistoryEntry {
            created: rfc3339(0),
            created_by: String::new(),
            comment: String::new(),
            empty_layer: false,
        });
    }
    entries
}

/// Milliseconds since 1970 as configurations have them.
pub(super) fn rfc3339(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// An unnamed file with the archive, at its beginning.
fn archive(
    tmp_dir: &Path,
    below: &[Entry],
    mut image: NewImage,
    layer: Option<&dyn LayerSource>,
) -> anyhow::Result<File> {
    use anyhow::Context as _;
    let no_room = || format!("cannot write a layer into `{}`", tmp_dir.display());
    let mut archive =
        Archive { file: BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(tmp_dir).with_context(no_room)?) };
    for (at, file) in below.iter().enumerate() {
        if let EntryKind::File { content, .. } = &file.kind {
            archive.member_of_unknown_size(&layer_name(at), |out| Ok(io::copy(&mut content.open()?, out)?))?;
        }
    }
    let created = rfc3339(image.created);
    let created_by = if layer.is_some() { "slipway: files" } else { "slipway: configuration" };
    image.history.push(HistoryEntry {
        created: created.clone(),
        created_by: created_by.to_owned(),
        comment: image.comment,
        empty_layer: layer.is_none(),
    });
    if let Some(layer) = layer {
        let name = layer_name(image.diff_ids.len());
        let diff_id = archive.member_of_unknown_size(&name, |out| Ok(write_tar(layer, out)?.diff_id))?;
        image.diff_ids.push(diff_id.to_string());
    }
    let record = Record {
        platform: &image.platform,
        created: &created,
        config: &image.config,
        rootfs: RootFs { r#type: "layers", diff_ids: &image.diff_ids },
        history: &image.history,
    };
    let config = serde_json::to_vec(&record)?;
    let name = format!("{}.json", Digest::of(&config).hex());
    archive.member(&name, &config)?;
    let layers = (0..image.diff_ids.len()).map(layer_name).collect();
    archive.member("manifest.json", &serde_json::to_vec(&[Manifest { config: name, layers }])?)?;
    archive.finish().with_context(no_room)
}

fn layer_name(at: usize) -> String {
    format!("layer-{at}.tar")
}

/// A tar in the making that may learn the size of a member only when it is written.
struct Archive {
    file: BufWriter<File>,
}

impl Archive {
    fn member(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.file.write_all(header(name, content.len() as u64)?.as_bytes())?;
        self.file.write_all(content)?;
        self.pad(content.len() as u64)
    }

    fn member_of_unknown_size<T>(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let start = self.file.stream_position()?;
        self.file.write_all(&[0; 512])?;
        let written = write(&mut self.file)?;
        let end = self.file.stream_position()?;
        let size = end.saturating_sub(start).saturating_sub(512);
        self.file.seek(SeekFrom::Start(start))?;
        self.file.write_all(header(name, size)?.as_bytes())?;
        self.file.seek(SeekFrom::Start(end))?;
        self.pad(size)?;
        Ok(written)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros = [0; 512];
        let rest = (512 - size % 512) % 512;
        self.file.write_all(zeros.get(..rest as usize).unwrap_or_default())
    }

    fn finish(mut self) -> io::Result<File> {
        self.file.write_all(&[0; 1024])?;
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}

fn header(name: &str, size: u64) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Content;
    use crate::registry::DockerConfig;
    use crate::runtime::docker::DockerOptions;
    use crate::runtime::{BasePolicy, ImageChange, ImageStore, TreeRequest};
    use crate::sys::clock::Clock;

    fn file(path: &str, content: &str) -> Entry {
        let kind = EntryKind::File { size: content.len() as u64, content: Content::Bytes(content.to_owned().into()) };
        Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: Default::default() }
    }

    #[test]
    fn layers_of_an_export_may_be_links() {
        let link = Entry { kind: EntryKind::Symlink { target: "../a/layer.tar".into() }, ..file("b/layer.tar", "") };
        let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar","b/layer.tar"]}]"#;
        let layers = layers_of(vec![file("a/layer.tar", "x"), link, file("manifest.json", manifest)]).unwrap();
        assert_eq!(layers.iter().map(|layer| layer.path.as_path()).collect::<Vec<_>>(), [Path::new("a/layer.tar"); 2]);
        let missing = layers_of(vec![file("manifest.json", manifest)]).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the Docker Engine gave an export that cannot be understood: `no layer `a/layer.tar``"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_engine_that_wants_whole_archives_gets_them() {
        let (Ok(host), Ok(base)) = (std::env::var("DOCKER_HOST"), std::env::var("TESTBED_BASE_IMAGE")) else {
            println!("skipped: DOCKER_HOST or TESTBED_BASE_IMAGE is not set");
            return;
        };
        let tmp = tempfile::tempdir().unwrap();
        let docker_config = DockerConfig::default();
        let options =
            DockerOptions { host: Some(host), docker_config, tmp_dir: tmp.path().to_owned(), clock: Clock::System };
        let runtime = DockerRuntime::connect(options).await.unwrap();
        let base: ImageId = runtime.base(&base, BasePolicy::PreferLocal, &|_, _, _| {}).await.unwrap().id;
        // The engine here has the layers and would not look at ours: so we do.
        let hashed = |layer: Entry| match layer.kind {
            EntryKind::File { content, .. } => {
                let mut bytes = Vec::new();
                content.open().unwrap().read_to_end(&mut bytes).unwrap();
                Digest::of(&bytes).to_string()
            }
            other => panic!("{other:?}"),
        };
        let exported: Vec<String> = runtime.exported_layers(&base).await.unwrap().into_iter().map(hashed).collect();
        assert_eq!(exported, runtime.existing(&base).await.unwrap().diff_ids);
        runtime.wants_whole_archives.store(true, Ordering::Relaxed);
        let layer = Arc::new(vec![file("t/whole", "archive")]);
        let image = runtime.append(Some(&base), Some(layer), &ImageChange::default()).await.unwrap();
        let tree = runtime.tree(&image.id, &TreeRequest { path: "/t/whole".into() }).await.unwrap();
        let below = runtime.tree(&image.id, &TreeRequest { path: "/etc/passwd".into() }).await.unwrap();
        runtime.drop_unnamed(image.id.as_str()).await;
        assert!(tree.is_some() && below.is_some());
    }

    fn step(size: i64, created_by: &str) -> ImageHistoryResponseItem {
        ImageHistoryResponseItem { size, created_by: created_by.to_owned(), created: 1, ..Default::default() }
    }

    #[test]
    fn as_many_steps_with_a_layer_as_there_are_layers() {
        let steps = || {
            vec![
                step(9, "ADD"),
                step(0, "#(nop) ENV"),
                step(0, "RUN true"),
                step(0, "#(nop) WORKDIR /a"),
                step(5, "COPY"),
            ]
        };
        let with_layer = |layers| -> Vec<String> {
            let entries = history_entries(steps(), layers).into_iter().filter(|entry| !entry.empty_layer);
            entries.map(|entry| entry.created_by).collect()
        };
        assert_eq!(with_layer(2), ["ADD", "COPY"]);
        assert_eq!(with_layer(3), ["ADD", "RUN true", "COPY"]);
        assert_eq!(with_layer(4), ["ADD", "#(nop) ENV", "RUN true", "COPY"]);
        assert_eq!(with_layer(6), ["ADD", "#(nop) ENV", "RUN true", "#(nop) WORKDIR /a", "COPY", ""]);
        assert_eq!(with_layer(1), ["COPY"]);
    }
}
