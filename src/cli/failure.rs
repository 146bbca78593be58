//! An error on its way out: its text, its hints, its exit code (decisions 6.2).

use std::process::ExitCode;

use crate::error::{Error, ErrorKind, Explain};

/// Prints `Error: …` with causes and hints, and gives the exit code of the kind.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprint!("{}", text(error));
    ExitCode::from(explained(error).map_or(ErrorKind::Bug, Explain::kind).exit_code())
}

/// Help and version go to stdout as asked for; a wrong command line goes to stderr, so that `source <(…)` is not fed with it.
pub fn usage(error: &clap::Error) -> ExitCode {
    let asked_for = !error.use_stderr();
    let _ = error.print();
    if asked_for { ExitCode::SUCCESS } else { ExitCode::from(ErrorKind::Usage.exit_code()) }
}

fn text(error: &anyhow::Error) -> String {
    let mut text = format!("Error: {error:#}\n");
    for hint in explained(error).map(Explain::hints).unwrap_or_default() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}

/// The first link of the chain that knows who has to act.
fn explained(error: &anyhow::Error) -> Option<&dyn Explain> {
    error.chain().find_map(|link| link.downcast_ref::<Error>().map(|error| error as &dyn Explain))
}
