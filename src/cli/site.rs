//! What every command that works with stages stands on: the project, the runtime, the storage, git, the registry.

use std::fs::{DirEntry, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::flags::{GitFlags, GroundFlags, StorageFlags};
use super::project;
use super::runtime::{self, Parts};
use crate::build::{Introspect, OnMissing, Site, Sources, SshAgent};
use crate::config::Config;
use crate::config::model::GitReference;
use crate::error::Error;
use crate::git::{Access, Remotes};
use crate::ids::CommitId;
use crate::registry;
use crate::runtime::{Limits, Runtime};
use crate::stage::VirtualMerge;
use crate::storage::{LocalStages, Locks, records::Records};
use crate::ui::{Frame, Ui};

/// Whether the first lines of the log (version, rendered configuration) are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    Start,
    Nothing,
}

/// Everything is opened here, nothing is built yet.
pub struct Ground {
    pub config: Config,
    pub project: String,
    pub project_dir: PathBuf,
    pub runtime: Arc<dyn Runtime>,
    pub registry: registry::Client,
    pub storage: LocalStages,
    pub records: Records,
    pub locks: Locks,
    pub sources: Sources,
    pub state: PathBuf,
    limits: Limits,
    home: Option<PathBuf>,
    ssh_agent: SshAgent,
    tmp: TempDir,
    _tmp_lock: File,
    cancel: CancellationToken,
}

impl Ground {
    pub async fn prepare(app: &App, flags: &GroundFlags, announce: Announce) -> anyhow::Result<Self> {
        let log = app.ui.root();
        if announce == Announce::Start {
            log.line(format!("Version: {}", env!("CARGO_PKG_VERSION")));
        }
        let loaded = project::load(&flags.project, &app.env)?;
        if announce == Announce::Start {
            let file = project::write_render_file(&loaded.rendered, &app.tmp(&flags.places))?;
            log.line(format!("Using werf config render file: {}", file.display()));
            log.gap();
        }
        for warning in &loaded.warnings {
            log.warn(warning);
        }
        let settings = super::app::settings(&app.env)?;
        let state = settings.state_dir.value.clone();
        let locks = Locks::new(state.join("locks"));
        let (tmp, tmp_lock) = tmp_dir(&app.tmp(&flags.places), &locks).await?;
        require_local_storage(&flags.storage, app, &app.ui)?;
        let docker_config = runtime::docker_config(&flags.storage, &app.env)?;
        let registry = runtime::registry(&settings, &docker_config, &flags.storage, &app.env);
        let parts =
            Parts { settings: &settings, registry: &registry, docker_config: &docker_config, tmp_dir: tmp.path(), app };
        let runtime = runtime::choose(&parts).await?;
        if announce == Announce::Start {
            warn_of_ignored_limits(&*runtime, &settings.limits.value, &log).await?;
        }
        let project = loaded.config.meta.project.clone();
        let sources = tokio::task::block_in_place(|| sources(&loaded.project_dir, &state, &flags.git, app))?;
        Ok(Self {
            storage: LocalStages::new(runtime.clone(), locks.clone(), app.clock.clone(), &project),
            records: Records::new(runtime.clone(), &project),
            config: loaded.config,
            project,
            project_dir: loaded.project_dir,
            runtime,
            registry,
            locks,
            sources,
            state,
            limits: settings.limits.value,
            home: app.env.get_os("HOME").map(PathBuf::from),
            ssh_agent: SshAgent::new(app.env.clone(), ssh_keys(&flags.git, app), tmp.path().to_owned()),
            tmp,
            _tmp_lock: tmp_lock,
            cancel: app.interruption.token().clone(),
        })
    }

    /// What one build is given.
    pub fn site(&self, on_missing: OnMissing, parallel: Option<usize>, introspect: Introspect) -> Site<'_> {
        Site {
            runtime: self.runtime.clone(),
            storage: &self.storage,
            records: &self.records,
            sources: &self.sources,
            config: &self.config,
            project: &self.project,
            project_dir: &self.project_dir,
            home: self.home.as_deref(),
            ssh_agent: &self.ssh_agent,
            tmp: self.tmp.path().to_owned(),
            build_mounts: self.state.join("mounts"),
            limits: self.limits,
            cancel: self.cancel.child_token(),
            introspect,
            on_missing,
            parallel,
            interpreters: Mutex::default(),
            flights: Mutex::default(),
        }
    }
}

async fn warn_of_ignored_limits(runtime: &dyn Runtime, limits: &Limits, log: &Frame) -> anyhow::Result<()> {
    if *limits == Limits::default() {
        return Ok(());
    }
    let ignored = runtime.ignored_limits(limits).await?;
    if !ignored.is_empty() {
        let names = ignored.join(", ");
        log.warn(format!(
            "this host cannot limit containers, no control group for it is ours: {names} of `limits` ignored"
        ));
    }
    Ok(())
}

/// The project's repository, fit to build from, and the cache of remote ones.
fn sources(project_dir: &Path, state: &Path, flags: &GitFlags, app: &App) -> anyhow::Result<Sources> {
    let access = Access::new(app.env.clone(), ssh_keys(flags, app))?;
    let remotes = Remotes::new(state.join("git"), access.clone());
    let mut sources = Sources::open(project_dir, remotes)?;
    let allowed = flags.allow_git_shallow_clone.unwrap_or_else(|| app.env.is_on("WERF_ALLOW_GIT_SHALLOW_CLONE"));
    let unshallow = flags.git_unshallow.unwrap_or_else(|| app.env.is_on("WERF_GIT_UNSHALLOW"));
    if let Some(repo) = sources.project().filter(|_| !allowed) {
        if repo.is_shallow() && unshallow {
            app.ui.root().line("Fetching the rest of the shallow clone");
            repo.unshallow(&access).context("cannot fetch the rest of the shallow clone")?;
        } else if repo.is_shallow() {
            return Err(Error::user("shallow git clone is not allowed: stages are reused by the history it lacks")
                .hint("pass --git-unshallow to fetch the rest, or --allow-git-shallow-clone to build without reuse")
                .hint("in GitLab: set GIT_DEPTH to 0 for the job")
                .into());
        }
    }
    if let Some(merge) = virtual_merge(&sources, flags, app)? {
        sources.set_virtual_merge(merge);
    }
    Ok(sources)
}

fn ssh_keys(flags: &GitFlags, app: &App) -> Vec<PathBuf> {
    let of_variables = app.env.with_prefix("WERF_SSH_KEY_").into_iter().map(PathBuf::from);
    of_variables.chain(flags.ssh_key.clone()).collect()
}

/// What HEAD merged, when it is said to be a virtual merge commit. What is not given is read from it.
fn virtual_merge(sources: &Sources, flags: &GitFlags, app: &App) -> anyhow::Result<Option<VirtualMerge>> {
    let (Some(repo), Some(head)) = (sources.project(), sources.head()) else { return Ok(None) };
    if !flags.virtual_merge.unwrap_or_else(|| app.env.is_on("WERF_VIRTUAL_MERGE")) {
        return Ok(None);
    }
    let given = |flag: &Option<String>, name: &str, variable: &str| -> anyhow::Result<Option<CommitId>> {
        let text = flag.as_deref().filter(|text| !text.is_empty()).or_else(|| app.env.get(variable));
        text.map(|text| match text.parse() {
            Ok(commit) => Ok(commit),
            Err(_) => repo.resolve(&GitReference::Commit(text.to_owned())).with_context(|| format!("bad {name}")),
        })
        .transpose()
    };
    let missing = |name: &str| {
        Error::usage(format!("{name}=COMMIT param required: HEAD ({head:.12}) is not a commit with two parents"))
            .hint("check out the merge commit itself, or leave out --virtual-merge")
    };
    let parents = repo.merged_by(head)?;
    let (from, into) = ("--virtual-merge-from-commit", "--virtual-merge-into-commit");
    let from_commit = given(&flags.virtual_merge_from_commit, from, "WERF_VIRTUAL_MERGE_FROM_COMMIT")?
        .or_else(|| parents.as_ref().map(|merge| merge.from.clone()))
        .ok_or_else(|| missing(from))?;
    let into_commit = given(&flags.virtual_merge_into_commit, into, "WERF_VIRTUAL_MERGE_INTO_COMMIT")?
        .or_else(|| parents.as_ref().map(|merge| merge.into.clone()))
        .ok_or_else(|| missing(into))?;
    Ok(Some(VirtualMerge { from: from_commit, into: into_commit }))
}

/// Stages live in the local store for now; what else is asked for is said so.
fn require_local_storage(flags: &StorageFlags, app: &App, ui: &Ui) -> Result<(), Error> {
    let given = |flag: &Option<String>, name: &str| flag.clone().or_else(|| app.env.get(name).map(str::to_owned));
    match given(&flags.stages_storage, "WERF_STAGES_STORAGE").as_deref() {
        Some(":local") => {}
        None => {
            return Err(Error::user("--stages-storage=ADDRESS param required")
                .hint("--stages-storage :local (or WERF_STAGES_STORAGE=:local) keeps stages on this host"));
        }
        Some(address) => {
            return Err(Error::user(format!("stages storage `{address}`: stages are kept only on this host so far"))
                .hint("use --stages-storage :local, or WERF_STAGES_STORAGE=:local among the job's variables"));
        }
    }
    match given(&flags.synchronization, "WERF_SYNCHRONIZATION").as_deref() {
        None | Some(":local") => Ok(()),
        Some(address) if address.starts_with("http://") || address.starts_with("https://") => {
            ui.warn_at_end(format!("synchronization {address} is never contacted: stages in `:local` need none"));
            Ok(())
        }
        Some(address) if address.starts_with("kubernetes://") => {
            ui.warn_at_end(format!("synchronization {address} is not used: stages in `:local` need none"));
            Ok(())
        }
        Some(other) => Err(Error::user(format!("bad --synchronization `{other}`"))
            .hint("one of: :local, kubernetes://NAMESPACE[:CONTEXT][@(base64:DATA|PATH)], http(s)://HOST")),
    }
}

/// Rendered configurations are kept for the user this long.
const KEEP_RENDERED: Duration = Duration::from_secs(24 * 60 * 60);

/// A private directory of this run, locked as long as the run lives. What runs that were killed have left is removed first.
///
/// Whether a run lives is told by its lock and not by a process id: runs in another pid namespace have ids of their own.
async fn tmp_dir(parent: &Path, locks: &Locks) -> anyhow::Result<(TempDir, File)> {
    const PREFIX: &str = "slipway-build-";
    // Nobody may find a directory between its making and its locking.
    let _making = locks.acquire(&format!("tmp.{}", parent.display()), |_| {}).await?;
    let entries = std::fs::read_dir(parent).with_context(|| format!("cannot read {}", parent.display()))?;
    for entry in entries.flatten().filter(is_ours) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && File::open(entry.path()).is_ok_and(|directory| directory.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path());
        } else if name.starts_with(project::RENDER_PREFIX) && is_older(&entry, KEEP_RENDERED) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let tmp = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
    let tmp = tmp.with_context(|| format!("cannot create a directory in {}", parent.display()))?;
    let lock = File::open(tmp.path())?;
    lock.lock()?;
    Ok((tmp, lock))
}

/// Other users' leftovers stay: they have locks of their own.
fn is_ours(entry: &DirEntry) -> bool {
    entry.metadata().is_ok_and(|metadata| metadata.uid() == rustix::process::geteuid().as_raw())
}

fn is_older(entry: &DirEntry, age: Duration) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|passed| passed > age))
}
