//! The typed project. Every value here has passed its checks: nothing below this needs to validate again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A whole werf.yaml.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub meta: Meta,
    /// Stapel images and artifacts and Dockerfile images in the order of the file; a section with a list of names is here
    /// once for each name.
    pub images: Vec<Image>,
}

impl Config {
    /// The image or artifact with this name; the nameless image is `""`.
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.name() == name)
    }
}

/// The first section: the project as a whole (spec/build.md 1.4).
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    pub project: String,
    pub deploy: Deploy,
    /// `None`: the built-in policies apply.
    pub keep_policies: Option<Vec<KeepPolicy>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deploy {
    /// Templates with `[[ ]]`.
    pub helm_release: Option<String>,
    pub helm_release_slug: Option<bool>,
    pub namespace: Option<String>,
    pub namespace_slug: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct KeepPolicy {
    pub references: References,
    pub images_per_reference: Limit,
}

#[derive(Clone, Debug, PartialEq)]
pub struct References {
    pub pattern: ReferencePattern,
    pub limit: Limit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferencePattern {
    /// A regular expression over tag names, not anchored unless it says so.
    Tag(String),
    /// The same over branch names.
    Branch(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    pub last: Option<i64>,
    pub within: Option<Duration>,
    pub operator: Option<Operator>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    And,
    Or,
}

#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a project has few images, and they are read everywhere")]
pub enum Image {
    Stapel(StapelImage),
    Dockerfile(DockerfileImage),
}

impl Image {
    /// `""` for the nameless image.
    pub fn name(&self) -> &str {
        match self {
            Self::Stapel(image) => &image.name,
            Self::Dockerfile(image) => &image.name,
        }
    }

    pub fn is_artifact(&self) -> bool {
        matches!(self, Self::Stapel(StapelImage { artifact: true, .. }))
    }
}

/// An image or artifact built in stages (spec/build.md 1.6).
#[derive(Clone, Debug, PartialEq)]
pub struct StapelImage {
    pub name: String,
    pub artifact: bool,
    pub from: Base,
    pub from_latest: bool,
    pub from_cache_version: String,
    /// Local mappings first, then remote ones, each in the order of the file.
    pub git: Vec<GitMapping>,
    pub builder: Builder,
    pub mounts: Vec<Mount>,
    pub imports: Vec<Import>,
    /// `None` when there is no `docker` section; then there is no dockerInstructions stage.
    pub docker: Option<Docker>,
    pub as_layers: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// `from`: a registry reference as written.
    Registry(String),
    /// `fromImage` or `fromImageArtifact`: the name of another section.
    Image(String),
}

/// One entry of `git` (spec/build.md 1.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitMapping {
    /// `None`: the project's own repository.
    pub remote: Option<GitRemote>,
    /// In the repository, without the leading slash; `""` is its root. A directory or a file.
    pub add: String,
    /// Absolute path in the image, cleaned.
    pub to: String,
    /// Name or number; empty is root.
    pub owner: String,
    pub group: String,
    /// Patterns relative to `add`.
    pub include_paths: Vec<String>,
    /// With what the overlap rules (1.9) added.
    pub exclude_paths: Vec<String>,
    pub stage_dependencies: StageDependencies,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRemote {
    pub url: String,
    /// `company/name`: the last two components of the path of the URL.
    pub name: String,
    pub reference: GitReference,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GitReference {
    /// HEAD of the clone.
    Default,
    Branch(String),
    Tag(String),
    Commit(String),
}

/// Patterns whose files decide about a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageDependencies {
    pub install: Vec<String>,
    pub before_setup: Vec<String>,
    pub setup: Vec<String>,
}

/// The user stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserStage {
    BeforeInstall,
    Install,
    BeforeSetup,
    Setup,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Builder {
    None,
    Shell(Shell),
    Ansible(Ansible),
}

/// Commands by user stage; a stage without any entry has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shell {
    pub commands: BTreeMap<UserStage, Vec<String>>,
    pub cache_versions: CacheVersions,
}

/// Tasks by user stage, as they stand in the file (key order kept).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ansible {
    pub tasks: BTreeMap<UserStage, Vec<serde_yaml::Value>>,
    pub cache_versions: CacheVersions,
}

/// Salts that rebuild stages by hand; empty means none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheVersions {
    /// For all four stages.
    pub all: String,
    pub by_stage: BTreeMap<UserStage, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path in the container, cleaned.
    pub to: String,
    pub source: MountSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// Empty for each build of an image.
    TmpDir,
    /// Kept between builds, shared by the project's images.
    BuildDir,
    /// A path of the host as written: absolute, relative to the project, or with `~`.
    HostPath(String),
}

/// One entry of `import` (spec/build.md 1.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Name of the image or artifact.
    pub source: String,
    /// A stage of the source; `None` is its last.
    pub stage: Option<UserStage>,
    pub when: ImportTime,
    /// Absolute path in the source, cleaned.
    pub add: String,
    pub to: String,
    pub owner: String,
    pub group: String,
    pub include_paths: Vec<String>,
    pub exclude_paths: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImportTime {
    BeforeInstall,
    AfterInstall,
    BeforeSetup,
    AfterSetup,
}

/// The `docker` section (spec/build.md 1.12); `None` and empty lists were not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Docker {
    pub volume: Vec<String>,
    pub expose: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub label: BTreeMap<String, String>,
    pub cmd: Option<Command>,
    pub entrypoint: Option<Command>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    /// As in a Dockerfile: `--interval=5s CMD curl …` or `NONE`.
    pub healthcheck: Option<String>,
}

/// `CMD` and `ENTRYPOINT`: a string goes through `/bin/sh -c`, a list is run as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Shell(String),
    Exec(Vec<String>),
}

/// An image from a Dockerfile (spec/build.md 1.14). Paths are relative to the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileImage {
    pub name: String,
    pub dockerfile: PathBuf,
    pub context: PathBuf,
    pub target: Option<String>,
    pub args: BTreeMap<String, String>,
    pub add_host: Vec<String>,
    pub network: String,
    pub ssh: String,
}
