//! The project a command works with: its directory and its werf.yaml.

use std::path::PathBuf;

use super::flags::ProjectFlags;
use crate::config::Config;
use crate::sys::env::Env;

/// A loaded werf.yaml with the directory it is for.
pub struct Project {
    pub config: Config,
    pub project_dir: PathBuf,
    pub warnings: Vec<String>,
}

pub fn load(flags: &ProjectFlags, env: &Env) -> anyhow::Result<Project> {
    let _ = (flags, env);
    anyhow::bail!("awaits config")
}
