//! Images of the engine.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use bollard::models::{ImageInspect, ImageSummary};
use bollard::query_parameters::{ListImagesOptions, RemoveImageOptions, TagImageOptions};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::load::{NewImage, Platform};
use super::{DockerError, DockerRuntime};
use crate::ids::ImageId;
use crate::image_ref::ImageRef;
use crate::layer::LayerSource;
use crate::runtime::{
    Accounts, BasePolicy, ImageChange, ImageConfig, ImageDescription, ImageFilter, ImageStore, OnProgress, Pushed,
    Resolved, TreeRequest,
};

/// How many images are looked at at a time.
const PARALLEL: usize = 8;
/// Begins the comment of the last step of our images; the parent's id follows.
const PARENT: &str = "slipway: on ";

/// An image as the engine has it.
pub(super) struct LocalImage {
    pub(super) description: ImageDescription,
    pub(super) platform: Platform,
    pub(super) diff_ids: Vec<String>,
    /// `repository@digest` under which registries have it.
    pub(super) repo_digests: Vec<String>,
}

/// What makes a new image of some layers.
pub(super) struct Step {
    /// The image that the new one is said to be based on.
    pub(super) parent: ImageId,
    pub(super) layer: Option<Arc<dyn LayerSource>>,
    /// The whole configuration.
    pub(super) config: ImageConfig,
    /// Milliseconds since 1970, now if not given.
    pub(super) created: Option<i64>,
}

impl LocalImage {
    fn of_engine(image: ImageInspect) -> Result<Self, DockerError> {
        let id = image.id.unwrap_or_default();
        let config = match image.config {
            Some(config) => serde_json::to_value(config).and_then(serde_json::from_value),
            None => Ok(ImageConfig::default()),
        };
        let created = image.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let comment = image.comment.unwrap_or_default();
        let description = ImageDescription {
            parent: comment.strip_prefix(PARENT).and_then(|parent| parent.parse().ok()),
            names: real_names(image.repo_tags.unwrap_or_default()),
            config: config
                .map_err(|error| DockerError::Strange { what: "an image configuration", text: error.to_string() })?,
            created: created.map_or(0, jiff::Timestamp::as_millisecond),
            size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            id: id.parse().map_err(|_| DockerError::Strange { what: "an image id", text: id })?,
        };
        let platform = Platform {
            architecture: image.architecture.unwrap_or_default(),
            variant: image.variant.filter(|variant| !variant.is_empty()),
            os: image.os.unwrap_or_default(),
        };
        let diff_ids = image.root_fs.and_then(|root| root.layers).unwrap_or_default();
        Ok(Self { description, platform, diff_ids, repo_digests: image.repo_digests.unwrap_or_default() })
    }
}

impl DockerRuntime {
    /// The image with this id or name; `None` when there is none.
    pub(super) async fn local(&self, name: &str) -> Result<Option<LocalImage>, DockerError> {
        // The name becomes part of a path of the API.
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte));
        if !plain || name.is_empty() || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Ok(None);
        }
        match self.docker.inspect_image(name).await.map_err(self.failed(format!("look at image `{name}`"))) {
            Ok(image) => LocalImage::of_engine(image).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An image that must be here.
    pub(super) async fn existing(&self, id: &ImageId) -> Result<LocalImage, DockerError> {
        self.local(id.as_str()).await?.ok_or_else(|| DockerError::NoImage { name: id.to_string() })
    }

    /// The layers of an image with one step more.
    pub(super) async fn step(&self, below: &LocalImage, step: Step) -> anyhow::Result<ImageDescription> {
        let image = NewImage {
            below: Some(below.description.id.clone()),
            platform: below.platform.clone(),
            created: step.created.unwrap_or_else(|| self.clock.now()),
            config: step.config,
            history: self.history(&below.description.id, below.diff_ids.len()).await?,
            diff_ids: below.diff_ids.clone(),
            comment: format!("{PARENT}{}", step.parent),
        };
        let id = self.load(image, step.layer).await?;
        Ok(self.existing(&id).await?.description)
    }

    /// Describes an image of a list. Of an image that was listed before, only the names can be others.
    async fn listed(&self, image: ImageSummary) -> Result<Option<ImageDescription>, DockerError> {
        let known = self.listed.lock().unwrap_or_else(PoisonError::into_inner).get(&image.id).cloned();
        if let Some(known) = known {
            return Ok(Some(ImageDescription { names: real_names(image.repo_tags), ..known }));
        }
        let found = self.local(&image.id).await?.map(|found| found.description);
        if let Some(found) = &found {
            self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(image.id, found.clone());
        }
        Ok(found)
    }

    async fn platform(&self) -> Result<Platform, DockerError> {
        let version = self.docker.version().await.map_err(self.failed("ask for the engine's platform"))?;
        Ok(Platform {
            architecture: version.arch.unwrap_or_default(),
            variant: None,
            os: version.os.unwrap_or_default(),
        })
    }

    /// Drops an image without names; somebody else may have given it one or dropped it.
    pub(super) async fn drop_unnamed(&self, id: &str) {
        if let Ok(id) = id.parse() {
            self.end_probe(&id).await;
        }
        let options = RemoveImageOptions { noprune: true, ..Default::default() };
        let _ = self.docker.remove_image(id, Some(options), None).await;
    }
}

#[async_trait]
impl ImageStore for DockerRuntime {
    async fn inspect(&self, name: &str) -> anyhow::Result<Option<ImageDescription>> {
        Ok(self.local(name).await?.map(|image| image.description))
    }

    async fn list(&self, filter: &ImageFilter) -> anyhow::Result<Vec<ImageDescription>> {
        let mut filters = HashMap::new();
        if let Some(repository) = &filter.repository {
            filters.insert("reference".to_owned(), vec![repository.clone()]);
        }
        if !filter.labels.is_empty() {
            filters.insert(
                "label".to_owned(),
                filter.labels.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            );
        }
        let options = ListImagesOptions { filters: Some(filters), ..Default::default() };
        let found = self.docker.list_images(Some(options)).await.map_err(self.failed("list images"))?;
        let found = stream::iter(found.into_iter().map(|image| self.listed(image)));
        let found: Vec<Option<ImageDescription>> = found.buffer_unordered(PARALLEL).try_collect().await?;
        let wanted = |image: &ImageDescription| {
            filter.repository.as_ref().is_none_or(|repository| has_name_in(image, repository))
        };
        let mut images: Vec<ImageDescription> = found.into_iter().flatten().filter(wanted).collect();
        images.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(images)
    }

    async fn base(
        &self,
        reference: &str,
        policy: BasePolicy,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<ImageDescription> {
        Ok(self.base_image(reference, policy, progress).await?)
    }

    async fn append(
        &self,
        parent: Option<&ImageId>,
        layer: Option<Arc<dyn LayerSource>>,
        change: &ImageChange,
    ) -> anyhow::Result<ImageDescription> {
        if let Some(parent) = parent {
            let parent = self.existing(parent).await?;
            let config = parent.description.config.changed(change);
            let step = Step { parent: parent.description.id.clone(), layer, config, created: None };
            return self.step(&parent, step).await;
        }
        let image = NewImage {
            below: None,
            platform: self.platform().await?,
            created: self.clock.now(),
            config: ImageConfig::default().changed(change),
            diff_ids: Vec::new(),
            history: Vec::new(),
            comment: String::new(),
        };
        // The engine keeps no image without layers.
        let layer = layer.unwrap_or_else(|| Arc::new(Vec::new()));
        let id = self.load(image, Some(layer)).await?;
        Ok(self.existing(&id).await?.description)
    }

    async fn tag(&self, id: &ImageId, name: &str) -> anyhow::Result<()> {
        Ok(self.give_name(id, name).await?)
    }

    async fn untag(&self, name: &str) -> anyhow::Result<()> {
        Ok(self.take_name(name).await?)
    }

    async fn accounts(&self, id: &ImageId) -> anyhow::Result<Accounts> {
        self.image_accounts(id).await
    }

    async fn tree(&self, id: &ImageId, request: &TreeRequest) -> anyhow::Result<Option<Arc<dyn LayerSource>>> {
        self.image_tree(id, request).await
    }

    async fn resolve(&self, id: &ImageId, path: &Path) -> anyhow::Result<Option<Resolved>> {
        self.image_path(id, path).await
    }

    async fn is_fetched(&self, id: &ImageId) -> anyhow::Result<bool> {
        Ok(self.existing(id).await.map(|_| true)?)
    }

    /// The engine has all files of every image it knows.
    async fn fetch(&self, id: &ImageId, _: OnProgress<'_>) -> anyhow::Result<()> {
        Ok(self.existing(id).await.map(drop)?)
    }

    async fn push(
        &self,
        id: &ImageId,
        change: &ImageChange,
        target: &ImageRef,
        progress: OnProgress<'_>,
    ) -> anyhow::Result<Pushed> {
        self.push_image(id, change, target, progress).await
    }
}

impl DockerRuntime {
    pub(super) async fn give_name(&self, id: &ImageId, name: &str) -> Result<(), DockerError> {
        let (repository, tag) = split_name(name);
        let options = TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag.to_owned()) };
        let attempted = format!("give image `{id}` the name `{name}`");
        self.docker.tag_image(id.as_str(), Some(options)).await.map_err(self.failed(attempted))
    }

    pub(super) async fn take_name(&self, name: &str) -> Result<(), DockerError> {
        let (repository, tag) = split_name(name);
        let name = if name.contains('@') { name.to_owned() } else { format!("{repository}:{tag}") };
        let Some(image) = self.local(&name).await? else { return Ok(()) };
        self.end_probe(&image.description.id).await;
        let options = RemoveImageOptions { noprune: true, ..Default::default() };
        let removed = self.docker.remove_image(&name, Some(options), None).await;
        match removed.map_err(self.failed(format!("take the name `{name}` away"))) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Without what the engine says where there is no name.
fn real_names(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| !name.contains('<')).collect()
}

fn split_name(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

fn has_name_in(image: &ImageDescription, repository: &str) -> bool {
    image.names.iter().any(|name| split_name(name).0 == repository)
}
