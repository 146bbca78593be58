//! What came of a build, as data.

use std::time::Duration;

use serde::Serialize;

use crate::ids::StageSignature;
use crate::stage::{Commits, Position, StageDescription, StageName, display_name, why::Reason};
use crate::ui::words;

/// Every image of the run, in the order they were built.
#[derive(Clone, Debug, Default)]
pub struct BuildReport {
    pub images: Vec<ImageReport>,
}

impl BuildReport {
    pub fn image(&self, name: &str) -> Option<&ImageReport> {
        self.images.iter().find(|image| image.name == name)
    }

    /// One line for each stage: reused or built, name, what it adds to the image, time.
    pub fn lines(&self) -> Vec<String> {
        let stages = || self.images.iter().flat_map(|image| image.stages.iter().map(move |stage| (image, stage)));
        let width = stages().map(|(image, stage)| display_name(&image.name, stage.name).chars().count()).max();
        stages()
            .map(|(image, stage)| {
                let name = display_name(&image.name, stage.name);
                let outcome = match stage.outcome {
                    // What another process stored first is used then; the box of the stage says so.
                    Outcome::Reused | Outcome::Discarded => "reused",
                    Outcome::Built => "built",
                };
                let size = words::size(image.added_by(stage));
                let seconds = words::seconds(Duration::from_secs_f64(stage.seconds));
                format!("{outcome:<6}  {name:<width$}  {size:>10}  {seconds}", width = width.unwrap_or_default())
            })
            .collect()
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

    /// Bytes that a stage adds to the image, or takes from it.
    fn added_by(&self, stage: &StageReport) -> i128 {
        let before = self.stages.iter().take_while(|other| other.name != stage.name).last();
        i128::from(stage.description.size) - before.map_or(0, |stage| i128::from(stage.description.size))
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

impl StageReport {
    /// Where a mapping stands after the stage; `None` when its files are not in the image yet.
    pub fn position(&self, mapping: &str) -> Option<Position> {
        self.commits.contains_key(mapping).then(|| self.description.position(mapping)).flatten()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Reused,
    Built,
    /// Built, but another process stored the same stage first; theirs is used.
    Discarded,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, StageId};

    fn stage(name: StageName, outcome: Outcome, size: u64, seconds: f64) -> StageReport {
        let description = StageDescription {
            id: StageId { signature: "a".repeat(56).parse().unwrap(), unique: 1 },
            image: Digest::of(name.as_str().as_bytes()).into(),
            parent: None,
            repository: "werf-stages-storage/tools".into(),
            labels: [].into(),
            size,
            created: 0,
        };
        StageReport { name, outcome, description, commits: Commits::new(), reasons: Vec::new(), seconds }
    }

    #[test]
    fn a_line_tells_what_a_stage_is_and_adds() {
        let image = |name: &str, stages| ImageReport {
            name: name.into(),
            artifact: false,
            stages,
            signature: "a".repeat(56).parse().unwrap(),
        };
        let report = BuildReport {
            images: vec![
                image("", vec![stage(StageName::From, Outcome::Reused, 1 << 20, 0.001)]),
                image(
                    "app",
                    vec![
                        stage(StageName::From, Outcome::Reused, 1 << 20, 0.001),
                        stage(StageName::Install, Outcome::Built, 3 << 20, 61.5),
                        stage(StageName::GitLatestPatch, Outcome::Discarded, (3 << 20) - 512, 0.1),
                    ],
                ),
            ],
        };
        insta::assert_snapshot!(report.lines().join("\n"), @r"
        reused  ~/from                 1.0 MiB  0.00 seconds
        reused  app/from               1.0 MiB  0.00 seconds
        built   app/install            2.0 MiB  61.50 seconds
        reused  app/gitLatestPatch      -512 B  0.10 seconds
        ");
    }
}
