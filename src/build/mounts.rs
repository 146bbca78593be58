//! The `mount` section: directories of the host that commands see and images never contain (spec/build.md 5.1).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::{Mount as MountConfig, MountSource};
use crate::error::Error;
use crate::layer::{Entry, EntryKind};
use crate::runtime::Mount;
use crate::slug;

/// Where mounts of each kind live on this host.
pub struct MountDirs<'a> {
    pub project_dir: &'a Path,
    /// For `~`.
    pub home: Option<&'a Path>,
    /// Lives as long as the build of one image.
    pub tmp: &'a Path,
    /// Kept between builds, shared by the project's images.
    pub build: &'a Path,
}

/// The host side of each mount, made where it is missing.
pub fn prepare(mounts: &[MountConfig], dirs: &MountDirs<'_>) -> anyhow::Result<Vec<Mount>> {
    mounts
        .iter()
        .map(|mount| {
            let source = match &mount.source {
                MountSource::TmpDir => dirs.tmp.join(slug::limited(&mount.to, 42)),
                MountSource::BuildDir => dirs.build.join(slug::limited(&mount.to, 42)),
                MountSource::HostPath(path) => host_path(path, dirs)?,
            };
            if !source.exists() {
                fs::create_dir_all(&source).with_context(|| format!("cannot create the mount {}", source.display()))?;
            }
            Ok(Mount { source, target: PathBuf::from(&mount.to), read_only: false })
        })
        .collect()
}

/// Empties the mount targets in the image, so that what the base has there does not shine through elsewhere.
pub fn emptied(mounts: &[MountConfig], mtime: i64) -> Vec<Entry> {
    let mut entries: Vec<Entry> = mounts
        .iter()
        .map(|mount| Entry {
            path: PathBuf::from(mount.to.trim_start_matches('/')),
            kind: EntryKind::Opaque,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime,
            xattrs: [].into(),
        })
        .collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries.dedup_by(|a, b| a.path.starts_with(&b.path));
    entries
}

fn host_path(path: &str, dirs: &MountDirs<'_>) -> Result<PathBuf, Error> {
    let Some(rest) = path.strip_prefix('~') else { return Ok(dirs.project_dir.join(path)) };
    let home = dirs.home.ok_or_else(|| {
        Error::environment(format!("mount fromPath `{path}`: there is no home directory"))
            .hint("set $HOME, or write an absolute path")
    })?;
    match rest.strip_prefix('/') {
        Some(rest) => Ok(home.join(rest)),
        None if rest.is_empty() => Ok(home.to_owned()),
        None => Err(Error::user(format!("mount fromPath `{path}`: other users' home directories are not looked up"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_made_and_nested_targets_emptied_once() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = MountDirs {
            project_dir: dir.path(),
            home: Some(Path::new("/home/user")),
            tmp: &dir.path().join("tmp"),
            build: &dir.path().join("build"),
        };
        let mount = |to: &str, source| MountConfig { to: to.into(), source };
        let list = [
            mount("/var/cache/apt", MountSource::BuildDir),
            mount("/var/cache", MountSource::TmpDir),
            mount("/src", MountSource::HostPath("vendor".into())),
        ];
        let mounts = prepare(&list, &dirs).unwrap();
        assert!(mounts.iter().all(|mount| mount.source.is_dir()));
        assert_eq!(mounts[2].source, dir.path().join("vendor"));
        let paths: Vec<_> = emptied(&list, 0).into_iter().map(|entry| entry.path).collect();
        assert_eq!(paths, [PathBuf::from("src"), PathBuf::from("var/cache")]);
        assert_eq!(host_path("~/x", &dirs).unwrap(), Path::new("/home/user/x"));
        assert!(host_path("~root/x", &dirs).is_err());
    }
}
