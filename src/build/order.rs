//! Which images to build, and in which order. Pure (spec/build.md 2.1).

use std::collections::BTreeSet;

use crate::config::{Base, Config, Image, StapelImage};
use crate::error::Error;

/// Images in sets: those of a set depend only on earlier sets. Order within a set is the order of the file.
pub type Sets<'a> = Vec<Vec<&'a Image>>;

/// The wanted images (all that are not artifacts when none are named) with everything they depend on.
///
/// # Errors
/// A name that werf.yaml does not define.
pub fn sets<'a>(config: &'a Config, wanted: &[String]) -> Result<Sets<'a>, Error> {
    let mut pending = closure(config, wanted)?;
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut sets = Vec::new();
    while !pending.is_empty() {
        let (ready, blocked): (Vec<&Image>, Vec<&Image>) =
            pending.into_iter().partition(|image| dependencies(image).iter().all(|name| done.contains(name)));
        if ready.is_empty() {
            // Cycles are refused when the configuration is loaded.
            return Err(Error::new(
                crate::error::ErrorKind::Bug,
                "images of werf.yaml depend on each other in a circle",
            ));
        }
        done.extend(ready.iter().map(|image| image.name()));
        sets.push(ready);
        pending = blocked;
    }
    Ok(sets)
}

/// The images a user may name: all but artifacts, in the order of the file, checked against the configuration.
pub fn selected<'a>(config: &'a Config, wanted: &[String]) -> Result<Vec<&'a Image>, Error> {
    if wanted.is_empty() {
        return Ok(config.images.iter().filter(|image| !image.is_artifact()).collect());
    }
    let mut images = Vec::new();
    for name in wanted {
        let name = if name == "~" { "" } else { name };
        let image = config.image(name).ok_or_else(|| unknown(config, name))?;
        if !images.contains(&image) {
            images.push(image);
        }
    }
    Ok(images)
}

fn unknown(config: &Config, name: &str) -> Error {
    let known: Vec<String> =
        config.images.iter().map(|image| format!("`{}`", crate::stage::display_image(image.name()))).collect();
    Error::user(format!("specified image `{name}` is not defined in werf.yaml"))
        .hint(format!("it defines {}", if known.is_empty() { "no images".to_owned() } else { known.join(", ") }))
}

fn closure<'a>(config: &'a Config, wanted: &[String]) -> Result<Vec<&'a Image>, Error> {
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    let mut queue = selected(config, wanted)?;
    while let Some(image) = queue.pop() {
        if needed.insert(image.name()) {
            queue.extend(dependencies(image).into_iter().filter_map(|name| config.image(name)));
        }
    }
    Ok(config.images.iter().filter(|image| needed.contains(image.name())).collect())
}

/// Names of the images that must be built before this one.
pub fn dependencies(image: &Image) -> Vec<&str> {
    let Image::Stapel(StapelImage { from, imports, .. }) = image else { return Vec::new() };
    let base = match from {
        Base::Image(name) => Some(name.as_str()),
        Base::Registry(_) => None,
    };
    base.into_iter().chain(imports.iter().map(|import| import.source.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Builder, Deploy, Import, ImportTime, Meta};

    fn image(name: &str, from: Base, imports: &[&str], artifact: bool) -> Image {
        let import = |source: &&str| Import {
            source: (*source).to_owned(),
            stage: None,
            when: ImportTime::AfterInstall,
            add: "/a".into(),
            to: "/a".into(),
            owner: String::new(),
            group: String::new(),
            include_paths: vec![],
            exclude_paths: vec![],
        };
        Image::Stapel(StapelImage {
            name: name.into(),
            artifact,
            from,
            from_latest: false,
            from_cache_version: String::new(),
            git: vec![],
            builder: Builder::None,
            mounts: vec![],
            imports: imports.iter().map(import).collect(),
            docker: None,
            as_layers: false,
        })
    }

    fn config() -> Config {
        let registry = || Base::Registry("debian".into());
        Config {
            meta: Meta { project: "tools".into(), deploy: Deploy::default(), keep_policies: None },
            images: vec![
                image("app", Base::Image("base".into()), &["assets"], false),
                image("base", registry(), &[], false),
                image("assets", registry(), &[], true),
                image("unused", registry(), &[], true),
            ],
        }
    }

    fn names(wanted: &[&str]) -> Result<Vec<Vec<String>>, String> {
        let config = config();
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        let sets = sets(&config, &wanted).map_err(|error| error.to_string())?;
        Ok(sets.iter().map(|set| set.iter().map(|image| image.name().to_owned()).collect()).collect())
    }

    #[test]
    fn dependencies_come_first_and_unused_artifacts_not_at_all() {
        assert_eq!(names(&[]).unwrap(), [vec!["base", "assets"], vec!["app"]]);
        assert_eq!(names(&["base"]).unwrap(), [vec!["base"]]);
    }

    #[test]
    fn an_unknown_image_is_an_error() {
        assert_eq!(names(&["nope"]).unwrap_err(), "specified image `nope` is not defined in werf.yaml");
    }
}
