//! Mounting layers over each other. Called only in a process that has a mount namespace of its own, so that every mount ends
//! with it and nothing is ever left behind.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount,
};
use serde::{Deserialize, Serialize};

/// A root file system to be: read-only layers, top first, and the directory that takes the changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overlay {
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    /// Empty, on the same file system as `upper`.
    pub work: PathBuf,
    /// In a user namespace: deletions and opaque directories are marked by `user.overlay.*`.
    pub user_xattr: bool,
    /// Device nodes in the layers do not work.
    pub no_devices: bool,
}

/// Every path that does not look like this is what it was in the layer that has it: renamed directories are copied, files
/// are copied up whole. Only so can an upper directory become a layer of its own.
const PLAIN: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off")];

/// What the kernel takes as one option string.
const MAX_OPTIONS: usize = 4000;

impl Overlay {
    /// Mounts it on the directory `target`. `links` is an empty directory for short names of the layers, should they be needed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mount(&self, target: &Path, links: &Path) -> io::Result<()> {
        match self.mount_layer_by_layer(target) {
            Err(error) if is_too_old(&error) => self.mount_by_options(target, links),
            result => result,
        }
    }

    /// Kernels since 6.7: one `lowerdir+` for each layer, without a limit to the length of all.
    fn mount_layer_by_layer(&self, target: &Path) -> io::Result<()> {
        let context: OwnedFd = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", "slipway")?;
        for lower in &self.lower {
            fsconfig_set_string(&context, "lowerdir+", lower)?;
        }
        fsconfig_set_string(&context, "upperdir", &self.upper)?;
        fsconfig_set_string(&context, "workdir", &self.work)?;
        for (key, value) in PLAIN {
            fsconfig_set_string(&context, key, value)?;
        }
        fsconfig_set_flag(&context, "volatile")?;
        if self.user_xattr {
            fsconfig_set_flag(&context, "userxattr")?;
        }
        fsconfig_create(&context)?;
        let attributes = if self.no_devices { MountAttrFlags::MOUNT_ATTR_NODEV } else { MountAttrFlags::empty() };
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        Ok(move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    }

    /// Older kernels: all in one string, the layers under names of a few characters.
    fn mount_by_options(&self, target: &Path, links: &Path) -> io::Result<()> {
        let mut lower = String::new();
        for (number, layer) in self.lower.iter().enumerate() {
            std::os::unix::fs::symlink(layer, links.join(number.to_string()))?;
            lower.push_str(&format!("{}{number}", if number == 0 { "" } else { ":" }));
        }
        for (name, path) in [("u", &self.upper), ("w", &self.work)] {
            std::os::unix::fs::symlink(path, links.join(name))?;
        }
        let mut options = format!("lowerdir={lower},upperdir=u,workdir=w");
        PLAIN.iter().for_each(|(key, value)| options.push_str(&format!(",{key}={value}")));
        if self.user_xattr {
            options.push_str(",userxattr");
        }
        if options.len() > MAX_OPTIONS {
            return Err(io::Error::other(format!("{} layers are more than this kernel can mount", self.lower.len())));
        }
        std::env::set_current_dir(links)?;
        let flags = if self.no_devices { MountFlags::NODEV } else { MountFlags::empty() };
        let options = std::ffi::CString::new(options)?;
        let mounted = mount("slipway", target, "overlay", flags, Some(options.as_c_str()));
        std::env::set_current_dir("/")?;
        Ok(mounted?)
    }
}

/// The kernel lacks the mount API, `lowerdir+` or an option.
fn is_too_old(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOSYS, Errno::INVAL, Errno::NOENT].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
