//! `executor`: the four hooks that GitLab Runner starts. The exit codes are the runner's, not ours.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::error::Explain as _;
use crate::executor::error::ExecutorError;
use crate::executor::job::Contract;
use crate::executor::sub_stage::SubStage;
use crate::executor::{Hook, JobOutcome, cleanup, config_hook, prepare, run, supervise};
use crate::sys::env::Env;

use super::app;

/// Hooks of GitLab Runner's custom executor
#[derive(Debug, Args)]
pub struct ExecutorArgs {
    #[command(subcommand)]
    hook: HookCommand,
}

#[derive(Debug, Subcommand)]
enum HookCommand {
    /// Say where the job's directories are, as JSON
    Config,
    /// Make what the job needs on this host
    Prepare,
    /// Run one script of the job
    Run {
        /// The script that the runner wrote
        script: PathBuf,
        /// What it is for: `build_script`, `get_sources` …
        sub_stage: String,
    },
    /// Remove what the job owned
    Cleanup,
    #[command(hide = true)]
    Supervise { program: OsString, args: Vec<OsString> },
}

pub fn run(args: ExecutorArgs) -> ExitCode {
    let command = match args.hook {
        // A process of its own within `run`; it may not hold anything open.
        HookCommand::Supervise { program, args } => return supervised(&program, &args),
        command => command,
    };
    let env = match Env::of_process() {
        Ok(env) => env,
        Err(error) => return fail(&Contract::of(&Env::default()), &ExecutorError::Processes(error)),
    };
    let contract = Contract::of(&env);
    match hook(contract.clone(), env) {
        Ok(hook) => start(command, &hook).unwrap_or_else(|error| fail(&contract, &error)),
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::from(contract.system_failure)
        }
    }
}

fn hook(contract: Contract, env: Env) -> anyhow::Result<Hook> {
    let settings = app::settings(&env)?;
    let policies = app::cleanup_policies(&app::werf_home(&env))?;
    Ok(Hook { contract, settings, policies, program: super::this_program()?, env })
}

fn start(command: HookCommand, hook: &Hook) -> Result<ExitCode, ExecutorError> {
    let outcome = match command {
        HookCommand::Config => {
            let (answer, lines) = config_hook::config(hook)?;
            say(&lines);
            // A reader that is gone has no use for the answer.
            let _ = std::io::stdout().write_all(answer.to_string().as_bytes());
            JobOutcome::Success
        }
        HookCommand::Prepare => {
            say(&prepare::prepare(hook)?);
            JobOutcome::Success
        }
        HookCommand::Run { script, sub_stage } => run::run(hook, Path::new(&script), &SubStage::parse(&sub_stage))?,
        HookCommand::Cleanup => {
            cleanup::cleanup(hook)?;
            JobOutcome::Success
        }
        HookCommand::Supervise { .. } => JobOutcome::Success,
    };
    Ok(ExitCode::from(hook.contract.exit_code(outcome)))
}

/// Lines for the job log. stdout may be an answer, so they go to stderr.
fn say(lines: &[String]) {
    for line in lines {
        eprintln!("{line}");
    }
}

fn fail(contract: &Contract, error: &ExecutorError) -> ExitCode {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let shown = error.to_string();
    let causes: String = causes
        .map(ToString::to_string)
        .filter(|cause| !shown.contains(cause))
        .map(|cause| format!(": {cause}"))
        .collect();
    eprintln!("Error: {shown}{causes}");
    for hint in error.hints() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(contract.failure_code(error))
}

fn supervised(program: &std::ffi::OsStr, args: &[OsString]) -> ExitCode {
    match supervise::supervise(program, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: cannot watch over the script: {error}");
            ExitCode::FAILURE
        }
    }
}
