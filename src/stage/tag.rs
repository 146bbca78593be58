//! What a published image is called: tag strategies and the layout of the images repo (publish-and-cleanup.md 3.2, 4.2).

use std::fmt;

use crate::image_ref::{ImageRef, InvalidImageRef};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TagStrategy {
    Custom,
    GitBranch,
    GitTag,
    GitCommit,
    StagesSignature,
}

impl fmt::Display for TagStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Custom => "custom",
            Self::GitBranch => "git-branch",
            Self::GitTag => "git-tag",
            Self::GitCommit => "git-commit",
            Self::StagesSignature => "stages-signature",
        })
    }
}

/// Where the names of images go: into the repository or into the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoMode {
    Multirepo,
    Monorepo,
}

/// The images repo of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagesRepo {
    /// Address without trailing slash, as the user gave it.
    pub address: String,
    pub mode: RepoMode,
}

impl ImagesRepo {
    /// Where an image is published under a tag. The nameless image is `""`.
    ///
    /// # Errors
    /// When address, name and tag together do not make an image reference: upper-case letters, more than 128 characters.
    pub fn published(&self, image: &str, tag: &str) -> Result<ImageRef, InvalidImageRef> {
        let (repository, tag) = match (self.mode, image) {
            (_, "") => (self.address.clone(), tag.to_owned()),
            (RepoMode::Multirepo, image) => (format!("{}/{image}", self.address), tag.to_owned()),
            (RepoMode::Monorepo, image) => (self.address.clone(), format!("{image}-{tag}")),
        };
        format!("{repository}:{tag}").parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_into_the_repository_or_into_the_tag() {
        let published = |mode, image: &str| {
            ImagesRepo { address: "registry.example.com/tools".into(), mode }
                .published(image, "v1")
                .unwrap()
                .to_string()
        };
        assert_eq!(published(RepoMode::Multirepo, "app"), "registry.example.com/tools/app:v1");
        assert_eq!(published(RepoMode::Multirepo, ""), "registry.example.com/tools:v1");
        assert_eq!(published(RepoMode::Monorepo, "app"), "registry.example.com/tools:app-v1");
        assert_eq!(published(RepoMode::Monorepo, ""), "registry.example.com/tools:v1");
    }

    #[test]
    fn a_name_that_no_registry_takes_is_an_error() {
        let repo = ImagesRepo { address: "registry.example.com/tools".into(), mode: RepoMode::Multirepo };
        assert!(repo.published("../x", "v1").is_err());
        assert!(repo.published("App", "v1").is_err());
    }
}
