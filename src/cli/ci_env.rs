//! `ci-env`: a script that prepares the shell of a CI job for werf (spec/publish-and-cleanup.md, section 1).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgAction, Args};

use crate::ci_env::shell_text::{self, Echo, Shell};
use crate::ci_env::{self, Block, Dialect, Facts, Variables, github};
use crate::config;
use crate::error::Error;
use crate::registry::{self, DockerConfig};
use crate::sys::env::Env;
use crate::sys::files;

use super::app::{self, App};
use super::flags::{ProjectFlags, switch};
use super::project;

/// Print the variables that a CI system means for werf, as a script to source
#[derive(Debug, Args)]
pub struct CiEnvArgs {
    /// gitlab or github
    #[arg(value_name = "CI_SYSTEM")]
    systems: Vec<String>,
    #[command(flatten)]
    project: ProjectFlags,
    /// How published images are called: stages-signature, or tag-or-branch (gitlab only)
    #[arg(long, value_name = "STRATEGY", default_value = "stages-signature")]
    tagging_strategy: String,
    /// Write the script to a file and print its path [$WERF_AS_FILE]
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    as_file: bool,
    /// Write NAME=VALUE lines to a file and print its path [$WERF_AS_ENV_FILE]
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    as_env_file: bool,
    /// The file to write to, with one of the two flags above [$WERF_OUTPUT_FILE_PATH]
    #[arg(short, long, env = "WERF_OUTPUT_FILE_PATH", hide_env = true, value_name = "FILE")]
    output_file_path: Option<PathBuf>,
    /// Who sources the script: default (sh, bash …), powershell or cmdexe [$WERF_SHELL]
    #[arg(long, env = "WERF_SHELL", hide_env = true, value_name = "SHELL", default_value = "")]
    shell: String,
    /// Docker configuration directory whose credentials the job gets too
    /// [$WERF_DOCKER_CONFIG or $DOCKER_CONFIG, default: ~/.docker]
    #[arg(long, value_name = "DIR")]
    docker_config: Option<PathBuf>,
    /// Where temporary files go [$WERF_TMP_DIR, default: the system's]
    #[arg(long, value_name = "DIR")]
    tmp_dir: Option<PathBuf>,
    /// Where werf keeps the user's files [$WERF_HOME, default: ~/.werf]
    #[arg(long, value_name = "DIR")]
    home_dir: Option<PathBuf>,
}

pub async fn run(args: &CiEnvArgs, app: &App) -> anyhow::Result<()> {
    let plan = Plan::of(args, app)?;
    match (script(args, app, &plan).await, &plan.target) {
        (Ok(script), Target::Stdout) => print!("{script}"),
        (Ok(script), Target::File(path)) => write(path, &script)?,
        (Ok(script), Target::Generated { directory, name }) => {
            rotate(directory)?;
            write(&directory.join(name), &script)?;
            println!("{}", directory.join(name).display());
        }
        (Err(error), target) => {
            // The shell that sources this must not go on as if all were set.
            if matches!(target, Target::Stdout) {
                print!("{}", shell_text::failure(&format!("{error:#}"), plan.shell, plan.echo));
            }
            return Err(error);
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum System {
    GitLab,
    GitHub,
}

/// The checked command line.
struct Plan {
    system: System,
    shell: Shell,
    echo: Echo,
    facts: Facts,
    target: Target,
    tmp_dir: PathBuf,
}

enum Target {
    Stdout,
    File(PathBuf),
    Generated { directory: PathBuf, name: String },
}

impl Plan {
    fn of(args: &CiEnvArgs, app: &App) -> anyhow::Result<Self> {
        let env = &app.env;
        let as_file = args.as_file || env.is_on("WERF_AS_FILE");
        let as_env_file = args.as_env_file || env.is_on("WERF_AS_ENV_FILE");
        let output_file = args.output_file_path.as_ref().filter(|path| !path.as_os_str().is_empty());
        let script = script_shell(&args.shell)?;
        let home = args.home_dir.clone().filter(|_| env.get_os("WERF_HOME").is_none());
        let home = home.unwrap_or_else(|| app::werf_home(env));
        let policies = app::cleanup_policies(&home)?;
        let dialect = if env.get("SLIPWAY_CI_ENV_DIALECT") == Some("seed") { Dialect::Seed } else { Dialect::Late };
        Ok(Self {
            system: system(&args.systems)?,
            shell: if as_env_file { Shell::EnvFile } else { script },
            echo: if app.verbose { Echo::Verbose } else { Echo::Silent },
            facts: Facts { tagging_strategy: args.tagging_strategy.parse()?, dialect, policies, ..Facts::default() },
            target: match (as_file, as_env_file, output_file) {
                (true, true, _) => {
                    return Err(Error::usage("--as-file and --as-env-file exclude each other").into());
                }
                (false, false, _) => Target::Stdout,
                (_, _, Some(path)) => Target::File(env.current_dir.join(path)),
                (script, _, None) => Target::Generated {
                    directory: home.join("service/tmp/ci_env"),
                    name: generated_name(script.then_some(self::script_shell(&args.shell)?), app)?,
                },
            },
            tmp_dir: tmp_dir(args, env),
        })
    }
}

fn system(systems: &[String]) -> Result<System, Error> {
    match systems {
        [system] if system == "gitlab" => Ok(System::GitLab),
        [system] if system == "github" => Ok(System::GitHub),
        [other] => Err(Error::usage(format!("provided ci system '{other}' not supported"))
            .hint("`gitlab` and `github` are supported")),
        other => Err(Error::usage(format!("requires 1 position argument(s), received {}", other.len()))
            .hint("`ci-env gitlab` or `ci-env github`")),
    }
}

fn script_shell(name: &str) -> Result<Shell, Error> {
    match name {
        "" | "default" => Ok(Shell::Posix),
        "powershell" => Ok(Shell::PowerShell),
        "cmdexe" => Ok(Shell::CmdExe),
        other => Err(Error::usage(format!("provided shell '{other}' not supported"))
            .hint("use `default`, `powershell` or `cmdexe`")),
    }
}

async fn script(args: &CiEnvArgs, app: &App, plan: &Plan) -> anyhow::Result<String> {
    let variables: Variables =
        app.env.all().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?))).collect();
    let project = match plan.system {
        System::GitLab => None,
        System::GitHub => github_project(&args.project, &app.env)?,
    };
    let project = project.as_ref();
    // Whatever cannot be said is found out before anything is made or anybody is asked.
    blocks(plan.system, &variables, &plan.facts, project)?;
    let session = session(&docker_config_of_user(args, &app.env), &plan.tmp_dir)?;
    let login = match plan.system {
        System::GitLab => ci_env::gitlab::login(&variables),
        System::GitHub => ci_env::github::login(&variables),
    };
    if let Some((address, user, password)) = login {
        log_in(&session, address, user, password, app)
            .await
            .with_context(|| format!("unable to login into docker repo {address}"))?;
    }
    let facts = Facts { docker_config: session.display().to_string(), ..plan.facts.clone() };
    Ok(shell_text::render(&blocks(plan.system, &variables, &facts, project)?, plan.shell, plan.echo)?)
}

fn blocks(
    system: System,
    variables: &Variables,
    facts: &Facts,
    project: Option<&github::Project>,
) -> Result<Vec<Block>, ci_env::CiEnvError> {
    match system {
        System::GitLab => ci_env::gitlab::blocks(variables, facts),
        System::GitHub => ci_env::github::blocks(variables, facts, project),
    }
}

/// What werf.yaml says, if there is one.
fn github_project(flags: &ProjectFlags, env: &Env) -> anyhow::Result<Option<github::Project>> {
    let config = match project::load(flags, env) {
        Ok(project) => project.config,
        Err(config::Error::NotFound { .. }) if flags.config.is_none() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let has_nameless_image = config.image("").is_some_and(|image| !image.is_artifact());
    Ok(Some(github::Project { name: config.meta.project, has_nameless_image }))
}

/// A private copy of the user's credentials, to which the job's own are added.
fn session(source: &Path, tmp_dir: &Path) -> anyhow::Result<PathBuf> {
    let cannot = || format!("cannot make a directory in `{}`", tmp_dir.display());
    let name = tempfile::Builder::new().prefix("werf-docker-config-").tempdir_in(tmp_dir).with_context(cannot)?;
    let session = name.path().to_owned();
    // The name is free again and known to be unused; the copy makes the directory itself, for this user alone.
    name.close().with_context(cannot)?;
    DockerConfig::session_copy(source, &session)?;
    Ok(session)
}

async fn log_in(session: &Path, address: &str, user: &str, password: &str, app: &App) -> anyhow::Result<()> {
    let registry = address.split('/').next().unwrap_or(address);
    let settings = app::settings(&app.env)?;
    let options = registry::Options {
        docker_config: DockerConfig::load(session, &app.env)?,
        plain_http: settings.insecure_registries.value.into_iter().collect(),
        proxies: app::proxies(&app.env),
        attempts: 3,
        patience: Duration::from_secs(20),
        ..registry::Options::default()
    };
    registry::Client::new(options).check_login(registry, user, password).await?;
    DockerConfig::add_auth(session, address, user, password)?;
    Ok(())
}

fn docker_config_of_user(args: &CiEnvArgs, env: &Env) -> PathBuf {
    let named = args.docker_config.clone();
    let from_env = || env.get_os("WERF_DOCKER_CONFIG").or_else(|| env.get_os("DOCKER_CONFIG")).map(PathBuf::from);
    let home = || Path::new(env.get_os("HOME").unwrap_or_default()).join(".docker");
    named.or_else(from_env).unwrap_or_else(home)
}

fn tmp_dir(args: &CiEnvArgs, env: &Env) -> PathBuf {
    let named = env.get_os("WERF_TMP_DIR").map(PathBuf::from).or_else(|| args.tmp_dir.clone());
    named.or_else(|| env.get_os("TMPDIR").map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// `source_<seconds>_<random>` with the shell's extension, or `.env_<seconds>_<random>`.
fn generated_name(shell: Option<Shell>, app: &App) -> anyhow::Result<String> {
    let random = getrandom::u32().map_err(|error| Error::environment(format!("no random numbers: {error}")))?;
    let unique = format!("{}_{random}", app.clock.now() / 1000);
    Ok(match shell {
        None => format!(".env_{unique}"),
        Some(Shell::CmdExe) => format!("source_{unique}.bat"),
        Some(Shell::PowerShell) => format!("source_{unique}.ps1"),
        Some(_) => format!("source_{unique}"),
    })
}

fn write(path: &Path, script: &str) -> Result<(), Error> {
    files::replace(path, script.as_bytes(), 0o600)
        .map_err(|error| Error::environment(format!("cannot write `{}`", path.display())).because(error))
}

/// Keeps the directory small: when it has 100 files the oldest go, and 49 stay.
fn rotate(directory: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write to `{}`", directory.display());
    fs::create_dir_all(directory).with_context(cannot)?;
    let entries = fs::read_dir(directory).with_context(cannot)?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    if paths.len() < 100 {
        return Ok(());
    }
    paths.sort();
    let superfluous = paths.len().saturating_sub(49);
    // Another run may be rotating too.
    paths.iter().take(superfluous).for_each(|path| drop(fs::remove_file(path)));
    Ok(())
}
