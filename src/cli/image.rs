//! `slipway image`: the images that the embedded runtime keeps on this host.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::app::App;
use crate::error::Error;
use crate::ids::ContainerId;
use crate::layer::ReadError;
use crate::registry::{Client, Options, Proxies};
use crate::runtime::{ContainerRuntime, ImageDescription, ImageFilter, ImageStore};

/// Images that the embedded runtime keeps on this host.
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Make an image of a root file system (tar) or an image archive (`docker save`, OCI layout)
    Import {
        /// Name of the image: `repository[:tag]`
        name: String,
        /// The file, compressed or not; `-` is standard input
        file: PathBuf,
    },
    /// Write an image into an archive for `docker load` and OCI tools
    Export {
        /// Name of the image, `repository[:tag]`, or its id
        name: String,
        /// The file; `-` is standard output
        file: PathBuf,
    },
    /// List images, oldest first
    Ls {
        /// Only this repository
        repository: Option<String>,
        /// Form of the list
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Remove names of images; an image without names is dropped
    Rm {
        /// Names: `repository[:tag]`
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// End containers that were started in the background (`slipway run --docker-options=-d`)
    Stop {
        /// Names of containers
        #[arg(required = true)]
        names: Vec<ContainerId>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

pub async fn run(args: ImageArgs, app: &App) -> anyhow::Result<ExitCode> {
    let settings = super::app::settings(&app.env)?;
    let registry = Client::new(Options { proxies: Proxies::from_env(&app.env), ..Options::default() });
    let runtime = super::runtime::embedded(&settings, &registry, &app.clock)?;
    match args.command {
        ImageCommand::Import { name, file } => {
            let image = runtime.import(&file, &name).await.map_err(|error| not_a_remote(error, &file))?;
            println!("{}", image.id);
        }
        ImageCommand::Export { name, file } => runtime.export(&name, &file).await?,
        ImageCommand::Ls { repository, output } => {
            let images = runtime.list(&ImageFilter { repository, ..ImageFilter::default() }).await?;
            match output {
                Output::Table => print!("{}", table(&images, app.clock.now())),
                Output::Json => println!("{}", json_list(&images)?),
            }
        }
        ImageCommand::Rm { names } => {
            for name in names {
                if runtime.inspect(&name).await?.is_none() {
                    return Err(Error::user(format!("there is no image `{name}` on this host"))
                        .hint("`slipway image ls` lists the images")
                        .into());
                }
                runtime.untag(&name).await?;
            }
        }
        ImageCommand::Stop { names } => {
            for name in names {
                runtime.remove(&name).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for each name, columns aligned.
/// A damaged archive is the remote's fault when it came from a registry, and the user's when it is a file of theirs.
fn not_a_remote(error: anyhow::Error, file: &Path) -> anyhow::Error {
    if error.chain().any(|link| link.is::<ReadError>()) {
        return error.context(Error::user(format!("cannot import `{}`", file.display())));
    }
    error
}

fn table(images: &[ImageDescription], now: i64) -> String {
    let mut rows = vec![["NAME", "ID", "CREATED", "SIZE"].map(str::to_owned)];
    for image in images {
        for name in &image.names {
            let age = age(now.saturating_sub(image.created));
            rows.push([name.clone(), image.id.short().to_owned(), age, size(image.size)]);
        }
    }
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let [name, id, created] = [width(0), width(1), width(2)];
    rows.iter().map(|[a, b, c, d]| format!("{a:name$}  {b:id$}  {c:created$}  {d}\n")).collect()
}

fn json_list(images: &[ImageDescription]) -> serde_json::Result<String> {
    let list: Vec<_> = images
        .iter()
        .map(|image| {
            json!({
                "id": image.id, "parent": image.parent, "names": image.names, "created": image.created,
                "size": image.size, "config": image.config,
            })
        })
        .collect();
    serde_json::to_string_pretty(&list)
}

/// How long ago, in the largest unit that fits.
fn age(milliseconds: i64) -> String {
    let minutes = milliseconds / 60_000;
    match minutes {
        ..1 => "now".to_owned(),
        1..60 => format!("{minutes} min ago"),
        60..2880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}

fn size(bytes: u64) -> String {
    let mebibytes = bytes / (1 << 20);
    match mebibytes {
        0 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        1..10_000 => format!("{mebibytes} MiB"),
        _ => format!("{} GiB", mebibytes / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let image = |names: &[&str], created, size| ImageDescription {
            id: format!("sha256:{}", "0123456789abcdef".repeat(4)).parse().unwrap(),
            parent: None,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            config: Default::default(),
            created,
            size,
        };
        let images =
            [image(&["debian:12"], 0, 125_000_000), image(&["a:1", "registry.example.com/b:2"], 86_000_000, 10)];
        insta::assert_snapshot!(table(&images, 90_000_000), @r"
        NAME                      ID            CREATED   SIZE
        debian:12                 0123456789ab  25 h ago  119 MiB
        a:1                       0123456789ab  1 h ago   1 KiB
        registry.example.com/b:2  0123456789ab  1 h ago   1 KiB
        ");
    }
}
