//! One image into the images repo: look, lock, look again, push (publish-and-cleanup.md 4.3).

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::plan::{Publication, plan};
use super::report::Published;
use crate::ids::{CommitId, Digest, ImageId, StageSignature};
use crate::registry;
use crate::runtime::{ImageChange, ImageConfig, Runtime};
use crate::stage::tag::{ImagesRepo, TagStrategy};
use crate::stage::{StageDescription, display_image, labels, signature};
use crate::storage::{Locks, records::Records};
use crate::ui::{Frame, Style};

/// What publishing is given.
pub struct Press<'a> {
    pub runtime: Arc<dyn Runtime>,
    pub registry: registry::Client,
    pub records: &'a Records,
    pub locks: &'a Locks,
    /// Where this host remembers what it published: with it, one question to the registry is enough.
    pub memory: PathBuf,
    pub repo: ImagesRepo,
    pub tags: Vec<(TagStrategy, Option<String>)>,
    pub head: Option<CommitId>,
    pub dry_run: bool,
}

/// An image whose stages are all there.
#[derive(Clone, Copy)]
pub struct Finished<'a> {
    pub name: &'a str,
    pub signature: &'a StageSignature,
    pub last: &'a StageDescription,
}

/// Publishes an image under each of its tags.
pub async fn publish(press: &Press<'_>, image: Finished<'_>, log: &Frame) -> anyhow::Result<Vec<Published>> {
    if let (Some(head), false) = (&press.head, press.dry_run) {
        press.records.set_content_signature(image.name, head, image.signature).await?;
    }
    let mut published = Vec::new();
    for publication in plan(&press.repo, image.name, image.signature, &image.last.id.to_string(), &press.tags)? {
        published.extend(publish_one(press, &publication, image.last, log).await?);
    }
    Ok(published)
}

async fn publish_one(
    press: &Press<'_>,
    publication: &Publication,
    last: &StageDescription,
    log: &Frame,
) -> anyhow::Result<Option<Published>> {
    let Publication { strategy, target, .. } = publication;
    let attempted = || format!("cannot publish image {} as {target}", display_image(&publication.image));
    if let Some(there) = up_to_date(press, publication, last).await.with_context(attempted)? {
        tell_up_to_date(publication, log);
        return Ok(Some(there));
    }
    let tag = publication.labels.get(labels::IMAGE_TAG).map_or("", String::as_str);
    let title = format!("Publishing image {} by {strategy} tag {tag}", display_image(&publication.image));
    if press.dry_run {
        log.line(format!("{title} (dry run: nothing is sent)"));
        return Ok(None);
    }
    let process = log.process(&title, Style::Highlight);
    let done = push(press, publication, last, &process).await.with_context(attempted);
    match done {
        Ok(published) => {
            process.info();
            process.details(&[("images-repo", target.name()), ("image", target.to_string())]);
            process.end();
            Ok(Some(published))
        }
        Err(error) => {
            process.fail();
            Err(error)
        }
    }
}

async fn push(
    press: &Press<'_>,
    publication: &Publication,
    last: &StageDescription,
    log: &Frame,
) -> anyhow::Result<Published> {
    let target = &publication.target;
    let lock = format!("{target}.image");
    let _held = press.locks.acquire(&lock, |name| log.line(format!("Waiting for locked \"{name}\""))).await?;
    if let Some(there) = up_to_date(press, publication, last).await? {
        tell_up_to_date(publication, log);
        return Ok(there);
    }
    let change = ImageChange { labels: publication.labels.clone(), ..ImageChange::default() };
    let progress = log.progress(&format!("push {target}"));
    let pushed = press
        .runtime
        .push(&last.image, &change, target, &|_, done, total| progress.set(done, total.unwrap_or(0)))
        .await?;
    drop(progress);
    let published = Published {
        image: publication.image.clone(),
        target: target.clone(),
        id: pushed.id,
        digest: pushed.digest,
        pushed: true,
    };
    remember(press, publication, last, &published);
    Ok(published)
}

fn tell_up_to_date(publication: &Publication, log: &Frame) {
    let Publication { strategy, target, .. } = publication;
    log.highlight(format!("{strategy} tag {} is up-to-date", target.tag.as_deref().unwrap_or_default()));
    log.indented_details(&[("images-repo", target.name()), ("image", target.to_string())]);
}

/// The image in the registry when it is already what we would push: same last stage, same content.
async fn up_to_date(
    press: &Press<'_>,
    publication: &Publication,
    last: &StageDescription,
) -> anyhow::Result<Option<Published>> {
    let there = match remembered(press, publication, last) {
        Some(memory) => {
            let Some((digest, ..)) = press.registry.manifest_head(&publication.target).await? else { return Ok(None) };
            if digest == memory.digest {
                Some((memory.id, digest))
            } else {
                read_back(press, publication, last).await?
            }
        }
        None => read_back(press, publication, last).await?,
    };
    Ok(there.map(|(id, digest)| Published {
        image: publication.image.clone(),
        target: publication.target.clone(),
        id,
        digest,
        pushed: false,
    }))
}

/// Configurations are small; a larger one is an attack.
const CONFIG_LIMIT: u64 = 8 * 1024 * 1024;

#[derive(Deserialize)]
struct RemoteConfig {
    #[serde(default)]
    config: Option<ImageConfig>,
}

/// Reads labels and parent of the image in the registry.
async fn read_back(
    press: &Press<'_>,
    publication: &Publication,
    last: &StageDescription,
) -> anyhow::Result<Option<(ImageId, Digest)>> {
    let Some(fetched) = press.registry.manifest(&publication.target).await? else { return Ok(None) };
    let Ok(registry::manifest::Document::Image(manifest)) = fetched.parse() else { return Ok(None) };
    let bytes = match press.registry.blob_bytes(&publication.target, &manifest.config, CONFIG_LIMIT).await {
        Ok(bytes) => bytes,
        // A manifest without its configuration is a damaged image: it is published anew.
        Err(error) if error.is_absent() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Ok(RemoteConfig { config: Some(config) }) = serde_json::from_slice(&bytes) else { return Ok(None) };
    let parent = config.other.get("Image").and_then(serde_json::Value::as_str).unwrap_or_default();
    let content = config.labels.get(labels::CONTENT_SIGNATURE).map(String::as_str).unwrap_or_default();
    let same = parent == last.image.as_str() && content == publication.content_signature.as_str();
    Ok(same.then(|| (manifest.config.digest.clone().into(), fetched.digest.clone())))
}

/// What this host knows of a tag it has published.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    parent: ImageId,
    content_signature: StageSignature,
    id: ImageId,
    digest: Digest,
}

fn memory_path(press: &Press<'_>, publication: &Publication) -> PathBuf {
    press.memory.join(signature::id("published", &[&publication.target.to_string()]))
}

fn remembered(press: &Press<'_>, publication: &Publication, last: &StageDescription) -> Option<Memory> {
    let bytes = std::fs::read(memory_path(press, publication)).ok()?;
    let memory: Memory = serde_json::from_slice(&bytes).ok()?;
    (memory.parent == last.image && memory.content_signature == publication.content_signature).then_some(memory)
}

/// A lost memory costs one more question next time; so a failure to write it is no failure.
fn remember(press: &Press<'_>, publication: &Publication, last: &StageDescription, published: &Published) {
    let memory = Memory {
        parent: last.image.clone(),
        content_signature: publication.content_signature.clone(),
        id: published.id.clone(),
        digest: published.digest.clone(),
    };
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(&press.memory)?;
        let mut file = tempfile::NamedTempFile::new_in(&press.memory)?;
        std::io::Write::write_all(&mut file, &serde_json::to_vec(&memory)?)?;
        file.persist(memory_path(press, publication))?;
        Ok(())
    };
    let _ = write();
}
