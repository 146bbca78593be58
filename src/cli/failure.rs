//! An error on its way out: its text, its hints, its exit code (decisions 6.2).

use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;

use crate::error::{ErrorKind, Explain};
use crate::ui::Ui;
use crate::{ci_env, config, exec, executor, git, layer, registry, runtime, settings, sys, template, yaml};

/// The given error as one that explains itself. A test below sees to it that every type of ours that can is here.
macro_rules! as_explained {
    ($error:expr) => {
        as_explained!($error =>
            crate::error::Error,
            ci_env::CiEnvError,
            config::Error,
            exec::ci_file::CiFileError,
            executor::error::ExecutorError,
            git::Error,
            layer::ReadError,
            layer::WriteError,
            registry::Error,
            registry::docker_config::DockerConfigError,
            registry::vendor::UnknownImplementation,
            runtime::docker::DockerError,
            runtime::embedded::UnpackError,
            settings::SettingsError,
            sys::process::ProcessError,
            template::Error,
            yaml::Error,
        )
    };
    ($error:expr => $($kind:ty),+ $(,)?) => {
        None::<&dyn Explain>$(.or_else(|| $error.downcast_ref::<$kind>().map(|error| error as _)))+
    };
}

/// Prints `Error: …` with causes and hints, never wrapped, and gives the exit code of the kind. Without a log (it could not be
/// opened) the text goes to stderr as it is.
pub fn report(error: &anyhow::Error, ui: Option<&Ui>) -> ExitCode {
    let text = text(error);
    match ui {
        Some(ui) => ui.error(&text),
        None => to_stderr(&text),
    }
    ExitCode::from(kind(error).exit_code())
}

/// Help and version go to stdout as asked for; a wrong command line goes to stderr, so that `source <(…)` is not fed with it.
pub fn usage(error: &clap::Error) -> ExitCode {
    let asked_for = !error.use_stderr();
    let _ = error.print();
    if asked_for { ExitCode::SUCCESS } else { ExitCode::from(ErrorKind::Usage.exit_code()) }
}

/// Runs the command; a panic, which is a bug of ours, is told like any other failure and ends with its code.
pub fn or_bug(ui: &Ui, command: impl FnOnce() -> ExitCode) -> ExitCode {
    let mask = ui.mask().clone();
    // Past the log, whose lock the panicking thread may hold.
    std::panic::set_hook(Box::new(move |panic| to_stderr(&mask.text(&bug_text(panic)))));
    let caught = std::panic::catch_unwind(AssertUnwindSafe(command));
    caught.unwrap_or_else(|_| ExitCode::from(ErrorKind::Bug.exit_code()))
}

/// Unlike `eprintln!` without a panic when nobody listens any more.
fn to_stderr(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn bug_text(panic: &PanicHookInfo) -> String {
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    format!("Error: a bug in slipway{place}: {message}\nhint: please report it, with the command and this text")
}

/// `Error: ` and the chain of causes, then one line for each hint.
fn text(error: &anyhow::Error) -> String {
    if kind(error) == ErrorKind::Interrupted {
        return "Error: interrupted".to_owned();
    }
    let mut text = format!("Error: {}", chain(error));
    let mut told = Vec::new();
    for hint in explanations(error).flat_map(Explain::hints) {
        if !told.contains(&hint) {
            text.push_str(&format!("\nhint: {hint}"));
            told.push(hint);
        }
    }
    text
}

/// The messages from the outermost to the innermost; one that only repeats the end of the message before it is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for link in error.chain() {
        let message = link.to_string();
        if message.is_empty() || text.ends_with(&message) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&message);
    }
    text
}

/// Who has to act, as the outermost link that knows says; an interruption anywhere is one of the whole. What no link knows is the
/// machine's fault if the machine said no, else ours.
fn kind(error: &anyhow::Error) -> ErrorKind {
    let mut kinds = explanations(error).map(Explain::kind).peekable();
    let outermost = kinds.peek().copied();
    if kinds.any(|kind| kind == ErrorKind::Interrupted) {
        return ErrorKind::Interrupted;
    }
    let from_io = error.chain().any(|link| link.is::<std::io::Error>());
    outermost.unwrap_or(if from_io { ErrorKind::Environment } else { ErrorKind::Bug })
}

/// Every link that explains itself, from the outermost in. An error given to `context` is no link of the chain, so anyhow is asked
/// first; the same error may come twice.
fn explanations(error: &anyhow::Error) -> impl Iterator<Item = &dyn Explain> {
    as_explained!(error).into_iter().chain(error.chain().filter_map(|link| as_explained!(link)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use anyhow::Context;

    use crate::error::Error;
    use crate::sys::process::ProcessError;

    use super::*;

    fn told(error: impl Into<anyhow::Error>) -> String {
        let error = error.into();
        format!("{}\nexit code {}", text(&error), kind(&error).exit_code())
    }

    #[test]
    fn the_chain_is_one_line_and_hints_follow() {
        let error = Error::remote("cannot push `r/app:1`")
            .hint("log in first")
            .because(Error::remote("401 Unauthorized").hint("log in first").hint("check the token"));
        let error = anyhow::Error::from(error).context("publishing image `app`");
        insta::assert_snapshot!(told(error), @r"
        Error: publishing image `app`: cannot push `r/app:1`: 401 Unauthorized
        hint: log in first
        hint: check the token
        exit code 4
        ");
    }

    #[test]
    fn a_cause_that_its_message_repeats_is_told_once() {
        let io = std::io::Error::other("disk full");
        let error = Error::environment("cannot write `x`: disk full").because(io);
        insta::assert_snapshot!(told(error), @"
        Error: cannot write `x`: disk full
        exit code 3
        ");
    }

    #[test]
    fn an_error_given_as_context_still_explains_itself() {
        let error = Err::<(), _>(std::io::Error::other("broken pipe"))
            .context(Error::user("`werf.yaml`:3:7: `form` is not a key").hint("did you mean `from`?"))
            .context("reading the configuration");
        insta::assert_snapshot!(told(error.unwrap_err()), @"
        Error: reading the configuration: `werf.yaml`:3:7: `form` is not a key: broken pipe
        hint: did you mean `from`?
        exit code 1
        ");
    }

    #[test]
    fn an_interruption_says_only_that() {
        let error = Error::remote("cannot pull").because(crate::sys::signal::Interruption::error());
        insta::assert_snapshot!(told(anyhow::Error::from(error).context("building")), @"
        Error: interrupted
        exit code 17
        ");
    }

    /// Without its line in the list above an error ends with code 70 and without its hints.
    #[test]
    fn every_error_that_explains_itself_is_known() {
        let (_, list) = include_str!("failure.rs").split_once("as_explained!($error =>").unwrap();
        let (list, _) = list.split_once(')').unwrap();
        let known: Vec<&str> = list.split(',').map(str::trim).collect();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for file in rust_files(&source) {
            let module = file.strip_prefix(&source).unwrap().iter().next().unwrap().to_str().unwrap();
            let module = module.strip_suffix(".rs").map_or(module.to_owned(), |top| format!("crate::{top}"));
            for line in fs::read_to_string(&file).unwrap().lines() {
                let Some(kind) = line.strip_prefix("impl Explain for ") else { continue };
                let kind = kind.trim_end_matches(" {");
                let is_it = |path: &&str| path.starts_with(&module) && path.ends_with(&format!("::{kind}"));
                assert!(known.iter().any(is_it), "`{kind}` of {} is missing in the list", file.display());
            }
        }
    }

    fn rust_files(dir: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .collect()
    }

    #[test]
    #[ignore = "its panic is looked at by the test below"]
    fn panicking_command() {
        let (ui, _) = Ui::for_test();
        ui.mask().add("hunter2-hunter2");
        let code = or_bug(&ui, || panic!("no stage for hunter2-hunter2"));
        println!("{code:?}");
    }

    #[test]
    fn a_panic_is_told_as_a_bug_of_ours() {
        let program = std::env::current_exe().unwrap();
        let arguments = ["--exact", "cli::failure::tests::panicking_command", "--ignored", "--nocapture"];
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(stdout.contains(&format!("{:?}", ExitCode::from(70))), "{stdout}");
        let (start, end) = stderr.split_once(" at src/cli/failure.rs:").unwrap();
        assert_eq!(start, "Error: a bug in slipway");
        let (_, end) = end.split_once(": ").unwrap();
        assert_eq!(end, "no stage for [MASKED]\nhint: please report it, with the command and this text\n");
    }

    #[test]
    fn each_kind_has_its_code() {
        let missing = ProcessError::Missing { program: "git".into() };
        insta::assert_snapshot!(told(anyhow::Error::from(missing).context("fetching")), @"
        Error: fetching: cannot run `git`: there is no such program
        hint: install `git`, or put it on PATH
        exit code 3
        ");
        insta::assert_snapshot!(told(std::io::Error::from(std::io::ErrorKind::PermissionDenied)), @"
        Error: permission denied
        exit code 3
        ");
        insta::assert_snapshot!(told(anyhow::anyhow!("a stage without a signature")), @"
        Error: a stage without a signature
        exit code 70
        ");
        insta::assert_snapshot!(told(Error::usage("two images named")), @"
        Error: two images named
        exit code 2
        ");
    }
}
