//! The images repo from what the user gave: address, mode, kind of registry (publish-and-cleanup.md 3.2, 3.3). Pure.

use crate::error::Error;
use crate::stage::tag::{ImagesRepo, RepoMode};

/// Kinds of registries that 1.1 names.
const IMPLEMENTATIONS: [&str; 9] = ["ecr", "acr", "default", "dockerhub", "gcr", "github", "gitlab", "harbor", "quay"];

/// The images repo of a project.
///
/// # Errors
/// No address, an unknown mode or kind, or a mode that the kind of registry cannot have.
pub fn images_repo(address: &str, mode: &str, implementation: &str, project: &str) -> Result<ImagesRepo, Error> {
    let address = address.trim_end_matches('/');
    if address.is_empty() {
        return Err(Error::user("--images-repo REPO param required")
            .hint("in a GitLab job, `source <(werf ci-env gitlab)` sets WERF_IMAGES_REPO to $CI_REGISTRY_IMAGE"));
    }
    let address = if address == ":minikube" {
        format!("werf-registry.kube-system.svc.cluster.local:5000/{project}")
    } else {
        address.to_owned()
    };
    if !matches!(implementation, "" | "auto") && !IMPLEMENTATIONS.contains(&implementation) {
        return Err(Error::user(format!(
            "specified docker registry implementation `{implementation}` is not supported"
        ))
        .hint(format!("one of: auto, {}", IMPLEMENTATIONS.join(", "))));
    }
    let wanted = match mode {
        "" | "auto" => None,
        "multirepo" => Some(RepoMode::Multirepo),
        "monorepo" => Some(RepoMode::Monorepo),
        other => {
            return Err(Error::user(format!(
                "bad --images-repo-mode `{other}`: only multirepo, monorepo or auto supported"
            )));
        }
    };
    let forced = forced_mode(&address, implementation)?;
    match (wanted, forced) {
        (Some(wanted), Some(forced)) if wanted != forced => Err(Error::user(format!(
            "--images-repo-mode {mode} does not fit the repository {address}: this registry has no deeper repositories"
        ))
        .hint(match forced {
            RepoMode::Monorepo => "use --images-repo-mode monorepo, or give the account alone",
            RepoMode::Multirepo => "use --images-repo-mode multirepo, or give a repository of the account",
        })),
        (wanted, forced) => Ok(ImagesRepo { address, mode: wanted.or(forced).unwrap_or(RepoMode::Multirepo) }),
    }
}

/// Registries whose repositories have a fixed depth leave no choice.
fn forced_mode(address: &str, implementation: &str) -> Result<Option<RepoMode>, Error> {
    let (host, path) = match address.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ if address.contains(['.', ':']) && !address.contains('/') => (address, ""),
        _ => ("index.docker.io", address),
    };
    let kind = if matches!(implementation, "" | "auto") { detect(host) } else { implementation };
    let depth = path.split('/').filter(|part| !part.is_empty()).count();
    let account = match kind {
        "dockerhub" | "quay" => 1,
        "github" => 2,
        _ => return Ok(None),
    };
    match depth {
        depth if depth == account => Ok(Some(RepoMode::Multirepo)),
        depth if depth == account + 1 => Ok(Some(RepoMode::Monorepo)),
        _ => Err(Error::user(format!("the images repo {address} has the wrong depth for {kind}"))
            .hint("give the account (one repository per image) or one repository of it (all images in it)")),
    }
}

fn detect(host: &str) -> &'static str {
    match host {
        "index.docker.io" | "registry.hub.docker.com" | "docker.io" => "dockerhub",
        "docker.pkg.github.com" => "github",
        "quay.io" => "quay",
        host if host.starts_with("quay.") && host.ends_with(".com") => "quay",
        _ => "default",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(address: &str, mode: &str) -> Result<RepoMode, String> {
        images_repo(address, mode, "", "tools").map(|repo| repo.mode).map_err(|error| error.to_string())
    }

    #[test]
    fn the_mode_follows_from_the_registry() {
        assert_eq!(mode("registry.example.com/tools/", "auto"), Ok(RepoMode::Multirepo));
        assert_eq!(mode("registry.example.com/tools", "monorepo"), Ok(RepoMode::Monorepo));
        assert_eq!(mode("account", ""), Ok(RepoMode::Multirepo));
        assert_eq!(mode("account/repo", ""), Ok(RepoMode::Monorepo));
        assert_eq!(mode("quay.io/ns/repo", ""), Ok(RepoMode::Monorepo));
        assert_eq!(mode("docker.pkg.github.com/owner/project", ""), Ok(RepoMode::Multirepo));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(mode("", ""), Err("--images-repo REPO param required".to_owned()));
        assert_eq!(
            mode("x.io/a", "both"),
            Err("bad --images-repo-mode `both`: only multirepo, monorepo or auto supported".to_owned())
        );
        assert!(mode("account/repo", "multirepo").unwrap_err().contains("does not fit the repository account/repo"));
        assert!(mode("quay.io/a/b/c", "").unwrap_err().contains("wrong depth for quay"));
    }
}
