//! Tag options and an image → what to publish. Pure.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::ids::StageSignature;
use crate::image_ref::{ImageRef, is_tag};
use crate::stage::labels;
use crate::stage::tag::{ImagesRepo, TagStrategy};

/// The tags a run publishes under (publish-and-cleanup.md 4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagOptions {
    pub custom: Vec<String>,
    pub git_branch: Option<String>,
    pub git_tag: Option<String>,
    pub git_commit: Option<String>,
    pub stages_signature: bool,
}

impl TagOptions {
    /// The wanted tags with their strategies, the content-based one last; its tag is `None`.
    ///
    /// # Errors
    /// No tag at all, or one that no registry takes.
    pub fn tags(&self) -> Result<Vec<(TagStrategy, Option<String>)>, Error> {
        let given = |strategy, flag: &'static str, tag: &Option<String>| tag.clone().map(|tag| (strategy, flag, tag));
        let mut tags = Vec::new();
        let custom = self.custom.iter().map(|tag| (TagStrategy::Custom, "--tag-custom", tag.clone()));
        let git = [
            given(TagStrategy::GitBranch, "--tag-git-branch", &self.git_branch),
            given(TagStrategy::GitTag, "--tag-git-tag", &self.git_tag),
            given(TagStrategy::GitCommit, "--tag-git-commit", &self.git_commit),
        ];
        for (strategy, flag, tag) in custom.chain(git.into_iter().flatten()) {
            if !is_tag(&tag) {
                return Err(Error::user(format!("bad {flag} parameter `{tag}` specified: it cannot be a tag"))
                    .hint(format!("make it one: slipway slugify '{}' -f docker-tag", tag.replace('\'', ""))));
            }
            tags.push((strategy, Some(tag)));
        }
        if self.stages_signature {
            tags.push((TagStrategy::StagesSignature, None));
        }
        if tags.is_empty() {
            let text = "tag should be specified with --tag-by-stages-signature, --tag-custom, --tag-git-tag, --tag-git-branch or --tag-git-commit options";
            return Err(Error::user(text).hint("in a GitLab job, `source <(werf ci-env gitlab)` sets one"));
        }
        Ok(tags)
    }
}

/// One image under one tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub image: String,
    pub strategy: TagStrategy,
    pub target: ImageRef,
    pub content_signature: StageSignature,
    /// Labels added to the last stage.
    pub labels: BTreeMap<String, String>,
}

/// What publishing one image means. `last_stage` is the tag of its last stage in the stages storage.
///
/// # Errors
/// A name and tag that do not make an image reference.
pub fn plan(
    repo: &ImagesRepo,
    image: &str,
    content_signature: &StageSignature,
    last_stage: &str,
    tags: &[(TagStrategy, Option<String>)],
) -> Result<Vec<Publication>, Error> {
    let publication = |(strategy, tag): &(TagStrategy, Option<String>)| {
        let tag = tag.clone().unwrap_or_else(|| content_signature.to_string());
        let target = target(repo, image, *strategy, &tag)?;
        let labels = [
            (labels::IS_IMAGE, "true".to_owned()),
            (labels::IMAGE_NAME, image.to_owned()),
            (labels::IMAGE_TAG, tag),
            (labels::TAG_STRATEGY, strategy.to_string()),
            (labels::CONTENT_SIGNATURE, content_signature.to_string()),
            (labels::IMAGE_VERSION, "1".to_owned()),
            (labels::DOCKER_IMAGE_NAME, target.to_string()),
            (labels::PARENT_STAGE, last_stage.to_owned()),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Publication {
            image: image.to_owned(),
            strategy: *strategy,
            target,
            content_signature: content_signature.clone(),
            labels,
        })
    };
    tags.iter().map(publication).collect()
}

/// Whether an image can be published at all, as far as its names tell; asked before anything is built.
///
/// # Errors
/// A name and tag that do not make an image reference.
pub fn check(repo: &ImagesRepo, image: &str, tags: &[(TagStrategy, Option<String>)]) -> Result<(), Error> {
    // Of a tag that is not known yet, its length counts.
    let unknown = "0".repeat(56);
    tags.iter()
        .try_for_each(|(strategy, tag)| target(repo, image, *strategy, tag.as_deref().unwrap_or(&unknown)).map(|_| ()))
}

fn target(repo: &ImagesRepo, image: &str, strategy: TagStrategy, tag: &str) -> Result<ImageRef, Error> {
    repo.published(image, tag).map_err(|error| {
        let image = crate::stage::display_image(image);
        Error::user(format!("cannot publish image {image} by {strategy} tag {tag}: {error}"))
            .hint("--images-repo, the image's name and the tag make the name in the registry")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::tag::RepoMode;

    #[test]
    fn every_tag_has_its_strategy_and_the_content_comes_last() {
        let options = TagOptions {
            custom: vec!["a".into(), "b".into()],
            git_branch: Some("main".into()),
            stages_signature: true,
            ..TagOptions::default()
        };
        let repo = ImagesRepo { address: "registry.example.com/tools".into(), mode: RepoMode::Multirepo };
        let signature: StageSignature = "5".repeat(56).parse().unwrap();
        let list = plan(&repo, "app", &signature, "stage", &options.tags().unwrap()).unwrap();
        let told: Vec<String> = list.iter().map(|item| format!("{} {}", item.strategy, item.target)).collect();
        assert_eq!(
            told,
            [
                "custom registry.example.com/tools/app:a",
                "custom registry.example.com/tools/app:b",
                "git-branch registry.example.com/tools/app:main",
                &format!("stages-signature registry.example.com/tools/app:{signature}"),
            ]
        );
        assert_eq!(list[2].labels["werf-tag-strategy"], "git-branch");
        assert_eq!(list[2].labels["werf-image-tag"], "main");
    }

    #[test]
    fn tags_are_checked_and_never_slugged() {
        let error = TagOptions { git_branch: Some("feature/x".into()), ..TagOptions::default() }.tags().unwrap_err();
        assert_eq!(error.to_string(), "bad --tag-git-branch parameter `feature/x` specified: it cannot be a tag");
        assert!(TagOptions::default().tags().unwrap_err().to_string().starts_with("tag should be specified with"));
    }
}
