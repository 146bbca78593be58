//! A repository: opened, and asked for its commits.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ErrorCode, ObjectType};

use super::error::Error;
use super::objects::{Objects, commit_id, oid};
use crate::config::model::GitReference;
use crate::ids::CommitId;

/// The project's repository or the clone of a remote one. Cheap to clone, and readable from many threads at once.
#[derive(Clone)]
pub struct Repo {
    pub(super) objects: Arc<Objects>,
}

impl Repo {
    /// Opens the repository whose work tree's root is `dir`, as `.git` directory or as `.git` file of a linked work tree or
    /// submodule. As in 1.1 no directory above is tried (spec/build.md 1.1): `add` paths are relative to the repository, and
    /// a project below its root would be ambiguous.
    ///
    /// The owner must be this user, root, or be trusted by git's own `safe.directory`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let git_dir = find_git_dir(dir)?;
        check_owner(dir, &git_dir)?;
        Self::open_found(dir, &git_dir)
    }

    /// Opens like [`Repo::open`], whoever owns it: for a caller that knows the directory to be its own job's checkout.
    pub fn open_trusted(dir: &Path) -> Result<Self, Error> {
        Self::open_found(dir, &find_git_dir(dir)?)
    }

    fn open_found(dir: &Path, git_dir: &Path) -> Result<Self, Error> {
        let objects = Objects::open(dir.display().to_string(), git_dir, Some(dir))?;
        Ok(Self { objects })
    }

    /// Opens a clone that `Remotes` made.
    pub(super) fn open_clone(name: String, git_dir: &Path) -> Result<Self, Error> {
        Ok(Self { objects: Objects::open(name, git_dir, None)? })
    }

    /// Whether the commits of all references are there, with their root trees.
    pub(super) fn is_whole(&self) -> bool {
        let Ok(handle) = self.objects.handle() else { return false };
        let Ok(references) = handle.references() else { return false };
        let present = |reference: git2::Reference<'_>| match reference.target() {
            Some(id) => match handle.find_object(id, None) {
                Ok(object) => object.peel_to_tree().is_ok() || object.as_commit().is_none(),
                Err(_) => false,
            },
            None => true,
        };
        references.into_iter().all(|reference| reference.is_ok_and(present))
    }

    /// What people call it: the directory, or the URL of a remote without credentials.
    pub fn name(&self) -> &str {
        &self.objects.name
    }

    /// The commit of HEAD.
    pub fn head(&self) -> Result<CommitId, Error> {
        let handle = self.objects.handle()?;
        let head = handle.head().map_err(|error| match error.code() {
            ErrorCode::UnbornBranch | ErrorCode::NotFound => Error::NoCommits { repo: self.name().to_owned() },
            _ => self.objects.read_error(&error),
        })?;
        let target = head.target().ok_or_else(|| Error::NoCommits { repo: self.name().to_owned() })?;
        let commit = commit_id(target)?;
        if self.objects.contains(&commit) { Ok(commit) } else { Err(self.objects.commit_not_found(&commit)) }
    }

    /// The commit that a mapping's reference means (spec/build.md 3.2); branches are those of `origin`.
    pub fn resolve(&self, reference: &GitReference) -> Result<CommitId, Error> {
        match reference {
            GitReference::Default if self.objects.work_dir.is_some() => self.head(),
            GitReference::Default => self
                .peel("refs/slipway/HEAD")
                .ok_or_else(|| self.reference_not_found("default branch (HEAD)".to_owned()))
                .and_then(commit_id),
            GitReference::Branch(name) => self
                .peel(&format!("refs/remotes/origin/{name}"))
                .ok_or_else(|| self.reference_not_found(format!("branch `{}`", name.escape_debug())))
                .and_then(commit_id),
            GitReference::Tag(name) => self
                .peel(&format!("refs/tags/{name}"))
                .ok_or_else(|| self.reference_not_found(format!("tag `{}`", name.escape_debug())))
                .and_then(commit_id),
            GitReference::Commit(text) => self.commit_by_prefix(text),
        }
    }

    /// Whether the commit is here.
    pub fn contains(&self, commit: &CommitId) -> bool {
        self.objects.contains(commit)
    }

    /// When the commit was committed, in seconds since 1970.
    pub fn committer_time(&self, commit: &CommitId) -> Result<i64, Error> {
        let handle = self.objects.handle()?;
        let found = oid(commit).and_then(|oid| handle.find_commit(oid).ok());
        found.map(|commit| commit.time().seconds()).ok_or_else(|| self.objects.commit_not_found(commit))
    }

    /// Whether history is cut off (spec/build.md 3.3).
    pub fn is_shallow(&self) -> bool {
        self.objects.handle().is_ok_and(|handle| handle.is_shallow())
    }

    /// The URL of remote `origin` as configured; may hold credentials.
    pub fn origin_url(&self) -> Option<String> {
        let config = self.objects.handle().ok()?.config().ok()?;
        config.get_string("remote.origin.url").ok()
    }

    fn peel(&self, reference: &str) -> Option<git2::Oid> {
        let handle = self.objects.handle().ok()?;
        let reference = handle.find_reference(reference).ok()?;
        Some(reference.peel_to_commit().ok()?.id())
    }

    /// A commit by its id or the first digits of it.
    fn commit_by_prefix(&self, text: &str) -> Result<CommitId, Error> {
        let not_found = || self.reference_not_found(format!("commit `{}`", text.escape_debug()));
        if text.len() < 4 || text.len() > 40 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let handle = self.objects.handle()?;
        let found = handle.find_object_by_prefix(&text.to_lowercase(), Some(ObjectType::Commit));
        commit_id(found.map_err(|_| not_found())?.id())
    }

    fn reference_not_found(&self, what: String) -> Error {
        Error::ReferenceNotFound { what, repo: self.name().to_owned() }
    }
}

/// The git directory of a work tree: `.git`, or where the file `.git` points.
pub(super) fn find_git_dir(dir: &Path) -> Result<PathBuf, Error> {
    let dot_git = dir.join(".git");
    match fs::metadata(&dot_git) {
        Ok(metadata) if metadata.is_dir() => Ok(dot_git),
        Ok(_) => {
            let open = |reason: String| Error::Open { repo: dir.display().to_string(), reason };
            let text = fs::read_to_string(&dot_git).map_err(|error| open(format!("`.git`: {error}")))?;
            let target = text.strip_prefix("gitdir:").map(str::trim);
            let target = target.ok_or_else(|| open("`.git` is a file without a `gitdir:` line".to_owned()))?;
            Ok(dir.join(target))
        }
        Err(_) => {
            let work_tree = dir.ancestors().skip(1).find(|above| above.join(".git").exists());
            Err(Error::NoRepository { dir: dir.to_owned(), work_tree: work_tree.map(Path::to_owned) })
        }
    }
}

/// Refuses what belongs to somebody who is neither this user nor root, as git does.
fn check_owner(dir: &Path, git_dir: &Path) -> Result<(), Error> {
    let user = rustix::process::geteuid().as_raw();
    let owners = [dir, git_dir].into_iter().filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.uid());
    match owners.into_iter().find(|owner| *owner != user && *owner != 0) {
        Some(owner) if !is_declared_safe(dir) => Err(Error::ForeignOwner { dir: dir.to_owned(), owner, user }),
        _ => Ok(()),
    }
}

/// Whether `safe.directory` in git's global or system configuration names the directory or `*`.
fn is_declared_safe(dir: &Path) -> bool {
    let canonical = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let Ok(config) = git2::Config::open_default() else { return false };
    let Ok(mut values) = config.multivar("safe.directory", None) else { return false };
    let mut safe = false;
    while let Some(Ok(entry)) = values.next() {
        match entry.value() {
            Ok("") => safe = false, // an empty value takes back what stands before it
            Ok("*") => safe = true,
            Ok(path) => safe |= Path::new(path) == canonical,
            Err(_) => {}
        }
    }
    safe
}
