//! Layers made to break out of where they are unpacked, as an import and as a base image.

use std::fs;

use super::{error_of, exists, left};
use crate::support::build_project::BuildProject;
use crate::support::served_image::ServedImage;

/// One member of a tar, with nothing checked.
struct Member<'a> {
    kind: u8,
    name: &'a str,
    target: &'a str,
    /// What the header says.
    size: u64,
    content: &'a [u8],
}

fn member<'a>(kind: u8, name: &'a str, target: &'a str) -> Member<'a> {
    Member { kind, name, target, size: 0, content: b"" }
}

fn file(name: &str) -> Member<'_> {
    Member { size: 4, content: b"evil", ..member(b'0', name, "") }
}

fn tar_of(members: &[Member<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(member.size);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.typeflag = [member.kind];
        gnu.name[..member.name.len()].copy_from_slice(member.name.as_bytes());
        gnu.linkname[..member.target.len()].copy_from_slice(member.target.as_bytes());
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(member.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    bytes
}

#[test]
fn hostile_layers_are_refused_and_write_nothing_outside() {
    let Some(project) = BuildProject::embedded() else { return };
    let outside = project.host().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), "alive").unwrap();
    let outside_name = outside.display().to_string();
    let bomb = Member { size: 1 << 60, ..file("bomb") };
    let cases: Vec<(&str, Vec<Member<'_>>)> = vec![
        ("../evil", vec![file("../evil")]),
        ("a/../../../../../evil", vec![file("a/../../../../../evil")]),
        ("way/evil", vec![member(b'2', "way", &outside_name), file("way/evil")]),
        ("way/canary", vec![member(b'2', "way", &outside_name), file("way/canary")]),
        ("up/evil", vec![member(b'2', "up", "../../../../../../../.."), file("up/evil")]),
        ("stolen", vec![member(b'1', "stolen", "/etc/shadow")]),
        ("etc/shadow", vec![member(b'1', "stolen", "../../../../../../../../etc/shadow")]),
        ("", vec![file(".wh..")]),
        ("", vec![file(".wh.")]),
        (".wh.", vec![file("dir/.wh...")]),
        ("more than 137438953472 bytes in one file", vec![bomb]),
    ];
    for (name, members) in &cases {
        let layer = tar_of(members);
        let tar = project.host().join("hostile.tar");
        fs::write(&tar, &layer).unwrap();
        let imported = project.slipway(["image", "import", "hostile:1", &tar.display().to_string()]).run();
        let image = ServedImage::new(layer, |_| None);
        project.commit_yaml(&format!("image: app\nfrom: {}\nshell: {{install: [echo]}}\n", image.name()));
        let built = project.failed_build([]);
        for (output, code) in [(imported, 1), (built, 4)] {
            assert_eq!(output.code, code, "{name}: {}", output.stderr);
            let error = error_of(&output);
            assert!(error.contains("layer") && error.contains(name), "{name}: {error}");
        }
        assert_eq!(left(&project), [""; 0], "{name}");
        assert_eq!(fs::read_to_string(outside.join("canary")).unwrap(), "alive", "{name}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{name}");
        assert!(!exists(project.host().join("evil")) && !exists("/evil"), "{name}");
        assert!(project.inspect("hostile:1").is_none(), "{name}");
    }
}

#[test]
fn a_device_of_a_layer_opens_nothing() {
    let Some(project) = BuildProject::embedded() else { return };
    let mut layer = fs::read(project.host().join("root.tar")).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path("disk").unwrap();
    header.set_entry_type(tar::EntryType::Block);
    header.set_mode(0o666);
    for set in [tar::Header::set_uid, tar::Header::set_gid, tar::Header::set_mtime, tar::Header::set_size] {
        set(&mut header, 0);
    }
    // The first memory disk, which is everywhere.
    header.set_device_major(1).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    layer.splice(..0, *header.as_bytes());
    let tar = project.host().join("device.tar");
    fs::write(&tar, layer).unwrap();
    project.slipway(["image", "import", "device:1", &tar.display().to_string()]).stdout();
    project.commit_yaml("image: app\nfrom: device:1\nshell:\n  install:\n  - test -b /disk\n  - if head -c 1 /disk > /dev/null; then echo opened; else echo refused; fi\n");
    let log = project.build();
    assert_eq!(log.lines_with("app/install  refused").len(), 1, "{}", log.0);
}
