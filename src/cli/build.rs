//! `build`, `publish`, `build-and-publish`: from flags to the scenarios and their reports.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use async_trait::async_trait;
use clap::{ArgAction, Args};

use super::app::App;
use super::flags::{BuildFlags, GroundFlags, PublishFlags, switch};
use super::site::{Announce, Ground};
use crate::build::{BuildReport, ImageReport, Introspect, OnImage, OnMissing};
use crate::config::Config;
use crate::error::Error;
use crate::publish::push::Finished;
use crate::publish::{Press, PublishReport, TagOptions, plan, repo};
use crate::registry;
use crate::stage::StageName;
use crate::sys::env::Env;
use crate::ui::Frame;

/// Build the stages of images that are not there yet
///
/// Each stage is named by what it depends on and reused as long as that does not change. For every rebuilt stage the log
/// says why.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Images or artifacts of werf.yaml; all images when none are named, `~` is the nameless image
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    ground: GroundFlags,
    #[command(flatten)]
    build: BuildFlags,
}

/// Build images, and publish each as soon as its stages are there
#[derive(Debug, Args)]
pub struct BuildAndPublishArgs {
    #[command(flatten)]
    build: BuildArgs,
    #[command(flatten)]
    publish: PublishFlags,
    /// Only tell what would be built and published [$WERF_DRY_RUN]
    #[arg(long)]
    dry_run: bool,
}

/// Publish images whose stages are built; builds nothing
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Images of werf.yaml; all when none are named, `~` is the nameless image
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    ground: GroundFlags,
    #[command(flatten)]
    publish: PublishFlags,
    /// Only tell what would be published [$WERF_DRY_RUN]
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    dry_run: bool,
}

pub async fn build(args: BuildArgs, app: &App) -> anyhow::Result<ExitCode> {
    let ground = prepare(&args, app).await?;
    let introspect = introspect(&args.build, &ground.config)?;
    let log = app.ui.root();
    let site = ground.site(OnMissing::Build, parallel(&args.build, &app.env)?, introspect);
    let built = crate::build::build(&site, &args.images, &(), &log).await;
    if let Ok(report) = &built {
        sum_up(report, &log);
    }
    finish(app, built.map(|_| ()))
}

pub async fn build_and_publish(args: BuildAndPublishArgs, app: &App) -> anyhow::Result<ExitCode> {
    let ground = prepare(&args.build, app).await?;
    let introspect = introspect(&args.build.build, &ground.config)?;
    let dry_run = args.dry_run || app.env.is_on("WERF_DRY_RUN");
    let on_missing = if dry_run { OnMissing::Tell } else { OnMissing::Build };
    let site = ground.site(on_missing, parallel(&args.build.build, &app.env)?, introspect);
    let done = build_then_publish(&ground, site, &args.build.images, &args.publish, dry_run, app).await;
    finish(app, done)
}

pub async fn publish(args: PublishArgs, app: &App) -> anyhow::Result<ExitCode> {
    app.watch_parents(&args.ground.places)?;
    let ground = Ground::prepare(app, &args.ground, Announce::Start).await?;
    let dry_run = args.dry_run || app.env.is_on("WERF_DRY_RUN");
    let site = ground.site(OnMissing::Stop, None, Introspect::default());
    let done = build_then_publish(&ground, site, &args.images, &args.publish, dry_run, app).await;
    finish(app, done)
}

async fn prepare(args: &BuildArgs, app: &App) -> anyhow::Result<Ground> {
    app.watch_parents(&args.ground.places)?;
    Ground::prepare(app, &args.ground, Announce::Start).await
}

async fn build_then_publish(
    ground: &Ground,
    site: crate::build::Site<'_>,
    images: &[String],
    flags: &PublishFlags,
    dry_run: bool,
    app: &App,
) -> anyhow::Result<()> {
    let report_path = report_path(flags, &app.env)?;
    let press = press(ground, flags, dry_run, &app.env)?;
    let wanted: Vec<String> =
        crate::build::order::selected(&ground.config, images)?.iter().map(|image| image.name().to_owned()).collect();
    if let Some(name) =
        images.iter().find(|name| ground.config.image(name).is_some_and(crate::config::Image::is_artifact))
    {
        return Err(Error::user(format!("`{name}` is an artifact: only images are published")).into());
    }
    wanted.iter().try_for_each(|image| plan::check(&press.repo, image, &press.tags))?;
    let report = Mutex::new(PublishReport::default());
    let publishing = Publishing { press: &press, wanted: &wanted, report: &report };
    let built = crate::build::build(&site, images, &publishing, &app.ui.root()).await?;
    if site.on_missing == OnMissing::Build {
        sum_up(&built, &app.ui.root());
    }
    if let Some(path) = report_path {
        let json = report.lock().map(|report| report.json()).unwrap_or_default();
        std::fs::write(path, json).with_context(|| format!("cannot write the publish report {}", path.display()))?;
    }
    Ok(())
}

/// One line for each stage, where a glance finds it: at the end.
fn sum_up(report: &BuildReport, log: &Frame) {
    log.gap();
    let block = log.block("Stages");
    for line in report.lines() {
        block.line(line);
    }
    block.end();
}

/// What happens to each finished image.
struct Publishing<'a> {
    press: &'a Press<'a>,
    /// Only these are published; the others are built because these need them.
    wanted: &'a [String],
    report: &'a Mutex<PublishReport>,
}

#[async_trait]
impl OnImage for Publishing<'_> {
    async fn on_image(&self, image: &ImageReport, log: &Frame) -> anyhow::Result<()> {
        let Some(last) = image.last().filter(|_| self.wanted.contains(&image.name)) else { return Ok(()) };
        let finished = Finished { name: &image.name, signature: &image.signature, last: &last.description };
        let published = crate::publish::publish(self.press, finished, log).await?;
        if let Ok(mut report) = self.report.lock() {
            report.published.extend(published);
        }
        Ok(())
    }
}

fn press<'a>(ground: &'a Ground, flags: &PublishFlags, dry_run: bool, env: &Env) -> anyhow::Result<Press<'a>> {
    let text = |flag: &Option<String>, names: &[&str]| {
        flag.clone().or_else(|| names.iter().find_map(|name| env.get(name)).map(str::to_owned)).unwrap_or_default()
    };
    let repo = repo::images_repo(
        &text(&flags.images_repo, &["WERF_IMAGES_REPO"]),
        &text(&flags.images_repo_mode, &["WERF_IMAGES_REPO_MODE"]),
        &text(&flags.images_repo_implementation, &["WERF_IMAGES_REPO_IMPLEMENTATION", "WERF_REPO_IMPLEMENTATION"]),
        &ground.project,
    )?;
    Ok(Press {
        runtime: ground.runtime.clone(),
        registry: registry::Client::clone(&ground.registry),
        records: &ground.records,
        locks: &ground.locks,
        memory: ground.state.join("published"),
        repo,
        tags: tag_options(flags, env).tags()?,
        head: ground.sources.head().cloned(),
        dry_run,
    })
}

fn tag_options(flags: &PublishFlags, env: &Env) -> TagOptions {
    let tag = |flag: &Option<String>, name: &str| flag.clone().or_else(|| env.get(name).map(str::to_owned));
    TagOptions {
        custom: [env.with_prefix("WERF_TAG_CUSTOM_"), flags.tag_custom.clone()].concat(),
        git_branch: tag(&flags.tag_git_branch, "WERF_TAG_GIT_BRANCH"),
        git_tag: tag(&flags.tag_git_tag, "WERF_TAG_GIT_TAG"),
        git_commit: tag(&flags.tag_git_commit, "WERF_TAG_GIT_COMMIT"),
        stages_signature: flags.tag_by_stages_signature.unwrap_or_else(|| env.is_on("WERF_TAG_BY_STAGES_SIGNATURE")),
    }
}

fn report_path<'a>(flags: &'a PublishFlags, env: &'a Env) -> Result<Option<&'a Path>, Error> {
    let format = flags.publish_report_format.as_deref().or_else(|| env.get("WERF_PUBLISH_REPORT_FORMAT"));
    if let Some(format) = format.filter(|format| *format != "json") {
        return Err(Error::user(format!("bad --publish-report-format given `{format}`, expected: \"json\"")));
    }
    Ok(flags.publish_report_path.as_deref().or_else(|| env.get_os("WERF_PUBLISH_REPORT_PATH").map(Path::new)))
}

/// How many images are built at once; `None` is one after another.
fn parallel(flags: &BuildFlags, env: &Env) -> Result<Option<usize>, Error> {
    if !flags.parallel.unwrap_or(!env.is_off("WERF_PARALLEL")) {
        return Ok(None);
    }
    let variable = env.get("WERF_PARALLEL_TASKS_LIMIT").map(|text| {
        text.parse::<i64>()
            .map_err(|_| Error::usage(format!("bad value `{text}` of WERF_PARALLEL_TASKS_LIMIT: expected a number")))
    });
    let limit = match flags.parallel_tasks_limit {
        Some(limit) => limit,
        None => variable.transpose()?.unwrap_or(5),
    };
    Ok(Some(usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX)))
}

fn introspect(flags: &BuildFlags, config: &Config) -> Result<Introspect, Error> {
    let stages =
        flags.introspect_stage.iter().map(|text| introspected_stage(text, config)).collect::<Result<_, _>>()?;
    Ok(Introspect { error: flags.introspect_error, before_error: flags.introspect_before_error, stages })
}

fn introspected_stage(text: &str, config: &Config) -> Result<(Option<String>, StageName), Error> {
    let (image, stage) = match text.rsplit_once('/') {
        Some((image, stage)) => (Some(image), stage),
        None => (None, text),
    };
    let name = stage.parse().map_err(|()| {
        Error::usage(format!("--introspect-stage `{text}`: there is no stage `{stage}`"))
            .hint("stages are from, beforeInstall, gitArchive, install, beforeSetup, setup, …, dockerInstructions")
    })?;
    let image = match image {
        None | Some("*") => None,
        Some("~") => Some(String::new()),
        Some(image) if config.image(image).is_some() => Some(image.to_owned()),
        Some(image) => {
            return Err(Error::usage(format!(
                "--introspect-stage `{text}`: image `{image}` is not defined in werf.yaml"
            )));
        }
    };
    Ok((image, name))
}

/// The last lines of the log; then the outcome.
fn finish(app: &App, done: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    app.ui.end();
    done.map(|()| ExitCode::SUCCESS)
}
