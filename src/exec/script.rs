//! The scripts that a runner would write for a job (spec/executor.md 2.7, 2.8).

use std::path::Path;

use super::ci_file::CiJob;
use super::variables::{Commit, JobVariable};

/// A script and the sub-stage that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub sub_stage: &'static str,
    /// What the job log calls this part.
    pub title: &'static str,
    pub text: String,
}

/// What scripts need to know of their place.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Where the job's work tree is or will be.
    pub project_dir: &'a Path,
    pub commit: &'a Commit,
    pub variables: &'a [JobVariable],
    pub colours: Colours,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    On,
    Off,
}

/// What runs before the user's own script. When one fails the job has failed, and nothing else runs.
pub fn preparations(place: &Place) -> [Script; 2] {
    let strategy = place.variables.iter().find(|variable| variable.name == "GIT_STRATEGY");
    let prepare = Script {
        sub_stage: "prepare_script",
        title: "Preparing environment",
        text: framed("echo \"Running on $(hostname)...\"\n"),
    };
    let sources = Script {
        sub_stage: "get_sources",
        title: "Getting source from Git repository",
        text: framed(&get_sources(place, strategy.is_none_or(|strategy| strategy.value != "none"))),
    };
    [prepare, sources]
}

/// The user's own script.
pub fn build(job: &CiJob, place: &Place) -> Script {
    let commands: Vec<&String> = job.before_script.iter().chain(&job.script).collect();
    Script {
        sub_stage: "build_script",
        title: "Executing \"step_script\" stage of the job script",
        text: user_script(&commands, place, &[]),
    }
}

/// What runs after the user's script, whatever became of it. `status` is `success` or `failed`.
pub fn after_script(job: &CiJob, place: &Place, status: &str) -> Option<Script> {
    let commands: Vec<&String> = job.after_script.iter().collect();
    (!commands.is_empty()).then(|| Script {
        sub_stage: "after_script",
        title: "Running after_script",
        text: user_script(&commands, place, &[("CI_JOB_STATUS", status)]),
    })
}

/// The last script: removes what scripts left beside the work tree.
pub fn cleanup(place: &Place) -> Script {
    Script {
        sub_stage: "cleanup_file_variables",
        title: "Cleaning up project directory and file based variables",
        text: framed(&format!("rm -rf {}.tmp\n", quoted(&path(place.project_dir)))),
    }
}

/// All of it reaches the shell in one piece, so that nothing which a command does can change what comes after it.
fn framed(body: &str) -> String {
    format!(
        "#!/usr/bin/env bash\n\ntrap exit 1 TERM\nset -eo pipefail\nset +o noclobber\n(\n{body}) </dev/null\n\nexit 0\n"
    )
}

fn user_script(commands: &[&String], place: &Place, more: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for variable in place.variables {
        body.push_str(&export(&variable.name, &variable.value));
    }
    body.push_str(&export("CI_PROJECT_DIR", &path(place.project_dir)));
    body.push_str(&export("CI_BUILDS_DIR", &path(place.project_dir.parent().unwrap_or(place.project_dir))));
    for (name, value) in more {
        body.push_str(&export(name, value));
    }
    body.push_str(&format!("cd {}\n", quoted(&path(place.project_dir))));
    for command in commands {
        body.push_str(&format!("echo {}\n{}\n", quoted(&shown(command, place.colours)), command.trim_end()));
    }
    framed(&body)
}

/// The command as the job log shows it before it runs.
fn shown(command: &str, colours: Colours) -> String {
    let (first, more) = match command.trim_end().split_once('\n') {
        Some((first, _)) => (first, " # collapsed multi-line command"),
        None => (command.trim_end(), ""),
    };
    match colours {
        Colours::On => format!("\u{1b}[32;1m$ {first}{more}\u{1b}[0;m"),
        Colours::Off => format!("$ {first}{more}"),
    }
}

/// A clean work tree of the commit; an earlier job's is brought up to it.
fn get_sources(place: &Place, fetch: bool) -> String {
    let directory = quoted(&path(place.project_dir));
    if !fetch {
        return format!("echo 'Skipping Git repository setup'\nmkdir -p {directory}\n");
    }
    let commit = place.commit;
    let reference = commit.tag.as_deref().or(commit.branch.as_deref()).unwrap_or("HEAD");
    let sha = quoted(&commit.sha);
    let short: String = commit.sha.chars().take(8).collect();
    let told = quoted(&format!("Checking out {short} as detached HEAD (ref is {reference})..."));
    let source = quoted(&path(&commit.directory));
    let origin = quoted(commit.origin.as_deref().unwrap_or(&path(&commit.directory)));
    // What an earlier job left in the repository's own configuration must not run.
    format!(
        "if [ -d {directory}/.git ]; then echo 'Fetching changes...'; else echo 'Cloning repository...'; fi\n\
         rm -rf {directory}/.git/config {directory}/.git/hooks {directory}/.git/index.lock\n\
         git -c init.defaultBranch=none init -q {directory}\n\
         cd {directory}\n\
         git config remote.origin.url {origin}\n\
         git config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'\n\
         git -c protocol.file.allow=always fetch -q --prune --force --tags --no-recurse-submodules {source} {sha} \
         '+refs/heads/*:refs/remotes/origin/*'\n\
         echo {told}\n\
         git checkout -q -f --detach {sha}\n\
         git clean -q -ffdx\n"
    )
}

fn export(name: &str, value: &str) -> String {
    if super::variables::is_name(name) { format!("export {name}={}\n", quoted(value)) } else { String::new() }
}

/// Text in single quotes, in which a shell leaves everything as it is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bash(script: &str) -> (Option<i32>, String) {
        let output = std::process::Command::new("bash").args(["-c", script]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    fn run(job: &CiJob, variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let directory = tempfile::tempdir().unwrap();
        let variables: Vec<JobVariable> = variables
            .iter()
            .map(|(name, value)| JobVariable { name: (*name).into(), value: (*value).into(), masked: false })
            .collect();
        let commit = Commit::default();
        let place =
            Place { project_dir: directory.path(), commit: &commit, variables: &variables, colours: Colours::Off };
        bash(&build(job, &place).text)
    }

    fn job(before: &[&str], script: &[&str]) -> CiJob {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        CiJob { before_script: lines(before), script: lines(script), ..CiJob::default() }
    }

    #[test]
    fn commands_are_shown_and_share_one_shell() {
        let job = job(
            &["type echo && source <(echo 'f() { echo \"in f: $1\"; }')"],
            &["f \"$A\"\n", "cat", "if true\nthen echo yes; fi"],
        );
        let hostile = "a'b\"$(exit 3)`\\\n c";
        let (code, output) = run(&job, &[("A", hostile), ("not a name", "x")]);
        assert_eq!(code, Some(0));
        let expected = format!(
            "$ type echo && source <(echo 'f() {{ echo \"in f: $1\"; }}')\necho is a shell builtin\n$ f \"$A\"\nin f: {hostile}\n\
             $ cat\n$ if true # collapsed multi-line command\nyes\n"
        );
        assert_eq!(output, expected);
    }

    #[test]
    fn the_first_failing_command_ends_the_script_with_its_code() {
        assert_eq!(run(&job(&[], &["(exit 42)", "echo no"]), &[]), (Some(42), "$ (exit 42)\n".into()));
        assert_eq!(run(&job(&[], &["exit 7 | cat", "echo no"]), &[]).0, Some(7));
        assert_eq!(run(&job(&["false"], &["echo no"]), &[]).0, Some(1));
        assert_eq!(run(&job(&[], &["exit 0", "echo no"]), &[]), (Some(0), "$ exit 0\n".into()));
    }

    #[test]
    fn the_after_script_knows_the_outcome() {
        let directory = tempfile::tempdir().unwrap();
        let commit = Commit::default();
        let place = Place { project_dir: directory.path(), commit: &commit, variables: &[], colours: Colours::On };
        let job = CiJob { after_script: vec!["echo $CI_JOB_STATUS".into()], ..CiJob::default() };
        let script = after_script(&job, &place, "failed").unwrap();
        let (code, output) = bash(&script.text);
        assert_eq!(code, Some(0));
        assert_eq!(output, "\u{1b}[32;1m$ echo $CI_JOB_STATUS\u{1b}[0;m\nfailed\n");
        assert_eq!(after_script(&CiJob::default(), &place, "success"), None);
    }
}
