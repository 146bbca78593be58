//! A section with `dockerfile` (spec/build.md 1.14). Whether the files exist is seen when the image is built.

use super::error::At;
use super::field::Field;
use super::image::image_names;
use super::model::DockerfileImage;
use super::paths;

/// The images of a section, one for each name.
pub(super) fn convert(section: Field<'_>) -> Result<Vec<DockerfileImage>, At> {
    let names = image_names(section)?;
    let context = section.get("context").map(|field| paths::inside_project(field, "context")).transpose()?;
    let first = DockerfileImage {
        name: String::new(),
        dockerfile: paths::inside_project(section.require("dockerfile")?, "dockerfile")?.into(),
        context: context.unwrap_or_else(|| ".".to_owned()).into(),
        target: section.optional_text("target")?.filter(|target| !target.is_empty()),
        args: section.get("args").map(Field::text_map).transpose()?.unwrap_or_default(),
        add_host: section.texts_or_empty("addHost")?,
        network: section.text_or_empty("network")?,
        ssh: section.text_or_empty("ssh")?,
    };
    Ok(names.into_iter().map(|name| DockerfileImage { name, ..first.clone() }).collect())
}
