//! Groups of flags that several commands share. The help text is the documentation; each flag names its variable.

use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use clap::{ArgAction, Args};

/// Where the project is (spec/publish-and-cleanup.md 8.3).
#[derive(Clone, Debug, Default, Args)]
pub struct ProjectFlags {
    /// Project directory; relative paths count from the current directory [$WERF_DIR]
    #[arg(long, env = "WERF_DIR", hide_env = true, value_parser = path(), value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Configuration file [$WERF_CONFIG, default: werf.yml, then werf.yaml in the project]
    #[arg(long, env = "WERF_CONFIG", hide_env = true, value_parser = path(), value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory with werf.yaml templates [$WERF_CONFIG_TEMPLATES_DIR, default: .werf in the project]
    #[arg(long, env = "WERF_CONFIG_TEMPLATES_DIR", hide_env = true, value_parser = path(), value_name = "DIR")]
    pub config_templates_dir: Option<PathBuf>,
}

/// How much is said, and in which form (spec/build.md 6.3).
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Log")]
pub struct LogFlags {
    /// Say only what went wrong [$WERF_LOG_QUIET]
    #[arg(long, alias = "quiet", global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub log_quiet: Option<bool>,
    /// Say more: git, lookups, decisions [$WERF_LOG_VERBOSE]
    #[arg(long, alias = "verbose", global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub log_verbose: Option<bool>,
    /// Say everything, each line with the elapsed time [$WERF_LOG_DEBUG]
    #[arg(long, alias = "debug", global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub log_debug: Option<bool>,
    /// Boxes, emoji and wrapping; `--log-pretty=false` for plain lines [$WERF_LOG_PRETTY, default: true]
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub log_pretty: Option<bool>,
    /// Colours: auto (on a terminal), on or off [$WERF_LOG_COLOR_MODE, default: auto]
    #[arg(long, global = true, value_name = "MODE")]
    pub log_color_mode: Option<String>,
    /// Columns of the log; -1 is the terminal's width, or 140 without one [$WERF_LOG_TERMINAL_WIDTH, default: -1]
    #[arg(long, global = true, allow_hyphen_values = true, value_name = "COLUMNS")]
    pub log_terminal_width: Option<i64>,
}

/// Where temporary and kept files go.
#[derive(Clone, Debug, Default, Args)]
pub struct PlaceFlags {
    /// Directory for temporary files [$WERF_TMP_DIR wins; default: the system's]
    #[arg(long, value_name = "DIR")]
    pub tmp_dir: Option<PathBuf>,
    /// Home of the user's own files: keys, cleanup defaults [$WERF_HOME wins; default: ~/.werf]
    #[arg(long, value_name = "DIR")]
    pub home_dir: Option<PathBuf>,
}

/// Where stages are kept and with what rights registries are asked.
#[derive(Clone, Debug, Default, Args)]
pub struct StorageFlags {
    /// Where stages are kept, required: `:local` for the store of this host's container runtime [$WERF_STAGES_STORAGE]
    #[arg(short = 's', long, value_name = "ADDRESS")]
    pub stages_storage: Option<String>,
    /// How processes on several hosts agree; for `:local` it is `:local` [$WERF_SYNCHRONIZATION]
    #[arg(short = 'S', long, value_name = "ADDRESS")]
    pub synchronization: Option<String>,
    /// Directory with the docker client's config.json [$WERF_DOCKER_CONFIG, $DOCKER_CONFIG, default: ~/.docker]
    #[arg(long, value_name = "DIR")]
    pub docker_config: Option<PathBuf>,
    /// Talk plain HTTP to registries [$WERF_INSECURE_REGISTRY]; loopback registries need no flag
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    pub insecure_registry: bool,
    /// Do not verify certificates of registries [$WERF_SKIP_TLS_VERIFY_REGISTRY]
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    pub skip_tls_verify_registry: bool,
    #[command(flatten)]
    pub accepted: AcceptedFlags,
}

/// Flags of werf 1.1 that building does not need: accepted, so that command lines run unchanged.
#[derive(Clone, Debug, Default, Args)]
pub struct AcceptedFlags {
    #[arg(long, hide = true)]
    repo_implementation: Option<String>,
    #[arg(long, hide = true)]
    stages_storage_repo_implementation: Option<String>,
    #[arg(long, hide = true)]
    repo_docker_hub_username: Option<String>,
    #[arg(long, hide = true)]
    repo_docker_hub_password: Option<String>,
    #[arg(long, hide = true)]
    repo_docker_hub_token: Option<String>,
    #[arg(long, hide = true)]
    repo_github_token: Option<String>,
    #[arg(long, hide = true)]
    repo_harbor_username: Option<String>,
    #[arg(long, hide = true)]
    repo_harbor_password: Option<String>,
    #[arg(long, hide = true)]
    repo_quay_token: Option<String>,
    #[arg(long, hide = true)]
    stages_storage_repo_docker_hub_username: Option<String>,
    #[arg(long, hide = true)]
    stages_storage_repo_docker_hub_password: Option<String>,
    #[arg(long, hide = true)]
    stages_storage_repo_docker_hub_token: Option<String>,
    #[arg(long, hide = true)]
    stages_storage_repo_github_token: Option<String>,
    #[arg(long, hide = true)]
    stages_storage_repo_harbor_username: Option<String>,
    #[arg(long, hide = true)]
    stages_storage_repo_harbor_password: Option<String>,
    #[arg(long, hide = true)]
    stages_storage_repo_quay_token: Option<String>,
    #[arg(long, hide = true)]
    kube_config: Option<String>,
    #[arg(long, hide = true)]
    kube_config_base64: Option<String>,
    #[arg(long, hide = true)]
    kube_context: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    log_project_dir: Option<bool>,
}

/// How the git history may look and how git servers are asked.
#[derive(Clone, Debug, Default, Args)]
pub struct GitFlags {
    /// Fetch the rest of a shallow clone first [$WERF_GIT_UNSHALLOW]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub git_unshallow: Option<bool>,
    /// Build from a shallow clone; stages of commits that it lacks cannot be reused [$WERF_ALLOW_GIT_SHALLOW_CLONE]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub allow_git_shallow_clone: Option<bool>,
    /// HEAD is a merge that the CI system made for this pipeline only: stages are reused by the history of what it merged
    /// [$WERF_VIRTUAL_MERGE]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub virtual_merge: Option<bool>,
    /// Commit that such a HEAD merges [$WERF_VIRTUAL_MERGE_FROM_COMMIT, default: its second parent]
    #[arg(long, value_name = "COMMIT")]
    pub virtual_merge_from_commit: Option<String>,
    /// Commit that it merges into [$WERF_VIRTUAL_MERGE_INTO_COMMIT, default: its first parent]
    #[arg(long, value_name = "COMMIT")]
    pub virtual_merge_into_commit: Option<String>,
    /// Private key for git over ssh, repeatable [$WERF_SSH_KEY_*, default: the ssh agent, ~/.ssh]
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Vec<PathBuf>,
}

/// What every command that works with stages asks for.
#[derive(Clone, Debug, Default, Args)]
pub struct GroundFlags {
    #[command(flatten)]
    pub project: ProjectFlags,
    #[command(flatten)]
    pub places: PlaceFlags,
    #[command(flatten)]
    pub storage: StorageFlags,
    #[command(flatten)]
    pub git: GitFlags,
}

/// How many images are built at once, and when a shell is opened.
#[derive(Clone, Debug, Default, Args)]
pub struct BuildFlags {
    /// Build images side by side [$WERF_PARALLEL, default: true]
    #[arg(short = 'p', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub parallel: Option<bool>,
    /// At most this many images at once; 0 is without limit [$WERF_PARALLEL_TASKS_LIMIT, default: 5]
    #[arg(long, allow_hyphen_values = true, value_name = "COUNT")]
    pub parallel_tasks_limit: Option<i64>,
    /// When a command fails, open a shell in the state it left
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    pub introspect_error: bool,
    /// When a command fails, open a shell in the state before it
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    pub introspect_before_error: bool,
    /// Open a shell in a stage, `IMAGE/STAGE` or `STAGE`; `~` is the nameless image, `*` any; repeatable
    #[arg(long, value_name = "[IMAGE/]STAGE")]
    pub introspect_stage: Vec<String>,
}

/// Where images are published and under which tags.
#[derive(Clone, Debug, Default, Args)]
pub struct PublishFlags {
    /// Registry repository that images are published to, required: `registry.example.com/team/app` [$WERF_IMAGES_REPO]
    #[arg(short = 'i', long, value_name = "REPO")]
    pub images_repo: Option<String>,
    /// `multirepo` (REPO/image:tag), `monorepo` (REPO:image-tag) or `auto`: what the registry can [$WERF_IMAGES_REPO_MODE, default: auto]
    #[arg(long, value_name = "MODE")]
    pub images_repo_mode: Option<String>,
    /// Kind of registry of the images repo [$WERF_IMAGES_REPO_IMPLEMENTATION, $WERF_REPO_IMPLEMENTATION, default: by its host]
    #[arg(long, visible_alias = "images-repo-repo-implementation", value_name = "NAME")]
    pub images_repo_implementation: Option<String>,
    /// Tag by content: changes only when the image does [$WERF_TAG_BY_STAGES_SIGNATURE]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub tag_by_stages_signature: Option<bool>,
    /// Tag with the name of a branch, as `slugify --format docker-tag` writes it [$WERF_TAG_GIT_BRANCH]
    #[arg(long, value_name = "TAG")]
    pub tag_git_branch: Option<String>,
    /// Tag with a git tag [$WERF_TAG_GIT_TAG]
    #[arg(long, value_name = "TAG")]
    pub tag_git_tag: Option<String>,
    /// Tag with a commit [$WERF_TAG_GIT_COMMIT]
    #[arg(long, value_name = "TAG")]
    pub tag_git_commit: Option<String>,
    /// Any tag, repeatable [$WERF_TAG_CUSTOM_*]
    #[arg(long, value_name = "TAG")]
    pub tag_custom: Vec<String>,
    /// Write names, tags and ids of what was published to this file [$WERF_PUBLISH_REPORT_PATH]
    #[arg(long, value_name = "FILE")]
    pub publish_report_path: Option<PathBuf>,
    /// Format of that file [$WERF_PUBLISH_REPORT_FORMAT, default: json, the only one]
    #[arg(long, value_name = "FORMAT")]
    pub publish_report_format: Option<String>,
    #[command(flatten)]
    accepted: AcceptedRepoFlags,
}

/// Credentials of registries' own APIs: only cleanup uses them.
#[derive(Clone, Debug, Default, Args)]
pub struct AcceptedRepoFlags {
    #[arg(long, hide = true)]
    images_repo_docker_hub_username: Option<String>,
    #[arg(long, hide = true)]
    images_repo_docker_hub_password: Option<String>,
    #[arg(long, hide = true)]
    images_repo_docker_hub_token: Option<String>,
    #[arg(long, hide = true)]
    images_repo_github_token: Option<String>,
    #[arg(long, hide = true)]
    images_repo_harbor_username: Option<String>,
    #[arg(long, hide = true)]
    images_repo_harbor_password: Option<String>,
    #[arg(long, hide = true)]
    images_repo_quay_token: Option<String>,
}

/// A switch as Go's flags take it: `--log-quiet`, `--log-quiet=false`.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("expected `true` or `false`".to_owned()),
    }
}

/// A path that may be empty: a variable set to nothing is as good as unset, which clap's own parser of paths does not grant.
fn path() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    clap::builder::OsStringValueParser::new().map(PathBuf::from)
}
