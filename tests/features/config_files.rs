//! werf.yaml: what is accepted and as what, and every mistake with its text (spec/build.md section 1).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any text is a project or a mistake: no panic, and no time to speak of.
    #[test]
    fn any_text_is_a_project_or_a_mistake(text in werf_like()) {
        let begun = Instant::now();
        if let Err(error) = parse(&text, "werf.yaml", &shop()) {
            prop_assert!(!told(&error).is_empty());
        }
        prop_assert!(begun.elapsed() < Duration::from_secs(5));
    }

    /// An accepted file with one line changed, dropped or repeated.
    #[test]
    fn damaged_files_are_a_project_or_a_mistake(file in 0..corpus("ok").len(), line in 0usize..60, with in damage()) {
        let text = text(&corpus("ok")[file]);
        let mut lines: Vec<&str> = text.lines().collect();
        let line = line % lines.len();
        match with {
            Some(with) => lines[line] = with,
            None => drop(lines.remove(line)),
        }
        if let Err(error) = parse(&lines.join("\n"), "werf.yaml", &shop()) {
            prop_assert!(!told(&error).is_empty());
        }
    }
}

fn damage() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![
        None,
        Some("---"),
        Some("  - ~"),
        Some("image: ~"),
        Some("  to: 5"),
        Some("git: {}"),
        Some("- "),
        Some("    - a: [b"),
        Some("docker: []"),
        Some("import:"),
        Some("  add: ../.."),
        Some("? x"),
        Some("\t"),
    ])
}

/// Texts out of keys and values of a werf.yaml, in any order.
fn werf_like() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "configVersion",
        "project",
        "deploy",
        "cleanup",
        "keepPolicies",
        "references",
        "limit",
        "in",
        "image",
        "artifact",
        "from",
        "fromImage",
        "git",
        "add",
        "to",
        "url",
        "branch",
        "includePaths",
        "shell",
        "ansible",
        "install",
        "mount",
        "import",
        "before",
        "docker",
        "ENV",
        "CMD",
        "dockerfile",
        "context",
        "args",
        "<<",
    ]);
    let value = prop::sample::select(vec![
        " 1",
        " ~",
        " web",
        " [web, api]",
        " /app",
        " ../x",
        " yes",
        "",
        " {}",
        " []",
        " {a: b}",
        " '[a'",
        " main",
        " &a [x]",
        " *a",
        " '\0'",
        " \"\\0\"",
        " 7d",
        " /(/",
    ]);
    let line = (prop::sample::select(vec!["", "  ", "- ", "  - ", "    ", "---\n"]), key, value);
    let line = line.prop_map(|(indent, key, value)| format!("{indent}{key}:{value}\n"));
    prop::collection::vec(line, 0..25).prop_map(|lines| lines.concat())
}

/// hostile-inputs 31: small for their effect if nothing were counted.
#[test]
fn bombs_are_refused_quickly() {
    let head = "configVersion: 1\nproject: app\n---\nfrom: debian:12\n";
    let names: Vec<String> = (0..20_000).map(|number| format!("n{number}")).collect();
    let many_names = format!("{head}image: [{}]\nshell: {{install: {}}}\n", names.join(","), "x".repeat(100_000));
    let git: String = (0..50_000).map(|number| format!("- to: /a{number}\n")).collect();
    let chain: String =
        (0..20_000).map(|number| format!("---\nimage: c{number}\nfromImage: c{}\n", number + 1)).collect();
    let unknown: String = (0..100_000).map(|number| format!("instal{number}: 1\n")).collect();
    for (text, expected) in [
        (many_names, "20000 images in one section are too many for its size"),
        (format!("{head}image: web\ngit:\n{git}"), "more than 1000 destinations in one image"),
        (format!("{head}image: web\n{chain}---\nimage: c20000\nfromImage: c0\n"), "infinite loop: c0 -> c1 -> "),
        (format!("{head}image: web\n{unknown}"), "unknown fields `instal0`, `instal1`"),
        (
            format!("{head}image: web\na: &a [x,x,x]\nb: &b [{0}]\nc: [{1}]\n", "*a,".repeat(9000), "*b,".repeat(900)),
            "more than 1000000 values",
        ),
    ] {
        let begun = Instant::now();
        let told = told(&parse(&text, "werf.yaml", &shop()).unwrap_err());
        assert!(told.contains(expected), "{}", told.chars().take(500).collect::<String>());
        assert!(begun.elapsed() < Duration::from_secs(20), "{expected}: {:?}", begun.elapsed());
    }
}

/// A long file is not printed as a whole.
#[test]
fn of_a_long_section_only_what_is_near_is_shown() {
    let commands: String = (0..100).map(|number| format!("  - echo {number}\n")).collect();
    let text = format!(
        "configVersion: 1\nproject: app\n---\nimage: web\nfrom: a\nshell:\n  install:\n{commands}  too: x\nfro: b\n"
    );
    let told = told(&parse(&text, "werf.yaml", &shop()).unwrap_err());
    assert!(told.lines().count() < 40, "{told}");
    assert!(told.contains("> 108 |   too: x\n> 109 | fro: b"), "{told}");
}
