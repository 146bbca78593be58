//! What runs containers and keeps images: one pair of traits, two implementations (decisions 3.1).
//!
//! Nothing above this module knows which one is in use. Deliberately absent: stages, werf labels, GitLab.

pub mod docker;
pub mod embedded;
pub mod image;
mod limits;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Error;
use crate::ids::{ContainerId, Digest, ImageId};
use crate::image_ref::ImageRef;
use crate::layer::{LayerSource, Looks};
pub use image::{ImageChange, ImageConfig, ImageDescription};
pub use limits::{Cpus, Limits, Memory, Pids};

/// Which `repository:tag` names and labels a listed image must have.
#[derive(Clone, Debug, Default)]
pub struct ImageFilter {
    /// Exact repository part of a local name, `werf-stages-storage/project`.
    pub repository: Option<String>,
    /// Labels that must be there with these values.
    pub labels: BTreeMap<String, String>,
}

/// How a base image is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasePolicy {
    /// What is here is good enough; the registry is asked only when nothing is.
    PreferLocal,
    /// The registry is asked; the local image counts only when it is the same, or with a warning when the registry fails.
    AskRegistry,
}

/// A named account or group of an image, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// `/etc/passwd`: name to (uid, primary gid).
    pub users: BTreeMap<String, (u32, u32)>,
    /// `/etc/group`: name to gid.
    pub groups: BTreeMap<String, u32>,
}

/// Which files of an image to read, and nothing of what they become: rules 3 and 4 of spec/build.md 2.12 stay with the caller.
#[derive(Clone, Debug)]
pub struct TreeRequest {
    /// Absolute path in the image; a symbolic link here is followed within the image.
    pub path: PathBuf,
}

/// What a path of an image leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// From the root of the image, without a leading `/`; no component is a symbolic link.
    pub path: PathBuf,
    /// What a directory looks like; `None` for anything else.
    pub directory: Option<Looks>,
}

/// Where the pieces of a pushed image went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Manifest digest in the registry.
    pub digest: Digest,
    /// Digest of the pushed configuration.
    pub id: ImageId,
    /// Bytes sent, blobs found there, blobs mounted from another repository.
    pub uploaded_bytes: u64,
    pub reused_blobs: usize,
    pub mounted_blobs: usize,
}

/// What people see of a long transfer: total (when known) and done, in bytes. Called often, must return fast.
pub type OnProgress<'a> = &'a (dyn Fn(&str, u64, Option<u64>) + Send + Sync);

/// Images on this host.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// The image with this id or local name (`repository:tag`), `None` when there is none.
    async fn inspect(&self, name: &str) -> anyhow::Result<Option<ImageDescription>>;

    /// All images that match, oldest first.
    async fn list(&self, filter: &ImageFilter) -> anyhow::Result<Vec<ImageDescription>>;

    /// The image a stage starts from. May fetch no more than its manifest and configuration now and the rest when
    /// something needs it. `reference` may also be the name of an imported image.
    async fn base(
        &self,
        reference: &str,
        policy: BasePolicy,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<ImageDescription>;

    /// A new image: `parent` (or nothing) plus at most one layer, with the configuration changed. No container is started.
    async fn append(
        &self,
        parent: Option<&ImageId>,
        layer: Option<Arc<dyn LayerSource>>,
        change: &ImageChange,
    ) -> anyhow::Result<ImageDescription>;

    /// Gives an image one more local name. An existing name moves.
    async fn tag(&self, id: &ImageId, name: &str) -> anyhow::Result<()>;

    /// Takes a local name away; an image without names and children is dropped. Absent is fine.
    async fn untag(&self, name: &str) -> anyhow::Result<()>;

    /// Users and groups that the image itself knows.
    async fn accounts(&self, id: &ImageId) -> anyhow::Result<Accounts>;

    /// The entries at and under a path of the image, sorted, with paths from the root of the image. A file gives one entry;
    /// a missing path gives `None`. Contents can be opened until the returned source is dropped.
    async fn tree(&self, id: &ImageId, request: &TreeRequest) -> anyhow::Result<Option<Arc<dyn LayerSource>>>;

    /// Where a path of the image leads when all symbolic links are followed within the image; `None` when nothing is there.
    /// Made for many questions about one image.
    async fn resolve(&self, id: &ImageId, path: &Path) -> anyhow::Result<Option<Resolved>>;

    /// Whether all files of the image are on this host, so that looking into it fetches nothing.
    async fn is_fetched(&self, id: &ImageId) -> anyhow::Result<bool>;

    /// Brings all files of the image to this host. Whatever needs them does it by itself, but silently.
    async fn fetch(&self, id: &ImageId, progress: OnProgress<'_>) -> anyhow::Result<()>;

    /// Sends the image, with its configuration changed first, to a registry under `target`'s tag. `config.Image` of what
    /// is pushed is the id of the local image. Layers that the registry has, here or in another repository, are not sent.
    async fn push(
        &self,
        id: &ImageId,
        change: &ImageChange,
        target: &ImageRef,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<Pushed>;
}

/// A directory or file of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// A published port of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub host: u16,
    pub container: u16,
}

/// What to run on top of an image.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// Unique on the host; also the name in the engine.
    pub name: String,
    /// Program and arguments; replaces entrypoint and command of the image.
    pub command: Vec<String>,
    /// Added to the image's environment for this container only; never part of a committed image.
    pub env: Vec<(String, String)>,
    /// `uid[:gid]` or names; `None` keeps the image's user.
    pub user: Option<String>,
    /// `None` keeps the image's working directory.
    pub workdir: Option<PathBuf>,
    pub mounts: Vec<Mount>,
    /// Host network for builds; otherwise the runtime's default.
    pub network: Network,
    pub ports: Vec<Port>,
    pub labels: BTreeMap<String, String>,
    pub terminal: bool,
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    #[default]
    Host,
    /// The runtime's own default: a bridge in Docker, the host's in the embedded runtime without pasta.
    Default,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Where a container's output goes while it runs; called in order, from one task.
pub type OnOutput<'a> = &'a mut (dyn FnMut(Stream, &[u8]) + Send);

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// The code of the first process; 128 + signal when a signal ended it.
    pub code: i32,
    /// The kernel ended it for memory.
    pub out_of_memory: bool,
}

/// Containers on this host.
#[async_trait]
pub trait ContainerRuntime: Send + Sync {
    /// Makes a container of an image, with the entries of `layer` already written on top. Nothing runs yet. It belongs to
    /// this process: what is left when the process dies, the next run clears.
    async fn create(
        &self,
        image: &ImageId,
        layer: Option<Arc<dyn LayerSource>>,
        spec: &ContainerSpec,
    ) -> anyhow::Result<ContainerId>;

    /// Runs the container's command to its end. Dropping the future stops the container and everything in it.
    async fn run(&self, container: &ContainerId, output: OnOutput<'_>) -> anyhow::Result<ExitStatus>;

    /// Starts the container's command and leaves it running, also when this process ends. Its output goes where the runtime
    /// keeps it; `remove`, by whichever process, ends it.
    async fn start(&self, container: &ContainerId) -> anyhow::Result<()> {
        Err(Error::environment(format!("container `{container}`: this runtime starts no detached containers")).into())
    }

    /// Opens an interactive command on the caller's terminal in the container's file system, with its mounts, environment
    /// and user. Works before and after `run`.
    async fn attach(&self, container: &ContainerId, command: &[String]) -> anyhow::Result<ExitStatus>;

    /// What the container has changed becomes a layer, and with the changed configuration an image. Mounts and the
    /// container's own environment are not part of it. The container remains.
    async fn commit(&self, container: &ContainerId, change: &ImageChange) -> anyhow::Result<ImageDescription>;

    /// Names of those limits that this host cannot hold containers to. They are ignored.
    async fn ignored_limits(&self, limits: &Limits) -> anyhow::Result<Vec<&'static str>>;

    /// Stops and removes; absent is fine.
    async fn remove(&self, container: &ContainerId) -> anyhow::Result<()>;
}

/// Both halves; what the layers above hold.
pub trait Runtime: ImageStore + ContainerRuntime {
    /// `docker` or `embedded`, for messages.
    fn name(&self) -> &'static str;
}
