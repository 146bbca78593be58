//! Every label we write on or read from an image, with its meaning (spec/build.md 2.9, publish-and-cleanup.md 4.4).

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Commits, Dependencies, DependencyKind, Position, Positions, StageName, VirtualMerge, signature};
use crate::config::{Mount, MountSource};
use crate::ids::{CommitId, ImageId, StageSignature, hex};
use crate::slug;

/// Project name.
pub const PROJECT: &str = "werf";
/// Version of the tool that made the image.
pub const VERSION: &str = "werf-version";
/// Version of the signature encoding.
pub const CACHE_VERSION: &str = "werf-cache-version";
/// `true` on published images, `false` on stages.
pub const IS_IMAGE: &str = "werf-image";
pub const STAGE_SIGNATURE: &str = "werf-stage-signature";
pub const STAGE_CONTENT_SIGNATURE: &str = "werf-stage-content-signature";
/// HEAD of the project when the stage was built.
pub const PROJECT_COMMIT: &str = "werf-project-repo-commit";
/// The name under which the image was made or published.
pub const DOCKER_IMAGE_NAME: &str = "werf-docker-image-name";
pub const IMAGE_NAME: &str = "werf-image-name";
pub const IMAGE_TAG: &str = "werf-image-tag";
pub const TAG_STRATEGY: &str = "werf-tag-strategy";
pub const CONTENT_SIGNATURE: &str = "werf-content-signature";
pub const IMAGE_VERSION: &str = "werf-image-version";
/// Our own: the stage's name in the image.
pub const STAGE_NAME: &str = "io.slipway.stage";
/// Our own: image of the project the stage was built for.
pub const STAGE_IMAGE: &str = "io.slipway.image";
/// Our own: names and short hashes of the stage's dependencies, for `why` (decisions 3.8).
pub const DEPENDENCIES: &str = "io.slipway.dependencies";
/// Our own: the stage before, by signature, for `why`.
pub const PREVIOUS_SIGNATURE: &str = "io.slipway.previous-signature";
/// Our own: tag of the last stage of a published image, so that cleanup need not know local ids.
pub const PARENT_STAGE: &str = "io.slipway.parent-stage";

/// What a stage image is labelled with.
pub struct StageLabels<'a> {
    pub project: &'a str,
    pub image: &'a str,
    pub stage: StageName,
    pub signature: &'a StageSignature,
    pub previous: Option<&'a StageSignature>,
    pub dependencies: &'a Dependencies,
    pub head: Option<&'a CommitId>,
    /// Where the mappings stand after this stage; empty before the first git-aware one.
    pub positions: &'a Positions,
    /// Ids of mappings of a single file; the others are directories.
    pub file_mappings: &'a [String],
    /// Images that this stage copies from: name, and the image it takes.
    pub imported: &'a [(&'a str, &'a ImageId)],
    pub mounts: &'a [Mount],
}

impl StageLabels<'_> {
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let commits: Commits =
            self.positions.iter().map(|(mapping, position)| (mapping.clone(), position.commit.clone())).collect();
        let content =
            signature::content(signature::Previous { name: self.stage, signature: self.signature, commits: &commits });
        let mut labels: BTreeMap<String, String> = [
            (PROJECT, self.project.to_owned()),
            (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            (CACHE_VERSION, signature::ENCODING.to_owned()),
            (IS_IMAGE, "false".to_owned()),
            (STAGE_SIGNATURE, self.signature.to_string()),
            (STAGE_CONTENT_SIGNATURE, content.to_string()),
            (STAGE_NAME, self.stage.to_string()),
            (STAGE_IMAGE, self.image.to_owned()),
            (DEPENDENCIES, encode_dependencies(self.dependencies)),
            (PREVIOUS_SIGNATURE, self.previous.map(ToString::to_string).unwrap_or_default()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if let Some(head) = self.head {
            labels.insert(PROJECT_COMMIT.to_owned(), head.to_string());
        }
        for (mapping, Position { commit, merge }) in self.positions {
            labels.insert(commit_label(mapping), commit.to_string());
            let virtual_merge = virtual_merge_label(mapping);
            if let Some(VirtualMerge { from, into }) = merge {
                labels.insert(format!("{virtual_merge}-from-commit"), from.to_string());
                labels.insert(format!("{virtual_merge}-into-commit"), into.to_string());
            }
            labels.insert(virtual_merge, merge.is_some().to_string());
            let kind = if self.file_mappings.contains(mapping) { "file" } else { "directory" };
            labels.insert(format!("werf-git-{mapping}-type"), kind.to_owned());
        }
        for (source, image) in self.imported {
            labels.insert(format!("werf-import-{}", slug::limited(source, 42)), image.to_string());
        }
        labels.extend(mounts(self.mounts));
        labels
    }
}

/// The commit a mapping stands at, from the labels of a stage.
pub fn commit(labels: &BTreeMap<String, String>, mapping: &str) -> Option<CommitId> {
    labels.get(&commit_label(mapping))?.parse().ok()
}

/// Where a mapping stands, from the labels of a stage.
pub fn position(labels: &BTreeMap<String, String>, mapping: &str) -> Option<Position> {
    let label = virtual_merge_label(mapping);
    let parent = |name: &str| labels.get(&format!("{label}-{name}-commit"))?.parse().ok();
    // Labels are inherited: those of a merge may be older than this one.
    let merge = match labels.get(&label).map(String::as_str) {
        Some("true") => Some(VirtualMerge { from: parent("from")?, into: parent("into")? }),
        _ => None,
    };
    Some(Position { commit: commit(labels, mapping)?, merge })
}

fn virtual_merge_label(mapping: &str) -> String {
    format!("werf-git-{mapping}-virtual-merge")
}

fn commit_label(mapping: &str) -> String {
    format!("werf-git-{mapping}-commit")
}

fn mounts(mounts: &[Mount]) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for Mount { to, source } in mounts {
        let name = match source {
            MountSource::TmpDir => "werf-mount-type-tmp-dir".to_owned(),
            MountSource::BuildDir => "werf-mount-type-build-dir".to_owned(),
            MountSource::HostPath(path) => format!("werf-mount-type-custom-dir-{}", path.replace('/', "--")),
        };
        let points = labels.entry(name).or_default();
        if !points.is_empty() {
            points.push(';');
        }
        points.push_str(to);
    }
    labels
}

/// The mounts that labels of a stage tell of: an image based on it mounts the same places.
pub fn inherited_mounts(labels: &BTreeMap<String, String>) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for (name, points) in labels {
        let Some(kind) = name.strip_prefix("werf-mount-type-") else { continue };
        let source = match kind {
            "tmp-dir" => MountSource::TmpDir,
            "build-dir" => MountSource::BuildDir,
            kind => match kind.strip_prefix("custom-dir-") {
                Some(path) => MountSource::HostPath(path.replace("--", "/")),
                None => continue,
            },
        };
        let points = points.split(';').filter(|to| to.starts_with('/'));
        mounts.extend(points.map(|to| Mount { to: to.to_owned(), source: source.clone() }));
    }
    mounts
}

/// A dependency as a label keeps it: never the value, only twelve hex digits of its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyMark {
    pub kind: DependencyKind,
    pub name: String,
    pub hash: String,
}

impl DependencyMark {
    pub fn of(dependencies: &Dependencies) -> Vec<Self> {
        let mark = |dependency: &super::Dependency| Self {
            kind: dependency.kind,
            name: dependency.name.chars().take(200).collect(),
            hash: hex(&Sha256::digest(dependency.value.as_bytes()))[..12].to_owned(),
        };
        dependencies.0.iter().map(mark).collect()
    }

    /// What a stage was built from, by its labels; `None` when they do not say.
    pub fn of_labels(labels: &BTreeMap<String, String>) -> Option<Vec<Self>> {
        let list: Vec<(String, String, String)> = serde_json::from_str(labels.get(DEPENDENCIES)?).ok()?;
        list.into_iter()
            .map(|(kind, name, hash)| Some(Self { kind: DependencyKind::parse(&kind)?, name, hash }))
            .collect()
    }
}

fn encode_dependencies(dependencies: &Dependencies) -> String {
    let marks = DependencyMark::of(dependencies);
    let list: Vec<_> = marks.iter().map(|mark| json!([mark.kind.as_str(), mark.name, mark.hash])).collect();
    serde_json::Value::from(list).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_names_and_never_values() {
        let mut dependencies = Dependencies::default();
        dependencies.add(DependencyKind::Command, "1", "curl -u admin:hunter2 https://example.com");
        let signature = signature::stage(StageName::Install, &dependencies, None);
        let commit = |digit: &str| digit.repeat(40).parse().unwrap();
        let merged =
            Position { commit: commit("0"), merge: Some(VirtualMerge { from: commit("1"), into: commit("2") }) };
        let plain = Position { commit: commit("3"), merge: None };
        let positions = Positions::from([("m1".to_owned(), merged.clone()), ("m2".to_owned(), plain.clone())]);
        let mount = |to: &str, source| Mount { to: to.into(), source };
        let labels = StageLabels {
            project: "tools",
            image: "app",
            stage: StageName::Install,
            signature: &signature,
            previous: None,
            dependencies: &dependencies,
            head: None,
            positions: &positions,
            file_mappings: &[],
            imported: &[],
            mounts: &[
                mount("/a", MountSource::TmpDir),
                mount("/b", MountSource::TmpDir),
                mount("/c", MountSource::HostPath("~/x".into())),
            ],
        }
        .to_map();
        assert!(!format!("{labels:?}").contains("hunter2"));
        assert_eq!(labels["werf-mount-type-tmp-dir"], "/a;/b");
        assert_eq!(inherited_mounts(&labels).len(), 3);
        assert_eq!(super::commit(&labels, "m1"), Some(commit("0")));
        assert_eq!(position(&labels, "m1"), Some(merged));
        assert_eq!(position(&labels, "m2"), Some(plain));
        assert_eq!(labels["werf-git-m1-virtual-merge"], "true");
        assert_eq!(labels["werf-git-m1-virtual-merge-from-commit"], "1".repeat(40));
        assert_eq!(labels["werf-git-m1-virtual-merge-into-commit"], "2".repeat(40));
        assert_eq!(labels["werf-git-m2-virtual-merge"], "false");
        assert_eq!(DependencyMark::of_labels(&labels).unwrap(), DependencyMark::of(&dependencies));
    }
}
