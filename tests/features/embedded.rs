//! Images and containers without a daemon. Needs root (or an unprivileged user namespace) and a static busybox.

use std::path::{Path, PathBuf};
use std::process::Command;

use slipway::runtime::embedded::EmbeddedRuntime;
use slipway::runtime::{ContainerRuntime, ContainerSpec, ExitStatus, ImageChange, ImageDescription, Stream};
use slipway::sys::clock::Clock;

const BUSYBOX: &str = "/bin/busybox";

/// A store of its own with one image, a busybox.
struct Host {
    _directory: tempfile::TempDir,
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
        Some(Self { _directory: directory, runtime, base })
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
        slipway::registry::Client::new(slipway::registry::Options::default()),
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
    let (exit, text) = host.run(missing).await;
    assert_eq!(exit.code, 127);
    assert_eq!(text, "slipway: cannot execute `nothing`: No such file or directory\n");
}
