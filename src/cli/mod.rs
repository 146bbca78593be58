//! The command line: one match, one line per command.

mod app;
mod failure;
pub mod flags;
mod image;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use app::App;

use crate::runtime::embedded;

/// Builds images from git in cached stages, publishes them, and runs GitLab jobs.
///
/// Speaks werf 1.1: called as `werf`, it answers to the same commands.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, disable_version_flag = true, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    log: flags::LogFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Image(image::ImageArgs),
    /// Print the version, a single word
    Version,
}

/// Runs the program with the given arguments (the program's name first).
pub fn run(args: Vec<OsString>) -> ExitCode {
    // Of the embedded runtime; they must not have threads.
    if let Some(code) = embedded::hidden_command(&args) {
        return code;
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let app = match App::new() {
        Ok(app) => app,
        Err(error) => return failure::report(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error.into()),
    };
    match runtime.block_on(dispatch(cli.command, &app)) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

async fn dispatch(command: Command, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        Command::Image(args) => return image::run(args, app).await,
        Command::Version => println!("{}", env!("CARGO_PKG_VERSION")),
    }
    Ok(ExitCode::SUCCESS)
}
