//! `stage image`: the name of an image's last stage.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::app::App;
use super::flags::{GroundFlags, switch};
use super::site::{Announce, Ground};
use crate::build::{ImageReport, Introspect, OnMissing, order};
use crate::config::Config;
use crate::error::Error;

/// Print the full name of the last stage of a built image, one line
#[derive(Debug, Args)]
pub struct StageImageArgs {
    /// Image of werf.yaml; may be left out when there is only one
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    #[command(flatten)]
    ground: GroundFlags,
    /// Accepted as in werf 1.1; nothing is changed here anyway.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    dry_run: Option<bool>,
}

pub async fn run(args: StageImageArgs, app: &App) -> anyhow::Result<ExitCode> {
    let ground = Ground::prepare(app, &args.ground, Announce::Nothing).await?;
    let image = finished_image(&ground, args.image.as_deref(), app).await?;
    let last = &image.last().context("an image has stages")?.description;
    println!("{}:{}", last.repository, last.id);
    Ok(ExitCode::SUCCESS)
}

/// The stages of one image that must all be built already.
pub async fn finished_image(ground: &Ground, name: Option<&str>, app: &App) -> anyhow::Result<ImageReport> {
    let name = the_image(&ground.config, name)?;
    let site = ground.site(OnMissing::Stop, None, Introspect::default());
    let silent = app.ui.root().at(crate::ui::Level::Verbose);
    let wanted = [if name.is_empty() { "~".to_owned() } else { name.clone() }];
    let report = crate::build::build(&site, &wanted, &(), &silent).await?;
    report.image(&name).cloned().context("the wanted image is part of the report")
}

/// The named image, or the only one.
fn the_image(config: &Config, name: Option<&str>) -> Result<String, Error> {
    let images = order::selected(config, &[])?;
    match (name, images.as_slice()) {
        (Some("~"), _) => Ok(String::new()),
        (Some(name), _) => Ok(name.to_owned()),
        (None, [only]) => Ok(only.name().to_owned()),
        (None, []) => Err(Error::user("werf.yaml defines no image")),
        (None, many) => {
            let names: Vec<&str> = many.iter().map(|image| image.name()).collect();
            Err(Error::usage("name an image: werf.yaml defines more than one")
                .hint(format!("one of: {}", names.join(", "))))
        }
    }
}
