//! Files of images, read through a container that never starts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{ContainerArchiveInfoOptions, CreateContainerOptions, DownloadFromContainerOptions};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::io::AsyncWriteExt as _;

use super::container::RemoveOnDrop;
use super::{DockerError, DockerRuntime};
use crate::ids::ImageId;
use crate::layer::entry::put_files_before_links;
use crate::layer::{Content, Entry, EntryKind, LayerReader, LayerSource, Limits};
use crate::runtime::{Accounts, TreeRequest};

/// Bytes of `/etc/passwd` or `/etc/group` that are read.
const ACCOUNT_FILE: u64 = 16 << 20;

impl DockerRuntime {
    pub(super) async fn image_tree(
        &self,
        id: &ImageId,
        request: &TreeRequest,
    ) -> anyhow::Result<Option<Arc<dyn LayerSource>>> {
        let container = self.still_container(id).await?;
        let entries = self.files(&container.id, &request.path).await?;
        container.remove().await;
        Ok(entries.map(|entries| Arc::new(entries) as Arc<dyn LayerSource>))
    }

    pub(super) async fn image_accounts(&self, id: &ImageId) -> anyhow::Result<Accounts> {
        if let Some(known) = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(known.clone());
        }
        let container = self.still_container(id).await?;
        let passwd = self.account_file(&container.id, "/etc/passwd").await?;
        let group = self.account_file(&container.id, "/etc/group").await?;
        container.remove().await;
        let accounts = parse_accounts(&passwd, &group);
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), accounts.clone());
        Ok(accounts)
    }

    /// A container that is only looked into.
    pub(super) async fn still_container(&self, id: &ImageId) -> Result<RemoveOnDrop, DockerError> {
        let body = ContainerCreateBody {
            image: Some(id.to_string()),
            entrypoint: Some(vec!["-".to_owned()]),
            labels: Some(self.owner_labels()),
            ..Default::default()
        };
        let created = self.docker.create_container(None::<CreateContainerOptions>, body).await;
        match created.map_err(self.failed(format!("look into image `{id}`"))) {
            Ok(created) => Ok(RemoveOnDrop::new(self.docker.clone(), created.id)),
            Err(error) if error.is_not_found() => Err(DockerError::NoImage { name: id.to_string() }),
            Err(error) => Err(error),
        }
    }

    /// What is at and under a path, sorted, under that path; the archive they come from stays open with them.
    async fn files(&self, container: &str, path: &Path) -> anyhow::Result<Option<Vec<Entry>>> {
        let text = path.to_str().filter(|text| text.starts_with('/'));
        let text = text.ok_or_else(|| {
            crate::error::Error::user(format!("`{}` is not an absolute path in UTF-8", path.display()))
        })?;
        let attempted = format!("read `{text}` of a container");
        let options = ContainerArchiveInfoOptions { path: text.to_owned() };
        let found = match self
            .docker
            .get_container_archive_info(container, Some(options))
            .await
            .map_err(self.failed(&attempted))
        {
            Err(error) if error.is_not_found() => return Ok(None),
            found => found?,
        };
        // The engine resolves a link within the image, but then sends the link itself.
        let real = if found.link_target.is_empty() { text.to_owned() } else { found.link_target };
        let options = DownloadFromContainerOptions { path: real.clone() };
        let chunks = self.docker.download_from_container(container, Some(options));
        let spool = match self.spool(chunks, &attempted).await {
            // A link to nothing.
            Err(error) if error.downcast_ref().is_some_and(DockerError::is_not_found) => return Ok(None),
            spool => spool?,
        };
        let prefix: PathBuf =
            path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
        let is_root = Path::new(&real).file_name().is_none();
        tokio::task::spawn_blocking(move || entries_of(&spool, &prefix, is_root)).await?.map(Some)
    }

    /// An unnamed file with all that comes.
    pub(super) async fn spool(
        &self,
        chunks: impl Stream<Item = Result<Bytes, bollard::errors::Error>> + Send,
        attempted: &str,
    ) -> anyhow::Result<Arc<File>> {
        let mut chunks = std::pin::pin!(chunks);
        let mut spool = tokio::fs::File::from_std(tempfile::tempfile_in(&self.tmp_dir)?);
        while let Some(chunk) = chunks.next().await {
            spool.write_all(&chunk.map_err(self.failed(attempted))?).await?;
        }
        spool.flush().await?;
        Ok(Arc::new(spool.into_std().await))
    }

    async fn account_file(&self, container: &str, path: &str) -> anyhow::Result<String> {
        let entries = self.files(container, Path::new(path)).await?.unwrap_or_default();
        let mut bytes = Vec::new();
        if let Some(Entry { kind: EntryKind::File { content, .. }, .. }) = entries.first() {
            content.open()?.take(ACCOUNT_FILE).read_to_end(&mut bytes)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The entries of an archive of the engine, whose names begin with the last component of the path that was asked for
/// (unless that was the root), under `prefix`, sorted.
pub(super) fn entries_of(spool: &Arc<File>, prefix: &Path, is_root: bool) -> anyhow::Result<Vec<Entry>> {
    let under = |path: &Path| -> PathBuf {
        let rest: PathBuf = path.components().skip(usize::from(!is_root)).collect();
        if rest.as_os_str().is_empty() { prefix.to_owned() } else { prefix.join(rest) }
    };
    let mut layer = LayerReader::new(Range { file: Arc::clone(spool), at: 0, left: u64::MAX }, Limits::default())?;
    let mut entries = BTreeMap::new();
    while let Some(entry) = layer.next() {
        let mut entry = entry?;
        entry.path = under(&entry.path);
        match &mut entry.kind {
            EntryKind::File { size, content } => {
                let (file, at, left) = (Arc::clone(spool), layer.position(), *size);
                *content = Content::Open(Arc::new(move || Ok(Box::new(Range { file: Arc::clone(&file), at, left }))));
            }
            EntryKind::Hardlink { target } => *target = under(target),
            _ => {}
        }
        entries.insert(entry.path.as_os_str().as_bytes().to_vec(), entry);
    }
    put_files_before_links(&mut entries);
    Ok(entries.into_values().collect())
}

/// Some bytes of a file, read without moving anybody else's position in it.
struct Range {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

fn parse_accounts(passwd: &str, group: &str) -> Accounts {
    let mut accounts = Accounts::default();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [name, _, uid, gid, ..] = fields[..]
            && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
        {
            accounts.users.entry(name.to_owned()).or_insert((uid, gid));
        }
    }
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [name, _, gid, ..] = fields[..]
            && let Ok(gid) = gid.parse()
        {
            accounts.groups.entry(name.to_owned()).or_insert(gid);
        }
    }
    accounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_the_first_of_a_name_and_odd_lines_are_passed_over() {
        let accounts = parse_accounts(
            "root:x:0:0:root:/root:/bin/sh\n\n# note\nroot:x:1:1::/:\nbad:x:a:b::/:\n",
            "adm:x:4:syslog\nwheel:x\n",
        );
        assert_eq!(accounts.users, [("root".to_owned(), (0, 0))].into());
        assert_eq!(accounts.groups, [("adm".to_owned(), 4)].into());
    }
}
