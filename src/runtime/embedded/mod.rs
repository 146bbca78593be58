//! The runtime without a daemon: images in a store of our own, containers by libcontainer in a child process.
//!
//! Images: `store` (what is on disk), `images` (found, derived, read), `snapshot` (a layer as directory and as blob), `unpack`,
//! `merged` (an image's files without mounting it), `marks` (how an overlay marks removals), `archive`, `remote` (registries).
//! Containers: `prepared` (directory, mount points, launch), `container` (our side of a running one), `wire` (between the two),
//! `child` (the other side), `spec`, `user`, `overlay`, `terminal`, `cgroup`, `rootless`.

mod archive;
mod cgroup;
mod child;
mod container;
mod images;
mod marks;
mod merged;
mod overlay;
mod prepared;
mod remote;
mod rootless;
mod snapshot;
mod spec;
mod store;
mod terminal;
mod unpack;
mod user;
mod wire;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;

use self::child::{Ends, Launch};
use self::images::Images;
use self::marks::Marks;
use self::prepared::Prepared;
use self::remote::Remote;
use self::spec::Host;
use self::store::Store;
pub use self::unpack::UnpackError;
use super::{
    Accounts, BasePolicy, ContainerRuntime, ContainerSpec, ExitStatus, ImageChange, ImageDescription, ImageFilter,
    ImageStore, Limits, OnOutput, OnProgress, Pushed, Resolved, Runtime, TreeRequest,
};
use crate::error::Error;
use crate::ids::{ContainerId, ImageId};
use crate::image_ref::ImageRef;
use crate::layer::LayerSource;
use crate::registry::Client;
use crate::sys::clock::Clock;
use crate::sys::paths::in_user_namespace;

/// Name of the hidden subcommand that brings a store to the disk.
const SYNC_SUBCOMMAND: &str = "sync-image-store";

/// Nobody waits for the disk: another process does, for what is not there yet.
impl Drop for EmbeddedRuntime {
    fn drop(&mut self) {
        let store = &self.images.store;
        if store.unsynced().is_ok_and(|markers| !markers.is_empty()) {
            let mut sync = std::process::Command::new(&self.program);
            sync.arg(SYNC_SUBCOMMAND).arg(store.root()).env_clear().process_group(0);
            // When it cannot be started, or is killed, the next one does it.
            let _ = sync.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        }
    }
}

/// Runs a subcommand by which this program calls itself; `None` when the arguments (the program's name first) are none of these.
/// Must be called before any thread is started.
pub fn hidden_command(args: &[OsString]) -> Option<ExitCode> {
    let mut rest = args.iter().skip(1).cloned();
    match rest.next()?.to_str()? {
        child::SUBCOMMAND => Some(child::main()),
        rootless::SUBCOMMAND => Some(rootless::main(rest)),
        rootless::MAP_SUBCOMMAND => Some(rootless::map_main(rest)),
        SYNC_SUBCOMMAND => {
            let synced = rest.next().map(|root| Store::sync(Path::new(&root)));
            Some(if matches!(synced, Some(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => None,
    }
}

/// Images and containers of this host, without a daemon.
pub struct EmbeddedRuntime {
    images: Images,
    remote: Remote,
    host: Host,
    /// What is executed with [`child::SUBCOMMAND`].
    program: PathBuf,
    /// Containers of this process.
    containers: Mutex<HashMap<ContainerId, Prepared>>,
}

impl EmbeddedRuntime {
    /// Opens, or makes, the store in the directory `root` and clears what dead processes left there. `program` is this
    /// program's executable, `registry` what base images come from and published ones go to.
    ///
    /// Without root, the process starts again, with the same arguments, as root of a user namespace: do nothing before that must
    /// not be done twice.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn open(root: &Path, program: PathBuf, registry: Client, clock: Clock) -> anyhow::Result<Self> {
        if rootless::is_needed() {
            return Err(Error::environment("cannot start again in a user namespace")
                .because(rootless::restart(&program))
                .into());
        }
        let store = Store::open(root)?;
        let user_namespace = in_user_namespace();
        let host = Host { user_namespace, guards_devices: guards_devices(), counts_swap: cgroup::counts_swap() };
        let marks = if user_namespace { Marks::User } else { Marks::Trusted };
        let images = Images { store, marks, clock };
        prepared::sweep(&images)?;
        images.store.sweep()?;
        images.store.forget_torn()?;
        let remote = Remote { images: images.clone(), client: registry };
        Ok(Self { images, remote, host, program, containers: Mutex::default() })
    }

    /// Makes an image of a file, a root file system as tar or an image archive, and names it. `-` is standard input.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or holds anything that a layer must not.
    pub async fn import(&self, file: &Path, name: &str) -> anyhow::Result<ImageDescription> {
        let (file, name) = (file.to_owned(), name.to_owned());
        let import = move |images: Images| {
            if file != Path::new("-") {
                return archive::import(&images, &file, &name);
            }
            let spooled = archive::spool(&images, std::io::stdin().lock())?;
            archive::import(&images, &spooled, &name)
        };
        self.with_images(import).await
    }

    /// Writes an image, by name or id, into an archive that Docker and OCI tools read. `-` is standard output.
    ///
    /// # Errors
    /// When there is no such image, a layer cannot be fetched, or the file cannot be written.
    pub async fn export(&self, name: &str, file: &Path) -> anyhow::Result<()> {
        if file == Path::new("-") {
            return self.remote.export(name, std::io::stdout()).await;
        }
        let writing = || format!("cannot write `{}`", file.display());
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::NamedTempFile::new_in(directory).with_context(writing)?;
        self.remote.export(name, temporary.as_file().try_clone()?).await?;
        temporary.persist(file).map(drop).with_context(writing)
    }

    /// Does blocking work with the images where it blocks nobody.
    async fn with_images<T: Send + 'static>(
        &self,
        work: impl FnOnce(Images) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let images = self.images.clone();
        let done = tokio::task::spawn_blocking(move || work(images)).await?;
        done.map_err(|error| self.images.store.explain_full_disk(error))
    }

    /// Makes sure that the files of an image are here, for a caller that shows nothing.
    async fn fetch_silently(&self, id: &ImageId) -> anyhow::Result<()> {
        self.fetch(id, &|_, _, _| {}).await
    }

    fn container(&self, id: &ContainerId) -> anyhow::Result<Prepared> {
        let containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || Error::user(format!("there is no container `{id}` of this process"));
        Ok(containers.get(id).cloned().ok_or_else(missing)?)
    }

    fn remember(&self, container: Prepared) {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        containers.insert(container.id.clone(), container);
    }

    fn forget(&self, id: &ContainerId) -> Option<Prepared> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

/// Whether a devices cgroup of version 1 is there; in version 2 it takes a BPF program that libcontainer is built without.
fn guards_devices() -> bool {
    Path::new("/sys/fs/cgroup/devices/cgroup.procs").exists()
}

#[async_trait]
impl ImageStore for EmbeddedRuntime {
    async fn inspect(&self, name: &str) -> anyhow::Result<Option<ImageDescription>> {
        self.images.inspect(name)
    }

    async fn list(&self, filter: &ImageFilter) -> anyhow::Result<Vec<ImageDescription>> {
        let filter = filter.clone();
        self.with_images(move |images| images.list(&filter)).await
    }

    async fn base(
        &self,
        reference: &str,
        policy: BasePolicy,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<ImageDescription> {
        let found = self.remote.base(reference, policy, progress).await;
        found.map_err(|error| self.images.store.explain_full_disk(error))
    }

    async fn append(
        &self,
        parent: Option<&ImageId>,
        layer: Option<Arc<dyn LayerSource>>,
        change: &ImageChange,
    ) -> anyhow::Result<ImageDescription> {
        let (parent, change) = (parent.cloned(), change.clone());
        self.with_images(move |images| images.append(parent.as_ref(), layer.as_deref(), &change)).await
    }

    async fn tag(&self, id: &ImageId, name: &str) -> anyhow::Result<()> {
        let (id, name) = (id.clone(), name.to_owned());
        self.with_images(move |images| images.tag(&id, &name)).await
    }

    async fn untag(&self, name: &str) -> anyhow::Result<()> {
        let name = name.to_owned();
        self.with_images(move |images| images.untag(&name)).await
    }

    async fn accounts(&self, id: &ImageId) -> anyhow::Result<Accounts> {
        self.fetch_silently(id).await?;
        let id = id.clone();
        self.with_images(move |images| images.accounts(&id)).await
    }

    async fn tree(&self, id: &ImageId, request: &TreeRequest) -> anyhow::Result<Option<Arc<dyn LayerSource>>> {
        self.fetch_silently(id).await?;
        let (id, path) = (id.clone(), request.path.clone());
        self.with_images(move |images| images.tree(&id, &path)).await
    }

    async fn resolve(&self, id: &ImageId, path: &Path) -> anyhow::Result<Option<Resolved>> {
        self.fetch_silently(id).await?;
        let (id, path) = (id.clone(), path.to_owned());
        self.with_images(move |images| images.resolve(&id, &path)).await
    }

    async fn is_fetched(&self, id: &ImageId) -> anyhow::Result<bool> {
        let store = &self.images.store;
        let layers = self.images.record(id)?.layers;
        Ok(layers.iter().all(|layer| store.has_tree(layer) || store.blob_file(layer).exists()))
    }

    async fn fetch(&self, id: &ImageId, progress: OnProgress<'_>) -> anyhow::Result<()> {
        let fetched = self.remote.fetch(id, progress).await;
        fetched.map_err(|error| self.images.store.explain_full_disk(error))
    }

    async fn push(
        &self,
        id: &ImageId,
        change: &ImageChange,
        target: &ImageRef,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<Pushed> {
        let pushed = self.remote.push(id, change, target, progress).await;
        pushed.map_err(|error| self.images.store.explain_full_disk(error))
    }
}

#[async_trait]
impl ContainerRuntime for EmbeddedRuntime {
    async fn create(
        &self,
        image: &ImageId,
        layer: Option<Arc<dyn LayerSource>>,
        spec: &ContainerSpec,
    ) -> anyhow::Result<ContainerId> {
        self.fetch_silently(image).await?;
        let (image, spec) = (image.clone(), spec.clone());
        let create = move |images: Images| prepared::create(&images, &image, layer.as_deref(), &spec);
        let container = self.with_images(create).await?;
        let id = container.id.clone();
        self.remember(container);
        Ok(id)
    }

    async fn run(&self, container: &ContainerId, output: OnOutput<'_>) -> anyhow::Result<ExitStatus> {
        let (container, host) = (self.container(container)?, self.host);
        let stop = Arc::clone(&container.stop);
        let launch = move |images: Images| container.launch(&images, host, &container.spec.command, false);
        let launch = self.with_images(launch).await?;
        let exit = tokio::select! {
            exit = container::run(&self.program, &launch, output) => exit?,
            () = stop.notified() => return Err(Error::user("the container was removed while it ran").into()),
        };
        if exit.code != 0 {
            // The commands see but that writing fails.
            let ended = || format!("the commands ended with exit code {}", exit.code);
            self.images.store.check_room().with_context(ended)?;
        }
        Ok(exit)
    }

    async fn start(&self, container: &ContainerId) -> anyhow::Result<()> {
        let (container, host) = (self.container(container)?, self.host);
        let log = container.directory.join(prepared::LOG);
        let launch = move |images: Images| container.launch(&images, host, &container.spec.command, false);
        let launch = Launch { ends: Ends::WhenTold, ..self.with_images(launch).await? };
        container::start_detached(&self.program, &launch, &log).await
    }

    async fn attach(&self, container: &ContainerId, command: &[String]) -> anyhow::Result<ExitStatus> {
        let (container, host, command) = (self.container(container)?, self.host, command.to_vec());
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
        let launch = move |images: Images| container.launch(&images, host, &command, terminal);
        let launch = self.with_images(launch).await?;
        container::run_attached(&self.program, &launch).await
    }

    async fn commit(&self, container: &ContainerId, change: &ImageChange) -> anyhow::Result<ImageDescription> {
        let (mut container, change) = (self.container(container)?, change.clone());
        let commit = move |images: Images| Ok((container.commit(&images, &change)?, container));
        let (image, container) = self.with_images(commit).await?;
        self.remember(container);
        Ok(image)
    }

    async fn ignored_limits(&self, limits: &Limits) -> anyhow::Result<Vec<&'static str>> {
        Ok(limits.names_not_in(&cgroup::enforceable(limits)))
    }

    async fn remove(&self, container: &ContainerId) -> anyhow::Result<()> {
        if let Some(container) = self.forget(container) {
            container.stop.notify_one();
        }
        let id = container.clone();
        self.with_images(move |images| prepared::remove(&images, &id)).await
    }
}

impl Runtime for EmbeddedRuntime {
    fn name(&self) -> &'static str {
        "embedded"
    }
}
