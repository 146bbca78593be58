//! Why a stage is rebuilt: its dependencies now against those of the nearest earlier build.

use serde::Serialize;

use super::labels::{self, DependencyMark};
use super::{Dependencies, DependencyKind, StageDescription, StageName};
use crate::ids::StageSignature;

/// What made a stage new. The texts are sentences for the log; the fields are for `--output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// `first`, `previous`, `history`, or the sort of the dependency that changed.
    pub kind: String,
    /// Which one: `2` of the commands, `requirements.txt`.
    pub subject: String,
    pub text: String,
    /// Paths that changed in git, where the caller could find them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

impl Reason {
    fn new(kind: &str, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), subject: subject.into(), text: text.into(), files: Vec::new() }
    }
}

/// The stage that wants an explanation, stored or not.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub image: &'a str,
    pub name: StageName,
    pub signature: &'a StageSignature,
    /// Signature of the stage before; empty for the first.
    pub previous: &'a str,
    pub dependencies: Vec<DependencyMark>,
    /// Compare only with stages stored before this one.
    pub before: Option<u64>,
}

impl<'a> Wanted<'a> {
    /// A stage about to be built.
    pub fn new(
        image: &'a str,
        name: StageName,
        signature: &'a StageSignature,
        previous: Option<&'a StageSignature>,
        dependencies: &Dependencies,
    ) -> Self {
        let previous = previous.map(StageSignature::as_str).unwrap_or_default();
        Self { image, name, signature, previous, dependencies: DependencyMark::of(dependencies), before: None }
    }

    /// A stage of the storage, by its own labels; `None` when they do not say what it was built from.
    pub fn of_stored(stage: &'a StageDescription) -> Option<Self> {
        let label = |name: &str| stage.labels.get(name).map(String::as_str);
        Some(Self {
            image: label(labels::STAGE_IMAGE)?,
            name: label(labels::STAGE_NAME)?.parse().ok()?,
            signature: &stage.id.signature,
            previous: label(labels::PREVIOUS_SIGNATURE).unwrap_or_default(),
            dependencies: DependencyMark::of_labels(&stage.labels)?,
            before: Some(stage.id.unique),
        })
    }
}

/// Why a stage had to be built, and what it was compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub earlier: Option<StageDescription>,
    /// Never empty.
    pub reasons: Vec<Reason>,
}

/// Compares a stage with the newest earlier one of the same image and stage name (else of the same stage name).
/// `stored` is every stage of the project.
pub fn explain(wanted: &Wanted<'_>, stored: &[StageDescription]) -> Explanation {
    let earlier = |stage: &&StageDescription| wanted.before.is_none_or(|unique| stage.id.unique < unique);
    if let Some(twin) = stored.iter().filter(earlier).find(|stage| stage.id.signature == *wanted.signature) {
        let text = "it was built only from commits that are not ancestors of the current one";
        return Explanation { earlier: Some(twin.clone()), reasons: vec![Reason::new("history", "", text)] };
    }
    let Some((nearest, marks)) = nearest(wanted, stored.iter().filter(earlier)) else {
        return Explanation { earlier: None, reasons: vec![Reason::new("first", "", "it has not been built before")] };
    };
    let mut reasons = changed(&marks, &wanted.dependencies);
    let previous = nearest.labels.get(labels::PREVIOUS_SIGNATURE).map(String::as_str).unwrap_or_default();
    if previous != wanted.previous {
        reasons.push(Reason::new("previous", "", "the stage before it is another one"));
    }
    if reasons.is_empty() {
        reasons.push(Reason::new("previous", "", "the stage before it stands at another commit"));
    }
    Explanation { earlier: Some(nearest.clone()), reasons }
}

fn nearest<'a>(
    wanted: &Wanted<'_>,
    stored: impl Iterator<Item = &'a StageDescription>,
) -> Option<(&'a StageDescription, Vec<DependencyMark>)> {
    let label = |stage: &StageDescription, name: &str| stage.labels.get(name).cloned().unwrap_or_default();
    let mut earlier: Vec<&StageDescription> =
        stored.filter(|stage| label(stage, labels::STAGE_NAME) == wanted.name.as_str()).collect();
    earlier.sort_by_key(|stage| (label(stage, labels::STAGE_IMAGE) == wanted.image, stage.id.unique));
    earlier.into_iter().rev().find_map(|stage| Some((stage, DependencyMark::of_labels(&stage.labels)?)))
}

/// What differs between two lists of dependencies, by sort and name.
fn changed(before: &[DependencyMark], now: &[DependencyMark]) -> Vec<Reason> {
    let find = |list: &[DependencyMark], mark: &DependencyMark| {
        list.iter().find(|other| other.kind == mark.kind && other.name == mark.name).cloned()
    };
    let mut reasons = Vec::new();
    for mark in now {
        match find(before, mark) {
            Some(old) if old.hash == mark.hash => {}
            Some(_) => reasons.push(sentence(mark, Change::Changed)),
            None => reasons.push(sentence(mark, Change::Added)),
        }
    }
    reasons.extend(before.iter().filter(|mark| find(now, mark).is_none()).map(|mark| sentence(mark, Change::Removed)));
    reasons
}

#[derive(Clone, Copy)]
enum Change {
    Added,
    Changed,
    Removed,
}

fn sentence(mark: &DependencyMark, change: Change) -> Reason {
    let name = &mark.name;
    let subject = match mark.kind {
        DependencyKind::Base => "the base".to_owned(),
        DependencyKind::CacheVersion => format!("`{name}`"),
        DependencyKind::Mount => format!("the mount at {name}"),
        DependencyKind::Command => format!("command {name}"),
        DependencyKind::Task => format!("task {name}"),
        DependencyKind::Files => format!("what `{name}` of stageDependencies matches"),
        DependencyKind::Mapping => format!("the git mapping {name}"),
        DependencyKind::Patch => format!("the sources of {name}"),
        DependencyKind::PatchSize => "the size of the patch in MiB".to_owned(),
        DependencyKind::Import => format!("the import {name}"),
        DependencyKind::Instruction => format!("the instruction `{name}`"),
    };
    let verb = match change {
        Change::Added => "is new",
        Change::Changed if mark.kind == DependencyKind::Patch => "have changed",
        Change::Changed => "has changed",
        Change::Removed => "is gone",
    };
    Reason::new(mark.kind.as_str(), name, format!("{subject} {verb}"))
}

#[cfg(test)]
mod tests {
    use super::super::labels::StageLabels;
    use super::super::{Positions, signature};
    use super::*;
    use crate::ids::{Digest, StageId};

    fn dependencies(list: &[(&str, &str)]) -> Dependencies {
        let mut all = Dependencies::default();
        for (name, value) in list {
            all.add(DependencyKind::Command, *name, *value);
        }
        all
    }

    fn stored(unique: u64, image: &str, dependencies: &Dependencies) -> StageDescription {
        let signature = signature::stage(StageName::Install, dependencies, None);
        let labels = StageLabels {
            project: "tools",
            image,
            stage: StageName::Install,
            signature: &signature,
            previous: None,
            dependencies,
            head: None,
            positions: &Positions::new(),
            file_mappings: &[],
            imported: &[],
            mounts: &[],
        };
        StageDescription {
            id: StageId { signature: signature.clone(), unique },
            image: Digest::of(b"").into(),
            parent: None,
            repository: String::new(),
            labels: labels.to_map(),
            size: 0,
            created: 0,
        }
    }

    fn why(stored: &[StageDescription], now: &[(&str, &str)], previous: Option<&StageSignature>) -> Vec<String> {
        let dependencies = dependencies(now);
        let signature = signature::stage(StageName::Install, &dependencies, None);
        let wanted = Wanted::new("app", StageName::Install, &signature, previous, &dependencies);
        explain(&wanted, stored).reasons.into_iter().map(|reason| reason.text).collect()
    }

    #[test]
    fn names_what_changed_since_the_nearest_build() {
        let before = stored(1, "app", &dependencies(&[("1", "make"), ("2", "make test")]));
        assert_eq!(why(&[], &[("1", "make")], None), ["it has not been built before"]);
        assert_eq!(
            why(std::slice::from_ref(&before), &[("1", "make"), ("2", "make check")], None),
            ["command 2 has changed"]
        );
        assert_eq!(
            why(std::slice::from_ref(&before), &[("1", "make"), ("2", "make test"), ("3", "x")], None),
            ["command 3 is new"]
        );
        assert_eq!(why(&[before], &[("1", "make")], None), ["command 2 is gone"]);
    }

    #[test]
    fn the_same_image_counts_more_than_a_newer_other_one() {
        let own = stored(1, "app", &dependencies(&[("1", "make")]));
        let other = stored(2, "other", &dependencies(&[("1", "x"), ("2", "y")]));
        assert_eq!(why(&[own, other], &[("1", "make all")], None), ["command 1 has changed"]);
    }

    #[test]
    fn another_stage_before_is_a_reason_of_its_own() {
        let before = stored(1, "app", &dependencies(&[("1", "make")]));
        let other = signature::stage(StageName::From, &dependencies(&[("1", "base")]), None);
        let reasons = why(&[before], &[("1", "make!")], Some(&other));
        assert_eq!(reasons, ["command 1 has changed", "the stage before it is another one"]);
    }
}
