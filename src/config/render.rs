//! From templates to text (spec/build.md 1.2).

use std::collections::BTreeMap;

use super::error::Error;
use crate::file_tree::FileTree;

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

/// Renders the main file. `files` is the project; `environment` is what `env` reads.
pub fn render(
    source: &Source,
    files: FileTree<'static>,
    environment: &BTreeMap<String, String>,
) -> Result<Rendered, Error> {
    let _ = (files, environment);
    if source.text.contains("{{") {
        return Err(Error::NoTemplates { file: source.file.clone() });
    }
    Ok(Rendered { text: source.text.clone(), warnings: Vec::new() })
}

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
