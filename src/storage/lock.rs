//! Locks between the processes of one host: files, held as long as a guard lives (decisions 3.7).
//!
//! The kernel gives a file lock back when its holder dies, so nothing sticks. Lock files are never removed: removing one
//! that somebody waits for would let two hold "the same" lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::stage::signature;

/// A directory of lock files.
#[derive(Clone, Debug)]
pub struct Locks {
    directory: PathBuf,
}

/// Held until it is dropped.
#[derive(Debug)]
pub struct LockGuard {
    _file: File,
}

impl Locks {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Takes the lock, waiting as long as it takes. `on_wait` is called once when somebody else holds it.
    pub async fn acquire(&self, name: &str, on_wait: impl FnOnce(&str) + Send) -> anyhow::Result<LockGuard> {
        let file = self.open(name)?;
        if !try_lock(&file, name)? {
            on_wait(name);
            // Polled, not blocked on: a blocked thread could not be interrupted by a signal.
            while !try_lock(&file, name)? {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(LockGuard { _file: file })
    }

    fn open(&self, name: &str) -> anyhow::Result<File> {
        create_private_dir(&self.directory)?;
        let path = self.directory.join(&signature::id("lock", &[name])[..32]);
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open the lock file {}", path.display()))
    }
}

fn try_lock(file: &File, name: &str) -> anyhow::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot take the lock `{name}`")),
    }
}

fn create_private_dir(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))
}
