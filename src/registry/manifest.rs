//! Manifests and indexes of the OCI image specification and of Docker schema 2: parsed once, strictly. Pure.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::Digest;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// The `Accept` header for manifests: what [`parse`] understands. One line, because some registries read only the first.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest or index as the registry gave it, its digest already checked.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// As the registry declared it, without parameters; empty when it said nothing.
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Bytes,
}

/// What a manifest document can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    Image(Manifest),
    Index(Index),
}

/// One image: its configuration and its layers, lowest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub config: Descriptor,
    #[serde(deserialize_with = "null_is_empty")]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The images of one name for several platforms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A reference to content. `urls` are not followed: content comes from the registry that named it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Operating system and architecture as Go names them: `linux/amd64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("it cannot be read: {0}")]
    Json(String),
    #[error("media type `{0}` is not supported")]
    MediaType(String),
    #[error("it is declared as `{declared}`, but says itself `{own}`")]
    Contradiction { declared: String, own: String },
    #[error("it has the fields of both an image and an index")]
    Confused,
    #[error("it lacks the field `{0}`")]
    Missing(&'static str),
    #[error("it has no image for platform {wanted}; there are: {present}")]
    NoPlatform { wanted: Platform, present: String },
    #[error("its indexes are nested deeper than {0}")]
    TooDeep(usize),
}

impl FetchedManifest {
    /// The content, when declared media type, own media type and fields agree (spec/hostile-inputs.md 16).
    pub fn parse(&self) -> Result<Document, ManifestError> {
        parse(&self.media_type, &self.bytes)
    }
}

/// Reads a manifest document. `declared` is the media type of the answer; one that is missing or says only "JSON" or
/// "bytes" leaves the word to the document.
pub fn parse(declared: &str, bytes: &[u8]) -> Result<Document, ManifestError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.to_string()))?;
    let own = value.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    let declared = match declared {
        "application/json" | "application/octet-stream" | "text/plain" => "",
        other => other,
    };
    if !declared.is_empty() && !own.is_empty() && declared != own {
        return Err(ManifestError::Contradiction { declared: shown(declared), own: shown(own) });
    }
    let has = |name| value.get(name).is_some_and(|field| !field.is_null());
    if has("manifests") && (has("config") || has("layers")) {
        return Err(ManifestError::Confused);
    }
    match if declared.is_empty() { own } else { declared } {
        OCI_MANIFEST | DOCKER_MANIFEST => image(value),
        OCI_INDEX | DOCKER_LIST => index(value),
        // An OCI document may leave its media type out.
        "" if has("manifests") => index(value),
        "" if has("config") && has("layers") => image(value),
        "" => Err(ManifestError::Missing("mediaType")),
        other => Err(ManifestError::MediaType(shown(other))),
    }
}

impl Index {
    /// The first entry for a platform. An entry without variant serves every variant; an entry with one serves a wish
    /// without.
    pub fn select(&self, wanted: &Platform) -> Result<&Descriptor, ManifestError> {
        let serves = |entry: &&Descriptor| {
            entry.platform.as_ref().is_some_and(|platform| {
                platform.os == wanted.os
                    && platform.architecture == wanted.architecture
                    && (platform.variant.is_none() || wanted.variant.is_none() || platform.variant == wanted.variant)
            })
        };
        self.manifests.iter().find(serves).ok_or_else(|| {
            let present = self.manifests.iter().filter_map(|entry| entry.platform.as_ref());
            let present: Vec<String> = present.take(20).map(|platform| shown(&platform.to_string())).collect();
            let present = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
            ManifestError::NoPlatform { wanted: wanted.clone(), present }
        })
    }
}

impl Manifest {
    /// The document to push. Field order is fixed, so equal manifests give equal digests.
    pub fn to_bytes(&self) -> Bytes {
        // A struct of texts and numbers always serializes.
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }
}

impl Platform {
    /// Linux on the architecture of this host.
    pub fn of_host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

/// Some tools write `null` where they mean nothing.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn image(value: Value) -> Result<Document, ManifestError> {
    for name in ["config", "layers"] {
        if value.get(name).is_none() {
            return Err(ManifestError::Missing(name));
        }
    }
    serde_json::from_value(value).map(Document::Image).map_err(|error| ManifestError::Json(error.to_string()))
}

fn index(value: Value) -> Result<Document, ManifestError> {
    if value.get("manifests").is_none() {
        return Err(ManifestError::Missing("manifests"));
    }
    serde_json::from_value(value).map(Document::Index).map_err(|error| ManifestError::Json(error.to_string()))
}

fn shown(text: &str) -> String {
    super::error::printable(text, 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn descriptor(media_type: &str, platform: Value) -> Value {
        json!({ "mediaType": media_type, "digest": format!("sha256:{}", "a".repeat(64)), "size": 3, "platform": platform })
    }

    fn image_value() -> Value {
        json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG, Value::Null), "layers": [] })
    }

    fn index_value() -> Value {
        let entry = |os: &str, arch: &str, variant: Option<&str>| {
            descriptor(OCI_MANIFEST, json!({ "os": os, "architecture": arch, "variant": variant }))
        };
        json!({ "schemaVersion": 2, "manifests": [
            entry("windows", "amd64", None), entry("linux", "arm", Some("v6")), entry("linux", "arm", Some("v7")),
            entry("linux", "amd64", None), entry("unknown", "unknown", None),
        ]})
    }

    /// Hostile inputs 16.
    #[test]
    fn a_document_is_one_thing_only() {
        let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
        assert!(matches!(parse(OCI_MANIFEST, &bytes(&image_value())), Ok(Document::Image(_))));
        assert!(matches!(parse("", &bytes(&image_value())), Ok(Document::Image(_))));
        assert!(matches!(parse("application/json", &bytes(&index_value())), Ok(Document::Index(_))));

        let mut confused = index_value();
        confused["config"] = descriptor(OCI_CONFIG, Value::Null);
        let mut negative = image_value();
        negative["config"]["size"] = json!(-1);
        let mut weak = image_value();
        weak["config"]["digest"] = json!("sha1:00");
        let mut typed_index = index_value();
        typed_index["mediaType"] = json!(OCI_INDEX);
        let schema1 = json!({ "schemaVersion": 1, "fsLayers": [] });
        let errors: Vec<String> = [
            (OCI_INDEX, bytes(&confused)),
            (OCI_MANIFEST, bytes(&typed_index)),
            (OCI_MANIFEST, bytes(&index_value())),
            (OCI_MANIFEST, bytes(&negative)),
            (OCI_MANIFEST, bytes(&weak)),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", bytes(&schema1)),
            ("", bytes(&schema1)),
            ("text/html", b"<html>".to_vec()),
        ]
        .into_iter()
        .map(|(declared, bytes)| parse(declared, &bytes).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(errors.join("\n"), @r"
        it has the fields of both an image and an index
        it is declared as `application/vnd.oci.image.manifest.v1+json`, but says itself `application/vnd.oci.image.index.v1+json`
        it lacks the field `config`
        it cannot be read: invalid value: integer `-1`, expected u64
        it cannot be read: `sha1:00` is not a digest (`sha256:` and 64 hex digits)
        media type `application/vnd.docker.distribution.manifest.v1+prettyjws` is not supported
        it lacks the field `mediaType`
        it cannot be read: expected value at line 1 column 1
        ");
    }

    #[test]
    fn a_platform_is_selected_by_variant_only_when_one_is_wanted() {
        let Ok(Document::Index(index)) = parse("", &serde_json::to_vec(&index_value()).unwrap()) else { panic!() };
        let wanted = |architecture: &str, variant: Option<&str>| Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        };
        for (wanted, expected) in [
            (wanted("amd64", None), 3),
            (wanted("amd64", Some("v2")), 3),
            (wanted("arm", None), 1),
            (wanted("arm", Some("v7")), 2),
        ] {
            assert_eq!(index.select(&wanted).unwrap(), &index.manifests[expected], "{wanted}");
        }
        insta::assert_snapshot!(index.select(&wanted("riscv64", None)).unwrap_err(), @"it has no image for platform linux/riscv64; there are: windows/amd64, linux/arm/v6, linux/arm/v7, linux/amd64, unknown/unknown");
    }
}
