//! Templates render as Go's text/template with sprig renders them. The expected texts of `tests/corpus/template` were
//! recorded from those two, errors included.

use std::collections::BTreeMap;
use std::path::Path;

use slipway::template::{Functions, Limits, Set, Value};

/// A case of a corpus file: `--- case NAME`, its sections, and `--- gives` or `--- fails` with the expected text.
#[derive(Default)]
struct Case {
    name: String,
    sections: Vec<(String, String)>,
}

impl Case {
    fn section(&self, name: &str) -> Option<&str> {
        self.sections.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    fn render(&self) -> Result<String, String> {
        let data = match self.section("data") {
            Some(json) => Value::from_json(serde_json::from_str(json).expect("data of a case is JSON")),
            None => Value::map(),
        };
        let mut set = Set::new(functions(), Limits::default());
        if let Some(delimiters) = self.section("delimiters") {
            let (left, right) = delimiters.split_once(' ').expect("two delimiters");
            set = set.with_delimiters(left, right);
        }
        let files = self.sections.iter().filter_map(|(name, text)| Some((name.strip_prefix("file ")?, text.as_str())));
        for (name, text) in files.chain([("main", self.section("case").unwrap_or_default())]) {
            set.parse(name, text).map_err(|error| error.to_string())?;
        }
        set.execute("main", &data).map_err(|error| error.to_string())
    }
}

fn functions() -> Functions {
    let environment = [("HOME", "/home/u"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    Functions::standard(BTreeMap::from(environment))
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let text = format!("\n{}", text.strip_suffix('\n').unwrap_or(text));
    for part in text.split("\n--- ").skip(1) {
        let (header, body) = part.split_once('\n').unwrap_or((part, ""));
        let mut section = header.to_owned();
        if let Some(name) = header.strip_prefix("case ") {
            cases.push(Case { name: name.to_owned(), ..Case::default() });
            section = "case".to_owned();
        }
        cases.last_mut().expect("a file starts with a case").sections.push((section, body.to_owned()));
    }
    cases
}

fn check(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/template").join(file);
    let text = std::fs::read_to_string(&path).expect("the corpus is there");
    let cases = cases(&text);
    assert!(!cases.is_empty());
    let mut wrong = String::new();
    for case in &cases {
        let expected = match (case.section("gives"), case.section("fails")) {
            (Some(text), None) => Ok(text.to_owned()),
            (None, Some(text)) => Err(text.to_owned()),
            _ => panic!("case `{}` of {file} has no one result", case.name),
        };
        let got = case.render();
        if got != expected {
            wrong.push_str(&format!("{}:\n  expected {expected:?}\n  got      {got:?}\n", case.name));
        }
    }
    assert!(wrong.is_empty(), "of {} cases of {file} these differ:\n{wrong}", cases.len());
}

#[test]
fn the_language_is_gos() {
    check("language.txt");
}

#[test]
fn errors_are_worded_as_go_words_them() {
    check("errors.txt");
}

#[test]
fn builtins_print_and_compare_as_in_go() {
    check("builtins.txt");
}
