//! `slugify`: a name made safe, as werf makes it.

use clap::Args;

use crate::error::Error;
use crate::slug;

/// Print a name as it would be used for an image tag, a namespace or a release
#[derive(Debug, Args)]
pub struct SlugifyArgs {
    /// The name
    #[arg(value_name = "STRING")]
    strings: Vec<String>,
    /// What it is for: helm-release (r), kubernetes-namespace (ns) or docker-tag (tag)
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub fn run(args: &SlugifyArgs) -> Result<(), Error> {
    let [string] = args.strings.as_slice() else {
        return Err(Error::usage(format!("accepts 1 position argument, received {}", args.strings.len())));
    };
    let slug = match args.format.as_deref() {
        Some("helm-release" | "r") => slug::helm_release(string),
        Some("kubernetes-namespace" | "ns") => slug::kubernetes_namespace(string),
        Some("docker-tag" | "tag") => slug::docker_tag(string),
        Some(other) => {
            return Err(Error::usage(format!("unknown format '{other}'"))
                .hint("use `helm-release`, `kubernetes-namespace` or `docker-tag`"));
        }
        None => {
            return Err(Error::usage("--format FORMAT argument required")
                .hint("add `-f helm-release`, `-f kubernetes-namespace` or `-f docker-tag`"));
        }
    };
    println!("{slug}");
    Ok(())
}
