//! Runs our program, or a program that finds ours on its PATH, in an environment of its own.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Path of the program under test.
pub const SLIPWAY: &str = env!("CARGO_BIN_EXE_slipway");

pub struct Program {
    command: Command,
    path: OsString,
}

#[derive(Debug)]
pub struct Output {
    /// Exit code, or minus the signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    /// Our program with an empty environment but for PATH and HOME.
    pub fn new<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        Self::command(SLIPWAY, args)
    }

    pub fn command<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env("PATH", &path);
        Self { command, path }
    }

    /// Puts a directory first on PATH.
    pub fn path(mut self, directory: &Path) -> Self {
        let path =
            std::iter::once(directory.to_owned()).chain(std::env::split_paths(&self.path).collect::<Vec<PathBuf>>());
        self.command.env("PATH", std::env::join_paths(path).unwrap());
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub fn run(mut self) -> Output {
        use std::os::unix::process::ExitStatusExt as _;
        let output = self.command.output().unwrap();
        Output {
            code: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap()),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Ready to be started and left running.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// What it prints; it must succeed.
    pub fn stdout(self) -> String {
        let output = self.run();
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout
    }
}

/// A directory in which our program stands under other names.
pub fn named_copies<'a>(names: impl IntoIterator<Item = &'a str>) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        std::os::unix::fs::symlink(SLIPWAY, directory.path().join(name)).unwrap();
    }
    directory
}
