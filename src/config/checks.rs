//! What only the sections together can get wrong, in the order of spec/build.md 1.5.

use std::collections::{HashMap, HashSet};

use super::error::{At, Error, Problem};
use super::field::Field;
use super::model::{Base, Image, StapelImage};
use super::overlap;
use super::section::Section;

/// An image and the number of the section that declares it.
#[derive(Debug)]
pub(super) struct Declared {
    pub image: Image,
    pub section: usize,
}

/// Checks names, references, destinations and cycles; completes the excludes of overlapping destinations.
pub(super) fn check(declared: &mut [Declared], sections: &[Section], file: &str) -> Result<(), Error> {
    let fail = |section: usize, at: At| match sections.get(section) {
        Some(section) => section.error(file, at),
        None => Error::in_text(file, 1, "", at.place, at.problem),
    };
    names(declared, sections).map_err(|(section, at)| fail(section, at))?;
    references(declared, sections).map_err(|(section, at)| fail(section, at))?;
    for Declared { image, section } in declared.iter_mut() {
        if let Image::Stapel(image) = image {
            let place = sections.get(*section).map(|section| section.root().at()).unwrap_or_default();
            overlap::resolve(image).map_err(|problem| fail(*section, At { place, problem }))?;
        }
    }
    cycles(declared, sections).map_err(|(section, at)| fail(section, at))
}

/// A mistake and the number of its section.
type Found = (usize, At);

fn names(declared: &[Declared], sections: &[Section]) -> Result<(), Found> {
    nameless(declared, sections)?;
    duplicates("image", declared.iter().filter(|one| !one.image.is_artifact()), sections)?;
    duplicates("artifact", declared.iter().filter(|one| one.image.is_artifact()), sections)?;
    let images: HashMap<&str, usize> =
        declared.iter().filter(|one| !one.image.is_artifact()).map(|one| (one.image.name(), one.section)).collect();
    for artifact in declared.iter().filter(|one| one.image.is_artifact()) {
        if let Some(image) = images.get(artifact.image.name()) {
            let first = line_of(sections, *image);
            let problem = Problem::ArtifactLikeImage { name: artifact.image.name().to_owned(), first };
            return Err(at_key(artifact.section, sections, "artifact", problem));
        }
    }
    Ok(())
}

fn nameless(declared: &[Declared], sections: &[Section]) -> Result<(), Found> {
    let mut images = declared.iter().filter(|one| !one.image.is_artifact());
    let Some(nameless) = images.clone().find(|one| one.image.name().is_empty()) else {
        return Ok(());
    };
    match images.find(|one| !one.image.name().is_empty()) {
        Some(other) => {
            let other = other.image.name().to_owned();
            Err(at_key(nameless.section, sections, "image", Problem::NamelessNotAlone { other }))
        }
        None => Ok(()),
    }
}

fn duplicates<'a>(
    what: &'static str,
    declared: impl Iterator<Item = &'a Declared>,
    sections: &[Section],
) -> Result<(), Found> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for Declared { image, section } in declared {
        if let Some(first) = seen.insert(image.name(), *section) {
            let problem = Problem::DuplicateName { what, name: shown(image.name()), first: line_of(sections, first) };
            return Err(at_key(*section, sections, what, problem));
        }
    }
    Ok(())
}

/// `fromImage` and `import: image` name images, `fromImageArtifact` and `import: artifact` name artifacts.
fn references(declared: &[Declared], sections: &[Section]) -> Result<(), Found> {
    let names = |artifacts: bool| -> HashSet<&str> {
        let kind = declared.iter().filter(|one| one.image.is_artifact() == artifacts);
        kind.map(|one| one.image.name()).collect()
    };
    let (images, artifacts) = (names(false), names(true));
    for Declared { image, section } in declared {
        let Some(root) = sections.get(*section).map(Section::root) else { continue };
        let check = |holder: Field<'_>, key: &'static str, what: &'static str| {
            let Some(field) = holder.get(key) else { return Ok(()) };
            let name = field.node.text().unwrap_or_default().to_owned();
            let exists =
                if what == "image" { images.contains(name.as_str()) } else { artifacts.contains(name.as_str()) };
            if name == image.name() {
                Err((*section, field.wrong(Problem::SelfReference { key, name: shown(&name) })))
            } else if !exists {
                Err((*section, field.wrong(Problem::NoSuchSource { key, what, name })))
            } else {
                Ok(())
            }
        };
        check(root, "fromImage", "image")?;
        check(root, "fromImageArtifact", "artifact")?;
        for entry in root.items("import").unwrap_or_default() {
            check(entry, "image", "image")?;
            check(entry, "artifact", "artifact")?;
        }
    }
    Ok(())
}

/// Walks from every image along what it is built from; coming back to an image on the way is an infinite loop.
fn cycles(declared: &[Declared], sections: &[Section]) -> Result<(), Found> {
    let sources: HashMap<&str, Vec<&str>> =
        declared.iter().filter_map(|one| Some((one.image.name(), sources(stapel(&one.image)?)))).collect();
    let mut finished: HashSet<&str> = HashSet::new();
    for start in declared {
        // The way from `start` to here, and what is still to be seen from each image on it.
        let mut way: Vec<(&str, std::slice::Iter<'_, &str>)> = Vec::new();
        let mut on_the_way: HashSet<&str> = HashSet::new();
        let mut next = Some(start.image.name());
        loop {
            if let Some(name) = next.take().filter(|name| !finished.contains(name)) {
                way.push((name, sources.get(name).map(Vec::as_slice).unwrap_or_default().iter()));
                on_the_way.insert(name);
            }
            let Some((name, rest)) = way.last_mut() else { break };
            match rest.next() {
                Some(source) if on_the_way.contains(source) => {
                    let chain = way.iter().map(|(name, _)| *name).skip_while(|name| name != source);
                    let chain = chain.chain([*source]).map(shown).collect();
                    return Err(at_key(start.section, sections, "image", Problem::Cycle { chain }));
                }
                Some(source) => next = Some(source),
                None => {
                    finished.insert(name);
                    on_the_way.remove(name);
                    way.pop();
                }
            }
        }
    }
    Ok(())
}

fn stapel(image: &Image) -> Option<&StapelImage> {
    match image {
        Image::Stapel(image) => Some(image),
        Image::Dockerfile(_) => None,
    }
}

fn sources(image: &StapelImage) -> Vec<&str> {
    let base = match &image.from {
        Base::Image(name) => Some(name.as_str()),
        Base::Registry(_) => None,
    };
    base.into_iter().chain(image.imports.iter().map(|import| import.source.as_str())).collect()
}

fn shown(name: &str) -> String {
    if name.is_empty() { "~".to_owned() } else { name.to_owned() }
}

fn line_of(sections: &[Section], number: usize) -> usize {
    sections.get(number).map_or(0, |section| section.first_line + section.root().at().line - 1)
}

/// A problem at a key of a section, or at its beginning.
fn at_key(number: usize, sections: &[Section], key: &str, problem: Problem) -> Found {
    let root = sections.get(number).map(Section::root);
    let place = root.map(|root| root.node.get(key).map_or(root.at(), |node| node.spans.start)).unwrap_or_default();
    (number, At { place, problem })
}
