//! Between the engine and registries: base images in, published images out.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{CreateImageOptions, PushImageOptions};
use futures_util::StreamExt as _;
use serde_json::Value;

use super::image::{LocalImage, Step};
use super::{DockerError, DockerRuntime};
use crate::ids::{Digest, ImageId};
use crate::image_ref::ImageRef;
use crate::registry::Credentials;
use crate::runtime::{BasePolicy, ImageChange, ImageDescription, OnProgress, Pushed};

/// Pauses before a pull or push is tried again.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

impl DockerRuntime {
    pub(super) async fn base_image(
        &self,
        reference: &str,
        policy: BasePolicy,
        progress: OnProgress<'_>,
    ) -> Result<ImageDescription, DockerError> {
        let local = self.local(reference).await?;
        // An id, or a name that only this host knows.
        let target = reference.parse::<ImageRef>().ok().filter(|_| reference.parse::<ImageId>().is_err());
        let Some(target) = target else {
            return local
                .map(|image| image.description)
                .ok_or_else(|| DockerError::NoImage { name: reference.to_owned() });
        };
        if let Some(local) = local {
            if policy == BasePolicy::PreferLocal || target.digest.is_some() {
                return Ok(local.description);
            }
            match self.is_current(&local, &target).await {
                Ok(true) => return Ok(local.description),
                Ok(false) => {}
                Err(error) => {
                    progress(&format!("warning: {error}; the image on this host is used"), 0, None);
                    return Ok(local.description);
                }
            }
        }
        self.pull(&target, progress).await?;
        let pulled = self.local(reference).await?.ok_or_else(|| DockerError::NoImage { name: reference.to_owned() })?;
        Ok(pulled.description)
    }

    /// Whether the registry has the same image under this name.
    async fn is_current(&self, local: &LocalImage, target: &ImageRef) -> Result<bool, DockerError> {
        let attempted = format!("ask the registry for `{target}`");
        let login = self.login(target, &attempted).await?;
        let found = self.docker.inspect_registry_image(&target.to_string(), login).await;
        let found = found.map_err(self.failed(&attempted)).map_err(|error| of_registry(error, attempted))?;
        let digest = found.descriptor.digest.unwrap_or_default();
        Ok(local.repo_digests.iter().any(|known| known.split_once('@').is_some_and(|(_, known)| known == digest)))
    }

    async fn pull(&self, target: &ImageRef, progress: OnProgress<'_>) -> Result<(), DockerError> {
        let mut patience = Patience::default();
        loop {
            match self.pull_once(target, progress).await {
                Err(error) => patience.wait_after(error, progress).await?,
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn pull_once(&self, target: &ImageRef, progress: OnProgress<'_>) -> Result<(), DockerError> {
        let attempted = format!("pull `{target}`");
        let options = CreateImageOptions {
            from_image: Some(target.name()),
            tag: Some(target.reference().to_owned()),
            ..Default::default()
        };
        let login = self.login(target, &attempted).await?;
        let mut answers = self.docker.create_image(Some(options), None, login);
        while let Some(answer) = answers.next().await {
            let answer =
                answer.map_err(self.failed(&attempted)).map_err(|error| of_registry(error, attempted.clone()))?;
            let detail = answer.progress_detail.unwrap_or_default();
            let text = format!("{} {}", answer.id.unwrap_or_default(), answer.status.unwrap_or_default());
            progress(text.trim(), bytes(detail.current).unwrap_or(0), bytes(detail.total));
        }
        Ok(())
    }

    pub(super) async fn push_image(
        &self,
        id: &ImageId,
        change: &ImageChange,
        target: &ImageRef,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<Pushed> {
        let local = self.existing(id).await?;
        let mut config = local.description.config.changed(change);
        config.other.insert("Image".to_owned(), Value::from(id.as_str()));
        // The same image is the same wherever and whenever it is published: its time stays.
        let created = Some(local.description.created);
        let published = self.step(&local, Step { parent: id.clone(), layer: None, config, created }).await?;
        let name = format!("{}:{}", target.name(), target.tag.as_deref().unwrap_or("latest"));
        // The engine pushes by name only; a name that was in use goes back to whose it was.
        let before = self.local(&name).await?.map(|image| image.description.id);
        self.give_name(&published.id, &name).await?;
        let pushed = self.push_name(target, &published.id, progress).await;
        match before {
            Some(before) if before == published.id => {}
            Some(before) => {
                self.give_name(&before, &name).await?;
                self.drop_unnamed(published.id.as_str()).await;
            }
            None => self.take_name(&name).await?,
        }
        Ok(pushed?)
    }

    async fn push_name(
        &self,
        target: &ImageRef,
        id: &ImageId,
        progress: OnProgress<'_>,
    ) -> Result<Pushed, DockerError> {
        let mut patience = Patience::default();
        loop {
            match self.push_once(target, id, progress).await {
                Err(error) => patience.wait_after(error, progress).await?,
                Ok(pushed) => return Ok(pushed),
            }
        }
    }

    async fn push_once(
        &self,
        target: &ImageRef,
        id: &ImageId,
        progress: OnProgress<'_>,
    ) -> Result<Pushed, DockerError> {
        let attempted = format!("push `{target}`");
        let login = self.login(target, &attempted).await?;
        let tag = target.tag.clone().unwrap_or_else(|| "latest".to_owned());
        let options = PushImageOptions { tag: Some(tag), ..Default::default() };
        let name = target.name();
        let mut answers = std::pin::pin!(self.docker.push_image(&name, Some(options), login));
        let mut tally = Tally::default();
        while let Some(answer) = answers.next().await {
            let answer =
                answer.map_err(self.failed(&attempted)).map_err(|error| of_registry(error, attempted.clone()))?;
            let detail = answer.progress_detail.unwrap_or_default();
            let status = answer.status.unwrap_or_default();
            tally.take(&status, bytes(detail.total));
            progress(&status, bytes(detail.current).unwrap_or(0), bytes(detail.total));
        }
        let what = "an answer without a digest to a push";
        tally.pushed(id).ok_or_else(|| DockerError::Strange { what, text: target.to_string() })
    }

    async fn login(&self, target: &ImageRef, attempted: &str) -> Result<Option<DockerCredentials>, DockerError> {
        let registry = &target.registry;
        let found = self.docker_config.credentials(registry).await.map_err(|error| DockerError::Registry {
            attempted: attempted.to_owned(),
            message: format!("no login for `{registry}`: {error}"),
        })?;
        let blank = DockerCredentials { serveraddress: Some(registry.clone()), ..Default::default() };
        Ok(found.map(|credentials| match credentials {
            Credentials::Basic { user, password } => {
                DockerCredentials { username: Some(user), password: Some(password), ..blank }
            }
            Credentials::IdentityToken(token) => DockerCredentials { identitytoken: Some(token), ..blank },
            Credentials::RegistryToken(token) => DockerCredentials { registrytoken: Some(token), ..blank },
        }))
    }
}

/// Pauses between attempts at what may fail for a passing reason.
#[derive(Default)]
struct Patience {
    waited: usize,
}

impl Patience {
    /// Gives the error back when it will not pass, or has been waited for long enough.
    async fn wait_after(&mut self, error: DockerError, progress: OnProgress<'_>) -> Result<(), DockerError> {
        let passing = matches!(&error, DockerError::Registry { message, .. } if may_pass(message));
        let Some(pause) = PAUSES.get(self.waited).filter(|_| passing) else { return Err(error) };
        self.waited += 1;
        progress(&format!("{error}; trying again in {} s", pause.as_secs()), 0, None);
        tokio::time::sleep(*pause).await;
        Ok(())
    }
}

/// What a push said about its layers. The engine names no layer in it that its client lets through, so layers of one
/// size count once.
#[derive(Default)]
struct Tally {
    sizes: BTreeSet<u64>,
    reused: usize,
    mounted: usize,
    digest: Option<Digest>,
}

impl Tally {
    fn take(&mut self, status: &str, total: Option<u64>) {
        match status {
            "Pushing" => self.sizes.extend(total),
            "Layer already exists" => self.reused += 1,
            _ if status.starts_with("Mounted from") => self.mounted += 1,
            _ => {
                let digest = status.split_once("digest: ").and_then(|(_, rest)| rest.split(' ').next());
                self.digest = digest.and_then(|digest| digest.parse().ok()).or(self.digest.take());
            }
        }
    }

    fn pushed(self, id: &ImageId) -> Option<Pushed> {
        Some(Pushed {
            digest: self.digest?,
            id: id.clone(),
            uploaded_bytes: self.sizes.iter().sum(),
            reused_blobs: self.reused,
            mounted_blobs: self.mounted,
        })
    }
}

fn bytes(count: Option<i64>) -> Option<u64> {
    count.and_then(|count| u64::try_from(count).ok())
}

/// A refusal in a transfer is the registry's; a broken connection to the engine is not.
fn of_registry(error: DockerError, attempted: String) -> DockerError {
    match error {
        DockerError::Refused { message, .. } => DockerError::Registry { attempted, message },
        other => other,
    }
}

fn may_pass(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let passing = [
        "timeout",
        "tls handshake",
        "connection reset",
        "unexpected eof",
        "500 internal",
        "502 bad",
        "503 service",
        "504 gateway",
        "too many requests",
        "toomanyrequests",
    ];
    passing.iter().any(|reason| message.contains(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_tallied_from_its_lines() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let mut tally = Tally::default();
        for (status, total) in [
            ("The push refers to repository [r.example.com/app]", None),
            ("Preparing", None),
            ("Pushing", Some(100)),
            ("Pushing", Some(100)),
            ("Pushing", Some(30)),
            ("Pushed", None),
            ("Layer already exists", None),
            ("Mounted from base/app", None),
            (&format!("v1: digest: {digest} size: 740"), None),
        ] {
            tally.take(status, total);
        }
        let id: ImageId = digest.parse().unwrap();
        let pushed = tally.pushed(&id).unwrap();
        assert_eq!(
            pushed,
            Pushed { digest: digest.parse().unwrap(), id, uploaded_bytes: 130, reused_blobs: 1, mounted_blobs: 1 }
        );
    }
}
