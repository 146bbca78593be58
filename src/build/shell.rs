//! A shell stage: its commands as one script, and how the script is run (spec/build.md 4.1).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::runtime::Mount;

/// Where our own files are mounted in a build container, read-only.
const DIRECTORY: &str = "/.slipway";

/// What interprets the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interpreter {
    /// The image's own bash, at this path.
    Image(PathBuf),
    /// A static bash of this host, mounted.
    Static(PathBuf),
    /// The image's `/bin/sh`.
    Sh,
}

/// The command that runs a script, and the mount that brings it in.
pub struct ShellRun {
    pub command: Vec<String>,
    pub mount: Mount,
}

/// Commands in order, each from a line of its own: `cd`, variables and functions carry over from one to the next, and the
/// first that fails ends the stage.
fn script(commands: &[String]) -> String {
    let mut script = String::from("set -e\n\n");
    for command in commands {
        script.push_str(command);
        script.push('\n');
    }
    script
}

/// Writes the script (and the static bash, when it is needed) into `directory`, which must be new.
pub fn prepare(directory: &Path, commands: &[String], interpreter: &Interpreter) -> anyhow::Result<ShellRun> {
    fs::create_dir(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    let path = directory.join("script.sh");
    fs::write(&path, script(commands)).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    let program = match interpreter {
        Interpreter::Image(path) => path.display().to_string(),
        Interpreter::Sh => "/bin/sh".to_owned(),
        Interpreter::Static(bash) => {
            let copy = directory.join("bash");
            fs::copy(bash, &copy).with_context(|| format!("cannot copy {}", bash.display()))?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
            format!("{DIRECTORY}/bash")
        }
    };
    Ok(ShellRun {
        command: vec![program, format!("{DIRECTORY}/script.sh")],
        mount: Mount { source: directory.to_owned(), target: DIRECTORY.into(), read_only: true },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_share_one_shell_and_stop_at_the_first_failure() {
        let script =
            script(&["cd /tmp".into(), "x=$PWD".into(), "test \"$x\" = /tmp\nfalse".into(), "echo unreachable".into()]);
        let output = std::process::Command::new("bash").arg("-c").arg(&script).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
    }
}
