//! Which paths of a repository a git mapping takes (spec/build.md 1.7).

use super::signature;
use crate::config::GitMapping;

/// The path rules of one mapping, relative to the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathFilter {
    /// `add` without the leading slash; `""` is the root.
    pub base: String,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

/// Identifies a mapping by everything but the content: labels of stages carry it (spec/build.md 2.5, `paramshash`).
/// 64 hex digits. `stageDependencies` are not part of it.
pub fn id(mapping: &GitMapping) -> String {
    let (url, reference) = match &mapping.remote {
        None => ("", String::new()),
        Some(remote) => (remote.name.as_str(), format!("{:?}", remote.reference)),
    };
    let list = |paths: &[String]| serde_json::Value::from(paths).to_string();
    signature::id(
        "mapping",
        &[
            url,
            &reference,
            &mapping.add,
            &mapping.to,
            &mapping.owner,
            &mapping.group,
            &list(&mapping.include_paths),
            &list(&mapping.exclude_paths),
        ],
    )
}

/// How people recognise a mapping: `/ -> /app`, `company/name:/src -> /lib`.
pub fn display(mapping: &GitMapping) -> String {
    match &mapping.remote {
        None => format!("/{} -> {}", mapping.add, mapping.to),
        Some(remote) => format!("{}:/{} -> {}", remote.name, mapping.add, mapping.to),
    }
}
