//! What a job gets on this host, decided without touching it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::ci_env::policies::Policies;
use crate::ci_env::{self, Facts, Outcome, SET_BY_EXECUTOR, Variables};
use crate::sys::env::Env;

use super::job::{Job, RegistryCredentials};
use super::sub_stage::SubStage;

/// What prepare makes for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlan {
    /// Directories that only this user can enter.
    pub directories: Vec<PathBuf>,
    /// Programs put on the job's PATH: link, and what it leads to.
    pub programs: Vec<(PathBuf, PathBuf)>,
    /// The job's private docker configuration.
    pub docker_config: PathBuf,
    /// What the author of the job should know, a line each.
    pub notes: Vec<String>,
}

/// Plans a job on the host: names on its PATH, its own temporary directory, its own credentials.
pub fn plan(job: &Job, job_dir: &Path, program: &Path, runner: &Path) -> JobPlan {
    let bin = job_dir.join("bin");
    let mut programs: Vec<_> =
        ["werf", "multiwerf", "slipway"].map(|name| (bin.join(name), program.to_owned())).into_iter().collect();
    // Scripts for caches and artifacts call it by name, and only its own version knows their flags.
    if runner.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"gitlab-runner")) {
        programs.push((bin.join("gitlab-runner"), runner.to_owned()));
    }
    let mut notes = Vec::new();
    if let Some(image) = &job.image {
        notes.push(format!("image `{image}` is ignored: jobs run on this host itself"));
    }
    if !job.services.is_empty() {
        notes.push(format!("services {} are ignored: jobs run on this host itself", job.services.join(", ")));
    }
    JobPlan { directories: vec![bin, job_dir.join("tmp")], programs, docker_config: job_dir.join("docker"), notes }
}

/// Registries that the job may log in to. GitLab lists its own; an older one only tells it by variables.
pub fn registry_credentials(job: &Job) -> Vec<RegistryCredentials> {
    let mut credentials = job.credentials.clone();
    if let (Some(address), Some(password)) = (job.variable("CI_REGISTRY"), job.variable("CI_JOB_TOKEN"))
        && !credentials.iter().any(|known| known.address == address)
    {
        let (address, user, password) = (address.into(), "gitlab-ci-token".into(), password.into());
        credentials.push(RegistryCredentials { address, user, password });
    }
    credentials
}

/// The environment in which a script starts: of the service's own only what every program needs, then what belongs to
/// the job. The script itself exports the variables of the job.
pub fn environment(
    job: &Job,
    job_dir: &Path,
    sub_stage: &SubStage,
    service: &Env,
    policies: &Policies,
) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> = service
        .all()
        .filter(|(name, _)| is_for_everybody(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut set = |name: &str, value: OsString| {
        environment.retain(|(present, _)| present != name);
        environment.push((name.into(), value));
    };
    let path = service.get_os("PATH").unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let mut with_bin = job_dir.join("bin").into_os_string();
    with_bin.push(":");
    with_bin.push(path);
    set("PATH", with_bin);
    set("TMPDIR", job_dir.join("tmp").into());
    if matches!(sub_stage, SubStage::Script(_)) {
        for (name, value) in ci_variables(job, job_dir, policies) {
            set(&name, value.into());
        }
    }
    environment
}

/// What `ci-env gitlab` would set, for jobs that never call it, and the list of it, so that `ci-env` knows it again.
fn ci_variables(job: &Job, job_dir: &Path, policies: &Policies) -> Vec<(String, String)> {
    let variables: Variables =
        job.variables.iter().map(|variable| (variable.name.as_str(), variable.value.as_str())).collect();
    let facts = Facts {
        docker_config: job_dir.join("docker").to_string_lossy().into_owned(),
        policies: policies.clone(),
        ..Facts::default()
    };
    let Ok(blocks) = ci_env::gitlab::blocks(&variables, &facts) else { return Vec::new() };
    let assignments = blocks.into_iter().flat_map(|block| block.assignments);
    let mut set: Vec<(String, String)> = assignments
        .filter(|assignment| assignment.outcome == Outcome::Set)
        .map(|assignment| (assignment.name.to_owned(), assignment.value))
        .collect();
    let names: Vec<&str> = set.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(" ");
    set.push((SET_BY_EXECUTOR.to_owned(), names));
    set
}

/// What a job sees of the service's own environment: nothing that could be a secret of the service or of another job.
fn is_for_everybody(name: &OsStr) -> bool {
    const NAMES: &[&str] = &[
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TERM",
        "TZ",
        "LANG",
        "LANGUAGE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "DOCKER_HOST",
        "DOCKER_CERT_PATH",
        "DOCKER_TLS_VERIFY",
        "DOCKER_API_VERSION",
        "XDG_RUNTIME_DIR",
        "XDG_DATA_HOME",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "SLIPWAY_CONFIG",
        "SLIPWAY_STATE_DIR",
        "SLIPWAY_RUNTIME",
    ];
    let Some(name) = name.to_str() else { return false };
    NAMES.contains(&name) || name.starts_with("LC_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(more: serde_json::Value) -> Job {
        let mut response = serde_json::json!({"id": 7, "git_info": {"repo_url": "https://git.example.com/a/b.git"}});
        response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Job::parse(response.to_string().as_bytes()).unwrap()
    }

    fn find<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a str> {
        let mut found = environment.iter().filter(|(present, _)| present == name);
        let value = found.next()?.1.to_str();
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    #[test]
    fn a_job_finds_werf_on_its_path_and_hears_what_is_ignored() {
        let job = job(serde_json::json!({"image": {"name": "ruby:3"}, "services": [{"name": "redis:7"}]}));
        let plan = plan(&job, Path::new("/j"), Path::new("/usr/bin/slipway"), Path::new("/usr/bin/gitlab-runner"));
        let links: Vec<String> =
            plan.programs.iter().map(|(link, to)| format!("{} -> {}", link.display(), to.display())).collect();
        assert_eq!(
            links,
            [
                "/j/bin/werf -> /usr/bin/slipway",
                "/j/bin/multiwerf -> /usr/bin/slipway",
                "/j/bin/slipway -> /usr/bin/slipway",
                "/j/bin/gitlab-runner -> /usr/bin/gitlab-runner",
            ]
        );
        assert_eq!(
            plan.notes,
            [
                "image `ruby:3` is ignored: jobs run on this host itself",
                "services redis:7 are ignored: jobs run on this host itself",
            ]
        );
    }

    #[test]
    fn the_services_own_environment_stays_with_the_service() {
        let service =
            [("PATH", "/bin"), ("HOME", "/root"), ("TMPDIR", "/tmp/x"), ("AWS_SECRET", "s"), ("CUSTOM_ENV_A", "b")];
        let service = Env::literal(service, "/");
        let helper = SubStage::parse("get_sources");
        let environment =
            environment(&job(serde_json::json!({})), Path::new("/j"), &helper, &service, &Policies::default());
        let mut names: Vec<&str> = environment.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["HOME", "PATH", "TMPDIR"]);
        assert_eq!(find(&environment, "PATH"), Some("/j/bin:/bin"));
        assert_eq!(find(&environment, "TMPDIR"), Some("/j/tmp"));
    }

    #[test]
    fn scripts_get_the_variables_of_ci_env_unless_the_job_chose_its_own() {
        let job = job(serde_json::json!({"variables": [
            {"key": "CI_REGISTRY_IMAGE", "value": "r.example.com/a"},
            {"key": "WERF_STAGES_STORAGE", "value": ":local"},
        ]}));
        let script = SubStage::parse("build_script");
        let environment = environment(&job, Path::new("/j"), &script, &Env::default(), &Policies::default());
        assert_eq!(find(&environment, "WERF_IMAGES_REPO"), Some("r.example.com/a"));
        assert_eq!(find(&environment, "DOCKER_CONFIG"), Some("/j/docker"));
        assert_eq!(find(&environment, "WERF_STAGES_STORAGE"), None);
        let names = find(&environment, SET_BY_EXECUTOR).unwrap();
        assert!(
            names.starts_with("DOCKER_CONFIG WERF_IMAGES_REPO WERF_IMAGES_REPO_IMPLEMENTATION WERF_TAG_BY"),
            "{names}"
        );
    }

    #[test]
    fn registries_are_named_once() {
        let token = serde_json::json!({"key": "CI_JOB_TOKEN", "value": "t"});
        let registry = serde_json::json!({"key": "CI_REGISTRY", "value": "r:5000"});
        let addresses = |job: &Job| -> Vec<String> {
            registry_credentials(job).into_iter().map(|credentials| credentials.address).collect()
        };
        assert_eq!(addresses(&job(serde_json::json!({"variables": [token, registry]}))), ["r:5000"]);
        let listed = serde_json::json!([{"type": "registry", "url": "r:5000", "username": "u", "password": "p"}]);
        let both = job(serde_json::json!({"variables": [token, registry], "credentials": listed}));
        assert_eq!(addresses(&both), ["r:5000"]);
        assert_eq!(registry_credentials(&both)[0].user, "u");
        assert!(addresses(&job(serde_json::json!({"variables": [registry]}))).is_empty());
    }
}
