//! From templates to text (spec/build.md 1.2).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::error::Error;
use crate::file_tree::FileTree;
use crate::template::werf::{Warnings, root_data};
use crate::template::{Functions, Limits, Set};

/// What there is to render.
#[derive(Clone, Debug)]
pub struct Source {
    /// What messages call the main file.
    pub file: String,
    pub text: String,
    /// Name and text of the files in the templates directory, in the order of [`template_order`].
    pub templates: Vec<(String, String)>,
}

/// The text, and sentences for the user, none of which stops anything.
#[derive(Clone, Debug)]
pub struct Rendered {
    pub text: String,
    pub warnings: Vec<String>,
}

/// Renders the main file. `files` is the project; `environment` is what `env` reads, `now` what the functions for dates take for the present, in the local zone.
///
/// # Errors
/// [`Error::Template`], with the place in the main file or in one of the templates.
pub fn render(
    source: &Source,
    files: FileTree<'static>,
    environment: &BTreeMap<String, String>,
    now: jiff::Zoned,
) -> Result<Rendered, Error> {
    let warnings = Rc::new(Warnings::default());
    let data = root_data(Rc::new(files), Rc::clone(&warnings));
    let mut set = Set::new(Functions::standard(environment.clone()).with_now(now), Limits::default());
    let templates = source.templates.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let text = templates
        .chain([(ROOT, source.text.as_str())])
        .try_for_each(|(name, text)| set.parse(name, text))
        .and_then(|()| set.execute(ROOT, &data))
        .map_err(|error| Error::Template { file: source.file.clone(), error: error.renamed(ROOT, &source.file) })?;
    Ok(Rendered { text, warnings: warnings.take() })
}

/// What the main file is called among the templates.
const ROOT: &str = "werfConfig";

/// Which of the files under the templates directory are templates, in the order they are parsed: directory by directory,
/// each by name. Of two definitions of one name the later wins.
pub fn template_order(mut paths: Vec<String>) -> Vec<String> {
    paths.retain(|path| path.ends_with(".tmpl"));
    paths.sort_by(|left, right| left.split('/').cmp(right.split('/')));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_parsed_as_a_walk_finds_them() {
        let paths = ["a.tmpl", "a/b.tmpl", "a/note.md", "a-b.tmpl", "_x.tmpl"].map(str::to_owned).to_vec();
        assert_eq!(template_order(paths), ["_x.tmpl", "a/b.tmpl", "a-b.tmpl", "a.tmpl"]);
    }
}
