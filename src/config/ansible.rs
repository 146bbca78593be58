//! The `ansible` section: every task is looked at, however deep in blocks (spec/build.md 1.8).

use std::collections::BTreeMap;

use super::error::{At, Problem};
use super::field::Field;
use super::model::Ansible;
use super::shell::{STAGES, cache_versions};

pub(super) fn convert(section: Field<'_>) -> Result<Ansible, At> {
    let section = section.map()?;
    let mut tasks = BTreeMap::new();
    for (stage, key, _) in STAGES {
        let of_stage = section.items(key)?;
        of_stage.iter().try_for_each(|task| check(*task))?;
        if !of_stage.is_empty() {
            tasks.insert(stage, of_stage.into_iter().map(|task| task.node.value.clone()).collect());
        }
    }
    Ok(Ansible { tasks, cache_versions: cache_versions(section)? })
}

const BLOCK: [&str; 3] = ["block", "rescue", "always"];

/// A block of tasks, or a task with exactly one module; all other keys are Ansible's business.
fn check(task: Field<'_>) -> Result<(), At> {
    let task = task.map()?;
    if BLOCK.iter().any(|key| task.node.get(key).is_some()) {
        return BLOCK.iter().try_for_each(|key| task.items(key)?.into_iter().try_for_each(check));
    }
    let name = task.get("name").and_then(|name| name.text().ok());
    let modules: Vec<&str> = MODULES.iter().copied().filter(|module| task.get(module).is_some()).collect();
    match modules.as_slice() {
        [_] => Ok(()),
        [] => Err(task.wrong(Problem::NoModule { task: name })),
        several => {
            let modules = several.iter().map(|module| (*module).to_owned()).collect();
            Err(task.wrong(Problem::SeveralModules { task: name, modules }))
        }
    }
}

/// Every module that a task can use.
#[rustfmt::skip]
pub(super) const MODULES: [&str; 89] = [
    // commands
    "command", "shell", "raw", "script",
    // crypto
    "openssl_certificate", "openssl_csr", "openssl_privatekey", "openssl_publickey",
    // files
    "acl", "archive", "assemble", "blockinfile", "copy", "file", "replace", "find", "ini_file", "iso_extract",
    "lineinfile", "stat", "tempfile", "unarchive", "xattr",
    // net tools
    "get_url", "slurp", "uri",
    // packaging, language
    "bower", "bundler", "composer", "cpanm", "easy_install", "gem", "maven_artifact", "npm", "pear", "pip", "yarn",
    // packaging, OS
    "apk", "apt", "apt_key", "apt_repository", "apt_rpm", "dnf", "dpkg_selections", "debconf", "homebrew",
    "homebrew_cask", "homebrew_tap", "layman", "macports", "openbsd_pkg", "opkg", "package", "pacman", "pkg5",
    "pkg5_publisher", "pkgin", "pkgng", "pkgutil", "portage", "portinstall", "pulp_repo", "redhat_subscription",
    "rhn_channel", "rhn_register", "rpm_key", "slackpkg", "sorcery", "svr4pkg", "swdepot", "swupd", "urpmi", "xbps",
    "yum", "yum_repository", "zypper", "zypper_repository",
    // system
    "cron", "user", "group", "getent", "locale_gen", "timezone",
    // utilities
    "meta", "assert", "debug", "fail", "set_fact", "wait_for",
];
