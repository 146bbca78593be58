//! Blobs, as callers see them: written down, read up, looked for. How they travel is in `download` and `upload`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Method;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::auth::{Access, Scope};
use super::client::{Client, api_url, found};
use super::download::Download;
use super::error::Error;
use super::manifest::Descriptor;
use super::upload::Upload;
use super::wire::Ask;
use crate::ids::Digest;
use crate::image_ref::ImageRef;

/// Called with the number of bytes transferred so far; it may go back when a transfer starts again.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Where the bytes of an upload come from.
#[derive(Clone, Debug)]
pub enum BlobSource {
    Bytes(Bytes),
    File(PathBuf),
    /// The same blob in another repository, of any registry; it passes through without touching the disk.
    Registry(ImageRef),
}

/// What an upload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The repository had the blob.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
    /// So many bytes, the size of the blob, were sent.
    Uploaded(u64),
}

impl Client {
    /// Writes a blob to `out`. Length and digest are checked: after an error what was written is not to be used.
    pub async fn blob(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        out: &mut (impl AsyncWrite + Unpin + Send),
        progress: &Progress,
    ) -> Result<(), Error> {
        let failed = |source| Error::Local { what: format!("writing blob {}", descriptor.digest), source };
        let mut download = Download::new(self, name, descriptor, 0);
        let mut hash = Sha256::new();
        while let Some(piece) = download.next().await? {
            hash.update(&piece);
            out.write_all(&piece).await.map_err(failed)?;
            progress(download.position);
        }
        out.flush().await.map_err(failed)?;
        check_digest(name, descriptor, Digest::from_sha256(&hash.finalize()))
    }

    /// Writes a blob to a file, which appears only when it is whole and checked.
    pub async fn blob_file(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        path: &Path,
        progress: &Progress,
    ) -> Result<(), Error> {
        let failed = |source| Error::Local { what: format!("writing `{}`", path.display()), source };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        let mut out = tokio::fs::File::from_std(temporary.as_file().try_clone().map_err(failed)?);
        self.blob(name, descriptor, &mut out, progress).await?;
        out.sync_all().await.map_err(failed)?;
        temporary.persist(path).map(drop).map_err(|error| failed(error.error))
    }

    /// A small blob, such as an image's configuration, of at most `limit` bytes.
    pub async fn blob_bytes(&self, name: &ImageRef, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        if descriptor.size > limit {
            let what = format!("blob {} of {}", descriptor.digest, name.name());
            return Err(Error::TooLarge { what, size: descriptor.size, limit });
        }
        let mut bytes = Vec::new();
        self.blob(name, descriptor, &mut bytes, &no_progress()).await?;
        Ok(Bytes::from(bytes))
    }

    /// Whether a repository has a blob.
    pub async fn blob_exists(&self, name: &ImageRef, descriptor: &Descriptor) -> Result<bool, Error> {
        self.has_blob(name, descriptor, Access::Pull).await
    }

    /// Makes sure that a repository has a blob: looks, mounts it from `mount_from` (a repository of the same registry) if
    /// that is given, else uploads it in one request, which is taken up again where the registry says it was cut.
    pub async fn upload(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        source: &BlobSource,
        mount_from: Option<&str>,
        progress: &Progress,
    ) -> Result<UploadOutcome, Error> {
        // Asked with the token that the upload needs: one token less.
        if self.has_blob(name, descriptor, Access::Push).await? {
            return Ok(UploadOutcome::Existed);
        }
        let upload = Upload { client: self, host: self.host(name), name, descriptor, source, progress };
        let Some(session) = upload.start(mount_from.filter(|from| *from != name.repository)).await? else {
            return Ok(UploadOutcome::Mounted);
        };
        upload.run(session).await?;
        Ok(UploadOutcome::Uploaded(descriptor.size))
    }

    async fn has_blob(&self, name: &ImageRef, descriptor: &Descriptor, access: Access) -> Result<bool, Error> {
        let host = self.host(name);
        let origin = host.origin(&self.wire).await?;
        let url = api_url(&origin.base, &name.repository, &["blobs", descriptor.digest.as_str()])?;
        let mut ask = Ask::get(url, origin);
        ask.method = Method::HEAD;
        let answer = host.call(&self.wire, &Scope::new(&name.repository, access), &ask).await?;
        found(&ask, &answer)
    }
}

/// For callers that show none.
pub fn no_progress() -> Progress {
    Arc::new(|_| ())
}

pub(super) fn check_digest(name: &ImageRef, descriptor: &Descriptor, actual: Digest) -> Result<(), Error> {
    let expected = descriptor.digest.clone();
    if actual == expected {
        return Ok(());
    }
    Err(Error::DigestMismatch { what: format!("blob of {}", name.name()), expected, actual })
}
