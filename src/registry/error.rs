//! What can go wrong with a registry, told so that one message is enough.

use reqwest::{Method, StatusCode};
use url::Url;

use super::docker_config::DockerConfigError;
use super::manifest::ManifestError;
use super::reach::{Denied, Origin};
use crate::error::{ErrorKind, Explain};
use crate::ids::Digest;

/// A failed call. No variant carries a secret: addresses are without query and user, headers never appear.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry answered, and the answer is no.
    #[error("{method} {url}: {status}{}", said(code, message))]
    Refused { method: Method, url: String, status: StatusCode, code: Code, message: String },
    /// The registry wants to know who asks, or does not believe it.
    #[error("registry `{registry}` refuses {method} {url}: {reason}")]
    Unauthorized { registry: String, method: Method, url: String, reason: String },
    /// Every attempt failed for a reason that may pass.
    #[error("{method} {url} failed {} times: {}", causes.len(), listed(causes))]
    GaveUp { method: Method, url: String, causes: Vec<String> },
    #[error("{method} {url}: the certificate is not accepted: {cause}")]
    Certificate { method: Method, url: String, cause: String },
    #[error("{method} {url}: the port does not speak TLS")]
    NotTls { method: Method, url: String },
    /// An answer that the distribution specification does not allow, or that exceeds a limit.
    #[error("{method} {url}: the answer is not usable: {reason}")]
    Answer { method: Method, url: String, reason: String },
    /// The registry pointed somewhere we do not go.
    #[error("registry `{registry}` points to `{target}` for {method}, which is not followed: {reason}")]
    Redirect { registry: String, method: Method, target: String, reason: Denied },
    /// The registry named a token service that must not see the credentials.
    #[error("registry `{registry}` asks to send its credentials to `{realm}`, which is refused: {reason}")]
    Realm { registry: String, realm: String, reason: &'static str },
    #[error("{what}: expected digest {expected}, got {actual}")]
    DigestMismatch { what: String, expected: Digest, actual: Digest },
    #[error("{what}: expected {expected} bytes, got {actual}")]
    LengthMismatch { what: String, expected: u64, actual: u64 },
    #[error("{what} has {size} bytes, more than the {limit} allowed")]
    TooLarge { what: String, size: u64, limit: u64 },
    #[error("manifest of {image}: {source}")]
    Manifest { image: String, source: ManifestError },
    #[error(transparent)]
    Credentials(#[from] DockerConfigError),
    /// Reading or writing on this side of a transfer.
    #[error("{what}: {source}")]
    Local { what: String, source: std::io::Error },
    /// The system lacks what HTTPS needs.
    #[error("cannot set up the HTTP client: {cause}")]
    Setup { cause: String },
    /// A name or password that cannot be sent.
    #[error("{what}: {reason}")]
    Invalid { what: String, reason: String },
}

/// The error codes of the distribution specification; anything else as the registry wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    NameUnknown,
    ManifestUnknown,
    BlobUnknown,
    Denied,
    Unauthorized,
    Unsupported,
    Other(String),
    /// The answer carried no code.
    None,
}

impl Error {
    pub(super) fn redirect(home: &Origin, method: &Method, target: &Url, reason: Denied) -> Self {
        let registry = home.base.authority().to_owned();
        Self::Redirect { registry, method: method.clone(), target: redacted(target), reason }
    }

    /// The registry knows no such thing (spec/publish-and-cleanup.md 3.5: name unknown, manifest unknown).
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status, code, .. } if *status == StatusCode::NOT_FOUND && *code != Code::BlobUnknown)
    }

    /// The image exists but parts of it are gone (spec/publish-and-cleanup.md 3.5: broken).
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Refused { code: Code::BlobUnknown, .. } => true,
            Self::Refused { message, .. } => message.contains("unsupported status code 404"),
            _ => false,
        }
    }

    /// The caller may not do this, or nobody may: going on with the next item is pointless (3.5: fatal during deletion).
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Unauthorized { .. } | Self::Realm { .. } => true,
            Self::Refused { code, status, .. } => {
                matches!(code, Code::Unauthorized | Code::Denied | Code::Unsupported)
                    || matches!(*status, StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED)
            }
            _ => false,
        }
    }
}

impl Explain for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Credentials(error) => error.kind(),
            Self::Local { .. } | Self::Setup { .. } => ErrorKind::Environment,
            Self::Invalid { .. } => ErrorKind::User,
            _ => ErrorKind::Remote,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Refused { code: Code::Unsupported, method, .. } if *method == Method::DELETE => {
                "allow deletion in the registry's configuration (distribution: `storage.delete.enabled: true`)"
            }
            Self::Refused { code: Code::NameUnknown, .. } => "check the name of the repository",
            Self::Unauthorized { .. } | Self::Refused { code: Code::Denied | Code::Unauthorized, .. } => {
                "log in with `docker login REGISTRY` (in a GitLab job: `slipway ci-env gitlab`), or check what the user may do"
            }
            Self::NotTls { .. } => "if the registry speaks plain HTTP, allow it with `--insecure-registry`",
            Self::Certificate { .. } => {
                "add the registry's authority to the system's certificates, or use `--skip-tls-verify-registry`"
            }
            Self::Realm { .. } => "serve the registry over https, or its token service on the registry's own host",
            Self::Setup { .. } => "install the package `ca-certificates`",
            Self::Credentials(error) => return error.hints(),
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

impl Code {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "" => Self::None,
            "NAME_UNKNOWN" => Self::NameUnknown,
            "MANIFEST_UNKNOWN" => Self::ManifestUnknown,
            "BLOB_UNKNOWN" => Self::BlobUnknown,
            "DENIED" => Self::Denied,
            "UNAUTHORIZED" => Self::Unauthorized,
            "UNSUPPORTED" => Self::Unsupported,
            other => Self::Other(printable(other, 40)),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::Denied => "DENIED",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Other(text) => text,
            Self::None => "",
        }
    }
}

/// The first entry of `{"errors":[{"code","message"}]}`; anything else is no code and no message.
pub(super) fn parse_body(body: &[u8]) -> (Code, String) {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let first = serde_json::from_slice::<Body>(body).ok().and_then(|body| body.errors.into_iter().next());
    first.map_or((Code::None, String::new()), |entry| (Code::parse(&entry.code), printable(&entry.message, 200)))
}

/// An address as it may be shown: without query, fragment and user, which can hold signatures and passwords.
pub(super) fn redacted(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    printable(shown.as_str(), 300)
}

/// Foreign text made harmless: no control characters, at most `limit` characters.
pub(super) fn printable(text: &str, limit: usize) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(limit).collect();
    if shown.len() < text.len() && text.chars().count() > limit {
        shown.push('…');
    }
    shown
}

fn said(code: &Code, message: &str) -> String {
    match (code.as_str(), message) {
        ("", "") => String::new(),
        ("", message) => format!(": {message}"),
        (code, "") => format!(": {code}"),
        (code, message) => format!(": {code}: {message}"),
    }
}

/// Causes in order, runs of the same one counted.
fn listed(causes: &[String]) -> String {
    let runs = causes.chunk_by(|a, b| a == b);
    let texts = runs.filter_map(|run| {
        let first = run.first()?;
        Some(if run.len() > 1 { format!("{first} ({} times)", run.len()) } else { first.clone() })
    });
    texts.collect::<Vec<_>>().join("; then ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_what_was_asked_and_what_was_said() {
        let (code, message) =
            parse_body(br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way","detail":{"x":1}}]}"#);
        let url = redacted(&"https://user:secret@r.example/v2/a/blobs/uploads/?token=secret".parse().unwrap());
        let error = Error::Refused { method: Method::POST, url, status: StatusCode::FORBIDDEN, code, message };
        insta::assert_snapshot!(error, @"POST https://r.example/v2/a/blobs/uploads/: 403 Forbidden: DENIED: no[31m way");
        assert!(error.is_denied());
        insta::assert_snapshot!(error.hints().join("\n"), @"log in with `docker login REGISTRY` (in a GitLab job: `slipway ci-env gitlab`), or check what the user may do");
    }

    #[test]
    fn attempts_are_listed_with_their_causes() {
        let causes = ["429 Too Many Requests", "429 Too Many Requests", "connection reset"].map(str::to_owned).to_vec();
        let error = Error::GaveUp { method: Method::GET, url: "https://r.example/v2/a/tags/list".to_owned(), causes };
        insta::assert_snapshot!(error, @"GET https://r.example/v2/a/tags/list failed 3 times: 429 Too Many Requests (2 times); then connection reset");
    }
}
