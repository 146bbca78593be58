//! Which paths of a repository a git mapping takes (spec/build.md 1.7).
//!
//! A pattern matches a path that equals it, lies under it, matches it as a glob, or matches the glob `PATTERN/**/*`. In other
//! words: a pattern matches a path when it matches the path itself or one of the directories above it. So a walk of a tree
//! carries a [`Position`] from a directory into its children, learns early that all or nothing below can match, and takes
//! linear time whatever the pattern looks like.
//!
//! In a pattern `*` stands for any characters of one path component, `?` for one character, `[a-z]`, `[!a-z]` and `[^a-z]` for one
//! of or outside a set, `\` takes the next character as it is, and a component `**` stands for any number of components, at
//! least one when it is the last. A `[` that is never closed stands for itself. Braces mean nothing.

use super::signature;
use crate::config::GitMapping;

/// The path rules of one mapping, relative to the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathFilter {
    /// `add` without the leading slash; `""` is the root.
    pub base: String,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

impl PathFilter {
    /// A filter that takes the whole repository.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The include and exclude patterns, ready to match paths relative to `base`.
    pub fn rules(&self) -> PathRules {
        let required = if self.include.is_empty() { Vec::new() } else { vec![PatternSet::new(&self.include)] };
        PathRules { required, excluded: PatternSet::new(&self.exclude) }
    }
}

/// Pattern sets that a path must match, all of them, and one that it must not.
#[derive(Clone, Debug)]
pub struct PathRules {
    required: Vec<PatternSet>,
    excluded: PatternSet,
}

/// How far a walk has come in [`PathRules`]: at one path.
#[derive(Clone, Debug)]
pub struct RulesPosition {
    required: Vec<Position>,
    excluded: Position,
}

/// How much of what lies in a directory the rules select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Nothing,
    /// Some of it, perhaps.
    Partly,
    Everything,
}

impl PathRules {
    /// The same rules, and a path must match `pattern` too: how stage dependencies narrow a mapping.
    #[must_use]
    pub fn and(mut self, pattern: &str) -> Self {
        self.required.push(PatternSet::new(&[pattern]));
        self
    }

    /// The position at the base directory.
    pub fn start(&self) -> RulesPosition {
        RulesPosition {
            required: self.required.iter().map(PatternSet::start).collect(),
            excluded: self.excluded.start(),
        }
    }

    /// The position one component further down.
    pub fn step(&self, position: &RulesPosition, name: &[u8]) -> RulesPosition {
        let required = self.required.iter().zip(&position.required);
        RulesPosition {
            required: required.map(|(set, position)| set.step(position, name)).collect(),
            excluded: self.excluded.step(&position.excluded, name),
        }
    }

    /// Whether a file at `path` (relative to the base, without a leading slash) is selected.
    pub fn selects(&self, path: &[u8]) -> bool {
        let position = components(path).fold(self.start(), |position, name| self.step(&position, name));
        position.selects_file()
    }
}

impl RulesPosition {
    /// Whether a file at this path is selected.
    pub fn selects_file(&self) -> bool {
        !self.excluded.matched && self.required.iter().all(|position| position.matched)
    }

    /// What the rules select of a directory at this path.
    pub fn reach(&self) -> Reach {
        if self.excluded.matched || self.required.iter().any(Position::is_dead) {
            Reach::Nothing
        } else if self.excluded.is_dead() && self.selects_file() {
            Reach::Everything
        } else {
            Reach::Partly
        }
    }
}

/// Patterns of which any may match.
#[derive(Clone, Debug)]
struct PatternSet {
    patterns: Vec<Vec<Component>>,
}

/// Where the patterns of a set stand after some components of a path.
#[derive(Clone, Debug)]
struct Position {
    /// This path, or a directory above it, matched.
    matched: bool,
    /// (pattern, component) pairs that the next component of the path is held against; sorted, each once.
    active: Vec<(usize, usize)>,
}

impl Position {
    /// Neither this path nor anything below it can match.
    fn is_dead(&self) -> bool {
        !self.matched && self.active.is_empty()
    }
}

impl PatternSet {
    fn new<T: AsRef<str>>(patterns: &[T]) -> Self {
        let mut compiled = Vec::new();
        for pattern in patterns.iter().map(AsRef::as_ref) {
            compiled.push(components(pattern.as_bytes()).map(Component::glob).collect());
            if pattern.contains(['*', '?', '[', '\\']) {
                // "Path equals P": a file may be called `[id].js`.
                compiled.push(components(pattern.as_bytes()).map(|name| Component::Name(name.to_owned())).collect());
            }
        }
        Self { patterns: compiled }
    }

    fn start(&self) -> Position {
        let mut position = Position { matched: false, active: Vec::new() };
        for pattern in 0..self.patterns.len() {
            self.enter(&mut position, pattern, 0);
        }
        position.active.sort_unstable();
        position.active.dedup();
        position
    }

    fn step(&self, position: &Position, name: &[u8]) -> Position {
        let mut next = Position { matched: position.matched, active: Vec::new() };
        if next.matched {
            return next;
        }
        for &(pattern, index) in &position.active {
            match self.component(pattern, index) {
                Some(Component::AnyDepth) => {
                    self.enter(&mut next, pattern, index);
                    next.matched |= self.component(pattern, index + 1).is_none();
                }
                Some(component) if component.matches(name) => self.enter(&mut next, pattern, index + 1),
                _ => {}
            }
        }
        next.active.sort_unstable();
        next.active.dedup();
        next
    }

    /// Makes a component active; with `**` also the one behind it, because `**` may stand for nothing.
    fn enter(&self, position: &mut Position, pattern: usize, index: usize) {
        match self.component(pattern, index) {
            None => position.matched = true,
            Some(component) => {
                position.active.push((pattern, index));
                if matches!(component, Component::AnyDepth) && self.component(pattern, index + 1).is_some() {
                    self.enter(position, pattern, index + 1);
                }
            }
        }
    }

    fn component(&self, pattern: usize, index: usize) -> Option<&Component> {
        self.patterns.get(pattern)?.get(index)
    }
}

/// The components of a path or pattern; empty ones and `.` say nothing.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// One component of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Component {
    AnyDepth,
    Name(Vec<u8>),
    Glob(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(u32),
    AnyChar,
    AnyRun,
    Set { negated: bool, ranges: Vec<(u32, u32)> },
}

impl Component {
    fn glob(text: &[u8]) -> Self {
        if text == b"**" {
            return Self::AnyDepth;
        }
        if !text.iter().any(|byte| b"*?[\\".contains(byte)) {
            return Self::Name(text.to_owned());
        }
        Self::Glob(tokens(&characters(text)))
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::AnyDepth => true,
            Self::Name(expected) => expected == name,
            Self::Glob(tokens) => matches_tokens(tokens, &characters(name)),
        }
    }
}

fn tokens(text: &[u32]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        tokens.push(match char::from_u32(first) {
            Some('*') => Token::AnyRun,
            Some('?') => Token::AnyChar,
            Some('[') => match set(after) {
                Some((token, after)) => {
                    rest = after;
                    token
                }
                None => Token::Char(first),
            },
            Some('\\') => match after.split_first() {
                Some((&escaped, after)) => {
                    rest = after;
                    Token::Char(escaped)
                }
                None => Token::Char(first),
            },
            _ => Token::Char(first),
        });
    }
    tokens.dedup_by(|a, b| *a == Token::AnyRun && *b == Token::AnyRun);
    tokens
}

/// A set from behind its `[`, and what follows its `]`; `None` when it is not closed. A `]` that comes first is a member.
fn set(text: &[u32]) -> Option<(Token, &[u32])> {
    let is = |value: Option<&u32>, expected: char| value.copied() == Some(u32::from(expected));
    let negated = is(text.first(), '!') || is(text.first(), '^');
    let mut rest = text.get(usize::from(negated)..)?;
    let mut ranges = Vec::new();
    while ranges.is_empty() || !is(rest.first(), ']') {
        let (low, after) = set_member(rest)?;
        rest = after;
        if is(rest.first(), '-') && rest.len() > 1 && !is(rest.get(1), ']') {
            let (high, after) = set_member(rest.get(1..)?)?;
            rest = after;
            ranges.push((low, high));
        } else {
            ranges.push((low, low));
        }
    }
    Some((Token::Set { negated, ranges }, rest.get(1..)?))
}

fn set_member(text: &[u32]) -> Option<(u32, &[u32])> {
    match text.split_first()? {
        (&first, after) if first == u32::from('\\') => after.split_first().map(|(&escaped, after)| (escaped, after)),
        (&first, after) => Some((first, after)),
    }
}

/// Tries the latest `*` one character longer on each mismatch: at most tokens × characters steps.
fn matches_tokens(tokens: &[Token], name: &[u32]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < name.len() || token < tokens.len() {
        match (tokens.get(token), name.get(at)) {
            (Some(Token::AnyRun), _) => {
                retry = Some((token, at));
                token += 1;
            }
            (Some(expected), Some(&character)) if expected.matches(character) => {
                token += 1;
                at += 1;
            }
            _ => match retry {
                Some((run, from)) if from < name.len() => {
                    retry = Some((run, from + 1));
                    token = run + 1;
                    at = from + 1;
                }
                _ => return false,
            },
        }
    }
    true
}

impl Token {
    fn matches(&self, character: u32) -> bool {
        match self {
            Self::Char(expected) => *expected == character,
            Self::AnyChar | Self::AnyRun => true,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }
        }
    }
}

/// Unicode characters; a byte that is not part of one stands for itself, beyond the last character of Unicode.
fn characters(text: &[u8]) -> Vec<u32> {
    text.utf8_chunks()
        .flat_map(|chunk| {
            let valid = chunk.valid().chars().map(u32::from);
            valid.chain(chunk.invalid().iter().map(|byte| 0x11_0000 + u32::from(*byte)))
        })
        .collect()
}

/// Identifies a mapping by everything but the content: labels of stages carry it (spec/build.md 2.5, `paramshash`).
/// 64 hex digits. `stageDependencies` are not part of it.
pub fn id(mapping: &GitMapping) -> String {
    let (url, reference) = match &mapping.remote {
        None => ("", String::new()),
        Some(remote) => (remote.name.as_str(), format!("{:?}", remote.reference)),
    };
    let list = |paths: &[String]| serde_json::Value::from(paths).to_string();
    signature::id(
        "mapping",
        &[
            url,
            &reference,
            &mapping.add,
            &mapping.to,
            &mapping.owner,
            &mapping.group,
            &list(&mapping.include_paths),
            &list(&mapping.exclude_paths),
        ],
    )
}

/// How people recognise a mapping: `/ -> /app`, `company/name:/src -> /lib`.
pub fn display(mapping: &GitMapping) -> String {
    match &mapping.remote {
        None => format!("/{} -> {}", mapping.add, mapping.to),
        Some(remote) => format!("{}:/{} -> {}", remote.name, mapping.add, mapping.to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: impl AsRef<[u8]>) -> bool {
        PathFilter { include: vec![pattern.to_owned()], ..PathFilter::default() }.rules().selects(path.as_ref())
    }

    #[test]
    fn patterns_match_as_the_specification_says() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("a", &["a", "a/b", "a/b/c"], &["ab", "b/a", "A"]),
            ("a/b", &["a/b", "a/b/c"], &["a", "a/bc"]),
            ("./a//b/", &["a/b", "a/b/c"], &["a"]),
            ("", &["a", "a/b"], &[]),
            (".", &["a", "a/b"], &[]),
            ("*", &["a", "a/b", ".hidden"], &[]),
            ("*.py", &["x.py", ".py", "x.py/inside"], &["x.pyc", "a/x.py"]),
            ("a*c", &["ac", "abc", "abbc"], &["acb", "a/c"]),
            ("a*b*c", &["abc", "axbxc", "abbcc"], &["acb", "ab"]),
            ("**", &["a", "a/b/c"], &[]),
            ("**/*.py", &["x.py", "a/x.py", "a/b/x.py"], &["a/x.js"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b"]),
            ("a/**/z", &["a/z", "a/b/z", "a/b/c/z", "a/z/under"], &["a/b", "z"]),
            ("**/a/**/b", &["a/b", "x/a/y/b"], &["a", "b/a"]),
            ("**/**/x", &["x", "a/x"], &["a"]),
            ("a**b", &["ab", "axxb"], &["a/b"]),
            ("?", &["a", "é", "a/b"], &["ab"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "[a-c]y"]),
            ("[!a-c]x", &["dx"], &["ax"]),
            ("[^a-c]x", &["dx"], &["ax"]),
            ("[]]", &["]"], &["a"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[\\]]", &["]"], &["\\"]),
            ("[а-я]", &["ж"], &["z"]),
            ("[id].js", &["i.js", "[id].js", "[id].js/x"], &["id.js"]),
            ("a[b", &["a[b", "a[b/c"], &["ab"]),
            ("[", &["["], &["a"]),
            ("[]", &["[]"], &["a"]),
            ("[z-a]", &["[z-a]"], &["m"]),
            ("\\*", &["*"], &["a"]),
            ("a\\", &["a\\"], &["a"]),
            ("{a,b}", &["{a,b}"], &["a"]),
            ("..", &[], &["a", "a/b"]),
        ];
        for (pattern, yes, no) in table {
            for path in *yes {
                assert!(matches(pattern, path), "`{pattern}` must match `{path}`");
            }
            for path in *no {
                assert!(!matches(pattern, path), "`{pattern}` must not match `{path}`");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_one_character_each() {
        assert!(matches("a?", b"a\xff"));
        assert!(!matches("a?", b"a\xff\xfe"));
        assert!(matches("*.txt", b"\xff.txt"));
    }

    #[test]
    fn excludes_win_over_includes() {
        let filter = PathFilter {
            base: String::new(),
            include: vec!["src".into(), "*.md".into()],
            exclude: vec!["**/*.tmp".into(), "src/gen".into()],
        };
        let rules = filter.rules();
        for (path, selected) in
            [("src/a", true), ("src/gen/a", false), ("src/x/a.tmp", false), ("README.md", true), ("Makefile", false)]
        {
            assert_eq!(rules.selects(path.as_bytes()), selected, "{path}");
        }
    }

    #[test]
    fn a_walk_knows_early_what_a_directory_holds() {
        let filter = PathFilter {
            base: String::new(),
            include: vec!["src".into(), "docs/*.md".into()],
            exclude: vec!["src/gen".into()],
        };
        let rules = filter.rules();
        let reach = |path: &str| {
            components(path.as_bytes()).fold(rules.start(), |position, name| rules.step(&position, name)).reach()
        };
        assert_eq!(reach(""), Reach::Partly);
        assert_eq!(reach("src"), Reach::Partly);
        assert_eq!(reach("src/app"), Reach::Everything);
        assert_eq!(reach("src/gen"), Reach::Nothing);
        assert_eq!(reach("docs"), Reach::Partly);
        assert_eq!(reach("docs/img"), Reach::Nothing);
        assert_eq!(reach("other"), Reach::Nothing);
        assert_eq!(PathFilter::everything().rules().start().reach(), Reach::Everything);
    }

    /// The same rules as one regular expression: the path or a directory above it, as a glob or letter by letter.
    fn expression(pattern: &str) -> regex::bytes::Regex {
        let names: Vec<String> =
            components(pattern.as_bytes()).map(|name| String::from_utf8(name.into()).unwrap()).collect();
        let mut glob = String::new();
        for (index, name) in names.iter().enumerate() {
            let last = index + 1 == names.len();
            glob += &match name.as_str() {
                "**" if last => "[^/]+(?:/[^/]+)*".to_owned(),
                "**" => "(?:[^/]+/)*".to_owned(),
                name => {
                    let name = name.chars().map(|c| match c {
                        '*' => "[^/]*".to_owned(),
                        '?' => "[^/]".to_owned(),
                        c => regex::escape(&c.to_string()),
                    });
                    name.chain((!last).then(|| "/".to_owned())).collect()
                }
            };
        }
        let literal = regex::escape(&names.join("/"));
        let expression = if names.is_empty() { ".*".to_owned() } else { format!("(?:{glob}|{literal})(?:/.*)?") };
        regex::bytes::Regex::new(&format!("^(?:{expression})$")).unwrap()
    }

    proptest::proptest! {
        #[test]
        fn globs_mean_what_their_regular_expressions_mean(pattern in "[ab*?/.]{0,8}", path in "[ab*](/?[ab.]){0,6}") {
            let is_path = |name: &&str| !["", ".", ".."].contains(name);
            if path.split('/').all(|name| is_path(&name)) {
                proptest::prop_assert_eq!(matches(&pattern, &path), expression(&pattern).is_match(path.as_bytes()));
            }
        }
    }

    /// Hostile input 35: a pattern that makes a naive matcher take exponential time.
    #[test]
    fn hostile_35_patterns_take_linear_time() {
        let stars = "a*".repeat(60) + "b";
        assert!(!matches(&stars, "a".repeat(200)));
        let depths = "**/a/".repeat(60) + "b";
        assert!(!matches(&depths, vec!["a"; 300].join("/")));
    }
}
