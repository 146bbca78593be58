//! The OCI distribution API: our own client over reqwest. Knows the specification, nothing of what tags mean.
//!
//! `client` has the calls, `transfer` those for blobs (`download`, `upload`); all speak through `wire` (retries, redirects,
//! limits) over `connect`, and through `auth` (challenges and tokens). What may be contacted and what may be told to whom
//! is decided in `reach`, and what kind of registry an address is in `vendor`, both without I/O.
//!
//! A registry is not trusted: every manifest and blob is checked against its digest, every answer has a size limit and a
//! time limit, and an address that a registry names is contacted only as far as `reach` allows.

mod auth;
mod client;
mod connect;
pub mod docker_config;
mod download;
mod error;
pub mod manifest;
mod reach;
mod retry;
mod transfer;
mod upload;
pub mod vendor;
mod wire;

pub use client::{Client, Options, Proxies};
pub use docker_config::{Credentials, DockerConfig};
pub use error::{Code, Error};
pub use manifest::{Descriptor, FetchedManifest, Index, Manifest, Platform};
pub use transfer::{BlobSource, Progress, UploadOutcome, no_progress};
