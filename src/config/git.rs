//! Entries of `git` (spec/build.md 1.7).

use super::error::{At, Problem};
use super::field::Field;
use super::model::{GitMapping, GitReference, GitRemote, StageDependencies};
use super::paths;

pub(super) fn convert(entry: Field<'_>) -> Result<GitMapping, At> {
    let entry = entry.map()?;
    let add = entry.get("add").map(|field| paths::absolute(field, "add")).transpose()?.unwrap_or_default();
    Ok(GitMapping {
        remote: remote(entry)?,
        add: add.trim_start_matches('/').to_owned(),
        to: paths::absolute(entry.require("to")?, "to")?,
        owner: entry.text_or_empty("owner")?,
        group: entry.text_or_empty("group")?,
        include_paths: paths::patterns(entry, "includePaths")?,
        exclude_paths: paths::patterns(entry, "excludePaths")?,
        stage_dependencies: stage_dependencies(entry)?,
    })
}

fn remote(entry: Field<'_>) -> Result<Option<GitRemote>, At> {
    let references = entry.given(&["branch", "tag", "commit"]);
    let Some(field) = entry.get("url") else {
        return match references.first().and_then(|key| Some((*key, entry.get(key)?))) {
            Some((key, field)) => Err(field.wrong(Problem::OnlyRemote { key })),
            None => Ok(None),
        };
    };
    let url = url(field)?;
    let reference = match references.as_slice() {
        [] => GitReference::Default,
        [key] => reference(key, entry.require(key)?)?,
        several => return Err(entry.conflict(several)),
    };
    require_acknowledgement(entry, &reference)?;
    Ok(Some(GitRemote { name: remote_name(&url), url, reference }))
}

/// What git would take for an option or a helper program to run is refused (hostile-inputs 24).
fn url(field: Field<'_>) -> Result<String, At> {
    let url = field.text()?;
    let helper = url.split_once("::").is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_alphanumeric()));
    let reason = if url.is_empty() {
        return Err(field.wrong(Problem::Empty { key: "url" }));
    } else if url.starts_with('-') {
        "it begins with a dash"
    } else if url.chars().any(|c| c.is_control() || c == ' ') {
        "it has a blank or a control character"
    } else if helper {
        "it names a git helper program"
    } else {
        return Ok(url);
    };
    Err(field.wrong(Problem::GitName { key: "url", reason }))
}

fn reference(key: &'static str, field: Field<'_>) -> Result<GitReference, At> {
    let name = field.text()?;
    let reason = if name.starts_with('-') {
        "it begins with a dash"
    } else if name.chars().any(|c| c.is_control() || c == ' ') {
        "it has a blank or a control character"
    } else {
        return Ok(match key {
            "branch" => GitReference::Branch(name),
            "tag" => GitReference::Tag(name),
            _ => GitReference::Commit(name),
        });
    };
    Err(field.wrong(Problem::GitName { key, reason }))
}

fn require_acknowledgement(entry: Field<'_>, reference: &GitReference) -> Result<(), At> {
    let (key, branch) = match reference {
        GitReference::Branch(name) => ("branch", Some(name.clone())),
        GitReference::Default => ("url", None),
        GitReference::Tag(_) | GitReference::Commit(_) => return Ok(()),
    };
    if entry.switch("herebyIAdmitThatBranchMightBreakReproducibility")? {
        return Ok(());
    }
    Err(entry.require(key)?.wrong(Problem::MovingBranch { branch }))
}

fn stage_dependencies(entry: Field<'_>) -> Result<StageDependencies, At> {
    let Some(field) = entry.get("stageDependencies") else {
        return Ok(StageDependencies::default());
    };
    let stages = field.map()?;
    Ok(StageDependencies {
        install: paths::patterns(stages, "install")?,
        before_setup: paths::patterns(stages, "beforeSetup")?,
        setup: paths::patterns(stages, "setup")?,
    })
}

/// The last two components of the path; the whole URL when it has not two after a `:` or `/`. Never credentials.
fn remote_name(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority_ends = after_scheme.find('/').unwrap_or(after_scheme.len());
    let (authority, path) = after_scheme.split_at(authority_ends);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let plain = if url.contains("://") { format!("/{host}{path}") } else { url.to_owned() };
    let plain = plain.trim_end_matches('/');
    let plain = plain.strip_suffix(".git").unwrap_or(plain);
    let name = plain.rsplit_once('/').and_then(|(before, last)| {
        let start = before.rfind(['/', ':'])? + 1;
        Some(format!("{}/{last}", before.get(start..)?))
    });
    name.unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_named_by_the_end_of_its_url() {
        for (url, expected) in [
            ("git@host:company/name.git", "company/name"),
            ("https://u:p@host/company/name.git", "company/name"),
            ("https://host/group/company/name", "company/name"),
            ("ssh://git@host:22/company/name.git/", "company/name"),
            ("file:///a/group/name.git/", "group/name"),
            ("https://u:p@host/name.git", "host/name"),
            ("../name", "../name"),
        ] {
            assert_eq!(remote_name(url), expected, "{url}");
        }
    }
}
