//! The whole way of a stage as a user who is nobody: in a user namespace, without a daemon. Needs root to become that user.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::git_repo::GitRepo;
use crate::support::program::SLIPWAY;

const BUSYBOX: &str = "/bin/busybox";
/// Nobody: has no name, home or subordinate ids.
const USER: &str = "54321";

/// The output of a command of ours, run as that user beside the repository.
fn slipway(repo: &GitRepo, args: &[&str]) -> String {
    let output = Command::new("setpriv")
        .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
        .arg(repo.beside("slipway"))
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", repo.beside("home"))
        .env("SLIPWAY_STATE_DIR", repo.beside("state"))
        .env("SLIPWAY_RUNTIME", "embedded")
        .current_dir(repo.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_what_it_takes() -> bool {
    let may_unshare = || {
        let unshare = ["--reuid", USER, "--regid", USER, "--clear-groups", "--", "unshare", "--user", "true"];
        Command::new("setpriv").args(unshare).status().is_ok_and(|status| status.success())
    };
    let able = rustix::process::geteuid().is_root() && Path::new(BUSYBOX).exists() && may_unshare();
    if !able {
        println!("skipped: needs root, {BUSYBOX}, setpriv and user namespaces for everybody");
    }
    able
}

#[test]
fn a_user_without_rights_builds_and_runs_an_image() {
    if !has_what_it_takes() {
        return;
    }
    let repo = GitRepo::new();
    let beside = repo.beside("");
    std::fs::create_dir_all(repo.beside("root/bin")).unwrap();
    std::fs::copy(BUSYBOX, repo.beside("root/bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", repo.beside("root/bin/sh")).unwrap();
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new("tar").current_dir(&beside).args(["-C", "root", "-cf", "root.tar", "."]));
    std::fs::hard_link(SLIPWAY, repo.beside("slipway"))
        .or_else(|_| std::fs::copy(SLIPWAY, repo.beside("slipway")).map(drop))
        .unwrap();
    repo.write("app/greeting", "hello");
    repo.write(
        "werf.yaml",
        "project: nobody\nconfigVersion: 1\n---\nimage: app\nfrom: base:1\ngit: [{add: /app, to: /app}]\n\
         shell: {install: ['busybox cat /app/greeting > /made; busybox id -u >> /made']}\n",
    );
    repo.commit("first");
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
    run(Command::new("chown").arg("-R").arg(format!("{USER}:{USER}")).arg(repo.path()));
    std::os::unix::fs::chown(&beside, Some(54321), Some(54321)).unwrap();

    slipway(&repo, &["image", "import", "base:1", "../root.tar"]);
    slipway(&repo, &["build", "--stages-storage", ":local"]);
    let made = slipway(&repo, &["run", "--stages-storage", ":local", "app", "--", "/bin/busybox", "cat", "/made"]);
    assert_eq!(made, "hello0\n", "root in the container, and nobody outside");
    let images = slipway(&repo, &["image", "ls"]);
    assert!(images.contains("werf-stages-storage/nobody"), "{images}");
}
