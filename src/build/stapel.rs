//! One stapel stage, from what it needs to an image: a layer without a container where no command runs, otherwise a
//! container on top of what git changes (decisions 3.2).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::facts::{Step, behind, finished};
use super::imports::{self, Imported};
use super::mounts::{self, MountDirs};
use super::shell::{self, Interpreter};
use super::sources::MappingSource;
use super::{Introspect, Site, below, instructions, ssh_agent};
use crate::config::{Base, Builder, Import, Mount as MountConfig};
use crate::error::Error;
use crate::git;
use crate::ids::{ContainerId, ImageId};
use crate::layer::{EntryKind, LayerSource};
use crate::runtime::{
    Accounts, BasePolicy, ContainerSpec, ImageChange, ImageDescription, Memory, Mount, Network, TreeRequest,
};
use crate::stage::{Position, StageDescription, StageName, display_image, labels};
use crate::ui::Frame;

/// Builds the stage and gives its image, not yet stored. `labels` go onto it.
pub async fn build(
    site: &Site<'_>,
    step: &Step<'_>,
    labels: ImageChange,
    log: &Frame,
) -> anyhow::Result<ImageDescription> {
    let parent = parent(site, step, log).await?;
    let mut change = change(step, &parent)?;
    change.labels.extend(labels.labels);
    let layer = layer(site, step, &parent.id, log).await?;
    match step.name.user_stage() {
        Some(_) => run_commands(site, step, &parent, layer, &change, log).await,
        None => Ok(site.runtime.append(Some(&parent.id), layer, &change).await?),
    }
}

/// The image the stage is put on: the stage before, or the base.
async fn parent(site: &Site<'_>, step: &Step<'_>, log: &Frame) -> anyhow::Result<ImageDescription> {
    let id = match (step.previous, &step.image.from) {
        (Some(previous), _) => previous.description.image.clone(),
        (None, Base::Image(name)) => {
            finished(step, name)?.last().context("an image has stages")?.description.image.clone()
        }
        (None, Base::Registry(reference)) => return base(site, reference, step.image.from_latest, log).await,
    };
    site.runtime.inspect(id.as_str()).await?.ok_or_else(|| {
        Error::environment(format!("the stage before `{}` (image {}) is gone from this host", step.name, id.short()))
            .hint("something removed it while the build was running; run the build again")
            .into()
    })
}

/// The base image of a `from` stage; fetched where it is not here.
pub async fn base(site: &Site<'_>, reference: &str, latest: bool, log: &Frame) -> anyhow::Result<ImageDescription> {
    let policy = if latest { BasePolicy::AskRegistry } else { BasePolicy::PreferLocal };
    let process = log.process(&format!("Base image {reference}"), crate::ui::Style::Normal);
    let progress = process.progress(reference);
    let on_progress = |_: &str, done, total: Option<u64>| progress.set(done, total.unwrap_or(0));
    let fetched = site.unless_over(site.runtime.base(reference, policy, &on_progress)).await;
    drop(progress);
    match fetched {
        Ok(image) => {
            process.end();
            Ok(image)
        }
        Err(error) => {
            process.fail();
            Err(error.context(format!("cannot use the base image {reference}")))
        }
    }
}

/// How the stage changes the configuration, labels apart.
fn change(step: &Step<'_>, parent: &ImageDescription) -> anyhow::Result<ImageChange> {
    if step.name == StageName::DockerInstructions
        && let Some(docker) = &step.image.docker
    {
        return Ok(instructions::change(docker)?);
    }
    let workdir = parent.config.working_dir.is_empty().then(|| "/".to_owned());
    Ok(ImageChange { workdir, ..ImageChange::default() })
}

/// What goes into the image without a command: sources, their changes, imports, emptied mount points.
async fn layer(
    site: &Site<'_>,
    step: &Step<'_>,
    parent: &ImageId,
    log: &Frame,
) -> anyhow::Result<Option<Arc<dyn LayerSource>>> {
    if step.name == StageName::From {
        let entries = mounts::emptied(&step.image.mounts, 0);
        return Ok((!entries.is_empty()).then(|| Arc::new(entries) as Arc<dyn LayerSource>));
    }
    if let Some(time) = step.name.import_time() {
        let imports: Vec<&Import> = step.image.imports.iter().filter(|import| import.when == time).collect();
        return imported(site, step, parent, &imports, log).await.map(Some);
    }
    if !step.name.is_git_aware() {
        return Ok(None);
    }
    git_layer(site, step, parent).await
}

/// The whole sources for gitArchive, what changed since the stage before otherwise.
async fn git_layer(site: &Site<'_>, step: &Step<'_>, parent: &ImageId) -> anyhow::Result<Option<Arc<dyn LayerSource>>> {
    let mut owners = Owners::new(site, parent);
    let mut layers: Vec<Arc<dyn LayerSource>> = Vec::new();
    if step.name == StageName::GitArchive {
        for source in step.mappings {
            let owner = owners.resolve(&source.mapping.owner, &source.mapping.group).await?.unwrap_or_default();
            layers.push(tokio::task::block_in_place(|| archive(site, source, owner, parent))?);
        }
    } else {
        for (source, from) in behind(step).unwrap_or_default() {
            let owner = owners.resolve(&source.mapping.owner, &source.mapping.group).await?.unwrap_or_default();
            let is_fetched = site.runtime.is_fetched(parent).await?;
            layers.extend(tokio::task::block_in_place(|| patch(site, source, &from, owner, parent, is_fetched))?);
        }
    }
    if layers.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(git::merge(layers))))
}

/// All files of a mapping.
fn archive(
    site: &Site<'_>,
    source: &MappingSource,
    (uid, gid): (u32, u32),
    parent: &ImageId,
) -> anyhow::Result<Arc<dyn LayerSource>> {
    let spec = source.spec(uid, gid)?;
    let archive = source.repo.archive(&source.commit, &spec)?;
    if below::matters(&spec.to) {
        return Ok(Arc::new(archive.onto(below::look(site.runtime.as_ref(), parent))?));
    }
    Ok(Arc::new(archive))
}

/// What changed in a mapping; `None` when nothing did. Directories that are empty now stay when nobody can tell what else is in
/// them without fetching the image.
fn patch(
    site: &Site<'_>,
    source: &MappingSource,
    from: &Position,
    (uid, gid): (u32, u32),
    parent: &ImageId,
    is_fetched: bool,
) -> anyhow::Result<Option<Arc<dyn LayerSource>>> {
    let spec = source.spec(uid, gid)?;
    let mut patch = source.patch_since(from, &spec)?;
    if patch.is_empty() {
        return Ok(None);
    }
    if is_fetched && patch.empties_directories() {
        patch.remove_emptied(below::contents(site.runtime.as_ref(), parent))?;
    }
    if below::matters(&spec.to) {
        return Ok(Some(Arc::new(patch.onto(below::look(site.runtime.as_ref(), parent))?)));
    }
    Ok(Some(Arc::new(patch)))
}

/// The stage that an import takes its files from: the one it names, else the last.
pub fn import_source<'a>(step: &Step<'a>, import: &Import) -> anyhow::Result<&'a StageDescription> {
    let source = finished(step, &import.source)?;
    let stage = import.stage.and_then(|stage| source.stage(crate::stage::stage_of(stage))).or(source.last());
    Ok(&stage.context("an image has stages")?.description)
}

async fn imported(
    site: &Site<'_>,
    step: &Step<'_>,
    parent: &ImageId,
    imports: &[&Import],
    log: &Frame,
) -> anyhow::Result<Arc<dyn LayerSource>> {
    let mut owners = Owners::new(site, parent);
    let mut sources: Vec<Arc<dyn LayerSource>> = Vec::new();
    for import in imports {
        let image = &import_source(step, import)?.image;
        let owner = owners.resolve(&import.owner, &import.group).await?;
        let name = format!("import of {} from {}", import.add, display_image(&import.source));
        let request = TreeRequest { path: PathBuf::from(&import.add) };
        let tree = site.runtime.tree(image, &request).await.with_context(|| format!("cannot read the {name}"))?;
        let Some(tree) = tree else {
            return Err(Error::user(format!("{name}: there is no such path in the image"))
                .hint(format!("look into it: slipway run --shell {}", display_image(&import.source)))
                .into());
        };
        let imported = tokio::task::block_in_place(|| fitted(site, tree, import, owner, parent))?;
        if imported.is_empty() {
            log.warn(format!("{name}: no file is imported; check its includePaths and excludePaths"));
        }
        sources.push(Arc::new(imported));
    }
    Ok(Arc::new(git::merge(sources)))
}

/// An import in its place in the image.
fn fitted(
    site: &Site<'_>,
    tree: Arc<dyn LayerSource>,
    import: &Import,
    owner: Option<(u32, u32)>,
    parent: &ImageId,
) -> anyhow::Result<Imported> {
    let is_file = match tree.entries()?.next().transpose()? {
        Some(first) => !matches!(first.kind, EntryKind::Directory) && first.path == imports::normal(&import.add),
        None => false,
    };
    let matters = if is_file { below::matters_to_file(&import.to) } else { below::matters(&import.to) };
    let mut look = below::look(site.runtime.as_ref(), parent);
    Imported::new(tree, import, owner, matters.then_some(&mut look))
}

/// Owners by name, looked up in the image once when the first name needs it.
struct Owners<'a> {
    site: &'a Site<'a>,
    image: &'a ImageId,
    accounts: Option<Accounts>,
}

impl<'a> Owners<'a> {
    fn new(site: &'a Site<'a>, image: &'a ImageId) -> Self {
        Self { site, image, accounts: None }
    }

    /// (uid, gid) for `owner` and `group`; `None` when neither is given.
    async fn resolve(&mut self, owner: &str, group: &str) -> anyhow::Result<Option<(u32, u32)>> {
        if owner.is_empty() && group.is_empty() {
            return Ok(None);
        }
        let (uid, primary) = match owner.parse() {
            Ok(uid) => (uid, 0),
            Err(_) if owner.is_empty() => (0, 0),
            Err(_) => *self
                .accounts()
                .await?
                .users
                .get(owner)
                .ok_or_else(|| unknown("owner", owner, "create the user in a stage before, or give a number"))?,
        };
        let gid = match group.parse() {
            Ok(gid) => gid,
            Err(_) if group.is_empty() => primary,
            Err(_) => *self
                .accounts()
                .await?
                .groups
                .get(group)
                .ok_or_else(|| unknown("group", group, "create the group in a stage before, or give a number"))?,
        };
        Ok(Some((uid, gid)))
    }

    async fn accounts(&mut self) -> anyhow::Result<&Accounts> {
        let accounts = match self.accounts.take() {
            Some(accounts) => accounts,
            None => self.site.runtime.accounts(self.image).await?,
        };
        Ok(self.accounts.insert(accounts))
    }
}

fn unknown(what: &str, name: &str, hint: &str) -> Error {
    Error::user(format!("{what} `{name}` does not exist in the image")).hint(hint)
}

/// Brings a lazy base image here before a command needs its files, in a box of its own: it may take long.
async fn fetch(site: &Site<'_>, step: &Step<'_>, image: &ImageId, log: &Frame) -> anyhow::Result<()> {
    if site.runtime.is_fetched(image).await? {
        return Ok(());
    }
    let base = match &step.image.from {
        Base::Registry(reference) => reference.clone(),
        Base::Image(name) => format!("of image {}", display_image(name)),
    };
    let process = log.collapsed(&format!("Pulling base image {base}"), crate::ui::Style::Normal);
    let progress = process.progress(&base);
    let fetched =
        site.unless_over(site.runtime.fetch(image, &|_, done, total| progress.set(done, total.unwrap_or(0)))).await;
    drop(progress);
    match fetched {
        Ok(()) => process.end(),
        Err(error) => {
            process.fail();
            return Err(error.context(format!("cannot pull the base image {base}")));
        }
    }
    Ok(())
}

async fn run_commands(
    site: &Site<'_>,
    step: &Step<'_>,
    parent: &ImageDescription,
    layer: Option<Arc<dyn LayerSource>>,
    change: &ImageChange,
    log: &Frame,
) -> anyhow::Result<ImageDescription> {
    let commands = commands(step)?;
    fetch(site, step, &parent.id, log).await?;
    let directory = tempfile::Builder::new().prefix("stage-").tempdir_in(&site.tmp)?;
    let interpreter = interpreter(site, step, log).await?;
    let run = shell::prepare(&directory.path().join("script"), &commands, &interpreter)?;
    let agent = tokio::task::block_in_place(|| site.ssh_agent.mount())?;
    let mut env = vec![("COLUMNS".to_owned(), log.width().to_string())];
    env.extend(agent.iter().map(|_| ("SSH_AUTH_SOCK".to_owned(), ssh_agent::SOCKET.to_owned())));
    let mut mounts = vec![run.mount];
    mounts.extend(agent);
    mounts.extend(mount_section(site, step, parent, directory.path())?);
    let spec = ContainerSpec {
        name: crate::ids::random_name("werf.build.")?,
        command: run.command,
        env,
        user: Some("0:0".to_owned()),
        workdir: Some(PathBuf::from("/")),
        mounts,
        network: Network::Host,
        limits: site.limits,
        labels: [("io.slipway.build".to_owned(), site.project.to_owned())].into(),
        ..ContainerSpec::default()
    };
    let container = site.runtime.create(&parent.id, layer, &spec).await?;
    let built = run_container(site, step, &container, change, log).await;
    let introspected = match &built {
        Err(_) if site.introspect.on_error() && !site.cancel.is_cancelled() => {
            introspect_failure(site, &container, parent, &spec, log).await
        }
        _ => Ok(()),
    };
    let removed = site.runtime.remove(&container).await;
    let image = built?;
    introspected.and(removed)?;
    Ok(image)
}

async fn run_container(
    site: &Site<'_>,
    step: &Step<'_>,
    container: &ContainerId,
    change: &ImageChange,
    log: &Frame,
) -> anyhow::Result<ImageDescription> {
    let mut stream =
        log.stream(&crate::stage::display_name(&step.image.name, step.name), site.style(step.image.artifact));
    let mut output = |_, bytes: &[u8]| stream.write(bytes);
    let ended = site.unless_over(site.runtime.run(container, &mut output)).await;
    stream.finish();
    let status = ended?;
    if status.out_of_memory && status.code != 0 {
        return Err(out_of_memory(site.limits.memory).into());
    }
    if status.code != 0 {
        return Err(Error::user(format!("container run failed: exit code {}", status.code))
            .hint(
                "the last lines above are the command's own; --introspect-error opens a shell in the failed container",
            )
            .into());
    }
    site.runtime.commit(container, change).await
}

fn out_of_memory(limit: Option<Memory>) -> Error {
    match limit {
        Some(limit) => Error::user(format!("container run failed: the commands used more memory than {limit}")).hint(
            "the kernel ended one; the limit is `limits.memory` in the settings of this host (`slipway config show`)",
        ),
        None => Error::user("container run failed: the commands used more memory than they may")
            .hint("the kernel ended one; give the host or the build more memory"),
    }
}

/// Opens a shell: in the failed container, or with `--introspect-before-error` in the state before the commands.
async fn introspect_failure(
    site: &Site<'_>,
    failed: &ContainerId,
    parent: &ImageDescription,
    spec: &ContainerSpec,
    log: &Frame,
) -> anyhow::Result<()> {
    let shell = spec.command.first().cloned().into_iter().collect::<Vec<_>>();
    log.line(format!("The command was: {}", spec.command.join(" ")));
    if matches!(site.introspect, Introspect { before_error: true, .. }) {
        return open_shell(site, &parent.id, spec, log).await;
    }
    let _aside = log.step_aside();
    site.runtime.attach(failed, &shell).await?;
    Ok(())
}

/// Opens a shell in a new container of an image, with the mounts and environment of a build.
pub async fn open_shell(site: &Site<'_>, image: &ImageId, spec: &ContainerSpec, log: &Frame) -> anyhow::Result<()> {
    let spec = ContainerSpec { name: format!("{}-shell", spec.name), terminal: true, ..spec.clone() };
    let container = site.runtime.create(image, None, &spec).await?;
    let shell = spec.command.first().cloned().into_iter().collect::<Vec<_>>();
    let aside = log.step_aside();
    let opened = site.runtime.attach(&container, &shell).await;
    drop(aside);
    site.runtime.remove(&container).await?;
    opened.map(|_| ())
}

fn commands(step: &Step<'_>) -> anyhow::Result<Vec<String>> {
    let Some(stage) = step.name.user_stage() else { return Ok(Vec::new()) };
    match &step.image.builder {
        Builder::Shell(shell) => Ok(shell.commands.get(&stage).cloned().unwrap_or_default()),
        Builder::None => Ok(Vec::new()),
        Builder::Ansible(_) => bail!(
            Error::user(format!("image {}: ansible stages are not built yet", display_image(&step.image.name)))
                .hint("write the tasks as `shell` commands for now")
        ),
    }
}

/// The `mount` section, and what the base image's own build mounted.
fn mount_section(
    site: &Site<'_>,
    step: &Step<'_>,
    parent: &ImageDescription,
    tmp: &Path,
) -> anyhow::Result<Vec<Mount>> {
    let mut list: Vec<MountConfig> = step.image.mounts.clone();
    for inherited in labels::inherited_mounts(&parent.config.labels) {
        if !list.iter().any(|mount| mount.to == inherited.to) {
            list.push(inherited);
        }
    }
    let build = site.build_mounts.join(site.project);
    let dirs = MountDirs { project_dir: site.project_dir, home: site.home, tmp: &tmp.join("mount"), build: &build };
    mounts::prepare(&list, &dirs)
}

/// What runs the commands: the image's bash, else a static one of this host, else the image's sh (decisions 3.6). Looked up
/// once per base image.
async fn interpreter(site: &Site<'_>, step: &Step<'_>, log: &Frame) -> anyhow::Result<Interpreter> {
    let base = &step.first.context("a user stage follows `from`")?.description.image;
    let mut known = site.interpreters.lock().await;
    if let Some(interpreter) = known.get(base) {
        return Ok(interpreter.clone());
    }
    let interpreter = site.unless_over(look_for_interpreter(site, base, log)).await?;
    known.insert(base.clone(), interpreter.clone());
    Ok(interpreter)
}

async fn look_for_interpreter(site: &Site<'_>, base: &ImageId, log: &Frame) -> anyhow::Result<Interpreter> {
    for path in ["/bin/bash", "/usr/bin/bash"] {
        let found = site.runtime.resolve(base, Path::new(path)).await?;
        if found.is_some_and(|found| found.directory.is_none()) {
            return Ok(Interpreter::Image(path.into()));
        }
    }
    if let Some(bash) = crate::toolchain::static_bash() {
        return Ok(Interpreter::Static(bash));
    }
    log.warn("the image has no bash and this host has no bash-static: /bin/sh runs the commands (install the package bash-static)");
    Ok(Interpreter::Sh)
}
