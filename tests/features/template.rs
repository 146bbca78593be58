//! Templates render as Go's text/template with sprig renders them. The expected texts of `tests/corpus/template` were
//! recorded from those two, errors included.

#![allow(clippy::expect_used)] // The helpers of tests may, as tests do.

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
            Some(json) => {
                let data: serde_json::Value = serde_json::from_str(json).expect("data of a case is JSON");
                Value::from(data)
            }
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
    let now = jiff::Timestamp::from_second(1_600_000_000).expect("a moment").to_zoned(jiff::tz::TimeZone::UTC);
    Functions::standard(BTreeMap::from(environment)).with_now(now)
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

#[test]
fn functions_are_sprigs() {
    check("sprig.txt");
}

#[test]
fn dates_are_gos() {
    check("dates.txt");
}

fn render(text: &str) -> Result<String, String> {
    let mut functions = functions();
    functions.add("shout", |args| match args {
        [Value::Str(text)] => Ok(Value::from(format!("{text}!"))),
        _ => Err("`shout` takes one text".to_owned()),
    });
    let mut set = Set::new(functions, Limits::default());
    let result = set.parse("main", text).and_then(|()| set.execute("main", &Value::map()));
    result.map_err(|error| error.to_string())
}

#[test]
fn yaml_is_read_and_written() {
    for (text, expected) in [
        (r#"{{ (fromYaml "a: {b: [1, x]}").a.b }}"#, "[1 x]"),
        (r#"{{ fromYaml "" }}"#, "map[]"),
        (r#"{{ fromYamlArray "[a, 1000000]" }}"#, "[a 1e+06]"),
        (r#"{{ dict "b" (list 1 "x") "a" 2.5 | toYaml | nindent 2 }}"#, "\n  a: 2.5\n  b:\n  - 1\n  - x"),
    ] {
        assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
    }
    let errors = [r#"{{ fromYaml "a: [" }}"#, r#"{{ fromYaml "- a" }}"#, r#"{{ fromYamlArray "a: 1" }}"#]
        .map(|text| render(text).expect_err(text));
    insta::assert_snapshot!(errors.join("\n"), @r#"
    template: main:1:3: executing "main" at <fromYaml "a: [">: error calling fromYaml: did not find expected node content at line 2 column 1, while parsing a flow node
    template: main:1:3: executing "main" at <fromYaml "- a">: error calling fromYaml: the YAML text is a list, not a map
    template: main:1:3: executing "main" at <fromYamlArray "a: 1">: error calling fromYamlArray: the YAML text is a map, not a list
    "#);
}

#[test]
fn a_caller_adds_functions() {
    assert_eq!(render(r#"{{ "a" | shout | upper }}"#).as_deref(), Ok("A!"));
    let errors = [r#"{{ shout }}"#, r#"{{ shouts "a" }}"#].map(|text| render(text).expect_err(text));
    insta::assert_snapshot!(errors.join("\n"), @r#"
    template: main:1:3: executing "main" at <shout>: error calling shout: `shout` takes one text
    template: main:1: function "shouts" not defined
    "#);
}

/// Only what was handed in is seen, never the process's own environment.
#[test]
fn the_environment_is_what_was_handed_in() {
    assert!(std::env::var_os("PATH").is_some());
    assert_eq!(
        render(r#"[{{ env "HOME" }}][{{ env "PATH" }}][{{ expandenv "$PATH" }}]"#).as_deref(),
        Ok("[/home/u][][]")
    );
}

/// Renders with tight limits on a thread with a small stack, as tokio's are.
fn render_hostile(text: &str) -> Result<String, String> {
    let text = text.to_owned();
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let limits = Limits { text: 1 << 20, steps: 300_000, ..Limits::default() };
        let mut set = Set::new(functions(), limits);
        let result = set.parse("bomb", &text).and_then(|()| set.execute("bomb", &Value::map()));
        result.map_err(|error| error.to_string())
    });
    thread.expect("a thread starts").join().expect("no template panics")
}

/// Hostile input 32: every bomb is refused, with the reason at the end of the message.
#[test]
fn bombs_are_refused() {
    let bombs = [
        r#"{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}"#,
        r#"{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}"#,
        r#"{{ define "a" }}{{ if true }}{{ with 1 }}{{ print (print (include "a" .)) }}{{ end }}{{ end }}{{ end }}{{ include "a" . }}"#,
        r#"{{ $_ := set . "t" "{{ tpl .t . }}" }}{{ tpl .t . }}"#,
        r#"{{ until 1000000000 }}"#,
        r#"{{ untilStep 0 9223372036854775807 1 }}"#,
        r#"{{ seq 1 1000000000 }}"#,
        r#"{{ range 9223372036854775807 }}{{ end }}"#,
        r#"{{ repeat 1000000000 "abc" }}"#,
        r#"{{ indent 1000000000 "abc" }}"#,
        r#"{{ printf "%1000000d%1000000d" 1 2 }}"#,
        r#"{{ $s := "abc" }}{{ range 100 }}{{ $s = print $s $s }}{{ end }}"#,
        r#"{{ $s := "abc" }}{{ range 100 }}{{ $s = cat $s $s }}{{ end }}"#,
        r#"{{ $s := "abcabc" }}{{ range 100 }}{{ $s = replace "" $s $s }}{{ end }}"#,
        r#"{{ $s := "abcabc" }}{{ range 100 }}{{ $s = regexReplaceAll "" $s $s }}{{ end }}"#,
        r#"{{ $l := list 1 }}{{ range 100 }}{{ $l = concat $l $l }}{{ end }}"#,
        r#"{{ $l := list 1 }}{{ range 100 }}{{ $l = list $l $l }}{{ end }}{{ $l }}"#,
        r#"{{ $l := list 1 }}{{ range 100 }}{{ $l = list $l $l }}{{ end }}{{ deepCopy $l }}"#,
        r#"{{ $l := list 1 }}{{ range 100 }}{{ $l = list $l $l }}{{ end }}{{ mustToJson $l }}"#,
        r#"{{ $l := list 1 }}{{ range 100 }}{{ $l = list $l $l }}{{ end }}{{ mustToYaml $l }}"#,
        r#"{{ $l := list 1 }}{{ range 1000 }}{{ $l = list $l }}{{ end }}{{ $l }}"#,
        r#"{{ $_ := set . "self" . }}{{ . }}"#,
        r#"{{ $_ := set . "self" . }}{{ mustToJson . }}"#,
        r#"{{ $_ := set . "self" . }}{{ mustToYaml . }}"#,
        r#"{{ $_ := set . "self" . }}{{ deepCopy . }}"#,
        r#"{{ $a := dict }}{{ $b := dict }}{{ $_ := set $a "x" $a }}{{ $_ := set $b "x" $b }}{{ deepEqual $a $b }}"#,
        r#"{{ $a := dict }}{{ $b := dict }}{{ $_ := set $a "x" $a }}{{ $_ := set $b "x" $b }}{{ merge $a $b }}"#,
        r#"{{ regexMatch "((((a{900}){900}){900}){900})" "a" | ternary "" (mustRegexMatch "((((a{900}){900}){900}){900})" "a") }}"#,
        "{{ fromYaml \"a: &a [x,x,x,x,x,x,x,x,x]\\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\" }}",
        r#"{{ $a := list 1 }}{{ $b := list 1 }}{{ range 100 }}{{ $a = list $a $a }}{{ $b = list $b $b }}{{ end }}{{ deepEqual $a $b }}"#,
        r#"{{ $l := until 100000 }}{{ range 100000 }}{{ $_ := has -1 $l }}{{ end }}"#,
        r#"{{ $s := repeat 900000 "x" }}{{ range 100000 }}{{ $_ := sha512sum $s }}{{ end }}"#,
        r#"{{ range 100000 }}{{ $_ := regexMatch (printf "([a-z]{100}|[0-9]{100}){10}%d" .) "a" }}{{ end }}"#,
        r#"{{ regexFindAll "" (repeat 1000000 "x") -1 }}"#,
        r#"{{ splitList "" (repeat 1000000 "x") }}"#,
        r#"{{ mustFromJson (printf "%s" (repeat 100000 "[")) }}"#,
    ];
    let mut reasons = String::new();
    for bomb in bombs {
        let error = render_hostile(bomb).expect_err(bomb);
        let reason = error.rsplit_once(": ").map_or(error.as_str(), |(_, reason)| reason);
        reasons.push_str(&format!("{reason}\n"));
    }
    insta::assert_snapshot!(reasons, @r#"
    templates call each other more than 1000 levels deep, here "a"
    templates call each other more than 1000 levels deep, here "a"
    templates call each other more than 1000 levels deep, here "a"
    templates call each other more than 1000 levels deep, here "tpl"
    the list would have more than 1048576 elements
    the list would have more than 1048576 elements
    the list would have more than 1048576 elements
    the template does more than 300000 steps of work
    the text would be longer than 1048576 bytes
    the text would be longer than 1048576 bytes
    the text would be longer than 1048576 bytes
    the text would be longer than 1048576 bytes
    the text would be longer than 1048576 bytes
    the text would be longer than 1048576 bytes
    the text would be longer than 1048576 bytes
    the template does more than 300000 steps of work
    the template does more than 300000 steps of work
    the template does more than 300000 steps of work
    the template does more than 300000 steps of work
    the template does more than 300000 steps of work
    the value is nested deeper than 200 levels, or contains itself
    the value is nested deeper than 200 levels, or contains itself
    the value is nested deeper than 200 levels, or contains itself
    the value is nested deeper than 200 levels, or contains itself
    the value is nested deeper than 200 levels, or contains itself
    the value is nested deeper than 200 levels, or contains itself
    the value is nested deeper than 200 levels, or contains itself
    `((((a{900}){900}){900}){900})`
    repetition limit exceeded
    the template does more than 300000 steps of work
    the template does more than 300000 steps of work
    the template does more than 300000 steps of work
    the template does more than 300000 steps of work
    the template does more than 300000 steps of work
    the template does more than 300000 steps of work
    recursion limit exceeded at line 1 column 128
    "#);
}

#[test]
fn a_long_chain_of_includes_is_told_by_its_ends() {
    let error =
        render_hostile(r#"{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}"#).expect_err("endless");
    assert!(error.contains("… 990 more …"), "{error}");
    assert!(error.len() < 2000, "{} bytes", error.len());
}

/// Deep syntax is refused by the parser, on a small stack too.
#[test]
fn deep_nesting_is_refused() {
    let parens = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    let blocks = format!("{}{}", "{{ if true }}".repeat(100_000), "{{ end }}".repeat(100_000));
    let errors = [parens, blocks].map(|text| render_hostile(&text).expect_err("too deep"));
    insta::assert_snapshot!(errors.join("\n"), @r#"
    template: bomb:1: blocks and parentheses nest deeper than 100
    template: bomb:1: blocks and parentheses nest deeper than 100
    "#);
}

/// A chain of `else if` is not nesting.
#[test]
fn a_long_chain_of_else_if_is_fine() {
    let text = format!("{{{{ if false }}}}{}x{{{{ else }}}}y{{{{ end }}}}", "{{ else if false }}".repeat(10_000));
    assert_eq!(render_hostile(&text).as_deref(), Ok("y"));
}

#[test]
fn an_error_can_draw_its_line() {
    let mut set = Set::new(functions(), Limits::default());
    set.parse("_lib.tmpl", "{{ define \"name\" }}\n  {{- required \"`name` is not set\" .name -}}\n{{ end }}")
        .expect("it parses");
    set.parse("werf.yaml", "project: x\n---\nimage: {{ include \"name\" . | quote }}\n").expect("it parses");
    let error = set.execute("werf.yaml", &Value::map()).expect_err("no name is set");
    insta::assert_snapshot!(format!("{error}\n{}", error.frame()), @r#"
    template: werf.yaml:3:10: executing "werf.yaml" at <include "name" .>: error calling include: template: _lib.tmpl:2:6: executing "name" at <required "`name` is not set" .name>: error calling required: `name` is not set
     --> _lib.tmpl:2:7
      |
    2 |   {{- required "`name` is not set" .name -}}
      |       ^
    "#);
    let error = set.parse("werf.yaml", "a\n{{ uper \"x\" }}").expect_err("an unknown function");
    insta::assert_snapshot!(format!("{error}\n{}\n{:?}", error.frame(), slipway::error::Explain::hints(&error)), @r#"
    template: werf.yaml:2: function "uper" not defined
     --> werf.yaml:2:4
      |
    2 | {{ uper "x" }}
      |    ^
    ["did you mean `upper`?"]
    "#);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 2000, ..Default::default() })]

    /// Any text gives a result or an error, never a panic; made of pieces that mean something to the parser.
    #[test]
    fn no_text_panics(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24)) {
        let mut set = Set::new(functions(), Limits { text: 1 << 16, steps: 20_000, ..Limits::default() });
        let data = Value::from(serde_json::json!({"a": {"b": [1, "x", null]}, "s": "é text"}));
        if set.parse("any", &pieces.concat()).is_ok() {
            let _ = set.execute("any", &data).map_err(|error| (error.to_string(), error.frame()));
        }
    }

    /// Functions take any arguments.
    #[test]
    fn no_function_panics(
        name in proptest::sample::select(FUNCTIONS),
        arguments in proptest::collection::vec(proptest::sample::select(ARGUMENTS), 0..4),
    ) {
        let mut set = Set::new(functions(), Limits { text: 1 << 16, steps: 20_000, ..Limits::default() });
        set.parse("any", &format!("{{{{ {name} {} }}}}", arguments.join(" "))).expect("a call parses");
        let _ = set.execute("any", &Value::map()).map_err(|error| error.to_string());
    }
}

const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{ ",
    " }}",
    "{{- ",
    " -}}",
    " ",
    "\n",
    "é",
    "text",
    "\"",
    "`",
    "'",
    "(",
    ")",
    "|",
    ":=",
    "=",
    ",",
    "$",
    "$x",
    ".",
    ".a",
    ".a.b",
    ".s",
    "if",
    "else",
    "end",
    "range",
    "with",
    "define",
    "block",
    "template",
    "break",
    "continue",
    "nil",
    "true",
    "1",
    "-1",
    "1.5",
    "0x",
    "1e9",
    "\"x\"",
    "\"\\",
    "/*",
    "*/",
    "printf",
    "print",
    "list",
    "dict",
    "index",
    "include",
    "{{ end }}",
    "{{ range .a.b }}",
    "{{ if .s }}",
    "{{ define \"x\" }}",
    "{{ template \"x\" . }}",
    "{{ $x := .a }}",
    "{{ $x }}",
];

const ARGUMENTS: &[&str] = &[
    "0",
    "1",
    "-1",
    "3",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "-0.5",
    "1e300",
    "\"\"",
    "\"é\"",
    "\"aéb c\"",
    "\"%5.2f %[1]*d %x\"",
    "\"a(b|c)*{\"",
    "\"2006-01-02\"",
    "\"1.2.3-x\"",
    "nil",
    "true",
    "(list)",
    "(list 1 \"é\" nil)",
    "(dict)",
    "(dict \"é\" (list 1))",
    ".missing",
    "(list (list 1) (dict))",
    "(splitList \"\" \"aé\")",
];

const FUNCTIONS: &[&str] = &[
    "abbrev",
    "abbrevboth",
    "add",
    "add1",
    "add1f",
    "addf",
    "adler32sum",
    "ago",
    "all",
    "any",
    "append",
    "atoi",
    "b32dec",
    "b32enc",
    "b64dec",
    "b64enc",
    "base",
    "biggest",
    "call",
    "camelcase",
    "cat",
    "ceil",
    "chunk",
    "clean",
    "coalesce",
    "compact",
    "concat",
    "contains",
    "date",
    "dateInZone",
    "dateModify",
    "date_in_zone",
    "date_modify",
    "deepCopy",
    "deepEqual",
    "default",
    "dict",
    "dig",
    "dir",
    "div",
    "divf",
    "duration",
    "durationRound",
    "empty",
    "env",
    "eq",
    "expandenv",
    "ext",
    "fail",
    "first",
    "float64",
    "floor",
    "fromJson",
    "fromYaml",
    "fromYamlArray",
    "ge",
    "get",
    "gt",
    "has",
    "hasKey",
    "hasPrefix",
    "hasSuffix",
    "hello",
    "html",
    "htmlDate",
    "htmlDateInZone",
    "include",
    "indent",
    "index",
    "initial",
    "initials",
    "int",
    "int64",
    "isAbs",
    "join",
    "js",
    "kebabcase",
    "keys",
    "kindIs",
    "kindOf",
    "last",
    "le",
    "len",
    "list",
    "lower",
    "lt",
    "max",
    "maxf",
    "merge",
    "mergeOverwrite",
    "min",
    "minf",
    "mod",
    "mul",
    "mulf",
    "mustAppend",
    "mustChunk",
    "mustCompact",
    "mustDateModify",
    "mustDeepCopy",
    "mustFirst",
    "mustFromJson",
    "mustHas",
    "mustInitial",
    "mustLast",
    "mustMerge",
    "mustMergeOverwrite",
    "mustPrepend",
    "mustPush",
    "mustRegexFind",
    "mustRegexFindAll",
    "mustRegexMatch",
    "mustRegexReplaceAll",
    "mustRegexReplaceAllLiteral",
    "mustRegexSplit",
    "mustRest",
    "mustReverse",
    "mustSlice",
    "mustToDate",
    "mustToJson",
    "mustToPrettyJson",
    "mustToRawJson",
    "mustToYaml",
    "mustUniq",
    "mustWithout",
    "must_date_modify",
    "ne",
    "nindent",
    "nospace",
    "not",
    "now",
    "omit",
    "osBase",
    "osClean",
    "osDir",
    "osExt",
    "osIsAbs",
    "pick",
    "pluck",
    "plural",
    "prepend",
    "print",
    "printf",
    "println",
    "push",
    "quote",
    "regexFind",
    "regexFindAll",
    "regexMatch",
    "regexQuoteMeta",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "regexSplit",
    "repeat",
    "replace",
    "required",
    "rest",
    "reverse",
    "round",
    "semver",
    "semverCompare",
    "seq",
    "set",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "slice",
    "snakecase",
    "sortAlpha",
    "split",
    "splitList",
    "splitn",
    "squote",
    "sub",
    "subf",
    "substr",
    "swapcase",
    "ternary",
    "title",
    "toDate",
    "toDecimal",
    "toJson",
    "toPrettyJson",
    "toRawJson",
    "toString",
    "toStrings",
    "toYaml",
    "tpl",
    "trim",
    "trimAll",
    "trimPrefix",
    "trimSuffix",
    "trimall",
    "trunc",
    "tuple",
    "typeIs",
    "typeIsLike",
    "typeOf",
    "uniq",
    "unixEpoch",
    "unset",
    "until",
    "untilStep",
    "untitle",
    "upper",
    "urlJoin",
    "urlParse",
    "urlquery",
    "values",
    "without",
    "wrap",
    "wrapWith",
];
