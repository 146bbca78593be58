//! Building: images in the order of their dependencies, stages in the order of the conveyor.
//!
//! `order` (which images) → `conveyor` (the walk through one) → `facts` (what a stage depends on) → `stapel` (a new stage)
//! → `report`. Knows nothing of GitLab and of publishing.

mod below;
mod conveyor;
pub mod explain;
mod facts;
mod imports;
mod instructions;
mod mounts;
pub mod order;
pub mod report;
mod shell;
pub mod sources;
pub mod ssh_agent;
mod stapel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Image};
use crate::ids::{ImageId, StageSignature};
use crate::runtime::{Limits, Runtime};
use crate::stage::{StageName, display_image};
use crate::storage::{LocalStages, records::Records};
use crate::sys::signal::Interruption;
use crate::ui::{Frame, Style, words};

pub use report::{BuildReport, ImageReport, Outcome, StageReport};
pub use shell::Interpreter;
pub use sources::Sources;
pub use ssh_agent::SshAgent;

/// What to do when a stage is not in the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    Build,
    /// Only check that everything is there (`publish`, `run`).
    Stop,
    /// Only tell the first stage of each image that would be built (`--dry-run`).
    Tell,
}

/// When to open a shell (spec/build.md 6.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introspect {
    pub error: bool,
    pub before_error: bool,
    /// Image (`None` is any) and stage.
    pub stages: Vec<(Option<String>, StageName)>,
}

impl Introspect {
    pub fn on_error(&self) -> bool {
        self.error || self.before_error
    }

    pub fn is_off(&self) -> bool {
        !self.on_error() && self.stages.is_empty()
    }

    fn wants(&self, image: &str, stage: StageName) -> bool {
        self.stages.iter().any(|(name, wanted)| *wanted == stage && name.as_ref().is_none_or(|name| name == image))
    }
}

/// Everything a build is given. Made by the command line.
pub struct Site<'a> {
    pub runtime: Arc<dyn Runtime>,
    pub storage: &'a LocalStages,
    pub records: &'a Records,
    pub sources: &'a Sources,
    pub config: &'a Config,
    pub project: &'a str,
    pub project_dir: &'a Path,
    pub home: Option<&'a Path>,
    pub ssh_agent: &'a SshAgent,
    /// A directory of this run, removed at its end.
    pub tmp: PathBuf,
    /// Where `build_dir` mounts of all projects are kept.
    pub build_mounts: PathBuf,
    /// Of every container of the build.
    pub limits: Limits,
    pub cancel: CancellationToken,
    pub introspect: Introspect,
    pub on_missing: OnMissing,
    /// Images built at once; `None` is one after another.
    pub parallel: Option<usize>,
    /// What runs the commands on each base image, once it was looked up.
    pub interpreters: Mutex<BTreeMap<ImageId, Interpreter>>,
    /// Stages that are looked for or built right now: images of one run with the same stage build it once.
    pub flights: Mutex<BTreeMap<StageSignature, Arc<Mutex<()>>>>,
}

impl Site<'_> {
    fn style(&self, artifact: bool) -> Style {
        if artifact { Style::Artifact } else { Style::Image }
    }

    /// Held while a stage is built; another image that wants the same one waits and finds it then.
    async fn flight(&self, signature: &StageSignature) -> OwnedMutexGuard<()> {
        let flight = self.flights.lock().await.entry(signature.clone()).or_default().clone();
        flight.lock_owned().await
    }

    /// Waits for something that leaves nothing behind when it is dropped, unless the run is over.
    async fn unless_over<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            () = self.cancel.cancelled() => Err(Interruption::error().into()),
        }
    }
}

/// What happens to an image as soon as its stages are there, inside its box of the log.
#[async_trait]
pub trait OnImage: Sync {
    async fn on_image(&self, image: &ImageReport, log: &Frame) -> anyhow::Result<()>;
}

/// Nothing more.
#[async_trait]
impl OnImage for () {
    async fn on_image(&self, _: &ImageReport, _: &Frame) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Builds the wanted images (all when none are named) and what they depend on.
pub async fn build(
    site: &Site<'_>,
    wanted: &[String],
    on_image: &dyn OnImage,
    log: &Frame,
) -> anyhow::Result<BuildReport> {
    let sets = order::sets(site.config, wanted)?;
    let limit = site.parallel.filter(|_| site.introspect.is_off() && sets.iter().map(Vec::len).sum::<usize>() > 1);
    if let Some(limit) = limit {
        announce(&sets, limit, log);
    }
    let mut finished: BTreeMap<String, ImageReport> = BTreeMap::new();
    let mut report = BuildReport::default();
    for set in sets {
        for image in build_set(site, &set, limit, &finished, on_image, log).await?.into_iter().flatten() {
            finished.insert(image.name.clone(), image.clone());
            report.images.push(image);
        }
    }
    Ok(report)
}

/// The images of one set, side by side. The first failure ends the others; their containers are removed before it is told.
async fn build_set(
    site: &Site<'_>,
    set: &[&Image],
    limit: Option<usize>,
    finished: &BTreeMap<String, ImageReport>,
    on_image: &dyn OnImage,
    log: &Frame,
) -> anyhow::Result<Vec<Option<ImageReport>>> {
    let frames = if limit.is_some() { log.parallel(set.len()) } else { vec![log.clone(); set.len()] };
    let tasks = set.iter().zip(frames).map(|(image, frame)| async move {
        if site.cancel.is_cancelled() {
            return Err(Interruption::error().into());
        }
        let built = build_image(site, image, finished, on_image, &frame).await;
        if limit.is_some() {
            frame.finish_task(built.is_err());
        }
        if built.is_err() {
            site.cancel.cancel();
        }
        built
    });
    let results: Vec<anyhow::Result<_>> = stream::iter(tasks).buffered(limit.unwrap_or(1)).collect().await;
    first_failure(results)
}

/// The failure that ended the others, not the interruptions it caused.
fn first_failure<T>(results: Vec<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut images = Vec::new();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(image) => images.push(image),
            Err(error) => failures.push(error),
        }
    }
    let interrupted = |error: &anyhow::Error| {
        error.chain().any(|link| {
            link.downcast_ref::<crate::error::Error>()
                .is_some_and(|error| crate::error::Explain::kind(error) == crate::error::ErrorKind::Interrupted)
        })
    };
    match failures.iter().position(|error| !interrupted(error)) {
        Some(cause) => Err(failures.swap_remove(cause)),
        None => failures.pop().map_or(Ok(images), Err),
    }
}

/// `None` when something of it is missing and is not to be built.
async fn build_image(
    site: &Site<'_>,
    image: &Image,
    finished: &BTreeMap<String, ImageReport>,
    on_image: &dyn OnImage,
    log: &Frame,
) -> anyhow::Result<Option<ImageReport>> {
    let name = (!image.name().is_empty()).then(|| image.name());
    let title = if image.is_artifact() { log.artifact_title(name) } else { log.image_title(name) };
    let process = log.process(&title, site.style(image.is_artifact()));
    let built = async {
        if let Some(base) = order::dependencies(image).into_iter().find(|base| !finished.contains_key(*base)) {
            process.line(format!("would be built on {}, which is not built yet", display_image(base)));
            return Ok(None);
        }
        let Some(report) = conveyor::walk(site, image, finished, &process).await? else { return Ok(None) };
        if report.has_new_stage() && !report.artifact {
            site.records.add_managed_image(&report.name).await?;
        }
        site.unless_over(on_image.on_image(&report, &process)).await?;
        anyhow::Ok(Some(report))
    }
    .await;
    match &built {
        Ok(_) => process.end(),
        Err(_) => process.fail(),
    }
    built
}

fn announce(sets: &order::Sets<'_>, limit: usize, log: &Frame) {
    let limit = if limit == usize::MAX {
        "without limit".to_owned()
    } else {
        format!("no more than {} at the same time", words::plural(limit, "image", "images"))
    };
    let block = log.block(&format!("Concurrent builds plan ({limit})"));
    for (number, set) in sets.iter().enumerate() {
        block.line(format!("Set #{number}:"));
        for image in set {
            let name = Some(display_image(image.name()));
            let title = if image.is_artifact() { log.artifact_title(name) } else { log.image_title(name) };
            block.line(format!("- {title}"));
        }
    }
    block.end();
}
