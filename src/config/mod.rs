//! werf.yaml: from templates and text to a typed, checked project (spec/build.md section 1).
//!
//! [`render`] turns templates into text; [`parse`] cuts the text into sections, asks each for what it should hold (a file per
//! part of a section) and checks what only the sections together can get wrong. `model` is what the rest of the program sees;
//! `keys` lists every key there is; `error` shows a mistake with the section it is in.

mod ansible;
mod checks;
mod docker;
mod dockerfile;
mod error;
mod field;
mod git;
mod image;
mod import;
mod keys;
mod meta;
pub mod model;
mod mount;
mod overlap;
mod paths;
mod render;
mod section;
mod shell;

pub use error::{Error, Mistake, Problem, UnknownField};
pub use model::*;
pub use render::{Rendered, Source, render, template_order};
pub use section::{Section, SectionKind};

use checks::Declared;
use error::At;

use crate::slug;

/// What the project is known by outside of its werf.yaml.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `WERF_PROJECT_NAME`: takes the place of `project` when it is not empty.
    pub project_name: Option<String>,
    /// URL of the remote `origin`, for the name suggested to a project that has none.
    pub origin_url: Option<String>,
    /// Name of the project's directory, for the same when there is no origin.
    pub directory_name: String,
}

/// A configuration, and what it was made from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Every section, in the order of the text.
    pub sections: Vec<Section>,
    /// Sentences for the user, none of which stops anything.
    pub warnings: Vec<String>,
}

/// Reads a rendered werf.yaml. `file` is what mistakes call it.
pub fn parse(rendered: &str, file: &str, options: &Options) -> Result<Loaded, Error> {
    let mut sections =
        section::split(rendered).iter().map(|chunk| section::classify(chunk, file)).collect::<Result<Vec<_>, _>>()?;
    let mut meta = meta_section(&sections, file, options)?;
    let (mut declared, mut warnings) = (Vec::new(), Vec::new());
    for (number, section) in sections.iter_mut().enumerate() {
        let images = images(section, file)?;
        section.names = images.iter().map(|image| image.name().to_owned()).collect();
        warnings.extend(deprecation(section));
        declared.extend(images.into_iter().map(|image| Declared { image, section: number }));
    }
    checks::check(&mut declared, &sections, file)?;
    if let Some(name) = options.project_name.as_ref().filter(|name| !name.is_empty()) {
        if !slug::is_project(name) {
            return Err(Error::ProjectVariable { name: name.clone() });
        }
        meta.project.clone_from(name);
    }
    let images = declared.into_iter().map(|declared| declared.image).collect();
    Ok(Loaded { config: Config { meta, images }, sections, warnings })
}

fn meta_section(sections: &[Section], file: &str, options: &Options) -> Result<Meta, Error> {
    let mut found = sections.iter().filter(|section| section.kind == SectionKind::Meta);
    let Some(meta) = found.next() else {
        return Err(Error::NoMeta { file: file.to_owned(), project: suggested_name(options) });
    };
    if let Some(second) = found.next() {
        let first = meta.first_line + meta.root().at().line - 1;
        return Err(second.error(file, second.root().wrong(Problem::SecondMeta { first })));
    }
    only_known(meta, &keys::META).and_then(|()| meta::convert(meta.root())).map_err(|at| meta.error(file, at))
}

fn images(section: &Section, file: &str) -> Result<Vec<Image>, Error> {
    let fail = |at| section.error(file, at);
    few_names(section).map_err(fail)?;
    match section.kind {
        SectionKind::Meta => Ok(Vec::new()),
        SectionKind::Stapel => {
            only_known(section, &keys::STAPEL).map_err(fail)?;
            Ok(image::convert(section.root()).map_err(fail)?.into_iter().map(Image::Stapel).collect())
        }
        SectionKind::Dockerfile => {
            only_known(section, &keys::DOCKERFILE).map_err(fail)?;
            Ok(dockerfile::convert(section.root()).map_err(fail)?.into_iter().map(Image::Dockerfile).collect())
        }
    }
}

/// A section is there once for each of its names, so that a long list of names over a long section is a bomb.
fn few_names(section: &Section) -> Result<(), At> {
    let names = section.root().get("image").map_or(0, |image| image.items_or_none().count());
    let too_many = names.saturating_mul(section.text.len()) > 64 << 20;
    if too_many { Err(section.root().wrong(Problem::TooManyNames { names })) } else { Ok(()) }
}

fn only_known(section: &Section, keys: &keys::Keys) -> Result<(), At> {
    let root = section.root();
    let fields = keys::unknown(root.node, keys);
    if fields.is_empty() { Ok(()) } else { Err(root.wrong(Problem::UnknownFields { fields })) }
}

fn deprecation(section: &Section) -> Option<String> {
    section.root().get("fromImageArtifact")?;
    let names = section.names.join(", ");
    Some(format!("`fromImageArtifact` of `{names}` is deprecated: declare the source as an image and use `fromImage`"))
}

/// The path of the origin, or the directory's name, as a project name.
fn suggested_name(options: &Options) -> String {
    let path = options.origin_url.as_deref().and_then(|url| {
        let rest = match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?.1,
            None => url.split_once(':').map_or(url, |(_, path)| path),
        };
        let path = rest.trim_matches('/');
        Some(path.strip_suffix(".git").unwrap_or(path)).filter(|path| !path.is_empty())
    });
    slug::project(path.unwrap_or(&options.directory_name))
}
