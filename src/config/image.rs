//! A stapel section: an image or an artifact (spec/build.md 1.5, 1.6).

use super::error::{At, Problem};
use super::field::{Field, kind};
use super::model::{Base, Builder, GitMapping, StapelImage};
use super::{ansible, docker, git, import, mount, shell};

/// The images of a section, one for each name.
pub(super) fn convert(section: Field<'_>) -> Result<Vec<StapelImage>, At> {
    let artifact = is_artifact(section)?;
    let names = if artifact { vec![artifact_name(section)?] } else { image_names(section)? };
    let first = StapelImage {
        name: String::new(),
        artifact,
        from: base(section)?,
        from_latest: from_latest(section)?,
        from_cache_version: section.text_or_empty("fromCacheVersion")?,
        git: mappings(section)?,
        builder: builder(section)?,
        mounts: mount::convert(section)?,
        imports: section.items("import")?.into_iter().map(import::convert).collect::<Result<_, _>>()?,
        docker: docker::convert(section, artifact)?,
        as_layers: section.switch("asLayers")?,
    };
    Ok(names.into_iter().map(|name| StapelImage { name, ..first.clone() }).collect())
}

/// Whether a section names an artifact; it must name one thing or the other.
fn is_artifact(section: Field<'_>) -> Result<bool, At> {
    match section.given(&["image", "artifact"]).as_slice() {
        [key] => Ok(*key == "artifact"),
        [] if section.node.get("image").is_some() => Ok(false),
        [] => Err(section.wrong(Problem::NoneOf { keys: &["image", "artifact"] })),
        both => Err(section.conflict(both)),
    }
}

fn artifact_name(section: Field<'_>) -> Result<String, At> {
    let field = section.require("artifact")?;
    if !field.node.value.is_string() {
        return Err(field.not("a string"));
    }
    checked_name(field)
}

/// The names of an image section; `""` for the nameless one, written `~`.
pub(super) fn image_names(section: Field<'_>) -> Result<Vec<String>, At> {
    let node = section.node.get("image").ok_or_else(|| section.wrong(Problem::Missing { key: "image" }))?;
    let field = Field::new("image", node);
    let is_name = |field: &Field<'_>| field.node.value.is_string();
    match node.value {
        value if value.is_null() => Ok(vec![String::new()]),
        value if value.is_string() => Ok(vec![checked_name(field)?]),
        value if value.is_sequence() => {
            let names: Vec<Field<'_>> = field.list()?.collect();
            match names.iter().find(|name| !is_name(name)) {
                Some(wrong) => Err(wrong.not("a string")),
                None if names.is_empty() => Err(field.wrong(Problem::Empty { key: "image" })),
                None => names.into_iter().map(checked_name).collect(),
            }
        }
        value => Err(field.wrong(Problem::ImageName { found: kind(value) })),
    }
}

/// A name is part of repositories, tags and directories later; what could leave them is refused here (hostile-inputs 34).
fn checked_name(field: Field<'_>) -> Result<String, At> {
    let name = field.text()?;
    let reason = if name.is_empty() {
        return Err(field.wrong(Problem::EmptyName));
    } else if name == "~" {
        "`~` without quotes means the image without a name"
    } else if name.len() > 255 {
        "it is longer than 255 bytes"
    } else if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        "it has a blank or a control character"
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "a part between slashes is empty, `.` or `..`"
    } else if ["__slash__", "__plus__", "__nameless__"].iter().any(|word| name.contains(word)) {
        "`__slash__`, `__plus__` and `__nameless__` stand for something else in tags"
    } else {
        return Ok(name);
    };
    let name = name.chars().filter(|c| !c.is_control()).take(60).collect();
    Err(field.wrong(Problem::BadName { name, reason }))
}

fn base(section: Field<'_>) -> Result<Base, At> {
    let key = section.exactly_one(&["from", "fromImage", "fromImageArtifact"])?;
    let name = section.text_or_empty(key)?;
    Ok(if key == "from" { Base::Registry(name) } else { Base::Image(name) })
}

fn from_latest(section: Field<'_>) -> Result<bool, At> {
    let latest = section.switch("fromLatest")?;
    let admitted = section.switch("herebyIAdmitThatFromLatestMightBreakReproducibility")?;
    match section.get("fromLatest") {
        Some(field) if latest && !admitted => Err(field.wrong(Problem::FromLatest)),
        _ => Ok(latest),
    }
}

/// Local mappings first, then remote ones.
fn mappings(section: Field<'_>) -> Result<Vec<GitMapping>, At> {
    let mut mappings = section.items("git")?.into_iter().map(git::convert).collect::<Result<Vec<_>, _>>()?;
    mappings.sort_by_key(|mapping| mapping.remote.is_some());
    Ok(mappings)
}

fn builder(section: Field<'_>) -> Result<Builder, At> {
    match (section.get("shell"), section.get("ansible")) {
        (None, None) => Ok(Builder::None),
        (Some(shell), None) => Ok(Builder::Shell(shell::convert(shell)?)),
        (None, Some(ansible)) => Ok(Builder::Ansible(ansible::convert(ansible)?)),
        (Some(_), Some(_)) => Err(section.conflict(&["shell", "ansible"])),
    }
}
