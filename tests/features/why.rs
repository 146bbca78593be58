//! `why` and `stage image`: what is told of stages that are there.

use serde_json::{Value, json};

use crate::on_both_runtimes;
use crate::support::build_project::BuildProject;

on_both_runtimes!(the_first_build_and_each_change_are_told, stage_image_prints_one_name);

const APP: &str = "image: app\nfrom: BASE\ngit:\n- add: /\n  to: /app\n  stageDependencies: {install: ['*.txt']}\nshell: {install: [echo VERSION]}\n";

fn why(project: &BuildProject, target: &str) -> String {
    let text = project.slipway(["why", target]).stdout();
    let head = |line: &str| line.split_once(" was built ").map_or(line.to_owned(), |(stage, _)| stage.to_owned());
    text.lines().map(head).collect::<Vec<_>>().join("\n").replace(&project.name, "PROJECT")
}

fn the_first_build_and_each_change_are_told(project: BuildProject) {
    project.repo.write("a.txt", "1\n").write("other", "1\n");
    project.commit_yaml(&APP.replace("VERSION", "1"));
    project.build();
    assert_eq!(
        why(&project, "app"),
        "app/from\n  because it has not been built before\napp/gitArchive\n  because it has not been built before\napp/install\n  because it has not been built before"
    );
    project.repo.write("a.txt", "2\n").commit("Change a dependency");
    project.build();
    assert_eq!(
        why(&project, "app/install"),
        "app/install\n  because what `*.txt` of stageDependencies matches has changed: a.txt"
    );
    project.commit_yaml(&APP.replace("VERSION", "2"));
    project.build();
    assert_eq!(why(&project, "app/install"), "app/install\n  because command 1 has changed");
    let before = project.repo.head();
    project.repo.write("other", "2\n").write("new", "1\n").commit("Change sources");
    project.build();
    let json: Value =
        serde_json::from_str(&project.slipway(["why", "app/gitLatestPatch", "--output=json"]).stdout()).unwrap();
    let stage = &json["stages"][0];
    let name = project.image("app").names[0].rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(json["image"], "app");
    assert_eq!((&stage["stage"], &stage["tag"]), (&json!("gitLatestPatch"), &json!(name)));
    assert!(stage["createdMilliseconds"].as_i64().unwrap() > 1_600_000_000_000);
    assert_eq!(
        stage["reasons"],
        json!([{
            "kind": "patch",
            "subject": "/ -> /app",
            "text": format!("the sources of / -> /app have changed since {}", &before.as_str()[..12]),
            "files": ["new", "other"],
        }])
    );
}

fn stage_image_prints_one_name(project: BuildProject) {
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: [echo 1]}\n");
    project.build();
    let output = project.slipway(["stage", "image"]).run();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let name = output.stdout.strip_suffix('\n').unwrap();
    assert_eq!(project.inspect(name).unwrap().config.labels["io.slipway.stage"], "install");
    assert!(name.starts_with(&format!("werf-stages-storage/{}:", project.name)));
}

#[test]
fn what_is_not_there_is_explained() {
    let Some(project) = BuildProject::embedded() else { return };
    project.commit_yaml("image: app\nfrom: BASE\n---\nimage: b\nfrom: BASE\n");
    project.build();
    let told = |args: &[&str]| {
        let output = project.slipway(args.iter().copied()).run();
        format!("{}: {}{}", output.code, output.stdout, output.stderr.strip_prefix("Error: ").unwrap_or(&output.stderr))
    };
    insta::assert_snapshot!(told(&["why", "nothing"]), @r"
    1: `nothing` is neither an image of werf.yaml nor one of its stages
    hint: write IMAGE or IMAGE/STAGE, for example `app/install`
    ");
    insta::assert_snapshot!(told(&["why", "app/setup"]), @r"1: app/setup has nothing to do: there is no such stage now");
    insta::assert_snapshot!(told(&["why", "nothing/setup"]), @r"
    1: specified image `nothing` is not defined in werf.yaml
    hint: it defines `app`, `b`
    ");
    insta::assert_snapshot!(told(&["why"]), @r"
    2: name an image: werf.yaml defines more than one
    hint: one of: app, b
    ");
    insta::assert_snapshot!(told(&["stage", "image", "nothing"]), @r"
    1: specified image `nothing` is not defined in werf.yaml
    hint: it defines `app`, `b`
    ");
    project.commit_yaml("artifact: art\nfrom: BASE\n");
    insta::assert_snapshot!(told(&["stage", "image"]), @r"1: werf.yaml defines no image");
}
