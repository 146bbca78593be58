//! A git repository in a temporary directory, made with the git program.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use slipway::ids::CommitId;
use slipway::layer::{EntryKind, LayerSource};

pub struct GitRepo {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl GitRepo {
    /// An empty repository on branch `main`.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("repo");
        fs::create_dir(&path).unwrap();
        let repo = Self { directory, path };
        repo.git(["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    /// Runs git somewhere and takes the result for a work tree: `git clone …`.
    pub fn cloned<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("repo");
        git_in(directory.path(), arguments.into_iter().map(|a| a.as_ref().to_owned()).chain([path.clone().into()]));
        Self { directory, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory beside the repository, for what a test needs.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// Runs git in the work tree; its output without the last newline.
    pub fn git<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        git_in(&self.path, arguments)
    }

    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn executable(&self, path: &str, content: &str) -> &Self {
        self.write(path, content);
        fs::set_permissions(self.path.join(path), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    /// Removes a file, link or directory.
    pub fn remove(&self, path: &str) -> &Self {
        let path = self.path.join(path);
        if path.symlink_metadata().unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        self
    }

    /// Commits all that is in the work tree.
    pub fn commit(&self, message: &str) -> CommitId {
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// Feeds `git fast-import`, which packs what it reads.
    pub fn fast_import(&self, stream: &str) {
        let mut command = Command::new("git");
        command.args(["fast-import", "--quiet"]).current_dir(&self.path).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    pub fn head(&self) -> CommitId {
        self.git(["rev-parse", "HEAD"]).parse().unwrap()
    }
}

pub fn git_in<S: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = S>) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", "-c", "gc.auto=0"]);
    command
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.com");
        command.env(format!("GIT_{who}_DATE"), "1600000000 +0000");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
}

/// A layer's entries as lines that are easy to compare: mode, owner, path, content.
pub fn listing(layer: &dyn LayerSource) -> Vec<String> {
    let entries = layer.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let path = entry.path.display();
        match entry.kind {
            EntryKind::Directory => format!("d {:o} {}:{} {path}", entry.mode, entry.uid, entry.gid),
            EntryKind::Symlink { target } => format!("l {path} -> {}", target.display()),
            EntryKind::Whiteout => format!("- {path}"),
            EntryKind::File { size, content } => {
                let mut bytes = Vec::new();
                content.open().unwrap().read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, size, "{path}");
                let text: String = String::from_utf8_lossy(&bytes).chars().take(40).collect();
                format!("f {:o} {}:{} {path} {text:?}", entry.mode, entry.uid, entry.gid)
            }
            other => panic!("{path}: {other:?}"),
        }
    });
    entries.collect()
}

/// An image's files after some layers: by path, `d`, or what a file or link is.
pub fn apply(image: &mut BTreeMap<PathBuf, String>, layer: &dyn LayerSource) {
    let mut last: Option<PathBuf> = None;
    for entry in layer.entries().unwrap() {
        let entry = entry.unwrap();
        use std::os::unix::ffi::OsStrExt;
        if let Some(last) = &last {
            assert!(last.as_os_str().as_bytes() < entry.path.as_os_str().as_bytes(), "{last:?} {:?}", entry.path);
        }
        last = Some(entry.path.clone());
        let text = match entry.kind {
            EntryKind::Directory => "d".to_owned(),
            EntryKind::Symlink { target } => format!("-> {}", target.display()),
            EntryKind::Whiteout => String::new(),
            EntryKind::File { content, .. } => {
                let mut bytes = Vec::new();
                content.open().unwrap().read_to_end(&mut bytes).unwrap();
                format!("{:o} {bytes:?}", entry.mode)
            }
            other => panic!("{other:?}"),
        };
        if text != "d" {
            image.retain(|path, _| !path.starts_with(&entry.path));
        }
        if !text.is_empty() {
            image.insert(entry.path, text);
        }
    }
}
