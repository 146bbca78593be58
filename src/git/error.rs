//! What can go wrong with a repository, and what to do about it.

use std::path::PathBuf;

use crate::error::{ErrorKind, Explain};

/// A failure while reading or fetching a git repository. `repo` is what people call the repository: its directory, or the
/// URL of a remote without credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no git repository in `{dir}`")]
    NoRepository { dir: PathBuf, work_tree: Option<PathBuf> },
    #[error("git repository `{dir}` belongs to user {owner}, and slipway runs as user {user}")]
    ForeignOwner { dir: PathBuf, owner: u32, user: u32 },
    #[error("cannot open git repository `{repo}`: {reason}")]
    Open { repo: String, reason: String },
    #[error("git repository `{repo}` stores its objects as `{format}`, and only `sha1` can be read")]
    ObjectFormat { repo: String, format: String },
    #[error("git repository `{repo}` has no commit yet")]
    NoCommits { repo: String },
    #[error("{what} not found in git repository `{repo}`")]
    ReferenceNotFound { what: String, repo: String },
    #[error("commit {commit} not found in git repository `{repo}`")]
    CommitNotFound { commit: String, repo: String, shallow: bool },
    #[error("object {object} is missing in git repository `{repo}`")]
    ObjectMissing { object: String, repo: String },
    #[error("content of `{path}` (object {object}) is missing in git repository `{repo}`")]
    ContentMissing { path: String, object: String, repo: String },
    #[error("cannot read git repository `{repo}`: {reason}")]
    Read { repo: String, reason: String },
    #[error("base path `/{add}` not found at commit {commit} of git repository `{repo}`{}", symlink_note(.symlink))]
    BasePathNotFound { add: String, commit: String, repo: String, symlink: Option<String> },
    #[error("file `/{add}` cannot be put at `/`: `to` must name a file")]
    FileAtRoot { add: String },
    #[error("`{path}` in git repository `{repo}` is refused: {reason}")]
    BadTree { path: String, repo: String, reason: &'static str },
    #[error("`{path}` in git repository `{repo}` is too large to be read from a pack: {size} bytes")]
    TooLarge { path: String, repo: String, size: u64 },
    #[error("submodule `{path}` of git repository `{repo}` is refused: {reason}")]
    BadSubmodule { path: String, repo: String, reason: String },
    #[error("commit {commit} of submodule `{path}` is not available in git repository `{repo}`")]
    SubmoduleMissing { path: String, commit: String, repo: String, cloned: bool },
    #[error("content of `{path}` is kept by git LFS and object {object} is not in git repository `{repo}`")]
    LfsMissing { path: String, object: String, repo: String },
    #[error(
        "`/{path}` in the image has two sources that disagree: one makes it a file or removes it, and another puts files into it"
    )]
    MappingConflict { path: String },
    #[error("cannot fetch the missing history of shallow git repository `{repo}`: it has no remote `origin`")]
    NoOrigin { repo: String },
    #[error("the git program was not found in PATH")]
    NoProgram,
    #[error("`git {action}` failed for `{url}`: {reason}")]
    Program { action: &'static str, url: String, reason: String, remote_failed: bool },
    #[error("git URL `{url}` is refused: {reason}")]
    BadUrl { url: String, reason: &'static str },
    #[error("ssh key `{path}` cannot be read: {reason}")]
    SshKey { path: PathBuf, reason: String },
    #[error("cannot write clone `{path}`: {source}")]
    Clone { path: PathBuf, source: std::io::Error },
    #[error("clone `{path}` has been in use by another process for ten minutes")]
    CloneBusy { path: PathBuf },
    #[error("commits {into} and {from} cannot be merged without conflicts in git repository `{repo}`")]
    MergeConflict { into: String, from: String, repo: String },
}

fn symlink_note(symlink: &Option<String>) -> String {
    symlink
        .as_ref()
        .map(|path| format!(": `/{path}` is a symbolic link, and links are not followed"))
        .unwrap_or_default()
}

impl Explain for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ForeignOwner { .. } | Self::NoProgram | Self::Clone { .. } | Self::CloneBusy { .. } => {
                ErrorKind::Environment
            }
            Self::Program { remote_failed: true, .. } => ErrorKind::Remote,
            _ => ErrorKind::User,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoRepository { work_tree: Some(root), .. } => format!(
                "the work tree's root is `{root}`: run slipway there, or name it with `--dir {root}`",
                root = root.display()
            ),
            Self::NoRepository { .. } => {
                "git mappings without `url` take files from the project's repository: run `git init` and commit, or name another directory with `--dir`".to_owned()
            }
            Self::ForeignOwner { dir, .. } => format!(
                "if you trust its owner, run `git config --global --add safe.directory {}`",
                dir.display()
            ),
            Self::NoCommits { .. } => "commit the files that the images need: only committed files are built".to_owned(),
            Self::CommitNotFound { shallow: true, .. } => {
                "the clone is shallow: run `git fetch --unshallow`, or set `GIT_DEPTH: 0` in the GitLab job".to_owned()
            }
            Self::ObjectMissing { .. } | Self::ContentMissing { .. } => {
                "the clone is partial or damaged: clone it again without `--filter`, or run `git fsck`".to_owned()
            }
            Self::SubmoduleMissing { cloned: true, .. } => {
                "submodules of remote repositories are not fetched: give it a git mapping of its own, and name it in `excludePaths` of this one".to_owned()
            }
            Self::SubmoduleMissing { .. } => {
                return vec![
                    "run `git submodule update --init --recursive`, or set `GIT_SUBMODULE_STRATEGY: recursive` in the GitLab job".to_owned(),
                    "if it is an older commit that is missing, set `GIT_SUBMODULE_DEPTH: 0` as well".to_owned(),
                ];
            }
            Self::Read { .. } => "if the clone is damaged, `git fsck` says where: clone it again".to_owned(),
            Self::LfsMissing { .. } => "run `git lfs fetch` in the repository before".to_owned(),
            Self::TooLarge { .. } => "keep such a file in git LFS, or exclude it with `excludePaths`".to_owned(),
            Self::BadTree { .. } => "rename it, or exclude it with `excludePaths`".to_owned(),
            Self::MergeConflict { .. } => {
                "the stage before was built from a merge that cannot be made again: rebuild it, or pass commits that still merge".to_owned()
            }
            Self::CloneBusy { .. } => "look for a git process that hangs, and end it".to_owned(),
            Self::NoProgram => "install git: slipway reads repositories by itself, but fetches them with git".to_owned(),
            Self::Program { remote_failed: true, .. } => {
                "check the URL, the network, and that the credentials or ssh keys given allow to read it".to_owned()
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
