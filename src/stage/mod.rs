//! What a stage is, what it depends on, and which stored one fits. Pure: no files, no git, no containers.
//!
//! Reading order: the names of the stages (here) → `sequence` (which an image can have) → `dependencies` (what one depends on)
//! → `signature` (that as one hash) → `select` (which stored stage fits) → `why` (what changed since the nearest one).

pub mod dependencies;
pub mod labels;
pub mod mapping;
pub mod select;
pub mod sequence;
pub mod signature;
pub mod tag;
pub mod why;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::config::{ImportTime, UserStage};
use crate::ids::{CommitId, ImageId, StageId};

pub use dependencies::{Dependencies, Dependency, DependencyKind};

/// The stages an image can have, in their fixed order (spec/build.md 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageName {
    From,
    BeforeInstall,
    ImportsBeforeInstall,
    GitArchive,
    Install,
    ImportsAfterInstall,
    BeforeSetup,
    ImportsBeforeSetup,
    Setup,
    ImportsAfterSetup,
    GitCache,
    GitLatestPatch,
    DockerInstructions,
    Dockerfile,
}

/// Every stage name with its spelling in logs, labels and flags.
const NAMES: [(StageName, &str); 14] = [
    (StageName::From, "from"),
    (StageName::BeforeInstall, "beforeInstall"),
    (StageName::ImportsBeforeInstall, "importsBeforeInstall"),
    (StageName::GitArchive, "gitArchive"),
    (StageName::Install, "install"),
    (StageName::ImportsAfterInstall, "importsAfterInstall"),
    (StageName::BeforeSetup, "beforeSetup"),
    (StageName::ImportsBeforeSetup, "importsBeforeSetup"),
    (StageName::Setup, "setup"),
    (StageName::ImportsAfterSetup, "importsAfterSetup"),
    (StageName::GitCache, "gitCache"),
    (StageName::GitLatestPatch, "gitLatestPatch"),
    (StageName::DockerInstructions, "dockerInstructions"),
    (StageName::Dockerfile, "dockerfile"),
];

impl StageName {
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(name, _)| *name == self).map_or("", |(_, text)| text)
    }

    /// The user stage whose commands this stage runs.
    pub fn user_stage(self) -> Option<UserStage> {
        match self {
            Self::BeforeInstall => Some(UserStage::BeforeInstall),
            Self::Install => Some(UserStage::Install),
            Self::BeforeSetup => Some(UserStage::BeforeSetup),
            Self::Setup => Some(UserStage::Setup),
            _ => None,
        }
    }

    /// The imports this stage copies.
    pub fn import_time(self) -> Option<ImportTime> {
        match self {
            Self::ImportsBeforeInstall => Some(ImportTime::BeforeInstall),
            Self::ImportsAfterInstall => Some(ImportTime::AfterInstall),
            Self::ImportsBeforeSetup => Some(ImportTime::BeforeSetup),
            Self::ImportsAfterSetup => Some(ImportTime::AfterSetup),
            _ => None,
        }
    }

    /// Whether the stage brings the sources to the current commit. Only for these must a stored stage have been built from
    /// an ancestor, and only these make later stages depend on their commits (spec/build.md 2.4, 2.7).
    pub fn is_git_aware(self) -> bool {
        matches!(
            self,
            Self::GitArchive | Self::Install | Self::BeforeSetup | Self::Setup | Self::GitCache | Self::GitLatestPatch
        )
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for StageName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        NAMES.iter().find(|(_, name)| *name == text).map(|(name, _)| *name).ok_or(())
    }
}

/// The stage that carries a user stage's commands.
pub fn stage_of(user: UserStage) -> StageName {
    match user {
        UserStage::BeforeInstall => StageName::BeforeInstall,
        UserStage::Install => StageName::Install,
        UserStage::BeforeSetup => StageName::BeforeSetup,
        UserStage::Setup => StageName::Setup,
    }
}

/// The commit each git mapping stands at, by the id of the mapping ([`mapping::id`]).
pub type Commits = BTreeMap<String, CommitId>;

/// A merge of the head of a merge request into its target, that a CI system made for one pipeline and nobody keeps
/// (spec/build.md 3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualMerge {
    pub from: CommitId,
    pub into: CommitId,
}

/// Where a git mapping stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub commit: CommitId,
    /// What the commit merged, when it is a virtual merge commit.
    pub merge: Option<VirtualMerge>,
}

impl Position {
    /// The commit whose ancestors count: a virtual merge commit is in nobody's history, its "from" commit is.
    pub fn in_history(&self) -> &CommitId {
        self.merge.as_ref().map_or(&self.commit, |merge| &merge.from)
    }
}

/// The position of each git mapping, by its id.
pub type Positions = BTreeMap<String, Position>;

/// A stage as a stages storage knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageDescription {
    pub id: StageId,
    pub image: ImageId,
    pub parent: Option<ImageId>,
    /// Local repository or registry repository that holds it.
    pub repository: String,
    pub labels: BTreeMap<String, String>,
    /// Bytes of all layers.
    pub size: u64,
    /// Milliseconds since 1970.
    pub created: i64,
}

impl StageDescription {
    /// Commits of the given mappings as the stage's labels tell them; a mapping without a valid label is left out.
    pub fn commits(&self, mappings: &[String]) -> Commits {
        mappings.iter().filter_map(|id| Some((id.clone(), labels::commit(&self.labels, id)?))).collect()
    }

    /// Where a mapping stands as the stage's labels tell it.
    pub fn position(&self, mapping: &str) -> Option<Position> {
        labels::position(&self.labels, mapping)
    }
}

/// How an image or stage is shown: `backend/install`, `~/from` for the nameless image.
pub fn display_name(image: &str, stage: StageName) -> String {
    format!("{}/{stage}", display_image(image))
}

/// The name of an image for people: `~` for the nameless one.
pub fn display_image(image: &str) -> &str {
    if image.is_empty() { "~" } else { image }
}
