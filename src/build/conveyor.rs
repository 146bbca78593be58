//! The walk through one image: for each stage facts, signature, a fitting stored stage or a new one (architecture, section 4).

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context;

use super::facts::{self, Step};
use super::report::{ImageReport, Outcome, StageReport};
use super::sources::MappingSource;
use super::{OnMissing, Site, explain, stapel};
use crate::config::{Base, Image, StapelImage};
use crate::error::Error;
use crate::ids::StageSignature;
use crate::runtime::{BasePolicy, ContainerSpec, ImageChange, Network};
use crate::stage::labels::StageLabels;
use crate::stage::signature::{self, Previous};
use crate::stage::why::{Reason, Wanted};
use crate::stage::{
    Commits, Dependencies, Positions, StageDescription, StageName, display_image, display_name, select, sequence,
};
use crate::storage::Stored;
use crate::sys::signal::Interruption;
use crate::ui::{Frame, words};

/// Walks through one image. `finished` holds the images it depends on. `None` when a stage is missing and is not to be built
/// ([`OnMissing::Tell`]).
pub async fn walk(
    site: &Site<'_>,
    image: &Image,
    finished: &BTreeMap<String, ImageReport>,
    log: &Frame,
) -> anyhow::Result<Option<ImageReport>> {
    let image = supported(image)?;
    let mappings = tokio::task::block_in_place(|| site.sources.resolve(&image.git))?;
    let current: Positions = mappings.iter().map(|source| (source.id.clone(), source.position())).collect();
    let mut stages: Vec<StageReport> = Vec::new();
    for name in sequence::sequence(&Image::Stapel(image.clone())) {
        let (first, previous) = (stages.first(), stages.last());
        let step = Step { name, image, mappings: &mappings, current: &current, first, previous, finished };
        match pick(site, &step, log).await? {
            Picked::Stage(stage) => stages.push(*stage),
            Picked::Empty => {}
            Picked::Missing => return Ok(None),
        }
    }
    let last = stages.last().context("every image has the stage `from`")?;
    let signature = signature::image(identity(last));
    Ok(Some(ImageReport { name: image.name.clone(), artifact: image.artifact, signature, stages }))
}

/// What became of one step of the walk.
enum Picked {
    Stage(Box<StageReport>),
    /// The stage has nothing to do.
    Empty,
    /// It would have to be built.
    Missing,
}

fn supported(image: &Image) -> Result<&StapelImage, Error> {
    match image {
        Image::Stapel(image) if image.as_layers => {
            Err(Error::user(format!("image {}: asLayers is not built yet", display_image(&image.name)))
                .hint("remove `asLayers`: the stages are the same, with fewer layers"))
        }
        Image::Stapel(image) => Ok(image),
        Image::Dockerfile(image) => {
            Err(Error::user(format!("image {}: Dockerfile images are not built yet", display_image(&image.name)))
                .hint("name the other images on the command line to build only those"))
        }
    }
}

/// One stage: reused, built, or skipped because it has nothing to do.
async fn pick(site: &Site<'_>, step: &Step<'_>, log: &Frame) -> anyhow::Result<Picked> {
    let started = Instant::now();
    let registry_id = registry_id(site, step, log).await?;
    let Some(facts) = tokio::task::block_in_place(|| facts::gather(step, registry_id.as_deref()))? else {
        return Ok(Picked::Empty);
    };
    for warning in &facts.warnings {
        log.warn(warning);
    }
    let signature = signature::stage(step.name, &facts.dependencies, step.previous.map(identity));
    let place = || format!("image {}, stage {} (signature {signature})", display_image(&step.image.name), step.name);
    let picked = match stored(step, site.storage.find(&signature).await?)? {
        Some(description) => Some(reuse(step, description, log, started)),
        None => build_once(site, step, &facts.dependencies, &signature, log, started).await.with_context(place)?,
    };
    let Some(picked) = picked else { return Ok(Picked::Missing) };
    introspect(site, step, &picked, log).await?;
    Ok(Picked::Stage(Box::new(picked)))
}

fn reuse(step: &Step<'_>, description: StageDescription, log: &Frame, started: Instant) -> StageReport {
    log.highlight(format!("Use cache image for {}", display_name(&step.image.name, step.name)));
    log.indented_details(&details(&description, step.previous));
    report(step, description, Outcome::Reused, Vec::new(), started)
}

/// Builds a stage that was not in the storage when the run began, unless another image of this run or another process has
/// built it since.
async fn build_once(
    site: &Site<'_>,
    step: &Step<'_>,
    dependencies: &Dependencies,
    signature: &StageSignature,
    log: &Frame,
    started: Instant,
) -> anyhow::Result<Option<StageReport>> {
    let _flight = site.unless_over(async { Ok(site.flight(signature).await) }).await?;
    match stored(step, site.storage.look_again(signature).await?)? {
        Some(description) => Ok(Some(reuse(step, description, log, started))),
        None => missing(site, step, dependencies, signature, log, started).await,
    }
}

/// A stage that nobody has: built, or only told.
async fn missing(
    site: &Site<'_>,
    step: &Step<'_>,
    dependencies: &Dependencies,
    signature: &StageSignature,
    log: &Frame,
    started: Instant,
) -> anyhow::Result<Option<StageReport>> {
    let title = display_name(&step.image.name, step.name);
    let reasons = reasons(site, step, dependencies, signature).await?;
    match site.on_missing {
        OnMissing::Build => build(site, step, dependencies, signature, reasons, log, started).await.map(Some),
        OnMissing::Stop => Err(required(&title, &reasons).into()),
        OnMissing::Tell => {
            log.highlight(format!("{title} would be built"));
            for line in explain::lines(&reasons) {
                log.line(line);
            }
            Ok(None)
        }
    }
}

fn stored(step: &Step<'_>, candidates: Vec<StageDescription>) -> anyhow::Result<Option<StageDescription>> {
    tokio::task::block_in_place(|| fit(step, &candidates))
}

/// What the registry says of the base right now; asked only for `fromLatest`.
async fn registry_id(site: &Site<'_>, step: &Step<'_>, log: &Frame) -> anyhow::Result<Option<String>> {
    match (&step.image.from, step.name) {
        (Base::Registry(reference), StageName::From) if step.image.from_latest => {
            let image = site
                .runtime
                .base(reference, BasePolicy::AskRegistry, &|_, _, _| {})
                .await
                .with_context(|| format!("cannot ask for the latest {reference}"))?;
            log.verbose(format!("{reference} is {} in the registry", image.id));
            Ok(Some(image.id.to_string()))
        }
        _ => Ok(None),
    }
}

fn fit(step: &Step<'_>, candidates: &[StageDescription]) -> anyhow::Result<Option<StageDescription>> {
    let repo_of = |id: &str| step.mappings.iter().find(|source: &&MappingSource| source.id == id);
    // A virtual merge that cannot be made again is nothing to build on: its target may have been rewritten.
    let is_usable = |stage: &&StageDescription| {
        let mut merges = step.mappings.iter().filter_map(|source| Some((source, stage.position(&source.id)?)));
        !step.name.is_git_aware()
            || merges.all(|(source, position)| position.merge.is_none() || source.can_read(&position))
    };
    let usable: Vec<StageDescription> = candidates.iter().filter(is_usable).cloned().collect();
    let picked =
        select::select(step.name, &usable, step.current, |mapping, built_from, current| match repo_of(mapping) {
            Some(source) => source.repo.is_ancestor(built_from, current),
            None => Ok(false),
        })?;
    Ok(picked.cloned())
}

async fn build(
    site: &Site<'_>,
    step: &Step<'_>,
    dependencies: &Dependencies,
    signature: &StageSignature,
    reasons: Vec<Reason>,
    log: &Frame,
    started: Instant,
) -> anyhow::Result<StageReport> {
    let title = display_name(&step.image.name, step.name);
    if site.cancel.is_cancelled() {
        return Err(Interruption::error().into());
    }
    let process = log.process(&format!("Building stage {title}"), site.style(step.image.artifact));
    for line in explain::lines(&reasons) {
        process.line(line);
    }
    let labels = labels(site, step, dependencies, signature)?;
    let image = match stapel::build(site, step, labels, &process).await {
        Ok(image) => image,
        Err(error) => {
            process.fail();
            return Err(error);
        }
    };
    let storing = process.process("Store into stages storage", crate::ui::Style::Normal);
    let fits = |stages: &[StageDescription]| tokio::task::block_in_place(|| fit(step, stages));
    let waiting = |name: &str| storing.line(format!("Waiting for locked \"{name}\""));
    let stored = match site.unless_over(site.storage.store(signature, &image, &fits, waiting)).await {
        Ok(stored) => stored,
        Err(error) => {
            storing.fail();
            process.fail();
            return Err(error);
        }
    };
    storing.end();
    let (description, outcome) = match stored {
        Stored::New(description) => (description, Outcome::Built),
        Stored::Discarded(description) => {
            process.line(format!(
                "Another process stored {title} (signature {signature}) meanwhile: image {} is discarded, {} is used",
                image.id.short(),
                description.image.short()
            ));
            (description, Outcome::Discarded)
        }
    };
    process.info();
    process.details(&details(&description, step.previous));
    process.end();
    Ok(report(step, description, outcome, reasons, started))
}

async fn reasons(
    site: &Site<'_>,
    step: &Step<'_>,
    dependencies: &Dependencies,
    signature: &StageSignature,
) -> anyhow::Result<Vec<Reason>> {
    let previous = step.previous.map(|stage| &stage.description.id.signature);
    let wanted = Wanted::new(&step.image.name, step.name, signature, previous, dependencies);
    let stored = site.storage.all().await?;
    Ok(tokio::task::block_in_place(|| explain::reasons(&wanted, &stored, step.mappings, step.previous)))
}

fn required(title: &str, reasons: &[Reason]) -> Error {
    let mut error = Error::user(format!("stages required: {title} is not in the stages storage"));
    for line in explain::lines(reasons) {
        error = error.hint(line);
    }
    error
        .hint("build it first with the same commit, --stages-storage and environment: slipway build")
        .hint("a template that prints changing values (a date, a job id) gives other stages every time; cleanup may have removed it")
}

fn labels(
    site: &Site<'_>,
    step: &Step<'_>,
    dependencies: &Dependencies,
    signature: &StageSignature,
) -> anyhow::Result<ImageChange> {
    let imports = step.image.imports.iter().filter(|import| Some(import.when) == step.name.import_time());
    let imported = imports
        .map(|import| Ok((import.source.as_str(), &stapel::import_source(step, import)?.image)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let positions = positions_after(step);
    let file_mappings: Vec<String> = step
        .mappings
        .iter()
        .filter(|source| source.repo.is_file(&source.commit, &source.filter()))
        .map(|source| source.id.clone())
        .collect();
    let labels = StageLabels {
        project: site.project,
        image: &step.image.name,
        stage: step.name,
        signature,
        previous: step.previous.map(|stage| &stage.description.id.signature),
        dependencies,
        head: site.sources.head(),
        positions: &positions,
        file_mappings: &file_mappings,
        imported: &imported,
        mounts: &step.image.mounts,
    };
    Ok(ImageChange { labels: labels.to_map(), ..ImageChange::default() })
}

/// Where the mappings stand after a freshly built stage: at the current commits once sources are in the image.
fn positions_after(step: &Step<'_>) -> Positions {
    let has_sources =
        step.name == StageName::GitArchive || step.previous.is_some_and(|stage| !stage.commits.is_empty());
    match (has_sources, step.name.is_git_aware()) {
        (true, true) => step.current.clone(),
        (true, false) => {
            let ids = step.mappings.iter().map(|source| &source.id);
            ids.filter_map(|id| Some((id.clone(), step.previous?.position(id)?))).collect()
        }
        (false, _) => Positions::new(),
    }
}

fn report(
    step: &Step<'_>,
    description: StageDescription,
    outcome: Outcome,
    reasons: Vec<Reason>,
    started: Instant,
) -> StageReport {
    let ids: Vec<String> = step.mappings.iter().map(|source| source.id.clone()).collect();
    let has_sources =
        step.name == StageName::GitArchive || step.previous.is_some_and(|stage| !stage.commits.is_empty());
    // Labels of an image that `fromImage` builds on tell of its mappings, which may be equal to ours.
    let commits = if has_sources { description.commits(&ids) } else { Commits::new() };
    StageReport { name: step.name, outcome, description, commits, reasons, seconds: started.elapsed().as_secs_f64() }
}

fn identity(stage: &StageReport) -> Previous<'_> {
    Previous { name: stage.name, signature: &stage.description.id.signature, commits: &stage.commits }
}

/// The lines under a used or built stage (spec/build.md 8.2).
fn details(stage: &StageDescription, previous: Option<&StageReport>) -> Vec<(&'static str, String)> {
    let size = match previous {
        None => ("size", words::size(stage.size)),
        Some(previous) => ("diff", words::size(i128::from(stage.size) - i128::from(previous.description.size))),
    };
    vec![
        ("repository", stage.repository.clone()),
        ("image_id", stage.image.short().to_owned()),
        ("created", crate::ui::words::timestamp(stage.created)),
        ("tag", stage.id.to_string()),
        size,
    ]
}

async fn introspect(site: &Site<'_>, step: &Step<'_>, picked: &StageReport, log: &Frame) -> anyhow::Result<()> {
    if !site.introspect.wants(&step.image.name, step.name) {
        return Ok(());
    }
    let spec = ContainerSpec {
        name: format!("werf.introspect.{}", std::process::id()),
        command: vec!["/bin/sh".to_owned()],
        user: Some("0:0".to_owned()),
        network: Network::Host,
        limits: site.limits,
        ..ContainerSpec::default()
    };
    stapel::open_shell(site, &picked.description.image, &spec, log).await
}
