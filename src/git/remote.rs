//! Clones of remote repositories, kept on the host and fetched once per process (spec/build.md 3.10).

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::Repo;
use super::error::Error;
use super::program::{Access, Credentials};
use crate::config::model::GitRemote;
use crate::ids::hex;

/// How long one process waits for another that fetches the same remote.
const LOCK_LIMIT: Duration = Duration::from_secs(600);

/// The clones of one host. A clone is bare and whole (never shallow or partial), belongs to one endpoint, is written under a file
/// lock and appears by a rename, so that an interrupted clone leaves nothing that looks like one.
pub struct Remotes {
    directory: PathBuf,
    access: Access,
    /// By URL with credentials: who may read a repository is decided by fetching it, not by finding a clone of it.
    fetched: Mutex<HashMap<String, Arc<Mutex<Option<Repo>>>>>,
}

impl Remotes {
    /// Keeps clones under `directory`, which is made when it is needed.
    pub fn new(directory: PathBuf, access: Access) -> Self {
        Self { directory, access, fetched: Mutex::default() }
    }

    /// The clone of a remote with all branches and tags as they are now; the second call in a process does not ask again.
    pub fn fetch(&self, remote: &GitRemote) -> Result<Repo, Error> {
        let slot = {
            let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            fetched.entry(remote.url.clone()).or_default().clone()
        };
        let mut repo = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = &*repo {
            return Ok(repo.clone());
        }
        let endpoint = Endpoint::parse(&remote.url, self.access.current_dir())?;
        Ok(repo.insert(self.fetch_endpoint(&endpoint)?).clone())
    }

    fn fetch_endpoint(&self, endpoint: &Endpoint) -> Result<Repo, Error> {
        let key = endpoint.key();
        let path = self.directory.join(format!("{key}.git"));
        let failed = |source| Error::Clone { path: path.clone(), source };
        // What a private repository holds is not for other users of the host.
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(failed)?;
        let lock = File::create(self.directory.join(format!("{key}.lock"))).map_err(failed)?;
        wait_for(&lock, &path)?;
        if let Some(result) = self.update(endpoint, &path) {
            return result;
        }
        self.clone_anew(endpoint, &path)
    }

    /// Brings an existing clone up to date; `None` when there is none or it is broken.
    fn update(&self, endpoint: &Endpoint, path: &Path) -> Option<Result<Repo, Error>> {
        Repo::open_clone(endpoint.url.clone(), path).ok()?;
        match self.transfer(endpoint, path) {
            Ok(()) => Repo::open_clone(endpoint.url.clone(), path).ok().filter(Repo::is_whole).map(Ok),
            Err(error @ (Error::Program { remote_failed: true, .. } | Error::NoProgram)) => Some(Err(error)),
            Err(_) => None,
        }
    }

    fn clone_anew(&self, endpoint: &Endpoint, path: &Path) -> Result<Repo, Error> {
        let failed = |source| Error::Clone { path: path.to_owned(), source };
        let temporary = path.with_extension("tmp");
        let old = path.with_extension("old");
        remove(&temporary).and_then(|()| remove(&old)).map_err(failed)?;
        git2::Repository::init_opts(&temporary, git2::RepositoryInitOptions::new().bare(true).external_template(false))
            .and_then(|repository| repository.config()?.set_str("remote.origin.url", &endpoint.url))
            .map_err(|error| failed(io::Error::other(error.message().to_owned())))?;
        if let Err(error) = self.transfer(endpoint, &temporary) {
            let _ = remove(&temporary);
            return Err(error);
        }
        if path.exists() {
            fs::rename(path, &old).map_err(failed)?;
        }
        fs::rename(&temporary, path).map_err(failed)?;
        remove(&old).map_err(failed)?;
        Repo::open_clone(endpoint.url.clone(), path)
    }

    /// Fetches every branch, every tag and what HEAD names. A remote without a HEAD that leads anywhere has branches still.
    fn transfer(&self, endpoint: &Endpoint, path: &Path) -> Result<(), Error> {
        let fetch = |references: &[&str]| {
            let options = ["fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-recurse-submodules", "--"];
            let arguments = [&options[..], &[endpoint.url.as_str()], references].concat();
            self.access.run(path, "fetch", &endpoint.shown, endpoint.credentials.as_ref(), &arguments)
        };
        match fetch(&["+HEAD:refs/slipway/HEAD", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]) {
            Err(Error::Program { reason, .. }) if reason.contains("couldn't find remote ref HEAD") => {
                fetch(&["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"])
            }
            result => result,
        }
    }
}

/// Waits while another process works on the same clone (spec/build.md 3.10).
fn wait_for(lock: &File, clone: &Path) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_LIMIT => thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::WouldBlock) => return Err(Error::CloneBusy { path: clone.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(Error::Clone { path: clone.to_owned(), source }),
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a remote repository is.
#[derive(PartialEq, Eq)]
struct Endpoint {
    /// For git: without a password, and a local path made absolute.
    url: String,
    /// For people.
    shown: String,
    credentials: Option<Credentials>,
}

impl Endpoint {
    /// The transports of spec/build.md 1.7: https, http, ssh (also as `host:path`), git, file, and paths.
    fn parse(text: &str, current_dir: &Path) -> Result<Self, Error> {
        let refused = |reason| Error::BadUrl {
            url: super::program::without_credentials(text).escape_debug().to_string(),
            reason,
        };
        if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(refused("it is empty, starts with a dash or holds control characters"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::without_scheme(text, current_dir).map_err(refused);
        };
        if !["https", "http", "ssh", "git", "file"].contains(&scheme) {
            return Err(refused("only https, http, ssh, git and file are supported"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
            return Err(refused("its host starts with a dash"));
        }
        if !scheme.starts_with("http") {
            // An ssh user is part of the address; a password in it is nothing that ssh could use.
            let user = user.and_then(|user| user.split(':').next()).map(|user| format!("{user}@")).unwrap_or_default();
            let url = format!("{scheme}://{user}{host}{path}");
            return Ok(Self { shown: url.clone(), url, credentials: None });
        }
        let credentials = match user {
            Some(user) => Some(credentials(user).ok_or_else(|| refused("its user or password is not readable"))?),
            None => None,
        };
        let url = format!("{scheme}://{host}{path}");
        Ok(Self { shown: url.clone(), url, credentials })
    }

    /// `[user@]host:path`, or a path on this host.
    fn without_scheme(text: &str, current_dir: &Path) -> Result<Self, &'static str> {
        let colon = text.find(':').filter(|colon| !text.get(..*colon).is_some_and(|before| before.contains('/')));
        let url = match colon.and_then(|colon| text.split_at_checked(colon)) {
            Some((_, path)) if path.starts_with("::") => {
                return Err("only https, http, ssh, git and file are supported");
            }
            Some((host, _)) if host.rsplit('@').next().is_none_or(|host| host.is_empty() || host.starts_with('-')) => {
                return Err("its host is empty or starts with a dash");
            }
            Some(_) => text.to_owned(),
            None => current_dir.join(text).display().to_string(),
        };
        Ok(Self { shown: url.clone(), url, credentials: None })
    }

    /// The name of its clone: two remotes share one only when all of the address is equal.
    fn key(&self) -> String {
        hex(&Sha256::digest(self.url.as_bytes())).chars().take(32).collect()
    }
}

fn credentials(user_info: &str) -> Option<Credentials> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let credentials = Credentials { user: percent_decoded(user)?, password: percent_decoded(password)? };
    let breaks_lines = |text: &str| text.contains(['\n', '\r', '\0']);
    (!breaks_lines(&credentials.user) && !breaks_lines(&credentials.password)).then_some(credentials)
}

/// `%41` is `A`, as in every URL.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..)?;
            }
            None => bytes.push(first),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Endpoint, String> {
        Endpoint::parse(text, Path::new("/project")).map_err(|error| error.to_string())
    }

    #[test]
    fn credentials_leave_the_url() {
        let endpoint = parse("https://ci:p%40ss@git.example.com/a/b.git").ok().unwrap();
        assert_eq!(endpoint.url, "https://git.example.com/a/b.git");
        let credentials = endpoint.credentials.unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("ci", "p@ss"));
    }

    #[test]
    fn addresses_in_every_form() {
        for (text, url) in [
            ("https://git.example.com:8443/a.git", "https://git.example.com:8443/a.git"),
            ("ssh://git@git.example.com:22/a.git", "ssh://git@git.example.com:22/a.git"),
            ("git@git.example.com:a/b.git", "git@git.example.com:a/b.git"),
            ("file:///srv/a.git", "file:///srv/a.git"),
            ("../a", "/project/../a"),
            ("/srv/a:b", "/srv/a:b"),
        ] {
            assert_eq!(parse(text).ok().unwrap().url, url);
        }
        let key = |text: &str| parse(text).ok().unwrap().key();
        assert_ne!(key("https://one.example.com/a/b"), key("https://two.example.com/a/b"));
        assert_eq!(key("https://u:p@one.example.com/a/b"), key("https://one.example.com/a/b"));
    }

    /// Hostile input 24: addresses that a program would take for options or commands.
    #[test]
    fn hostile_24_addresses_are_refused() {
        let refused = |text: &str| parse(text).err().unwrap();
        insta::assert_snapshot!(refused("--upload-pack=touch /tmp/x"), @"git URL `--upload-pack=touch /tmp/x` is refused: it is empty, starts with a dash or holds control characters");
        insta::assert_snapshot!(refused("https://u:secret@h/a\nb"), @r#"git URL `https://h/a\nb` is refused: it is empty, starts with a dash or holds control characters"#);
        insta::assert_snapshot!(refused("ext::sh -c id"), @"git URL `ext::sh -c id` is refused: only https, http, ssh, git and file are supported");
        insta::assert_snapshot!(refused("ext://sh"), @"git URL `ext://sh` is refused: only https, http, ssh, git and file are supported");
        insta::assert_snapshot!(refused("ssh://-oProxyCommand=id/x"), @"git URL `ssh://-oProxyCommand=id/x` is refused: its host starts with a dash");
        insta::assert_snapshot!(refused("-oProxyCommand=id:x"), @"git URL `-oProxyCommand=id:x` is refused: it is empty, starts with a dash or holds control characters");
        insta::assert_snapshot!(refused("git@-oProxyCommand=id:x"), @"git URL `git@-oProxyCommand=id:x` is refused: its host is empty or starts with a dash");
        insta::assert_snapshot!(refused("https://u:a%0ab@h/x"), @"git URL `https://h/x` is refused: its user or password is not readable");
    }
}
