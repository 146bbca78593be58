//! GitLab's job variables (spec/publish-and-cleanup.md 1.6).

use super::{Block, BlockOf, CiEnvError, Dialect, Facts, TaggingStrategy, Variables, docker_config, joined, policies};
use crate::slug;

/// Registry address, user and password of the job's own login, when the job has a registry and a token.
pub fn login(variables: &Variables) -> Option<(&str, &'static str, &str)> {
    Some((variables.get("CI_REGISTRY_IMAGE")?, "gitlab-ci-token", variables.get("CI_JOB_TOKEN")?))
}

/// Every variable, in output order. Fails only where git tags or branches are asked for and none is known.
pub fn blocks(variables: &Variables, facts: &Facts) -> Result<Vec<Block>, CiEnvError> {
    Ok(vec![
        docker_config(variables, facts),
        stages_storage(variables, facts.dialect),
        images_repo(variables),
        tagging(variables, facts.tagging_strategy)?,
        deploy(variables),
        policies::block(variables, &facts.policies),
        other(variables, facts.dialect),
    ])
}

fn stages_storage(variables: &Variables, dialect: Dialect) -> Block {
    let ours = dialect == Dialect::Late && in_gitlab_registry(variables, "WERF_STAGES_STORAGE");
    BlockOf::new(variables, "STAGES_STORAGE")
        .add("WERF_STAGES_STORAGE", joined(&[variables.get("CI_REGISTRY_IMAGE"), Some("/stages")]))
        .add_if(ours, "WERF_STAGES_STORAGE_REPO_IMPLEMENTATION", "gitlab")
        .done()
}

fn images_repo(variables: &Variables) -> Block {
    BlockOf::new(variables, "IMAGES REPO")
        .add("WERF_IMAGES_REPO", variables.or_empty("CI_REGISTRY_IMAGE"))
        .add_if(in_gitlab_registry(variables, "WERF_IMAGES_REPO"), "WERF_IMAGES_REPO_IMPLEMENTATION", "gitlab")
        .done()
}

/// Whether the address in `name`, or the one we are about to put there, lies in this GitLab's registry.
fn in_gitlab_registry(variables: &Variables, name: &str) -> bool {
    let in_registry =
        |address: &str| variables.get("CI_REGISTRY").is_some_and(|registry| address.starts_with(registry));
    variables.get("CI_REGISTRY_IMAGE").is_some() && variables.get(name).is_none_or(in_registry)
}

fn tagging(variables: &Variables, strategy: TaggingStrategy) -> Result<Block, CiEnvError> {
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| variables.get(name));
    let block = BlockOf::new(variables, "TAGGING");
    if strategy == TaggingStrategy::StagesSignature {
        return Ok(block.add("WERF_TAG_BY_STAGES_SIGNATURE", "true").done());
    }
    let block = block.take_back("WERF_TAG_BY_STAGES_SIGNATURE");
    if let Some(tag) = first(["CI_BUILD_TAG", "CI_COMMIT_TAG"]) {
        Ok(block.add("WERF_TAG_GIT_TAG", slug::docker_tag(tag)).done())
    } else if let Some(branch) = first(["CI_BUILD_REF_NAME", "CI_COMMIT_REF_NAME"]) {
        Ok(block.add("WERF_TAG_GIT_BRANCH", slug::docker_tag(branch)).done())
    } else {
        Err(CiEnvError::NoTagOrBranch)
    }
}

fn deploy(variables: &Variables) -> Block {
    let project = variables.get("CI_PROJECT_URL");
    let url = |kind, middle, id| joined(&[Some(kind), project, Some(middle), variables.get(id)]);
    BlockOf::new(variables, "DEPLOY")
        .add("WERF_ENV", variables.or_empty("CI_ENVIRONMENT_SLUG"))
        .add("WERF_ADD_ANNOTATION_PROJECT_GIT", joined(&[Some("project.werf.io/git="), project]))
        .add("WERF_ADD_ANNOTATION_CI_COMMIT", joined(&[Some("ci.werf.io/commit="), variables.get("CI_COMMIT_SHA")]))
        .add(
            "WERF_ADD_ANNOTATION_GITLAB_CI_PIPELINE_URL",
            url("gitlab.ci.werf.io/pipeline-url=", "/pipelines/", "CI_PIPELINE_ID"),
        )
        .add("WERF_ADD_ANNOTATION_GITLAB_CI_JOB_URL", url("gitlab.ci.werf.io/job-url=", "/-/jobs/", "CI_JOB_ID"))
        .done()
}

fn other(variables: &Variables, dialect: Dialect) -> Block {
    let late = dialect == Dialect::Late;
    BlockOf::new(variables, "OTHER")
        .add_if(late, "WERF_GIT_HISTORY_SYNCHRONIZATION", "1")
        .add_if(late, "WERF_GIT_UNSHALLOW", "1")
        .add("WERF_LOG_COLOR_MODE", if shows_no_colours(variables) { "off" } else { "on" })
        .add("WERF_LOG_PROJECT_DIR", "1")
        .add("WERF_ENABLE_PROCESS_EXTERMINATOR", "1")
        .add("WERF_LOG_TERMINAL_WIDTH", "95")
        .done()
}

/// GitLab between 12.1.3 and 12.2.0 mixed up the colours of its job log.
fn shows_no_colours(variables: &Variables) -> bool {
    let version = variables.get("CI_SERVER_VERSION").and_then(parse_version);
    // A pre-release of 12.2.0 comes before it, and one of 12.1.3 is not after it.
    version.is_some_and(|(release, pre)| {
        let broken = release > [12, 1, 3] && release < [12, 2, 0];
        broken || (release == [12, 2, 0] && pre)
    })
}

/// Major, minor, patch, and whether it is a pre-release.
fn parse_version(text: &str) -> Option<([u64; 3], bool)> {
    let text = text.split('+').next()?;
    let (release, pre) = text.split_once('-').map_or((text, false), |(release, _)| (release, true));
    let mut numbers = release.split('.').map(|number| number.parse().ok());
    let release = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some((release, pre))
}
