//! GitHub's workflow variables (spec/publish-and-cleanup.md 1.7).

use super::{Block, BlockOf, CiEnvError, Facts, TaggingStrategy, Variables, docker_config, joined, policies};

const REGISTRY: &str = "docker.pkg.github.com";

/// What werf.yaml says about the names of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub name: String,
    /// Whether one image has no name of its own and is called like the project.
    pub has_nameless_image: bool,
}

/// Registry address, user and password of the workflow's own login.
pub fn login(variables: &Variables) -> Option<(&'static str, &str, &str)> {
    Some((REGISTRY, variables.get("GITHUB_ACTOR")?, variables.get("GITHUB_TOKEN")?))
}

/// Every variable, in output order. Without a project there is no werf.yaml, and no repository is suggested.
pub fn blocks(variables: &Variables, facts: &Facts, project: Option<&Project>) -> Result<Vec<Block>, CiEnvError> {
    if facts.tagging_strategy != TaggingStrategy::StagesSignature {
        return Err(CiEnvError::TaggingStrategy("tag-or-branch".into()));
    }
    let repository = variables.get("GITHUB_REPOSITORY");
    let packages = repository.zip(project).map(|(name, _)| format!("{REGISTRY}/{}", name.to_lowercase()));
    let images_repo = match (&packages, project) {
        (Some(packages), Some(project)) if project.has_nameless_image => format!("{packages}/{}", project.name),
        (packages, _) => packages.clone().unwrap_or_default(),
    };
    Ok(vec![
        docker_config(variables, facts),
        BlockOf::new(variables, "STAGES_STORAGE")
            .add("WERF_STAGES_STORAGE", joined(&[packages.as_deref(), Some("/stages")]))
            .done(),
        BlockOf::new(variables, "IMAGES REPO").add("WERF_IMAGES_REPO", images_repo).done(),
        BlockOf::new(variables, "TAGGING").add("WERF_TAG_BY_STAGES_SIGNATURE", "true").done(),
        deploy(variables),
        BlockOf::new(variables, "CLEANUP")
            .add_secret("WERF_REPO_GITHUB_TOKEN", variables.or_empty("GITHUB_TOKEN"))
            .done(),
        policies::block(variables, &facts.policies),
        other(variables),
    ])
}

fn deploy(variables: &Variables) -> Block {
    let repository = variables.get("GITHUB_REPOSITORY");
    let run = [
        Some("github.ci.werf.io/workflow-run-url=https://github.com/"),
        repository,
        Some("/actions/runs/"),
        variables.get("GITHUB_RUN_ID"),
    ];
    BlockOf::new(variables, "DEPLOY")
        .add("WERF_ADD_ANNOTATION_PROJECT_GIT", joined(&[Some("project.werf.io/git=https://github.com/"), repository]))
        .add("WERF_ADD_ANNOTATION_CI_COMMIT", joined(&[Some("ci.werf.io/commit="), variables.get("GITHUB_SHA")]))
        .add("WERF_ADD_ANNOTATION_GITHUB_ACTIONS_RUN_URL", joined(&run))
        .done()
}

fn other(variables: &Variables) -> Block {
    BlockOf::new(variables, "OTHER")
        .add("WERF_GIT_HISTORY_SYNCHRONIZATION", "1")
        .add("WERF_LOG_COLOR_MODE", "on")
        .add("WERF_LOG_PROJECT_DIR", "1")
        .add("WERF_ENABLE_PROCESS_EXTERMINATOR", "1")
        .add("WERF_LOG_TERMINAL_WIDTH", "95")
        .done()
}
