//! A disk that fills up while the state grows on it.

use std::path::PathBuf;
use std::process::Command;

use super::{error_of, left};
use crate::support::build_project::BuildProject;
use crate::support::program::Output;

/// What such a disk is called among the mounts.
pub const SOURCE: &str = "accident-disk";

/// A disk of its own for the state, in memory.
struct Disk {
    place: PathBuf,
}

impl Disk {
    fn mount(project: &BuildProject, size: &str) -> Self {
        let disk = Self { place: project.state() };
        disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), SOURCE]);
        disk
    }

    fn resize(&self, size: &str) {
        self.run("mount", &["-o", &format!("remount,size={size}")]);
    }

    fn run(&self, program: &str, args: &[&str]) {
        assert!(Command::new(program).args(args).arg(&self.place).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).status();
    }
}

fn import(project: &BuildProject) -> Output {
    project.slipway(["image", "import", &project.base(), "root.tar"]).dir(project.host()).run()
}

/// An error that names the directory and says what to do.
fn assert_full(project: &BuildProject, output: &Output) {
    assert_eq!(output.code, 3, "{}", output.stderr);
    let store = project.state().join("embedded");
    let full = format!("no space is left on the disk of the image store `{}`", store.display());
    let error = error_of(output);
    assert!(error.contains(&full), "{error}");
    assert!(error.contains("\nhint: free space there, or name another directory with SLIPWAY_STATE_DIR"), "{error}");
    assert_eq!(left(project), [""; 0]);
}

#[test]
fn an_import_that_fills_the_disk_leaves_it_empty() {
    let Some(project) = BuildProject::embedded() else { return };
    let disk = Disk::mount(&project, "1m");
    assert_full(&project, &import(&project));
    disk.resize("16m");
    assert_eq!(import(&project).code, 0);
    project.commit_yaml("image: app\nfrom: BASE\n");
    project.build();
    assert_eq!(project.sh("app", "echo it works"), "it works\n");
}

#[test]
fn sources_that_fill_the_disk_are_built_when_it_has_grown() {
    let Some(project) = BuildProject::embedded() else { return };
    let disk = Disk::mount(&project, "4m");
    assert_eq!(import(&project).code, 0);
    project.repo.write("large", noise(4 << 20));
    project.commit_yaml("image: app\nfrom: BASE\ngit: [{add: /large, to: /large}]\n");
    assert_full(&project, &project.failed_build([]));
    disk.resize("16m");
    assert_eq!(project.build().built(), ["app/gitArchive"]);
    assert_eq!(project.sh("app", "wc -c < /large"), "4194304\n");
}

#[test]
fn commands_that_fill_the_disk_are_told_so() {
    let Some(project) = BuildProject::embedded() else { return };
    let disk = Disk::mount(&project, "6m");
    assert_eq!(import(&project).code, 0);
    project.commit_yaml(
        "image: app\nfrom: BASE\nshell:\n  beforeInstall: [head -c 1000000 /dev/zero > /first]\n  install: [head -c 8000000 /dev/zero > /second]\n",
    );
    let output = project.failed_build([]);
    assert_full(&project, &output);
    assert!(error_of(&output).starts_with("image app, stage install (signature "), "{}", output.stderr);
    assert!(output.stderr.contains("the commands ended with exit code 1"), "{}", output.stderr);
    disk.resize("32m");
    assert_eq!(project.build().built(), ["app/install"]);
    assert_eq!(project.sh("app", "cat /first /second | wc -c"), "9000000\n");
}

#[test]
fn packing_for_a_registry_that_fills_the_disk_is_done_when_it_has_grown() {
    let Some(project) = BuildProject::embedded() else { return };
    let Ok(registry) = std::env::var("TESTBED_REGISTRY") else {
        println!("skipped: needs TESTBED_REGISTRY");
        return;
    };
    let disk = Disk::mount(&project, "8m");
    assert_eq!(import(&project).code, 0);
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: [head -c 5000000 /dev/urandom > /noise]}\n");
    project.build();
    let repo = format!("--images-repo={registry}/{}", project.name);
    let publish = || project.slipway(["publish", &repo, "--tag-custom=1"]).run();
    assert_full(&project, &publish());
    assert_eq!(project.build().built(), [""; 0]);
    disk.resize("32m");
    let output = publish();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(left(&project), [""; 0]);
}

/// Bytes that no compression makes fewer.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}
