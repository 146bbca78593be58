//! Who descends from whom.

use std::collections::HashSet;

use git2::{ErrorCode, Oid};

use super::Repo;
use super::error::Error;
use super::objects::oid;
use crate::ids::CommitId;

impl Repo {
    /// Whether `ancestor` is `descendant` or one of the commits it was made from. A commit that is not here is nobody's
    /// ancestor (spec/build.md 2.7). In a shallow clone only the history that is there counts.
    pub fn is_ancestor(&self, ancestor: &CommitId, descendant: &CommitId) -> Result<bool, Error> {
        if !self.contains(ancestor) || !self.contains(descendant) {
            return Ok(false);
        }
        if ancestor == descendant {
            return Ok(true);
        }
        let (Some(ancestor), Some(descendant)) = (oid(ancestor), oid(descendant)) else { return Ok(false) };
        let handle = self.objects.handle()?;
        match handle.graph_descendant_of(descendant, ancestor) {
            Ok(descends) => Ok(descends),
            Err(error) if error.code() == ErrorCode::NotFound && handle.is_shallow() => {
                Ok(reaches(&handle, descendant, ancestor))
            }
            Err(error) => Err(self.objects.read_error(&error)),
        }
    }
}

/// Looks for `ancestor` in the history that is there, and takes a parent that is missing for the end of it.
fn reaches(repository: &git2::Repository, descendant: Oid, ancestor: Oid) -> bool {
    let mut seen = HashSet::from([descendant]);
    let mut open = vec![descendant];
    while let Some(id) = open.pop() {
        if id == ancestor {
            return true;
        }
        let Ok(commit) = repository.find_commit(id) else { continue };
        open.extend(commit.parent_ids().filter(|parent| seen.insert(*parent)));
    }
    false
}
