//! Publishing as a user sees it: what lies in the registry, what is sent, what is told.

use std::process::{Child, Stdio};

use serde_json::Value;
use slipway::image_ref::ImageRef;
use slipway::registry::{Client, Options, manifest::Document};

use crate::on_both_runtimes;
use crate::support::build_project::BuildProject;
use crate::support::fault_registry::{FaultRegistry, refusal};

on_both_runtimes!(
    a_published_image_has_its_labels_and_runs_like_its_stage,
    nothing_is_sent_twice,
    a_branch_tag_moves_with_the_content,
    every_tag_has_its_strategy,
    only_named_images_are_published,
    a_lost_stage_is_published_anew,
    two_publishers_push_once,
    a_dry_run_sends_and_records_nothing,
    a_registry_that_refuses_is_named,
    what_is_published_is_recorded,
);

/// The images repo of a project in the test bed's registry; `None`, with the reason printed, without one.
fn images_repo(project: &BuildProject) -> Option<String> {
    match std::env::var("TESTBED_REGISTRY") {
        Ok(registry) => Some(format!("{registry}/{}", project.name)),
        Err(_) => {
            println!("skipped: TESTBED_REGISTRY names no registry");
            None
        }
    }
}

const APP: &str = "image: app\nfrom: BASE\ngit: [{add: /, to: /app}]\ndocker: {CMD: [cat, /app/file]}\n";

/// Runs a command with the images repo; gives the log, which must be a success's.
fn publish(project: &BuildProject, args: &[&str]) -> String {
    let repo = images_repo(project).unwrap();
    let output = project.slipway(args.iter().copied()).env("WERF_IMAGES_REPO", repo).run();
    assert_eq!(output.code, 0, "{}", output.stderr);
    output.stderr
}

/// The configuration of an image in the registry.
fn pushed(reference: &str) -> Option<Value> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let client = Client::new(Options::default());
        let reference: ImageRef = reference.parse().unwrap();
        let fetched = client.manifest(&reference).await.unwrap()?;
        let Ok(Document::Image(manifest)) = fetched.parse() else { panic!("{reference}") };
        let bytes = client.blob_bytes(&reference, &manifest.config, 1 << 20).await.unwrap();
        Some(serde_json::from_slice(&bytes).unwrap())
    })
}

fn digest(reference: &str) -> String {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let head = async { Client::new(Options::default()).manifest_head(&reference.parse().unwrap()).await.unwrap() };
    tokio.block_on(head).unwrap().0.to_string()
}

fn a_published_image_has_its_labels_and_runs_like_its_stage(project: BuildProject) {
    let Some(repo) = images_repo(&project) else { return };
    project.repo.write("file", "1\n");
    project.commit_yaml(APP);
    let log = publish(&project, &["build-and-publish", "--tag-by-stages-signature"]);
    let title =
        log.lines().find_map(|line| line.split_once("┌ Publishing image app by stages-signature tag ")).unwrap();
    let signature = title.1;
    assert!(
        log.contains(&format!("│ │    images-repo: {repo}/app\n│ │          image: {repo}/app:{signature}\n")),
        "{log}"
    );
    let config = pushed(&format!("{repo}/app:{signature}")).unwrap()["config"].clone();
    let labels = &config["Labels"];
    let last = project.image("app");
    let stage = last.names[0].rsplit_once(':').unwrap().1;
    for (name, value) in [
        ("werf", project.name.as_str()),
        ("werf-image", "true"),
        ("werf-image-name", "app"),
        ("werf-image-tag", signature),
        ("werf-tag-strategy", "stages-signature"),
        ("werf-content-signature", signature),
        ("werf-image-version", "1"),
        ("werf-docker-image-name", &format!("{repo}/app:{signature}")),
        ("werf-stage-signature", &last.config.labels["werf-stage-signature"]),
        ("io.slipway.parent-stage", stage),
    ] {
        assert_eq!(labels[name], value, "{name}");
    }
    assert_eq!(config["Image"], last.id.as_str());
    assert_eq!(config["Cmd"], serde_json::json!(["cat", "/app/file"]));
}

fn nothing_is_sent_twice(project: BuildProject) {
    let Some(repo) = images_repo(&project) else { return };
    project.repo.write("file", "1\n");
    project.commit_yaml(APP);
    publish(&project, &["build-and-publish", "--tag-custom=v1"]);
    let before = digest(&format!("{repo}/app:v1"));
    for forget in [false, true] {
        if forget {
            // Another host knows nothing of what this one has published.
            std::fs::remove_dir_all(project.state().join("published")).unwrap();
        }
        let log = publish(&project, &["publish", "--tag-custom=v1"]);
        assert!(
            log.contains(&format!(
                "│ custom tag v1 is up-to-date\n│   images-repo: {repo}/app\n│         image: {repo}/app:v1\n"
            )),
            "{log}"
        );
        assert!(!log.contains("Publishing"), "{log}");
        assert_eq!(digest(&format!("{repo}/app:v1")), before);
    }
}

fn a_branch_tag_moves_with_the_content(project: BuildProject) {
    let Some(repo) = images_repo(&project) else { return };
    project.repo.write("file", "1\n");
    project.commit_yaml(APP);
    publish(&project, &["build-and-publish", "--tag-git-branch=main"]);
    let first = digest(&format!("{repo}/app:main"));
    project.repo.write("file", "2\n").commit("Change");
    let log = publish(&project, &["build-and-publish", "--tag-git-branch=main"]);
    assert!(log.contains("Publishing image app by git-branch tag main"), "{log}");
    assert_ne!(digest(&format!("{repo}/app:main")), first);
    // An empty commit changes no content.
    project.repo.commit("Nothing");
    assert!(
        publish(&project, &["build-and-publish", "--tag-git-branch=main"])
            .contains("git-branch tag main is up-to-date")
    );
}

fn every_tag_has_its_strategy(project: BuildProject) {
    let Some(repo) = images_repo(&project) else { return };
    project.repo.write("file", "1\n");
    project.commit_yaml(&APP.replace("image: app", "image: ~"));
    let report = project.host().join("report.json");
    let output = project
        .slipway([
            "build-and-publish",
            "--tag-custom=one",
            "--tag-git-branch=b",
            "--tag-git-tag=v1.2",
            "--tag-git-commit=abc",
            "--tag-by-stages-signature",
        ])
        .env("WERF_TAG_CUSTOM_X", "two")
        .env("WERF_IMAGES_REPO", &repo)
        .env("WERF_PUBLISH_REPORT_PATH", &report)
        .run();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let expected =
        [("two", "custom"), ("one", "custom"), ("b", "git-branch"), ("v1.2", "git-tag"), ("abc", "git-commit")];
    for (tag, strategy) in expected {
        let config = pushed(&format!("{repo}:{tag}")).unwrap();
        assert_eq!(config["config"]["Labels"]["werf-tag-strategy"], strategy);
        assert_eq!(config["config"]["Labels"]["werf-image-tag"], tag);
        assert_eq!(config["config"]["Labels"]["werf-image-name"], "");
    }
    let text = std::fs::read_to_string(report).unwrap();
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    let told = &serde_json::from_str::<Value>(&text).unwrap()["Images"][""];
    let signature = told["DockerTag"].as_str().unwrap();
    assert_eq!((signature.len(), told["DockerRepo"].as_str()), (56, Some(repo.as_str())));
    assert_eq!(told["DockerImageDigest"], digest(&format!("{repo}:{signature}")));
    assert_eq!(told["WerfImageName"], "");
    let record = format!("werf-images-metadata-by-commit/{}:__nameless__-{}", project.name, project.repo.head());
    assert_eq!(project.inspect(&record).unwrap().config.labels["ContentSignature"], signature);
}

fn only_named_images_are_published(project: BuildProject) {
    let Some(repo) = images_repo(&project) else { return };
    project.commit_yaml("image: base\nfrom: BASE\n---\nimage: app\nfromImage: base\nshell: {install: [':']}\n---\nimage: other\nfrom: BASE\nshell: {install: [exit 1]}\n");
    let log = publish(&project, &["build-and-publish", "app", "--tag-custom=v1", "--images-repo-mode=monorepo"]);
    assert!(log.contains("Publishing image app by custom tag v1") && !log.contains("Publishing image base"), "{log}");
    assert!(pushed(&format!("{repo}:app-v1")).is_some());
    let output = project.slipway(["publish", "other", "--tag-custom=v1", "--images-repo", &repo]).run();
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("stages required: other/install is not in the stages storage\n"),
        "{}",
        output.stderr
    );
    assert!(pushed(&format!("{repo}/other:v1")).is_none());
}

fn a_lost_stage_is_published_anew(project: BuildProject) {
    let Some(repo) = images_repo(&project) else { return };
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: [date +%N > /made]}\n");
    publish(&project, &["build-and-publish", "--tag-by-stages-signature"]);
    let stage = project.image("app").names[0].clone();
    project.with_runtime(async |runtime| runtime.untag(&stage).await.unwrap());
    let log = publish(&project, &["build-and-publish", "--tag-by-stages-signature"]);
    assert!(log.contains("Publishing image app by stages-signature tag"), "{log}");
    let last = project.image("app");
    let signature = log.split_once("by stages-signature tag ").unwrap().1.lines().next().unwrap().to_owned();
    assert_eq!(pushed(&format!("{repo}/app:{signature}")).unwrap()["config"]["Image"], last.id.as_str());
}

fn two_publishers_push_once(project: BuildProject) {
    let Some(repo) = images_repo(&project) else { return };
    project.repo.write("file", "1\n");
    project.commit_yaml(APP);
    project.build();
    let start = |_| -> Child {
        let mut command = project.command(["publish", "--tag-custom=v1", "--images-repo", &repo]);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..2).map(start).collect();
    let logs: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            let log = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{log}");
            log
        })
        .collect();
    let up_to_date = logs.iter().filter(|log| log.contains("custom tag v1 is up-to-date")).count();
    assert_eq!(up_to_date, 1, "{}", logs.join("\n"));
}

fn a_dry_run_sends_and_records_nothing(project: BuildProject) {
    let Some(repo) = images_repo(&project) else { return };
    project.repo.write("file", "1\n");
    project.commit_yaml(APP);
    let log = publish(&project, &["build-and-publish", "--tag-custom=v1", "--dry-run"]);
    assert_eq!(project.stages().len(), 0, "{log}");
    assert!(log.contains("app/from would be built\n"), "{log}");
    project.build();
    for command in ["publish", "build-and-publish"] {
        let log = publish(&project, &[command, "--tag-custom=v1", "--dry-run"]);
        assert!(log.contains("Publishing image app by custom tag v1 (dry run: nothing is sent)\n"), "{log}");
    }
    assert!(pushed(&format!("{repo}/app:v1")).is_none());
    assert_eq!(project.list("werf-images-metadata-by-commit").len(), 0);
}

fn a_registry_that_refuses_is_named(project: BuildProject) {
    project.repo.write("file", "1\n");
    project.commit_yaml(APP);
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let registry = tokio.block_on(FaultRegistry::start(|seen| match seen.method.as_str() {
        "GET" if seen.target == "/v2/" => crate::support::fault_registry::answer(200, &[], ""),
        "GET" | "HEAD" => refusal(404, "MANIFEST_UNKNOWN"),
        _ => refusal(403, "DENIED"),
    }));
    let repo = format!("{}/x", registry.address);
    let output = project.slipway(["build-and-publish", "--tag-custom=v1", "--images-repo", &repo]).run();
    assert_eq!(output.code, 4, "{}", output.stderr);
    let (log, error) = output.stderr.split_once("Error: ").unwrap();
    assert!(error.starts_with(&format!("cannot publish image app as {repo}/app:v1: ")), "{error}");
    assert!(error.contains("as the test wishes") || error.contains("denied"), "{error}");
    assert!(log.contains("Publishing image app by custom tag v1 (") && log.contains(" FAILED"), "{log}");
    // The stages are there: only publishing is to be repeated.
    assert_eq!(project.build().built(), [""; 0]);
    assert_eq!(project.leftovers(), [""; 0]);
}

fn what_is_published_is_recorded(project: BuildProject) {
    let Some(_) = images_repo(&project) else { return };
    project.repo.write("file", "1\n");
    project.commit_yaml("image: apps/front\nfrom: BASE\n---\nimage: files\nfrom: BASE\ngit: [{add: /file, to: /file}]\n---\nartifact: art\nfrom: BASE\n");
    publish(&project, &["build-and-publish", "--tag-custom=v1"]);
    let head = project.repo.head();
    let names = |kind: &str| {
        let mut names: Vec<String> =
            project.list(kind).iter().map(|image| image.names[0].rsplit_once(':').unwrap().1.to_owned()).collect();
        names.sort();
        names
    };
    // Of the images only those with a new stage.
    assert!(names("werf-managed-images").contains(&"files".to_owned()), "{:?}", names("werf-managed-images"));
    assert!(names("werf-managed-images").iter().all(|name| name == "files" || name == "apps__slash__front"));
    let commits = [format!("apps__slash__front-{head}"), format!("files-{head}")];
    assert_eq!(names("werf-images-metadata-by-commit"), commits);
    // Up to date or not, another commit is recorded too, with the content it gave.
    project.repo.commit("Nothing");
    publish(&project, &["build-and-publish", "--tag-custom=v1"]);
    assert_eq!(names("werf-images-metadata-by-commit").len(), 4);
    let record = format!("werf-images-metadata-by-commit/{}:files-{}", project.name, project.repo.head());
    assert_eq!(project.inspect(&record).unwrap().config.labels["ContentSignature"].len(), 56);
}

#[test]
fn wrong_tags_and_repos_are_explained() {
    let Some(project) = BuildProject::embedded() else { return };
    project.commit_yaml("image: app\nfrom: BASE\n---\nartifact: art\nfrom: BASE\n");
    let told = |args: &[&str]| {
        let output = project.slipway(["publish"].into_iter().chain(args.iter().copied())).run();
        format!("{}: {}", output.code, output.stderr.split_once("Error: ").unwrap().1)
    };
    insta::assert_snapshot!(told(&["--tag-custom=a"]), @r"
    1: --images-repo REPO param required
    hint: in a GitLab job, `source <(werf ci-env gitlab)` sets WERF_IMAGES_REPO to $CI_REGISTRY_IMAGE
    ");
    insta::assert_snapshot!(told(&["--images-repo=127.0.0.1:1/x"]), @r"
    1: tag should be specified with --tag-by-stages-signature, --tag-custom, --tag-git-tag, --tag-git-branch or --tag-git-commit options
    hint: in a GitLab job, `source <(werf ci-env gitlab)` sets one
    ");
    insta::assert_snapshot!(told(&["--images-repo=127.0.0.1:1/x", "--tag-git-branch=feature/x"]), @r"
    1: bad --tag-git-branch parameter `feature/x` specified: it cannot be a tag
    hint: make it one: slipway slugify 'feature/x' -f docker-tag
    ");
    insta::assert_snapshot!(told(&["--images-repo=127.0.0.1:1/x", "--tag-custom=a", "--images-repo-mode=both"]), @r"1: bad --images-repo-mode `both`: only multirepo, monorepo or auto supported");
    insta::assert_snapshot!(told(&["--images-repo=127.0.0.1:1/x", "--tag-custom=a", "--images-repo-implementation=other"]), @r"
    1: specified docker registry implementation `other` is not supported
    hint: one of: auto, ecr, acr, default, dockerhub, gcr, github, gitlab, harbor, quay
    ");
    insta::assert_snapshot!(told(&["--images-repo=127.0.0.1:1/X", "--tag-custom=a"]), @r"
    1: cannot publish image app by custom tag a: `127.0.0.1:1/X/app:a` is not an image reference: the repository must be lower-case letters, digits and single separators `.`, `_`, `-`, `/`
    hint: --images-repo, the image's name and the tag make the name in the registry
    ");
    insta::assert_snapshot!(told(&["--images-repo=127.0.0.1:1/x", "--tag-custom=a", "--publish-report-format=xml"]), @r#"1: bad --publish-report-format given `xml`, expected: "json""#);
    insta::assert_snapshot!(told(&["--images-repo=127.0.0.1:1/x", "--tag-custom=a", "art"]), @r"1: `art` is an artifact: only images are published");
}
