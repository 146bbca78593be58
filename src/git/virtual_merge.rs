//! Merge commits that a CI system made for one pipeline and nobody keeps (spec/build.md 3.8).

use std::fs;
use std::sync::Arc;

use git2::{MergeOptions, Oid, Repository, RepositoryInitOptions};

use super::Repo;
use super::archive::ArchiveSpec;
use super::error::Error;
use super::objects::{Objects, commit_id, oid};
use super::patch::{Patch, existing};
use super::tree;
use crate::ids::CommitId;
use crate::stage::VirtualMerge;

impl Repo {
    /// What a commit with two parents merged: its second parent into its first. `None` for any other commit.
    pub fn merged_by(&self, commit: &CommitId) -> Result<Option<VirtualMerge>, Error> {
        let handle = self.objects.handle()?;
        let found = oid(commit).and_then(|oid| handle.find_commit(oid).ok());
        let found = found.ok_or_else(|| self.objects.commit_not_found(commit))?;
        match found.parent_ids().collect::<Vec<_>>()[..] {
            [into, from] => Ok(Some(VirtualMerge { from: commit_id(from)?, into: commit_id(into)? })),
            _ => Ok(None),
        }
    }

    /// What changed since a virtual merge whose commit is gone. The merge is made again, in a temporary object store beside the
    /// repository's own; nothing is written to the repository. A merge with conflicts is an error.
    pub fn patch_since_merge(&self, base: &VirtualMerge, to: &CommitId, spec: &ArchiveSpec) -> Result<Patch, Error> {
        let failed = |error: std::io::Error| self.failed(&error.to_string());
        let scratch = tempfile::tempdir().map_err(failed)?;
        let mut options = RepositoryInitOptions::new();
        Repository::init_opts(scratch.path(), options.bare(true).external_template(false))
            .map_err(|error| self.objects.read_error(&error))?;
        let objects = self.objects.common_dir()?.join("objects");
        let objects = fs::canonicalize(objects).map_err(failed)?;
        let info = scratch.path().join("objects/info");
        fs::create_dir_all(&info).map_err(failed)?;
        fs::write(info.join("alternates"), format!("{}\n", objects.display())).map_err(failed)?;
        let merged = self.objects.with_store(scratch.path())?;
        let root = self.merged_root(&merged, base)?;
        let old = existing(tree::base_in(&merged, root, base.from.as_str(), &spec.filter))?;
        self.patch_since(old, to, spec)
    }

    fn merged_root(&self, objects: &Arc<Objects>, base: &VirtualMerge) -> Result<Oid, Error> {
        let handle = objects.handle()?;
        let commit = |id: &CommitId| {
            let found = oid(id).and_then(|oid| handle.find_commit(oid).ok());
            found.ok_or_else(|| self.objects.commit_not_found(id))
        };
        let (into, from) = (commit(&base.into)?, commit(&base.from)?);
        let read = |error: git2::Error| self.objects.read_error(&error);
        let mut index = handle.merge_commits(&into, &from, Some(&MergeOptions::new())).map_err(read)?;
        if index.has_conflicts() {
            let repo = self.name().to_owned();
            return Err(Error::MergeConflict { into: base.into.to_string(), from: base.from.to_string(), repo });
        }
        index.write_tree_to(&handle).map_err(read)
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Read { repo: self.name().to_owned(), reason: reason.to_owned() }
    }
}
