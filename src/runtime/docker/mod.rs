//! The runtime over Docker Engine, API 1.41 (20.10) and newer.
//!
//! `image` and `container` implement the two traits; `load` makes images without containers, `transfer` pulls and pushes,
//! `tree` reads files of images, `probe` finds single paths in them, `terminal` connects a person. `owner` says whose a container is, so that [`DockerRuntime::reap`]
//! can clear what a dead process left.

mod container;
mod error;
mod image;
mod load;
mod owner;
mod probe;
mod terminal;
mod transfer;
mod tree;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bollard::Docker;

pub use error::DockerError;
use owner::Owner;
use probe::Probes;

use super::{Accounts, ImageDescription, Runtime};
use crate::ids::ImageId;
use crate::registry::DockerConfig;
use crate::sys::clock::Clock;

/// Where the engine listens when nothing else is said.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// How long an engine may take for its first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How long the engine may work before it starts to answer: a commit of many gigabytes answers when it is done.
const ANSWER: Duration = Duration::from_secs(4 * 3600);

/// How long clearing what others left may hold up a start.
const CLEARING: Duration = Duration::from_secs(1);

/// What a [`DockerRuntime`] needs to know.
#[derive(Clone)]
pub struct DockerOptions {
    /// `unix://…`, `tcp://…` or `http://…`, as in `DOCKER_HOST`; the usual socket when not given.
    pub host: Option<String>,
    /// Where credentials of registries are found.
    pub docker_config: DockerConfig,
    /// An existing directory with room for the largest layer.
    pub tmp_dir: PathBuf,
    pub clock: Clock,
}

/// Images and containers of a Docker Engine.
pub struct DockerRuntime {
    docker: Docker,
    host: String,
    docker_config: DockerConfig,
    tmp_dir: PathBuf,
    clock: Clock,
    owner: Owner,
    accounts: Mutex<HashMap<ImageId, Accounts>>,
    probes: Probes,
    /// Images that were listed, by id: nothing of them changes but their names.
    listed: Mutex<HashMap<String, ImageDescription>>,
    /// The engine looks in archives for layers that it has itself.
    wants_whole_archives: AtomicBool,
}

impl DockerRuntime {
    /// Connects, agrees on an API version and clears what dead processes left, as far as a second goes. Fails when no engine
    /// answers within ten seconds.
    pub async fn connect(options: DockerOptions) -> Result<Self, DockerError> {
        let host = options.host.unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let unreachable = |reason: String| DockerError::Unreachable { host: host.clone(), reason };
        let docker = Docker::connect_with_host(&host).map_err(|error| unreachable(error::text(&error)))?;
        let docker = docker.with_timeout(ANSWER).with_request_modifier(url_safe_login);
        let docker = tokio::time::timeout(FIRST_ANSWER, docker.negotiate_version())
            .await
            .map_err(|_| unreachable(format!("no answer within {} seconds", FIRST_ANSWER.as_secs())))?
            .map_err(|error| unreachable(error::text(&error)))?;
        let owner = Owner::of_this_process();
        let DockerOptions { docker_config, tmp_dir, clock, .. } = options;
        let runtime = Self {
            docker,
            host,
            docker_config,
            tmp_dir,
            clock,
            owner,
            accounts: Mutex::default(),
            probes: Probes::default(),
            listed: Mutex::default(),
            wants_whole_archives: AtomicBool::new(false),
        };
        // What is not cleared now is cleared another time; it is in nobody's way.
        let _ = tokio::time::timeout(CLEARING, runtime.reap()).await;
        Ok(runtime)
    }

    /// Whether the engine still answers.
    pub async fn ping(&self) -> Result<(), DockerError> {
        let unreachable = |reason| DockerError::Unreachable { host: self.host.clone(), reason };
        match tokio::time::timeout(FIRST_ANSWER, self.docker.ping()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(unreachable(error::text(&error))),
            Err(_) => Err(unreachable(format!("no answer within {} seconds", FIRST_ANSWER.as_secs()))),
        }
    }

    /// Turns what the engine refused into an error that says what was attempted.
    fn failed(&self, attempted: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> DockerError {
        let (host, attempted) = (self.host.clone(), attempted.into());
        move |error| DockerError::of_engine(host, attempted, &error)
    }
}

impl Runtime for DockerRuntime {
    fn name(&self) -> &'static str {
        "docker"
    }
}

/// The engine wants this header in the URL-safe alphabet; in the other one it ignores the login without a word.
fn url_safe_login(mut request: bollard::BollardRequest) -> bollard::BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("x-registry-auth")
        && let Ok(text) = value.to_str()
        && let Ok(safe) = text.replace('+', "-").replace('/', "_").parse()
    {
        *value = safe;
        value.set_sensitive(true);
    }
    request
}
