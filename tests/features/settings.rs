//! `config show`: the settings of this host.

use crate::support::program::Program;

#[test]
fn every_setting_is_shown_with_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(
        &file,
        "runtime: embedded\nstate_dir: /srv/slipway\nlimits: { memory: 2GiB, pids: 4096, cpus: 2 }\n",
    )
    .unwrap();
    let show = |args: &[&str]| {
        let args = ["config", "show"].iter().chain(args);
        Program::new(args).env("SLIPWAY_CONFIG", &file).env("SLIPWAY_CACHE_DIR", "/cache").stdout()
    };
    let expected = format!(
        "runtime: \"embedded\"  # {0}\nstate_dir: \"/srv/slipway\"  # {0}\nbuilds_dir: \"/srv/slipway/builds\"  # default\n\
         cache_dir: \"/cache\"  # $SLIPWAY_CACHE_DIR\ninsecure_registries: []  # default\n\
         limits: {{\"memory\":\"2GiB\",\"pids\":4096,\"cpus\":2}}  # {0}\n",
        file.display()
    );
    assert_eq!(show(&[]), expected);
    let json: serde_json::Value = serde_json::from_str(&show(&["--output", "json"])).unwrap();
    assert_eq!(json[3], serde_json::json!({"name": "cache_dir", "value": "/cache", "source": "$SLIPWAY_CACHE_DIR"}));
}

#[test]
fn a_broken_file_is_an_error_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, "state_dir: /srv\nstate: /srv\n").unwrap();
    let output = Program::new(["config", "show"]).env("SLIPWAY_CONFIG", &file).run();
    let expected = "config.yaml:2:1: unknown field `state`, expected one of";
    assert!(output.code == 3 && output.stderr.contains(expected), "{output:?}");
    let output = Program::new(["config", "show"]).env("SLIPWAY_CONFIG", "/nowhere.yaml").run();
    assert_eq!((output.code, output.stderr.as_str()), (3, "Error: there is no settings file `/nowhere.yaml`\n"));
}
