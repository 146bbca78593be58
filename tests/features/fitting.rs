//! Builds whose files go among the base image's own. Needs root, git and a static busybox.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use insta::assert_snapshot;

use crate::support::git_repo::GitRepo;
use crate::support::program::Program;

const BUSYBOX: &str = "/bin/busybox";

/// A project beside a store with one image, whose `/usr` is merged.
fn project(werf_yaml: &str) -> Option<GitRepo> {
    if !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
        println!("skipped: needs root and {BUSYBOX}");
        return None;
    }
    let repo = GitRepo::new();
    let root = repo.beside("root");
    std::fs::create_dir_all(root.join("usr/bin")).unwrap();
    std::fs::create_dir(root.join("tmp")).unwrap();
    std::fs::set_permissions(root.join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    std::fs::copy(BUSYBOX, root.join("usr/bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("usr/bin/sh")).unwrap();
    let tar = repo.beside("root.tar");
    let pack = std::process::Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
    assert!(pack.success());
    slipway(&repo, &["image", "import", "merged:1", tar.to_str().unwrap()]);
    repo.write("werf.yaml", werf_yaml);
    Some(repo)
}

fn slipway(repo: &GitRepo, args: &[&str]) -> String {
    let output = Program::new(args)
        .dir(repo.path())
        .env("HOME", repo.beside("home"))
        .env("SLIPWAY_STATE_DIR", repo.beside("state"))
        .env("SLIPWAY_RUNTIME", "embedded")
        .run();
    assert_eq!(output.code, 0, "{output:?}");
    output.stdout
}

/// Builds everything and gives what a script prints in an image.
fn built(repo: &GitRepo, image: &str, script: &str) -> String {
    slipway(repo, &["build", "--stages-storage", ":local"]);
    slipway(repo, &["run", "--stages-storage", ":local", image, "--", "/bin/sh", "-c", script])
}

#[test]
fn files_from_git_land_behind_the_image_s_links_and_emptied_directories_go() {
    let werf_yaml = "\
project: fitting
configVersion: 1
---
image: app
from: merged:1
shell: {install: [/bin/busybox touch /srv/made/by-command]}
git: [{add: /, to: /, excludePaths: [werf.yaml]}]
";
    let Some(repo) = project(werf_yaml) else { return };
    repo.write("bin/tool", "1").write("tmp/x", "2").write("srv/gone/deep/file", "3").write("srv/made/file", "4");
    repo.commit("first");
    let look = r#"cd /; b() { busybox "$@"; }; b stat -c "%n %a %F" bin tmp usr/bin/tool tmp/x; b find srv | b sort"#;
    assert_snapshot!(built(&repo, "app", look), @r"
    bin 777 symbolic link
    tmp 1777 directory
    usr/bin/tool 644 regular file
    tmp/x 644 regular file
    srv
    srv/gone
    srv/gone/deep
    srv/gone/deep/file
    srv/made
    srv/made/by-command
    srv/made/file
    ");
    repo.remove("srv/gone").remove("srv/made/file").write("bin/tool", "new").commit("second");
    assert_snapshot!(built(&repo, "app", &format!("{look}; b cat /bin/tool")), @r"
    bin 777 symbolic link
    tmp 1777 directory
    usr/bin/tool 644 regular file
    tmp/x 644 regular file
    srv
    srv/made
    srv/made/by-command
    new
    ");
}

#[test]
fn imports_land_behind_the_image_s_links() {
    let werf_yaml = "\
project: fitting
configVersion: 1
---
artifact: made
from: merged:1
shell: {install: ['busybox mkdir -p /out/bin /out/tmp; echo 1 > /out/bin/tool; echo 2 > /out/other; busybox chmod 700 /out/tmp']}
---
image: app
from: merged:1
import:
- {artifact: made, add: /out, to: /, after: install, excludePaths: [other]}
- {artifact: made, add: /out/other, to: /usr/bin, after: install}
";
    let Some(repo) = project(werf_yaml) else { return };
    repo.commit("first");
    let look =
        r#"cd /; b() { busybox "$@"; }; b stat -c "%n %a %F" bin tmp; b ls usr/bin; b cat /bin/tool /usr/bin/other"#;
    assert_snapshot!(built(&repo, "app", look), @r"
    bin 777 symbolic link
    tmp 1777 directory
    busybox
    other
    sh
    tool
    1
    2
    ");
}
