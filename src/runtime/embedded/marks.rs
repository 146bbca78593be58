//! How an overlay marks what a layer removes: by device nodes and `trusted.` attributes, or, where only a user namespace makes
//! us root, by `user.` attributes.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, Stat, XattrFlags};
use rustix::io::Errno;

/// Which kind of marks the overlays of this host use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    Trusted,
    User,
}

impl Marks {
    fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// Makes a directory hide all that the layers below have in it.
    pub fn set_opaque(self, directory: &OwnedFd) -> Result<(), Errno> {
        rustix::fs::fsetxattr(directory, self.opaque(), b"y", XattrFlags::empty())
    }

    pub fn is_opaque(self, directory: &Path) -> bool {
        let mut value = [0; 1];
        matches!(rustix::fs::lgetxattr(directory, self.opaque(), &mut value), Ok(1) if value == *b"y")
    }

    /// Makes a path hide what the layers below have there: a character device 0/0, which needs no privilege.
    pub fn make_whiteout(self, parent: &OwnedFd, name: &Path) -> Result<(), Errno> {
        rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
    }

    pub fn is_whiteout(self, stat: &Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
    }

    /// Whether an attribute is the overlay's own and no part of the layer.
    pub fn is_own_attribute(name: &str) -> bool {
        name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")
    }
}

/// What is at a path, without following a link there; `None` when there is nothing.
pub fn stat(path: &Path) -> std::io::Result<Option<Stat>> {
    match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        result => Ok(Some(result?)),
    }
}
