//! Build commands reach the user's ssh agent, or one that holds the keys of `--ssh-key` (spec/build.md 4.5).

use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::on_both_runtimes;
use crate::support::build_project::{BuildProject, Kind};

on_both_runtimes!(
    commands_see_the_agent_of_the_user_and_the_image_does_not,
    given_keys_are_in_an_agent_of_the_run,
    a_key_with_a_passphrase_is_refused,
);

const YAML: &str =
    "image: app\nfrom: BASE\nshell: {install: [\"echo sock $SSH_AUTH_SOCK; test -S $SSH_AUTH_SOCK; touch /done\"]}\n";
const LOOK: &str = "find / -xdev -name '.werf*' -o -xdev -name 'ssh-auth*'; echo \"<$SSH_AUTH_SOCK>\"";

/// A Docker Engine keeps the empty file that it has mounted the socket on.
fn assert_not_in_image(project: &BuildProject) {
    let mount_point = match project.kind {
        Kind::Docker => "/.werf\n/.werf/tmp/ssh-auth-sock\n",
        Kind::Embedded => "",
    };
    assert_eq!(project.sh("app", LOOK), format!("{mount_point}<>\n"));
}

fn commands_see_the_agent_of_the_user_and_the_image_does_not(project: BuildProject) {
    project.commit_yaml(YAML);
    let socket = project.host().join("agent");
    let _listener = UnixListener::bind(&socket).unwrap();
    let output = project.slipway(["build"]).env("SSH_AUTH_SOCK", &socket).run();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stderr.contains("sock /.werf/tmp/ssh-auth-sock"), "{}", output.stderr);
    assert_not_in_image(&project);
    assert!(!project.image("app").config.env.iter().any(|variable| variable.starts_with("SSH_AUTH_SOCK")));
    // Who has an agent and who has none shares the stages.
    assert_eq!(project.build().built(), [""; 0]);
}

/// A new key; `None` without OpenSSH on this host.
fn key(project: &BuildProject, passphrase: &str) -> Option<String> {
    let path = project.host().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no ssh-keygen");
        return None;
    }
    Some(path.display().to_string())
}

fn given_keys_are_in_an_agent_of_the_run(project: BuildProject) {
    let Some(path) = key(&project, "") else { return };
    // As CI systems write them.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    project.commit_yaml(YAML);
    let log = project.build_with(["--ssh-key", &path]);
    assert!(log.0.contains("sock /.werf/tmp/ssh-auth-sock"), "{}", log.0);
    assert_not_in_image(&project);
    assert_eq!(project.leftovers(), [""; 0]);
    assert_eq!(agents(&project), [""; 0]);
}

/// Command lines of agents that serve this project.
fn agents(project: &BuildProject) -> Vec<String> {
    let output = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let tmp = project.tmp().display().to_string();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines
        .lines()
        .filter(|line| line.starts_with("ssh-agent") || line.contains("/ssh-agent"))
        .filter(|line| line.contains(&tmp))
        .map(str::to_owned)
        .collect()
}

fn a_key_with_a_passphrase_is_refused(project: BuildProject) {
    let Some(path) = key(&project, "secret words") else { return };
    project.commit_yaml(YAML);
    let output = project.failed_build(["--ssh-key", &path]);
    assert!(output.stderr.contains(&format!("ssh key `{path}` cannot be loaded: ")), "{}", output.stderr);
    assert!(output.stderr.contains("hint: give a private key without a passphrase"), "{}", output.stderr);
    assert_eq!(agents(&project), [""; 0]);
}
