//! The git repositories of a run: the project's own and the remote ones, each opened once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

use crate::config::{GitMapping, GitRemote};
use crate::error::Error;
use crate::git::{self, ArchiveSpec, Patch, Remotes, Repo};
use crate::ids::CommitId;
use crate::stage::mapping::{self, PathFilter};
use crate::stage::{Position, VirtualMerge};

/// A git mapping with its repository and the commit it stands at now.
#[derive(Clone)]
pub struct MappingSource {
    /// `stage::mapping::id`.
    pub id: String,
    pub mapping: GitMapping,
    pub repo: Repo,
    pub commit: CommitId,
    /// What the commit merged, when it is a virtual merge commit.
    pub merge: Option<VirtualMerge>,
}

impl MappingSource {
    pub fn filter(&self) -> PathFilter {
        let GitMapping { add, include_paths, exclude_paths, .. } = &self.mapping;
        PathFilter { base: add.clone(), include: include_paths.clone(), exclude: exclude_paths.clone() }
    }

    pub fn position(&self) -> Position {
        Position { commit: self.commit.clone(), merge: self.merge.clone() }
    }

    /// Whether the files at an earlier position can be had: its commit is here, or the merge can be made again.
    pub fn can_read(&self, position: &Position) -> bool {
        let merge_is_here = |merge: &VirtualMerge| self.repo.contains(&merge.from) && self.repo.contains(&merge.into);
        self.repo.contains(&position.commit) || position.merge.as_ref().is_some_and(merge_is_here)
    }

    /// What changed since an earlier position. A virtual merge commit that is gone is made again in memory.
    pub fn patch_since(&self, earlier: &Position, spec: &ArchiveSpec) -> Result<Patch, git::Error> {
        match &earlier.merge {
            Some(merge) if !self.repo.contains(&earlier.commit) => {
                self.repo.patch_since_merge(merge, &self.commit, spec)
            }
            _ => self.repo.patch(&earlier.commit, &self.commit, spec),
        }
    }

    /// How the mapping's files look in a layer made from its current commit.
    pub fn spec(&self, uid: u32, gid: u32) -> anyhow::Result<ArchiveSpec> {
        let mtime = self.repo.committer_time(&self.commit)?;
        Ok(ArchiveSpec { filter: self.filter(), to: self.mapping.to.clone(), uid, gid, mtime })
    }
}

/// Repositories by where they come from.
pub struct Sources {
    project_dir: PathBuf,
    project: Option<Repo>,
    head: Option<CommitId>,
    /// What HEAD of the project merged, when it is a virtual merge commit.
    merge: Option<VirtualMerge>,
    remotes: Remotes,
    fetched: Mutex<BTreeMap<String, Repo>>,
}

impl Sources {
    /// Opens the project's repository when there is one.
    pub fn open(project_dir: &Path, remotes: Remotes) -> anyhow::Result<Self> {
        let project = match Repo::open(project_dir) {
            Ok(repo) => Some(repo),
            Err(git::Error::NoRepository { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let head = match &project {
            Some(repo) => repo.head().ok(),
            None => None,
        };
        Ok(Self { project_dir: project_dir.to_owned(), project, head, merge: None, remotes, fetched: Mutex::default() })
    }

    /// HEAD of the project is a virtual merge commit (spec/build.md 3.8).
    pub fn set_virtual_merge(&mut self, merge: VirtualMerge) {
        self.merge = Some(merge);
    }

    /// HEAD of the project, where it is a git repository with a commit.
    pub fn head(&self) -> Option<&CommitId> {
        self.head.as_ref()
    }

    pub fn project(&self) -> Option<&Repo> {
        self.project.as_ref()
    }

    /// The mappings of an image at their current commits. Remote repositories are fetched, once each.
    pub fn resolve(&self, mappings: &[GitMapping]) -> anyhow::Result<Vec<MappingSource>> {
        mappings.iter().map(|mapping| self.resolve_one(mapping)).collect()
    }

    fn resolve_one(&self, mapping: &GitMapping) -> anyhow::Result<MappingSource> {
        let (repo, commit, merge) = match &mapping.remote {
            None => {
                let repo = self.project.clone().ok_or_else(|| not_a_repository(&self.project_dir))?;
                let commit = repo.head()?;
                (repo, commit, self.merge.clone())
            }
            Some(remote) => {
                let repo = self.fetch(remote)?;
                let commit = repo
                    .resolve(&remote.reference)
                    .with_context(|| format!("cannot use the git repository {}", remote.name))?;
                (repo, commit, None)
            }
        };
        Ok(MappingSource { id: mapping::id(mapping), mapping: mapping.clone(), repo, commit, merge })
    }

    fn fetch(&self, remote: &GitRemote) -> anyhow::Result<Repo> {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = fetched.get(&remote.url) {
            return Ok(repo.clone());
        }
        let repo = self.remotes.fetch(remote)?;
        fetched.insert(remote.url.clone(), repo.clone());
        Ok(repo)
    }
}

fn not_a_repository(project_dir: &Path) -> Error {
    Error::user(format!("werf.yaml takes files from git, but {} is not a git repository", project_dir.display()))
        .hint("run the command in a clone, or commit the project first: `git init && git add -A && git commit`")
}
