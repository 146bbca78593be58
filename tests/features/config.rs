//! werf.yaml: what is accepted and as what, and every mistake with its text (spec/build.md section 1).

use std::path::{Path, PathBuf};

use slipway::config::{Error, Options, parse};
use slipway::error::Explain;

/// Every accepted file, as the rest of the program sees it.
#[test]
fn accepted_files_become_a_typed_project() {
    for file in corpus("ok") {
        let loaded =
            parse(&text(&file), "werf.yaml", &Options::default()).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let warnings: String = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        snapshot(&file, &format!("{:#?}\n{warnings}", loaded.config));
    }
}

/// Every mistake, as the user is told of it.
#[test]
fn mistakes_are_explained() {
    for file in corpus("bad") {
        let error = match parse(&text(&file), "werf.yaml", &shop()) {
            Err(error) => error,
            Ok(loaded) => panic!("{file:?} was accepted: {:#?}", loaded.config),
        };
        snapshot(&file, &told(&error));
    }
}

fn shop() -> Options {
    let origin_url = Some("https://git.example.org/Group/My_Shop.git".to_owned());
    Options { origin_url, directory_name: "work".to_owned(), ..Options::default() }
}

fn told(error: &Error) -> String {
    let hints: String = error.hints().iter().map(|hint| format!("hint: {hint}\n")).collect();
    format!("{error}\n{hints}")
}

fn corpus(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/config").join(kind);
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// The reviewed text lies next to the file.
fn snapshot(file: &Path, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(file.parent().unwrap());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let name = file.file_stem().unwrap().to_str().unwrap();
    settings.bind(|| insta::assert_snapshot!(name, text));
}
