//! What the runner told us about a job, read once.
//!
//! Everything that names, places or removes something comes from the job response file: the variables of a hook can be
//! chosen by the author of the job (spec/executor.md 2.4, 5).

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::slug;
use crate::sys::env::Env;

use super::error::ExecutorError;

/// A larger response file is not a job.
const LARGEST_RESPONSE: u64 = 256 << 20;

/// How this hook reports to the runner (spec/executor.md 2.3).
#[derive(Clone, Debug)]
pub struct Contract {
    /// Exit code that means: the author of the job has to act.
    pub build_failure: u8,
    /// Exit code that means: the host has to be looked at.
    pub system_failure: u8,
    /// Where the script's own exit code goes; runners before 17.9 do not ask for it.
    pub exit_code_file: Option<PathBuf>,
    pub response_file: Option<PathBuf>,
}

impl Contract {
    pub fn of(env: &Env) -> Self {
        let code = |name, default| env.get(name).and_then(|code| code.parse().ok()).unwrap_or(default);
        Self {
            build_failure: code("BUILD_FAILURE_EXIT_CODE", 1),
            system_failure: code("SYSTEM_FAILURE_EXIT_CODE", 2),
            exit_code_file: env.get_os("BUILD_EXIT_CODE_FILE").map(PathBuf::from),
            response_file: env.get_os("JOB_RESPONSE_FILE").map(PathBuf::from),
        }
    }
}

/// One job of one GitLab.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: u64,
    pub project_id: u64,
    /// Tells jobs of different GitLab servers apart on this host: a short hash of the server's address.
    pub server: String,
    /// Where the runner puts the project below the builds directory (spec/executor.md 2.6).
    pub project_path: PathBuf,
    /// Seconds.
    pub timeout: u64,
    /// The image that the job asks for.
    pub image: Option<String>,
    pub services: Vec<String>,
    /// In the order given; of two with one name the later counts.
    pub variables: Vec<Variable>,
    pub credentials: Vec<RegistryCredentials>,
    token: String,
}

#[derive(Clone)]
pub struct Variable {
    pub name: String,
    pub value: String,
    pub masked: bool,
    /// The script sees the path of a file with the value.
    pub is_file: bool,
}

#[derive(Clone)]
pub struct RegistryCredentials {
    pub address: String,
    pub user: String,
    pub password: String,
}

impl Job {
    /// Reads the response file that the contract names.
    pub fn read(contract: &Contract) -> Result<Self, ExecutorError> {
        let path = contract.response_file.as_deref().ok_or(ExecutorError::NoResponseFile)?;
        let read = |source| ExecutorError::ReadResponse { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(read)?.len() > LARGEST_RESPONSE {
            return Err(ExecutorError::Response { path: path.to_owned(), reason: "it is larger than 256 MiB".into() });
        }
        Self::parse(&std::fs::read(path).map_err(read)?)
            .map_err(|reason| ExecutorError::Response { path: path.to_owned(), reason })
    }

    /// Lenient but for the job's number: what is missing or of another type counts as absent.
    pub fn parse(response: &[u8]) -> Result<Self, String> {
        let response: Value = serde_json::from_slice(response).map_err(|error| error.to_string())?;
        let text = |pointer| response.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let number = |pointer| response.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        let project_id = number("/job_info/project_id");
        let url = text("/git_info/repo_url");
        Ok(Self {
            id: response.get("id").and_then(Value::as_u64).filter(|id| *id > 0).ok_or("it has no job `id`")?,
            project_id,
            server: slug::hash(server_of(url)),
            project_path: project_path(url, project_id),
            timeout: match number("/runner_info/timeout") {
                0 => 7200,
                seconds => seconds,
            },
            image: Some(text("/image/name")).filter(|name| !name.is_empty()).map(str::to_owned),
            services: list(&response, "services").filter_map(|service| field(service, "name")).collect(),
            variables: list(&response, "variables").filter_map(variable).collect(),
            credentials: list(&response, "credentials").filter_map(registry_credentials).collect(),
            token: text("/token").to_owned(),
        })
    }

    /// Names everything that belongs to the job: its number, and its server's hash.
    pub fn key(&self) -> String {
        format!("j{}-{}", self.id, self.server)
    }

    /// Names what belongs to the project on this host.
    pub fn project_key(&self) -> String {
        format!("p{}-{}", self.project_id, self.server)
    }

    pub fn variable(&self, name: &str) -> Option<&str> {
        let last = self.variables.iter().rev().find(|variable| variable.name == name)?;
        Some(last.value.as_str()).filter(|value| !value.is_empty())
    }

    /// What must not be seen in any log: masked variables, the job token, registry passwords.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let masked = self.variables.iter().filter(|variable| variable.masked).map(|variable| variable.value.as_str());
        let passwords = self.credentials.iter().map(|credentials| credentials.password.as_str());
        masked.chain(passwords).chain([self.token.as_str()]).filter(|secret| !secret.is_empty())
    }
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

impl std::fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.user, self.address)
    }
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn field(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}

fn variable(value: &Value) -> Option<Variable> {
    let flag = |name| value.get(name).and_then(Value::as_bool).unwrap_or_default();
    Some(Variable {
        name: field(value, "key")?,
        value: field(value, "value").unwrap_or_default(),
        masked: flag("masked"),
        is_file: flag("file"),
    })
}

fn registry_credentials(value: &Value) -> Option<RegistryCredentials> {
    if field(value, "type")? != "registry" {
        return None;
    }
    Some(RegistryCredentials {
        address: field(value, "url")?,
        user: field(value, "username")?,
        password: field(value, "password")?,
    })
}

/// Scheme, host and port, without the credentials in it.
fn server_of(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split('/').next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// The path of the repository's address without `.git`; `project-<id>` where the runner finds none.
fn project_path(url: &str, project_id: u64) -> PathBuf {
    let path = url::Url::parse(url).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    let path = path.map(|url| url.path().trim_matches('/').trim_end_matches(".git").to_owned()).unwrap_or_default();
    let plain = |path: &Path| path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if path.is_empty() || url.contains("..") || !plain(Path::new(&path)) {
        return PathBuf::from(format!("project-{project_id}"));
    }
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(response: &str) -> Job {
        Job::parse(response.as_bytes()).unwrap()
    }

    #[test]
    fn a_bare_response_is_a_job() {
        let job = job(r#"{"id": 7, "variables": null, "services": null, "image": {"name": ""}, "unknown": 1}"#);
        assert_eq!((job.key().as_str(), job.project_key().as_str(), job.timeout), ("j7-0", "p0-0", 7200));
        assert_eq!((job.image.as_deref(), job.services.len(), job.secrets().count()), (None, 0, 0));
        assert_eq!(Job::parse(b"{}").unwrap_err(), "it has no job `id`");
        assert_eq!(Job::parse(b"[").unwrap_err(), "EOF while parsing a list at line 1 column 1");
    }

    #[test]
    fn servers_are_told_apart_and_tokens_are_not_part_of_them() {
        let key = |url: &str| job(&format!(r#"{{"id": 7, "git_info": {{"repo_url": "{url}"}}}}"#)).key();
        assert_eq!(key("https://gitlab-ci-token:a@git.example.com/x/y.git"), key("https://git.example.com/other.git"));
        assert_ne!(key("https://git.example.com/x.git"), key("https://git.example.org/x.git"));
    }

    #[test]
    fn the_project_lies_where_the_runner_puts_it() {
        for (url, expected) in [
            ("https://gitlab-ci-token:t@git.example.com/group/sub/tools.git", "group/sub/tools"),
            ("http://127.0.0.1:8929/article/tools.git", "article/tools"),
            ("file:///srv/tools.git", "project-42"),
            ("https://git.example.com/../../etc", "project-42"),
            ("https://git.example.com/", "project-42"),
            ("nonsense", "project-42"),
            ("", "project-42"),
        ] {
            assert_eq!(project_path(url, 42), Path::new(expected), "{url}");
        }
    }

    #[test]
    fn secrets_are_known_and_never_shown() {
        let job = job(r#"{"id": 7, "token": "glcbt-1",
            "variables": [{"key": "A", "value": "open"}, {"key": "B", "value": "hidden", "masked": true}],
            "credentials": [{"type": "registry", "url": "r", "username": "u", "password": "pass"}, {"type": "other"}]}"#);
        assert_eq!(job.secrets().collect::<Vec<_>>(), ["hidden", "pass", "glcbt-1"]);
        let shown = format!("{:?}", (&job.variables, &job.credentials));
        assert_eq!(shown, "([A=…, B=…], [u@r])");
    }
}
