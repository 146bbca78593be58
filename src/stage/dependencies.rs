//! What one stage depends on, as named values: hashed they give the signature, compared they tell why a stage is rebuilt.

use serde_json::json;

use super::mapping;
use crate::config::{
    Ansible, Base, Builder, CacheVersions, Command, Docker, GitMapping, Import, Mount, MountSource, Shell, StapelImage,
    UserStage,
};
use crate::ids::StageSignature;

/// What sort of thing a stage depends on; the text stands in the stage's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependencyKind {
    Base,
    CacheVersion,
    Mount,
    Command,
    Task,
    /// A pattern of `stageDependencies`.
    Files,
    /// A git mapping's own parameters.
    Mapping,
    /// What changed in a mapping since the stage before.
    Patch,
    PatchSize,
    Import,
    Instruction,
}

const KINDS: [(DependencyKind, &str); 11] = [
    (DependencyKind::Base, "base"),
    (DependencyKind::CacheVersion, "cacheVersion"),
    (DependencyKind::Mount, "mount"),
    (DependencyKind::Command, "command"),
    (DependencyKind::Task, "task"),
    (DependencyKind::Files, "files"),
    (DependencyKind::Mapping, "mapping"),
    (DependencyKind::Patch, "patch"),
    (DependencyKind::PatchSize, "patchSize"),
    (DependencyKind::Import, "import"),
    (DependencyKind::Instruction, "instruction"),
];

impl DependencyKind {
    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, text)| text)
    }

    pub fn parse(text: &str) -> Option<Self> {
        KINDS.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind)
    }
}

/// One thing a stage depends on: its sort, which one it is, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub kind: DependencyKind,
    /// Which one, for people: `1`, `ENV PATH`, `requirements.txt`.
    pub name: String,
    /// Everything of it that counts, encoded so that two different things never give the same text.
    pub value: String,
}

/// All of a stage's dependencies, in the order that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies(pub Vec<Dependency>);

impl Dependencies {
    pub fn add(&mut self, kind: DependencyKind, name: impl Into<String>, value: impl Into<String>) {
        self.0.push(Dependency { kind, name: name.into(), value: value.into() });
    }
}

/// What a `from` stage depends on. `source` is the signature of the image it is based on, for `fromImage`;
/// `registry_id` what the registry says of the base, for `fromLatest` only.
pub fn from(image: &StapelImage, source: Option<&StageSignature>, registry_id: Option<&str>) -> Dependencies {
    let mut all = Dependencies::default();
    if !image.from_cache_version.is_empty() {
        all.add(DependencyKind::CacheVersion, "fromCacheVersion", &image.from_cache_version);
    }
    if let Some(id) = registry_id {
        all.add(DependencyKind::Base, "fromLatest", id);
    }
    for Mount { to, source } in &image.mounts {
        let value = match source {
            MountSource::TmpDir => json!(["tmp_dir"]),
            MountSource::BuildDir => json!(["build_dir"]),
            MountSource::HostPath(path) => json!(["fromPath", path]),
        };
        all.add(DependencyKind::Mount, to, value.to_string());
    }
    match (&image.from, source) {
        (Base::Image(name), Some(signature)) => {
            all.add(DependencyKind::Base, format!("image {name}"), signature.as_str())
        }
        (Base::Image(name), None) => all.add(DependencyKind::Base, format!("image {name}"), ""),
        (Base::Registry(reference), _) => all.add(DependencyKind::Base, "from", reference),
    }
    all
}

/// What a user stage depends on. `files` holds, for each mapping with `stageDependencies` for this stage, the pattern
/// and the checksum of what it matches (empty when it matches nothing).
pub fn user_stage(builder: &Builder, stage: UserStage, files: &[FilesFact]) -> Dependencies {
    let mut all = Dependencies::default();
    match builder {
        Builder::None => {}
        Builder::Shell(Shell { commands, cache_versions }) => {
            for (index, command) in commands.get(&stage).into_iter().flatten().enumerate() {
                all.add(DependencyKind::Command, (index + 1).to_string(), command);
            }
            add_cache_versions(&mut all, cache_versions, stage);
        }
        Builder::Ansible(Ansible { tasks, cache_versions }) => {
            for (index, task) in tasks.get(&stage).into_iter().flatten().enumerate() {
                let name = task.get("name").and_then(serde_yaml::Value::as_str).unwrap_or_default();
                let name = if name.is_empty() { (index + 1).to_string() } else { format!("{} {name}", index + 1) };
                all.add(DependencyKind::Task, name, sorted_json(task).to_string());
            }
            add_cache_versions(&mut all, cache_versions, stage);
        }
    }
    for fact in files {
        all.add(DependencyKind::Files, &fact.pattern, json!([fact.mapping, fact.checksum]).to_string());
    }
    all
}

/// The checksum of what one `stageDependencies` pattern matches in one mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesFact {
    /// Id of the mapping.
    pub mapping: String,
    pub pattern: String,
    /// Empty when nothing matches.
    pub checksum: String,
}

fn add_cache_versions(all: &mut Dependencies, versions: &CacheVersions, stage: UserStage) {
    if let Some(version) = versions.by_stage.get(&stage).filter(|version| !version.is_empty()) {
        all.add(DependencyKind::CacheVersion, format!("{}CacheVersion", super::stage_of(stage)), version);
    }
    if !versions.all.is_empty() {
        all.add(DependencyKind::CacheVersion, "cacheVersion", &versions.all);
    }
}

/// What gitArchive depends on: the mappings' parameters, neither commit nor content.
pub fn git_archive(mappings: &[GitMapping]) -> Dependencies {
    let mut all = Dependencies::default();
    for mapping in mappings {
        all.add(DependencyKind::Mapping, mapping::display(mapping), mapping::id(mapping));
    }
    all
}

/// What gitCache depends on: how many MiB the patches make together.
pub fn git_cache(patch_bytes: u64) -> Dependencies {
    let mut all = Dependencies::default();
    all.add(DependencyKind::PatchSize, "MiB", (patch_bytes / GIT_CACHE_STEP).to_string());
    all
}

/// Patches smaller than this, in bytes, make no gitCache stage (spec/build.md 2.2).
pub const GIT_CACHE_STEP: u64 = 1024 * 1024;

/// What gitLatestPatch depends on: what changed in each mapping, by the mapping's display name and the patch's checksum
/// (empty when nothing changed).
pub fn git_latest_patch(patches: &[(String, String)]) -> Dependencies {
    let mut all = Dependencies::default();
    for (mapping, checksum) in patches {
        all.add(DependencyKind::Patch, mapping, checksum);
    }
    all
}

/// What an imports stage depends on: for each import its parameters and the signature of what it imports from.
pub fn imports(imports: &[(&Import, &StageSignature)]) -> Dependencies {
    let mut all = Dependencies::default();
    for (import, source) in imports {
        let Import { add, to, owner, group, include_paths, exclude_paths, stage, .. } = import;
        let stage = stage.map(|stage| super::stage_of(stage).as_str());
        let value = json!([source.as_str(), add, to, owner, group, include_paths, exclude_paths, stage]);
        all.add(
            DependencyKind::Import,
            format!("{} {add} -> {to}", super::display_image(&import.source)),
            value.to_string(),
        );
    }
    all
}

/// What dockerInstructions depends on: every instruction of the `docker` section.
pub fn docker_instructions(docker: &Docker) -> Dependencies {
    let mut all = Dependencies::default();
    let mut instruction = |name: String, value: String| all.add(DependencyKind::Instruction, name, value);
    for volume in &docker.volume {
        instruction(format!("VOLUME {volume}"), volume.clone());
    }
    for port in &docker.expose {
        instruction(format!("EXPOSE {port}"), port.clone());
    }
    for (name, value) in &docker.env {
        instruction(format!("ENV {name}"), value.clone());
    }
    for (name, value) in &docker.label {
        instruction(format!("LABEL {name}"), value.clone());
    }
    for (name, command) in [("CMD", &docker.cmd), ("ENTRYPOINT", &docker.entrypoint)] {
        match command {
            Some(Command::Shell(text)) => instruction(name.into(), json!(text).to_string()),
            Some(Command::Exec(words)) => instruction(name.into(), json!(words).to_string()),
            None => {}
        }
    }
    for (name, value) in [("WORKDIR", &docker.workdir), ("USER", &docker.user), ("HEALTHCHECK", &docker.healthcheck)] {
        if let Some(value) = value {
            instruction(name.into(), value.clone());
        }
    }
    all
}

/// A task as JSON with sorted keys, so that the order of keys in the file does not count.
fn sorted_json(value: &serde_yaml::Value) -> serde_json::Value {
    use serde_yaml::Value as Yaml;
    match value {
        Yaml::Mapping(mapping) => {
            let mut pairs: Vec<(String, serde_json::Value)> =
                mapping.iter().map(|(key, value)| (sorted_json(key).to_string(), sorted_json(value))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            serde_json::Value::Object(pairs.into_iter().collect())
        }
        Yaml::Sequence(items) => items.iter().map(sorted_json).collect(),
        Yaml::Tagged(tagged) => json!([tagged.tag.to_string(), sorted_json(&tagged.value)]),
        Yaml::Null => serde_json::Value::Null,
        Yaml::Bool(value) => json!(value),
        Yaml::Number(number) => json!(number.to_string()),
        Yaml::String(text) => json!(text),
    }
}
