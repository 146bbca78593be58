//! Why a stage is built, with the files that changed in git where the earlier commit is still here.

use crate::config::StageDependencies;
use crate::git::ArchiveSpec;
use crate::stage::dependencies::DependencyKind;
use crate::stage::mapping::{self, PathFilter};
use crate::stage::why::{Reason, Wanted, explain};
use crate::stage::{Position, StageDescription, StageName};

use super::report::StageReport;
use super::sources::MappingSource;

/// At most this many changed files are named in one line.
const NAMED_FILES: usize = 5;

/// The reasons of a stage, each with the files it is about. `before` is the stage before.
pub fn reasons(
    wanted: &Wanted<'_>,
    stored: &[StageDescription],
    mappings: &[MappingSource],
    before: Option<&StageReport>,
) -> Vec<Reason> {
    // A stage that only carries changes is explained by them, whatever was built before.
    if let (StageName::GitCache | StageName::GitLatestPatch, Some(before)) = (wanted.name, before) {
        let reasons = sources_since(before, mappings);
        if !reasons.is_empty() {
            return reasons;
        }
    }
    let mut explanation = explain(wanted, stored);
    if let Some(earlier) = &explanation.earlier {
        for reason in &mut explanation.reasons {
            reason.files = changed_files(reason, earlier, mappings);
        }
    }
    explanation.reasons
}

/// The reasons as lines of the log.
pub fn lines(reasons: &[Reason]) -> Vec<String> {
    let line = |reason: &Reason| match reason.files.len() {
        0 => format!("because {}", reason.text),
        count if count <= NAMED_FILES => format!("because {}: {}", reason.text, reason.files.join(", ")),
        count => {
            let named: Vec<&str> = reason.files.iter().take(NAMED_FILES).map(String::as_str).collect();
            format!("because {}: {} and {} more", reason.text, named.join(", "), count - NAMED_FILES)
        }
    };
    reasons.iter().map(line).collect()
}

/// What changed in each mapping since the commits of the stage before.
fn sources_since(before: &StageReport, mappings: &[MappingSource]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for source in mappings {
        let Some(from) = before.position(&source.id).filter(|from| from.commit != source.commit) else { continue };
        let files = changed_paths(source, source.filter(), &from);
        if !files.is_empty() {
            let name = mapping::display(&source.mapping);
            let text = format!("the sources of {name} have changed since {:.12}", from.commit);
            reasons.push(Reason { kind: DependencyKind::Patch.as_str().to_owned(), subject: name, text, files });
        }
    }
    reasons
}

/// What changed between the commit of the earlier stage and now, limited to what the reason is about. Nothing when git
/// cannot tell; the reason stands without it.
fn changed_files(reason: &Reason, earlier: &StageDescription, mappings: &[MappingSource]) -> Vec<String> {
    let mut files = Vec::new();
    for source in mappings {
        let StageDependencies { install, before_setup, setup } = &source.mapping.stage_dependencies;
        let mut filter = source.filter();
        match DependencyKind::parse(&reason.kind) {
            Some(DependencyKind::Patch) if reason.subject == mapping::display(&source.mapping) => {}
            Some(DependencyKind::Files)
                if [install, before_setup, setup].iter().any(|list| list.contains(&reason.subject)) =>
            {
                filter.include = vec![reason.subject.clone()];
            }
            _ => continue,
        }
        let Some(from) = earlier.position(&source.id) else { continue };
        files.extend(changed_paths(source, filter, &from));
    }
    files
}

/// Paths that differ between then and now; nothing when git cannot tell.
fn changed_paths(source: &MappingSource, filter: PathFilter, from: &Position) -> Vec<String> {
    let spec = ArchiveSpec { filter, to: "/".to_owned(), uid: 0, gid: 0, mtime: 0 };
    match source.patch_since(from, &spec) {
        Ok(patch) => patch.changes().iter().map(|change| change.path.display().to_string()).collect(),
        Err(_) => Vec::new(),
    }
}
