//! `ci-env`: what a CI job sources before it calls werf.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use base64::Engine as _;
use tempfile::TempDir;

use crate::support::program::{Output, Program, named_copies};

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn program(&self, args: &[&str]) -> Program {
        Program::new(["ci-env"].iter().chain(args)).env("HOME", self.path()).env("TMPDIR", self.path())
    }

    /// The job of the users' guide, without its token.
    fn gitlab(&self, args: &[&str]) -> Program {
        self.program(&[&["gitlab"], args].concat())
            .env("CI_REGISTRY", "registry.gitlab-example.com")
            .env("CI_REGISTRY_IMAGE", "registry.gitlab-example.com/chat")
            .env("CI_PROJECT_URL", "https://lab.gitlab-example.com/chat")
            .env("CI_COMMIT_REF_NAME", "core/feature/ADD_SETTINGS")
    }

    fn session(&self, script: &str) -> String {
        let rest = script.split("export DOCKER_CONFIG=\"").nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

/// A registry that knows one user.
async fn registry() -> SocketAddr {
    async fn login(headers: HeaderMap) -> (StatusCode, [(&'static str, &'static str); 1]) {
        let expected = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("gitlab-ci-token:good"));
        let fine = headers.get("authorization").is_some_and(|given| given == expected.as_str());
        let status = if fine { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        (status, [("WWW-Authenticate", "Basic realm=\"test\"")])
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/v2/", get(login));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn run(program: Program) -> Output {
    tokio::task::spawn_blocking(move || program.run()).await.unwrap()
}

#[test]
fn both_lines_of_the_guide_run_in_one_shell() {
    let (place, names) = (Place::new(), named_copies(["multiwerf", "werf"]));
    let script = "set -eo pipefail\n\
        type multiwerf && source <(multiwerf use 1.1 stable)\n\
        type werf && source <(werf ci-env gitlab --verbose)\n\
        echo \"repo=$WERF_IMAGES_REPO storage=$WERF_STAGES_STORAGE\"\n";
    let stdout = Program::command("bash", ["-c", script])
        .path(names.path())
        .env("HOME", place.path())
        .env("TMPDIR", place.path())
        .env("CI_REGISTRY_IMAGE", "registry.gitlab-example.com/chat")
        .env("WERF_STAGES_STORAGE", ":local")
        .stdout();
    for title in
        ["DOCKER CONFIG", "STAGES_STORAGE", "IMAGES REPO", "TAGGING", "DEPLOY", "IMAGE CLEANUP POLICIES", "OTHER"]
    {
        assert_eq!(stdout.matches(&format!("### {title}\n")).count(), 1, "{stdout}");
    }
    assert_eq!(stdout.matches("export WERF_LOG_TERMINAL_WIDTH=\"95\"").count(), 1);
    assert!(
        stdout.contains("# skip export WERF_STAGES_STORAGE=\"registry.gitlab-example.com/chat/stages\" (:local)\n")
    );
    assert!(stdout.ends_with("repo=registry.gitlab-example.com/chat storage=:local\n"), "{stdout}");
}

#[test]
fn the_session_has_the_users_credentials_and_nobody_else_sees_them() {
    let place = Place::new();
    let docker = place.path().join(".docker");
    std::fs::create_dir(&docker).unwrap();
    std::fs::write(docker.join("config.json"), r#"{"auths": {"elsewhere.io": {"auth": "dTpw"}}}"#).unwrap();
    let session = place.session(&place.gitlab(&[]).stdout());
    assert!(session.starts_with(&format!("{}/werf-docker-config-", place.path().display())), "{session}");
    assert_eq!(std::fs::metadata(&session).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(std::fs::read_to_string(Path::new(&session).join("config.json")).unwrap().contains("elsewhere.io"));
}

#[tokio::test]
async fn the_job_is_logged_in_to_its_registry() {
    let (place, registry) = (Place::new(), registry().await);
    let image = format!("{registry}/group/app");
    let output = run(place.gitlab(&[]).env("CI_REGISTRY_IMAGE", &image).env("CI_JOB_TOKEN", "good")).await;
    assert_eq!(output.code, 0, "{output:?}");
    let config = std::fs::read(Path::new(&place.session(&output.stdout)).join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let auth = base64::engine::general_purpose::STANDARD.encode("gitlab-ci-token:good");
    assert_eq!(config["auths"][registry.to_string()]["auth"], auth.as_str());
    assert_eq!(config["auths"][&image]["auth"], auth.as_str());
    assert!(!place.path().join(".docker").exists());
    assert!(!output.stdout.contains("good"), "the token is not part of the script");
}

#[tokio::test]
async fn a_refused_login_ends_the_shell_that_sources_the_script() {
    let (place, registry) = (Place::new(), registry().await);
    let image = format!("{registry}/group/app");
    let output = run(place.gitlab(&["--verbose"]).env("CI_REGISTRY_IMAGE", &image).env("CI_JOB_TOKEN", "bad")).await;
    assert_eq!(output.code, 4, "{output:?}");
    assert!(
        output.stdout.starts_with("echo ''\necho 'Error: unable to login into docker repo 127.0.0.1"),
        "{output:?}"
    );
    assert!(output.stdout.ends_with("\nexit 1\n"), "{output:?}");
    assert!(output.stderr.starts_with(&format!("Error: unable to login into docker repo {image}: ")), "{output:?}");
    let file = place.path().join("script");
    let args = ["--as-file", "-o", file.to_str().unwrap()];
    let output = run(place.gitlab(&args).env("CI_REGISTRY_IMAGE", &image).env("CI_JOB_TOKEN", "bad")).await;
    assert_eq!((output.code, output.stdout.as_str(), file.exists()), (4, "", false));
}

#[test]
fn a_file_is_written_and_its_path_printed() {
    let place = Place::new();
    let path = place.gitlab(&["--as-file"]).stdout();
    let directory = place.path().join(".werf/service/tmp/ci_env");
    assert!(path.starts_with(&format!("{}/source_", directory.display())), "{path}");
    for shell in ["sh", "bash"] {
        let script = format!("set -eu; . {}; echo $WERF_IMAGES_REPO", path.trim());
        assert_eq!(Program::command(shell, ["-c", &script]).stdout(), "registry.gitlab-example.com/chat\n");
    }
    let path = place.gitlab(&["--as-env-file", "--verbose"]).stdout();
    assert!(path.starts_with(&format!("{}/.env_", directory.display())), "{path}");
    let text = std::fs::read_to_string(path.trim()).unwrap();
    let fine = |line: &str| line.is_empty() || line.starts_with('#') || line.split_once('=').is_some();
    assert!(text.lines().all(fine) && !text.contains("export") && !text.contains("echo"), "{text}");
    assert_eq!(std::fs::metadata(path.trim()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_given_file_is_replaced() {
    let place = Place::new();
    let file = place.path().join("script");
    std::fs::write(&file, "x".repeat(100_000)).unwrap();
    assert_eq!(place.gitlab(&["--as-file", "-o", file.to_str().unwrap()]).stdout(), "");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("xx"));
}

#[test]
fn old_files_make_room_for_new_ones() {
    let place = Place::new();
    let directory = place.path().join(".werf/service/tmp/ci_env");
    std::fs::create_dir_all(&directory).unwrap();
    for number in 0..120 {
        std::fs::write(directory.join(format!("source_1{number:03}_1")), "").unwrap();
    }
    place.gitlab(&["--as-file"]).stdout();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 50);
    assert!(!directory.join("source_1000_1").exists() && directory.join("source_1119_1").exists());
}

#[test]
fn limits_of_the_users_own_file_replace_the_defaults() {
    let place = Place::new();
    let config = place.path().join(".werf/config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("cleanup.yaml"), "gitTagStrategyLimit: 3\n").unwrap();
    let script = place.gitlab(&[]).stdout();
    assert!(
        script.contains("export WERF_GIT_TAG_STRATEGY_LIMIT=\"3\"\nexport WERF_GIT_TAG_STRATEGY_EXPIRY_DAYS=\"30\"\n")
    );
    std::fs::write(config.join("cleanup.yaml"), "gitTagLimit: 3\n").unwrap();
    let output = place.gitlab(&[]).run();
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains(".werf/config/cleanup.yaml: unknown field `gitTagLimit`"), "{}", output.stderr);
}

#[test]
fn mistakes_are_told_on_stderr() {
    let place = Place::new();
    for (args, expected) in [
        (
            &["gitea"][..],
            "Error: provided ci system 'gitea' not supported\nhint: `gitlab` and `github` are supported\n",
        ),
        (&[], "Error: requires 1 position argument(s), received 0\nhint: `ci-env gitlab` or `ci-env github`\n"),
        (
            &["gitlab", "--shell", "fish"],
            "Error: provided shell 'fish' not supported\nhint: use `default`, `powershell` or `cmdexe`\n",
        ),
        (&["gitlab", "--as-file", "--as-env-file"], "Error: --as-file and --as-env-file exclude each other\n"),
        (
            &["gitlab", "--tagging-strategy", "latest"],
            "Error: provided tagging-strategy `latest` not supported\n\
             hint: use `stages-signature`, or `tag-or-branch` where git tags or branches name images (gitlab only)\n",
        ),
    ] {
        let output = place.program(args).run();
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (2, "", expected));
    }
    let output = place.program(&["gitlab", "--tagging-strategy", "tag-or-branch"]).run();
    assert_eq!((output.code, output.stdout.as_str()), (1, "exit 1\n"));
    let named = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(named, 0, "nothing is left of what could not be done");
}
