//! A container while nothing runs in it: its directory, and what the child needs to know to run it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::process::{Pid, Signal};
use tokio::sync::Notify;

use super::cgroup;
use super::child::{self, Ends, Launch};
use super::images::Images;
use super::marks::Marks;
use super::merged::{self, Merged};
use super::overlay::Overlay;
use super::spec::{self, Host};
use super::store::{ImageRecord, LayerId, LayerRecord};
use super::unpack::unpack;
use super::{snapshot, user};
use crate::error::Error;
use crate::ids::{ContainerId, ImageId, hex};
use crate::layer::LayerSource;
use crate::lease::Owner;
use crate::runtime::{ContainerSpec, ImageChange, ImageDescription, Port};

/// A container of this process.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub id: ContainerId,
    /// What it was made of.
    pub image: ImageId,
    /// What it has changed so far, as far as that has been committed: layers on top of the image, bottom first.
    committed: Vec<(LayerId, LayerRecord)>,
    pub spec: ContainerSpec,
    /// `containers/<id>`, with `upper` for its changes, and `points` for what mounts need to be there.
    pub directory: PathBuf,
    /// Ends its run, for its removal.
    pub stop: Arc<Notify>,
}

/// Makes the directory of a container with the entries of `layer` written. It appears under its name when it is complete.
pub fn create(
    images: &Images,
    image: &ImageId,
    layer: Option<&dyn LayerSource>,
    spec: &ContainerSpec,
) -> anyhow::Result<Prepared> {
    let spec = ContainerSpec { name: name_of(spec)?, ..spec.clone() };
    let id: ContainerId = spec.name.parse()?;
    check_ports(&spec)?;
    let directory = images.store.containers().join(id.as_str());
    let _lock = images.store.lock_to_add()?;
    let trees = images.trees(&images.record(image)?)?;
    let made = images.store.temporary()?;
    fs::DirBuilder::new().mode(0o700).create(&made)?;
    for name in ["merged", "run"] {
        fs::create_dir(made.join(name))?;
    }
    fs::write(made.join("owner"), serde_json::to_vec(&Owner::current()?)?)?;
    fs::write(made.join("image"), image.as_str())?;
    make_upper(&made, trees.first().map(PathBuf::as_path))?;
    if let Some(layer) = layer {
        unpack(layer, &made.join("upper"), images.marks)?;
    }
    match fs::rename(&made, &directory) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            images.store.discard(&made)?;
            return Err(Error::user(format!("a container `{id}` is there already")).into());
        }
        result => result?,
    }
    Ok(Prepared { id, image: image.clone(), committed: Vec::new(), spec, directory, stop: Arc::default() })
}

/// The name of a container; a random one where none is given.
fn name_of(spec: &ContainerSpec) -> anyhow::Result<String> {
    if !spec.name.is_empty() {
        return Ok(spec.name.clone());
    }
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("slipway-{}", hex(&bytes)))
}

/// On the host's network a port of the container is a port of the host.
fn check_ports(spec: &ContainerSpec) -> anyhow::Result<()> {
    match spec.ports.iter().find(|port| port.host != port.container) {
        Some(Port { host, container }) => Err(Error::user(format!(
            "cannot publish port {container} of the container as port {host}: it shares the network of the host"
        ))
        .hint(format!("let the program listen on port {host}, or use the docker runtime"))
        .into()),
        None => Ok(()),
    }
}

/// Removes what was created, as soon as nothing runs there any more.
pub fn remove(images: &Images, id: &ContainerId) -> anyhow::Result<()> {
    let directory = images.store.containers().join(id.as_str());
    if let Some(owner) = owner_of(&directory).filter(|owner| owner.pid != std::process::id() && owner.is_alive()) {
        end(&directory, &owner)?;
    }
    let held = match child::hold(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    cgroup::remove(&spec::cgroup_of(&directory));
    images.store.discard(&directory)?;
    drop(held);
    Ok(())
}

/// Tells the child of a detached container to end it. Other processes' containers are theirs.
fn end(directory: &Path, owner: &Owner) -> anyhow::Result<()> {
    if !directory.join(LOG).exists() {
        return Err(Error::user(format!(
            "container `{}` belongs to process {}",
            directory.file_name().unwrap_or_default().to_string_lossy(),
            owner.pid
        ))
        .hint("it ends with that process")
        .into());
    }
    if let Some(pid) = i32::try_from(owner.pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    Ok(())
}

fn owner_of(directory: &Path) -> Option<Owner> {
    serde_json::from_slice(&fs::read(directory.join("owner")).ok()?).ok()
}

/// The output of a detached container, in its directory.
pub const LOG: &str = "log";

/// Removes the containers of processes that are dead.
pub fn sweep(images: &Images) -> anyhow::Result<()> {
    for entry in fs::read_dir(images.store.containers())? {
        let entry = entry?;
        let owner = owner_of(&entry.path());
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(id) = id
            && !owner.is_some_and(|owner| owner.is_alive())
        {
            remove(images, &id)?;
        }
    }
    Ok(())
}

/// A new directory for changes, its root like the root of the image.
fn make_upper(directory: &Path, top: Option<&Path>) -> anyhow::Result<()> {
    let upper = directory.join("upper");
    fs::create_dir(&upper)?;
    snapshot::set_root_mode(&upper)?;
    if let Some(stat) = top.map(super::marks::stat).transpose()?.flatten() {
        dress_like(&upper, &stat)?;
    }
    Ok(())
}

impl Prepared {
    /// What the child is told to run `command` in it.
    pub fn launch(&self, images: &Images, host: Host, command: &[String], terminal: bool) -> anyhow::Result<Launch> {
        let record = self.record(images)?;
        let trees = images.trees(&record)?;
        let upper = self.directory.join("upper");
        let files = Merged::new([vec![upper.clone()], trees.clone()].concat(), images.marks);
        let points = self.mount_points(&files)?;
        let work = self.directory.join("work");
        remove_directory(&work)?;
        fs::create_dir(&work)?;

        let user = self.spec.user.as_deref().unwrap_or(&record.config.user);
        let identity = user::resolve(user, &files)?;
        let workdir = self.spec.workdir.clone().unwrap_or_else(|| PathBuf::from(&record.config.working_dir));
        let workdir = Path::new("/").join(merged::relative(&workdir));
        let environment = spec::environment(&record.config, &self.spec.env, &identity.home, terminal);
        let limits = cgroup::enforceable(&self.spec.limits);
        let container = ContainerSpec { terminal, limits, ..self.spec.clone() };
        let config =
            spec::runtime_config(&self.directory, &container, command, &workdir, &environment, &identity, host);
        let overlay = Overlay {
            lower: [vec![points], trees].concat(),
            upper,
            work,
            user_xattr: images.marks == Marks::User,
            no_devices: !host.guards_devices,
        };
        let files = host_files()?;
        let owner = (identity.uid, identity.gid);
        Ok(Launch {
            directory: self.directory.clone(),
            overlay,
            files,
            config,
            workdir,
            owner,
            ends: Ends::WithLauncher,
        })
    }

    /// A layer that has everything that something is mounted on and the image lacks: so it is there while the container runs
    /// and in no layer afterwards. Directories on the way are like those of the image.
    fn mount_points(&self, files: &Merged) -> anyhow::Result<PathBuf> {
        let points = self.directory.join("points");
        remove_directory(&points)?;
        fs::create_dir(&points)?;
        dress_like(&points, &files.root()?.stat)?;
        for name in spec::MOUNT_POINTS {
            make_point(&points, files, Path::new(name), Point::Directory)?;
        }
        for name in spec::HOST_FILES {
            make_point(&points, files, &Path::new("etc").join(name), Point::File)?;
        }
        for mount in &self.spec.mounts {
            let is_file = fs::metadata(&mount.source).is_ok_and(|metadata| !metadata.is_dir());
            let point = if is_file { Point::File } else { Point::Directory };
            make_point(&points, files, &mount.target, point)?;
        }
        Ok(points)
    }

    /// All that has changed, and the changed configuration of the container's image, become an image. What has changed since
    /// the commit before becomes a layer by moving, so the container continues on top of it.
    pub fn commit(&mut self, images: &Images, change: &ImageChange) -> anyhow::Result<ImageDescription> {
        let _lock = images.store.lock_to_add()?;
        let upper = self.directory.join("upper");
        if !merged::is_empty(&upper)? {
            let kept = snapshot::keep_directory(&images.store, &upper, images.marks)?;
            make_upper(&self.directory, Some(&images.store.tree_dir(&kept.0)))?;
            self.committed.push(kept);
        }
        let image = images.derive(Some(&self.image), &self.committed, change)?;
        // The newest has all layers that the container needs: it stays as long as the container does.
        images.store.replace(&self.directory.join("image"), image.id.as_str().as_bytes())?;
        Ok(image)
    }

    /// The image as it would be if it were committed now.
    fn record(&self, images: &Images) -> anyhow::Result<ImageRecord> {
        let mut record = images.record(&self.image)?;
        record.layers.extend(self.committed.iter().map(|(id, _)| id.clone()));
        Ok(record)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Point {
    Directory,
    File,
}

fn make_point(points: &Path, files: &Merged, target: &Path, point: Point) -> anyhow::Result<()> {
    let (path, found) = files.resolve(target)?;
    if let Some(found) = found {
        let fits = (found.kind() == FileType::Directory) == (point == Point::Directory);
        if fits {
            return Ok(());
        }
        let (is, has) = match point {
            Point::File => ("file", "directory"),
            Point::Directory => ("directory", "file"),
        };
        return Err(
            Error::user(format!("cannot mount a {is} on `{}`: the image has a {has} there", target.display())).into()
        );
    }
    let mut made = PathBuf::new();
    for component in path.parent().unwrap_or(Path::new("")).components() {
        made.push(component);
        let here = points.join(&made);
        if !here.is_dir() {
            fs::create_dir(&here)?;
            snapshot::set_root_mode(&here)?;
            if let Some(found) = files.find(&made)? {
                dress_like(&here, &found.stat)?;
            }
        }
    }
    let here = points.join(&path);
    match point {
        Point::Directory if here.is_dir() => {}
        Point::Directory => {
            fs::create_dir(&here)?;
            snapshot::set_root_mode(&here)?;
        }
        Point::File => drop(fs::File::create(&here)?),
    }
    Ok(())
}

/// Owner and mode of another directory.
fn dress_like(directory: &Path, stat: &rustix::fs::Stat) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::os::unix::fs::chown(directory, Some(stat.st_uid), Some(stat.st_gid))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(stat.st_mode & 0o7777))
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The container's own copies of the host's files; one that the host lacks is empty.
fn host_files() -> io::Result<Vec<(String, String)>> {
    let read = |name: &str| match fs::read_to_string(Path::new("/etc").join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result,
    };
    spec::HOST_FILES.iter().map(|name| Ok(((*name).to_owned(), read(name)?))).collect()
}
