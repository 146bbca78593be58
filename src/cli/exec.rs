//! `exec`: run a job of a local `.gitlab-ci.yml`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::error::Error;
use crate::exec::ci_file::CiFile;
use crate::exec::script::Colours;
use crate::exec::variables::{JobVariable, is_name};
use crate::exec::{Exec, ci_file_path, exec, facts};
use crate::sys::env::Env;
use crate::sys::signal::Interruption;

use super::app::App;

/// Run a job of .gitlab-ci.yml on this host, as GitLab Runner would with this executor
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Name of the job
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// The file with the job [default: .gitlab-ci.yml at the top of the repository]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The project [$WERF_DIR, default: the current directory]
    #[arg(long, env = "WERF_DIR", hide_env = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A variable of the job; without a value it is taken from the environment
    #[arg(long = "variable", value_name = "NAME[=VALUE]")]
    variables: Vec<String>,
    /// The same, hidden in the log; name it without a value, to keep it out of the list of processes too
    #[arg(long = "masked-variable", value_name = "NAME[=VALUE]")]
    masked_variables: Vec<String>,
}

/// What a CI job gets from the environment of `exec` itself, when it is there.
const FROM_ENVIRONMENT: &[(&str, bool)] = &[
    ("CI_REGISTRY", false),
    ("CI_REGISTRY_IMAGE", false),
    ("CI_REGISTRY_USER", false),
    ("CI_REGISTRY_PASSWORD", true),
    ("CI_JOB_TOKEN", true),
];

pub async fn run(args: &ExecArgs, app: &App) -> anyhow::Result<ExitCode> {
    let env = &app.env;
    let interruption = Interruption::watch()?;
    let directory = args.dir.as_ref().map_or_else(|| env.current_dir.clone(), |dir| env.current_dir.join(dir));
    let (commit, changes) = facts::commit(&directory)?;
    let path = ci_file_path(&commit, args.file.as_deref(), &env.current_dir);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::user(format!("cannot read `{}`", path.display())).because(error))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = CiFile::parse(&text, &name)?;
    let Some(job) = &args.job else {
        return Err(Error::usage("name the job to run")
            .hint(format!("jobs of `{name}`: {}", file.jobs().join(", ")))
            .into());
    };
    let job = file.job(job)?;
    let colours = env.get("NO_COLOR").is_none() && std::io::stdout().is_terminal();
    let exec_facts = Exec {
        program: &super::this_program()?,
        env,
        commit: &commit,
        changes,
        given: &given(args, env)?,
        job_id: u64::try_from(app.clock.now()).unwrap_or(1),
        colours: if colours { Colours::On } else { Colours::Off },
        interruption: &interruption,
    };
    Ok(ExitCode::from(exec(&job, &exec_facts).await?))
}

fn given(args: &ExecArgs, env: &Env) -> Result<Vec<JobVariable>, Error> {
    let inherited = FROM_ENVIRONMENT.iter().filter_map(|(name, masked)| {
        Some(JobVariable { name: (*name).to_owned(), value: env.get(name)?.to_owned(), masked: *masked })
    });
    let plain = args.variables.iter().map(|text| variable(text, false, env));
    let masked = args.masked_variables.iter().map(|text| variable(text, true, env));
    inherited.map(Ok).chain(plain).chain(masked).collect()
}

fn variable(text: &str, masked: bool, env: &Env) -> Result<JobVariable, Error> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => match env.get(text) {
            Some(value) => (text, value.to_owned()),
            None => return Err(Error::usage(format!("variable `{text}` has no value, and none in the environment"))),
        },
    };
    if !is_name(name) {
        return Err(Error::usage(format!("`{name}` cannot be the name of a variable")));
    }
    Ok(JobVariable { name: name.to_owned(), value, masked })
}
