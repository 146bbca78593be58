//! The lines before a job's script that make `werf` known, as the users' guide has them.

use crate::support::program::{Program, named_copies};

#[test]
fn the_lines_of_the_guide_define_werf_in_bash() {
    let names = named_copies(["multiwerf"]);
    let script = "set -eu -o pipefail\n\
        type multiwerf && source <(multiwerf use 1.1 stable)\n\
        type werf\n\
        source <(multiwerf use 1.1 stable)\n\
        werf version\n\
        test -x \"$WERF_PATH\"\n";
    let stdout = Program::command("bash", ["-c", script]).path(names.path()).stdout();
    assert!(stdout.starts_with("multiwerf is "), "{stdout}");
    assert!(stdout.contains("werf is a function"), "{stdout}");
    assert!(stdout.ends_with(concat!(env!("CARGO_PKG_VERSION"), "\n")), "{stdout}");
}

#[test]
fn a_file_is_written_for_shells_without_process_substitution() {
    let names = named_copies(["multiwerf"]);
    let home = tempfile::tempdir().unwrap();
    let script = ". $(multiwerf use 1.1 stable --as-file --update no --self-update=no)\nwerf slugify a/b -f tag";
    let run = || Program::command("sh", ["-euc", script]).path(names.path()).env("HOME", home.path()).stdout();
    assert_eq!(run(), "a-b-94a89ba7\n");
    assert_eq!(run(), "a-b-94a89ba7\n");
    assert!(home.path().join(".multiwerf/scripts/1.1-stable/werf_source").is_file());
}

#[test]
fn other_releases_are_refused_and_nothing_is_sourced() {
    let names = named_copies(["multiwerf"]);
    let output = Program::command("multiwerf", ["use", "1.2", "stable"]).path(names.path()).run();
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (
            1,
            "",
            "Error: werf 1.2 is not available here\nhint: this program speaks werf 1.1: `multiwerf use 1.1 stable`\n"
        )
    );
    assert_eq!(Program::command("multiwerf", ["use", "1.1", "nightly"]).path(names.path()).run().code, 2);
}

#[test]
fn what_would_update_does_nothing() {
    let names = named_copies(["multiwerf", "werf"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let multiwerf = |args: &[&str]| Program::command("multiwerf", args.iter().copied()).path(names.path()).stdout();
    let output_file = format!("--output-file={}", file.display());
    assert_eq!(multiwerf(&["update", "1.1", "stable", "--in-background", &output_file, "--with-cache"]), "");
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    assert_eq!(multiwerf(&["self-update"]), "");
    assert_eq!(multiwerf(&["gc"]), "");
    assert_eq!(multiwerf(&["version"]), "multiwerf v1.5.0\n");
    assert!(std::path::Path::new(multiwerf(&["werf-path", "1.1", "stable"]).trim()).is_absolute());
    assert_eq!(multiwerf(&["werf-exec", "1.1", "stable", "slugify", "a/b", "-f", "tag"]), "a-b-94a89ba7\n");
    let werf = Program::command("werf", ["slugify", "a/b", "-f", "tag"]).path(names.path()).stdout();
    assert_eq!(werf, "a-b-94a89ba7\n");
}
