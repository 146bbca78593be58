//! What was published, as data and as the JSON of `--publish-report-path` (publish-and-cleanup.md 4.7).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::{Digest, ImageId};
use crate::image_ref::ImageRef;

/// One image under one tag, as it stands in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub image: String,
    pub target: ImageRef,
    /// Digest of the configuration.
    pub id: ImageId,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Pushed in this run; otherwise it was up to date.
    pub pushed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishReport {
    pub published: Vec<Published>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report<'a> {
    images: BTreeMap<&'a str, ReportImage<'a>>,
}

#[derive(Serialize)]
struct ReportImage<'a> {
    #[serde(rename = "WerfImageName")]
    name: &'a str,
    #[serde(rename = "DockerRepo")]
    repository: String,
    #[serde(rename = "DockerTag")]
    tag: &'a str,
    #[serde(rename = "DockerImageID")]
    id: &'a str,
    #[serde(rename = "DockerImageDigest")]
    digest: &'a str,
}

impl PublishReport {
    /// One line of JSON; of several tags of an image the last one wins.
    pub fn json(&self) -> String {
        let images = self
            .published
            .iter()
            .map(|published| {
                let entry = ReportImage {
                    name: &published.image,
                    repository: published.target.name(),
                    tag: published.target.tag.as_deref().unwrap_or_default(),
                    id: published.id.as_str(),
                    digest: published.digest.as_str(),
                };
                (published.image.as_str(), entry)
            })
            .collect();
        let mut text = serde_json::to_string(&Report { images }).unwrap_or_default();
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_keys_of_1_1() {
        let published = Published {
            image: "app".into(),
            target: "registry.example.com/tools/app:v1".parse().unwrap(),
            id: Digest::of(b"config").into(),
            digest: Digest::of(b"manifest"),
            pushed: true,
        };
        let json = PublishReport { published: vec![published] }.json();
        let (id, digest) = (Digest::of(b"config"), Digest::of(b"manifest"));
        assert_eq!(
            json,
            format!(
                "{{\"Images\":{{\"app\":{{\"WerfImageName\":\"app\",\"DockerRepo\":\"registry.example.com/tools/app\",\
                 \"DockerTag\":\"v1\",\"DockerImageID\":\"{id}\",\"DockerImageDigest\":\"{digest}\"}}}}}}\n"
            )
        );
    }
}
