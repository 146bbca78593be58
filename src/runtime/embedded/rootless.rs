//! Without root: this program starts itself again as root of a user namespace.
//!
//! There it may mount, and own files under several ids as far as `/etc/subuid` and `/etc/subgid` give them to the user, which
//! needs `newuidmap` and `newgidmap`. Without those there is one id: all files belong to it, and containers run as it.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};

/// Name of the hidden subcommand that enters the namespace: executable, then its arguments from the name on.
pub const SUBCOMMAND: &str = "user-namespace";
/// Name of the hidden subcommand that gives ids to its parent, from outside of the parent's namespace.
pub const MAP_SUBCOMMAND: &str = "map-user-ids";

/// Whether this process must enter a user namespace before it can run containers.
pub fn is_needed() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Whether the user namespace has a single id, for want of subordinate ones.
pub fn has_one_id() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().count() == 1 && map.split_ascii_whitespace().nth(2) == Some("1")
}

/// Starts this process again in a user namespace; `program` is this program's executable. Returns only with an error.
pub fn restart(program: &Path) -> io::Error {
    let executable = match std::env::current_exe() {
        Ok(executable) => executable,
        Err(error) => return error,
    };
    Command::new(program).arg(SUBCOMMAND).arg(executable).args(std::env::args_os()).exec()
}

/// The subcommand [`SUBCOMMAND`]. Must be called before any thread is started.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(executable), Some(name)) = (args.next(), args.next()) else { return ExitCode::FAILURE };
    if let Err(error) = enter() {
        eprintln!("Error: cannot enter a user namespace: {error}");
        eprintln!(
            "hint: containers without root need unprivileged user namespaces; or run as root, or use the docker runtime"
        );
        return ExitCode::from(3);
    }
    let error = Command::new(executable).arg0(name).args(args).exec();
    eprintln!("Error: cannot start again in a user namespace: {error}");
    ExitCode::from(3)
}

fn enter() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mapper = which::which("newuidmap").and(which::which("newgidmap")).is_ok();
    let mut helper = Command::new("/proc/self/exe")
        .arg(MAP_SUBCOMMAND)
        .arg(std::process::id().to_string())
        .stdin(Stdio::piped())
        .spawn()?;
    unshare(CloneFlags::CLONE_NEWUSER)?;
    if let Some(mut go) = helper.stdin.take()
        && mapper
    {
        go.write_all(b"g")?;
    }
    if helper.wait()?.success() {
        return Ok(());
    }
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1\n"))
}

/// The subcommand [`MAP_SUBCOMMAND`]: once told to, gives all subordinate ids of the user to the process `pid`. Fails when there
/// are none; then the process gives itself the one it has.
pub fn map_main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(pid) = args.next().and_then(|pid| pid.into_string().ok()) else { return ExitCode::FAILURE };
    let mut told = [0];
    if !matches!(io::stdin().read(&mut told), Ok(1)) {
        return ExitCode::FAILURE;
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let name = user_name(uid);
    let map = |program: &str, own: u32, file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let ranges = ranges(&text, uid, name.as_deref());
        let arguments = map_arguments(own, &ranges);
        !ranges.is_empty()
            && Command::new(program).arg(&pid).args(arguments).status().is_ok_and(|status| status.success())
    };
    // Groups first: a process whose users are mapped and whose groups are not would be taken for done.
    if map("newgidmap", gid, "/etc/subgid") && map("newuidmap", uid, "/etc/subuid") {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Subordinate ids of a user in `/etc/subuid` or `/etc/subgid`: `name:start:count`, also with the number for the name.
fn ranges(text: &str, uid: u32, name: Option<&str>) -> Vec<(u32, u32)> {
    let own = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next().filter(|owner| *owner == own || Some(*owner) == name);
            owner.and(Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Arguments of `newuidmap`: root is the user, the ids from 1 on are the subordinate ones.
fn map_arguments(own: u32, ranges: &[(u32, u32)]) -> Vec<String> {
    let mut arguments = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut inside = 1_u32;
    for (start, count) in ranges {
        arguments.extend([inside, *start, *count].map(|number| number.to_string()));
        inside = inside.saturating_add(*count);
    }
    arguments
}

fn user_name(uid: u32) -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok()??;
    Some(user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_follow_the_user_s_own() {
        let text = "other:1:1\nme:100000:65536\n1000:200000:10\nme:bad:1\nme:300000:0\n";
        let ranges = ranges(text, 1000, Some("me"));
        assert_eq!(ranges, [(100_000, 65536), (200_000, 10)]);
        assert_eq!(map_arguments(1000, &ranges).join(" "), "0 1000 1 1 100000 65536 65537 200000 10");
    }
}
