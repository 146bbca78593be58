//! Reading YAML: Go's rules, positions, and texts that mean harm (hostile-inputs 31).

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_yaml::Value;
use slipway::yaml::{Dialect, Limits, Position, load, load_all};

fn go(text: &str) -> Value {
    load(text, Dialect::Go11, &Limits::default()).unwrap_or_else(|error| panic!("{text}: {error}")).value
}

fn error(text: &str) -> String {
    load(text, Dialect::Go11, &Limits::default()).unwrap_err().to_string()
}

/// The value as JSON, which shows types plainly.
fn json(text: &str) -> String {
    serde_json::to_string(&go(text)).unwrap()
}

#[test]
fn only_plain_scalars_are_numbers_and_switches() {
    assert_eq!(json("[yes, 'yes', \"0777\", 0777, !!str 12, on, 'on']"), r#"[true,"yes","0777",511,"12",true,"on"]"#);
    assert_eq!(json("a: yes\nno: 1\n"), r#"{"a":true,"false":1}"#);
}

#[test]
fn merge_keys_fill_what_is_missing() {
    let base = "base: &base {a: 1, b: 2}\nother: &other {b: 3, c: 4}\n";
    for (merge, expected) in [
        ("{<<: *base, a: 9}", r#"{"a":9,"b":2}"#),
        ("{a: 9, <<: *base}", r#"{"a":9,"b":2}"#),
        ("{<<: [*base, *other]}", r#"{"a":1,"b":2,"c":4}"#),
        ("{<<: {inline: 1}}", r#"{"inline":1}"#),
        ("{'<<': 1}", r#"{"<<":1}"#),
    ] {
        let value = go(&format!("{base}merged: {merge}\n"));
        assert_eq!(serde_json::to_string(&value["merged"]).unwrap(), expected, "{merge}");
    }
}

#[test]
fn byte_order_mark_and_windows_line_ends_change_nothing() {
    let unix = "a: |\n  one\n  two\nb: [1,\n  2]\nc: >\n  x\n  y\n";
    assert_eq!(go(&format!("\u{feff}{}", unix.replace('\n', "\r\n"))), go(unix));
}

/// Go's parser is that of libyaml, as Ruby's is that reads .gitlab-ci.yml; it asks less of brackets and quotes than YAML 1.2
/// (checked against Go's).
#[test]
fn what_go_lets_pass_is_read() {
    for (text, expected) in [
        ("a: [\n  b,\n]\nc: d", r#"{"a":["b"],"c":"d"}"#),
        ("a: [\nb,\nc\n]", r#"{"a":["b","c"]}"#),
        ("a:\n  b: {\nc: d,\ne: [\n1,2\n]\n}\nf: g", r#"{"a":{"b":{"c":"d","e":[1,2]}},"f":"g"}"#),
        ("a:\n- [\n]\n- {\n}", r#"{"a":[[],{}]}"#),
        ("a:\n  b: \"x\ny\n\nz\"\n  c: 1", r#"{"a":{"b":"x y\nz","c":1}}"#),
        ("a:\tb\nc: \td", r#"{"a":"b","c":"d"}"#),
        ("a: |\n x", r#"{"a":"x"}"#),
        ("a: >\n x\n", r#"{"a":"x\n"}"#),
        ("a: |+\n x\n\n", r#"{"a":"x\n\n"}"#),
    ] {
        assert_eq!(json(text), expected, "{text:?}");
    }
    let document = load("a: [\nb, c\n]\n", Dialect::Go11, &Limits::default()).unwrap();
    let places: Vec<Position> = document.root().get("a").unwrap().items().map(|item| item.spans.start).collect();
    assert_eq!(places, [Position { line: 2, column: 1 }, Position { line: 2, column: 4 }]);
    assert_eq!(error("a: [\nb, @c\n]\n"), "line 2, column 4: unexpected character: `@'");
}

#[test]
fn local_tags_are_ignored_as_in_go_and_kept_in_our_own_files() {
    assert_eq!(json("[!custom 12, !custom [a]]"), r#"["12",["a"]]"#);
    let ours = load("!custom [a]", Dialect::Core12, &Limits::default()).unwrap();
    assert!(matches!(ours.value, Value::Tagged(tagged) if tagged.tag == "custom"));
}

#[test]
fn first_document_or_all_of_them() {
    let text = "a: 1\n---\nb: 2\n...\n---\n";
    assert_eq!(json(text), r#"{"a":1}"#);
    let all = load_all(text, Dialect::Go11, &Limits::default()).unwrap();
    assert_eq!(
        all.iter().map(|document| serde_json::to_string(&document.value).unwrap()).collect::<Vec<_>>(),
        [r#"{"a":1}"#, r#"{"b":2}"#, "null"]
    );
    assert_eq!(json(""), "null");
    assert_eq!(json("# only a comment\n"), "null");
}

#[test]
fn every_value_knows_its_place_and_its_text() {
    let text = "image: app\ndocker:\n  ENV: {VERSION: 1.10, \"MODE\": 0777}\n  EXPOSE:\n  - yes\n";
    let document = load(text, Dialect::Go11, &Limits::default()).unwrap();
    let docker = document.root().get("docker").unwrap();
    let version = docker.get("ENV").unwrap().get("VERSION").unwrap();
    assert_eq!(version.spans.start, Position { line: 3, column: 18 });
    assert_eq!(version.text(), Some("1.10"));
    assert_eq!(docker.get("ENV").unwrap().get("MODE").unwrap().text(), Some("0777"));
    let exposed = docker.get("EXPOSE").unwrap().items().next().unwrap();
    assert_eq!((exposed.spans.start, exposed.text()), (Position { line: 5, column: 5 }, Some("yes")));
}

#[test]
fn mistakes_are_told_with_their_place() {
    let mut told = String::new();
    for text in [
        "a: 1\nb: 2\na: 3\n",
        "on: 1\nyes: 2\n",
        "a:\n\tb: 1\n",
        "a: b: c\n",
        "a: [1, 2\n",
        "a: 'open\n",
        "a: *unknown\n",
        "a: &a\n  b: *a\n",
        "a: &a\n  <<: *a\n",
        "<<: 5\n",
        "a: {<<: [{b: 1}, 2]}\n",
        "? [a]\n: b\n",
        "a: !!int abc\n",
        "a: !!binary '***'\n",
        "a: b\0c: d\n",
        "a: \u{1b}[31m\n",
        "a: @at\n",
        "a: `tick\n",
        "a: %percent\n",
    ] {
        told.push_str(&format!("{text:?}\n    {}\n", error(text)));
    }
    insta::assert_snapshot!(told);
}

/// hostile-inputs 31: each text is small, what it stands for is not.
#[test]
fn bombs_are_refused_quickly() {
    let doubled = |first: &str, levels: usize| {
        let mut text = format!("a0: &a0 {first}\n");
        for level in 1..=levels {
            text.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level - 1));
        }
        text
    };
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let many = format!("a: &a 1\nb: [{}]\n", "*a, ".repeat(10_001));
    let merged = {
        let mut text = String::from("m0: &m0 {k0: 1}\n");
        for level in 1..3000 {
            text.push_str(&format!("m{level}: &m{level} {{k{level}: 1, <<: *m{}}}\n", level - 1));
        }
        text
    };
    for (text, expected) in [
        (doubled("x", 30), "more than 1000000 values, counting what aliases repeat"),
        (doubled(&long, 9), "aliases repeat more than 16777216 bytes of text"),
        (many, "more than 10000 aliases"),
        (merged, "more than 1000000 values, counting what aliases repeat"),
        ("[".repeat(5000), "lists and maps are nested more than 128 levels deep"),
        ("{a: ".repeat(5000), "lists and maps are nested more than 128 levels deep"),
        ("- ".repeat(5000), "lists and maps are nested more than 128 levels deep"),
        ("? ".repeat(5000), "lists and maps are nested more than 128 levels deep"),
        ("x".repeat((4 << 20) + 1), "the text has 4194305 bytes, more than the 4194304 allowed"),
        (format!("a: [\n{}", "b,\n".repeat(1_000_000)), "invalid indentation in flow construct"),
        (format!("a:\n b: \"\n{}", "x\n".repeat(1_000_000)), "invalid indentation in quoted scalar"),
        ("- a\n".repeat(1_000_001), "more than 1000000 values, counting what aliases repeat"),
    ] {
        let begun = Instant::now();
        let told = error(&text);
        assert!(told.ends_with(expected), "{told}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{expected}: {:?}", begun.elapsed());
    }
}

proptest! {
    /// Any text is a document or an error: no panic, and no time to speak of.
    #[test]
    fn any_text_is_a_document_or_an_error(text in yamlish()) {
        let begun = Instant::now();
        for dialect in [Dialect::Go11, Dialect::Core12] {
            let _ = load_all(&text, dialect, &Limits::default());
        }
        prop_assert!(begun.elapsed() < Duration::from_secs(5));
    }

    /// The tree of places has the shape of the value.
    #[test]
    fn values_and_places_stay_in_step(text in yamlish()) {
        if let Ok(document) = load(&text, Dialect::Go11, &Limits::default()) {
            check_steps(document.root());
        }
    }
}

/// Texts out of pieces that mean something in YAML, in any order.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "a: ",
            "b",
            "- ",
            "\n",
            "\n  ",
            "\n    ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "? ",
            ": ",
            "&a ",
            "*a ",
            "<<: ",
            "'",
            "\"",
            "|\n",
            ">-\n",
            "---\n",
            "...\n",
            "#",
            "!!int ",
            "!x ",
            "\t",
            "\r\n",
            "%TAG ! x\n",
            "\u{feff}",
            "\0",
            "é",
            "~",
            "0x1",
            "\\u00",
            "&a",
            "!<",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn check_steps(node: slipway::yaml::Node<'_>) {
    match node.value {
        Value::Sequence(items) => {
            assert_eq!(node.items().count(), items.len());
            node.items().for_each(check_steps);
        }
        Value::Mapping(map) => {
            assert_eq!(node.entries().count(), map.len());
            node.entries().for_each(|(_, value)| check_steps(value));
        }
        Value::Tagged(_) => {}
        _ => assert!(node.text().is_some(), "{node:?}"),
    }
}
