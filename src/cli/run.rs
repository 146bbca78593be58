//! `run`: a built image in a container.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgAction, Args};

use super::app::App;
use super::flags::{GroundFlags, switch};
use super::run_options::{self, RunOptions};
use super::site::{Announce, Ground};
use super::stage_image::finished_image;
use crate::error::Error;
use crate::ids::{ContainerId, ImageId};
use crate::runtime::{ContainerSpec, ExitStatus, ImageConfig, Stream};
use crate::sys::signal::Interruption;

/// Run a built image
///
/// On the docker runtime any option of `docker run` can be given; on the embedded runtime -d, -p, -v, -e, -w, -u, --rm, --name,
/// --entrypoint, -i and -t.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Image of werf.yaml; may be left out when there is only one
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    /// Command and arguments instead of the image's own
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Options of `docker run`, split at blanks [$WERF_DOCKER_OPTIONS]
    #[arg(long, allow_hyphen_values = true, value_name = "OPTIONS")]
    docker_options: Option<String>,
    /// A terminal with /bin/sh, removed afterwards
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    shell: bool,
    /// A terminal with /bin/bash, removed afterwards
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL", conflicts_with = "shell")]
    bash: bool,
    /// Only print the command [$WERF_DRY_RUN]
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    dry_run: bool,
    #[command(flatten)]
    ground: GroundFlags,
}

pub async fn run(args: RunArgs, app: &App) -> anyhow::Result<ExitCode> {
    let (options, command) = what(&args, app)?;
    let ground = Ground::prepare(app, &args.ground, Announce::Nothing).await?;
    let image = finished_image(&ground, args.image.as_deref(), app).await?;
    let last = &image.last().context("an image has stages")?.description;
    let name = format!("{}:{}", last.repository, last.id);
    let line: Vec<OsString> = ["docker", "run"]
        .map(OsString::from)
        .into_iter()
        .chain(options.iter().map(OsString::from))
        .chain([name.into()])
        .chain(command.clone())
        .collect();
    if args.dry_run || app.env.is_on("WERF_DRY_RUN") {
        println!("{}", line.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "));
        return Ok(ExitCode::SUCCESS);
    }
    match ground.runtime.name() {
        "docker" => {
            // The process is the docker client's from here on; nothing of ours must be left for later.
            drop(ground);
            docker_client(&line)
        }
        _ => embedded(&ground, &last.image, &run_options::parse(&options)?, command, app).await,
    }
}

/// Options and command from the flags.
fn what(args: &RunArgs, app: &App) -> Result<(Vec<String>, Vec<OsString>), Error> {
    let given = args.docker_options.as_deref().or_else(|| app.env.get("WERF_DOCKER_OPTIONS"));
    let program = match (args.shell, args.bash) {
        (false, false) => None,
        (true, _) => Some("/bin/sh"),
        (_, true) => Some("/bin/bash"),
    };
    match program {
        None => Ok((given.unwrap_or_default().split_whitespace().map(str::to_owned).collect(), args.command.clone())),
        Some(_) if given.is_some() || !args.command.is_empty() => {
            Err(Error::usage("--shell and --bash cannot be combined with --docker-options or a command")
                .hint("give the options and the program yourself: --docker-options=\"-ti --rm\" -- /bin/sh"))
        }
        Some(program) => Ok((vec!["-ti".to_owned(), "--rm".to_owned()], vec![program.into()])),
    }
}

/// Options of `docker run` are the docker client's business: it takes over this process, terminal and signals included.
fn docker_client(line: &[OsString]) -> anyhow::Result<ExitCode> {
    let program = which::which("docker").map_err(|_| {
        Error::environment("`docker` is not on PATH: it is what reads the options of `docker run`")
            .hint("install the docker client (Debian: docker.io)")
    })?;
    Err(std::process::Command::new(&program).args(&line[1..]).exec())
        .with_context(|| format!("cannot start {}", program.display()))
}

async fn embedded(
    ground: &Ground,
    image: &ImageId,
    options: &RunOptions,
    command: Vec<OsString>,
    app: &App,
) -> anyhow::Result<ExitCode> {
    let config = ground.runtime.inspect(image.as_str()).await?.context("the image is gone")?.config;
    let name = match options.spec.name.as_str() {
        "" => crate::ids::random_name("werf.run.")?,
        name => name.to_owned(),
    };
    let spec = ContainerSpec {
        name,
        command: words(&config, options, command)?,
        terminal: options.terminal,
        ..options.spec.clone()
    };
    let container = ground.runtime.create(image, None, &spec).await?;
    if options.detached {
        ground.runtime.start(&container).await?;
        println!("{container}");
        return Ok(ExitCode::SUCCESS);
    }
    let ended = tokio::select! {
        ended = attached(ground, &container, &spec, app) => ended,
        () = app.interruption.token().cancelled() => Err(Interruption::error().into()),
    };
    ground.runtime.remove(&container).await?;
    match ended?.code {
        0 => Ok(ExitCode::SUCCESS),
        code => Err(Error::user(format!("the container ended with exit code {code}")).into()),
    }
}

async fn attached(
    ground: &Ground,
    container: &ContainerId,
    spec: &ContainerSpec,
    app: &App,
) -> anyhow::Result<ExitStatus> {
    if spec.terminal {
        let _aside = app.ui.step_aside();
        return ground.runtime.attach(container, &spec.command).await;
    }
    let mut print = |stream, bytes: &[u8]| {
        // A reader that is gone ends the container's output, not the container.
        let _ = match stream {
            Stream::Stdout => std::io::stdout().write_all(bytes),
            Stream::Stderr => std::io::stderr().write_all(bytes),
        };
    };
    ground.runtime.run(container, &mut print).await
}

/// The program and its arguments: entrypoint and command as docker combines them.
fn words(config: &ImageConfig, options: &RunOptions, command: Vec<OsString>) -> Result<Vec<String>, Error> {
    let given: Vec<String> = command
        .into_iter()
        .map(|word| {
            word.into_string().map_err(|word| Error::usage(format!("`{}` is not UTF-8", word.to_string_lossy())))
        })
        .collect::<Result<_, _>>()?;
    let entrypoint = match &options.entrypoint {
        Some(entrypoint) => vec![entrypoint.clone()],
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    let default = if options.entrypoint.is_some() { Vec::new() } else { config.cmd.clone().unwrap_or_default() };
    let words = [entrypoint, if given.is_empty() { default } else { given }].concat();
    if words.is_empty() {
        return Err(Error::usage("the image has no command of its own").hint("give one: slipway run IMAGE -- COMMAND"));
    }
    Ok(words)
}
