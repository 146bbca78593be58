//! Building in cached stages as a user sees it: what is built, what is reused, what lies in the image.

use crate::on_both_runtimes;
use crate::support::build_project::BuildProject;

on_both_runtimes!(
    only_stages_with_something_to_do_exist,
    a_second_build_reuses_everything,
    cache_versions_rebuild_their_stage_and_what_follows,
    stage_dependencies_rebuild_their_stage,
    other_changes_make_only_a_patch,
    archive_and_patch_give_the_same_files,
    big_patches_are_cached_and_small_ones_build_on_them,
    owners_are_numbers_or_names_of_the_image,
    a_single_file_takes_the_name_in_to,
    filters_choose_the_files,
    an_unrelated_branch_builds_its_own_stage_and_a_merged_one_reuses,
    rewritten_history_builds_anew,
    images_build_on_images,
    imports_copy_files_and_follow_their_source,
    artifacts_keep_their_sources,
    mounts_are_seen_by_commands_and_not_kept,
    what_the_base_says_about_running_survives,
    commands_share_a_shell_and_leave_no_variables,
    labels_and_names,
);

fn only_stages_with_something_to_do_exist(project: BuildProject) {
    project.commit_yaml("image: app\nfrom: BASE\n---\nimage: full\nfrom: BASE\ngit: [{add: /, to: /app}]\nshell: {install: [echo installed], cacheVersion: 1}\ndocker: {ENV: {A: b}}\n");
    let log = project.build_with(["--parallel=false"]);
    let full = ["from", "beforeInstall", "gitArchive", "install", "beforeSetup", "setup", "dockerInstructions"];
    let full = full.map(|stage| format!("full/{stage}"));
    // Both images have the same first stage; it is built once.
    assert_eq!(log.built(), [&["app/from".to_owned()], &full[1..]].concat());
    assert_eq!(log.reused(), ["full/from"]);
}

fn a_second_build_reuses_everything(project: BuildProject) {
    project.commit_yaml("image: app\nfrom: BASE\ngit: [{add: /, to: /app}]\nshell: {setup: [\"echo one > /one\"]}\n");
    assert_eq!(project.build().built(), ["app/from", "app/gitArchive", "app/setup"]);
    let log = project.build();
    assert_eq!((log.built(), log.reused()), (vec![], vec!["app/from", "app/gitArchive", "app/setup"]));
    assert_eq!(project.stages().len(), 3);
    assert_eq!(project.leftovers(), [""; 0]);
}

fn cache_versions_rebuild_their_stage_and_what_follows(project: BuildProject) {
    let yaml = |versions: &str| {
        format!("image: app\nfrom: BASE\nshell: {{beforeInstall: [':'], install: [':'], setup: [':']{versions}}}\n")
    };
    project.commit_yaml(&yaml(""));
    project.build();
    project.commit_yaml(&yaml(", installCacheVersion: 2"));
    let log = project.build();
    assert_eq!(log.reused(), ["app/from", "app/beforeInstall"]);
    assert_eq!(log.built(), ["app/install", "app/setup"]);
    assert_eq!(
        log.lines_with("because"),
        ["because `installCacheVersion` is new", "because the stage before it is another one"]
    );
}

const DEPENDING: &str = "image: app\nfrom: BASE\ngit:\n- add: /\n  to: /app\n  stageDependencies: {install: [requirements.txt], setup: [\"**/*.js\"]}\nshell: {install: [cat /app/requirements.txt > /installed], setup: [':']}\n";

fn stage_dependencies_rebuild_their_stage(project: BuildProject) {
    project.repo.write("requirements.txt", "one\n").write("web/a.js", "a\n").write("other", "1\n");
    project.commit_yaml(DEPENDING);
    project.build();
    project.repo.write("requirements.txt", "two\n").write("other", "2\n").commit("Need two");
    let log = project.build();
    assert_eq!(log.reused(), ["app/from", "app/gitArchive"]);
    assert_eq!(log.built(), ["app/install", "app/setup"]);
    assert_eq!(
        log.lines_with("because"),
        [
            "because what `requirements.txt` of stageDependencies matches has changed: requirements.txt",
            "because the stage before it is another one",
        ]
    );
    // The rebuilt stage brings every file up to date, before its commands run.
    assert_eq!(project.sh("app", "cat /installed /app/other"), "two\n2\n");
    project.repo.write("web/b.js", "b\n").commit("More script");
    assert_eq!(project.build().built(), ["app/setup"]);
}

fn other_changes_make_only_a_patch(project: BuildProject) {
    project.repo.write("requirements.txt", "one\n").write("web/a.js", "a\n").write("other", "1\n");
    project.commit_yaml(DEPENDING);
    project.build();
    project.repo.write("other", "2\n").commit("Change other");
    let log = project.build();
    assert_eq!(log.built(), ["app/gitLatestPatch"]);
    let because = log.lines_with("because");
    assert!(because[0].starts_with("because the sources of / -> /app have changed since "), "{because:?}");
    assert!(because[0].ends_with(": other"), "{because:?}");
    assert_eq!(project.sh("app", "cat /app/other"), "2\n");
    // Back to a tree that the cached stages already have: nothing to patch.
    project.repo.write("other", "1\n").commit("Change it back");
    assert_eq!(project.build().built(), [""; 0]);
    assert_eq!(project.sh("app", "cat /app/other"), "1\n");
}

fn archive_and_patch_give_the_same_files(project: BuildProject) {
    let repo = &project.repo;
    repo.write("text", "one\n").write("binary", [0, 159, 146, 150]).write("old name", "renamed\n").write("gone", "x\n");
    repo.write("some/file", "y\n")
        .write("some/other", "y\n")
        .executable("tool", "#!/bin/sh\necho tool\n")
        .write("plain", "#!/bin/sh\necho plain\n");
    repo.link("link", "text").write("becomes-link", "z\n").write("with\nnewline", "n\n");
    project.commit_yaml("image: app\nfrom: BASE\ngit: [{add: /, to: /app}]\n");
    project.build();
    let all = "cd /app; /app/tool; od -An -tx1 binary; cat link; find . | sort; find . -type f -exec stat -c '%a %u %g %s' {} + | sort";
    let before = project.sh("app", all);
    assert!(before.starts_with("tool\n 00 9f 92 96\none\n"), "{before}");

    repo.write("text", "two\n").write("binary", [0, 1, 255]).remove("gone").remove("some/file");
    repo.remove("old name").write("new name", "renamed\n").executable("plain", "#!/bin/sh\necho plain\n");
    repo.remove("link")
        .link("link", "binary")
        .remove("becomes-link")
        .link("becomes-link", "text")
        .write("new/deep/file", "d\n");
    repo.commit("Change everything");
    assert_eq!(project.build().built(), ["app/gitLatestPatch"]);
    let script = "cd /app; cat text becomes-link 'new name' new/deep/file; ./plain; od -An -tx1 link; test ! -e gone; test ! -e 'old name'; readlink becomes-link";
    assert_eq!(project.sh("app", script), "two\ntwo\nrenamed\nd\nplain\n 00 01 ff\ntext\n");
    let patched =
        project.sh("app", "cd /app; find . | sort; find . -type f -exec stat -c '%n %a %u %g %s' {} + | sort");
    // The same commit from scratch.
    project.commit_yaml("image: app\nfrom: BASE\nfromCacheVersion: 2\ngit: [{add: /, to: /app}]\n");
    assert_eq!(project.build().built(), ["app/from", "app/gitArchive"]);
    let fresh = project.sh("app", "cd /app; find . | sort; find . -type f -exec stat -c '%n %a %u %g %s' {} + | sort");
    let but_yaml = |text: &str| text.lines().filter(|line| !line.contains("werf.yaml")).collect::<Vec<_>>().join("\n");
    assert_eq!(but_yaml(&patched), but_yaml(&fresh));
}

fn big_patches_are_cached_and_small_ones_build_on_them(project: BuildProject) {
    let noise = |seed: u32| {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..1_200_000).map(|_| next()).collect::<Vec<u8>>()
    };
    project.commit_yaml("image: app\nfrom: BASE\ngit: [{add: /, to: /app, excludePaths: [werf.yaml]}]\n");
    project.repo.write("small", "1\n").commit("Start");
    project.build();
    project.repo.write("small", "2\n").commit("Little");
    assert_eq!(project.build().built(), ["app/gitLatestPatch"]);
    project.repo.write("big", noise(1)).commit("Much");
    assert_eq!(project.build().built(), ["app/gitCache"]);
    project.repo.write("small", "3\n").commit("Little more");
    let log = project.build();
    assert_eq!(
        (log.reused(), log.built()),
        (vec!["app/from", "app/gitArchive", "app/gitCache"], vec!["app/gitLatestPatch"])
    );
    project.repo.write("big2", noise(2)).commit("Much more");
    assert_eq!(project.build().built(), ["app/gitCache"]);
    assert_eq!(project.sh("app", "cat /app/small; stat -c %s /app/big /app/big2"), "3\n1200000\n1200000\n");
}

fn owners_are_numbers_or_names_of_the_image(project: BuildProject) {
    project.repo.write("d/f", "1\n");
    project.commit_yaml("image: app\nfrom: BASE\ngit:\n- {add: /d, to: /named, owner: app, group: staff}\n- {add: /d, to: /numbers, owner: 12, group: 34}\n- {add: /d, to: /nobody}\n- {add: /d, to: /primary, owner: app}\n");
    project.build();
    let owners = "stat -c '%n %u:%g' /named/f /numbers/f /nobody/f /primary/f";
    let expected = "/named/f 1000:50\n/numbers/f 12:34\n/nobody/f 0:0\n/primary/f 1000:1001\n";
    assert_eq!(project.sh("app", owners), expected);
    project.repo.write("d/f", "2\n").commit("Change");
    assert_eq!(project.build().built(), ["app/gitLatestPatch"]);
    assert_eq!(project.sh("app", owners), expected);
}

fn a_single_file_takes_the_name_in_to(project: BuildProject) {
    project.repo.executable("run.sh", "#!/bin/sh\necho one\n");
    project.commit_yaml("image: app\nfrom: BASE\ngit: [{add: /run.sh, to: /usr/bin/start}]\n");
    project.build();
    assert_eq!(project.sh("app", "start; find /usr"), "one\n/usr\n/usr/bin\n/usr/bin/start\n");
    project.repo.executable("run.sh", "#!/bin/sh\necho two\n").write("other", "x").commit("Change");
    assert_eq!(project.build().built(), ["app/gitLatestPatch"]);
    assert_eq!(project.sh("app", "start; find /usr"), "two\n/usr\n/usr/bin\n/usr/bin/start\n");
}

fn filters_choose_the_files(project: BuildProject) {
    for path in ["src/a.c", "src/a.h", "src/deep/b.c", "src/deep/b.o", "doc/x.txt", "top"] {
        project.repo.write(path, "1\n");
    }
    project.commit_yaml("image: app\nfrom: BASE\ngit:\n- {add: /src, to: /all}\n- {add: /src, to: /c, includePaths: ['**/*.c', deep/*.o]}\n- {add: /src, to: /not, excludePaths: [deep]}\n- {add: /, to: /top, includePaths: [doc, top], excludePaths: ['**/*.txt']}\n");
    project.build();
    let list = "for d in all c not top; do (cd /$d; find . -type f | sort | tr '\\n' ' '; echo); done";
    let expected = "./a.c ./a.h ./deep/b.c ./deep/b.o \n./a.c ./deep/b.c ./deep/b.o \n./a.c ./a.h \n./top \n";
    assert_eq!(project.sh("app", list), expected);
    project.repo.write("doc/x.txt", "2\n").commit("Change what is not wanted");
    assert_eq!(project.build().built(), [""; 0]);
}

fn an_unrelated_branch_builds_its_own_stage_and_a_merged_one_reuses(project: BuildProject) {
    project.repo.write("file", "1\n");
    project.commit_yaml("image: app\nfrom: BASE\ngit: [{add: /, to: /app}]\n");
    project.build();
    // Two branches with the same files: the stages' signatures are equal, their histories are not.
    for branch in ["one", "two"] {
        project.repo.git(["checkout", "-q", "-b", branch, "main"]);
        project.repo.write("file", "2\n").write("branch", branch).commit(branch);
        project.repo.write("branch", "same").commit("Same in both");
        assert_eq!(project.build().built(), ["app/gitLatestPatch"], "{branch}");
    }
    assert_eq!(project.stored("gitLatestPatch"), 2);
    let patches = project.stages();
    let patches: Vec<_> =
        patches.iter().filter(|image| image.config.labels["io.slipway.stage"] == "gitLatestPatch").collect();
    assert_eq!(patches[0].config.labels["werf-stage-signature"], patches[1].config.labels["werf-stage-signature"]);
    // A merge brings nothing new: the stage of a merged branch fits, the oldest one first.
    project.repo.git(["merge", "-q", "-s", "ours", "--no-edit", "one"]);
    let log = project.build();
    assert_eq!(log.built(), [""; 0]);
    let oldest = patches
        .iter()
        .min_by_key(|image| image.names.clone().iter().map(|name| name[name.len() - 13..].to_owned()).max());
    assert_eq!(project.image("app").id, oldest.unwrap().id);
}

fn rewritten_history_builds_anew(project: BuildProject) {
    project.repo.write("file", "1\n");
    project.commit_yaml("image: app\nfrom: BASE\ngit: [{add: /, to: /app}]\n");
    project.build();
    project.repo.git(["checkout", "-q", "--orphan", "new"]);
    project.repo.write("file", "2\n").commit("Start again");
    project.repo.git(["branch", "-q", "-D", "main"]);
    project.repo.git(["reflog", "expire", "--expire=now", "--all"]);
    project.repo.git(["gc", "-q", "--prune=now"]);
    let log = project.build();
    assert_eq!(log.built(), ["app/gitArchive"]);
    assert_eq!(
        log.lines_with("because"),
        ["because it was built only from commits that are not ancestors of the current one"]
    );
    assert_eq!(project.sh("app", "cat /app/file"), "2\n");
}

fn images_build_on_images(project: BuildProject) {
    let yaml = |word: &str| {
        format!(
            "image: base\nfrom: BASE\nshell: {{install: [\"echo {word} > /base\"]}}\n---\nartifact: tools\nfrom: BASE\nshell: {{install: [\"echo tools > /tools\"]}}\n---\nimage: app\nfromImage: base\nshell: {{install: [\"cat /base > /app\"]}}\n---\nimage: other\nfromImageArtifact: tools\nshell: {{install: [\"cat /tools > /other\"]}}\n"
        )
    };
    project.commit_yaml(&yaml("one"));
    project.build();
    assert_eq!(project.sh("app", "cat /app"), "one\n");
    assert_eq!(project.sh("other", "cat /other"), "tools\n");
    project.commit_yaml(&yaml("two"));
    let mut built: Vec<String> = project.build().built().into_iter().map(str::to_owned).collect();
    built.sort();
    assert_eq!(built, ["app/from", "app/install", "base/install"]);
    assert_eq!(project.sh("app", "cat /app"), "two\n");
}

fn imports_copy_files_and_follow_their_source(project: BuildProject) {
    let yaml = |word: &str| {
        format!(
            "artifact: assets\nfrom: BASE\nshell:\n  install:\n  - mkdir -p /out/js /out/css; echo {word} > /out/js/a.js; echo b > /out/js/b.map; echo c > /out/css/c.css; chmod 750 /out/js/a.js\n---\nimage: app\nfrom: BASE\nimport:\n- {{artifact: assets, add: /out, to: /www, before: install, includePaths: [js], excludePaths: ['**/*.map'], owner: app, group: '50'}}\n- {{artifact: assets, add: /out/css/c.css, to: /etc/c.css, after: setup}}\nshell: {{install: [cp -r /www /seen]}}\n"
        )
    };
    project.commit_yaml(&yaml("one"));
    let log = project.build();
    let app: Vec<&str> = log.built().into_iter().filter(|name| name.starts_with("app/")).collect();
    assert_eq!(app, ["app/importsBeforeInstall", "app/install", "app/importsAfterSetup"]);
    let look =
        "find /www /seen -type f | sort; cat /www/js/a.js /etc/c.css; stat -c '%a %u:%g' /www/js/a.js /etc/c.css";
    assert_eq!(project.sh("app", look), "/seen/js/a.js\n/www/js/a.js\none\nc\n750 1000:50\n644 0:0\n");
    project.commit_yaml(&yaml("two"));
    let log = project.build();
    let app: Vec<&str> = log.built().into_iter().filter(|name| name.starts_with("app/")).collect();
    assert_eq!(app, ["app/importsBeforeInstall", "app/install", "app/importsAfterSetup"]);
    assert!(log.lines_with("because the import assets /out -> /www has changed").len() == 1, "{}", log.0);
    assert_eq!(project.sh("app", "cat /www/js/a.js"), "two\n");
}

fn artifacts_keep_their_sources(project: BuildProject) {
    project.repo.write("src/main", "1\n").write("src/deps", "1\n");
    project.commit_yaml("artifact: build\nfrom: BASE\ngit:\n- add: /src\n  to: /src\n  stageDependencies: {setup: [deps]}\nshell: {setup: [cat /src/main /src/deps > /result]}\n---\nimage: app\nfrom: BASE\nimport: [{artifact: build, add: /result, to: /result, after: install}]\n");
    project.build();
    project.repo.write("src/main", "2\n").commit("Nobody depends on it");
    assert_eq!(project.build().built(), [""; 0]);
    assert_eq!(project.sh("app", "cat /result"), "1\n1\n");
    project.repo.write("src/deps", "2\n").commit("Setup depends on it");
    assert_eq!(project.build().built(), ["build/setup", "app/importsAfterInstall"]);
    assert_eq!(project.sh("app", "cat /result"), "2\n2\n");
}

fn mounts_are_seen_by_commands_and_not_kept(project: BuildProject) {
    let from = project.host().join("given");
    std::fs::create_dir(&from).unwrap();
    std::fs::write(from.join("file"), "given\n").unwrap();
    let yaml = |version: u32| {
        format!(
            "image: app\nfrom: BASE\nmount:\n- {{from: tmp_dir, to: /tmp/a}}\n- {{from: build_dir, to: /var/cache/b}}\n- {{fromPath: {}, to: /given}}\nshell:\n  install:\n  - test -z \"$(ls /tmp/a)\"; echo x >> /tmp/a/x; echo x >> /var/cache/b/x; wc -l < /var/cache/b/x; cat /given/file > /copy\n  setup:\n  - test -z \"$(ls /tmp/a)\"\n  cacheVersion: {version}\n",
            from.display()
        )
    };
    project.commit_yaml(&yaml(1));
    assert_eq!(project.build().output_of("app/install"), ["app/install  1"]);
    project.commit_yaml(&yaml(2));
    assert_eq!(project.build().output_of("app/install"), ["app/install  2"]);
    let look = "cat /copy; find /tmp/a /var/cache/b /given -mindepth 1 2>&1 | grep -v 'No such file' || true";
    assert_eq!(project.sh("app", look), "given\n");
    let labels = project.image("app").config.labels;
    assert_eq!(labels["werf-mount-type-tmp-dir"], "/tmp/a");
    assert_eq!(labels["werf-mount-type-build-dir"], "/var/cache/b");
    // An image on top of it mounts the same places.
    project.commit_yaml(&format!(
        "{}---\nimage: top\nfromImage: app\nshell: {{install: [cat /given/file; wc -l < /var/cache/b/x]}}\n",
        yaml(2)
    ));
    assert_eq!(project.build().output_of("top/install"), ["top/install  given", "top/install  2"]);
}

const RUNNING: &str = "image: base\nfrom: BASE\ndocker: {ENV: {A: 'b c'}, USER: app, WORKDIR: /home/app, ENTRYPOINT: [\"/bin/sh\", \"-c\"], CMD: [\"id -un; pwd\"], EXPOSE: [80, 81/udp], VOLUME: [/data], LABEL: {who: me}}\n---\nimage: app\nfromImage: base\ngit: [{add: /, to: /app}]\nshell: {install: [\"id -u > /who; pwd >> /who\"], setup: [echo \"$A\" >> /who]}\n";

fn what_the_base_says_about_running_survives(project: BuildProject) {
    project.commit_yaml(RUNNING);
    project.build();
    let (base, app) = (project.image("base").config, project.image("app").config);
    assert_eq!(app.entrypoint.as_deref().unwrap(), ["/bin/sh", "-c"]);
    assert_eq!(app.cmd.as_deref().unwrap(), ["id -un; pwd"]);
    assert_eq!((app.user.as_str(), app.working_dir.as_str()), ("app", "/home/app"));
    assert_eq!(app.labels["who"], "me");
    assert_eq!(app.exposed_ports.as_ref().unwrap().keys().collect::<Vec<_>>(), ["80/tcp", "81/udp"]);
    assert!(app.volumes.as_ref().unwrap().contains_key("/data"));
    assert_eq!((&app.entrypoint, &app.cmd, &app.env), (&base.entrypoint, &base.cmd, &base.env));
    // Build commands ran as root in /, with the variables of the base.
    let output = project.slipway(["run", "app", "--docker-options=--rm", "--", "cat /who; id -un; pwd"]).run();
    assert_eq!((output.code, output.stdout.as_str()), (0, "0\n/\nb c\napp\n/home/app\n"), "{}", output.stderr);
}

fn commands_share_a_shell_and_leave_no_variables(project: BuildProject) {
    project.commit_yaml("image: app\nfrom: BASE\nshell:\n  install:\n  - cd /tmp\n  - |\n    greet() { cat <<TEXT\n    hello from $PWD\n    TEXT\n    }\n  - greet > /greeting\n  - export LEAK=1\n  setup:\n  - pwd >> /greeting; echo \"<$LEAK>\" >> /greeting\n");
    project.build();
    assert_eq!(project.sh("app", "cat /greeting"), "hello from /tmp\n/\n<>\n");
    let env = project.image("app").config.env;
    let base = project.inspect(&project.base()).unwrap().config.env;
    assert_eq!(env, base);
}

fn labels_and_names(project: BuildProject) {
    project.repo.write("dir/f", "1\n").write("one", "1\n");
    project.commit_yaml("artifact: art\nfrom: BASE\nshell: {install: [mkdir /out; echo 1 > /out/x]}\n---\nimage: app\nfrom: BASE\ngit: [{add: /dir, to: /dir}, {add: /one, to: /one}]\nimport: [{artifact: art, add: /out, to: /out, after: install}]\ndocker: {LABEL: {own: label}}\n");
    project.build();
    let head = project.repo.head();
    for image in project.stages() {
        let labels = &image.config.labels;
        assert_eq!(labels["werf"], project.name);
        assert_eq!(labels["werf-version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(labels["werf-image"], "false");
        assert_eq!(labels["werf-project-repo-commit"], head.as_str());
        assert_eq!(labels["werf-stage-content-signature"].len(), 56);
        let signature = &labels["werf-stage-signature"];
        let prefix = format!("werf-stages-storage/{}:{signature}-", project.name);
        let unique = image.names[0].strip_prefix(&prefix).unwrap();
        assert_eq!((image.names.len(), unique.len()), (1, 13), "{:?}", image.names);
        assert!(unique.bytes().all(|byte| byte.is_ascii_digit()));
    }
    let labels = project.image("app").config.labels;
    let commits = labels.iter().filter(|(name, _)| name.starts_with("werf-git-") && name.ends_with("-commit"));
    assert_eq!(commits.map(|(_, commit)| commit.as_str()).collect::<Vec<_>>(), [head.as_str(); 2]);
    let types = labels.iter().filter(|(name, _)| name.starts_with("werf-git-") && name.ends_with("-type"));
    let mut types: Vec<&str> = types.map(|(_, kind)| kind.as_str()).collect();
    types.sort_unstable();
    assert_eq!(types, ["directory", "file"]);
    let artifact = project.stages().into_iter().find(|image| {
        image.config.labels["io.slipway.image"] == "art" && image.config.labels["io.slipway.stage"] == "install"
    });
    assert_eq!(labels["werf-import-art"], artifact.unwrap().id.as_str());
}
