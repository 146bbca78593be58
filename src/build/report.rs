//! What came of a build, as data.

use serde::Serialize;

use crate::ids::StageSignature;
use crate::stage::{Commits, StageDescription, StageName, why::Reason};

/// Every image of the run, in the order they were built.
#[derive(Clone, Debug, Default)]
pub struct BuildReport {
    pub images: Vec<ImageReport>,
}

impl BuildReport {
    pub fn image(&self, name: &str) -> Option<&ImageReport> {
        self.images.iter().find(|image| image.name == name)
    }

    /// How many stages were built and how many were reused.
    pub fn counts(&self) -> (usize, usize) {
        let stages = || self.images.iter().flat_map(|image| &image.stages);
        let built = stages().filter(|stage| stage.outcome == Outcome::Built).count();
        (built, stages().count() - built)
    }
}

/// One image: its stages and what identifies the whole.
#[derive(Clone, Debug)]
pub struct ImageReport {
    pub name: String,
    pub artifact: bool,
    pub stages: Vec<StageReport>,
    /// The content signature: `stage::signature::image` of the last stage.
    pub signature: StageSignature,
}

impl ImageReport {
    /// The last stage. Every image has at least `from`.
    pub fn last(&self) -> Option<&StageReport> {
        self.stages.last()
    }

    pub fn stage(&self, name: StageName) -> Option<&StageReport> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Whether at least one stage is new.
    pub fn has_new_stage(&self) -> bool {
        self.stages.iter().any(|stage| stage.outcome == Outcome::Built)
    }
}

/// One stage that was used or built.
#[derive(Clone, Debug)]
pub struct StageReport {
    pub name: StageName,
    pub outcome: Outcome,
    pub description: StageDescription,
    /// Commits the mappings stand at after it.
    pub commits: Commits,
    /// Why it was built; empty when it was reused.
    pub reasons: Vec<Reason>,
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Reused,
    Built,
    /// Built, but another process stored the same stage first; theirs is used.
    Discarded,
}
