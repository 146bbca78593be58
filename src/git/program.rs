//! The git program: started only to transfer objects from a remote.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Repo;
use super::error::Error;
use crate::sys::env::Env;

/// How the git program reaches remotes: the environment it gets, and the ssh keys it may use.
#[derive(Clone)]
pub struct Access {
    env: Env,
    ssh_keys: Vec<PathBuf>,
}

/// A user name and password for one URL. They reach git through its environment, never through arguments or files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// Variables that would make git look at another repository than the one it is told.
const REPOSITORY_VARIABLES: [&str; 13] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_CONFIG",
    "GIT_TEMPLATE_DIR",
];

/// No hooks, no process left behind, and an end to connections that are dead.
const SETTINGS: [&str; 5] = [
    "core.hooksPath=/dev/null",
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=120",
];

/// A credential helper that git runs by its shell; what it prints comes from the environment.
const CREDENTIAL_HELPER: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$SLIPWAY_GIT_USER" "$SLIPWAY_GIT_PASSWORD"; }; f"#;

impl Access {
    /// `ssh_keys` are the files of `--ssh-key` (spec/build.md 4.5): when there are any, ssh uses exactly these; otherwise it
    /// uses its agent and its own configuration. Each must be readable.
    pub fn new(env: Env, ssh_keys: Vec<PathBuf>) -> Result<Self, Error> {
        for path in &ssh_keys {
            let readable = std::fs::File::open(path).and_then(|file| file.metadata());
            let reason = match readable {
                Ok(metadata) if metadata.is_file() => continue,
                Ok(_) => "it is not a file".to_owned(),
                Err(error) => error.to_string(),
            };
            return Err(Error::SshKey { path: path.clone(), reason });
        }
        Ok(Self { env, ssh_keys })
    }

    /// Where relative paths start.
    pub(super) fn current_dir(&self) -> &Path {
        &self.env.current_dir
    }

    /// Runs git in `dir` and waits. `action` and `url` (without credentials) are for the message of a failure.
    pub(super) fn run(
        &self,
        dir: &Path,
        action: &'static str,
        url: &str,
        credentials: Option<&Credentials>,
        arguments: &[&str],
    ) -> Result<(), Error> {
        let mut command = self.command(dir, credentials)?;
        let output = command.args(arguments).output();
        let (reason, remote_failed) = match output {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                (without_credentials(&complaint(&stderr)), is_remote_failure(&stderr))
            }
            Err(error) => (error.to_string(), false),
        };
        Err(Error::Program { action, url: url.to_owned(), reason, remote_failed })
    }

    fn command(&self, dir: &Path, credentials: Option<&Credentials>) -> Result<Command, Error> {
        let path = self.env.get_os("PATH");
        let git = which::which_in("git", path, dir).map_err(|_| Error::NoProgram)?;
        let mut command = Command::new(git);
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env_clear().envs(self.env.all());
        for name in REPOSITORY_VARIABLES {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file");
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        if let Some(credentials) = credentials {
            // The empty value forgets the helpers that are configured: they might store what we pass.
            command.args(["-c", "credential.helper=", "-c", &format!("credential.helper={CREDENTIAL_HELPER}")]);
            command.env("SLIPWAY_GIT_USER", &credentials.user).env("SLIPWAY_GIT_PASSWORD", &credentials.password);
        }
        if let Some(ssh) = self.ssh_command() {
            command.env("GIT_SSH_COMMAND", ssh).env_remove("GIT_SSH");
        }
        Ok(command)
    }

    /// ssh with exactly the keys given, for the shell that git starts it by.
    fn ssh_command(&self) -> Option<String> {
        if self.ssh_keys.is_empty() {
            return None;
        }
        let keys = self.ssh_keys.iter().map(|path| {
            let path = self.env.current_dir.join(path);
            format!(" -i '{}'", path.display().to_string().replace('\'', r"'\''"))
        });
        Some(format!("ssh -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none{}", keys.collect::<String>()))
    }
}

impl Repo {
    /// Fetches the history that a shallow clone lacks, from `origin` (spec/build.md 3.3). Does nothing in a whole clone.
    pub fn unshallow(&self, access: &Access) -> Result<(), Error> {
        if !self.is_shallow() {
            return Ok(());
        }
        let no_origin = || Error::NoOrigin { repo: self.name().to_owned() };
        let url = self.origin_url().ok_or_else(no_origin)?;
        let work_dir = self.objects.work_dir.as_deref().ok_or_else(no_origin)?;
        // Who may own the directory has been decided when it was opened.
        let safe = format!("safe.directory={}", work_dir.canonicalize().unwrap_or(work_dir.to_owned()).display());
        let refs = "+refs/heads/*:refs/remotes/origin/*";
        let arguments = ["-c", &safe, "fetch", "--quiet", "--unshallow", "--no-recurse-submodules", "origin", refs];
        access.run(work_dir, "fetch --unshallow", &without_credentials(&url), None, &arguments)
    }
}

/// What git said went wrong, without progress and advice; all of its last lines when it used none of its own words.
fn complaint(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_complaint = |line: &&&str| ["fatal:", "error:", "remote:", "ssh:"].iter().any(|word| line.starts_with(word));
    let complaints: Vec<&str> = lines.iter().filter(is_complaint).copied().collect();
    let told = if complaints.is_empty() { &lines } else { &complaints };
    told.get(told.len().saturating_sub(5)..).unwrap_or_default().join("; ").trim_end_matches('.').to_owned()
}

/// Whether the other side, or the way to it, is what failed.
fn is_remote_failure(stderr: &str) -> bool {
    let signs = [
        "Could not read from remote repository",
        "unable to access",
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Could not resolve host",
        "unable to connect",
        "unable to look up",
        "does not appear to be a git repository",
        "not found",
        "The remote end hung up",
        "early EOF",
        "RPC failed",
    ];
    signs.iter().any(|sign| stderr.contains(sign))
}

/// A text in which every `scheme://user:password@` has lost what stands before the `@`.
pub(super) fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let end = after.find(|c: char| c == '/' || c == '\'' || c.is_whitespace()).unwrap_or(after.len());
        let (authority, behind) = after.split_at(end);
        clean.push_str(authority.rsplit('@').next().unwrap_or_default());
        rest = behind;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_reach_a_message() {
        assert_eq!(
            without_credentials("fatal: unable to access 'https://u:p@x@git.example.com/a b/': timeout ssh://git@h/p"),
            "fatal: unable to access 'https://git.example.com/a b/': timeout ssh://h/p"
        );
        assert_eq!(without_credentials("://"), "://");
        assert_eq!(without_credentials("no url"), "no url");
    }

    #[test]
    fn given_keys_are_the_only_ones_ssh_uses() {
        let env = Env::literal([("PATH", "/bin")], "/work");
        assert_eq!(Access::new(env.clone(), vec![]).unwrap().ssh_command(), None);
        let key = tempfile::NamedTempFile::with_prefix("it's").unwrap();
        let access = Access::new(env.clone(), vec![key.path().to_owned()]).unwrap();
        let quoted = key.path().display().to_string().replace("it's", r"it'\''s");
        assert_eq!(
            access.ssh_command().unwrap(),
            format!("ssh -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -i '{quoted}'")
        );
        let missing = Access::new(env, vec!["/nonexistent/key".into()]).err().unwrap();
        assert_eq!(
            missing.to_string(),
            "ssh key `/nonexistent/key` cannot be read: No such file or directory (os error 2)"
        );
    }
}
