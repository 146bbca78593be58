//! What git says about the project that a job belongs to.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

use super::variables::Commit;

/// The commit that is checked out in the repository around `directory`, and how many changes it does not have.
pub fn commit(directory: &Path) -> Result<(Commit, usize), Error> {
    let git = Git { directory };
    let top = git.required(&["rev-parse", "--show-toplevel"])?;
    let details = git.required(&["log", "-1", "--no-show-signature", "--format=%H%x00%P%x00%an <%ae>%x00%cI%x00%B"]);
    let details = details.map_err(|error| error.hint("a job needs a commit: `git add` and `git commit` first"))?;
    let mut fields = details.splitn(5, '\0').map(str::to_owned);
    let mut field = || fields.next().unwrap_or_default();
    let (sha, parents, author, timestamp, message) = (field(), field(), field(), field(), field());
    let before_sha = parents.split(' ').next().filter(|parent| !parent.is_empty()).unwrap_or(NO_COMMIT).to_owned();
    let changes = git.optional(&["status", "--porcelain", "--no-renames"]).map_or(0, |status| status.lines().count());
    let commit = Commit {
        directory: PathBuf::from(top),
        sha,
        before_sha,
        branch: git.optional(&["symbolic-ref", "--quiet", "--short", "HEAD"]),
        tag: git.optional(&["describe", "--tags", "--exact-match", "HEAD"]),
        message: message.trim_end().to_owned(),
        author,
        timestamp,
        origin: git.optional(&["config", "--get", "remote.origin.url"]),
    };
    // A job of a tag is what GitLab runs for a tag alone; on a branch it runs one of the branch.
    let commit = Commit { tag: commit.tag.filter(|_| commit.branch.is_none()), ..commit };
    Ok((commit, changes))
}

const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

struct Git<'a> {
    directory: &'a Path,
}

impl Git<'_> {
    fn required(&self, args: &[&str]) -> Result<String, Error> {
        let cannot = || format!("cannot read the git repository at `{}`", self.directory.display());
        let output = self.run(args).map_err(|error| Error::environment("cannot run `git`").because(error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::user(format!("{}: {said}", cannot())));
        }
        String::from_utf8(output.stdout)
            .map(|text| text.trim_end_matches('\n').to_owned())
            .map_err(|error| Error::user(cannot()).because(error))
    }

    fn optional(&self, args: &[&str]) -> Option<String> {
        self.required(args).ok().filter(|text| !text.is_empty())
    }

    fn run(&self, args: &[&str]) -> std::io::Result<std::process::Output> {
        // Reading the state of a work tree must not start programs that its configuration names.
        let safe = ["-c", "core.fsmonitor=false", "-c", "log.showSignature=false"];
        Command::new("git").arg("-C").arg(self.directory).args(safe).args(args).env("LC_ALL", "C").output()
    }
}
