//! What is recorded beside the stages: which images the project has had, and which content a commit gave. Each record is
//! an empty image whose name and labels carry the data (publish-and-cleanup.md 3.7).

use std::sync::Arc;

use crate::ids::{CommitId, StageSignature};
use crate::runtime::{ImageChange, Runtime};

const CONTENT_SIGNATURE: &str = "ContentSignature";

/// The records of one project in the local image store.
pub struct Records {
    runtime: Arc<dyn Runtime>,
    project: String,
}

impl Records {
    pub fn new(runtime: Arc<dyn Runtime>, project: &str) -> Self {
        Self { runtime, project: project.to_owned() }
    }

    /// Remembers that the project has this image, so that cleanup still knows it when werf.yaml has dropped it. Names with
    /// upper-case letters are not recorded, as in 1.1.
    pub async fn add_managed_image(&self, image: &str) -> anyhow::Result<()> {
        if image.chars().any(char::is_uppercase) {
            return Ok(());
        }
        let name = format!("werf-managed-images/{}:{}", self.project, encode(image));
        if self.runtime.inspect(&name).await?.is_none() {
            self.write(&name, ImageChange::default()).await?;
        }
        Ok(())
    }

    /// Remembers which content signature a commit gave for an image; an older record of the same commit is replaced.
    pub async fn set_content_signature(
        &self,
        image: &str,
        commit: &CommitId,
        signature: &StageSignature,
    ) -> anyhow::Result<()> {
        if image.chars().any(char::is_uppercase) {
            return Ok(());
        }
        let name = format!("werf-images-metadata-by-commit/{}:{}-{commit}", self.project, encode(image));
        let recorded = self.runtime.inspect(&name).await?;
        if recorded.is_some_and(|image| {
            image.config.labels.get(CONTENT_SIGNATURE).map(String::as_str) == Some(signature.as_str())
        }) {
            return Ok(());
        }
        let labels = [(CONTENT_SIGNATURE.to_owned(), signature.to_string())].into();
        self.write(&name, ImageChange { labels, ..ImageChange::default() }).await
    }

    async fn write(&self, name: &str, mut change: ImageChange) -> anyhow::Result<()> {
        // The name as a label makes two records with equal data two images: dropping one leaves the other.
        change.labels.insert("io.slipway.record".to_owned(), name.to_owned());
        let image = self.runtime.append(None, None, &change).await?;
        self.runtime.tag(&image.id, name).await
    }
}

/// An image name as part of a tag.
fn encode(image: &str) -> String {
    if image.is_empty() {
        return "__nameless__".to_owned();
    }
    image.replace('/', "__slash__").replace('+', "__plus__")
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn names_become_tags() {
        assert_eq!(encode(""), "__nameless__");
        assert_eq!(encode("apps/front+admin"), "apps__slash__front__plus__admin");
    }
}
