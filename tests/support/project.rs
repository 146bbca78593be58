//! A git repository in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub struct Project {
    directory: TempDir,
}

impl Project {
    /// A repository on branch `main` whose first commit has these files.
    pub fn with<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let project = Self { directory: tempfile::tempdir().unwrap() };
        project.git(&["init", "-q", "-b", "main"]);
        project.commit(files);
        project
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where our program may keep its state: beside the files, out of git's sight.
    pub fn state_dir(&self) -> PathBuf {
        self.path().join(".git/slipway-state")
    }

    pub fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn commit<'a>(&self, files: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (name, content) in files {
            self.write(name, content);
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "Change files"]);
    }

    pub fn git(&self, args: &[&str]) -> String {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"];
        let output = Command::new("git").arg("-C").arg(self.path()).args(identity).args(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}
