//! Containers of the engine.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, HealthConfig, HostConfig, MountType, PortBinding,
};
use bollard::query_parameters::{
    AttachContainerOptions, CommitContainerOptions, CreateContainerOptions, KillContainerOptions,
    RemoveContainerOptions, StartContainerOptions, WaitContainerOptions,
};
use futures_util::{Stream, StreamExt as _};

use super::image::Step;
use super::owner::{IMAGE, OWNER};
use super::terminal::{Session, Window};
use super::{DockerError, DockerRuntime};
use crate::ids::{ContainerId, ImageId};
use crate::layer::LayerSource;
use crate::runtime::{
    ContainerRuntime, ContainerSpec, Cpus, ExitStatus, ImageChange, ImageDescription, Limits, Mount, Network, OnOutput,
    Port, Stream as OutputStream,
};

/// How long what was dropped may hold us up.
const CLEARING: Duration = Duration::from_secs(10);
/// For how long a container that was dropped while it started is looked for.
const START_ATTEMPTS: u32 = 20;
const START_PAUSE: Duration = Duration::from_millis(50);

pub(super) type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

#[async_trait]
impl ContainerRuntime for DockerRuntime {
    async fn create(
        &self,
        image: &ImageId,
        layer: Option<Arc<dyn LayerSource>>,
        spec: &ContainerSpec,
    ) -> anyhow::Result<ContainerId> {
        let Some(layer) = layer else { return Ok(self.create_from(image, image, spec).await?) };
        let asked = self.existing(image).await?;
        let mut config = asked.description.config.clone();
        config.labels.insert(OWNER.to_owned(), self.owner.label());
        let step = Step { parent: image.clone(), layer: Some(layer), config, created: None };
        let with_layer = self.step(&asked, step).await?.id;
        let created = self.create_from(&with_layer, image, spec).await;
        if created.is_err() {
            self.drop_unnamed(with_layer.as_str()).await;
        }
        Ok(created?)
    }

    async fn run(&self, container: &ContainerId, output: OnOutput<'_>) -> anyhow::Result<ExitStatus> {
        let attempted = format!("run container `{container}`");
        let found = self.look_at(container.as_str()).await?;
        let terminal = found.config.and_then(|config| config.tty) == Some(true);
        let options =
            AttachContainerOptions { stream: true, stdin: terminal, stdout: true, stderr: true, ..Default::default() };
        let attached =
            self.docker.attach_container(container.as_str(), Some(options)).await.map_err(self.failed(&attempted))?;
        let mut running = KillOnDrop::new(self.docker.clone(), container.as_str());
        running.start().await.map_err(self.failed(&attempted))?;
        if terminal {
            let session = Session { window: Window::Container(container.to_string()), terminal, attempted: &attempted };
            self.converse(&session, attached.output, attached.input, output).await?;
        } else {
            self.listen(attached.output, output, &attempted).await?;
        }
        let status = self.exit_status(container.as_str(), &attempted).await?;
        running.has_ended();
        Ok(status)
    }

    async fn attach(&self, container: &ContainerId, command: &[String]) -> anyhow::Result<ExitStatus> {
        let found = self.look_at(container.as_str()).await?;
        if found.state.as_ref().and_then(|state| state.running) == Some(true) {
            return self.attach_to_running(&found, command).await;
        }
        let image = self.commit_as_is(container.as_str()).await?;
        let ended = self.attach_to_copy(&found, &image, command).await;
        self.drop_unnamed(&image).await;
        ended
    }

    async fn commit(&self, container: &ContainerId, change: &ImageChange) -> anyhow::Result<ImageDescription> {
        let found = self.look_at(container.as_str()).await?;
        let asked = self.existing(&asked_image(&found)?).await?;
        // The engine mixes the container's environment and labels into what it commits. So its image gives only the layers.
        let committed = self.commit_as_is(container.as_str()).await?;
        let image = match self.local(&committed).await? {
            Some(layers) => {
                let config = asked.description.config.changed(change);
                let step = Step { parent: asked.description.id, layer: None, config, created: None };
                self.step(&layers, step).await
            }
            None => Err(DockerError::NoImage { name: committed.clone() }.into()),
        };
        self.drop_unnamed(&committed).await;
        image
    }

    async fn ignored_limits(&self, limits: &Limits) -> anyhow::Result<Vec<&'static str>> {
        Ok(limits.names_not_in(&self.enforceable(limits).await?))
    }

    async fn remove(&self, container: &ContainerId) -> anyhow::Result<()> {
        let found = match self.look_at(container.as_str()).await {
            Err(error) if error.is_not_found() => return Ok(()),
            found => found?,
        };
        self.remove_container(container.as_str()).await?;
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        if let Some(made_of) = found.image.filter(|image| labels.get(IMAGE).is_some_and(|asked| asked != image)) {
            self.drop_unnamed(&made_of).await;
        }
        Ok(())
    }
}

impl DockerRuntime {
    pub(super) fn owner_labels(&self) -> HashMap<String, String> {
        HashMap::from([(OWNER.to_owned(), self.owner.label())])
    }

    async fn create_from(
        &self,
        image: &ImageId,
        asked: &ImageId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, DockerError> {
        let mut labels: HashMap<String, String> = spec.labels.clone().into_iter().collect();
        labels.extend(self.owner_labels());
        labels.insert(IMAGE.to_owned(), asked.to_string());
        let body = ContainerCreateBody { image: Some(image.to_string()), labels: Some(labels), ..create_body(spec) };
        let options = CreateContainerOptions {
            name: Some(spec.name.clone()).filter(|name| !name.is_empty()),
            ..Default::default()
        };
        let attempted = format!("create container `{}`", spec.name);
        let created = self.docker.create_container(Some(options), body).await.map_err(self.failed(attempted))?;
        created.id.parse().map_err(|_| DockerError::Strange { what: "a container id", text: created.id })
    }

    /// Those limits that the engine says it can set.
    async fn enforceable(&self, limits: &Limits) -> Result<Limits, DockerError> {
        let info = self.docker.info().await.map_err(self.failed("ask what the engine can limit"))?;
        Ok(Limits {
            memory: limits.memory.filter(|_| info.memory_limit == Some(true)),
            pids: limits.pids.filter(|_| info.pids_limit == Some(true)),
            cpus: limits.cpus.filter(|_| info.cpu_cfs_quota == Some(true)),
        })
    }

    pub(super) async fn look_at(&self, container: &str) -> Result<ContainerInspectResponse, DockerError> {
        let found = self.docker.inspect_container(container, None).await;
        found.map_err(self.failed(format!("look at container `{container}`")))
    }

    /// Passes output on until it ends.
    async fn listen(&self, mut chunks: Output, output: OnOutput<'_>, attempted: &str) -> Result<(), DockerError> {
        while let Some(chunk) = chunks.next().await {
            pass_on(chunk.map_err(self.failed(attempted))?, output);
        }
        Ok(())
    }

    /// Waits for the end of the first process.
    pub(super) async fn exit_status(&self, container: &str, attempted: &str) -> Result<ExitStatus, DockerError> {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut ends = std::pin::pin!(self.docker.wait_container(container, Some(options)));
        while let Some(end) = ends.next().await {
            match end {
                Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }) => {}
                Err(error) => return Err(self.failed(attempted)(error)),
            }
        }
        let state = self
            .docker
            .inspect_container(container, None)
            .await
            .map_err(self.failed(attempted))?
            .state
            .unwrap_or_default();
        if state.running == Some(true) {
            return Err(DockerError::Lost {
                host: self.host.clone(),
                attempted: attempted.to_owned(),
                reason: "the output ended before the container did".to_owned(),
            });
        }
        let code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
        Ok(ExitStatus { code, out_of_memory: state.oom_killed == Some(true) })
    }

    /// An image with the layers of the container, and a configuration that nobody should see.
    pub(super) async fn commit_as_is(&self, container: &str) -> Result<String, DockerError> {
        let options =
            CommitContainerOptions { container: Some(container.to_owned()), pause: true, ..Default::default() };
        let config = ContainerConfig { labels: Some(self.owner_labels()), ..Default::default() };
        let committed = self.docker.commit_container(options, config).await;
        Ok(committed.map_err(self.failed(format!("commit container `{container}`")))?.id)
    }

    pub(super) async fn remove_container(&self, container: &str) -> Result<(), DockerError> {
        match remove(&self.docker, container).await.map_err(self.failed(format!("remove container `{container}`"))) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

pub(super) fn pass_on(chunk: LogOutput, output: OnOutput<'_>) {
    match chunk {
        LogOutput::StdErr { message } => output(OutputStream::Stderr, &message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => output(OutputStream::Stdout, &message),
        LogOutput::StdIn { .. } => {}
    }
}

/// The image that the container was asked for.
fn asked_image(container: &ContainerInspectResponse) -> Result<ImageId, DockerError> {
    let labels = container.config.as_ref().and_then(|config| config.labels.as_ref());
    let asked = labels.and_then(|labels| labels.get(IMAGE)).or(container.image.as_ref()).cloned().unwrap_or_default();
    asked.parse().map_err(|_| DockerError::Strange { what: "an image id", text: asked })
}

fn create_body(spec: &ContainerSpec) -> ContainerCreateBody {
    let (entrypoint, arguments) = spec.command.split_at(spec.command.len().min(1));
    let given = |words: &[String]| Some(words.to_vec()).filter(|_| !spec.command.is_empty());
    ContainerCreateBody {
        entrypoint: given(entrypoint),
        cmd: given(arguments),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: spec.user.clone(),
        working_dir: spec.workdir.as_deref().map(path_text),
        tty: Some(spec.terminal),
        open_stdin: Some(spec.terminal),
        stdin_once: Some(spec.terminal),
        // Nobody asks for its health while it builds.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
        exposed_ports: Some(spec.ports.iter().map(container_port).collect()),
        host_config: Some(HostConfig {
            network_mode: (spec.network == Network::Host).then(|| "host".to_owned()),
            mounts: Some(spec.mounts.iter().map(bind).collect()),
            memory: spec.limits.memory.map(|memory| memory.0),
            // Together with swap.
            memory_swap: spec.limits.memory.map(|memory| memory.0),
            pids_limit: spec.limits.pids.map(|pids| pids.0),
            // Not `nano_cpus`: the engine refuses more of those than there are.
            cpu_period: spec.limits.cpus.map(|_| Cpus::PERIOD.into()),
            cpu_quota: spec.limits.cpus.map(Cpus::quota),
            port_bindings: Some(
                spec.ports.iter().map(|port| (container_port(port), Some(vec![host_port(port)]))).collect(),
            ),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn bind(mount: &Mount) -> bollard::models::Mount {
    bollard::models::Mount {
        typ: Some(MountType::BIND),
        source: Some(path_text(&mount.source)),
        target: Some(path_text(&mount.target)),
        read_only: Some(mount.read_only),
        ..Default::default()
    }
}

fn container_port(port: &Port) -> String {
    format!("{}/tcp", port.container)
}

fn host_port(port: &Port) -> PortBinding {
    PortBinding { host_ip: None, host_port: Some(port.host.to_string()) }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

async fn remove(docker: &Docker, container: &str) -> Result<(), bollard::errors::Error> {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    docker.remove_container(container, Some(options)).await
}

/// A container that goes with its holder.
pub(super) struct RemoveOnDrop {
    docker: Docker,
    pub(super) id: String,
    removed: bool,
}

impl RemoveOnDrop {
    pub(super) fn new(docker: Docker, id: String) -> Self {
        Self { docker, id, removed: false }
    }

    /// Removes it now. What cannot be removed is left to [`DockerRuntime::reap`].
    pub(super) async fn remove(mut self) {
        let _ = remove(&self.docker, &self.id).await;
        self.removed = true;
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if !self.removed {
            let (docker, id) = (self.docker.clone(), std::mem::take(&mut self.id));
            before_going_on(async move {
                let _ = remove(&docker, &id).await;
            });
        }
    }
}

/// A container that is started, and killed when its holder is dropped before its end.
pub(super) struct KillOnDrop {
    docker: Docker,
    id: String,
    ended: bool,
}

impl KillOnDrop {
    pub(super) fn new(docker: Docker, id: &str) -> Self {
        Self { docker, id: id.to_owned(), ended: false }
    }

    /// Begins the first process; an error when there can be none.
    pub(super) async fn start(&mut self) -> Result<(), bollard::errors::Error> {
        let started = self.docker.start_container(&self.id, None::<StartContainerOptions>).await;
        self.ended = matches!(&started, Err(bollard::errors::Error::DockerResponseServerError { .. }));
        started
    }

    pub(super) fn has_ended(mut self) {
        self.ended = true;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (docker, id) = (self.docker.clone(), std::mem::take(&mut self.id));
        before_going_on(async move {
            for _ in 0..START_ATTEMPTS {
                let options = KillContainerOptions { signal: "KILL".to_owned() };
                match docker.kill_container(&id, Some(options)).await {
                    // It does not run, but the engine may be about to start it.
                    Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. }) => {
                        tokio::time::sleep(START_PAUSE).await;
                    }
                    _ => return,
                }
            }
        });
    }
}

/// Does something while nobody can wait for it: the holder was dropped, perhaps because the process is about to end. So this
/// blocks, but not for ever; what it does not manage is left to [`DockerRuntime::reap`].
fn before_going_on(work: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            let _ = runtime.block_on(async { tokio::time::timeout(CLEARING, work).await });
        }
    });
    let _ = thread.join();
}
