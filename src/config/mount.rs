//! Entries of `mount` (spec/build.md 1.11).

use super::error::{At, Problem};
use super::field::Field;
use super::model::{Mount, MountSource};
use super::paths;

pub(super) fn convert(section: Field<'_>) -> Result<Vec<Mount>, At> {
    let mut mounts: Vec<Mount> = Vec::new();
    for entry in section.items("mount")? {
        let entry = entry.map()?;
        let field = entry.require("to")?;
        let to = paths::absolute(field, "to")?;
        if mounts.iter().any(|mount| mount.to == to) {
            return Err(field.wrong(Problem::MountedTwice { to }));
        }
        mounts.push(Mount { to, source: source(entry)? });
    }
    Ok(mounts)
}

fn source(entry: Field<'_>) -> Result<MountSource, At> {
    match entry.given(&["from", "fromPath"]).as_slice() {
        ["from"] => service(entry.require("from")?),
        ["fromPath"] => host_path(entry.require("fromPath")?),
        [] => Err(entry.wrong(Problem::NoneOf { keys: &["from", "fromPath"] })),
        both => Err(entry.conflict(both)),
    }
}

fn service(field: Field<'_>) -> Result<MountSource, At> {
    match field.text()?.as_str() {
        "tmp_dir" => Ok(MountSource::TmpDir),
        "build_dir" => Ok(MountSource::BuildDir),
        other => Err(field.wrong(Problem::NotOneOf {
            key: "from",
            allowed: &["tmp_dir", "build_dir"],
            found: other.to_owned(),
        })),
    }
}

fn host_path(field: Field<'_>) -> Result<MountSource, At> {
    let path = field.text()?;
    if path.chars().any(char::is_control) {
        return Err(field.wrong(Problem::ControlCharacter { key: "fromPath".to_owned() }));
    }
    Ok(MountSource::HostPath(path))
}
