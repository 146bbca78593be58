//! Submodules: from a gitlink in a tree to the commit it names, in the repository that `git submodule update` made for it.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use git2::Oid;

use super::error::Error;
use super::objects::{Objects, commit_id};
use super::repo::find_git_dir;
use super::tree::{Directory, Origin, shown};

/// Enters the submodule at `path` of a walk. Its objects are taken from `<git dir>/modules/<name>`, or from the checkout in the
/// work tree; nothing is fetched. What `.gitmodules` says is checked before a path is made of it (hostile-inputs.md 23).
pub(super) fn enter(parent: &Arc<Origin>, path: &[u8], commit: Oid) -> Result<Directory, Error> {
    let commit = commit_id(commit)?;
    let inner = parent.path(path);
    let mut found_in = None;
    for (git_dir, work_dir) in places(parent, inner)? {
        let name = format!("{}/{}", parent.objects.name, shown(inner));
        let objects = Objects::open(name, &git_dir, work_dir.as_deref())?;
        if objects.contains(&commit) {
            found_in = Some(objects);
            break;
        }
    }
    let objects = found_in.ok_or_else(|| Error::SubmoduleMissing {
        path: shown(inner),
        commit: commit.to_string(),
        repo: parent.objects.name.clone(),
        cloned: parent.objects.work_dir.is_none(),
    })?;
    let tree = objects.root_of(&commit)?;
    let origin = Origin { objects, root: tree, cut: path.len() + 1 };
    Ok(Directory { origin: Arc::new(origin), tree })
}

/// Git directories that may hold the submodule, each with its work tree.
fn places(parent: &Origin, path: &[u8]) -> Result<Vec<(PathBuf, Option<PathBuf>)>, Error> {
    let refused = |reason: String| Error::BadSubmodule { path: shown(path), repo: parent.objects.name.clone(), reason };
    let relative = inside(path).map_err(refused)?;
    let name = configured_name(parent, path)?;
    let name = inside(&name).map_err(refused)?;
    let work_dir = parent.objects.work_dir.as_ref().map(|root| root.join(&relative));
    let mut places = Vec::new();
    let modules = &parent.objects.modules;
    if real_directory(modules, &name).map_err(refused)? {
        places.push((modules.join(&name), work_dir.clone()));
    }
    if let (Some(root), Some(dir)) = (&parent.objects.work_dir, work_dir)
        && real_directory(root, &relative).map_err(refused)?
    {
        let dot_git = dir.join(".git");
        match dot_git.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => return Err(refused("its `.git` is a symbolic link".to_owned())),
            Ok(metadata) if metadata.is_dir() => places.push((find_git_dir(&dir)?, Some(dir))),
            // A `.git` file points to the place above, or to one that this repository does not own.
            _ => {}
        }
    }
    Ok(places)
}

/// The name that `.gitmodules` at this commit gives to a path; the path itself when it is not mentioned.
fn configured_name(parent: &Origin, path: &[u8]) -> Result<Vec<u8>, Error> {
    let handle = parent.objects.handle()?;
    let root = handle.find_tree(parent.root).map_err(|error| parent.objects.object_error(parent.root, &error))?;
    let Some(entry) = root.get_name(".gitmodules") else { return Ok(path.to_owned()) };
    let text = parent.objects.blob(entry.id())?;
    Ok(name_in(&String::from_utf8_lossy(&text), path).unwrap_or_else(|| path.to_owned()))
}

/// Reads the lines of `.gitmodules` that matter: `[submodule "NAME"]` and `path = PATH`.
fn name_in(gitmodules: &str, path: &[u8]) -> Option<Vec<u8>> {
    let mut name = None;
    for line in gitmodules.split('\n').map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.strip_prefix("submodule");
            name = section.and_then(|rest| rest.trim_start().strip_prefix('"')?.strip_suffix("\"]")).map(unescaped);
        } else if let Some((key, value)) = line.split_once('=')
            && key.trim() == "path"
            && unquoted(value.trim()).as_bytes() == path
            && let Some(name) = &name
        {
            return Some(name.clone().into_bytes());
        }
    }
    None
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => unescaped(quoted),
        None => value.to_owned(),
    }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for character in text.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(character);
            escaped = false;
        }
    }
    plain
}

/// A name or path as a path that stays below where it is joined, and that no command line takes for an option.
fn inside(name: &[u8]) -> Result<PathBuf, String> {
    let text = std::str::from_utf8(name).map_err(|_| "its name is not UTF-8".to_owned())?;
    if text.starts_with('-') || text.chars().any(char::is_control) {
        return Err(format!("its name or path {text:?} starts with a dash or holds control characters"));
    }
    let path = Path::new(text);
    if text.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("its name or path `{text}` leaves the repository"));
    }
    Ok(path.to_owned())
}

/// Whether `root/relative` is a directory; an error when a symbolic link stands in the way.
fn real_directory(root: &Path, relative: &Path) -> Result<bool, String> {
    let mut path = root.to_owned();
    for part in relative.components() {
        path.push(part);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                return Err(format!("`{}` is a symbolic link", path.display()));
            }
            Ok(metadata) if metadata.is_dir() => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_gitmodules() {
        let text = "[submodule \"lib \\\"x\\\"\"]\n\turl = ../x\n\tpath = libs/x\n[submodule \"y\"]\r\n  path = \"libs/y z\"\n";
        assert_eq!(name_in(text, b"libs/x").as_deref(), Some(b"lib \"x\"".as_slice()));
        assert_eq!(name_in(text, b"libs/y z").as_deref(), Some(b"y".as_slice()));
        assert_eq!(name_in(text, b"libs/other"), None);
    }

    /// Hostile input 23: names that leave the modules directory or read as options.
    #[test]
    fn hostile_23_names_stay_inside() {
        assert_eq!(inside(b"libs/x"), Ok(PathBuf::from("libs/x")));
        for name in ["", "..", "a/../../b", "/etc", "./x", "-u", "--upload-pack=x", "a\rb", "a\nb"] {
            assert!(inside(name.as_bytes()).is_err(), "{name:?}");
        }
    }
}
