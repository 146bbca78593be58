//! The project a command works on: its directory and its werf.yaml, rendered and checked (spec/build.md 1.1).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{self, Config, Options, Rendered, Section, Source};
use crate::file_tree::FileTree;
use crate::sys::env::Env;
use crate::sys::project_tree::project_tree;

use super::flags::ProjectFlags;

/// A project whose configuration is fit for use.
pub struct Project {
    pub project_dir: PathBuf,
    pub config: Config,
    /// Every section of the rendered text, in order.
    pub sections: Vec<Section>,
    pub rendered: String,
    /// Sentences for the user, none of which stops anything.
    pub warnings: Vec<String>,
}

/// Reads, renders and checks the configuration.
pub fn load(flags: &ProjectFlags, env: &Env) -> Result<Project, config::Error> {
    let draft = Draft::render(flags, env)?;
    draft.check(env)
}

/// A rendered configuration that nobody has checked.
pub struct Draft {
    pub rendered: Rendered,
    project_dir: PathBuf,
    /// What mistakes call the file.
    file: String,
}

impl Draft {
    pub fn render(flags: &ProjectFlags, env: &Env) -> Result<Self, config::Error> {
        let project_dir = given(&flags.dir).map_or(env.current_dir.clone(), |dir| env.current_dir.join(dir));
        let path = config_file(&project_dir, flags, env)?;
        let templates = match given(&flags.config_templates_dir) {
            Some(directory) => templates(&project_tree(&env.current_dir.join(directory)), ""),
            None => templates(&project_tree(&project_dir), ".werf"),
        }?;
        let file = path.strip_prefix(&project_dir).unwrap_or(&path).display().to_string();
        let source = Source { file: file.clone(), text: text(&path, std::fs::read(&path))?, templates };
        let rendered = config::render(&source, project_tree(&project_dir), &variables(env), jiff::Zoned::now())?;
        let file = if rendered.text == source.text { file } else { format!("{file} (rendered)") };
        Ok(Self { rendered, project_dir, file })
    }

    pub fn check(self, env: &Env) -> Result<Project, config::Error> {
        let options = Options {
            project_name: env.get("WERF_PROJECT_NAME").map(str::to_owned),
            origin_url: origin_url(&self.project_dir),
            directory_name: directory_name(&self.project_dir),
        };
        let Rendered { text: rendered, mut warnings } = self.rendered;
        let loaded = match config::parse(&rendered, &self.file, &options) {
            Ok(loaded) => loaded,
            Err(error) => return Err(error.after(warnings)),
        };
        warnings.extend(loaded.warnings);
        let (config, sections) = (loaded.config, loaded.sections);
        Ok(Project { project_dir: self.project_dir, config, sections, rendered, warnings })
    }
}

/// How the files of rendered configurations are called.
pub const RENDER_PREFIX: &str = "werf-config-render-";

/// Writes the rendered text where the user can read it and nobody else: it may hold secrets of the environment.
pub fn write_render_file(rendered: &str, tmp: &Path) -> io::Result<PathBuf> {
    use std::io::Write as _;
    let mut file = tempfile::Builder::new().prefix(RENDER_PREFIX).tempfile_in(tmp)?;
    file.write_all(rendered.as_bytes())?;
    let (_, path) = file.keep().map_err(|error| error.error)?;
    Ok(path)
}

/// A flag whose variable is set to nothing is as good as not given.
fn given(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// The file given, or the first there is of `werf.yml` and `werf.yaml`.
fn config_file(project_dir: &Path, flags: &ProjectFlags, env: &Env) -> Result<PathBuf, config::Error> {
    let tried = match given(&flags.config) {
        Some(path) => vec![env.current_dir.join(path)],
        None => vec![project_dir.join("werf.yml"), project_dir.join("werf.yaml")],
    };
    tried.iter().find(|path| path.is_file()).cloned().ok_or(config::Error::NotFound { tried })
}

fn templates(tree: &FileTree<'_>, directory: &str) -> Result<Vec<(String, String)>, config::Error> {
    let unreadable = |path: &str, source| config::Error::Unreadable { path: PathBuf::from(path), source };
    let paths = match tree.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        paths => paths.map_err(|error| {
            unreadable(if directory.is_empty() { "the templates directory" } else { directory }, error)
        })?,
    };
    let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    config::template_order(paths)
        .into_iter()
        .map(|path| {
            let bytes = tree.read(&path).map(Option::unwrap_or_default);
            let text = text(Path::new(&path), bytes)?;
            Ok((path.strip_prefix(&prefix).unwrap_or(&path).to_owned(), text))
        })
        .collect()
}

fn text(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<String, config::Error> {
    let bytes = bytes.map_err(|source| config::Error::Unreadable { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|_| config::Error::NotText { path: path.to_owned() })
}

/// The variables that a template can name.
fn variables(env: &Env) -> BTreeMap<String, String> {
    env.all().filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))).collect()
}

fn origin_url(project_dir: &Path) -> Option<String> {
    let repository = git2::Repository::open(project_dir).ok()?;
    let origin = repository.find_remote("origin").ok()?;
    origin.url().ok().map(str::to_owned)
}

fn directory_name(project_dir: &Path) -> String {
    let real = project_dir.canonicalize().unwrap_or_else(|_| project_dir.to_owned());
    real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_rendered_text_is_for_its_owner_only() {
        let tmp = tempfile::tempdir().unwrap();
        let path = write_render_file("configVersion: 1\n", tmp.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "configVersion: 1\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("werf-config-render-"));
    }
}
