//! The command line: one match, one line per command.

mod app;
mod ci_env;
mod config;
mod exec;
mod executor;
mod failure;
pub mod flags;
mod log_options;
mod multiwerf;
pub mod project;
mod slugify;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use app::App;

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
    #[command(flatten)]
    Plain(PlainCommand),
    Executor(executor::ExecutorArgs),
    CiEnv(ci_env::CiEnvArgs),
    Exec(exec::ExecArgs),
    /// Print the version, a single word
    Version,
}

/// Commands that wait for nothing but files and processes: they start no async runtime, and are done in milliseconds.
#[derive(Debug, Subcommand)]
enum PlainCommand {
    Config(config::ConfigArgs),
    Slugify(slugify::SlugifyArgs),
}

/// Runs the program with the given arguments (the program's name first).
pub fn run(args: Vec<OsString>) -> ExitCode {
    if args.first().and_then(|name| Path::new(name).file_name()) == Some(OsStr::new("multiwerf")) {
        return multiwerf::run(&args);
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    // Before anything of ours is open: the hooks close what the runner may have left them.
    if let Command::Executor(args) = cli.command {
        return executor::run(args);
    }
    let app = match App::new(&cli.log) {
        Ok(app) => app,
        Err(error) => return failure::report(&error, None),
    };
    if let Command::Plain(command) = cli.command {
        return run_plain(command, &app).unwrap_or_else(|error| failure::report(&error, Some(&app.ui)));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error.into(), Some(&app.ui)),
    };
    failure::or_bug(&app.ui, || match runtime.block_on(dispatch(cli.command, &app)) {
        Ok(code) => code,
        Err(error) => failure::report(&error, Some(&app.ui)),
    })
}

fn run_plain(command: PlainCommand, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        PlainCommand::Config(args) => config::run(&args, app)?,
        PlainCommand::Slugify(args) => slugify::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The absolute path of this program, also when a newer one has taken its place since it was started.
fn this_program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("cannot find the path of this program")?;
    match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(replaced) => Ok(PathBuf::from(replaced)),
        None => Ok(path),
    }
}

async fn dispatch(command: Command, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        Command::Version => println!("{}", env!("CARGO_PKG_VERSION")),
        Command::Executor(args) => return Ok(executor::run(args)),
        Command::CiEnv(args) => ci_env::run(&args, app).await?,
        Command::Exec(args) => return exec::run(&args, app).await,
        Command::Plain(command) => return run_plain(command, app),
    }
    Ok(ExitCode::SUCCESS)
}
