//! What the image below has where a layer goes: links that lead elsewhere, directories with looks of their own.
//!
//! A base image may be no more than its manifest here, and looking into it fetches it (decisions 3.3). So only what goes where
//! images are known to have something is fitted to the image; anything else is written as it is.

use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use crate::ids::ImageId;
use crate::layer::Below;
use crate::runtime::{Resolved, Runtime, TreeRequest};

/// Directories of the root that are links in many images, or have a mode or content that must not change.
const SHARED_ROOTS: [&str; 11] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "tmp", "run", "dev", "proc", "sys"];
/// The same deeper down.
const SHARED: [&str; 3] = ["var/run", "var/lock", "var/tmp"];
/// Directories that every image has; what is in them is mostly the image's own business.
const COMMON: [&str; 3] = ["etc", "usr", "var"];
/// Directories that a file may be meant to go into, as with `cp`.
const FOR_FILES: [&str; 6] = ["opt", "srv", "usr/bin", "usr/local/bin", "usr/local/sbin", "usr/sbin"];

/// Whether what goes to `to`, an absolute path, must be fitted to what the image has there.
pub fn matters(to: &str) -> bool {
    let path = Path::new(to.trim_start_matches('/'));
    path.as_os_str().is_empty()
        || SHARED_ROOTS.iter().chain(&SHARED).any(|shared| path.starts_with(shared))
        || COMMON.iter().any(|common| path == Path::new(common))
        || path.starts_with("root")
        // Deeper than `/home/x` lies a home that belongs to somebody.
        || (path.starts_with("home") && path.components().count() != 2)
}

/// The same for a single file, whose name may be that of a directory.
pub fn matters_to_file(to: &str) -> bool {
    let path = Path::new(to.trim_start_matches('/'));
    matters(to) || FOR_FILES.iter().any(|directory| path == Path::new(directory))
}

/// Looks into an image. To be called where blocking is fine.
pub fn look<'a>(runtime: &'a dyn Runtime, image: &'a ImageId) -> impl FnMut(&Path) -> anyhow::Result<Below> + 'a {
    move |path| {
        let found = Handle::current().block_on(runtime.resolve(image, &Path::new("/").join(path)))?;
        Ok(match found {
            Some(Resolved { path: real, directory: Some(_) }) if real != path => Below::LinkTo(real),
            Some(Resolved { directory: Some(looks), .. }) => Below::Directory(looks),
            _ => Below::Nothing,
        })
    }
}

/// Gives all paths at and under a directory of an image. To be called where blocking is fine.
pub fn contents<'a>(
    runtime: &'a dyn Runtime,
    image: &'a ImageId,
) -> impl FnMut(&Path) -> anyhow::Result<Vec<PathBuf>> + 'a {
    move |directory| {
        let request = TreeRequest { path: Path::new("/").join(directory) };
        let Some(tree) = Handle::current().block_on(runtime.tree(image, &request))? else { return Ok(Vec::new()) };
        let paths = tree.entries()?.map(|entry| Ok(entry?.path));
        paths.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_among_the_image_s_own_files_is_fitted() {
        for to in ["/", "/bin", "/bin/tool", "/lib64/x", "/tmp", "/run/app", "/var/run/app", "/var/tmp", "/etc", "/usr"]
        {
            assert!(matters(to), "{to}");
        }
        for to in [
            "/app",
            "/srv/app",
            "/opt/x",
            "/usr/src/app",
            "/home/x",
            "/etc/app",
            "/var/lib/x",
            "/binaries",
            "/var/runs",
        ] {
            assert!(!matters(to) && !matters_to_file(to), "{to}");
        }
        assert!(["/home", "/home/x/app", "/root", "/root/.ssh"].into_iter().all(matters));
        assert!(matters_to_file("/usr/local/bin") && !matters("/usr/local/bin"));
        assert!(!matters_to_file("/usr/local/bin/tool"));
    }
}
