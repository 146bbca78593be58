//! Single paths of images, found through a container that never starts: one for each image, kept while questions may come.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::query_parameters::{ContainerArchiveInfoOptions, DownloadFromContainerOptions};
use futures_util::StreamExt as _;

use super::container::RemoveOnDrop;
use super::{DockerError, DockerRuntime};
use crate::ids::ImageId;
use crate::layer::{Entry, LayerReader, Limits, Looks};
use crate::runtime::Resolved;

/// Containers to ask, by image. Each is removed with its image, at the latest at the end of the runtime.
pub(super) type Probes = tokio::sync::Mutex<HashMap<ImageId, Arc<Probe>>>;

/// A container to ask, and what it has answered.
pub(super) struct Probe {
    container: RemoveOnDrop,
    known: Mutex<HashMap<PathBuf, Option<Found>>>,
    looks: Mutex<HashMap<PathBuf, Looks>>,
}

/// Where a path leads.
#[derive(Clone, Debug)]
struct Found {
    path: PathBuf,
    is_directory: bool,
}

/// Bytes of an archive that hold its first entry, whatever extended headers it has.
const BEGINNING: usize = 8 << 10;
/// Bits of a mode as Go has them.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;

impl DockerRuntime {
    /// The engine follows all links within the image, but tells the result only for a link at the end of a path: so the path is
    /// walked.
    pub(super) async fn image_path(&self, id: &ImageId, path: &Path) -> anyhow::Result<Option<Resolved>> {
        let probe = self.probe(id).await?;
        let mut reached = Found { path: PathBuf::new(), is_directory: true };
        for component in path.components() {
            match component {
                Component::Normal(name) if reached.is_directory => {
                    let next = self.ask(&probe, reached.path.join(name)).await?;
                    let Some(next) = next else { return Ok(None) };
                    reached = next;
                }
                Component::Normal(_) => return Ok(None),
                Component::ParentDir => drop(reached.path.pop()),
                _ => {}
            }
        }
        let directory = if reached.is_directory { Some(self.looks(&probe, &reached.path).await?) } else { None };
        Ok(Some(Resolved { path: reached.path, directory }))
    }

    /// Removes the container that keeps an image from being dropped.
    pub(super) async fn end_probe(&self, id: &ImageId) {
        let probe = self.probes.lock().await.remove(id);
        if let Some(probe) = probe.and_then(Arc::into_inner) {
            probe.container.remove().await;
        }
    }

    async fn probe(&self, id: &ImageId) -> Result<Arc<Probe>, DockerError> {
        let mut probes = self.probes.lock().await;
        if let Some(probe) = probes.get(id) {
            return Ok(Arc::clone(probe));
        }
        let probe = Arc::new(Probe {
            container: self.still_container(id).await?,
            known: Mutex::default(),
            looks: Mutex::default(),
        });
        probes.insert(id.clone(), Arc::clone(&probe));
        Ok(probe)
    }

    /// A path whose parent is a directory and no link.
    async fn ask(&self, probe: &Probe, path: PathBuf) -> Result<Option<Found>, DockerError> {
        if let Some(known) = probe.known.lock().unwrap_or_else(PoisonError::into_inner).get(&path) {
            return Ok(known.clone());
        }
        let found = match self.stat(probe, &path).await? {
            Some((mode, target)) if mode & SYMLINK != 0 => {
                let target = PathBuf::from(target.trim_start_matches('/'));
                let mode = self.stat(probe, &target).await?.map(|(mode, _)| mode);
                mode.map(|mode| Found { path: target, is_directory: mode & DIRECTORY != 0 })
            }
            Some((mode, _)) => Some(Found { path: path.clone(), is_directory: mode & DIRECTORY != 0 }),
            None => None,
        };
        probe.known.lock().unwrap_or_else(PoisonError::into_inner).insert(path, found.clone());
        Ok(found)
    }

    /// The owner of a directory stands only in the archive of it, of which the beginning is enough.
    async fn looks(&self, probe: &Probe, path: &PathBuf) -> anyhow::Result<Looks> {
        if let Some(known) = probe.looks.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(*known);
        }
        let text = format!("/{}", path.display());
        let attempted = format!("look at `{text}` in an image");
        let options = DownloadFromContainerOptions { path: text };
        let mut chunks = self.docker.download_from_container(&probe.container.id, Some(options));
        let mut beginning = Vec::new();
        while beginning.len() < BEGINNING
            && let Some(chunk) = chunks.next().await
        {
            beginning.extend_from_slice(&chunk.map_err(self.failed(&attempted))?);
        }
        let mut reader = LayerReader::new(std::io::Cursor::new(beginning), Limits::default())?;
        let strange = || DockerError::Strange { what: "an archive", text: attempted };
        let Entry { mode, uid, gid, .. } = reader.next().ok_or_else(strange)??;
        let looks = Looks { mode, uid, gid };
        probe.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), looks);
        Ok(looks)
    }

    /// Mode of what is at a path, and where it leads if it is a link.
    async fn stat(&self, probe: &Probe, path: &Path) -> Result<Option<(u32, String)>, DockerError> {
        // No such path can be asked for; what a layer puts there stands for itself.
        let Some(text) = path.to_str() else { return Ok(None) };
        let options = ContainerArchiveInfoOptions { path: format!("/{text}") };
        let found = self.docker.get_container_archive_info(&probe.container.id, Some(options)).await;
        match found.map_err(self.failed(format!("look for `/{text}` in an image"))) {
            Ok(found) => Ok(Some((found.file_mode, found.link_target))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
