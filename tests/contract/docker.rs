//! What only a Docker Engine can do, or do wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, CreateImageOptions};
use futures_util::TryStreamExt as _;
use slipway::error::{ErrorKind, Explain};
use slipway::image_ref::ImageRef;
use slipway::layer::EntryKind;
use slipway::registry::DockerConfig;
use slipway::runtime::docker::{DockerError, DockerOptions, DockerRuntime};
use slipway::runtime::{BasePolicy, ContainerRuntime, ContainerSpec, ImageChange, ImageStore, TreeRequest};
use slipway::sys::clock::Clock;
use slipway::sys::env::Env;

use super::runtime::{docker_runtime, shell, unique};

struct Bed {
    runtime: DockerRuntime,
    /// The engine itself.
    engine: Docker,
    host: String,
    base: String,
    tmp: tempfile::TempDir,
}

async fn bed() -> Option<Bed> {
    let (Ok(host), Ok(base)) = (std::env::var("DOCKER_HOST"), std::env::var("TESTBED_BASE_IMAGE")) else {
        println!("skipped: DOCKER_HOST or TESTBED_BASE_IMAGE is not set");
        return None;
    };
    let tmp = tempfile::tempdir().unwrap();
    let engine = Docker::connect_with_host(&host).unwrap().negotiate_version().await.unwrap();
    let runtime = docker_runtime(host.clone(), tmp.path()).await;
    runtime.base(&base, BasePolicy::PreferLocal, &|_, _, _| {}).await.unwrap();
    Some(Bed { runtime, engine, host, base, tmp })
}

async fn connect_error(host: &str) -> DockerError {
    let options = DockerOptions {
        host: Some(host.to_owned()),
        docker_config: DockerConfig::default(),
        tmp_dir: std::env::temp_dir(),
        clock: Clock::System,
    };
    DockerRuntime::connect(options).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_named() {
    let error = connect_error("unix:///nonexistent/docker.sock").await;
    assert_eq!(error.kind(), ErrorKind::Environment);
    insta::assert_snapshot!(error, @"cannot reach the Docker Engine at `unix:///nonexistent/docker.sock`: Socket not found: /nonexistent/docker.sock");
    insta::assert_snapshot!(error.hints().join("\n"), @"start the Docker Engine, or set `DOCKER_HOST` to where one listens");
    insta::assert_snapshot!(connect_error("ssh://host").await, @"cannot reach the Docker Engine at `ssh://host`: URI scheme is not supported: ssh://host");
    insta::assert_snapshot!(connect_error("tcp://127.0.0.1:1").await, @"cannot reach the Docker Engine at `tcp://127.0.0.1:1`: client error (Connect): tcp connect error: Connection refused (os error 111)");
}

#[tokio::test]
async fn what_a_dead_process_left_is_cleared() {
    let Some(bed) = bed().await else { return };
    let image = bed.runtime.inspect(&bed.base).await.unwrap().unwrap().id;
    let ours = bed.runtime.create(&image, None, &shell("true")).await.unwrap();
    let label = |labels: Option<HashMap<String, String>>| labels.unwrap()["io.slipway.owner"].clone();
    let owner = label(bed.engine.inspect_container(ours.as_str(), None).await.unwrap().config.unwrap().labels);
    let (process, _started) = owner.rsplit_once(' ').unwrap();
    let left_by = async |owner: String| {
        let name = unique("left").replace(':', "-");
        let body = ContainerCreateBody {
            image: Some(image.to_string()),
            labels: Some([("io.slipway.owner".to_owned(), owner)].into()),
            ..Default::default()
        };
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        bed.engine.create_container(Some(options), body).await.unwrap();
        name
    };
    let dead = left_by(format!("{process} 1")).await;
    let elsewhere = left_by(format!("elsewhere {} 1", process.split_once(' ').unwrap().1)).await;
    let reaped = bed.runtime.reap().await.unwrap();
    // Whoever connects clears, too.
    assert!(!reaped.contains(&elsewhere), "{reaped:?}");
    assert!(bed.engine.inspect_container(&dead, None).await.is_err());
    assert!(bed.engine.inspect_container(ours.as_str(), None).await.is_ok(), "ours lives");
    bed.runtime.remove(&ours).await.unwrap();
    bed.runtime.remove(&elsewhere.parse().unwrap()).await.unwrap();
}

/// Passes connections on to the engine, until it is dropped with all of them.
struct Proxy {
    address: String,
    connections: Arc<Mutex<tokio::task::JoinSet<()>>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn to(host: &str) -> Self {
        let socket = host.strip_prefix("unix://").expect("an engine on a socket").to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let connections = Arc::new(Mutex::new(tokio::task::JoinSet::new()));
        let accepted = Arc::clone(&connections);
        let listening = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut engine = tokio::net::UnixStream::connect(&socket).await.unwrap();
                accepted.lock().unwrap().spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
                });
            }
        });
        Self { address, connections, listening }
    }

    fn die(&self) {
        self.listening.abort();
        self.connections.lock().unwrap().abort_all();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_dies_in_a_run_is_named() {
    let Some(bed) = bed().await else { return };
    let proxy = Proxy::to(&bed.host).await;
    let runtime = docker_runtime(proxy.address.clone(), bed.tmp.path()).await;
    let image = runtime.inspect(&bed.base).await.unwrap().unwrap().id;
    let container = runtime.create(&image, None, &shell("echo started; sleep 1000")).await.unwrap();
    let error = runtime.run(&container, &mut |_, _| proxy.die()).await.unwrap_err();
    bed.runtime.remove(&container).await.unwrap();
    let text = format!("{error:#}").replace(container.as_str(), "ID").replace(&proxy.address, "HOST");
    assert!(
        text.starts_with("cannot run container `ID`: the connection to the Docker Engine at `HOST` broke: "),
        "{text}"
    );
    assert_eq!(error.downcast_ref::<DockerError>().unwrap().kind(), ErrorKind::Environment);
    assert!(runtime.ping().await.is_err() && bed.runtime.ping().await.is_ok());
}

#[tokio::test]
async fn a_registry_that_fails_is_named_or_passed_over() {
    let Some(bed) = bed().await else { return };
    let name = "127.0.0.1:1/slipway-contract/nobody:1";
    let error = bed.runtime.base(name, BasePolicy::AskRegistry, &|_, _, _| {}).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot pull `127.0.0.1:1/slipway-contract/nobody:1`: "), "{error}");
    assert_eq!(error.downcast_ref::<DockerError>().unwrap().kind(), ErrorKind::Remote);

    let base = bed.runtime.inspect(&bed.base).await.unwrap().unwrap();
    let target: ImageRef = name.parse().unwrap();
    let error = bed.runtime.push(&base.id, &ImageChange::default(), &target, &|_, _, _| {}).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot push `127.0.0.1:1/slipway-contract/nobody:1`: "), "{error}");
    assert!(bed.runtime.inspect(name).await.unwrap().is_none(), "no name is left");

    bed.runtime.tag(&base.id, name).await.unwrap();
    let said = Mutex::new(String::new());
    let say = |text: &str, _, _| said.lock().unwrap().push_str(text);
    let local = bed.runtime.base(name, BasePolicy::AskRegistry, &say).await.unwrap();
    bed.runtime.untag(name).await.unwrap();
    assert_eq!(local.id, base.id);
    let said = said.into_inner().unwrap();
    assert!(
        said.starts_with("warning: cannot ask the registry for `127.0.0.1:1/slipway-contract/nobody:1`: "),
        "{said}"
    );
    assert!(said.ends_with("; the image on this host is used"), "{said}");
}

#[tokio::test]
async fn a_base_is_pulled_again_only_when_the_registry_has_another() {
    let Some(bed) = bed().await else { return };
    let lines = Mutex::new(Vec::new());
    let note = |text: &str, _, _| lines.lock().unwrap().push(text.to_owned());
    bed.runtime.base(&bed.base, BasePolicy::AskRegistry, &note).await.unwrap();
    assert_eq!(lines.into_inner().unwrap(), Vec::<String>::new(), "the same image is not pulled");
    let unknown = bed.base.rsplit_once(':').unwrap().0.to_owned() + ":no-such-tag";
    let error = bed.runtime.base(&unknown, BasePolicy::PreferLocal, &|_, _, _| {}).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot pull `{unknown}`: ")), "{error}");
    let named = bed.runtime.base("NOT A NAME", BasePolicy::PreferLocal, &|_, _, _| {}).await.unwrap_err();
    insta::assert_snapshot!(named, @"the image `NOT A NAME` is not on this host");
}

#[tokio::test]
async fn the_tree_of_everything_begins_with_the_root() {
    let Some(bed) = bed().await else { return };
    let image = bed.runtime.inspect(&bed.base).await.unwrap().unwrap().id;
    let root = bed.runtime.tree(&image, &TreeRequest { path: "/".into() }).await.unwrap().unwrap();
    let top = root.entries().unwrap().next().unwrap().unwrap();
    assert!(top.path.as_os_str().is_empty() && matches!(top.kind, EntryKind::Directory), "{top:?}");
}

/// A registry that fails a while and wants a login, in front of the real one. Gives its address.
async fn moody_registry(real: String, failures: usize, login: &str) -> String {
    use axum::http::{HeaderMap, StatusCode, Uri};
    use base64::Engine as _;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (client, left) = (reqwest::Client::new(), Arc::new(AtomicUsize::new(failures)));
    let wanted = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login));
    let answer = async move |uri: Uri, headers: HeaderMap| {
        if headers.get("authorization").is_none_or(|given| given != wanted.as_str()) {
            let challenge =
                HeaderMap::from_iter([("www-authenticate".parse().unwrap(), "Basic realm=\"t\"".parse().unwrap())]);
            return (StatusCode::UNAUTHORIZED, challenge, Vec::new());
        }
        let fails = uri.path().contains("/manifests/") && left.load(Ordering::Relaxed) > 0;
        if fails {
            left.fetch_sub(1, Ordering::Relaxed);
            return (StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new(), Vec::new());
        }
        let accept =
            headers.get_all("accept").iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(", ");
        let real = client.get(format!("http://{real}{uri}")).header("accept", accept).send().await.unwrap();
        let mut kept = real.headers().clone();
        kept.remove("transfer-encoding");
        (real.status(), kept, real.bytes().await.unwrap().to_vec())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap() });
    address
}

/// Hostile input 20, as far as it reaches us through the engine.
#[tokio::test]
async fn a_registry_that_recovers_is_waited_for() {
    let (Some(bed), Ok(real)) = (bed().await, std::env::var("TESTBED_REGISTRY")) else { return };
    let (user, password) = ("me", "o?o>o~é");
    let registry = moody_registry(real.clone(), 2, &format!("{user}:{password}")).await;
    let name = bed.base.replacen(&real, &registry, 1);
    let stranger = bed.runtime.base(&name, BasePolicy::PreferLocal, &|_, _, _| {}).await.unwrap_err();
    assert!(!stranger.downcast_ref::<DockerError>().unwrap().hints().is_empty(), "{stranger}");

    DockerConfig::add_auth(bed.tmp.path(), &registry, user, password).unwrap();
    let env = Env::literal([("PATH", "/nonexistent")], "/");
    let options = DockerOptions {
        host: Some(bed.host.clone()),
        docker_config: DockerConfig::load(bed.tmp.path(), &env).unwrap(),
        tmp_dir: bed.tmp.path().to_owned(),
        clock: Clock::System,
    };
    let runtime = DockerRuntime::connect(options).await.unwrap();
    let said = Mutex::new(Vec::new());
    let say = |text: &str, _, _| said.lock().unwrap().push(text.to_owned());
    let pulled = runtime.base(&name, BasePolicy::AskRegistry, &say).await.unwrap();
    runtime.untag(&name).await.unwrap();
    assert_eq!(pulled.id, bed.runtime.inspect(&bed.base).await.unwrap().unwrap().id);
    let said = said.into_inner().unwrap().join("\n");
    assert!(said.contains("503 Service Unavailable; trying again in 1 s\n"), "{said}");
}

/// Fields that no change of ours touches stay as they are.
#[tokio::test]
async fn a_foreign_configuration_survives() {
    let Some(bed) = bed().await else { return };
    let name = unique("foreign");
    let (repository, tag) = name.split_once(':').unwrap();
    let changes = [
        "ONBUILD RUN touch /x",
        "HEALTHCHECK --interval=7s CMD /check",
        "VOLUME /v",
        "EXPOSE 9/udp",
        "ENV A=1",
        "LABEL l=m",
        "USER 5",
        "WORKDIR /w",
        "ENTRYPOINT [\"/e\"]",
        "CMD [\"c\"]",
    ];
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(repository.to_owned()),
        tag: Some(tag.to_owned()),
        changes: changes.map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let tar = bollard::body_full(vec![0; 1024].into());
    let _: Vec<_> = bed.engine.create_image(Some(options), Some(tar), None).try_collect().await.unwrap();
    let foreign = bed.runtime.inspect(&name).await.unwrap().unwrap();
    assert_eq!(foreign.config.on_build, ["RUN touch /x"]);
    assert!(foreign.config.healthcheck.is_some() && foreign.config.volumes.is_some());
    let change = ImageChange { labels: [("n".to_owned(), "o".to_owned())].into(), ..ImageChange::default() };
    let appended = bed.runtime.append(Some(&foreign.id), None, &change).await.unwrap();
    assert_eq!(appended.config, foreign.config.changed(&change));
    let container = bed.runtime.create(&appended.id, None, &ContainerSpec::default()).await.unwrap();
    let committed = bed.runtime.commit(&container, &ImageChange::default()).await.unwrap();
    bed.runtime.remove(&container).await.unwrap();
    assert_eq!(committed.config, appended.config);
    for id in [committed.id, appended.id] {
        bed.runtime.tag(&id, &name).await.unwrap();
        bed.runtime.untag(&name).await.unwrap();
    }
    bed.runtime.tag(&foreign.id, &name).await.unwrap();
    bed.runtime.untag(&name).await.unwrap();
}

/// The half that runs on a terminal, started by the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_into() {
    if std::env::var_os("SLIPWAY_TEST_TERMINAL").is_none() {
        return;
    }
    let bed = bed().await.unwrap();
    let image = bed.runtime.inspect(&bed.base).await.unwrap().unwrap().id;
    let container = bed.runtime.create(&image, None, &shell("exit 1")).await.unwrap();
    let command = [
        "/bin/sh",
        "-c",
        "echo; until stty size | grep -x '33 77'; do :; done; read line; echo \"got <$line>\"; exit 9",
    ]
    .map(str::to_owned);
    let status = bed.runtime.attach(&container, &command).await.unwrap();
    bed.runtime.remove(&container).await.unwrap();
    println!("code {}", status.code);
}

#[tokio::test]
async fn a_person_types_on_a_terminal() {
    if bed().await.is_none() {
        return;
    }
    let size = nix::pty::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).unwrap();
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["contract::docker::typed_into", "--exact", "--nocapture"])
        .env("SLIPWAY_TEST_TERMINAL", "1")
        .stdin(pty.slave.try_clone().unwrap())
        .stdout(pty.slave.try_clone().unwrap())
        .stderr(pty.slave)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let seen = tokio::task::spawn_blocking(move || converse(&pty.master));
    let seen = tokio::time::timeout(Duration::from_secs(60), seen).await.expect("the session ends").unwrap();
    child.wait().await.unwrap();
    assert!(seen.contains("33 77") && seen.contains("got <hello there>") && seen.contains("code 9"), "{seen}");
}

/// Types when the size was shown; reads until the other side closes.
fn converse(master: &OwnedFd) -> String {
    let (mut seen, mut typed, mut buffer) = (String::new(), false, [0; 4096]);
    while let Ok(read @ 1..) = rustix::io::read(master, &mut buffer) {
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if !typed && seen.contains("33 77") {
            typed = true;
            rustix::io::write(master, b"hello there\r").unwrap();
        }
    }
    seen
}
