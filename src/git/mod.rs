//! Git repositories, read through libgit2 straight from the object store; never a work tree.
//!
//! Nothing here runs a filter, a hook or an attribute driver, and nothing depends on what is checked out. The `git` program is
//! started only to transfer objects from a remote (`remote`, `program`).
//!
//! `repo` opens and resolves, `tree` walks the files of a commit under a mapping's path rules, `archive` and `patch` make layers
//! of what it finds, `place` fits them to the image they go on and `merge` makes one of several, `checksum` makes a hash,
//! `ancestry` says who descends from whom.

mod ancestry;
mod archive;
mod blob;
mod checksum;
mod difference;
mod entries;
mod error;
mod lfs;
mod merge;
mod objects;
mod patch;
mod place;
mod program;
mod remote;
mod repo;
mod submodule;
mod tree;
mod virtual_merge;

pub use archive::{Archive, ArchiveKind, ArchiveSpec};
pub use checksum::PatternChecksum;
pub use error::Error;
pub use merge::merge;
pub use patch::{Change, ChangeKind, Patch};
pub use place::Placed;
pub use program::Access;
pub use remote::Remotes;
pub use repo::Repo;
