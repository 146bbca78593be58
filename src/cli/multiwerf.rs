//! The program called as `multiwerf`: the script that `source <(multiwerf use 1.1 stable)` expects, for this very
//! binary (spec/publish-and-cleanup.md, section 9). It never touches the network: there is nothing to update.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::Error;
use crate::sys::env::Env;
use crate::sys::files;

use super::failure;

#[derive(Debug, Parser)]
#[command(name = "multiwerf", about = "Makes the command `werf` known to a shell", disable_version_flag = true)]
struct Multiwerf {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a script that defines `werf`
    Use(UseArgs),
    /// Print the path of the program
    WerfPath(Version),
    /// Run the program
    WerfExec {
        #[command(flatten)]
        version: Version,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Do nothing: the program is updated like any other on this host
    Update(Ignored),
    /// Do nothing
    SelfUpdate(Ignored),
    /// Do nothing
    Gc(Ignored),
    /// Print the version of multiwerf that is spoken here
    Version,
}

#[derive(Debug, Args)]
struct Version {
    /// Release group; 1.0 and 1.1 are spoken here
    #[arg(value_name = "MAJOR.MINOR")]
    group: String,
    #[arg(default_value = "stable")]
    channel: Channel,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Channel {
    Alpha,
    Beta,
    #[value(aliases = ["early-access", "rc"])]
    Ea,
    Stable,
    RockSolid,
}

#[derive(Debug, Args)]
struct UseArgs {
    #[command(flatten)]
    version: Version,
    /// Write the script to a file and print its path
    #[arg(long)]
    as_file: bool,
    #[arg(long, default_value = "default")]
    shell: Shell,
    #[command(flatten)]
    _ignored: UpdateFlags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    #[value(alias = "")]
    Default,
    Cmdexe,
    Powershell,
}

/// Accepted, so that scripts which give them go on working.
#[derive(Debug, Args)]
struct UpdateFlags {
    #[arg(long, hide = true)]
    force_remote_check: bool,
    #[arg(long, hide = true)]
    self_update: Option<String>,
    #[arg(long, hide = true)]
    update: Option<String>,
    #[arg(long, hide = true)]
    with_gc: Option<String>,
    #[arg(long, hide = true)]
    try_trdl: Option<String>,
    #[arg(long, hide = true)]
    auto_install_trdl: Option<String>,
}

/// Whatever is given, only `--output-file` is heeded.
#[derive(Debug, Args)]
struct Ignored {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    args: Vec<OsString>,
}

impl Ignored {
    fn output_file(&self) -> Option<PathBuf> {
        let at = self.args.iter().position(|arg| arg.as_encoded_bytes().starts_with(b"--output-file"))?;
        match self.args[at].to_str()?.split_once('=') {
            Some((_, file)) => Some(PathBuf::from(file)),
            None => self.args.get(at + 1).map(PathBuf::from),
        }
    }
}

pub fn run(args: &[OsString]) -> ExitCode {
    match Multiwerf::try_parse_from(args) {
        Err(error) => failure::usage(&error),
        Ok(multiwerf) => match dispatch(multiwerf.command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure::report(&error, None),
        },
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    let program = super::this_program()?;
    match command {
        Command::Use(args) => {
            check(&args.version)?;
            let script = script(&program, args.shell)?;
            if args.as_file {
                println!("{}", write_script(&args, &script, &Env::of_process()?)?.display());
            } else {
                std::io::stdout().write_all(&script)?;
            }
        }
        Command::WerfPath(version) => {
            check(&version)?;
            println!("{}", program.display());
        }
        Command::WerfExec { version, args } => {
            check(&version)?;
            let error = std::process::Command::new(&program).args(args).exec();
            return Err(Error::environment(format!("cannot run `{}`", program.display())).because(error).into());
        }
        Command::Update(ignored) | Command::SelfUpdate(ignored) | Command::Gc(ignored) => {
            if let Some(file) = ignored.output_file() {
                std::fs::write(&file, b"")
                    .map_err(|error| Error::environment(format!("cannot write `{}`", file.display())).because(error))?;
            }
        }
        Command::Version => println!("multiwerf v1.5.0"),
    }
    Ok(())
}

fn check(version: &Version) -> Result<(), Error> {
    if matches!(version.group.as_str(), "1.0" | "1.1") {
        return Ok(());
    }
    Err(Error::user(format!("werf {} is not available here", version.group))
        .hint("this program speaks werf 1.1: `multiwerf use 1.1 stable`"))
}

/// The script: a function `werf` that runs this program, and its path for those who look for it.
/// Plain POSIX, repeatable, silent, and never ends or changes the shell that sources it.
fn script(program: &Path, shell: Shell) -> Result<Vec<u8>, Error> {
    let path = program.to_str().ok_or_else(|| {
        Error::environment(format!("the path of this program, `{}`, is not UTF-8", program.display()))
            .hint("install it under a plain name")
    })?;
    Ok(match shell {
        Shell::Default => {
            let quoted = format!("'{}'", path.replace('\'', "'\\''"));
            format!("werf() {{ {quoted} \"$@\"; }}\nWERF_PATH={quoted}\n")
        }
        Shell::Powershell => {
            let quoted = format!("'{}'", path.replace('\'', "''"));
            format!("function werf {{ & {quoted} @args }}\n$WERF_PATH = {quoted}\n")
        }
        Shell::Cmdexe => {
            let doubled = path.replace('%', "%%");
            format!("@DOSKEY werf=\"{doubled}\" $*\n@SET \"WERF_PATH={doubled}\"\n")
        }
    }
    .into_bytes())
}

fn write_script(args: &UseArgs, script: &[u8], env: &Env) -> Result<PathBuf, Error> {
    let home =
        env.get_os("HOME").ok_or_else(|| Error::environment("cannot find the home directory: HOME is not set"))?;
    let channel = args.version.channel.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let directory = Path::new(home).join(".multiwerf/scripts").join(format!("{}-{channel}", args.version.group));
    let path = directory.join(match args.shell {
        Shell::Default => "werf_source",
        Shell::Cmdexe => "werf_source.bat",
        Shell::Powershell => "werf_source.ps1",
    });
    let cannot = |error| Error::environment(format!("cannot write `{}`", path.display())).because(error);
    std::fs::create_dir_all(&directory).map_err(cannot)?;
    if std::fs::read(&path).ok().as_deref() != Some(script) {
        files::replace(&path, script, 0o644).map_err(cannot)?;
    }
    Ok(path)
}
