//! Images and containers without a daemon. Needs root (or an unprivileged user namespace) and a static busybox.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use slipway::image_ref::ImageRef;
use slipway::layer::{Content, Entry, EntryKind};
use slipway::registry::{Client, Options, Platform};
use slipway::runtime::embedded::EmbeddedRuntime;
use slipway::runtime::{
    BasePolicy, ContainerRuntime, ContainerSpec, ExitStatus, ImageChange, ImageDescription, ImageFilter, ImageStore,
    Mount, Port, Stream, TreeRequest,
};
use slipway::sys::clock::Clock;

use crate::support::program::Program;

const BUSYBOX: &str = "/bin/busybox";

/// A store of its own with one image, a busybox.
struct Host {
    directory: tempfile::TempDir,
    runtime: EmbeddedRuntime,
    base: ImageDescription,
}

impl Host {
    /// `None`, with a line why, where containers cannot be tested.
    async fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
            println!("skipped: needs root and {BUSYBOX}");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let runtime = open(directory.path());
        let base = runtime.import(&busybox_root(directory.path()), "busybox:1").await.unwrap();
        Some(Self { directory, runtime, base })
    }

    /// Runs a script in a new container of an image. Gives the exit and what it printed; the container remains.
    async fn run(&self, spec: ContainerSpec) -> (ExitStatus, String) {
        let container = self.runtime.create(&self.base.id, None, &spec).await.unwrap();
        let mut text = String::new();
        let exit = self
            .runtime
            .run(&container, &mut |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes)))
            .await
            .unwrap();
        (exit, text)
    }
}

fn open(directory: &Path) -> EmbeddedRuntime {
    EmbeddedRuntime::open(
        &directory.join("state"),
        PathBuf::from(env!("CARGO_BIN_EXE_slipway")),
        Client::new(Options::default()),
        Clock::System,
    )
    .unwrap()
}

/// A tar of a root file system that has a busybox with all its names, and an account.
fn busybox_root(directory: &Path) -> PathBuf {
    let root = directory.join("root");
    for name in ["bin", "etc", "tmp", "home/app"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n").unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\n").unwrap();
    let installed = Command::new(BUSYBOX).arg("--install").arg("-s").arg(root.join("bin")).status().unwrap();
    assert!(installed.success());
    // `--install -s` links to where the busybox was; in the image it is elsewhere.
    for entry in std::fs::read_dir(root.join("bin")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("busybox", &path).unwrap();
        }
    }
    let tar = directory.join("root.tar");
    let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
    assert!(packed.success());
    tar
}

fn script(name: &str, text: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        command: ["/bin/sh", "-ec", text].map(str::to_owned).to_vec(),
        ..ContainerSpec::default()
    }
}

#[tokio::test]
async fn what_a_container_changes_becomes_an_image() {
    let Some(host) = Host::new().await else { return };
    let (exit, _) = host.run(script("c1", "echo hello > /greeting; rm /bin/vi; mkdir -p /srv/a")).await;
    assert_eq!(exit.code, 0);
    let change = ImageChange { workdir: Some("/srv".to_owned()), ..ImageChange::default() };
    let image = host.runtime.commit(&"c1".parse().unwrap(), &change).await.unwrap();
    assert_eq!(image.config.working_dir, "/srv");
    let next = ContainerSpec { ..script("c2", "cat /greeting; pwd; test ! -e /bin/vi") };
    let container = host.runtime.create(&image.id, None, &next).await.unwrap();
    let mut text = String::new();
    let exit = host
        .runtime
        .run(&container, &mut |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes)))
        .await
        .unwrap();
    assert_eq!((exit.code, text.as_str()), (0, "hello\n/srv\n"));
}

#[tokio::test]
async fn streams_and_exit_codes_are_those_of_the_command() {
    let Some(host) = Host::new().await else { return };
    let spec = script("c1", "echo out; echo err >&2; kill -9 $$");
    let container = host.runtime.create(&host.base.id, None, &spec).await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut sink = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => out.extend_from_slice(bytes),
        Stream::Stderr => err.extend_from_slice(bytes),
    };
    let exit = host.runtime.run(&container, &mut sink).await.unwrap();
    assert_eq!((out.as_slice(), err.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    // The first process of a pid namespace ignores even this signal from inside.
    assert_eq!(exit.code, 0);
    let (exit, _) = host.run(script("c2", "exit 42")).await;
    assert_eq!(exit.code, 42);
    let missing = ContainerSpec { name: "c3".to_owned(), command: vec!["nothing".to_owned()], ..Default::default() };
    let container = host.runtime.create(&host.base.id, None, &missing).await.unwrap();
    let error = host.runtime.run(&container, &mut |_, _: &[u8]| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot execute `nothing` in the container: No such file or directory");
    let error = host.runtime.start(&container).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot execute `nothing` in the container: No such file or directory");
}

#[tokio::test]
async fn an_image_that_nobody_has_named_yet_outlives_what_others_do() {
    let Some(host) = Host::new().await else { return };
    let change = ImageChange::default();
    let append = || host.runtime.append(Some(&host.base.id), None, &change);
    let (mine, other) = (append().await.unwrap(), append().await.unwrap());
    assert_ne!(mine.id, other.id, "equal, but each its own");
    host.runtime.tag(&other.id, "other:1").await.unwrap();
    let root = host.directory.path();
    std::os::unix::fs::symlink("state", root.join("embedded")).unwrap();
    let command = |args: &[&str]| {
        let output = Program::new(args).env("SLIPWAY_STATE_DIR", root).env("SLIPWAY_RUNTIME", "embedded").run();
        assert_eq!(output.code, 0, "{output:?}");
    };
    command(&["image", "rm", "other:1"]);
    command(&["image", "ls"]);
    assert!(host.runtime.inspect(other.id.as_str()).await.unwrap().is_none());
    assert_eq!(host.runtime.inspect(mine.id.as_str()).await.unwrap(), Some(mine));
}

fn quiet(_: &str, _: u64, _: Option<u64>) {}

fn file(path: &str, content: &'static str) -> Entry {
    let (size, content) = (content.len() as u64, Content::Bytes(content.as_bytes().into()));
    entry(path, EntryKind::File { size, content })
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1_600_000_000, xattrs: Default::default() }
}

/// Paths of all layers that are here as directories or blobs.
fn layers_here(directory: &Path) -> usize {
    let layers = std::fs::read_dir(directory.join("state/layers")).unwrap();
    layers
        .filter(|layer| ["tree", "blob"].iter().any(|form| layer.as_ref().unwrap().path().join(form).exists()))
        .count()
}

#[tokio::test]
async fn a_base_image_is_published_without_being_fetched() {
    let (Ok(base), Ok(registry)) = (std::env::var("TESTBED_BASE_IMAGE"), std::env::var("TESTBED_REGISTRY")) else {
        println!("skipped: needs TESTBED_BASE_IMAGE and TESTBED_REGISTRY");
        return;
    };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let runtime = open(directory.path());
    let image = runtime.base(&base, BasePolicy::AskRegistry, &quiet).await.unwrap();
    assert_eq!(layers_here(directory.path()), 0);
    let layer: Vec<Entry> = vec![file("app/hello.txt", "hello\n")];
    let change = ImageChange { cmd: Some(vec!["cat".to_owned(), "/app/hello.txt".to_owned()]), ..Default::default() };
    let image = runtime.append(Some(&image.id), Some(Arc::new(layer)), &change).await.unwrap();
    let target: ImageRef = format!("{registry}/embedded-test-{}/app:1", std::process::id()).parse().unwrap();
    let label = ImageChange { labels: [("a".to_owned(), "b".to_owned())].into(), ..Default::default() };
    let pushed = runtime.push(&image.id, &label, &target, &quiet).await.unwrap();
    assert_eq!(layers_here(directory.path()), 1, "only our own layer");
    assert!(pushed.mounted_blobs > 0, "{pushed:?}");

    let client = Client::new(Options::default());
    let (_, manifest) = client.image_manifest(&target, &Platform::of_host()).await.unwrap().unwrap();
    let config = client.blob_bytes(&target, &manifest.config, 1 << 20).await.unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["config"]["Image"], image.id.as_str());
    assert_eq!(config["config"]["Labels"]["a"], "b");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), manifest.layers.len());

    let again = runtime.push(&image.id, &label, &target, &quiet).await.unwrap();
    assert_eq!((again.digest, again.uploaded_bytes), (pushed.digest, 0));
    assert!(client.delete_manifest(&target).await.unwrap());
}

#[tokio::test]
async fn fetching_a_base_image_tells_how_far_it_is() {
    let Ok(base) = std::env::var("TESTBED_BASE_IMAGE") else {
        println!("skipped: needs TESTBED_BASE_IMAGE");
        return;
    };
    let Some(host) = Host::new().await else { return };
    let image = host.runtime.base(&base, BasePolicy::PreferLocal, &quiet).await.unwrap();
    assert!(!host.runtime.is_fetched(&image.id).await.unwrap());
    let told = std::sync::Mutex::new(Vec::new());
    host.runtime.fetch(&image.id, &|_, done, total| told.lock().unwrap().push((done, total))).await.unwrap();
    let (done, total) = *told.lock().unwrap().last().unwrap();
    assert_eq!(Some(done), total);
    assert!(done > 10_000_000, "{done}");
    assert!(host.runtime.is_fetched(&image.id).await.unwrap());
}

#[tokio::test]
async fn layers_of_a_base_image_are_fetched_when_a_command_runs() {
    let Ok(base) = std::env::var("TESTBED_BASE_IMAGE") else {
        println!("skipped: needs TESTBED_BASE_IMAGE");
        return;
    };
    let Some(host) = Host::new().await else { return };
    let image = host.runtime.base(&base, BasePolicy::PreferLocal, &quiet).await.unwrap();
    assert!(!host.runtime.is_fetched(&image.id).await.unwrap());
    let spec = script("c1", "python3 -c 'print(6 * 7)'; cat /app/hello.txt");
    let layer: Vec<Entry> = vec![file("app/hello.txt", "hello\n")];
    let container = host.runtime.create(&image.id, Some(Arc::new(layer)), &spec).await.unwrap();
    let mut text = String::new();
    let exit = host
        .runtime
        .run(&container, &mut |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes)))
        .await
        .unwrap();
    assert_eq!((exit.code, text.as_str()), (0, "42\nhello\n"));
    assert!(host.runtime.is_fetched(&image.id).await.unwrap());
}

#[tokio::test]
async fn nothing_of_a_container_outlives_its_run() {
    let Some(host) = Host::new().await else { return };
    let shared = tempfile::tempdir().unwrap();
    let mount = Mount { source: shared.path().to_owned(), target: "/shared".into(), read_only: false };
    // Twice forked, without a terminal, with closed descriptors: a daemon that writes as long as it lives.
    let daemon = "setsid sh -c 'while :; do date > /shared/alive; sleep 0.02; done' < /dev/null > /dev/null 2>&1 &\n\
                  while ! test -e /shared/alive; do sleep 0.01; done";
    let (exit, _) = host.run(ContainerSpec { mounts: vec![mount], ..script("c1", daemon) }).await;
    assert_eq!(exit.code, 0);
    std::fs::remove_file(shared.path().join("alive")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!shared.path().join("alive").exists());
}

#[tokio::test]
async fn a_dropped_run_kills_the_container() {
    let Some(host) = Host::new().await else { return };
    let shared = tempfile::tempdir().unwrap();
    let mount = Mount { source: shared.path().to_owned(), target: "/shared".into(), read_only: false };
    let spec = ContainerSpec { mounts: vec![mount], ..script("c1", "echo started; exec tail -f /dev/null") };
    let container = host.runtime.create(&host.base.id, None, &spec).await.unwrap();
    let (started, wait) = tokio::sync::oneshot::channel();
    let mut started = Some(started);
    let mut sink = |_, _: &[u8]| {
        let _ = started.take().map(|started| started.send(()));
    };
    tokio::select! {
        exit = host.runtime.run(&container, &mut sink) => panic!("ended by itself: {exit:?}"),
        _ = wait => {}
    }
    // Removal waits for the end, and afterwards nobody holds the mount.
    host.runtime.remove(&container).await.unwrap();
    assert_eq!(processes_with("tail\0-f\0/dev/null\0"), 0);
}

/// How many processes of this host have this command line.
fn processes_with(command: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter(|entry| {
            let line = std::fs::read(entry.as_ref().unwrap().path().join("cmdline")).unwrap_or_default();
            line == command.as_bytes()
        })
        .count()
}

/// hostile 44
#[tokio::test]
async fn a_container_has_no_descriptor_but_the_three() {
    let Some(host) = Host::new().await else { return };
    let (_, text) = host.run(script("c1", "cd /proc/self/fd && echo *")).await;
    // The shell itself holds a fourth while it reads the directory.
    let numbers: Vec<u32> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert!(numbers.starts_with(&[0, 1, 2]) && numbers.len() <= 4, "{text}");
    let (_, text) = host.run(script("c2", "for fd in /proc/$$/fd/*; do readlink $fd; done")).await;
    assert_eq!(text.lines().count(), 3, "{text}");
    assert_eq!(text.lines().next(), Some("/dev/null"));
}

/// hostile 44
#[tokio::test]
async fn a_working_directory_behind_a_descriptor_is_refused() {
    let Some(host) = Host::new().await else { return };
    for fd in 3..12 {
        let name = format!("c{fd}");
        let spec =
            ContainerSpec { workdir: Some(format!("/proc/self/fd/{fd}").into()), ..script(&name, "ls -d ../../*") };
        let container = host.runtime.create(&host.base.id, None, &spec).await.unwrap();
        let mut text = String::new();
        let mut sink = |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes));
        let result = host.runtime.run(&container, &mut sink).await;
        assert!(result.is_err(), "{fd}: {result:?} {text}");
    }
}

#[tokio::test]
async fn mounts_resolver_and_points_leave_nothing_in_the_layer() {
    let Some(host) = Host::new().await else { return };
    let shared = tempfile::tempdir().unwrap();
    std::fs::write(shared.path().join("f"), "in").unwrap();
    let mount =
        |target: &str, source: &Path| Mount { source: source.to_owned(), target: target.into(), read_only: true };
    let mounts = vec![mount("/opt/deep/er", shared.path()), mount("/etc/one", &shared.path().join("f"))];
    let spec = ContainerSpec {
        mounts,
        ..script(
            "c1",
            "cat /opt/deep/er/f /etc/one; grep -q . /etc/resolv.conf; touch /opt/deep/er/x 2>/dev/null || echo ro; touch /new",
        )
    };
    let (exit, text) = host.run(spec).await;
    assert_eq!((exit.code, text.as_str()), (0, "ininro\n"));
    let image = host.runtime.commit(&"c1".parse().unwrap(), &ImageChange::default()).await.unwrap();
    assert_eq!(paths(&host, &image, "/opt").await, None);
    assert_eq!(paths(&host, &image, "/etc").await.unwrap(), ["etc", "etc/group", "etc/passwd"]);
    assert_eq!(paths(&host, &image, "/proc").await, None);
    assert_eq!(paths(&host, &image, "/new").await.unwrap(), ["new"]);
}

/// Paths at and under a path of an image.
async fn paths(host: &Host, image: &ImageDescription, path: &str) -> Option<Vec<String>> {
    let tree = host.runtime.tree(&image.id, &TreeRequest { path: path.into() }).await.unwrap()?;
    let paths = tree.entries().unwrap().map(|entry| entry.unwrap().path.to_str().unwrap().to_owned()).collect();
    Some(paths)
}

#[tokio::test]
async fn the_user_of_a_container_has_what_the_image_says() {
    let Some(host) = Host::new().await else { return };
    let spec = ContainerSpec {
        user: Some("app".to_owned()),
        workdir: Some("/made/here".into()),
        env: vec![("GREETING".to_owned(), "hello world".to_owned())],
        ..script("c1", "id -u; id -g; echo $HOME $GREETING; pwd; grep CapEff /proc/self/status; touch x")
    };
    let (exit, text) = host.run(spec).await;
    assert_eq!(text, "1000\n1000\n/home/app hello world\n/made/here\nCapEff:\t0000000000000000\n");
    assert_eq!(exit.code, 0);
    let spec = ContainerSpec { user: Some("stranger".to_owned()), ..script("c2", "true") };
    let container = host.runtime.create(&host.base.id, None, &spec).await.unwrap();
    let error = host.runtime.run(&container, &mut |_, _: &[u8]| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "the image knows no user `stranger`");
}

#[tokio::test]
async fn a_process_that_dies_leaves_nothing_that_the_next_does_not_clear() {
    let Some(host) = Host::new().await else { return };
    let state = host.directory.path().join("state");
    let spec = script("left", "true");
    host.runtime.create(&host.base.id, None, &spec).await.unwrap();
    let layer: Vec<Entry> = vec![file("x", "x")];
    let orphan =
        host.runtime.append(Some(&host.base.id), Some(Arc::new(layer)), &ImageChange::default()).await.unwrap();
    std::fs::write(state.join("tmp/1.1.another-boot.0"), "").unwrap();
    let lost = format!("{:064}", 7);
    std::fs::create_dir_all(state.join("layers").join(&lost).join("users")).unwrap();
    std::fs::write(state.join("pending").join(format!("layer-{lost}")), "").unwrap();
    // As if another process had made all that and died.
    let dead = r#"{"pid":1,"started":1,"boot":"another-boot"}"#;
    std::fs::write(state.join("containers/left/owner"), dead).unwrap();
    for pending in std::fs::read_dir(state.join("pending")).unwrap() {
        std::fs::write(pending.unwrap().path(), dead).unwrap();
    }
    let runtime = open(host.directory.path());
    assert_eq!(std::fs::read_dir(state.join("containers")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(state.join("tmp")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(state.join("pending")).unwrap().count(), 0);
    assert!(runtime.inspect(orphan.id.as_str()).await.unwrap().is_none());
    assert!(runtime.inspect("busybox:1").await.unwrap().is_some());
    runtime.untag("busybox:1").await.unwrap();
    assert_eq!(std::fs::read_dir(state.join("layers")).unwrap().count(), 0, "nothing needs the layer any more");
}

#[tokio::test]
async fn a_detached_container_runs_until_it_is_told_to_end() {
    let Some(host) = Host::new().await else { return };
    let shared = tempfile::tempdir().unwrap();
    let mount = Mount { source: shared.path().to_owned(), target: "/shared".into(), read_only: false };
    let text = "trap 'echo ended > /shared/how; exit 0' TERM; echo up; touch /shared/up; while :; do sleep 0.05; done";
    let spec = ContainerSpec { mounts: vec![mount], ..script("service", text) };
    let container = host.runtime.create(&host.base.id, None, &spec).await.unwrap();
    host.runtime.start(&container).await.unwrap();
    while !shared.path().join("up").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // Another process, after this one: here, another view of the same store.
    let other = open(host.directory.path());
    let log = host.directory.path().join("state/containers/service/log");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "up\n", "still there after the other has cleared");
    other.remove(&container).await.unwrap();
    assert_eq!(std::fs::read_to_string(shared.path().join("how")).unwrap(), "ended\n");
    assert!(!host.directory.path().join("state/containers/service").exists());
}

#[tokio::test]
async fn a_port_that_would_need_a_network_of_its_own_is_refused() {
    let Some(host) = Host::new().await else { return };
    let spec = ContainerSpec { ports: vec![Port { host: 80, container: 8080 }], ..script("c1", "true") };
    let error = host.runtime.create(&host.base.id, None, &spec).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot publish port 8080 of the container as port 80: it shares the network of the host"
    );
}

/// A tar made by Python, which writes anything; gives what the import says.
async fn import(directory: &Path, script: &str) -> Result<ImageDescription, String> {
    let tar = directory.join("made.tar");
    let python = format!(
        "import tarfile, io\nt = tarfile.open({:?}, 'w', format=tarfile.PAX_FORMAT)\n\
        def add(name, kind=tarfile.REGTYPE, link='', data=b'', pax={{}}):\n    i = tarfile.TarInfo(name); i.type = kind; i.linkname = link; i.size = len(data); i.pax_headers = pax; t.addfile(i, io.BytesIO(data))\n\
        {script}\nt.close()\n",
        tar.to_str().unwrap()
    );
    assert!(Command::new("python3").arg("-c").arg(python).status().unwrap().success());
    let runtime = open(directory);
    let imported = runtime.import(&tar, "made:1").await.map_err(|error| format!("{error:#}"));
    if imported.is_err() {
        let left = std::fs::read_dir(directory.join("state/layers")).unwrap().count();
        assert_eq!(left, 0, "nothing half-made stays");
    }
    imported
}

/// hostile 6, 7, 8, 9, 10
#[tokio::test]
async fn a_hostile_layer_is_refused_whole() {
    if !rustix::process::geteuid().is_root() || Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: needs root and python3");
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    for (script, reason) in [
        ("add('../x', data=b'x')".to_owned(), "`../x` leads out of the image by `..`"),
        ("add('a/../../x', data=b'x')".to_owned(), "`a/../../x` leads out of the image by `..`"),
        (
            format!("add('link', tarfile.SYMTYPE, {target:?}); add('link/x', data=b'x')"),
            "`link/x` lies below something that is not a directory in the same layer",
        ),
        (
            format!("add('d', tarfile.DIRTYPE); add('d', tarfile.SYMTYPE, {target:?}); add('d/x', data=b'x')"),
            "`d` is there twice in the same layer",
        ),
        (
            format!("add('x', tarfile.LNKTYPE, {:?})", format!("{target}/f")),
            "`x` is a hard link to something that is not earlier in the same layer",
        ),
        ("add('.wh.', data=b'')".to_owned(), "`.wh.` is a removal of nothing that can be removed"),
        (
            "add('x', data=b'x', pax={'SCHILY.xattr.trusted.overlay.opaque': 'y'})".to_owned(),
            "`x` has the extended attribute `trusted.overlay.opaque`, which steers the kernel's overlay",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let error = import(directory.path(), &script).await.unwrap_err();
        assert_eq!(error, format!("the layer is refused: {reason}"), "{script}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "{script}");
    }
}

/// hostile 9: an opaque directory and a whiteout of a directory with files.
#[tokio::test]
async fn removals_in_a_layer_hide_what_is_below() {
    let Some(host) = Host::new().await else { return };
    let layer: Vec<Entry> = vec![
        entry("etc", EntryKind::Opaque),
        file("etc/only", "x"),
        entry("home", EntryKind::Whiteout),
        file("tmp", "now a file"),
    ];
    let image = host.runtime.append(Some(&host.base.id), Some(Arc::new(layer)), &ImageChange::default()).await.unwrap();
    assert_eq!(paths(&host, &image, "/etc").await.unwrap(), ["etc", "etc/only"]);
    assert_eq!(paths(&host, &image, "/home").await, None);
    assert_eq!(paths(&host, &image, "/tmp").await.unwrap(), ["tmp"]);
    let spec = script("c1", "ls /etc /; cat /tmp");
    let container = host.runtime.create(&image.id, None, &spec).await.unwrap();
    let mut text = String::new();
    let mut sink = |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes));
    host.runtime.run(&container, &mut sink).await.unwrap();
    assert_eq!(text, "/:\nbin\ndev\netc\nproc\nsys\ntmp\n\n/etc:\nhosts\nonly\nresolv.conf\nnow a file");
}

/// What the inner test below does, as somebody who is not root: with subordinate ids and without.
#[test]
fn containers_run_without_root() {
    if !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
        println!("skipped: needs root, to become somebody else, and {BUSYBOX}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    busybox_root(directory.path());
    let chown = Command::new("chown").args(["-R", "65534:65534"]).arg(directory.path()).status().unwrap();
    assert!(chown.success());
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "features::embedded::unprivileged", "--nocapture"])
        .env("SLIPWAY_TEST_UNPRIVILEGED", directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("done without root"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn unprivileged() {
    let Some(directory) = std::env::var_os("SLIPWAY_TEST_UNPRIVILEGED").map(PathBuf::from) else { return };
    // Here this process starts again as root of a user namespace.
    let runtime = open(&directory);
    let base = runtime.import(&directory.join("root.tar"), "busybox:1").await.unwrap();
    let text = "echo hello > /greeting; rm /bin/vi; rm -r /home; mkdir /home; id -u; cat /proc/self/uid_map; ls /sys/class > /dev/null";
    let container = runtime.create(&base.id, None, &script("c1", text)).await.unwrap();
    let mut text = String::new();
    let mut sink = |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes));
    let exit = runtime.run(&container, &mut sink).await.unwrap();
    assert_eq!(exit.code, 0, "{text}");
    assert!(text.starts_with("0\n"), "{text}");
    let image = runtime.commit(&container, &ImageChange::default()).await.unwrap();
    let next = script("c2", "cat /greeting; test ! -e /bin/vi; test ! -e /home/app; echo right");
    let container = runtime.create(&image.id, None, &next).await.unwrap();
    let mut text = String::new();
    let mut sink = |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes));
    let exit = runtime.run(&container, &mut sink).await.unwrap();
    assert_eq!((exit.code, text.as_str()), (0, "hello\nright\n"));
    runtime.remove(&container).await.unwrap();
    println!("done without root");
}

#[tokio::test]
async fn an_image_goes_through_an_archive_and_through_docker() {
    let Some(host) = Host::new().await else { return };
    let layer: Vec<Entry> = vec![file("greeting", "hello\n"), entry("tmp", EntryKind::Whiteout)];
    let change = ImageChange {
        entrypoint: Some(vec!["/bin/cat".to_owned()]),
        cmd: Some(vec!["/greeting".to_owned()]),
        ..ImageChange::default()
    };
    let image = host.runtime.append(Some(&host.base.id), Some(Arc::new(layer)), &change).await.unwrap();
    let name = format!("slipway-embedded-{}:1", std::process::id());
    host.runtime.tag(&image.id, &name).await.unwrap();
    let archive = host.directory.path().join("image.tar");
    host.runtime.export(&name, &archive).await.unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let other = open(elsewhere.path());
    let copy = other.import(&archive, "copy:1").await.unwrap();
    assert_eq!((copy.config.entrypoint.clone(), copy.config.cmd.clone()), (change.entrypoint, change.cmd));
    let container = other.create(&copy.id, None, &script("c1", "cat /greeting; test ! -e /tmp")).await.unwrap();
    let mut text = String::new();
    let mut sink = |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes));
    assert_eq!(other.run(&container, &mut sink).await.unwrap().code, 0);
    assert_eq!(text, "hello\n");

    if std::env::var_os("DOCKER_HOST").is_none() || Command::new("docker").arg("version").output().is_err() {
        println!("skipped: the part with docker needs DOCKER_HOST and its client");
        return;
    }
    let docker = |arguments: &[&str]| Command::new("docker").args(arguments).output().unwrap();
    let loaded = docker(&["load", "-i", archive.to_str().unwrap()]);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let ran = docker(&["run", "--rm", "--network", "none", &name]);
    let saved = host.directory.path().join("saved.tar");
    assert!(docker(&["save", "-o", saved.to_str().unwrap(), &name]).status.success());
    let id = docker(&["inspect", "--format", "{{.Id}}", &name]);
    docker(&["rmi", &name]);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "hello\n", "{}", String::from_utf8_lossy(&ran.stderr));
    let back = other.import(&saved, "back:1").await.unwrap();
    assert_eq!(back.id.as_str(), String::from_utf8_lossy(&id.stdout).trim());
}

#[tokio::test]
async fn what_a_power_failure_may_have_torn_is_forgotten() {
    let Some(host) = Host::new().await else { return };
    let state = host.directory.path().join("state");
    // The base is on the disk; the next layer is not when the power fails.
    for marker in std::fs::read_dir(state.join("unsynced")).unwrap() {
        std::fs::remove_file(marker.unwrap().path()).unwrap();
    }
    let (exit, _) = host.run(script("c1", "touch /new")).await;
    assert_eq!(exit.code, 0);
    let container = "c1".parse().unwrap();
    let torn = host.runtime.commit(&container, &ImageChange::default()).await.unwrap();
    let child = host.runtime.append(Some(&torn.id), None, &ImageChange::default()).await.unwrap();
    host.runtime.tag(&torn.id, "stage:1").await.unwrap();
    host.runtime.tag(&child.id, "stage:2").await.unwrap();
    host.runtime.remove(&container).await.unwrap();
    let markers: Vec<PathBuf> =
        std::fs::read_dir(state.join("unsynced")).unwrap().map(|marker| marker.unwrap().path()).collect();
    let next = open(host.directory.path());
    assert!(next.inspect("stage:2").await.unwrap().is_some(), "the power did not fail yet");
    // It ends, and has all brought to the disk in the background.
    drop(next);
    while markers.iter().any(|marker| marker.exists()) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // As if it had not.
    for marker in &markers {
        std::fs::write(marker, "another-boot").unwrap();
    }
    let next = open(host.directory.path());
    for name in ["stage:1", "stage:2", torn.id.as_str(), child.id.as_str()] {
        assert!(next.inspect(name).await.unwrap().is_none(), "{name}");
    }
    assert!(next.inspect("busybox:1").await.unwrap().is_some());
    assert_eq!(std::fs::read_dir(state.join("layers")).unwrap().count(), 1);
}

/// Several processes at once; here, several views of one store, which share nothing but the directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_processes_share_a_store() {
    let Some(host) = Host::new().await else { return };
    let directory = host.directory.path().to_owned();
    let base = host.base.id.clone();
    let work = |number: usize| {
        let (directory, base) = (directory.clone(), base.clone());
        async move {
            let runtime = open(&directory);
            // Everybody makes this layer, one of them first; and everybody needs its files.
            let layer: Vec<Entry> = vec![file("shared", "the same for all\n")];
            let image = runtime.append(Some(&base), Some(Arc::new(layer)), &ImageChange::default()).await.unwrap();
            let own = format!("team/app:{number}");
            runtime.tag(&image.id, &own).await.unwrap();
            let container =
                runtime.create(&image.id, None, &script(&format!("c{number}"), "cat /shared")).await.unwrap();
            let mut text = String::new();
            let mut sink = |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes));
            runtime.run(&container, &mut sink).await.unwrap();
            assert_eq!(text, "the same for all\n");
            runtime.remove(&container).await.unwrap();
            if number.is_multiple_of(2) {
                runtime.untag(&own).await.unwrap();
            }
        }
    };
    let all: Vec<_> = (0..8).map(|number| tokio::spawn(work(number))).collect();
    for one in all {
        one.await.unwrap();
    }
    let filter = ImageFilter { repository: Some("team/app".to_owned()), ..ImageFilter::default() };
    let left: Vec<String> =
        host.runtime.list(&filter).await.unwrap().into_iter().flat_map(|image| image.names).collect();
    let mut left: Vec<&str> = left.iter().map(String::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["team/app:1", "team/app:3", "team/app:5", "team/app:7"]);
    assert_eq!(std::fs::read_dir(directory.join("state/layers")).unwrap().count(), 2);
}

#[tokio::test]
async fn images_are_found_by_repository_and_labels() {
    let Some(host) = Host::new().await else { return };
    let mut ids = Vec::new();
    for (name, signature) in
        [("stages/app:a-1", "a"), ("stages/app:b-2", "b"), ("stages/app:a-3", "a"), ("other:1", "a")]
    {
        let labels = [("signature".to_owned(), signature.to_owned()), ("q\"uote".to_owned(), name.to_owned())];
        let change = ImageChange { labels: labels.into(), ..ImageChange::default() };
        let image = host.runtime.append(Some(&host.base.id), None, &change).await.unwrap();
        host.runtime.tag(&image.id, name).await.unwrap();
        ids.push(image.id);
    }
    let filter = |label: (&str, &str)| ImageFilter {
        repository: Some("stages/app".to_owned()),
        labels: [(label.0.to_owned(), label.1.to_owned())].into(),
    };
    let found = host.runtime.list(&filter(("signature", "a"))).await.unwrap();
    assert_eq!(found.iter().map(|image| &image.id).collect::<Vec<_>>(), [&ids[0], &ids[2]], "oldest first");
    assert_eq!(host.runtime.list(&filter(("q\"uote", "stages/app:b-2"))).await.unwrap().len(), 1);
    // A name moves, and the image that lost its last name is gone.
    host.runtime.tag(&ids[1], "stages/app:a-1").await.unwrap();
    assert_eq!(host.runtime.inspect("stages/app:a-1").await.unwrap().unwrap().id, ids[1]);
    assert!(host.runtime.inspect(ids[0].as_str()).await.unwrap().is_none());
    host.runtime.untag("stages/app:b-2").await.unwrap();
    assert_eq!(host.runtime.inspect(ids[1].as_str()).await.unwrap().unwrap().names, ["stages/app:a-1"]);
}

/// `script` gives the inner test below a terminal, and types.
#[tokio::test]
async fn a_person_gets_a_terminal_in_a_container() {
    let Some(host) = Host::new().await else { return };
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: needs `script` of util-linux");
        return;
    }
    let inner =
        format!("{} --exact features::embedded::attached --nocapture", std::env::current_exe().unwrap().display());
    let mut session = Command::new("script")
        .args(["-qec", &inner, "/dev/null"])
        .env("SLIPWAY_TEST_ATTACHED", host.directory.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut typing = session.stdin.take().unwrap();
    typing.write_all(b"tty; echo $((40 + 2)) > /answer; cat /answer; exit 3\n").unwrap();
    let output = session.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for expected in ["/dev/pts/0\r\n", "42\r\n", "ended with 3", "kept: 42"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn attached() {
    let Some(directory) = std::env::var_os("SLIPWAY_TEST_ATTACHED").map(PathBuf::from) else { return };
    let runtime = open(&directory);
    let base = runtime.inspect("busybox:1").await.unwrap().unwrap();
    let container = runtime.create(&base.id, None, &script("c1", "cat /answer")).await.unwrap();
    let exit = runtime.attach(&container, &["/bin/sh".to_owned()]).await.unwrap();
    println!("ended with {}", exit.code);
    let mut text = String::new();
    let mut sink = |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes));
    runtime.run(&container, &mut sink).await.unwrap();
    println!("kept: {text}");
}

#[tokio::test]
async fn an_image_may_have_many_layers() {
    let Some(host) = Host::new().await else { return };
    let mut image = host.base.clone();
    for number in 0..130 {
        let layer: Vec<Entry> = vec![file("last", "x"), file(&format!("layers/{number:03}"), "x")];
        image = host.runtime.append(Some(&image.id), Some(Arc::new(layer)), &ImageChange::default()).await.unwrap();
    }
    let container = host.runtime.create(&image.id, None, &script("c1", "ls /layers | wc -l")).await.unwrap();
    let mut text = String::new();
    let mut sink = |_, bytes: &[u8]| text.push_str(&String::from_utf8_lossy(bytes));
    host.runtime.run(&container, &mut sink).await.unwrap();
    assert_eq!(text.trim(), "130");
    assert_eq!(paths(&host, &image, "/layers").await.unwrap().len(), 131);
}
