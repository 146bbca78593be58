//! Names of images in a registry, as people write them and as the registry API needs them.

use std::fmt;
use std::str::FromStr;

use crate::ids::Digest;

/// `registry/repository[:tag][@digest]`, normalised: a missing registry is Docker Hub's, `library/` is added there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    /// Host and optional port, lower case: `registry.example.com:5000`; `docker.io` for Docker Hub.
    pub registry: String,
    /// Path within the registry: `group/project/image`.
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// A text that cannot name an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct InvalidImageRef {
    pub text: String,
    pub reason: &'static str,
}

impl ImageRef {
    /// The same repository under another tag.
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// What the registry API takes as `<reference>`: the digest, else the tag, else `latest`.
    pub fn reference(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }

    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageRef {
    type Err = InvalidImageRef;

    fn from_str(text: &str) -> Result<Self, InvalidImageRef> {
        let invalid = |reason| InvalidImageRef { text: text.chars().take(200).collect(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| invalid("the digest is not sha256 and 64 hex digits"))?))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid(
                "the tag has characters other than letters, digits, `_`, `.`, `-`, or is longer than 128",
            ));
        }
        let (registry, path) = split_registry(name);
        if path.is_empty() || !path.split('/').all(is_component) {
            return Err(invalid(
                "the repository must be lower-case letters, digits and single separators `.`, `_`, `-`, `/`",
            ));
        }
        if !is_host(&registry) {
            return Err(invalid("the registry is not a host name with an optional port"));
        }
        let repository =
            if registry == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        if repository.len() + registry.len() > 255 {
            return Err(invalid("the name is longer than 255 characters"));
        }
        Ok(Self { registry, repository, tag: tag.map(str::to_owned), digest })
    }
}

/// Whether a text may be a tag: a letter, digit or `_`, then up to 127 of these and `.`, `-` (OCI distribution).
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && word(text.as_bytes()[0])
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// The first component is a registry when it looks like a host; otherwise the name is Docker Hub's.
fn split_registry(name: &str) -> (String, &str) {
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            let host = host.to_ascii_lowercase();
            let hub = matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io");
            (if hub { "docker.io".to_owned() } else { host }, path)
        }
        _ => ("docker.io".to_owned(), name),
    }
}

fn is_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separator = |run: &str| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    !text.is_empty()
        && text.bytes().all(|b| plain(b) || b"._-".contains(&b))
        && plain(text.as_bytes()[0])
        && plain(text.as_bytes()[text.len() - 1])
        && text.split(|c: char| c.is_ascii_alphanumeric()).filter(|run| !run.is_empty()).all(separator)
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", rest.strip_prefix(':').or(if rest.is_empty() { None } else { Some("bad") }))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    host.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised() {
        for (text, expected) in [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3.12", "docker.io/library/alpine:3.12"),
            ("index.docker.io/user/app:1", "docker.io/user/app:1"),
            ("localhost:5000/app", "localhost:5000/app"),
            ("127.0.0.1:5000/a/b__c:T_1", "127.0.0.1:5000/a/b__c:T_1"),
            ("[::1]:5000/app", "[::1]:5000/app"),
        ] {
            assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_name_an_image_is_refused() {
        for text in [
            "",
            "UPPER/case",
            "a..b",
            "../etc",
            "host.io/",
            "host.io/a:-tag",
            "a@sha256:12",
            "ho st.io/a",
            "host.io:99999/a",
            "a//b",
        ] {
            assert!(text.parse::<ImageRef>().is_err(), "{text}");
        }
    }
}
