//! Which registry software answers at an address: decides how tags are deleted and how image names may be made up
//! (spec/publish-and-cleanup.md 3.2, 3.3). Pure.

use std::fmt;

use super::docker_config::host_of;
use super::error::printable;
use crate::error::{ErrorKind, Explain};

/// The kinds of registry that werf tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Implementation {
    Ecr,
    Acr,
    Default,
    DockerHub,
    Gcr,
    GitHub,
    GitLab,
    Harbor,
    Quay,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("specified docker registry implementation '{given}' is not supported")]
pub struct UnknownImplementation {
    given: String,
}

impl Implementation {
    const ALL: [Self; 9] = [
        Self::Ecr,
        Self::Acr,
        Self::Default,
        Self::DockerHub,
        Self::Gcr,
        Self::GitHub,
        Self::GitLab,
        Self::Harbor,
        Self::Quay,
    ];

    /// What the user named (`--repo-implementation`); empty and `auto` look at the address.
    ///
    /// `gitlab_registry` is `$CI_REGISTRY`, whose host is GitLab's whatever it is called.
    pub fn choose(given: &str, address: &str, gitlab_registry: Option<&str>) -> Result<Self, UnknownImplementation> {
        if matches!(given, "" | "auto") {
            return Ok(Self::detect(address, gitlab_registry));
        }
        let named = Self::ALL.into_iter().find(|one| one.name() == given);
        named.ok_or_else(|| UnknownImplementation { given: printable(given, 100) })
    }

    /// The first pattern that the address's host matches; a reference without a host is Docker Hub's.
    pub fn detect(address: &str, gitlab_registry: Option<&str>) -> Self {
        let host = registry_host(address).to_ascii_lowercase();
        let name = host.split(':').next().unwrap_or_default();
        if is_ecr(name) {
            Self::Ecr
        } else if name.contains(".azurecr.io") {
            Self::Acr
        } else if matches!(name, "docker.io" | "registry.hub.docker.com") {
            Self::DockerHub
        } else if matches!(name, "container.cloud.google.com" | "gcr.io") || name.ends_with(".gcr.io") {
            Self::Gcr
        } else if name == "docker.pkg.github.com" {
            Self::GitHub
        } else if matches!(name, "gitlab.com" | "registry.gitlab.com")
            || gitlab_registry.is_some_and(|registry| host_of(registry).eq_ignore_ascii_case(&host))
        {
            Self::GitLab
        } else if name.starts_with("harbor.") {
            Self::Harbor
        } else if name == "quay.io" || (name.starts_with("quay.") && name.ends_with(".com")) {
            Self::Quay
        } else {
            Self::Default
        }
    }

    /// As in `--repo-implementation`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ecr => "ecr",
            Self::Acr => "acr",
            Self::Default => "default",
            Self::DockerHub => "dockerhub",
            Self::Gcr => "gcr",
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Harbor => "harbor",
            Self::Quay => "quay",
        }
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Explain for UnknownImplementation {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        let names: Vec<&str> = Implementation::ALL.iter().map(|one| one.name()).collect();
        vec![format!("supported are: auto, {}", names.join(", "))]
    }
}

/// The host of an address: `host/path`, or a bare registry (`host.example`, `host:5000`); anything else is Docker Hub's.
fn registry_host(address: &str) -> &str {
    let host = host_of(address);
    if host.contains(['.', ':']) || host == "localhost" { host } else { "docker.io" }
}

/// `123456789012.dkr.ecr[-fips].REGION.amazonaws.com[.cn]`
fn is_ecr(host: &str) -> bool {
    let Some((account, rest)) = host.split_once(".dkr.ecr") else { return false };
    let rest = rest.strip_prefix("-fips").unwrap_or(rest);
    let rest = rest.strip_suffix(".cn").unwrap_or(rest);
    let region = rest.strip_prefix('.').and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    is_account && region.is_some_and(|region| !region.is_empty() && !region.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_implementation_is_known_by_its_host() {
        use Implementation::*;
        for (address, expected) in [
            ("123456789012.dkr.ecr.eu-central-1.amazonaws.com/app", Ecr),
            ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/app", Ecr),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app", Ecr),
            ("12345.dkr.ecr.eu-central-1.amazonaws.com/app", Default),
            ("123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example/app", Default),
            ("company.azurecr.io/app", Acr),
            ("account/app", DockerHub),
            ("account", DockerHub),
            ("index.docker.io/account/app", DockerHub),
            ("registry.hub.docker.com/account", DockerHub),
            ("gcr.io/project/app", Gcr),
            ("eu.gcr.io/project/app", Gcr),
            ("container.cloud.google.com/project", Gcr),
            ("docker.pkg.github.com/owner/project", GitHub),
            ("ghcr.io/owner/project", Default),
            ("gitlab.com/group", GitLab),
            ("registry.gitlab.com/group/project", GitLab),
            ("registry.example.com:5050/group/project", GitLab),
            ("registry.example.com/group/project", Default),
            ("harbor.example.com/project/app", Harbor),
            ("quay.io/ns/app", Quay),
            ("quay.example.com/ns/app", Quay),
            ("127.0.0.1:5000/app", Default),
            ("localhost/app", Default),
        ] {
            assert_eq!(Implementation::detect(address, Some("registry.example.com:5050")), expected, "{address}");
        }
    }

    #[test]
    fn what_is_named_wins_and_must_exist() {
        assert_eq!(Implementation::choose("auto", "quay.io/a", None), Ok(Implementation::Quay));
        assert_eq!(Implementation::choose("harbor", "quay.io/a", None), Ok(Implementation::Harbor));
        let error = Implementation::choose("nexus", "quay.io/a", None).unwrap_err();
        insta::assert_snapshot!(error, @"specified docker registry implementation 'nexus' is not supported");
        insta::assert_snapshot!(error.hints().join("\n"), @"supported are: auto, ecr, acr, default, dockerhub, gcr, github, gitlab, harbor, quay");
    }
}
