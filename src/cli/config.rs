//! `config`: werf.yaml as it is rendered, and the images it declares (spec/build.md 6.1).

use std::io::Write as _;

use anyhow::Context as _;
use clap::{ArgAction, Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::config::{Image, Section};
use crate::error::Error;
use crate::settings::Source;

use super::app::{self, App};
use super::flags::{PlaceFlags, ProjectFlags, switch};
use super::project::{self, Draft, Project};

/// Show werf.yaml: rendered, or the names it declares
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Render(RenderArgs),
    List(ListArgs),
    Show(ShowArgs),
}

/// Print the settings of this host, and where each of them comes from
#[derive(Debug, Args)]
struct ShowArgs {
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Print werf.yaml after its templates have run
#[derive(Debug, Args)]
struct RenderArgs {
    #[command(flatten)]
    project: ProjectFlags,
    // Accepted as in werf 1.1; nothing is written here.
    #[command(flatten)]
    places: PlaceFlags,
    /// Only the sections of these images or artifacts; `~` is the image without a name
    #[arg(value_name = "IMAGE_NAME")]
    names: Vec<String>,
}

/// List the images and artifacts of werf.yaml
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    project: ProjectFlags,
    // Accepted as in werf 1.1; nothing is written here.
    #[command(flatten)]
    places: PlaceFlags,
    /// Leave out artifacts
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_parser = switch, value_name = "BOOL")]
    images_only: bool,
    /// Form of the list
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A name a line
    Text,
    /// `[{"name": …, "kind": "stapel" | "dockerfile" | "artifact"}, …]`
    Json,
}

pub fn run(args: &ConfigArgs, app: &App) -> anyhow::Result<()> {
    match &args.command {
        ConfigCommand::Render(args) => render(args, app),
        ConfigCommand::List(args) => list(args, app),
        ConfigCommand::Show(args) => show(args, app),
    }
}

/// The whole text is printed before it is checked: it is what one looks at to find a mistake in it.
fn render(args: &RenderArgs, app: &App) -> anyhow::Result<()> {
    let draft = Draft::render(&args.project, &app.env)?;
    if args.names.is_empty() {
        print(&draft.rendered.text)?;
    }
    let project = draft.check(&app.env)?;
    warn(&project, app);
    let sections = named_sections(&project.sections, &args.names)?;
    let texts: Vec<String> = sections.iter().map(|section| format!("{}\n", section.text.trim_end())).collect();
    print(&texts.join("---\n"))
}

fn show(args: &ShowArgs, app: &App) -> anyhow::Result<()> {
    let settings = app::settings(&app.env)?.entries();
    print(&match args.output {
        Output::Text => {
            settings.iter().map(|(name, value, source)| format!("{name}: {value}  # {source}\n")).collect::<String>()
        }
        Output::Json => {
            let entry = |(name, value, source): &(_, _, Source)| json!({"name": name, "value": value, "source": source.to_string()});
            format!("{}\n", serde_json::to_string_pretty(&settings.iter().map(entry).collect::<Vec<_>>())?)
        }
    })
}

fn named_sections<'a>(sections: &'a [Section], names: &[String]) -> Result<Vec<&'a Section>, Error> {
    let has = |section: &Section, name: &str| section.names.iter().any(|own| shown(own) == name);
    if let Some(name) = names.iter().find(|name| !sections.iter().any(|section| has(section, name))) {
        return Err(Error::user(format!("specified image `{name}` is not defined in werf.yaml"))
            .hint("`config list` shows the names that are"));
    }
    Ok(sections.iter().filter(|section| names.iter().any(|name| has(section, name))).collect())
}

fn list(args: &ListArgs, app: &App) -> anyhow::Result<()> {
    let project = project::load(&args.project, &app.env)?;
    warn(&project, app);
    let mut images: Vec<(&str, &str)> =
        project.config.images.iter().map(|image| (kind(image), shown(image.name()))).collect();
    images.retain(|(kind, _)| !(args.images_only && *kind == ARTIFACT));
    images.sort_by_key(|(kind, _)| KINDS.iter().position(|other| other == kind));
    print(&match args.output {
        Output::Text => images.iter().map(|(_, name)| format!("{name}\n")).collect(),
        Output::Json => {
            let list: Vec<_> = images.iter().map(|(kind, name)| json!({ "name": name, "kind": kind })).collect();
            format!("{}\n", serde_json::to_string_pretty(&list)?)
        }
    })
}

const ARTIFACT: &str = "artifact";
/// In the order of the list.
const KINDS: [&str; 3] = ["stapel", "dockerfile", ARTIFACT];

fn kind(image: &Image) -> &'static str {
    match image {
        Image::Stapel(image) if image.artifact => ARTIFACT,
        Image::Stapel(_) => "stapel",
        Image::Dockerfile(_) => "dockerfile",
    }
}

fn shown(name: &str) -> &str {
    if name.is_empty() { "~" } else { name }
}

/// Unlike `print!`, a reader that has gone away is an error and not a panic.
fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")
}

fn warn(project: &Project, app: &App) {
    project.warnings.iter().for_each(|warning| app.ui.root().warn(warning));
}
