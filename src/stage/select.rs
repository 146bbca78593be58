//! Which of the stored stages with one signature to use (spec/build.md 2.7).

use super::{Positions, StageDescription, StageName};
use crate::ids::CommitId;

/// The oldest stage that fits: for a git-aware stage, every mapping's commit label must be an ancestor of (or equal to) the
/// current commit; of a virtual merge the "from" commit counts. Oldest by unique id, so that every host chooses the same. `is_ancestor` gets (candidate's, current).
pub fn select<'a, E>(
    name: StageName,
    candidates: &'a [StageDescription],
    current: &Positions,
    mut is_ancestor: impl FnMut(&str, &CommitId, &CommitId) -> Result<bool, E>,
) -> Result<Option<&'a StageDescription>, E> {
    let mut by_age: Vec<&StageDescription> = candidates.iter().collect();
    by_age.sort_by_key(|stage| stage.id.unique);
    for stage in by_age {
        if !name.is_git_aware() || descends(stage, current, &mut is_ancestor)? {
            return Ok(Some(stage));
        }
    }
    Ok(None)
}

fn descends<E>(
    stage: &StageDescription,
    current: &Positions,
    is_ancestor: &mut impl FnMut(&str, &CommitId, &CommitId) -> Result<bool, E>,
) -> Result<bool, E> {
    for (mapping, now) in current {
        let Some(built_from) = stage.position(mapping) else { return Ok(false) };
        let (built_from, now) = (built_from.in_history(), now.in_history());
        if built_from != now && !is_ancestor(mapping, built_from, now)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, StageId};
    use crate::stage::{Position, VirtualMerge};

    fn commit(digit: char) -> CommitId {
        digit.to_string().repeat(40).parse().unwrap()
    }

    fn stored(unique: u64, at: Option<char>) -> StageDescription {
        let labels = at.map(|digit| ("werf-git-m-commit".to_owned(), commit(digit).to_string()));
        StageDescription {
            id: StageId { signature: "a".repeat(56).parse().unwrap(), unique },
            image: Digest::of(&unique.to_be_bytes()).into(),
            parent: None,
            repository: "werf-stages-storage/tools".into(),
            labels: labels.into_iter().collect(),
            size: 0,
            created: 0,
        }
    }

    /// History 1 ← 2 ← 3, and 9 on a branch of its own.
    fn pick(name: StageName, candidates: &[StageDescription], current: char) -> Option<u64> {
        pick_at(name, candidates, Position { commit: commit(current), merge: None })
    }

    fn pick_at(name: StageName, candidates: &[StageDescription], current: Position) -> Option<u64> {
        let current = Positions::from([("m".to_owned(), current)]);
        let is_ancestor =
            |_: &str, old: &CommitId, new: &CommitId| -> Result<bool, ()> { Ok(*old != commit('9') && old < new) };
        select(name, candidates, &current, is_ancestor).unwrap().map(|stage| stage.id.unique)
    }

    #[test]
    fn the_oldest_of_the_fitting_is_used() {
        let candidates = [stored(30, Some('1')), stored(20, Some('2')), stored(10, Some('9'))];
        assert_eq!(pick(StageName::GitArchive, &candidates, '3'), Some(20));
        assert_eq!(pick(StageName::From, &candidates, '3'), Some(10));
    }

    #[test]
    fn of_virtual_merges_the_from_commits_count() {
        let merge = |from: char| VirtualMerge { from: commit(from), into: commit('1') };
        let merged = |unique: u64, from: char| {
            let mut stage = stored(unique, Some('9'));
            let mut label = |name: &str, value: String| stage.labels.insert(format!("werf-git-m-{name}"), value);
            label("virtual-merge", "true".into());
            label("virtual-merge-from-commit", commit(from).to_string());
            label("virtual-merge-into-commit", commit('1').to_string());
            stage
        };
        let now = |merge| Position { commit: commit('9'), merge };
        let candidates = [stored(1, Some('9')), merged(2, '4'), merged(3, '2')];
        // The merge commit 9 itself is in nobody's history.
        assert_eq!(pick_at(StageName::Install, &candidates, now(Some(merge('3')))), Some(3));
        assert_eq!(pick_at(StageName::Install, &candidates, now(Some(merge('4')))), Some(2));
        assert_eq!(pick(StageName::Install, &candidates, '3'), Some(3));
    }

    #[test]
    fn unrelated_or_unlabelled_stages_do_not_fit() {
        assert_eq!(pick(StageName::Install, &[stored(1, Some('9')), stored(2, None)], '3'), None);
        assert_eq!(pick(StageName::Install, &[stored(1, Some('3'))], '2'), None);
        assert_eq!(pick(StageName::Install, &[stored(1, Some('9'))], '9'), Some(1));
    }
}
