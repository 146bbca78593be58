//! What a CI system's own variables mean for werf: job variables in, ordered assignments out
//! (spec/publish-and-cleanup.md, section 1).
//!
//! Pure. The `ci-env` command prints the result as a script; the executor puts the same variables into a job's
//! environment before its script starts.

pub mod github;
pub mod gitlab;
pub mod policies;
pub mod shell_text;

use std::collections::BTreeMap;

use crate::error::{ErrorKind, Explain};
use policies::Policies;

/// Names the variables that the executor has put into a job's environment, separated by spaces. What stands there is
/// not the job author's choice, so `ci-env` treats it as unset.
pub const SET_BY_EXECUTOR: &str = "SLIPWAY_CI_ENV";

/// Variables of a job. A variable set to nothing counts as absent.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn or_empty(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    fn set_by_executor(&self, name: &str) -> bool {
        self.get(SET_BY_EXECUTOR).is_some_and(|names| names.split(' ').any(|one| one == name))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// How published images are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaggingStrategy {
    #[default]
    StagesSignature,
    TagOrBranch,
}

/// Which release of werf 1.1 the output follows; later ones set three variables more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// As in the users' guide of 2020.
    Seed,
    #[default]
    Late,
}

/// What is known beside the job's variables.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub tagging_strategy: TaggingStrategy,
    pub dialect: Dialect,
    /// The private docker configuration of this session.
    pub docker_config: String,
    pub policies: Policies,
}

/// Variables under one title, in the order in which they are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub title: &'static str,
    pub assignments: Vec<Assignment>,
}

/// What happens to one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: &'static str,
    /// The value computed from the CI system's variables; empty when they do not give one.
    pub value: String,
    pub outcome: Outcome,
    /// Whether the value must not be shown in a log.
    pub secret: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Set,
    /// There is nothing to set.
    Empty,
    /// The job has chosen a value of its own.
    Kept(String),
    /// The executor has set it, and it does not apply to what the job asks for now.
    Unset,
}

/// What keeps a CI system's variables from being understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CiEnvError {
    #[error("provided tagging-strategy `{0}` not supported")]
    TaggingStrategy(String),
    #[error(
        "none of environment variables $WERF_TAG_GIT_TAG=$CI_COMMIT_TAG or $WERF_TAG_GIT_BRANCH=$CI_COMMIT_REF_NAME for 'tag-or-branch' strategy are detected"
    )]
    NoTagOrBranch,
    #[error("the value of {name} has a line break, which {shell} cannot carry")]
    LineBreak { name: &'static str, shell: &'static str },
}

impl Explain for CiEnvError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TaggingStrategy(_) => ErrorKind::Usage,
            Self::NoTagOrBranch | Self::LineBreak { .. } => ErrorKind::User,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::TaggingStrategy(_) => {
                vec![
                    "use `stages-signature`, or `tag-or-branch` where git tags or branches name images (gitlab only)"
                        .into(),
                ]
            }
            Self::NoTagOrBranch => vec!["run it in a GitLab job, or set one of these variables".into()],
            Self::LineBreak { .. } => vec!["print the variables for another shell".into()],
        }
    }
}

impl std::str::FromStr for TaggingStrategy {
    type Err = CiEnvError;

    fn from_str(text: &str) -> Result<Self, CiEnvError> {
        match text {
            "stages-signature" => Ok(Self::StagesSignature),
            "tag-or-branch" => Ok(Self::TagOrBranch),
            other => Err(CiEnvError::TaggingStrategy(other.to_owned())),
        }
    }
}

/// Collects the assignments of one block against what the job has set already.
struct BlockOf<'a> {
    variables: &'a Variables,
    block: Block,
}

impl<'a> BlockOf<'a> {
    fn new(variables: &'a Variables, title: &'static str) -> Self {
        Self { variables, block: Block { title, assignments: Vec::new() } }
    }

    /// Sets `name` unless the job has a value of its own.
    fn add(self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        let outcome = match self.current(name) {
            _ if value.is_empty() => Outcome::Empty,
            Some(current) if !(self.variables.set_by_executor(name) && current == value) => {
                Outcome::Kept(current.to_owned())
            }
            _ => Outcome::Set,
        };
        self.push(Assignment { name, value, outcome, secret: false })
    }

    /// Like [`Self::add`], for a value that is not for people's eyes.
    fn add_secret(self, name: &'static str, value: impl Into<String>) -> Self {
        let mut extended = self.add(name, value);
        if let Some(last) = extended.block.assignments.last_mut() {
            last.secret = true;
        }
        extended
    }

    /// Sets `name` whatever the job says.
    fn force(self, name: &'static str, value: &str) -> Self {
        self.push(Assignment { name, value: value.to_owned(), outcome: Outcome::Set, secret: false })
    }

    /// Takes back what the executor has set.
    fn take_back(self, name: &'static str) -> Self {
        if !self.variables.set_by_executor(name) {
            return self;
        }
        self.push(Assignment { name, value: String::new(), outcome: Outcome::Unset, secret: false })
    }

    fn add_if(self, condition: bool, name: &'static str, value: &str) -> Self {
        if condition { self.add(name, value) } else { self }
    }

    fn push(mut self, assignment: Assignment) -> Self {
        self.block.assignments.push(assignment);
        self
    }

    fn current(&self, name: &str) -> Option<&str> {
        self.variables.get(name)
    }

    fn done(self) -> Block {
        self.block
    }
}

/// The block that points programs at the session's own credentials.
fn docker_config(variables: &Variables, facts: &Facts) -> Block {
    let block = BlockOf::new(variables, "DOCKER CONFIG").force("DOCKER_CONFIG", &facts.docker_config);
    // It would hide the session's credentials from every later command.
    let hides = variables.get("WERF_DOCKER_CONFIG").is_some();
    if hides { block.force("WERF_DOCKER_CONFIG", &facts.docker_config).done() } else { block.done() }
}

/// `parts` joined, or nothing when one of them is missing.
fn joined(parts: &[Option<&str>]) -> String {
    parts.iter().copied().collect::<Option<String>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::shell_text::{Echo, Shell, render};
    use super::*;

    /// The job of the users' guide.
    const GUIDE: [(&str, &str); 7] = [
        ("CI_REGISTRY_IMAGE", "registry.gitlab-example.com/chat"),
        ("CI_REGISTRY", "registry.gitlab-example.com"),
        ("CI_PROJECT_URL", "https://lab.gitlab-example.com/chat"),
        ("CI_PIPELINE_ID", "71340"),
        ("CI_JOB_ID", "184837"),
        ("CI_COMMIT_SHA", "61368705db8652555bd96e68aadfd2ac423ba263"),
        ("CI_JOB_TOKEN", "secret"),
    ];

    fn variables<'a>(more: &[(&'a str, &'a str)]) -> Variables {
        GUIDE.iter().chain(more).copied().collect()
    }

    fn facts(dialect: Dialect) -> Facts {
        Facts { dialect, docker_config: "/tmp/werf-docker-config-832705503".into(), ..Facts::default() }
    }

    fn gitlab(more: &[(&str, &str)], facts: &Facts) -> String {
        render(&gitlab::blocks(&variables(more), facts).unwrap(), Shell::Posix, Echo::Silent).unwrap()
    }

    #[test]
    fn prints_what_the_guide_shows() {
        assert_eq!(gitlab(&[], &facts(Dialect::Seed)), include_str!("testdata/guide.sh"));
    }

    #[test]
    fn prints_three_variables_more_than_the_guide_by_default() {
        let (seed, late) = (gitlab(&[], &facts(Dialect::Seed)), gitlab(&[], &facts(Dialect::Late)));
        let more: Vec<&str> = late.lines().filter(|line| !seed.lines().any(|other| other == *line)).collect();
        assert_eq!(
            more,
            [
                "export WERF_STAGES_STORAGE_REPO_IMPLEMENTATION=\"gitlab\"",
                "export WERF_GIT_HISTORY_SYNCHRONIZATION=\"1\"",
                "export WERF_GIT_UNSHALLOW=\"1\"",
            ]
        );
        assert_eq!(late.lines().count(), seed.lines().count() + 3);
    }

    #[test]
    fn what_the_job_has_set_wins() {
        let text = gitlab(&[("WERF_STAGES_STORAGE", ":local")], &facts(Dialect::Late));
        assert!(
            text.contains("# skip export WERF_STAGES_STORAGE=\"registry.gitlab-example.com/chat/stages\" (:local)\n")
        );
        assert!(!text.contains("STAGES_STORAGE_REPO_IMPLEMENTATION"));
        let elsewhere = gitlab(&[("WERF_IMAGES_REPO", "registry.gitlab-example.com/x")], &facts(Dialect::Late));
        assert!(elsewhere.contains("WERF_IMAGES_REPO_IMPLEMENTATION"));
    }

    #[test]
    fn without_a_registry_both_addresses_are_commented_out() {
        let text = gitlab(&[("CI_REGISTRY_IMAGE", ""), ("CI_REGISTRY", "")], &facts(Dialect::Late));
        assert!(text.contains("\n# export WERF_STAGES_STORAGE=\"\"\n"), "{text}");
        assert!(text.contains("\n# export WERF_IMAGES_REPO=\"\"\n"), "{text}");
        assert!(!text.contains("IMPLEMENTATION"));
    }

    #[test]
    fn what_the_executor_has_set_counts_as_unset() {
        let set = [
            (SET_BY_EXECUTOR, "WERF_LOG_PROJECT_DIR WERF_TAG_BY_STAGES_SIGNATURE WERF_ENV"),
            ("WERF_LOG_PROJECT_DIR", "1"),
            ("WERF_TAG_BY_STAGES_SIGNATURE", "true"),
        ];
        assert_eq!(gitlab(&set, &facts(Dialect::Late)), gitlab(&[], &facts(Dialect::Late)));
        // Unless the script has changed it since.
        let changed = gitlab(&[set[0], ("WERF_LOG_PROJECT_DIR", "0")], &facts(Dialect::Late));
        assert!(changed.contains("# skip export WERF_LOG_PROJECT_DIR=\"1\" (0)"));
    }

    #[test]
    fn tags_and_branches_name_images_when_asked_for() {
        let strategy = Facts { tagging_strategy: TaggingStrategy::TagOrBranch, ..facts(Dialect::Late) };
        let branch = [("CI_COMMIT_REF_NAME", "core/feature/ADD_SETTINGS")];
        assert!(
            gitlab(&branch, &strategy)
                .contains("### TAGGING\nexport WERF_TAG_GIT_BRANCH=\"core-feature-add-settings-df80fdc3\"\n\n")
        );
        let tag = [branch[0], ("CI_COMMIT_TAG", "v1/x")];
        let text = gitlab(&tag, &strategy);
        assert!(text.contains("export WERF_TAG_GIT_TAG=\"v1-x-"), "{text}");
        assert!(!text.contains("WERF_TAG_GIT_BRANCH"));
        let ours =
            [branch[0], (SET_BY_EXECUTOR, "WERF_TAG_BY_STAGES_SIGNATURE"), ("WERF_TAG_BY_STAGES_SIGNATURE", "true")];
        assert!(
            gitlab(&ours, &strategy).contains("### TAGGING\nunset WERF_TAG_BY_STAGES_SIGNATURE\nexport WERF_TAG_GIT")
        );
        assert_eq!(gitlab::blocks(&variables(&[]), &strategy), Err(CiEnvError::NoTagOrBranch));
    }

    #[test]
    fn colours_are_off_only_for_the_gitlab_that_mixed_them_up() {
        for (version, expected) in [
            ("12.1.3", "on"),
            ("12.1.4", "off"),
            ("12.1.10-ee", "off"),
            ("12.2.0-rc1", "off"),
            ("12.2.0", "on"),
            ("13.0.0-pre", "on"),
            ("nonsense", "on"),
        ] {
            let text = gitlab(&[("CI_SERVER_VERSION", version)], &facts(Dialect::Late));
            assert!(text.contains(&format!("export WERF_LOG_COLOR_MODE=\"{expected}\"")), "{version}");
        }
    }

    #[test]
    fn github_names_the_repository_after_a_nameless_image() {
        let variables: Variables = [
            ("GITHUB_REPOSITORY", "Acme/Shop"),
            ("GITHUB_SHA", "61368705db8652555bd96e68aadfd2ac423ba263"),
            ("GITHUB_RUN_ID", "7"),
            ("GITHUB_TOKEN", "ghp_secret"),
        ]
        .into_iter()
        .collect();
        let project = |has_nameless_image| github::Project { name: "shop".into(), has_nameless_image };
        let text = |project: Option<&github::Project>, echo| {
            render(&github::blocks(&variables, &facts(Dialect::Late), project).unwrap(), Shell::Posix, echo).unwrap()
        };
        assert_eq!(text(Some(&project(true)), Echo::Silent), include_str!("testdata/github.sh"));
        let named = text(Some(&project(false)), Echo::Silent);
        assert!(named.contains("export WERF_IMAGES_REPO=\"docker.pkg.github.com/acme/shop\"\n"), "{named}");
        let none = text(None, Echo::Silent);
        assert!(none.contains("# export WERF_IMAGES_REPO=\"\"\n"), "{none}");
        assert!(text(None, Echo::Verbose).contains("echo 'export WERF_REPO_GITHUB_TOKEN=\"[MASKED]\"'\n"));
    }

    #[test]
    fn other_shells_get_their_own_syntax() {
        let blocks = gitlab::blocks(&variables(&[("WERF_ENV", "mine")]), &facts(Dialect::Seed)).unwrap();
        let blocks: Vec<Block> =
            blocks.into_iter().filter(|block| ["TAGGING", "DEPLOY"].contains(&block.title)).collect();
        let blocks = &blocks[..];
        let text = |shell, echo| render(blocks, shell, echo).unwrap();
        assert_eq!(text(Shell::PowerShell, Echo::Verbose), include_str!("testdata/powershell.ps1"));
        assert_eq!(text(Shell::CmdExe, Echo::Verbose), include_str!("testdata/cmdexe.bat"));
        assert_eq!(text(Shell::EnvFile, Echo::Verbose), include_str!("testdata/dotenv"));
    }

    #[test]
    fn a_line_break_is_refused_where_it_cannot_be_carried() {
        let blocks = gitlab::blocks(&variables(&[("CI_PROJECT_URL", "a\nb")]), &facts(Dialect::Late)).unwrap();
        assert_eq!(
            render(&blocks, Shell::EnvFile, Echo::Silent).unwrap_err().to_string(),
            "the value of WERF_ADD_ANNOTATION_PROJECT_GIT has a line break, which an env file cannot carry"
        );
        assert!(render(&blocks, Shell::CmdExe, Echo::Silent).is_err());
        assert!(render(&blocks, Shell::Posix, Echo::Silent).is_ok());
    }

    /// Hostile input 24: names of branches, and whatever else a stranger can write into a variable, never run.
    #[test]
    fn hostile_values_survive_a_real_shell() {
        let hostile = "$(touch /tmp/no) `id` \"'; exit 9 #\\ \n!! ${HOME} % \u{2028}é";
        let more = [("CI_PROJECT_URL", hostile), ("CI_ENVIRONMENT_SLUG", "x"), ("WERF_ENV", "kept\nexit 8")];
        let blocks = gitlab::blocks(&variables(&more), &facts(Dialect::Late)).unwrap();
        let script = render(&blocks, Shell::Posix, Echo::Verbose).unwrap()
            + "printf '\\n=%s=' \"$WERF_ADD_ANNOTATION_PROJECT_GIT\"\n";
        let output = std::process::Command::new("sh").args(["-eu", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.ends_with(&format!("\n=project.werf.io/git={hostile}=")), "{stdout}");
        let titles: Vec<&str> = stdout.lines().filter(|line| line.starts_with("### ")).collect();
        assert_eq!(titles.len(), 7, "{stdout}");
    }
}
