//! Stages in the local image store of the runtime in use: the storage `:local` (spec/build.md 7.1).
//!
//! A stage is an image named `werf-stages-storage/<project>:<signature>-<milliseconds>`. The list of a project's stages is
//! read once; what is not in it is looked for again before it is built, and once more after it was stored.

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

    /// Every stage of the project, as of the first call, and what was stored or found since.
    pub async fn all(&self) -> anyhow::Result<Vec<StageDescription>> {
        let mut known = self.known.lock().await;
        if let Some(stages) = known.as_ref() {
            return Ok(stages.clone());
        }
        let stages = self.list(BTreeMap::new()).await?;
        *known = Some(stages.clone());
        Ok(stages)
    }

    /// The stages with a signature among [`LocalStages::all`].
    pub async fn find(&self, signature: &StageSignature) -> anyhow::Result<Vec<StageDescription>> {
        Ok(self.all().await?.into_iter().filter(|stage| stage.id.signature == *signature).collect())
    }

    /// The stages with a signature right now.
    pub async fn look_again(&self, signature: &StageSignature) -> anyhow::Result<Vec<StageDescription>> {
        let mut stages = self.list([(labels::STAGE_SIGNATURE.to_owned(), signature.to_string())].into()).await?;
        stages.retain(|stage| stage.id.signature == *signature);
        if let Some(known) = self.known.lock().await.as_mut() {
            known.retain(|stage| stage.id.signature != *signature);
            known.extend(stages.iter().cloned());
        }
        Ok(stages)
    }

    /// Names a built image as a stage, unless a fitting one has appeared meanwhile (spec/build.md 2.11). `on_wait` is
    /// called once when another process holds the lock.
    ///
    /// The name is given first and the list read after it, so that processes without a common lock directory (other users
    /// of the same daemon) agree too: the oldest wins everywhere.
    pub async fn store(
        &self,
        signature: &StageSignature,
        image: &ImageDescription,
        fits: Fits<'_>,
        on_wait: impl FnOnce(&str) + Send,
    ) -> anyhow::Result<Stored> {
        let _lock = self.locks.acquire(&format!("{}.{signature}", self.project), on_wait).await?;
        let id = self.free_id(signature).await?;
        let name = self.name(&id);
        if let Err(error) = self.runtime.tag(&image.id, &name).await {
            // In Docker, processes that build the same at the same moment may share one image; one that has found an older
            // stage drops it under the others, and then that stage is there for them too.
            return match fits(&self.look_again(signature).await?)? {
                Some(winner) => Ok(Stored::Discarded(winner)),
                None => Err(error.context(format!("cannot store the stage as {name}"))),
            };
        }
        let stages = self.look_again(signature).await?;
        let winner = fits(&stages)?.with_context(|| format!("the stage {id} is gone right after it was stored"))?;
        if winner.id == id {
            return Ok(Stored::New(winner));
        }
        self.runtime.untag(&name).await?;
        if let Some(known) = self.known.lock().await.as_mut() {
            known.retain(|stage| stage.id != id);
        }
        Ok(Stored::Discarded(winner))
    }

    fn name(&self, id: &StageId) -> String {
        format!("{}:{id}", self.repository())
    }

    async fn free_id(&self, signature: &StageSignature) -> anyhow::Result<StageId> {
        let unique = u64::try_from(self.clock.now()).unwrap_or_default();
        let mut id = StageId { signature: signature.clone(), unique };
        while self.runtime.inspect(&self.name(&id)).await?.is_some() {
            id.unique += 1;
        }
        Ok(id)
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
