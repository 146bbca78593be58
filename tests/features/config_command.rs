//! `config render` and `config list` (spec/build.md 1.1, 1.2, 6.1).

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::program::{Output, Program};

const META: &str = "configVersion: 1\nproject: app\n---\n";
const IMAGES: &str = "configVersion: 1\nproject: app\n---\nartifact: assets\nfrom: node:18\n---\nimage: site\ndockerfile: Dockerfile\n---\n\
                      image: [web, worker]\nfrom: debian:12\n";

struct Project {
    directory: TempDir,
}

impl Project {
    fn new(werf_yaml: &str) -> Self {
        Self { directory: tempfile::tempdir().unwrap() }.file("werf.yaml", werf_yaml)
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn program(&self, args: &[&str]) -> Program {
        Program::new(["config"].iter().chain(args)).env("WERF_DIR", self.path())
    }

    fn run(&self, args: &[&str]) -> Output {
        self.program(args).run()
    }
}

/// stdout of a run that went well.
fn printed(output: &Output) -> &str {
    assert_eq!(output.code, 0, "{}", output.stderr);
    &output.stdout
}

#[test]
fn werf_yml_wins_over_werf_yaml() {
    let project = Project::new("no such kind").file("werf.yml", META);
    assert_eq!(printed(&project.run(&["render"])), META);
}

#[test]
fn config_and_directory_are_found_from_elsewhere() {
    let project = Project::new("no such kind").file("conf/other.yaml", IMAGES);
    let config = project.path().join("conf/other.yaml");
    let args = ["config", "list", "--dir", project.path().to_str().unwrap(), "--config", config.to_str().unwrap()];
    assert_eq!(printed(&Program::new(args).run()), "web\nworker\nsite\nassets\n");
}

#[test]
fn a_variable_set_to_nothing_is_not_set() {
    let project = Project::new(META);
    let program = project.program(&["render"]).env("WERF_CONFIG", "").env("WERF_CONFIG_TEMPLATES_DIR", "");
    assert_eq!(printed(&program.run()), META);
}

#[test]
fn list_shows_images_then_dockerfiles_then_artifacts() {
    let project = Project::new(IMAGES);
    assert_eq!(printed(&project.run(&["list"])), "web\nworker\nsite\nassets\n");
    assert_eq!(printed(&project.run(&["list", "--images-only", "--tmp-dir", "/tmp"])), "web\nworker\nsite\n");
    assert_eq!(printed(&Project::new(&format!("{META}image: ~\nfrom: debian:12\n")).run(&["list"])), "~\n");
    let json: serde_json::Value = serde_json::from_str(printed(&project.run(&["list", "--output", "json"]))).unwrap();
    assert_eq!(json[2], serde_json::json!({ "name": "site", "kind": "dockerfile" }));
}

#[test]
fn render_shows_the_sections_asked_for() {
    let project = Project::new(IMAGES);
    assert_eq!(printed(&project.run(&["render"])), IMAGES);
    assert_eq!(printed(&project.run(&["render", "worker"])), "image: [web, worker]\nfrom: debian:12\n");
    assert_eq!(
        printed(&project.run(&["render", "site", "assets"])),
        "artifact: assets\nfrom: node:18\n---\nimage: site\ndockerfile: Dockerfile\n"
    );
    let unknown = project.run(&["render", "web", "api"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (1, ""));
    insta::assert_snapshot!(unknown.stderr, @"
    Error: specified image `api` is not defined in werf.yaml
    hint: `config list` shows the names that are
    ");
}

#[test]
fn a_mistake_follows_the_text_it_is_in() {
    let project = Project::new(&format!("{META}image: web\nform: debian:12\n"));
    let output = project.run(&["render"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, format!("{META}image: web\nform: debian:12\n").as_str()));
    insta::assert_snapshot!(output.stderr, @"
    Error: unknown field `form`
     --> werf.yaml:5:1
      4 | image: web
    > 5 | form: debian:12
    hint: did you mean `from` instead of `form`?
    ");
}

#[test]
fn a_missing_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let told = |args: &[&str]| {
        let output = Program::new(["config", "list"].iter().chain(args)).env("WERF_DIR", directory.path()).run();
        assert_eq!(output.code, 1);
        output.stderr.replace(directory.path().to_str().unwrap(), "[project]")
    };
    insta::assert_snapshot!(told(&[]), @"
    Error: cannot find the configuration: no file [project]/werf.yml, no file [project]/werf.yaml
    hint: run in the project's directory, or name it with --dir or the file with --config
    ");
    insta::assert_snapshot!(told(&["--config", "/no/such.yaml"]), @"
    Error: cannot find the configuration: no file /no/such.yaml
    hint: run in the project's directory, or name it with --dir or the file with --config
    ");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let project = Project::new("");
    fs::write(project.path().join("werf.yaml"), b"image: \xff\n").unwrap();
    let output = project.run(&["list"]);
    insta::assert_snapshot!(output.stderr.replace(project.path().to_str().unwrap(), "[project]"), @"Error: [project]/werf.yaml is not UTF-8 text");
}

#[test]
fn the_project_can_be_renamed_by_a_variable_but_not_to_anything() {
    let project = Project::new(META);
    let output = project.program(&["list"]).env("WERF_PROJECT_NAME", "Not_A_Name").run();
    assert_eq!(output.code, 1);
    insta::assert_snapshot!(output.stderr, @"
    Error: the variable WERF_PROJECT_NAME is `Not_A_Name`, which is not a project name
    hint: a project name has at most 50 lower-case Latin letters, digits and dashes, and neither begins nor ends with a dash
    ");
    assert_eq!(printed(&project.program(&["list"]).env("WERF_PROJECT_NAME", "other").run()), "");
}

#[test]
fn a_name_is_suggested_from_the_origin_or_the_directory() {
    let project = Project::new("image: web\nfrom: debian:12\n");
    let repository = git2::Repository::init(project.path()).unwrap();
    repository.remote("origin", "git@git.example.org:Group/My_Shop.git").unwrap();
    assert!(project.run(&["list"]).stderr.contains("project: group-my-shop\n"));
    let named = tempfile::Builder::new().prefix("Shop 2 ").tempdir().unwrap();
    fs::write(named.path().join("werf.yaml"), "image: web\nfrom: debian:12\n").unwrap();
    let told = Program::new(["config", "list"]).env("WERF_DIR", named.path()).run().stderr;
    assert!(told.contains("project: shop-2-"), "{told}");
}

#[test]
fn deprecations_are_warnings() {
    let project =
        Project::new(&format!("{META}image: web\nfromImageArtifact: base\n---\nartifact: base\nfrom: debian:12\n"));
    let output = project.run(&["list"]);
    assert_eq!(printed(&output), "web\nbase\n");
    insta::assert_snapshot!(output.stderr, @"WARNING: `fromImageArtifact` of `web` is deprecated: declare the source as an image and use `fromImage`");
}

#[test]
fn templates_see_each_other_wherever_they_are() {
    let project = Project::new("{{ include \"a/b.tmpl\" . }}{{ template \"shared\" . }}{{ include \"own\" . }}---\nimage: web\nfrom: debian:12\n")
        .file(".werf/a/b.tmpl", "configVersion: 1\n")
        .file(".werf/z.tmpl", "{{ define \"shared\" }}project: app\n{{ end }}{{ define \"own\" }}# z\n{{ end }}")
        .file(".werf/a/y.tmpl", "{{ define \"own\" }}# a/y\n{{ end }}")
        .file(".werf/note.md", "{{ broken");
    let output = project.run(&["render"]);
    assert_eq!(printed(&output), "configVersion: 1\nproject: app\n# z\n---\nimage: web\nfrom: debian:12\n");
    let elsewhere = Project::new("{{ include \"x.tmpl\" . }}").file("templates/x.tmpl", META);
    let directory = elsewhere.path().join("templates");
    assert_eq!(printed(&elsewhere.run(&["render", "--config-templates-dir", directory.to_str().unwrap()])), META);
}

#[test]
fn a_missing_file_is_empty_with_a_warning() {
    let output = Project::new(&format!("{META}# [{{{{ .Files.Get \"no/such\" }}}}]\n")).run(&["render"]);
    assert_eq!(printed(&output), format!("{META}# []\n"));
    assert!(output.stderr.starts_with("WARNING: ") && output.stderr.contains("no/such"), "{}", output.stderr);
}

/// Without the file a mistake would be a riddle.
#[test]
fn a_mistake_after_a_missing_file_names_the_file() {
    let project = Project::new(&format!("{META}image: web\nfrom: {{{{ .Files.Get \"base\" }}}}\n"));
    insta::assert_snapshot!(project.run(&["list"]).stderr, @r#"
    Error: exactly one of `from`, `fromImage`, `fromImageArtifact` is required
     --> werf.yaml (rendered):4:1
    > 4 | image: web
      5 | from:
    hint: rendering warned: `.Files.Get "base"`: there is no such file in the project, an empty text is used
    "#);
}

#[test]
fn globs_follow_links_to_files_only_and_stay_in_the_project() {
    let outside = Project::new("").file("secret/x.yaml", "secret");
    let project = Project::new(&format!(
        "{META}{{{{ range $path, $text := .Files.Glob \"**/x.yaml\" }}}}# {{{{ $path }}}}: {{{{ $text }}}}\n{{{{ end }}}}"
    ))
    .file("x.yaml", "1")
    .file("a/b/x.yaml", "2");
    std::os::unix::fs::symlink("../x.yaml", project.path().join("a/x.yaml")).unwrap();
    std::os::unix::fs::symlink("a", project.path().join("linked")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), project.path().join("c")).unwrap();
    fs::create_dir(project.path().join("d")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret/x.yaml"), project.path().join("d/x.yaml")).unwrap();
    let output = project.run(&["render"]);
    assert_eq!(printed(&output), format!("{META}# a/b/x.yaml: 2\n# a/x.yaml: 1\n# x.yaml: 1\n"));
}

#[test]
fn a_key_set_on_the_root_is_seen_by_partials() {
    let project = Project::new(
        "{{ $_ := set . \"Base\" \"debian:12\" }}{{ tpl (.Files.Get \"part.yaml\") . }}from: {{ include \"base\" . }}\n\
         {{ define \"base\" }}{{ .Base }}{{ end }}",
    )
    .file("part.yaml", "configVersion: 1\nproject: app\n---\nimage: {{ .Base | replace \":\" \"-\" }}\n");
    assert_eq!(
        printed(&project.run(&["render"])),
        "configVersion: 1\nproject: app\n---\nimage: debian-12\nfrom: debian:12\n"
    );
}

#[test]
fn variables_come_from_the_environment_and_unset_ones_are_empty() {
    let project = Project::new(&format!(
        "{META}# {{{{ env \"NAME\" }}}}, {{{{ env \"NO_SUCH\" }}}}, {{{{ expandenv \"$NAME!\" }}}}\n"
    ));
    assert_eq!(printed(&project.program(&["render"]).env("NAME", "value").run()), format!("{META}# value, , value!\n"));
}

#[test]
fn a_mistake_in_a_template_has_its_place() {
    let told = |project: &Project| {
        let output = project.run(&["render"]);
        assert_eq!((output.code, output.stdout.as_str()), (1, ""));
        output.stderr
    };
    insta::assert_snapshot!(told(&Project::new(&format!("{META}image: {{{{ .Files.Get }}}}\n"))), @r#"
    Error: cannot parse config werf.yaml: template: werf.yaml:4:16: executing "werfConfig" at <.Files.Get>: error calling Get: `.Files.Get` takes one argument, got 0
     --> werf.yaml:4:17
      |
    4 | image: {{ .Files.Get }}
      |                 ^
    "#);
    insta::assert_snapshot!(told(&Project::new(&format!("{META}image: {{{{ if }}}}\n"))), @"
    Error: cannot parse config werf.yaml: template: werf.yaml:4: missing value for if
     --> werf.yaml:4:14
      |
    4 | image: {{ if }}
      |              ^
    ");
    let project = Project::new(&format!("{META}{{{{ include \"part.tmpl\" . }}}}\n"));
    let project = project.file(".werf/part.tmpl", "image: web\nfrom: {{ index .Files 1 }}\n");
    insta::assert_snapshot!(told(&project), @r#"
    Error: cannot parse config werf.yaml: template: werf.yaml:4:3: executing "werfConfig" at <include "part.tmpl" .>: error calling include: template: part.tmpl:2:9: executing "part.tmpl" at <index .Files 1>: error calling index: can't index item of type config.files
     --> part.tmpl:2:10
      |
    2 | from: {{ index .Files 1 }}
      |          ^
    "#);
    insta::assert_snapshot!(told(&Project::new("{{ .Files.Get \"../../etc/passwd\" }}")), @r#"
    Error: cannot parse config werf.yaml: template: werf.yaml:1:9: executing "werfConfig" at <.Files.Get>: error calling Get: the path `../../etc/passwd` leaves the project directory
     --> werf.yaml:1:10
      |
    1 | {{ .Files.Get "../../etc/passwd" }}
      |          ^
    "#);
}

#[test]
fn mistakes_in_rendered_text_count_its_lines() {
    let project = Project::new(
        "{{ include \"meta\" . }}image: web\nform: x\n{{ define \"meta\" }}configVersion: 1\nproject: app\n---\n{{ end }}",
    );
    insta::assert_snapshot!(project.run(&["list"]).stderr, @"
    Error: unknown field `form`
     --> werf.yaml (rendered):5:1
      4 | image: web
    > 5 | form: x
    hint: did you mean `from` instead of `form`?
    ");
}
