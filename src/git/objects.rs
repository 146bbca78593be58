//! The object store of one repository, readable from any number of threads.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use git2::{ErrorCode, ObjectType, Oid, Repository};

use super::error::Error;
use crate::ids::CommitId;

/// Where a repository's objects are. libgit2's handle is for one thread at a time, so handles are kept in a pool.
pub(super) struct Objects {
    /// What people call the repository.
    pub(super) name: String,
    pub(super) git_dir: PathBuf,
    /// `None` for a bare clone.
    pub(super) work_dir: Option<PathBuf>,
    /// Where the repositories of submodules are.
    pub(super) modules: PathBuf,
    idle: Mutex<Vec<Repository>>,
}

/// A libgit2 handle; goes back to the pool when dropped.
pub(super) struct Handle<'a> {
    objects: &'a Objects,
    repository: Option<Repository>,
}

impl Objects {
    /// Opens `git_dir`: a `.git` directory, the one of a linked work tree, or a bare repository.
    ///
    /// libgit2 opens it as a bare repository on purpose: then it looks at no work tree and makes no ownership check of its
    /// own, which would refuse checkouts that a runner made as another user; `Repo` makes that check.
    pub(super) fn open(name: String, git_dir: &Path, work_dir: Option<&Path>) -> Result<Arc<Self>, Error> {
        let open = |error: git2::Error| match error.code() {
            ErrorCode::NotFound => {
                Error::Open { repo: name.clone(), reason: format!("`{}` is not a git directory", git_dir.display()) }
            }
            _ => Error::Open { repo: name.clone(), reason: error.message().to_owned() },
        };
        let format = object_format(git_dir);
        if format != "sha1" {
            return Err(Error::ObjectFormat { repo: name, format });
        }
        let repository = Repository::open_bare(git_dir).map_err(open)?;
        Ok(Arc::new(Self {
            name,
            git_dir: git_dir.to_owned(),
            work_dir: work_dir.map(Path::to_owned),
            modules: repository.commondir().join("modules"),
            idle: Mutex::new(vec![repository]),
        }))
    }

    /// The same repository with the objects of another git directory, which has ours as its alternate.
    pub(super) fn with_store(&self, git_dir: &Path) -> Result<Arc<Self>, Error> {
        let repository = Repository::open_bare(git_dir).map_err(|error| self.read_error(&error))?;
        Ok(Arc::new(Self {
            name: self.name.clone(),
            git_dir: git_dir.to_owned(),
            work_dir: self.work_dir.clone(),
            modules: self.modules.clone(),
            idle: Mutex::new(vec![repository]),
        }))
    }

    /// A handle for this thread.
    pub(super) fn handle(&self) -> Result<Handle<'_>, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let repository = match idle {
            Some(repository) => repository,
            None => Repository::open_bare(&self.git_dir).map_err(|error| self.read_error(&error))?,
        };
        Ok(Handle { objects: self, repository: Some(repository) })
    }

    /// The directory that linked work trees share; `git_dir` itself in an ordinary repository.
    pub(super) fn common_dir(&self) -> Result<PathBuf, Error> {
        Ok(self.handle()?.commondir().to_owned())
    }

    /// Whether an object is here and a commit.
    pub(super) fn contains(&self, commit: &CommitId) -> bool {
        let Ok(handle) = self.handle() else { return false };
        oid(commit).is_some_and(|oid| handle.find_commit(oid).is_ok())
    }

    /// The tree of a commit.
    pub(super) fn root_of(&self, commit: &CommitId) -> Result<Oid, Error> {
        let handle = self.handle()?;
        let oid = oid(commit).ok_or_else(|| self.commit_not_found(commit))?;
        let commit = handle.find_commit(oid).map_err(|_| self.commit_not_found(commit))?;
        Ok(commit.tree_id())
    }

    pub(super) fn commit_not_found(&self, commit: &CommitId) -> Error {
        let shallow = self.handle().is_ok_and(|handle| handle.is_shallow());
        Error::CommitNotFound { commit: commit.to_string(), repo: self.name.clone(), shallow }
    }

    /// What libgit2 says of a failed read of an object that a commit or tree names.
    pub(super) fn object_error(&self, object: Oid, error: &git2::Error) -> Error {
        match error.code() {
            ErrorCode::NotFound => Error::ObjectMissing { object: object.to_string(), repo: self.name.clone() },
            _ => self.read_error(error),
        }
    }

    pub(super) fn read_error(&self, error: &git2::Error) -> Error {
        Error::Read { repo: self.name.clone(), reason: error.message().to_owned() }
    }

    /// The size of a blob in bytes.
    pub(super) fn blob_size(&self, id: Oid) -> Result<u64, Error> {
        let handle = self.handle()?;
        let header = handle.odb().and_then(|odb| odb.read_header(id)).map_err(|error| self.object_error(id, &error))?;
        match header {
            (size, ObjectType::Blob) => Ok(size as u64),
            (_, other) => {
                Err(Error::Read { repo: self.name.clone(), reason: format!("object {id} is a {other}, not a blob") })
            }
        }
    }

    /// The bytes of a blob.
    pub(super) fn blob(&self, id: Oid) -> Result<Vec<u8>, Error> {
        let handle = self.handle()?;
        let blob = handle.find_blob(id).map_err(|error| self.object_error(id, &error))?;
        Ok(blob.content().to_owned())
    }
}

impl Deref for Handle<'_> {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        match &self.repository {
            Some(repository) => repository,
            None => unreachable!("taken only when dropped"),
        }
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        let mut idle = self.objects.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.repository.take());
    }
}

/// The libgit2 form of a commit id; `None` for a SHA-256 id.
pub(super) fn oid(commit: &CommitId) -> Option<Oid> {
    if commit.as_str().len() == 40 { Oid::from_str(commit.as_str()).ok() } else { None }
}

/// Our form of a commit id.
pub(super) fn commit_id(oid: Oid) -> Result<CommitId, Error> {
    oid.to_string().parse().map_err(|_| Error::Read { repo: String::new(), reason: format!("`{oid}` is not an id") })
}

/// `extensions.objectFormat` of a repository's own configuration. libgit2 without SHA-256 fails on such a repository in words
/// that help nobody, so it is looked up first.
fn object_format(git_dir: &Path) -> String {
    let common = std::fs::read_to_string(git_dir.join("commondir")).unwrap_or_default();
    let config = git2::Config::open(&git_dir.join(common.trim_end()).join("config"));
    config
        .and_then(|config| config.get_string("extensions.objectformat"))
        .map_or_else(|_| "sha1".to_owned(), |format| format.to_lowercase())
}
