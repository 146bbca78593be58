//! What one stage needs to know before it has a signature: read from git and from earlier picks, nothing is built here.

use std::collections::BTreeMap;

use anyhow::Context;

use super::report::{ImageReport, StageReport};
use super::sources::MappingSource;
use crate::config::{Base, Import, StapelImage, UserStage};
use crate::error::Error;
use crate::ids::StageSignature;
use crate::stage::dependencies::{self, Dependencies, FilesFact};
use crate::stage::{Position, Positions, StageName, mapping, signature};

/// Where the walk through one image stands.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    pub name: StageName,
    pub image: &'a StapelImage,
    pub mappings: &'a [MappingSource],
    /// Where the mappings stand now.
    pub current: &'a Positions,
    /// The `from` stage, once it is picked.
    pub first: Option<&'a StageReport>,
    pub previous: Option<&'a StageReport>,
    /// Images finished before this one.
    pub finished: &'a BTreeMap<String, ImageReport>,
}

/// What a stage depends on, and what the caller should tell people about it.
pub struct Facts {
    pub dependencies: Dependencies,
    pub warnings: Vec<String>,
}

impl From<Dependencies> for Facts {
    fn from(dependencies: Dependencies) -> Self {
        Self { dependencies, warnings: Vec::new() }
    }
}

/// The facts of a stage; `None` when it has nothing to do (spec/build.md 2.2). `registry_id` is what the registry says of
/// the base, for `fromLatest`.
pub fn gather(step: &Step<'_>, registry_id: Option<&str>) -> anyhow::Result<Option<Facts>> {
    let facts = match step.name {
        StageName::From => from(step, registry_id)?.into(),
        StageName::GitArchive => git_archive(step).into(),
        StageName::GitCache => return Ok(git_cache(step)?.map(Facts::from)),
        StageName::GitLatestPatch => return Ok(git_latest_patch(step)?.map(Facts::from)),
        StageName::DockerInstructions => {
            step.image.docker.as_ref().map(dependencies::docker_instructions).unwrap_or_default().into()
        }
        name => match (name.user_stage(), name.import_time()) {
            (Some(user), _) => user_stage(step, user)?,
            (None, Some(time)) => imports(step, step.image.imports.iter().filter(|import| import.when == time))?.into(),
            (None, None) => Dependencies::default().into(),
        },
    };
    Ok(Some(facts))
}

fn from(step: &Step<'_>, registry_id: Option<&str>) -> anyhow::Result<Dependencies> {
    let source = match &step.image.from {
        Base::Image(name) => Some(&finished(step, name)?.signature),
        Base::Registry(_) => None,
    };
    Ok(dependencies::from(step.image, source, registry_id))
}

fn user_stage(step: &Step<'_>, stage: UserStage) -> anyhow::Result<Facts> {
    let mut files = Vec::new();
    let mut warnings = Vec::new();
    for source in step.mappings {
        let depends = &source.mapping.stage_dependencies;
        let patterns = match stage {
            UserStage::BeforeInstall => continue,
            UserStage::Install => &depends.install,
            UserStage::BeforeSetup => &depends.before_setup,
            UserStage::Setup => &depends.setup,
        };
        if patterns.is_empty() {
            continue;
        }
        for found in source.repo.checksum(&source.commit, &source.filter(), patterns)? {
            if found.checksum.is_none() {
                warnings.push(format!(
                    "stageDependencies of {}: `{}` matches nothing in {} at {:.12}",
                    step.name,
                    found.pattern,
                    mapping::display(&source.mapping),
                    source.commit
                ));
            }
            let checksum = found.checksum.unwrap_or_default();
            files.push(FilesFact { mapping: source.id.clone(), pattern: found.pattern, checksum });
        }
    }
    Ok(Facts { dependencies: dependencies::user_stage(&step.image.builder, stage, &files), warnings })
}

fn git_archive(step: &Step<'_>) -> Dependencies {
    dependencies::git_archive(&step.image.git)
}

fn git_cache(step: &Step<'_>) -> anyhow::Result<Option<Dependencies>> {
    let Some(behind) = behind(step) else { return Ok(None) };
    let mut bytes = 0;
    for (source, from) in behind {
        if !source.can_read(&from) {
            return Ok(None);
        }
        bytes += source.patch_since(&from, &source.spec_for_facts())?.size();
    }
    Ok((bytes >= dependencies::GIT_CACHE_STEP).then(|| dependencies::git_cache(bytes)))
}

fn git_latest_patch(step: &Step<'_>) -> anyhow::Result<Option<Dependencies>> {
    let Some(behind) = behind(step) else { return Ok(None) };
    let mut patches = Vec::new();
    for (source, from) in behind {
        if !source.can_read(&from) {
            let name = mapping::display(&source.mapping);
            return Err(Error::user(format!(
                "{name}: the commit {} that the cached stage was built from is not here",
                from.commit
            ))
            .hint("fetch the whole history (`git fetch --unshallow`, or pass --git-unshallow)")
            .into());
        }
        let patch = source.patch_since(&from, &source.spec_for_facts())?;
        if !patch.is_empty() {
            patches.push((mapping::display(&source.mapping), patch.checksum().to_owned()));
        }
    }
    Ok((!patches.is_empty()).then(|| dependencies::git_latest_patch(&patches)))
}

/// The mappings whose commit the stage before does not stand at, and where it stands; `None` when there are none.
pub fn behind<'a>(step: &Step<'a>) -> Option<Vec<(&'a MappingSource, Position)>> {
    let previous = step.previous?;
    let behind: Vec<_> = step
        .mappings
        .iter()
        .filter_map(|source| Some((source, previous.position(&source.id)?)))
        .filter(|(source, from)| source.commit != from.commit)
        .collect();
    (!behind.is_empty()).then_some(behind)
}

impl MappingSource {
    /// Owner and time do not count for what a patch is, only for what it becomes in a layer.
    fn spec_for_facts(&self) -> crate::git::ArchiveSpec {
        crate::git::ArchiveSpec { filter: self.filter(), to: self.mapping.to.clone(), uid: 0, gid: 0, mtime: 0 }
    }
}

fn imports<'a>(step: &Step<'_>, list: impl Iterator<Item = &'a Import>) -> anyhow::Result<Dependencies> {
    let mut with_signatures: Vec<(&Import, StageSignature)> = Vec::new();
    for import in list {
        with_signatures.push((import, imported_signature(step, import)?));
    }
    let pairs: Vec<(&Import, &StageSignature)> =
        with_signatures.iter().map(|(import, signature)| (*import, signature)).collect();
    Ok(dependencies::imports(&pairs))
}

fn imported_signature(step: &Step<'_>, import: &Import) -> anyhow::Result<StageSignature> {
    let source = finished(step, &import.source)?;
    Ok(match import.stage.and_then(|stage| source.stage(crate::stage::stage_of(stage))) {
        Some(stage) => signature::content(signature::Previous {
            name: stage.name,
            signature: &stage.description.id.signature,
            commits: &stage.commits,
        }),
        None => source.signature.clone(),
    })
}

/// An image this one builds on; the order of the build makes sure it is done.
pub fn finished<'a>(step: &Step<'a>, name: &str) -> anyhow::Result<&'a ImageReport> {
    step.finished.get(name).with_context(|| format!("image `{name}` is needed before it is built"))
}
