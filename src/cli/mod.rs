//! The command line: one match, one line per command.

mod app;
mod build;
mod ci_env;
mod config;
mod exec;
mod executor;
mod failure;
pub mod flags;
mod image;
mod log_options;
mod multiwerf;
mod project;
mod run;
mod run_options;
mod runtime;
mod site;
mod slugify;
mod stage_image;
mod why;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::runtime::embedded;
use crate::sys::env::Env;
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
    #[command(flatten)]
    Full(Box<FullCommand>),
    Executor(executor::ExecutorArgs),
}

/// Commands that wait for nothing but files and processes: they start no async runtime, and are done in milliseconds.
#[derive(Debug, Subcommand)]
enum PlainCommand {
    Slugify(slugify::SlugifyArgs),
    /// Print the version, a single word
    Version,
}

/// Commands with a log, signals and an async runtime.
#[derive(Debug, Subcommand)]
enum FullCommand {
    Build(build::BuildArgs),
    BuildAndPublish(build::BuildAndPublishArgs),
    Publish(build::PublishArgs),
    /// Work with stages
    Stages {
        #[command(subcommand)]
        command: StagesCommand,
    },
    /// Work with published images
    Images {
        #[command(subcommand)]
        command: ImagesCommand,
    },
    /// Print names of stages
    #[command(hide = true)]
    Stage {
        #[command(subcommand)]
        command: StageCommand,
    },
    Why(why::WhyArgs),
    Run(run::RunArgs),
    Image(image::ImageArgs),
    Config(config::ConfigArgs),
    CiEnv(ci_env::CiEnvArgs),
    Exec(exec::ExecArgs),
}

#[derive(Debug, Subcommand)]
enum StagesCommand {
    Build(build::BuildArgs),
}

#[derive(Debug, Subcommand)]
enum ImagesCommand {
    Publish(build::PublishArgs),
}

#[derive(Debug, Subcommand)]
enum StageCommand {
    Image(stage_image::StageImageArgs),
}

/// Runs the program with the given arguments (the program's name first).
pub fn run(args: Vec<OsString>) -> ExitCode {
    // Of the embedded runtime; they must not have threads.
    if let Some(code) = embedded::hidden_command(&args) {
        return code;
    }
    if args.first().and_then(|name| Path::new(name).file_name()) == Some(OsStr::new("multiwerf")) {
        return multiwerf::run(&args);
    }
    let Cli { log, command } = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    match command {
        // Before anything of ours is open: the hooks close what the runner may have left them.
        Command::Executor(args) => executor::run(args),
        Command::Plain(command) => run_plain(command).unwrap_or_else(|error| failure::report(&error, None)),
        Command::Full(command) => run_full(*command, &log).unwrap_or_else(|error| failure::report(&error, None)),
    }
}

fn run_plain(command: PlainCommand) -> anyhow::Result<ExitCode> {
    match command {
        PlainCommand::Slugify(args) => slugify::run(&args)?,
        PlainCommand::Version => println!("{}", env!("CARGO_PKG_VERSION")),
    }
    Ok(ExitCode::SUCCESS)
}

fn run_full(command: FullCommand, log: &flags::LogFlags) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let app = {
        let _entered = runtime.enter();
        App::new(Env::of_process()?, log)?
    };
    let code = failure::or_bug(&app.ui, || {
        runtime.block_on(dispatch(command, &app)).unwrap_or_else(|error| failure::report(&error, Some(&app.ui)))
    });
    // A thread that still waits for the kernel must not keep a finished command from ending.
    runtime.shutdown_background();
    Ok(code)
}

async fn dispatch(command: FullCommand, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        FullCommand::Build(args) => build::build(args, app).await,
        FullCommand::BuildAndPublish(args) => build::build_and_publish(args, app).await,
        FullCommand::Publish(args) => build::publish(args, app).await,
        FullCommand::Stages { command: StagesCommand::Build(args) } => build::build(args, app).await,
        FullCommand::Images { command: ImagesCommand::Publish(args) } => build::publish(args, app).await,
        FullCommand::Stage { command: StageCommand::Image(args) } => stage_image::run(args, app).await,
        FullCommand::Why(args) => why::run(args, app).await,
        FullCommand::Run(args) => run::run(args, app).await,
        FullCommand::Image(args) => image::run(args, app).await,
        FullCommand::Exec(args) => exec::run(&args, app).await,
        FullCommand::CiEnv(args) => {
            ci_env::run(&args, app).await?;
            Ok(ExitCode::SUCCESS)
        }
        FullCommand::Config(args) => {
            config::run(&args, app)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The absolute path of this program, also when a newer one has taken its place since it was started.
fn this_program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("cannot find the path of this program")?;
    match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(replaced) => Ok(PathBuf::from(replaced)),
        None => Ok(path),
    }
}
