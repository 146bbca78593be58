//! Which container runtime this host uses: decided once and remembered (decisions 3.1).

use std::path::Path;
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
use crate::sys::env::Env;

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

/// The runtime of this host. `auto` takes Docker when its daemon answers, else the embedded one, and remembers the answer:
/// a daemon that is down later is an error and not a second, cold store.
pub async fn choose(settings: &Settings, registry: &registry::Client, flags: &StorageFlags, app: &App) -> anyhow::Result<Arc<dyn Runtime>> {
    let wanted = match settings.runtime.value {
        RuntimeChoice::Auto => None,
        RuntimeChoice::Docker => Some(Kind::Docker),
        RuntimeChoice::Embedded => Some(Kind::Embedded),
    };
    let state = &settings.state_dir.value;
    let kind = match wanted.or(remembered(state)?) {
        Some(kind) => kind,
        None => decide(state, flags, app).await?,
    };
    match kind {
        Kind::Docker => Ok(Arc::new(docker(flags, app).await?)),
        Kind::Embedded => Ok(Arc::new(embedded(state, registry, app)?)),
    }
}

/// The registry client with the credentials and exceptions of the flags.
pub fn registry(settings: &Settings, flags: &StorageFlags, env: &Env) -> anyhow::Result<registry::Client> {
    let plain_http = settings.insecure_registries.value.iter().cloned().collect();
    Ok(registry::Client::new(registry::Options {
        docker_config: docker_config(flags, env)?,
        plain_http,
        plain_http_everywhere: flags.insecure_registry || env.is_on("WERF_INSECURE_REGISTRY"),
        skip_tls_verify: flags.skip_tls_verify_registry || env.is_on("WERF_SKIP_TLS_VERIFY_REGISTRY"),
        proxies: registry::Proxies::from_env(env),
        ..registry::Options::default()
    }))
}

fn docker_config(flags: &StorageFlags, env: &Env) -> anyhow::Result<DockerConfig> {
    let chosen = flags.docker_config.clone().or_else(|| ["WERF_DOCKER_CONFIG", "DOCKER_CONFIG"].iter().find_map(|name| env.get_os(name)).map(Into::into));
    let directory = match (chosen, env.get_os("HOME")) {
        (Some(directory), _) => directory,
        (None, Some(home)) => Path::new(home).join(".docker"),
        (None, None) => return Ok(DockerConfig::default()),
    };
    Ok(DockerConfig::load(&directory, env)?)
}

async fn decide(state: &Path, flags: &StorageFlags, app: &App) -> anyhow::Result<Kind> {
    let answers = tokio::time::timeout(Duration::from_secs(3), docker(flags, app)).await;
    let kind = if matches!(answers, Ok(Ok(_))) { Kind::Docker } else { Kind::Embedded };
    app.ui.root().line(format!("Using the {} runtime (remembered in {})", kind.as_str(), state.join("runtime").display()));
    std::fs::create_dir_all(state).with_context(|| format!("cannot create {}", state.display()))?;
    let mut file = tempfile::NamedTempFile::new_in(state)?;
    std::io::Write::write_all(&mut file, kind.as_str().as_bytes())?;
    file.persist(state.join("runtime"))?;
    Ok(kind)
}

fn remembered(state: &Path) -> anyhow::Result<Option<Kind>> {
    let path = state.join("runtime");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Kind::parse(text.trim())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

async fn docker(flags: &StorageFlags, app: &App) -> anyhow::Result<DockerRuntime> {
    let _ = flags;
    let runtime = DockerRuntime::connect(DockerOptions { host: app.env.get("DOCKER_HOST").map(str::to_owned) }).await?;
    Ok(runtime)
}

fn embedded(state: &Path, registry: &registry::Client, app: &App) -> anyhow::Result<EmbeddedRuntime> {
    let _ = registry;
    EmbeddedRuntime::open(&state.join("embedded"), "/proc/self/exe".into(), app.clock.clone())
}
