//! Layers: what we write is the same everywhere, and of what others wrote nothing hostile gets through.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use slipway::ids::Digest;
use slipway::layer::{
    Content, Devices, Entry, EntryKind, GzipWriter, LayerReader, Limits, ReadError, TarSummary, write_tar,
};

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1_600_000_000, xattrs: BTreeMap::new() }
}

fn file(path: &str, content: &str) -> Entry {
    entry(path, EntryKind::File { size: content.len() as u64, content: Content::Bytes(content.to_owned().into()) })
}

fn symlink(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Symlink { target: target.into() })
}

fn tar_of(entries: Vec<Entry>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_tar(&entries, &mut bytes).unwrap();
    bytes
}

/// An entry as a text that two equal entries share.
fn describe(entry: &Entry) -> String {
    let kind = match &entry.kind {
        EntryKind::File { size, content } => {
            let mut bytes = Vec::new();
            content.open().unwrap().read_to_end(&mut bytes).unwrap();
            format!("file {size} {}", Digest::of(&bytes))
        }
        other => format!("{other:?}"),
    };
    let Entry { path, mode, uid, gid, mtime, xattrs, .. } = entry;
    format!("{path:?} {kind} {mode:o} {uid}:{gid} {mtime} {xattrs:?}")
}

fn read_all(bytes: Vec<u8>) -> Result<Vec<String>, ReadError> {
    read_within(bytes, Limits::default())
}

fn read_within(bytes: Vec<u8>, limits: Limits) -> Result<Vec<String>, ReadError> {
    LayerReader::new(io::Cursor::new(bytes), limits)?.map(|entry| entry.map(|entry| describe(&entry))).collect()
}

/// Reads a layer without opening its files.
fn drain(bytes: Vec<u8>) -> Result<TarSummary, ReadError> {
    LayerReader::new(io::Cursor::new(bytes), Limits::default())?.finish()
}

fn refusal(bytes: Vec<u8>) -> String {
    read_all(bytes).unwrap_err().to_string()
}

/// A tar made block by block, as an enemy makes it.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn member(self, kind: u8, name: &[u8], content: &[u8]) -> Self {
        self.member_with(kind, name, content, |_| {})
    }

    fn member_with(mut self, kind: u8, name: &[u8], content: &[u8], change: impl FnOnce(&mut tar::GnuHeader)) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.typeflag = [kind];
        gnu.name[..name.len()].copy_from_slice(name);
        change(gnu);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn link(self, kind: u8, name: &[u8], target: &[u8]) -> Self {
        self.member_with(kind, name, b"", |header| header.linkname[..target.len()].copy_from_slice(target))
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let text: String = records
            .iter()
            .map(|(key, value)| {
                let length =
                    (1..).find(|length: &usize| *length == length.to_string().len() + key.len() + value.len() + 3);
                format!("{} {key}={value}\n", length.unwrap())
            })
            .collect();
        self.member(b'x', b"pax", text.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzipWriter::new(Vec::new());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap().0
}

fn sample() -> Vec<Entry> {
    let long = format!("long/{}/{}", "d".repeat(120), "n".repeat(120));
    let mut sudo = file("bin/sudo", "#!");
    (sudo.mode, sudo.uid, sudo.gid) = (0o4755, 3_000_000_000, 12);
    sudo.xattrs.insert("security.capability".to_owned(), vec![1, 0, 0, 2, b'=', b'\n']);
    let mut old = entry("old", EntryKind::Directory);
    (old.mode, old.mtime) = (0o1777, -5);
    vec![
        entry("bin", EntryKind::Directory),
        sudo,
        entry("bin/sudo2", EntryKind::Hardlink { target: "bin/sudo".into() }),
        entry("dev/null", EntryKind::CharDevice { major: 1, minor: 3 }),
        entry("dev/sda", EntryKind::BlockDevice { major: 8, minor: 0 }),
        entry("fifo", EntryKind::Fifo),
        entry("gone", EntryKind::Whiteout),
        entry("hidden", EntryKind::Directory),
        entry("hidden", EntryKind::Opaque),
        file("hidden/new", "new"),
        file(&long, "deep"),
        old,
        symlink("привет", &"t/".repeat(150)),
    ]
}

#[test]
fn what_is_written_is_read_again() {
    let entries = sample();
    let mut bytes = Vec::new();
    let summary = write_tar(&entries, &mut bytes).unwrap();
    assert_eq!((summary.size, summary.diff_id.clone()), (bytes.len() as u64, Digest::of(&bytes)));

    let read = read_all(bytes.clone()).unwrap();
    let written: Vec<String> = entries.iter().map(describe).collect();
    assert_eq!(read, written);

    let compressed = LayerReader::new(io::Cursor::new(gzip(&bytes)), Limits::default()).unwrap();
    assert_eq!(compressed.finish().unwrap(), summary);
    let zstd = zstd::encode_all(&bytes[..], 3).unwrap();
    assert_eq!(drain(zstd).unwrap(), summary);
}

#[test]
fn other_tools_read_what_we_write() {
    let bytes = tar_of(sample());
    let mut archive = tar::Archive::new(&bytes[..]);
    let names: Vec<PathBuf> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    let long = format!("long/{}/{}", "d".repeat(120), "n".repeat(120));
    let expected = [
        "bin/",
        "bin/sudo",
        "bin/sudo2",
        "dev/null",
        "dev/sda",
        "fifo",
        ".wh.gone",
        "hidden/",
        "hidden/.wh..wh..opq",
        "hidden/new",
        &long,
        "old/",
        "привет",
    ];
    assert_eq!(names, expected.map(PathBuf::from));
}

/// The diff id may be part of a signature: it must never change, on no host and in no version.
#[test]
fn equal_entries_give_one_diff_id_for_ever() {
    assert_eq!(
        write_tar(&sample(), io::sink()).unwrap().diff_id.as_str(),
        "sha256:5c17e26773870b6ff9dbe3bd72af6ee469179aa5bc77a2bac77ca87df0aec852"
    );
}

#[test]
fn an_opaque_directory_alone_brings_its_directory() {
    let names = |entries: Vec<Entry>| read_all(tar_of(entries)).unwrap();
    let (directory, opaque) = (entry("a", EntryKind::Directory), entry("a", EntryKind::Opaque));
    assert_eq!(names(vec![opaque.clone()]), names(vec![directory, opaque]));
}

#[test]
fn entries_that_cannot_be_a_layer_are_refused() {
    let refuse = |entries: Vec<Entry>| write_tar(&entries, io::sink()).unwrap_err().to_string();
    insta::assert_snapshot!(refuse(vec![file("b", ""), file("a", "")]), @"the layer's entries are not sorted: `a` comes after `b`");
    insta::assert_snapshot!(refuse(vec![file("a/b", ""), file("a-b", "")]), @"the layer's entries are not sorted: `a-b` comes after `a/b`");
    insta::assert_snapshot!(refuse(vec![file("a", ""), file("a", "")]), @"the layer has `a` twice");
    insta::assert_snapshot!(refuse(vec![file("etc/.wh.passwd", "")]), @"`etc/.wh.passwd` cannot be in a layer: names that begin with `.wh.` mean removals in a layer");
    insta::assert_snapshot!(refuse(vec![file("../etc/passwd", "")]), @"`../etc/passwd` cannot be in a layer: its name is not a plain path from the root of the image");
    insta::assert_snapshot!(refuse(vec![entry("", EntryKind::Whiteout)]), @"`` cannot be in a layer: only a directory can be the root");
    insta::assert_snapshot!(refuse(vec![symlink("a", "")]), @"`a` cannot be in a layer: its target is empty");
    insta::assert_snapshot!(refuse(vec![entry("a", EntryKind::Hardlink { target: "/etc/passwd".into() })]), @"`a` cannot be in a layer: its target is not a path from the root of the image");
    for path in ["/a", "a/", "a//b", "a/./b", "./a", "a/..", "a\0b", "a/."] {
        assert!(write_tar(&vec![file(path, "")], io::sink()).is_err(), "{path:?}");
    }
    let sized = |size| vec![entry("log", EntryKind::File { size, content: Content::Bytes("12345".into()) })];
    insta::assert_snapshot!(refuse(sized(6)), @"`log` was to have 6 bytes but has only 5");
    insta::assert_snapshot!(refuse(sized(4)), @"`log` was to have 4 bytes but has more");
    let missing = EntryKind::File { size: 1, content: Content::File("/nonexistent/file".into()) };
    insta::assert_snapshot!(refuse(vec![entry("log", missing)]), @"cannot read `log`");
}

#[test]
fn content_is_readable_while_its_entry_is_current() {
    let bytes = tar_of(vec![file("a", "one"), file("b", "two")]);
    let mut layer = LayerReader::new(io::Cursor::new(bytes), Limits::default()).unwrap();
    let open = |entry: &Entry| match &entry.kind {
        EntryKind::File { content, .. } => content.open(),
        _ => unreachable!(),
    };
    let first = layer.next().unwrap().unwrap();
    let mut early = open(&first).unwrap();
    let second = layer.next().unwrap().unwrap();
    assert_eq!(early.read(&mut [0; 3]).unwrap_err().to_string(), "the layer has been read beyond this file");
    assert!(open(&first).is_err());
    assert_eq!(io::read_to_string(open(&second).unwrap()).unwrap(), "two");
    assert!(layer.next().is_none());
}

#[test]
fn names_of_real_tools_are_normalised() {
    let tar = Tar::default()
        .member(b'5', b"./", b"")
        .member(b'5', b"./etc/", b"")
        .member(b'0', b"/etc//hosts", b"h")
        .member(b'5', b"etc", b"")
        .member(0, b"srv/", b"")
        .member(b'g', b"pax_global_header", b"17 comment=a b c\n")
        .link(b'1', b"etc/hosts2", b"./etc/hosts");
    let paths: Vec<String> =
        read_all(tar.end()).unwrap().iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        paths,
        [
            "\"\" Directory",
            "\"etc\" Directory",
            "\"etc/hosts\" file",
            "\"etc\" Directory",
            "\"srv\" Directory",
            "\"etc/hosts2\" Hardlink"
        ]
    );
}

/// Hostile input 1.
#[test]
fn two_sizes_of_one_file() {
    let tar = Tar::default().pax(&[("size", "1024")]).member(b'0', b"a", b"short");
    insta::assert_snapshot!(refusal(tar.end()), @"the layer is damaged at byte 1536: the header and its PAX record give two sizes");
    let negative = Tar::default().pax(&[("size", "-1")]).member(b'0', b"a", b"");
    insta::assert_snapshot!(refusal(negative.end()), @"the layer is damaged at byte 1536: the PAX size is not a number");
}

/// Hostile input 2.
#[test]
fn malformed_pax_record() {
    let tar = Tar::default().member(b'x', b"pax", b"30 path=a\n").member(b'0', b"b", b"");
    insta::assert_snapshot!(refusal(tar.end()), @"the layer is damaged at byte 522: a PAX record is not `length key=value`");
}

/// Hostile input 3.
#[test]
fn long_name_and_pax_path_conflict() {
    let tar = Tar::default()
        .member(b'L', b"././@LongLink", b"seen/by/gnu\0")
        .pax(&[("path", "seen/by/pax")])
        .member(b'0', b"b", b"");
    insta::assert_snapshot!(refusal(tar.end()), @"the layer is damaged at byte 2560: a GNU long name and a PAX path describe one entry");
    let links = Tar::default().member(b'K', b"l", b"one\0").pax(&[("linkpath", "two")]).link(b'2', b"a", b"three");
    insta::assert_snapshot!(refusal(links.end()), @"the layer is damaged at byte 2560: a GNU long link and a PAX linkpath describe one entry");
    let twice = Tar::default().pax(&[("path", "a")]).pax(&[("path", "b")]).member(b'0', b"c", b"");
    insta::assert_snapshot!(refusal(twice.end()), @"the layer is damaged at byte 1545: two extended headers of one kind describe one entry");
    let global = Tar::default().member(b'g', b"g", b"10 path=a\n").member(b'0', b"c", b"");
    insta::assert_snapshot!(refusal(global.end()), @"the layer is damaged at byte 522: a global extended header changes more than the comment");
    insta::assert_snapshot!(refusal(Tar::default().pax(&[("path", "a")]).end()), @"the layer is damaged at byte 2048: an extended header stands before the end");
}

/// Hostile input 4.
#[test]
fn negative_base_256_size() {
    let tar = Tar::default().member_with(b'0', b"a", b"", |header| header.size = [0xff; 12]);
    insta::assert_snapshot!(refusal(tar.end()), @"the layer is damaged at byte 512: the size of a header is negative");
}

/// Hostile input 5.
#[test]
fn sparse_file_of_8_exbibytes() {
    let gnu = Tar::default().member_with(b'S', b"a", b"", |header| header.realsize = *b"777777777777");
    insta::assert_snapshot!(refusal(gnu.end()), @"the layer is refused: `a` is a sparse file, which layers do not have");
    let pax = Tar::default().pax(&[("GNU.sparse.realsize", "9223372036854775807")]).member(b'0', b"a", b"");
    insta::assert_snapshot!(refusal(pax.end()), @"the layer is damaged at byte 1536: a sparse file, which layers do not have");
    let huge = Tar::default()
        .member_with(b'0', b"a", b"", |header| header.size = [0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255]);
    insta::assert_snapshot!(refusal(huge.end()), @"the layer is refused: it has more than 137438953472 bytes in one file");
}

/// Hostile input 6.
#[test]
fn names_that_are_not_inside() {
    let named = |name: &str| Tar::default().pax(&[("path", name)]).member(b'0', b"x", b"").end();
    insta::assert_snapshot!(refusal(named("../../etc/passwd")), @"the layer is refused: `../../etc/passwd` leads out of the image by `..`");
    insta::assert_snapshot!(refusal(named("a/b/../c")), @"the layer is refused: `a/b/../c` leads out of the image by `..`");
    insta::assert_snapshot!(refusal(named("a\0b")), @r#"the layer is refused: `a\0b` has a NUL byte"#);
    insta::assert_snapshot!(refusal(named("\u{1b}[2Ja/..")), @r#"the layer is refused: `\u{1b}[2Ja/..` leads out of the image by `..`"#);
    insta::assert_snapshot!(refusal(named(&"n".repeat(256))).replace(&"n".repeat(200), "nnn…"), @"the layer is refused: `nnn…` has a component longer than 255 bytes");
    insta::assert_snapshot!(refusal(named(&"d/".repeat(2049))).replace(&"d/".repeat(100), "d/…"), @"the layer is refused: `d/…` is longer than 4096 bytes");
    insta::assert_snapshot!(refusal(named("")), @"the layer is refused: `` is an empty name");
    insta::assert_snapshot!(refusal(named("/")), @"the layer is refused: `/` is a file whose name ends with `/`");
}

/// Hostile input 7.
#[test]
fn file_through_a_symlink_of_the_same_layer() {
    let after = Tar::default().link(b'2', b"a", b"/etc").member(b'0', b"a/passwd", b"x");
    insta::assert_snapshot!(refusal(after.end()), @"the layer is refused: `a/passwd` lies below something that is not a directory in the same layer");
    let before = Tar::default().member(b'0', b"a/passwd", b"x").link(b'2', b"a", b"/etc");
    insta::assert_snapshot!(refusal(before.end()), @"the layer is refused: `a` is not a directory, but the same layer has files below it");
    let twice = Tar::default().link(b'2', b"a", b"/etc/passwd").member(b'0', b"./a", b"x");
    insta::assert_snapshot!(refusal(twice.end()), @"the layer is refused: `a` is there twice in the same layer");
}

/// Hostile input 8.
#[test]
fn hard_links_to_elsewhere() {
    insta::assert_snapshot!(refusal(Tar::default().link(b'1', b"a", b"../../etc/shadow").end()), @"the layer is refused: `../../etc/shadow` leads out of the image by `..`");
    insta::assert_snapshot!(refusal(Tar::default().link(b'1', b"a", b"etc/shadow").end()), @"the layer is refused: `a` is a hard link to something that is not earlier in the same layer");
    insta::assert_snapshot!(refusal(Tar::default().member(b'5', b"d", b"").link(b'1', b"a", b"d").end()), @"the layer is refused: `a` is a hard link to something that is not a file");
    insta::assert_snapshot!(refusal(Tar::default().member(b'0', b".wh.b", b"").link(b'1', b"a", b"b").end()), @"the layer is refused: `a` is a hard link to something that is not a file");
    let removed = Tar::default().member(b'0', b"b", b"x").link(b'1', b"a", b"b").member(b'0', b".wh.b", b"");
    insta::assert_snapshot!(refusal(removed.end()), @"the layer is refused: `b` is both there and removed in the same layer");
}

/// Hostile input 9.
#[test]
fn whiteout_tricks() {
    let named = |name: &[u8]| refusal(Tar::default().member(b'0', name, b"").end());
    insta::assert_snapshot!(named(b".wh."), @"the layer is refused: `.wh.` is a removal of nothing that can be removed");
    insta::assert_snapshot!(named(b"a/.wh.."), @"the layer is refused: `a/.wh..` is a removal of nothing that can be removed");
    insta::assert_snapshot!(named(b"a/.wh..."), @"the layer is refused: `a/.wh...` is a removal of nothing that can be removed");
    insta::assert_snapshot!(named(b".wh..wh..opq"), @"the layer is refused: `.wh..wh..opq` hides the whole image");
    insta::assert_snapshot!(named(b".wh..wh.aufs"), @"the layer is refused: `.wh..wh.aufs` is bookkeeping of AUFS, which layers do not have");
    insta::assert_snapshot!(named(b".wh..wh..opq/x"), @"the layer is refused: `.wh..wh..opq/x` has `.wh.` in a place where it means nothing");
    let directory = Tar::default().member(b'5', b".wh.a/", b"");
    insta::assert_snapshot!(refusal(directory.end()), @"the layer is refused: `.wh.a/` has `.wh.` in a place where it means nothing");
    let filled = Tar::default().member(b'0', b".wh.a", b"data");
    insta::assert_snapshot!(refusal(filled.end()), @"the layer is refused: `.wh.a` is a removal with content");
    let opaque_link = Tar::default().link(b'2', b"a", b"/etc").member(b'0', b"a/.wh..wh..opq", b"");
    insta::assert_snapshot!(refusal(opaque_link.end()), @"the layer is refused: `a` is there twice in the same layer");
    let below = Tar::default().member(b'0', b".wh.a", b"").member(b'0', b"a/b", b"");
    insta::assert_snapshot!(refusal(below.end()), @"the layer is refused: `a/b` lies below something that the same layer removes");
}

/// Hostile input 10.
#[test]
fn devices_setuid_and_attributes() {
    let device = || Tar::default().member_with(b'4', b"sda", b"", |header| header.dev_major = *b"0000010\0").end();
    assert!(read_all(device()).unwrap()[0].contains("BlockDevice { major: 8, minor: 0 }"));
    let strict = Limits { devices: Devices::Refuse, ..Limits::default() };
    insta::assert_snapshot!(read_within(device(), strict).unwrap_err(), @"the layer is refused: `sda` is a device node");
    let overlay = Tar::default().pax(&[("SCHILY.xattr.trusted.overlay.redirect", "/etc")]).member(b'5', b"a", b"");
    insta::assert_snapshot!(refusal(overlay.end()), @"the layer is refused: `a` has the extended attribute `trusted.overlay.redirect`, which steers the kernel's overlay");
    let large = Tar::default().pax(&[("SCHILY.xattr.user.x", &"x".repeat(300 << 10))]).member(b'0', b"a", b"");
    insta::assert_snapshot!(refusal(large.end()), @"the layer is refused: `a` has more than 262144 bytes of extended attributes");
    let setuid = Tar::default().member_with(b'0', b"su", b"", |header| header.mode = *b"0104755\0");
    assert!(read_all(setuid.end()).unwrap()[0].contains(" 4755 "), "permission bits stay, others go");
    insta::assert_snapshot!(refusal(Tar::default().member(b'V', b"a", b"").end()), @"the layer is refused: `a` is of the unknown type `V`");
    insta::assert_snapshot!(refusal(Tar::default().member(b'5', b"a", b"data").end()), @"the layer is refused: `a` has content, but is not a file");
    insta::assert_snapshot!(refusal(Tar::default().link(b'2', b"a", b"").end()), @"the layer is refused: `a` is a symbolic link whose target is empty, too long or has a NUL byte");
}

/// Hostile input 11: a path twice is refused; paths that only look alike are different files here.
#[test]
fn duplicate_and_twin_names() {
    let twice = Tar::default().member(b'0', b"a", b"1").member(b'0', b"./a", b"2");
    insta::assert_snapshot!(refusal(twice.end()), @"the layer is refused: `a` is there twice in the same layer");
    let twins = Tar::default()
        .member(b'0', b"README", b"")
        .member(b'0', b"readme", b"")
        .member(b'0', "caf\u{e9}".as_bytes(), b"")
        .member(b'0', "cafe\u{301}".as_bytes(), b"");
    assert_eq!(read_all(twins.end()).unwrap().len(), 4);
}

/// Hostile input 12.
#[test]
fn compressed_bombs_and_garbage() {
    let plain = tar_of(vec![file("a", "x")]);
    let members = [gzip(&plain[..700]), gzip(&plain[700..])].concat();
    assert_eq!(read_all(members).unwrap().len(), 1, "members are one stream");
    insta::assert_snapshot!(refusal([gzip(&plain), b"garbage".to_vec()].concat()), @"the layer cannot be read: its compressed stream is damaged or cut off (unexpected end of file)");
    insta::assert_snapshot!(refusal([plain.clone(), b"garbage".to_vec()].concat()), @"the layer is damaged at byte 2055: something follows the end of the archive");
    assert!(read_all([plain.clone(), vec![0; 9000]].concat()).is_ok(), "tar pads to a full record");

    let zeros = EntryKind::File {
        size: 3 << 30,
        content: Content::Open(Arc::new(|| Ok(Box::new(io::repeat(0).take(3 << 30))))),
    };
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    bomb.window_log(17).unwrap();
    write_tar(&vec![entry("zeros", zeros)], &mut bomb).unwrap();
    let bomb = bomb.finish().unwrap();
    insta::assert_snapshot!(drain(bomb).unwrap_err(), @"the layer cannot be read: it swells to more than 200 times its compressed size");

    let within = |limits| {
        read_within(gzip(&tar_of(vec![file("a", &"x".repeat(5000)), file("b", "")])), limits).unwrap_err().to_string()
    };
    insta::assert_snapshot!(within(Limits { entries: 1, ..Limits::default() }), @"the layer is refused: it has more than 1 entries");
    insta::assert_snapshot!(within(Limits { file: 4999, ..Limits::default() }), @"the layer is refused: it has more than 4999 bytes in one file");
    insta::assert_snapshot!(within(Limits { total: 6000, ..Limits::default() }), @"the layer is refused: it has more than 6000 bytes");

    // A frame that wants a window of 2 GiB.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    insta::assert_snapshot!(refusal(window.to_vec()), @"the layer cannot be read: its compressed stream is damaged or cut off (Frame requires too much memory for decoding)");
    insta::assert_snapshot!(refusal(b"\xfd7zXZ\0....".to_vec()), @"the layer cannot be read: it is compressed with xz; layers are gzip, zstd or plain");
    insta::assert_snapshot!(refusal(b"BZh91AY&SY".to_vec()), @"the layer cannot be read: it is compressed with bzip2; layers are gzip, zstd or plain");
    insta::assert_snapshot!(refusal(Vec::new()), @"the layer is damaged at byte 0: the stream ends without the end of the archive");
}

/// Hostile input 13.
#[test]
fn truncated_at_each_block() {
    let plain = tar_of(sample());
    let end = plain.len() - 1024;
    for length in (0..plain.len()).step_by(512).chain([1, 511, 513, end + 1, plain.len() - 1]) {
        let error = drain(plain[..length].to_vec()).expect_err(&format!("{length} of {}", plain.len()));
        assert!(matches!(error, ReadError::Damaged { .. }), "{length}: {error}");
    }
    let compressed = gzip(&plain);
    for length in 1..compressed.len() {
        assert!(drain(compressed[..length].to_vec()).is_err(), "{length} of {}", compressed.len());
    }
    insta::assert_snapshot!(refusal(plain[..end].to_vec()), @"the layer is damaged at byte 12288: the stream ends without the end of the archive");
    insta::assert_snapshot!(drain(compressed[..compressed.len() - 3].to_vec()).unwrap_err(), @"the layer cannot be read: its compressed stream is damaged or cut off (unexpected end of file)");
    insta::assert_snapshot!(drain(tar_of(vec![file("a", &"x".repeat(900))])[..1000].to_vec()).unwrap_err(), @"the layer is damaged at byte 1000: the stream ends within the content of a file");
}

#[test]
fn a_wrong_checksum_is_damage() {
    let mut bytes = tar_of(vec![file("a", "x")]);
    bytes[0] = b'b';
    insta::assert_snapshot!(refusal(bytes), @"the layer is damaged at byte 512: the checksum of a header is wrong");
}

/// Every layer of a real image passes.
#[test]
fn a_real_root_file_system_is_read() {
    let Some(path) = std::env::var_os("TESTBED_BASE_ROOTFS") else {
        println!("skipped: TESTBED_BASE_ROOTFS names no archive");
        return;
    };
    let layer = LayerReader::new(std::fs::File::open(path).unwrap(), Limits::default()).unwrap();
    assert!(layer.finish().unwrap().entries > 1000);
}

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-c]{1,2}|\u{43f}|x{90}", 1..5).prop_map(|parts| parts.join("/"))
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..1500)
            .prop_map(|bytes| EntryKind::File { size: bytes.len() as u64, content: Content::Bytes(bytes.into()) }),
        Just(EntryKind::Directory),
        "[ -~]{1,200}".prop_map(|target| EntryKind::Symlink { target: target.into() }),
        Just(EntryKind::Whiteout),
        Just(EntryKind::Fifo),
        (0..1_u32 << 21, 0..1_u32 << 21).prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
    ];
    let xattrs =
        proptest::collection::btree_map("user\\.[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..40), 0..3);
    (any_path(), kind, 0..=0o7777_u32, any::<u32>(), any::<u32>(), any::<i64>(), xattrs).prop_map(
        |(path, kind, mode, uid, gid, mtime, xattrs)| Entry { path: path.into(), kind, mode, uid, gid, mtime, xattrs },
    )
}

/// Sorted entries that may stand together: nothing lies below what is not a directory.
fn any_layer() -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::vec(any_entry(), 0..20).prop_map(|entries| {
        let sorted: BTreeMap<String, Entry> =
            entries.into_iter().map(|entry| (entry.path.to_str().unwrap().to_owned(), entry)).collect();
        let leaves: Vec<String> = sorted
            .iter()
            .filter(|(_, entry)| !matches!(entry.kind, EntryKind::Directory))
            .map(|(path, _)| format!("{path}/"))
            .collect();
        sorted
            .into_iter()
            .filter(|(path, _)| !leaves.iter().any(|leaf| path.starts_with(leaf)))
            .map(|(_, entry)| entry)
            .collect()
    })
}

proptest! {
    #[test]
    fn any_layer_round_trips(entries in any_layer()) {
        let bytes = tar_of(entries.clone());
        prop_assert_eq!(&bytes, &tar_of(entries.clone()));
        prop_assert_eq!(read_all(bytes).unwrap(), entries.iter().map(describe).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let _ = read_all(bytes);
    }

    #[test]
    fn any_damage_is_survived(entries in any_layer(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = tar_of(entries);
        *at.get_mut(&mut bytes) = byte;
        let mut repaired = bytes.clone();
        for block in repaired.chunks_exact_mut(512) {
            let mut header = tar::Header::new_old();
            header.as_mut_bytes().copy_from_slice(block);
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
        let (_, _) = (read_all(bytes), read_all(repaired));
    }
}
