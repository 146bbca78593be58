//! `why`: what made a stage be built.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::app::App;
use super::flags::GroundFlags;
use super::site::{Announce, Ground};
use super::stage_image::finished_image;
use crate::build::{ImageReport, StageReport, explain};
use crate::error::Error;
use crate::stage::why::{Reason, Wanted};
use crate::stage::{StageName, display_name};

/// Tell why the stages of an image were built: what changed since the build before
///
/// Compares the labels of each stage with those of the nearest earlier stage of the same name, so it works on any host that
/// has the stages. A stage that was never rebuilt is told as its first build.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Image, or one of its stages
    #[arg(value_name = "IMAGE[/STAGE]")]
    target: Option<String>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    ground: GroundFlags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub async fn run(args: WhyArgs, app: &App) -> anyhow::Result<ExitCode> {
    let ground = Ground::prepare(app, &args.ground, Announce::Nothing).await?;
    let (name, stage) = target(args.target.as_deref(), &ground)?;
    let image = finished_image(&ground, name.as_deref(), app).await?;
    let explained = explained(&ground, &image, stage).await?;
    match args.output {
        Output::Text => print!("{}", text(&image, &explained)),
        Output::Json => println!("{}", json(&image, &explained)),
    }
    Ok(ExitCode::SUCCESS)
}

/// `IMAGE`, or `IMAGE/STAGE` when the last part is a stage and the whole is no image.
fn target(text: Option<&str>, ground: &Ground) -> Result<(Option<String>, Option<StageName>), Error> {
    let Some(text) = text else { return Ok((None, None)) };
    if text == "~" || ground.config.image(text).is_some() {
        return Ok((Some(text.to_owned()), None));
    }
    match text.rsplit_once('/').map(|(image, stage)| (image, stage.parse())) {
        Some((image, Ok(stage))) => Ok((Some(image.to_owned()), Some(stage))),
        _ => Err(Error::user(format!("`{text}` is neither an image of werf.yaml nor one of its stages"))
            .hint("write IMAGE or IMAGE/STAGE, for example `app/install`")),
    }
}

async fn explained<'a>(
    ground: &Ground,
    image: &'a ImageReport,
    only: Option<StageName>,
) -> anyhow::Result<Vec<(&'a StageReport, Vec<Reason>)>> {
    let stored = ground.storage.all().await?;
    let config = ground.config.image(&image.name);
    let mappings = match config {
        Some(crate::config::Image::Stapel(stapel)) => {
            tokio::task::block_in_place(|| ground.sources.resolve(&stapel.git))?
        }
        _ => Vec::new(),
    };
    let mut explained = Vec::new();
    let before = std::iter::once(None).chain(image.stages.iter().map(Some));
    let wanted = image.stages.iter().zip(before).filter(|(stage, _)| only.is_none_or(|name| name == stage.name));
    for (stage, before) in wanted {
        let reasons = match Wanted::of_stored(&stage.description) {
            Some(wanted) => tokio::task::block_in_place(|| explain::reasons(&wanted, &stored, &mappings, before)),
            None => Vec::new(),
        };
        explained.push((stage, reasons));
    }
    if let (Some(name), true) = (only, explained.is_empty()) {
        return Err(Error::user(format!(
            "{} has nothing to do: there is no such stage now",
            display_name(&image.name, name)
        ))
        .into());
    }
    Ok(explained)
}

fn text(image: &ImageReport, explained: &[(&StageReport, Vec<Reason>)]) -> String {
    let mut text = String::new();
    for (stage, reasons) in explained {
        let made = crate::ui::words::timestamp(stage.description.created);
        text.push_str(&format!("{} was built {made}\n", display_name(&image.name, stage.name)));
        for line in explain::lines(reasons) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

fn json(image: &ImageReport, explained: &[(&StageReport, Vec<Reason>)]) -> serde_json::Value {
    let stages: Vec<_> = explained
        .iter()
        .map(|(stage, reasons)| {
            json!({
                "stage": stage.name.as_str(),
                "signature": stage.description.id.signature,
                "tag": stage.description.id.to_string(),
                "createdMilliseconds": stage.description.created,
                "reasons": reasons,
            })
        })
        .collect();
    json!({ "image": image.name, "stages": stages })
}
