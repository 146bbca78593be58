//! The variables of a job: predefined ones from git and the command line, then those of the file, expanded.

use std::path::PathBuf;

use sha2::Digest as _;

use super::ci_file::{CiJob, CiVariable};

/// What git says about the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The project's directory.
    pub directory: PathBuf,
    pub sha: String,
    pub before_sha: String,
    /// Checked out branch, if any.
    pub branch: Option<String>,
    /// A tag that names the commit.
    pub tag: Option<String>,
    pub message: String,
    pub author: String,
    /// As in `2026-11-23T02:00:00+00:00`.
    pub timestamp: String,
    /// Address of the remote `origin`.
    pub origin: Option<String>,
}

/// A variable with its final value.
#[derive(Clone, PartialEq, Eq)]
pub struct JobVariable {
    pub name: String,
    pub value: String,
    pub masked: bool,
}

impl std::fmt::Debug for JobVariable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, if self.masked { "…" } else { &self.value })
    }
}

/// Where a project is on a GitLab server, as far as its `origin` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// `https://gitlab.example.com`.
    pub server_url: String,
    pub host: String,
    /// `group/name`.
    pub path: String,
}

impl Project {
    pub fn of(commit: &Commit) -> Self {
        let from_origin = commit.origin.as_deref().and_then(host_and_path);
        let directory = commit.directory.file_name().and_then(|name| name.to_str()).unwrap_or("project");
        let (host, path) =
            from_origin.unwrap_or_else(|| ("gitlab.localhost".into(), format!("local/{}", slug(directory))));
        Self { server_url: format!("https://{host}"), host, path }
    }
}

/// All variables of a job in the order in which GitLab sends them, expanded; `given` come from the command line and
/// win over the file, as variables of a pipeline that is started by hand do.
pub fn variables(
    job: &CiJob,
    job_id: u64,
    commit: &Commit,
    project: &Project,
    given: &[JobVariable],
) -> Vec<JobVariable> {
    let mut all: Vec<CiVariable> = Vec::new();
    let mut set = |variable: CiVariable| {
        all.retain(|present| present.name != variable.name);
        all.push(variable);
    };
    for (name, value) in predefined(job, job_id, commit, project) {
        set(CiVariable { name: name.to_owned(), value, raw: true });
    }
    job.variables.iter().cloned().for_each(&mut set);
    for variable in given {
        set(CiVariable { name: variable.name.clone(), value: variable.value.clone(), raw: true });
    }
    let has = |all: &[CiVariable], name: &str| all.iter().any(|variable| variable.name == name);
    if let Some(environment) = &job.environment {
        let name = expand(&environment.name, &all);
        let url = environment.url.as_ref().map(|url| expand(url, &all));
        for (key, value) in [("CI_ENVIRONMENT_SLUG", environment_slug(&name)), ("CI_ENVIRONMENT_NAME", name)] {
            all.push(CiVariable { name: key.into(), value, raw: true });
        }
        all.extend(url.map(|value| CiVariable { name: "CI_ENVIRONMENT_URL".into(), value, raw: true }));
    }
    let registry = all.iter().find(|variable| variable.name == "CI_REGISTRY_IMAGE");
    if let Some(host) = registry.and_then(|image| image.value.split('/').next()).map(str::to_owned)
        && !has(&all, "CI_REGISTRY")
    {
        all.push(CiVariable { name: "CI_REGISTRY".into(), value: host, raw: true });
    }
    let masked = |name: &str| given.iter().any(|variable| variable.name == name && variable.masked);
    let expanded = |variable: &CiVariable| JobVariable {
        name: variable.name.clone(),
        value: if variable.raw { variable.value.clone() } else { expand(&variable.value, &all) },
        masked: masked(&variable.name),
    };
    all.iter().map(expanded).collect()
}

fn predefined(job: &CiJob, job_id: u64, commit: &Commit, project: &Project) -> Vec<(&'static str, String)> {
    let text = str::to_owned;
    let ref_name = commit.tag.clone().or_else(|| commit.branch.clone()).unwrap_or_else(|| commit.sha.clone());
    let (namespace, name) = project.path.rsplit_once('/').unwrap_or(("", &project.path));
    let (title, description) = commit.message.split_once('\n').unwrap_or((&commit.message, ""));
    let url = format!("{}/{}", project.server_url, project.path);
    let mut variables = vec![
        ("CI", text("true")),
        ("GITLAB_CI", text("true")),
        ("CI_SERVER", text("yes")),
        ("CI_SERVER_NAME", text("GitLab")),
        ("CI_SERVER_URL", project.server_url.clone()),
        ("CI_SERVER_HOST", project.host.clone()),
        ("CI_API_V4_URL", format!("{}/api/v4", project.server_url)),
        ("CI_JOB_ID", job_id.to_string()),
        ("CI_JOB_NAME", job.name.clone()),
        ("CI_JOB_NAME_SLUG", slug(&job.name)),
        ("CI_JOB_STAGE", job.stage.clone()),
        ("CI_JOB_URL", format!("{url}/-/jobs/{job_id}")),
        ("CI_PIPELINE_ID", job_id.to_string()),
        ("CI_PIPELINE_IID", text("1")),
        ("CI_PIPELINE_SOURCE", text("push")),
        ("CI_PIPELINE_URL", format!("{url}/-/pipelines/{job_id}")),
        ("CI_PROJECT_NAME", text(name)),
        ("CI_PROJECT_TITLE", text(name)),
        ("CI_PROJECT_NAMESPACE", text(namespace)),
        ("CI_PROJECT_ROOT_NAMESPACE", text(namespace.split('/').next().unwrap_or_default())),
        ("CI_PROJECT_PATH", project.path.clone()),
        ("CI_PROJECT_PATH_SLUG", slug(&project.path)),
        ("CI_PROJECT_URL", url.clone()),
        ("CI_REPOSITORY_URL", format!("{url}.git")),
        ("CI_COMMIT_SHA", commit.sha.clone()),
        ("CI_COMMIT_SHORT_SHA", commit.sha.chars().take(8).collect()),
        ("CI_COMMIT_BEFORE_SHA", commit.before_sha.clone()),
        ("CI_COMMIT_REF_NAME", ref_name.clone()),
        ("CI_COMMIT_REF_SLUG", slug(&ref_name)),
        ("CI_COMMIT_MESSAGE", commit.message.clone()),
        ("CI_COMMIT_TITLE", text(title)),
        ("CI_COMMIT_DESCRIPTION", text(description.trim_start_matches('\n'))),
        ("CI_COMMIT_AUTHOR", commit.author.clone()),
        ("CI_COMMIT_TIMESTAMP", commit.timestamp.clone()),
        ("CI_DEFAULT_BRANCH", commit.branch.clone().unwrap_or_else(|| text("main"))),
    ];
    match (&commit.tag, &commit.branch) {
        (Some(tag), _) => variables.push(("CI_COMMIT_TAG", tag.clone())),
        (None, Some(branch)) => variables.push(("CI_COMMIT_BRANCH", branch.clone())),
        (None, None) => {}
    }
    variables
}

/// `$NAME`, `${NAME}`, and `$$` for a dollar; what is not known is empty, what leads back to itself stays as it is.
fn expand(text: &str, all: &[CiVariable]) -> String {
    expand_below(text, all, &mut Vec::new())
}

fn expand_below<'a>(text: &str, all: &'a [CiVariable], above: &mut Vec<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let Some((name, after)) = variable_name(after) else {
            expanded.push('$');
            rest = after;
            continue;
        };
        rest = after;
        match all.iter().find(|variable| variable.name == name) {
            Some(variable) if variable.raw => expanded.push_str(&variable.value),
            Some(variable) if above.contains(&variable.name.as_str()) => {
                expanded.push_str(&format!("${{{name}}}"));
            }
            Some(variable) => {
                above.push(&variable.name);
                expanded.push_str(&expand_below(&variable.value, all, above));
                above.pop();
            }
            None => {}
        }
    }
    expanded + rest
}

/// The name after a dollar, and what follows it.
fn variable_name(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').filter(|(name, _)| is_name(name));
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    is_name(name).then_some((name, after))
}

/// Whether a shell can have a variable of this name.
pub fn is_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// GitLab's slug of branches, projects and jobs: at most 63 of `[a-z0-9-]`, none of the dashes at an end.
fn slug(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let slug: String = text.to_lowercase().chars().map(plain).collect();
    slug.trim_start_matches('-').chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
}

/// GitLab's slug of an environment: at most 24 characters that start with a letter; a name that is changed by it gets
/// six characters of its hash.
pub fn environment_slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        if !(c == '-' && slug.ends_with('-')) {
            slug.push(c);
        }
    }
    if !slug.starts_with(|c: char| c.is_ascii_lowercase()) {
        slug = format!("env-{}", slug.trim_start_matches('-'));
    }
    if slug.len() <= 24 && slug == name {
        return slug.strip_suffix('-').unwrap_or(&slug).to_owned();
    }
    slug.truncate(16);
    let dash = if slug.ends_with('-') { "" } else { "-" };
    format!("{slug}{dash}{}", last_digits(name))
}

/// The last six digits to the base 36 of the name's SHA-256.
fn last_digits(name: &str) -> String {
    const MODULUS: u64 = 36u64.pow(6);
    let mut number =
        sha2::Sha256::digest(name).iter().fold(0, |number, byte| (number * 256 + u64::from(*byte)) % MODULUS);
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        let value = (number % 36) as u8;
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        number /= 36;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// Of `https://user@host/group/name.git`, `ssh://git@host:22/group/name`, `git@host:group/name.git`.
fn host_and_path(address: &str) -> Option<(String, String)> {
    let (host, path) = match address.split_once("://") {
        Some(("file", _)) => return None,
        Some(_) => {
            let url = url::Url::parse(address).ok()?;
            let host = url.host_str()?.to_owned();
            let is_web = matches!(url.scheme(), "http" | "https");
            let port = url.port().filter(|_| is_web).map(|port| format!(":{port}")).unwrap_or_default();
            (host + &port, url.path().to_owned())
        }
        None => {
            let (host, path) = address.split_once(':').filter(|(host, _)| !host.contains('/'))?;
            (host.rsplit('@').next()?.to_owned(), path.to_owned())
        }
    };
    let path = path.trim_matches('/').trim_end_matches(".git");
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control);
    (!host.is_empty() && path.split('/').all(plain)).then(|| (host, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::ci_file::Environment;

    fn commit() -> Commit {
        Commit {
            directory: "/home/u/My App".into(),
            sha: "61368705db8652555bd96e68aadfd2ac423ba263".into(),
            branch: Some("core/feature/ADD_SETTINGS".into()),
            message: "Title\n\nBody".into(),
            origin: Some("git@gitlab-example.com:article/tools.git".into()),
            ..Commit::default()
        }
    }

    fn value(variables: &[JobVariable], name: &str) -> Option<String> {
        variables.iter().find(|variable| variable.name == name).map(|variable| variable.value.clone())
    }

    fn plain(name: &str, value: &str) -> CiVariable {
        CiVariable { name: name.into(), value: value.into(), raw: false }
    }

    #[test]
    fn git_and_the_file_say_what_the_job_knows() {
        let job = CiJob {
            name: "Build it".into(),
            environment: Some(Environment {
                name: "review/$CI_COMMIT_REF_SLUG".into(),
                url: Some("https://$HOST".into()),
            }),
            variables: vec![
                plain("A", "$B/${CI_PROJECT_NAME}/$NONE"),
                plain("B", "b$$"),
                plain("HOST", "x"),
                plain("G", "file"),
            ],
            ..CiJob::default()
        };
        let given = [
            JobVariable { name: "CI_REGISTRY_IMAGE".into(), value: "127.0.0.1:5000/app".into(), masked: false },
            JobVariable { name: "G".into(), value: "$given".into(), masked: true },
        ];
        let variables = variables(&job, 9, &commit(), &Project::of(&commit()), &given);
        for (name, expected) in [
            ("CI_COMMIT_SHORT_SHA", "61368705"),
            ("CI_COMMIT_REF_SLUG", "core-feature-add-settings"),
            ("CI_COMMIT_BRANCH", "core/feature/ADD_SETTINGS"),
            ("CI_COMMIT_TITLE", "Title"),
            ("CI_COMMIT_DESCRIPTION", "Body"),
            ("CI_PROJECT_PATH", "article/tools"),
            ("CI_PROJECT_URL", "https://gitlab-example.com/article/tools"),
            ("CI_JOB_NAME_SLUG", "build-it"),
            ("CI_ENVIRONMENT_NAME", "review/core-feature-add-settings"),
            ("CI_ENVIRONMENT_URL", "https://x"),
            ("CI_REGISTRY", "127.0.0.1:5000"),
            ("A", "b$/tools/"),
            ("G", "$given"),
        ] {
            assert_eq!(value(&variables, name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(value(&variables, "CI_COMMIT_TAG"), None);
        assert_eq!(format!("{:?}", variables.iter().find(|variable| variable.name == "G").unwrap()), "G=…");
    }

    #[test]
    fn variables_that_name_themselves_stay() {
        let all = [plain("A", "$B"), plain("B", "x$A")];
        assert_eq!(expand("$A", &all), "x${A}");
        assert_eq!(expand("${A", &all), "${A");
        assert_eq!(expand("$1 $", &all), "$1 $");
    }

    #[test]
    fn environments_get_gitlabs_slug() {
        for (name, expected) in [("production", "production"), ("staging-1", "staging-1"), ("test-", "test")] {
            assert_eq!(environment_slug(name), expected);
        }
        for (name, start) in
            [("review/x", "review-x-"), ("Production", "production-"), ("1", "env-1-"), ("a--b", "a-b-")]
        {
            let slug = environment_slug(name);
            assert!(slug.starts_with(start) && slug.len() == start.len() + 6, "{slug}");
        }
        assert_eq!(environment_slug(&"x".repeat(30)).len(), 23);
    }

    #[test]
    fn projects_are_found_by_their_origin() {
        for (origin, expected) in [
            ("https://ci:token@git.example.com:8443/a/b/c.git", Some(("git.example.com:8443", "a/b/c"))),
            ("ssh://git@git.example.com:2222/a/b", Some(("git.example.com", "a/b"))),
            ("git@git.example.com:a/b.git", Some(("git.example.com", "a/b"))),
            ("/srv/git/a.git", None),
            ("file:///srv/git/a.git", None),
            ("https://git.example.com/../x", Some(("git.example.com", "x"))),
            ("https://git.example.com/", None),
        ] {
            let expected = expected.map(|(host, path)| (host.to_owned(), path.to_owned()));
            assert_eq!(host_and_path(origin), expected, "{origin}");
        }
        let local = Commit { origin: None, ..commit() };
        assert_eq!(Project::of(&local).path, "local/my-app");
    }
}
