//! Files written so that nobody ever sees half of one.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes `contents` under a temporary name beside `path` and renames it; readers see the old file or the new one.
/// The file gets exactly `mode`.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut file =
        tempfile::Builder::new().prefix(".new-").permissions(Permissions::from_mode(mode)).tempfile_in(parent(path))?;
    file.write_all(contents)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
