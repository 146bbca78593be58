//! Stages in the local image store of the runtime in use: the storage `:local` (spec/build.md 7.1).
//!
//! A stage is an image named `werf-stages-storage/<project>:<signature>-<milliseconds>`. The list of a project's stages is
//! read once; a signature that is not in it is looked up again before anything is built.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Mutex;

use super::Locks;
use crate::ids::{StageId, StageSignature};
use crate::runtime::{ImageDescription, ImageFilter, Runtime};
use crate::stage::{StageDescription, labels};
use crate::sys::clock::Clock;

/// The stages of one project on this host.
pub struct LocalStages {
    runtime: Arc<dyn Runtime>,
    locks: Locks,
    clock: Clock,
    project: String,
    known: Mutex<Option<Vec<StageDescription>>>,
}

/// What became of a freshly built stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    New(StageDescription),
    /// Somebody stored a fitting one while ours was being built; ours is dropped.
    Discarded(StageDescription),
}

/// Chooses among stages with one signature: `stage::select` with the current commits.
pub type Fits<'a> = &'a (dyn Fn(&[StageDescription]) -> anyhow::Result<Option<StageDescription>> + Send + Sync);

impl LocalStages {
    pub fn new(runtime: Arc<dyn Runtime>, locks: Locks, clock: Clock, project: &str) -> Self {
        Self { runtime, locks, clock, project: project.to_owned(), known: Mutex::new(None) }
    }

    /// Where the stages are, as the log shows it.
    pub fn repository(&self) -> String {
        format!("werf-stages-storage/{}", self.project)
    }

    /// Every stage of the project, as of the first call.
    pub async fn all(&self) -> anyhow::Result<Vec<StageDescription>> {
        let mut known = self.known.lock().await;
        if let Some(stages) = known.as_ref() {
            return Ok(stages.clone());
        }
        let stages = self.list(BTreeMap::new()).await?;
        *known = Some(stages.clone());
        Ok(stages)
    }

    /// The stages with a signature, oldest first.
    pub async fn find(&self, signature: &StageSignature) -> anyhow::Result<Vec<StageDescription>> {
        let mut found: Vec<_> =
            self.all().await?.into_iter().filter(|stage| stage.id.signature == *signature).collect();
        if found.is_empty() {
            found = self.find_now(signature).await?;
        }
        found.sort_by_key(|stage| stage.id.unique);
        Ok(found)
    }

    /// Names a built image as a stage, unless a fitting one has appeared meanwhile (spec/build.md 2.11). `on_wait` is
    /// called once when another process holds the lock.
    pub async fn store(
        &self,
        signature: &StageSignature,
        image: &ImageDescription,
        fits: Fits<'_>,
        on_wait: impl FnOnce(&str) + Send,
    ) -> anyhow::Result<Stored> {
        let lock = self.locks.acquire(&format!("{}.{signature}", self.project), on_wait).await?;
        let existing = self.find_now(signature).await?;
        if let Some(winner) = fits(&existing)? {
            self.runtime.untag(image.id.as_str()).await?;
            return Ok(Stored::Discarded(winner));
        }
        let id = self.free_id(signature, &existing);
        let name = self.name(&id);
        self.runtime.tag(&image.id, &name).await.with_context(|| format!("cannot store the stage as {name}"))?;
        drop(lock);
        self.settle(&id, fits).await
    }

    /// Looks again after storing: a process that does not share our lock directory (another user of the same daemon) may
    /// have stored the same stage. The oldest wins everywhere.
    async fn settle(&self, id: &StageId, fits: Fits<'_>) -> anyhow::Result<Stored> {
        let stages = self.find_now(&id.signature).await?;
        let winner = fits(&stages)?.with_context(|| format!("the stage {id} is gone right after it was stored"))?;
        if winner.id == *id {
            if let Some(known) = self.known.lock().await.as_mut() {
                known.push(winner.clone());
            }
            return Ok(Stored::New(winner));
        }
        self.runtime.untag(&self.name(id)).await?;
        Ok(Stored::Discarded(winner))
    }

    fn name(&self, id: &StageId) -> String {
        format!("{}:{id}", self.repository())
    }

    fn free_id(&self, signature: &StageSignature, existing: &[StageDescription]) -> StageId {
        let mut unique = u64::try_from(self.clock.now()).unwrap_or_default();
        while existing.iter().any(|stage| stage.id.unique == unique) {
            unique += 1;
        }
        StageId { signature: signature.clone(), unique }
    }

    async fn find_now(&self, signature: &StageSignature) -> anyhow::Result<Vec<StageDescription>> {
        let mut stages = self.list([(labels::STAGE_SIGNATURE.to_owned(), signature.to_string())].into()).await?;
        stages.retain(|stage| stage.id.signature == *signature);
        Ok(stages)
    }

    async fn list(&self, labels: BTreeMap<String, String>) -> anyhow::Result<Vec<StageDescription>> {
        let repository = self.repository();
        let images = self
            .runtime
            .list(&ImageFilter { repository: Some(repository.clone()), labels })
            .await
            .with_context(|| format!("cannot list the stages in {repository}"))?;
        Ok(images.into_iter().flat_map(|image| describe(&repository, image)).collect())
    }
}

/// An image as the stages that its names stand for; names of another form are not ours and are passed over.
fn describe(repository: &str, image: ImageDescription) -> Vec<StageDescription> {
    let ids: Vec<StageId> =
        image.names.iter().filter_map(|name| name.strip_prefix(repository)?.strip_prefix(':')?.parse().ok()).collect();
    let stage = |id| StageDescription {
        id,
        image: image.id.clone(),
        parent: image.parent.clone(),
        repository: repository.to_owned(),
        labels: image.config.labels.clone(),
        size: image.size,
        created: image.created,
    };
    ids.into_iter().map(stage).collect()
}
