//! Which container runtime this host uses: decided once and remembered (decisions 3.1).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::app::App;
use super::flags::StorageFlags;
use crate::registry::{self, DockerConfig};
use crate::runtime::Runtime;
use crate::runtime::docker::{DockerOptions, DockerRuntime};
use crate::runtime::embedded::EmbeddedRuntime;
use crate::settings::{RuntimeChoice, Settings};
use crate::sys::clock::Clock;
use crate::sys::env::Env;
use crate::sys::files;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Docker,
    Embedded,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Embedded => "embedded",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Docker, Self::Embedded].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What the runtimes are made of.
pub struct Parts<'a> {
    pub settings: &'a Settings,
    pub registry: &'a registry::Client,
    pub docker_config: &'a DockerConfig,
    /// A directory of this run with room for a layer.
    pub tmp_dir: &'a Path,
    pub app: &'a App,
}

/// The runtime of this host. `auto` takes Docker when its daemon answers, else the embedded one, and remembers the answer:
/// a daemon that is down later is an error and not a second, cold store.
pub async fn choose(parts: &Parts<'_>) -> anyhow::Result<Arc<dyn Runtime>> {
    let kind = match parts.settings.runtime.value {
        RuntimeChoice::Docker => Kind::Docker,
        RuntimeChoice::Embedded => Kind::Embedded,
        RuntimeChoice::Auto => match remembered(&parts.settings.state_dir.value)? {
            Some(kind) => kind,
            None => decide(parts).await?,
        },
    };
    match kind {
        Kind::Docker => Ok(Arc::new(docker(parts).await?)),
        Kind::Embedded => Ok(Arc::new(embedded(parts.settings, parts.registry, &parts.app.clock)?)),
    }
}

/// The embedded runtime of this host.
pub fn embedded(settings: &Settings, registry: &registry::Client, clock: &Clock) -> anyhow::Result<EmbeddedRuntime> {
    let root = settings.state_dir.value.join("embedded");
    EmbeddedRuntime::open(&root, "/proc/self/exe".into(), registry.clone(), clock.clone())
}

async fn docker(parts: &Parts<'_>) -> anyhow::Result<DockerRuntime> {
    let options = DockerOptions {
        host: parts.app.env.get("DOCKER_HOST").map(str::to_owned),
        docker_config: parts.docker_config.clone(),
        tmp_dir: parts.tmp_dir.to_owned(),
        clock: parts.app.clock.clone(),
    };
    Ok(DockerRuntime::connect(options).await?)
}

/// The registry client with the credentials and exceptions of the flags.
pub fn registry(
    settings: &Settings,
    docker_config: &DockerConfig,
    flags: &StorageFlags,
    env: &Env,
) -> registry::Client {
    registry::Client::new(registry::Options {
        docker_config: docker_config.clone(),
        plain_http: settings.insecure_registries.value.iter().cloned().collect(),
        plain_http_everywhere: flags.insecure_registry || env.is_on("WERF_INSECURE_REGISTRY"),
        skip_tls_verify: flags.skip_tls_verify_registry || env.is_on("WERF_SKIP_TLS_VERIFY_REGISTRY"),
        proxies: registry::Proxies::from_env(env),
        ..registry::Options::default()
    })
}

/// `--docker-config`, `$WERF_DOCKER_CONFIG`, `$DOCKER_CONFIG`, else `~/.docker`.
pub fn docker_config(flags: &StorageFlags, env: &Env) -> anyhow::Result<DockerConfig> {
    let variable = || ["WERF_DOCKER_CONFIG", "DOCKER_CONFIG"].iter().find_map(|name| env.get_os(name)).map(Into::into);
    let home = || env.get_os("HOME").map(|home| Path::new(home).join(".docker"));
    match flags.docker_config.clone().or_else(variable).or_else(home) {
        Some(directory) => Ok(DockerConfig::load(&directory, env)?),
        None => Ok(DockerConfig::default()),
    }
}

async fn decide(parts: &Parts<'_>) -> anyhow::Result<Kind> {
    let answers = tokio::time::timeout(Duration::from_secs(3), docker(parts)).await;
    let kind = if matches!(answers, Ok(Ok(_))) { Kind::Docker } else { Kind::Embedded };
    let memory = memory(&parts.settings.state_dir.value);
    parts.app.ui.root().line(format!("Using the {} runtime (remembered in {})", kind.as_str(), memory.display()));
    std::fs::create_dir_all(&parts.settings.state_dir.value)?;
    files::replace(&memory, kind.as_str().as_bytes(), 0o644)
        .with_context(|| format!("cannot write {}", memory.display()))?;
    Ok(kind)
}

fn memory(state: &Path) -> PathBuf {
    state.join("runtime")
}

fn remembered(state: &Path) -> anyhow::Result<Option<Kind>> {
    let path = memory(state);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Kind::parse(text.trim())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
