//! What can be wrong with a werf.yaml, told with the section it is in (spec/build.md 1.3).

use std::fmt;
use std::path::PathBuf;

use crate::error::{ErrorKind, Explain};
use crate::template;
use crate::yaml::{self, Position};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot find the configuration: {}", not_found(.tried))]
    NotFound { tried: Vec<PathBuf> },
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not UTF-8 text", path.display())]
    NotText { path: PathBuf },
    #[error("cannot parse {file}: no section has `configVersion`, which names the project")]
    NoMeta { file: String, project: String },
    #[error("cannot parse config {file}: {error}{}", template_frame(error))]
    Template { file: String, error: template::Error },
    #[error("the variable WERF_PROJECT_NAME is `{name}`, which is not a project name")]
    ProjectVariable { name: String },
    #[error("{0}")]
    Mistake(Box<Mistake>),
}

/// A mistake at a place of the rendered text.
#[derive(Debug)]
pub struct Mistake {
    /// The file, as it is named to the user.
    pub file: String,
    /// Every place at fault, in order; in the rendered text.
    pub places: Vec<Position>,
    pub problem: Problem,
    /// The section around the places, with line numbers.
    pub frame: String,
    /// What rendering warned of: a file that was not found is often the cause.
    pub warnings: Vec<String>,
}

/// What is wrong at one place. Names of keys, images and files are as the user wrote them.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    // YAML and sections
    #[error("this is not valid YAML: {0}")]
    Yaml(yaml::Problem),
    #[error("a second YAML document begins inside the section")]
    SecondDocument,
    #[error(
        "the section is of no known kind: it has none of the keys `configVersion`, `dockerfile`, `image`, `artifact`"
    )]
    UnknownSection,
    #[error("the project has a second section with `configVersion`; the first is at line {first}")]
    SecondMeta { first: usize },
    #[error("unknown field{} {}", plural(.fields.len()), listed(.fields.iter().map(|field| field.name.as_str())))]
    UnknownFields { fields: Vec<UnknownField> },

    // any key
    #[error("{what} must be {expected}, not {found}")]
    WrongType { what: String, expected: &'static str, found: &'static str },
    #[error("`{key}` is required")]
    Missing { key: &'static str },
    #[error("`{key}` must not be empty")]
    Empty { key: &'static str },
    #[error("`{key}` must be one of {}, not `{found}`", listed(.allowed.iter().copied()))]
    NotOneOf { key: &'static str, allowed: &'static [&'static str], found: String },
    #[error("only one of {} can be given", listed(.keys.iter().copied()))]
    Conflict { keys: Vec<&'static str> },
    #[error("exactly one of {} is required", listed(.keys.iter().copied()))]
    NoneOf { keys: &'static [&'static str] },
    #[error("`{key}` must be an absolute path, not `{path}`")]
    NotAbsolute { key: &'static str, path: String },
    #[error("`{key}` must hold relative paths, not `{path}`")]
    NotRelative { key: &'static str, path: String },
    #[error("`{path}` in `{key}` is not a valid pattern: {reason}")]
    BadPattern { key: &'static str, path: String, reason: &'static str },
    #[error("`{key}` has a control character")]
    ControlCharacter { key: String },

    // meta
    #[error("`configVersion` must be the number 1, not {found}")]
    Version { found: String },
    #[error(
        "`project` is `{name}`; a project name has at most 50 lower-case Latin letters, digits and dashes, and neither \
         begins nor ends with a dash"
    )]
    ProjectName { name: String },
    #[error("`{value}` is not a regular expression: {reason}")]
    Regex { value: String, reason: String },
    #[error("`{value}` is not a duration like `168h` or `1h30m`")]
    Duration { value: String },

    // images
    #[error("`image` must be a name, a list of names or `~`, not {found}")]
    ImageName { found: &'static str },
    #[error("the name of an image must not be empty")]
    EmptyName,
    #[error("{names} images in one section are too many for its size")]
    TooManyNames { names: usize },
    #[error("more than {limit} destinations in one image: git mappings, imports and their `includePaths`")]
    TooManyDestinations { limit: usize },
    #[error("`{name}` cannot be the name of an image: {reason}")]
    BadName { name: String, reason: &'static str },
    #[error("the image without a name must be the only image; there is also `{other}`")]
    NamelessNotAlone { other: String },
    #[error("{what} `{name}` is declared twice; first at line {first}")]
    DuplicateName { what: &'static str, name: String, first: usize },
    #[error("the artifact `{name}` has the name of the image at line {first}")]
    ArtifactLikeImage { name: String, first: usize },
    #[error("`{key}` names `{name}`, but no {what} of that name is declared")]
    NoSuchSource { key: &'static str, what: &'static str, name: String },
    #[error("`{key}` names the section itself, `{name}`")]
    SelfReference { key: &'static str, name: String },
    #[error("infinite loop: {}", chain.join(" -> "))]
    Cycle { chain: Vec<String> },
    #[error("`fromLatest` takes whatever the registry holds at the time, so two builds of one commit can differ")]
    FromLatest,
    #[error("{what} can move, so two builds of one commit can differ", what = moving(.branch))]
    MovingBranch { branch: Option<String> },
    #[error("`{key}` cannot be used: {reason}")]
    GitName { key: &'static str, reason: &'static str },
    #[error("`{key}` can only be given together with `url`")]
    OnlyRemote { key: &'static str },
    #[error("an artifact cannot have `docker`: it is never run")]
    DockerOfArtifact,
    #[error("`to: {to}` is mounted twice")]
    MountedTwice { to: String },
    #[error("conflict between {left} and {right}: both put files at `{path}`")]
    Overlap { left: String, right: String, path: String },
    #[error("`{key}: {path}` is outside the project")]
    OutsideProject { key: &'static str, path: String },

    // ansible
    #[error("unsupported ansible task: none of its keys is a supported module{}", named(.task))]
    NoModule { task: Option<String> },
    #[error("invalid ansible task{}: it has {} modules, {}", named(.task), .modules.len(), listed(.modules.iter().map(String::as_str)))]
    SeveralModules { task: Option<String>, modules: Vec<String> },
}

/// A key that the section does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    pub name: String,
    pub at: Position,
    /// What was probably meant, or why it is not known.
    pub hint: Option<String>,
}

/// A problem and where it is, in the text of its section.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct At {
    pub place: Position,
    pub problem: Problem,
}

impl Error {
    /// The same error, with what rendering warned of.
    #[must_use]
    pub fn after(mut self, warnings: Vec<String>) -> Self {
        if let Self::Mistake(mistake) = &mut self {
            mistake.warnings = warnings;
        }
        self
    }

    /// A problem at a place of a section; `at` counts from the section's first line.
    pub(super) fn in_text(file: &str, first_line: usize, text: &str, at: Position, mut problem: Problem) -> Self {
        let moved = |place: Position| Position { line: (place.line + first_line).saturating_sub(1), ..place };
        let mut places = vec![moved(at)];
        match &mut problem {
            Problem::UnknownFields { fields } => places = fields.iter().map(|field| moved(field.at)).collect(),
            Problem::Yaml(yaml::Problem::DuplicateKey { first, .. }) => {
                *first = moved(*first);
                places.push(*first);
            }
            _ => {}
        }
        let frame = frame(first_line, text, &places);
        Self::Mistake(Box::new(Mistake { file: file.to_owned(), places, problem, frame, warnings: Vec::new() }))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.places.first().copied().unwrap_or_default();
        let problem = shortened(&self.problem.to_string(), 1000);
        write!(f, "{problem}\n --> {}:{}:{}\n{}", self.file, at.line, at.column, self.frame)
    }
}

impl Explain for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreadable { .. } => ErrorKind::Environment,
            _ => ErrorKind::User,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotFound { .. } => {
                vec!["run in the project's directory, or name it with --dir or the file with --config".to_owned()]
            }
            Self::NoMeta { project, .. } => vec![
                format!("begin the file with\n\n    configVersion: 1\n    project: {project}\n    ---\n"),
                "choose the name with care: stages, images, releases and namespaces carry it, so it must never change"
                    .to_owned(),
            ],
            Self::Mistake(mistake) => {
                let warnings = mistake.warnings.iter().map(|warning| format!("rendering warned: {warning}"));
                warnings.chain(mistake.problem.hints()).collect()
            }
            Self::ProjectVariable { .. } => vec![PROJECT_RULE.to_owned()],
            Self::Template { error, .. } => error.hints(),
            Self::Unreadable { .. } | Self::NotText { .. } => Vec::new(),
        }
    }
}

const PROJECT_RULE: &str = "a project name has at most 50 lower-case Latin letters, digits and dashes, and neither begins \
                            nor ends with a dash";

impl Problem {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::UnknownFields { fields } => return fields.iter().filter_map(|field| field.hint.clone()).collect(),
            Self::SecondDocument => "separate sections with a line of `---` only",
            Self::WrongType { found: "a map", expected, .. } if expected.contains("string") => {
                "text with `: ` in it must be quoted"
            }
            Self::EmptyName => "the only image of a project may be without a name; that is written `image: ~`",
            Self::FromLatest => {
                "if that is acceptable, add `herebyIAdmitThatFromLatestMightBreakReproducibility: true`; otherwise drop \
                 `fromLatest` and change `fromCacheVersion` to take a newer base image"
            }
            Self::MovingBranch { .. } => {
                "give a `tag` or `commit`; or, if that is acceptable, add \
                 `herebyIAdmitThatBranchMightBreakReproducibility: true`"
            }
            Self::Overlap { .. } => "tell them apart with `includePaths`, `excludePaths` or another `to`",
            Self::NoModule { .. } => return vec![format!("supported modules: {}", super::ansible::MODULES.join(", "))],
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// Lines shown before and after a place in a long section.
const AROUND: usize = 12;

/// The lines of a section with their numbers; places are marked, and of a long section only what is near them is shown.
fn frame(first_line: usize, text: &str, places: &[Position]) -> String {
    let end = first_line + text.trim_end().lines().count().saturating_sub(1);
    let places: Vec<Position> = places.iter().map(|at| Position { line: at.line.min(end), ..*at }).collect();
    let near = |number: usize| places.iter().any(|place| place.line.abs_diff(number) <= AROUND);
    let last_line = first_line + text.lines().count();
    let width = last_line.to_string().len();
    let short = text.lines().count() <= 2 * AROUND;
    let mut shown = String::new();
    let mut skipping = false;
    for (index, line) in text.trim_end().lines().enumerate() {
        let number = first_line + index;
        if short || near(number) {
            let mark = if places.iter().any(|place| place.line == number) { '>' } else { ' ' };
            let line = shortened(line.trim_end(), 200);
            shown.push_str(format!("{mark} {number:>width$} | {line}").trim_end());
            shown.push('\n');
            skipping = false;
        } else if !skipping {
            shown.push_str(&format!("  {:>width$} ...\n", ""));
            skipping = true;
        }
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// The beginning of a text, with control characters made harmless: what users quote can be long, and forge lines of a log.
fn shortened(text: &str, characters: usize) -> String {
    let clean = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(characters).map(clean).collect();
    if text.chars().nth(characters).is_some() {
        short.push('…');
    }
    short
}

fn not_found(tried: &[PathBuf]) -> String {
    let tried: Vec<String> = tried.iter().map(|path| format!("no file {}", path.display())).collect();
    tried.join(", ")
}

fn template_frame(error: &template::Error) -> String {
    let frame = error.frame();
    if frame.is_empty() { frame } else { format!("\n{frame}") }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn named(task: &Option<String>) -> String {
    task.as_ref().map(|name| format!(" (task `{name}`)")).unwrap_or_default()
}

fn moving(branch: &Option<String>) -> String {
    match branch {
        Some(branch) => format!("the branch `{branch}`"),
        None => "the remote's default branch".to_owned(),
    }
}
