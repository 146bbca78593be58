//! Credentials as the docker client keeps them: `config.json` with `auths`, `credsStore` and `credHelpers`, and the
//! private copy that each CI job gets (spec/publish-and-cleanup.md 1.4).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;

use crate::error::{ErrorKind, Explain};
use crate::sys::env::Env;

/// The key that docker uses for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// `config.json` holds a few hosts; more than this is something else.
const LARGEST_FILE: u64 = 4 << 20;
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);
/// `contexts/` and `trust/` are three levels deep.
const DEEPEST_DIRECTORY: usize = 16;

/// What a user shows to a registry. `Debug` hides the secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic {
        user: String,
        password: String,
    },
    /// A refresh token, exchanged at the registry's token service.
    IdentityToken(String),
    /// A bearer token, shown to the registry as it is.
    RegistryToken(String),
}

/// A docker configuration: where credentials of a registry are to be found. `Debug` shows no content.
#[derive(Clone, Default)]
pub struct DockerConfig {
    path: PathBuf,
    /// `PATH`, for credential helpers.
    search_path: Option<OsString>,
    content: Map<String, Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    #[error("cannot read docker configuration `{}`: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write docker configuration `{}`: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("docker configuration `{}`: {reason}", path.display())]
    Content { path: PathBuf, reason: String },
    #[error("credential helper `{program}` failed for registry `{registry}`: {reason}")]
    Helper { program: String, registry: String, reason: String },
}

impl Explain for DockerConfigError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Write { .. } | Self::Helper { .. } => ErrorKind::Environment,
            Self::Content { .. } => ErrorKind::User,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Content { .. } => vec!["`docker login` writes this file anew when it is moved away".to_owned()],
            Self::Helper { program, .. } => {
                vec![format!("install `{program}`, or remove it from `credsStore` and `credHelpers` in `config.json`")]
            }
            Self::Read { .. } | Self::Write { .. } => Vec::new(),
        }
    }
}

impl DockerConfig {
    /// The directory that docker and werf would use: `WERF_DOCKER_CONFIG`, `DOCKER_CONFIG`, `~/.docker`.
    pub fn usual_directory(env: &Env) -> Option<PathBuf> {
        let named = env.get_os("WERF_DOCKER_CONFIG").or_else(|| env.get_os("DOCKER_CONFIG")).map(PathBuf::from);
        named.or_else(|| env.get_os("HOME").map(|home| Path::new(home).join(".docker")))
    }

    /// Reads `config.json` of a docker configuration directory; a missing file has no credentials. Credential helpers are
    /// looked up in the environment's `PATH`.
    pub fn load(directory: &Path, env: &Env) -> Result<Self, DockerConfigError> {
        let search_path = env.get_os("PATH").map(OsStr::to_owned);
        Ok(Self { search_path, ..Self::read(directory)? })
    }

    fn read(directory: &Path) -> Result<Self, DockerConfigError> {
        let path = directory.join("config.json");
        let content = match read_regular(&path) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(source) => return Err(DockerConfigError::Read { path, source }),
        };
        Ok(Self { path, content, search_path: None })
    }

    /// What to show to a registry (`host[:port]`; `docker.io` for Docker Hub), `None` when nothing is known.
    ///
    /// As in docker, a helper for the host comes before the general one, and both before the file.
    pub async fn credentials(&self, registry: &str) -> Result<Option<Credentials>, DockerConfigError> {
        let key = auth_key(registry);
        if let Some(helper) = self.helper(registry)
            && let Some(found) = self.ask_helper(helper, key).await?
        {
            return Ok(Some(found));
        }
        self.file_credentials(registry)
    }

    /// Makes a private copy of a docker configuration directory: `config.json`, `contexts/` and `trust/`, nothing else
    /// and neither links nor sockets. `into` is created with mode 0700 and must not exist. A missing source gives an
    /// empty configuration.
    pub fn session_copy(source: &Path, into: &Path) -> Result<(), DockerConfigError> {
        let config = Self::read(source)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DockerConfigError::Write { path, source }
        };
        std::fs::DirBuilder::new().mode(0o700).create(into).map_err(failed(into))?;
        for name in ["contexts", "trust"] {
            copy_directory(&source.join(name), &into.join(name), 0).map_err(failed(&into.join(name)))?;
        }
        Self { path: into.join("config.json"), ..config }.save()
    }

    /// Writes credentials for a registry into `config.json` of `directory`, under the host and under the address as given
    /// (`host/group/project`), and takes the host away from its credential helper. The file is replaced at once, mode 0600.
    pub fn add_auth(directory: &Path, address: &str, user: &str, password: &str) -> Result<(), DockerConfigError> {
        let mut config = Self::read(directory)?;
        let key = auth_key(host_of(address)).to_owned();
        let auth = json!({ "auth": BASE64.encode(format!("{user}:{password}")) });
        let auths = config.section_mut("auths")?;
        auths.insert(key.clone(), auth.clone());
        auths.insert(address.to_owned(), auth);
        // An empty helper makes docker read the file for this host alone.
        let general_helper = config.content.get("credsStore").and_then(Value::as_str).is_some_and(|s| !s.is_empty());
        if general_helper || config.content.contains_key("credHelpers") {
            let helpers = config.section_mut("credHelpers")?;
            helpers.retain(|name, _| host_of(name) != host_of(address));
            if general_helper {
                helpers.insert(key, json!(""));
            }
        }
        config.save()
    }

    /// The helper named for this host, else the general one; an empty name means the file.
    fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.content.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            helpers.iter().find(|(key, _)| host_of(key) == registry).and_then(|(_, name)| name.as_str())
        });
        own.or_else(|| self.content.get("credsStore")?.as_str()).filter(|name| !name.is_empty())
    }

    async fn ask_helper(&self, name: &str, key: &str) -> Result<Option<Credentials>, DockerConfigError> {
        let program = format!("docker-credential-{name}");
        let registry = host_of(key).to_owned();
        let failed = |reason: String| DockerConfigError::Helper { program: program.clone(), registry, reason };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(failed("its name is not a program's".to_owned()));
        }
        let Ok(path) = which::which_in(&program, self.search_path.as_ref(), Path::new("/")) else {
            return Err(failed("it is not in PATH".to_owned()));
        };
        match tokio::time::timeout(HELPER_TIMEOUT, run_helper(&path, key)).await {
            Err(_) => Err(failed(format!("no answer within {} s", HELPER_TIMEOUT.as_secs()))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Ok(Ok(output)) => parse_helper_answer(&output).map_err(failed),
        }
    }

    /// The entry of exactly this host, else the first whose key has this host.
    fn file_credentials(&self, registry: &str) -> Result<Option<Credentials>, DockerConfigError> {
        let Some(auths) = self.content.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let entry = auths
            .get(auth_key(registry))
            .or_else(|| auths.get(registry))
            .or_else(|| auths.iter().find(|(key, _)| host_of(key) == registry).map(|(_, entry)| entry));
        let Some(entry) = entry else { return Ok(None) };
        entry_credentials(entry).map_err(|reason| self.content_error(format!("`auths` for `{registry}`: {reason}")))
    }

    fn section_mut(&mut self, name: &str) -> Result<&mut Map<String, Value>, DockerConfigError> {
        let path = self.path.clone();
        let section = self.content.entry(name).or_insert_with(|| json!({}));
        if section.is_null() {
            *section = json!({});
        }
        section
            .as_object_mut()
            .ok_or_else(|| DockerConfigError::Content { path, reason: format!("`{name}` is not an object") })
    }

    fn content_error(&self, reason: String) -> DockerConfigError {
        DockerConfigError::Content { path: self.path.clone(), reason }
    }

    fn save(&self) -> Result<(), DockerConfigError> {
        let text = serde_json::to_vec_pretty(&self.content).map_err(|error| self.content_error(error.to_string()))?;
        replace_file(&self.path, &text).map_err(|source| DockerConfigError::Write { path: self.path.clone(), source })
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { user, .. } => f.debug_struct("Basic").field("user", user).finish_non_exhaustive(),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
            Self::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}

/// The host (and port) of an address or of a key of `auths`, which may have a scheme and a path.
pub fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host }
}

fn auth_key(registry: &str) -> &str {
    if registry == "docker.io" { HUB_KEY } else { registry }
}

/// One entry of `auths`: `identitytoken`, `registrytoken`, `auth` (base64 of `user:password`), or both in clear.
fn entry_credentials(entry: &Value) -> Result<Option<Credentials>, &'static str> {
    let text = |name| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credentials::IdentityToken(token.to_owned())));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credentials::RegistryToken(token.to_owned())));
    }
    if let Some(auth) = text("auth") {
        let decoded = BASE64.decode(auth.trim()).map_err(|_| "`auth` is not base64")?;
        let decoded = String::from_utf8(decoded).map_err(|_| "`auth` is not text")?;
        let (user, password) = decoded.split_once(':').ok_or("`auth` has no colon")?;
        // Old docker versions pad the password with NUL.
        let password = password.trim_end_matches('\0');
        return Ok(Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() }));
    }
    match (text("username"), text("password")) {
        (Some(user), Some(password)) => {
            Ok(Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() }))
        }
        _ => Ok(None),
    }
}

/// Reads the answer of `docker-credential-… get`; `None` when the helper knows nothing.
fn parse_helper_answer(output: &std::process::Output) -> Result<Option<Credentials>, String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(format!("{}: {}", output.status, super::error::printable(said.trim(), 200)));
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        username: String,
        #[serde(default)]
        secret: String,
    }
    // The parser's message may quote the secret.
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|_| "its answer is not the JSON expected".to_owned())?;
    Ok(match (answer.username.as_str(), answer.secret) {
        (_, secret) if secret.is_empty() => None,
        ("<token>", secret) => Some(Credentials::IdentityToken(secret)),
        (user, password) => Some(Credentials::Basic { user: user.to_owned(), password }),
    })
}

/// Runs a helper's `get` with the key on its stdin, as the protocol wants it: nothing secret is ever in its arguments.
async fn run_helper(program: &Path, key: &str) -> std::io::Result<std::process::Output> {
    let mut child = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read is judged by what it answers.
        let _ = stdin.write_all(key.as_bytes()).await;
    }
    child.wait_with_output().await
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, DockerConfigError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    // Only the place is told: the parser's message may quote a secret.
    let reason = match serde_json::from_slice(bytes) {
        Ok(Value::Object(content)) => return Ok(content),
        Ok(_) => "it is not a JSON object".to_owned(),
        Err(error) => format!("not JSON at line {}, column {}", error.line(), error.column()),
    };
    Err(DockerConfigError::Content { path: path.to_owned(), reason })
}

/// Reads a regular file of bounded size; a FIFO or socket is refused without being opened for long.
fn read_regular(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Error, ErrorKind};
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::new(ErrorKind::InvalidInput, "it is larger than 4 MiB"));
    }
    Ok(bytes)
}

/// Copies directories and regular files; a missing source is nothing to copy.
fn copy_directory(source: &Path, into: &Path, depth: usize) -> std::io::Result<()> {
    let is_directory = std::fs::symlink_metadata(source).is_ok_and(|metadata| metadata.is_dir());
    if !is_directory || depth > DEEPEST_DIRECTORY {
        return Ok(());
    }
    std::fs::DirBuilder::new().mode(0o700).create(into)?;
    for entry in std::fs::read_dir(source)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = into.join(entry.file_name());
        if kind.is_dir() {
            copy_directory(&entry.path(), &target, depth + 1)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target)?;
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

/// Puts the whole new content in place at once, readable by the owner only.
fn replace_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let temporary = directory.join(format!(".config.json.{:016x}", getrandom::u64().map_err(std::io::Error::other)?));
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(content: Value) -> DockerConfig {
        DockerConfig {
            path: "/h/.docker/config.json".into(),
            content: content.as_object().unwrap().clone(),
            search_path: None,
        }
    }

    fn basic(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn keys_of_auths_may_have_scheme_and_path() {
        let auth = |text: &str| json!({ "auth": BASE64.encode(text) });
        let config = config(json!({ "auths": {
            HUB_KEY: auth("hub:pw"),
            "https://registry.example.com/v1/": auth("old:style"),
            "gitlab.example.com:5050/group/project": auth("job:to:ken"),
            "plain.example.com": { "username": "u", "password": "p" },
            "azure.example.com": { "auth": BASE64.encode("0000:"), "identitytoken": "refresh" },
            "empty.example.com": {},
        }}));
        for (registry, expected) in [
            ("docker.io", basic("hub", "pw")),
            ("registry.example.com", basic("old", "style")),
            ("gitlab.example.com:5050", basic("job", "to:ken")),
            ("gitlab.example.com", None),
            ("plain.example.com", basic("u", "p")),
            ("azure.example.com", Some(Credentials::IdentityToken("refresh".to_owned()))),
            ("empty.example.com", None),
        ] {
            assert_eq!(config.file_credentials(registry).unwrap(), expected, "{registry}");
        }
    }

    #[test]
    fn debug_output_hides_secrets() {
        let shown = format!(
            "{:?} {:?} {:?}",
            basic("user", "hunter2"),
            Credentials::IdentityToken("hunter2".into()),
            config(json!({ "auths": { "h": { "password": "hunter2" } } }))
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn broken_configurations_are_told_without_their_content() {
        let error = parse(Path::new("/h/.docker/config.json"), b"{\"auths\": {\n  \"h\": hunter2}}").unwrap_err();
        insta::assert_snapshot!(error, @"docker configuration `/h/.docker/config.json`: not JSON at line 2, column 8");
        let error = config(json!({ "auths": { "r.example": { "auth": "hunter2!" } } }));
        insta::assert_snapshot!(error.file_credentials("r.example").unwrap_err(), @"docker configuration `/h/.docker/config.json`: `auths` for `r.example`: `auth` is not base64");
    }

    #[test]
    fn a_session_copy_is_private_and_holds_no_links() {
        let home = tempfile::tempdir().unwrap();
        let source = home.path().join("docker");
        std::fs::create_dir_all(source.join("contexts/meta/abc")).unwrap();
        std::fs::create_dir_all(source.join("cli-plugins")).unwrap();
        std::fs::write(source.join("config.json"), r#"{"auths":{},"HttpHeaders":{"X":"1"}}"#).unwrap();
        std::fs::write(source.join("contexts/meta/abc/meta.json"), "{}").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", source.join("contexts/leak")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(source.join("contexts/socket")).unwrap();

        let into = home.path().join("session");
        DockerConfig::session_copy(&source, &into).unwrap();
        DockerConfig::add_auth(&into, "registry.example.com/group/app", "gitlab-ci-token", "token").unwrap();

        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&into), mode(&into.join("config.json"))), (0o700, 0o600));
        assert!(into.join("contexts/meta/abc/meta.json").is_file());
        for name in ["contexts/leak", "contexts/socket", "cli-plugins"] {
            assert!(std::fs::symlink_metadata(into.join(name)).is_err(), "{name}");
        }
        insta::assert_snapshot!(std::fs::read_to_string(into.join("config.json")).unwrap(), @r#"
        {
          "auths": {
            "registry.example.com": {
              "auth": "Z2l0bGFiLWNpLXRva2VuOnRva2Vu"
            },
            "registry.example.com/group/app": {
              "auth": "Z2l0bGFiLWNpLXRva2VuOnRva2Vu"
            }
          },
          "HttpHeaders": {
            "X": "1"
          }
        }
        "#);
        assert!(!std::fs::read_to_string(source.join("config.json")).unwrap().contains("registry.example.com"));
        assert!(DockerConfig::session_copy(&source, &into).is_err(), "an existing directory is not ours");
    }

    #[test]
    fn a_login_overrides_helpers_for_its_host_only() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.json");
        let before =
            json!({ "credsStore": "desktop", "credHelpers": { "r.example": "ecr-login", "other.example": "gcr" } });
        std::fs::write(&path, before.to_string()).unwrap();
        DockerConfig::add_auth(home.path(), "r.example/app", "u", "p").unwrap();
        let config = DockerConfig::read(home.path()).unwrap();
        assert_eq!(config.helper("r.example"), None);
        assert_eq!(config.helper("other.example"), Some("gcr"));
        assert_eq!(config.helper("third.example"), Some("desktop"));
        assert_eq!(config.file_credentials("r.example").unwrap(), basic("u", "p"));
    }

    #[tokio::test]
    async fn helpers_are_asked_for_the_host() {
        let home = tempfile::tempdir().unwrap();
        let script = r#"#!/bin/sh
            read key
            case "$1 $key" in
            "get user.example") echo '{"ServerURL":"x","Username":"u","Secret":"p"}' ;;
            "get token.example") echo '{"Username":"<token>","Secret":"refresh"}' ;;
            "get broken.example") echo '{"Secret": hunter2' ;;
            "get locked.example") echo 'the keychain is locked'; exit 1 ;;
            *) echo 'credentials not found in native keychain'; exit 1 ;;
            esac
        "#;
        // Copied by another process: a program that this one has open for writing, or a child of another test, is busy.
        let (text, program) = (home.path().join("script"), home.path().join("docker-credential-test"));
        std::fs::write(&text, script).unwrap();
        std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(std::process::Command::new("cp").args([&text, &program]).status().unwrap().success());
        let content =
            json!({ "credsStore": "test", "auths": { "file.example": { "username": "f", "password": "f" } } });
        let config = DockerConfig { search_path: Some(home.path().into()), ..config(content) };

        assert_eq!(config.credentials("user.example").await.unwrap(), basic("u", "p"));
        let token = Some(Credentials::IdentityToken("refresh".to_owned()));
        assert_eq!(config.credentials("token.example").await.unwrap(), token);
        assert_eq!(config.credentials("file.example").await.unwrap(), basic("f", "f"));
        assert_eq!(config.credentials("other.example").await.unwrap(), None);
        insta::assert_snapshot!(config.credentials("broken.example").await.unwrap_err(), @"credential helper `docker-credential-test` failed for registry `broken.example`: its answer is not the JSON expected");
        insta::assert_snapshot!(config.credentials("locked.example").await.unwrap_err(), @"credential helper `docker-credential-test` failed for registry `locked.example`: exit status: 1: the keychain is locked");
    }

    #[tokio::test]
    async fn a_missing_helper_is_named() {
        let config = config(json!({ "credsStore": "no-such-helper-here" }));
        insta::assert_snapshot!(config.credentials("r.example").await.unwrap_err(), @"credential helper `docker-credential-no-such-helper-here` failed for registry `r.example`: it is not in PATH");
    }
}
