//! What every container runtime does, one row of tests per implementation.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slipway::ids::{ContainerId, ImageId};
use slipway::image_ref::ImageRef;
use slipway::layer::{Content, Entry, EntryKind, LayerSource, Looks};
use slipway::registry::{self, DockerConfig};
use slipway::runtime::docker::{DockerOptions, DockerRuntime};
use slipway::runtime::embedded::EmbeddedRuntime;
use slipway::runtime::{
    BasePolicy, ContainerSpec, ImageChange, ImageDescription, ImageFilter, Limits, Memory, Mount, Pids, Runtime,
    Stream, TreeRequest,
};
use slipway::sys::clock::Clock;

/// A runtime and an image to start from: a Debian with Python.
struct Bed {
    runtime: Box<dyn Runtime>,
    base: String,
    _tmp: tempfile::TempDir,
}

/// One test per case, over the bed that `$make` gives; skipped where there is none.
macro_rules! runtime_contract {
    ($row:ident, $make:path) => {
        runtime_contract!($row, $make:
            a_layer_is_seen_in_a_container,
            removals_hide_the_layers_below,
            a_lazy_source_is_walked_without_holding_it,
            a_source_that_fails_leaves_no_image,
            changes_touch_nothing_else_of_the_configuration,
            an_image_can_begin_with_nothing,
            output_comes_in_order_and_codes_come_through,
            much_output_comes_through,
            a_daemonised_child_ends_with_the_command,
            dropping_a_run_kills_everything,
            a_command_gets_its_surroundings,
            a_commit_has_the_files_and_nothing_of_the_container,
            a_container_can_have_a_layer_on_top,
            a_program_that_is_not_there_is_named,
            accounts_are_those_of_the_image,
            a_tree_is_sorted_and_readable,
            paths_lead_where_links_say,
            names_are_given_listed_and_taken,
            many_appends_at_a_time,
            a_published_image_comes_back,
            an_unknown_image_is_named,
            attaching_works_after_a_run,
            a_command_with_too_much_memory_is_told_so,
            too_many_processes_hurt_only_themselves,
        );
    };
    ($row:ident, $make:path: $($case:ident,)*) => {
        mod $row {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(bed) = $make().await {
                        super::$case(&bed).await;
                    }
                }
            )*
        }
    };
}

runtime_contract!(docker, super::docker_bed);
runtime_contract!(embedded, super::embedded_bed);

pub(super) async fn docker_runtime(host: String, tmp: &Path) -> DockerRuntime {
    let options = DockerOptions {
        host: Some(host),
        docker_config: DockerConfig::default(),
        tmp_dir: tmp.to_owned(),
        clock: Clock::System,
    };
    DockerRuntime::connect(options).await.unwrap()
}

async fn docker_bed() -> Option<Bed> {
    let (Ok(host), Ok(base)) = (std::env::var("DOCKER_HOST"), std::env::var("TESTBED_BASE_IMAGE")) else {
        println!("skipped: DOCKER_HOST or TESTBED_BASE_IMAGE is not set");
        return None;
    };
    let tmp = tempfile::tempdir().unwrap();
    Some(Bed { runtime: Box::new(docker_runtime(host, tmp.path()).await), base, _tmp: tmp })
}

/// All tests share one store, as jobs of a host do; it stays in the target directory, with the base unpacked.
async fn embedded_bed() -> Option<Bed> {
    let Ok(base) = std::env::var("TESTBED_BASE_IMAGE") else {
        println!("skipped: TESTBED_BASE_IMAGE is not set");
        return None;
    };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: containers of the embedded runtime are tested as root here");
        return None;
    }
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedded-contract");
    let program = env!("CARGO_BIN_EXE_slipway").into();
    let registry = registry::Client::new(registry::Options::default());
    let runtime = EmbeddedRuntime::open(&store, program, registry, Clock::System).unwrap();
    Some(Bed { runtime: Box::new(runtime), base, _tmp: tempfile::tempdir().unwrap() })
}

impl Bed {
    async fn base(&self) -> ImageDescription {
        self.runtime.base(&self.base, BasePolicy::PreferLocal, &|_, _, _| {}).await.unwrap()
    }

    async fn append(&self, parent: &ImageId, entries: Vec<Entry>) -> ImageDescription {
        self.runtime.append(Some(parent), Some(Arc::new(entries)), &ImageChange::default()).await.unwrap()
    }

    async fn create(&self, image: &ImageId, spec: ContainerSpec) -> ContainerId {
        self.runtime.create(image, None, &spec).await.unwrap()
    }

    /// Code and both outputs of a container that was made.
    async fn run(&self, container: &ContainerId) -> (i32, String) {
        let mut output = Vec::new();
        let status = self.runtime.run(container, &mut |_, bytes| output.extend_from_slice(bytes)).await.unwrap();
        (status.code, String::from_utf8_lossy(&output).into_owned())
    }

    /// What a script prints in an image; it must succeed.
    async fn shell(&self, image: &ImageId, script: &str) -> String {
        let container = self.create(image, shell(script)).await;
        let (code, output) = self.run(&container).await;
        self.runtime.remove(&container).await.unwrap();
        assert_eq!(code, 0, "{output}");
        output
    }

    /// Drops images that have no names, children first: a parent may go with its last child.
    async fn forget(&self, images: &[&ImageDescription]) {
        for image in images {
            if self.runtime.inspect(image.id.as_str()).await.unwrap().is_none() {
                continue;
            }
            let name = unique("forget");
            self.runtime.tag(&image.id, &name).await.unwrap();
            self.runtime.untag(&name).await.unwrap();
        }
    }
}

/// A name that nobody else has.
pub(super) fn unique(word: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("slipway-contract-{word}-{}:{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn shell(script: &str) -> ContainerSpec {
    ContainerSpec {
        name: unique("shell").replace(':', "-"),
        command: ["/bin/sh", "-ec", script].map(str::to_owned).to_vec(),
        ..ContainerSpec::default()
    }
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1_600_000_000, xattrs: BTreeMap::new() }
}

fn file(path: &str, content: &str) -> Entry {
    entry(path, EntryKind::File { size: content.len() as u64, content: Content::Bytes(content.to_owned().into()) })
}

fn directory(path: &str) -> Entry {
    Entry { mode: 0o755, ..entry(path, EntryKind::Directory) }
}

async fn a_layer_is_seen_in_a_container(bed: &Bed) {
    let base = bed.base().await;
    let long = format!("opt/t/{}", "n".repeat(200));
    let given = Entry { mode: 0o4755, uid: 5_000_000, gid: 12, mtime: 1_234_567_890, ..file("opt/t/a", "content") };
    let link = EntryKind::Hardlink { target: "opt/t/a".into() };
    let link = Entry { path: "opt/t/b".into(), kind: link, ..given.clone() };
    let image = bed
        .append(
            &base.id,
            vec![
                Entry { mode: 0o1770, uid: 7, gid: 8, ..entry("opt/t", EntryKind::Directory) },
                given,
                link,
                entry("opt/t/c", EntryKind::Symlink { target: "a".into() }),
                file(&long, "long"),
                file("opt/t/привет", "utf-8"),
                file("opt/u/without/parents", ""),
            ],
        )
        .await;
    assert_eq!(image.parent, Some(base.id));
    let seen = bed
        .shell(
            &image.id,
            "cd /opt/t; stat -c '%n %a %u:%g %h %F' . a b c; stat -c %Y a; readlink c; cat a b c n* при*; echo
             stat -c '%n %a %U' /opt/u /opt/u/without/parents",
        )
        .await;
    let expected = "\
        . 1770 7:8 2 directory\na 4755 5000000:12 2 regular file\nb 4755 5000000:12 2 regular file\n\
        c 777 0:0 1 symbolic link\n1234567890\na\ncontentcontentcontentlongutf-8\n\
        /opt/u 755 root\n/opt/u/without/parents 644 root\n";
    assert_eq!(seen, expected);
    bed.forget(&[&image]).await;
}

async fn removals_hide_the_layers_below(bed: &Bed) {
    let base = bed.base().await;
    let first = bed.append(&base.id, ["t/a", "t/b/c", "t/b/d", "t/e/f"].map(|path| file(path, path)).to_vec()).await;
    let second = bed
        .append(
            &first.id,
            vec![
                entry("t/a", EntryKind::Whiteout),
                directory("t/b"),
                entry("t/b", EntryKind::Opaque),
                file("t/b/new", ""),
                entry("t/e", EntryKind::Whiteout),
                entry("usr/share/doc", EntryKind::Whiteout),
            ],
        )
        .await;
    assert_eq!(bed.shell(&first.id, "cd /t; find . -type f | sort").await, "./a\n./b/c\n./b/d\n./e/f\n");
    let seen = bed.shell(&second.id, "cd /t; find . | sort; ls -d /usr/share/doc 2>&1 || true").await;
    assert!(seen.starts_with(".\n./b\n./b/new\nls: cannot access"), "{seen}");
    bed.forget(&[&second, &first]).await;
}

/// Three thousand files whose contents are made when they are asked for.
struct Lazy {
    opened: Arc<AtomicUsize>,
}

impl LayerSource for Lazy {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        Ok(Box::new((0..3000).map(|number| {
            let opened = Arc::clone(&self.opened);
            let open = move || -> io::Result<Box<dyn Read + Send>> {
                opened.fetch_add(1, Ordering::Relaxed);
                Ok(Box::new(io::repeat(b'x').take(10_000)))
            };
            let kind = EntryKind::File { size: 10_000, content: Content::Open(Arc::new(open)) };
            Ok(entry(&format!("lazy/{number:04}"), kind))
        })))
    }
}

async fn a_lazy_source_is_walked_without_holding_it(bed: &Bed) {
    let opened = Arc::new(AtomicUsize::new(0));
    let source = Arc::new(Lazy { opened: Arc::clone(&opened) });
    let base = bed.base().await;
    let image = bed.runtime.append(Some(&base.id), Some(source), &ImageChange::default()).await.unwrap();
    assert_eq!(bed.shell(&image.id, "cat /lazy/* | wc -c").await.trim(), "30000000");
    assert!(opened.load(Ordering::Relaxed) <= 6000, "each content is read at most twice");
    bed.forget(&[&image]).await;
}

/// A source that breaks off.
struct Broken;

impl LayerSource for Broken {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        Ok(Box::new([Ok(file("a", "")), Err(anyhow::anyhow!("the object `abc` is missing"))].into_iter()))
    }
}

async fn a_source_that_fails_leaves_no_image(bed: &Bed) {
    let base = bed.base().await;
    let error = bed.runtime.append(Some(&base.id), Some(Arc::new(Broken)), &ImageChange::default()).await.unwrap_err();
    assert!(format!("{error:#}").contains("the object `abc` is missing"), "{error:#}");
    let unsorted = Arc::new(vec![file("b", ""), file("a", "")]);
    let error = bed.runtime.append(Some(&base.id), Some(unsorted), &ImageChange::default()).await.unwrap_err();
    assert!(format!("{error:#}").contains("not sorted"), "{error:#}");
}

/// A configuration with something in every field.
fn rich_change() -> ImageChange {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    ImageChange {
        labels: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "two words \"q\"".to_owned())].into(),
        env: vec![("E".to_owned(), "x=y z".to_owned()), ("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        volumes: ["/data".to_owned()].into(),
        expose: ["80".to_owned(), "53/udp".to_owned()].into(),
        entrypoint: words(&["/bin/echo", "-n"]),
        cmd: words(&["hello", ""]),
        workdir: Some("/srv".to_owned()),
        user: Some("7:8".to_owned()),
        healthcheck: Some(serde_json::json!({"Test": ["CMD", "true"], "Interval": 30_000_000_000_i64})),
    }
}

async fn changes_touch_nothing_else_of_the_configuration(bed: &Bed) {
    let base = bed.base().await;
    let change = rich_change();
    let first = bed.runtime.append(Some(&base.id), None, &change).await.unwrap();
    assert_eq!(first.config, base.config.changed(&change));
    let label = ImageChange { labels: [("b".to_owned(), "new".to_owned())].into(), ..ImageChange::default() };
    let second = bed.runtime.append(Some(&first.id), None, &label).await.unwrap();
    assert_eq!(second.config, first.config.changed(&label));
    assert!(second.created >= first.created);
    let kept = bed.runtime.inspect(second.id.as_str()).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&second));
    bed.forget(&[&second, &first]).await;
}

async fn an_image_can_begin_with_nothing(bed: &Bed) {
    let change = ImageChange { cmd: Some(vec!["/x".to_owned()]), ..ImageChange::default() };
    let image = bed.runtime.append(None, Some(Arc::new(vec![file("only", "file")])), &change).await.unwrap();
    assert_eq!((image.parent.as_ref(), image.config.cmd.as_deref()), (None, Some(&["/x".to_owned()][..])));
    let tree = bed.runtime.tree(&image.id, &TreeRequest { path: "/only".into() }).await.unwrap();
    assert_eq!(contents(tree), ["only: file"]);
    bed.forget(&[&image]).await;
}

async fn output_comes_in_order_and_codes_come_through(bed: &Bed) {
    let base = bed.base().await.id;
    let script =
        "i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; printf 'no newline'; exit 42";
    let container = bed.create(&base, shell(script)).await;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = bed
        .runtime
        .run(&container, &mut |stream, bytes| match stream {
            Stream::Stdout => out.extend_from_slice(bytes),
            Stream::Stderr => err.extend_from_slice(bytes),
        })
        .await
        .unwrap();
    bed.runtime.remove(&container).await.unwrap();
    let lines = |word: &str| (0..200).map(|number| format!("{word} {number}\n")).collect::<String>();
    assert_eq!((status.code, status.out_of_memory), (42, false));
    assert_eq!(String::from_utf8(out).unwrap(), lines("out") + "no newline");
    assert_eq!(String::from_utf8(err).unwrap(), lines("err"));

    let killed = bed.create(&base, shell("sh -c 'kill -KILL $$'")).await;
    assert_eq!(bed.run(&killed).await.0, 137);
    bed.runtime.remove(&killed).await.unwrap();
    bed.runtime.remove(&container).await.unwrap();
    bed.runtime.remove(&container).await.expect("removing what is gone is fine");
}

async fn much_output_comes_through(bed: &Bed) {
    let container = bed.create(&bed.base().await.id, shell("head -c 10000000 /dev/zero | tr '\\0' x")).await;
    let mut length = 0;
    let status = bed.runtime.run(&container, &mut |_, bytes| length += bytes.len()).await.unwrap();
    bed.runtime.remove(&container).await.unwrap();
    assert_eq!((status.code, length), (0, 10_000_000));
}

/// Hostile input 43.
async fn a_daemonised_child_ends_with_the_command(bed: &Bed) {
    let script = "setsid sh -c 'sleep 1000' & exec 1>&- 2>&-; exit 3";
    let container = bed.create(&bed.base().await.id, shell(script)).await;
    assert_eq!(bed.run(&container).await.0, 3);
    bed.runtime.remove(&container).await.unwrap();
}

async fn dropping_a_run_kills_everything(bed: &Bed) {
    let host = tempfile::tempdir().unwrap();
    let pipe = host.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    let mount = Mount { source: host.path().to_owned(), target: "/m".into(), read_only: false };
    let script =
        "trap '' TERM INT; exec 3>/m/pipe; setsid sh -c 'trap \"\" TERM; sleep 1000' & echo started >&3; sleep 1000";
    let spec = ContainerSpec { mounts: vec![mount], ..shell(script) };
    let container = bed.create(&bed.base().await.id, spec).await;

    // The pipe ends when nobody in the container is left to write to it.
    let (started, is_started) = tokio::sync::oneshot::channel();
    let reader = tokio::task::spawn_blocking(move || {
        let mut pipe = std::fs::File::open(pipe).unwrap();
        pipe.read_exact(&mut [0; 8]).unwrap();
        started.send(()).unwrap();
        pipe.read_to_end(&mut Vec::new()).unwrap()
    });
    let mut nowhere = |_, _: &[u8]| {};
    tokio::select! {
        status = bed.runtime.run(&container, &mut nowhere) => panic!("{status:?}"),
        started = is_started => started.unwrap(),
    }
    let rest =
        tokio::time::timeout(std::time::Duration::from_secs(60), reader).await.expect("everything ends").unwrap();
    assert_eq!(rest, 0);
    bed.runtime.remove(&container).await.unwrap();
}

async fn a_command_gets_its_surroundings(bed: &Bed) {
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("in"), "from the host").unwrap();
    let mount = |target: &str, read_only| Mount { source: host.path().to_owned(), target: target.into(), read_only };
    let base = bed.base().await;
    let set = ImageChange { entrypoint: Some(vec!["/bin/false".to_owned()]), ..rich_change() };
    let image = bed.runtime.append(Some(&base.id), None, &set).await.unwrap();
    let script = "id -u; id -g; pwd; echo $E $V; cat /m/in; echo; echo back > /m/out; (echo no > /ro/out) 2>/dev/null || echo refused";
    let spec = ContainerSpec {
        env: vec![("V".to_owned(), "a \"b\" $c".to_owned())],
        user: Some("0:5".to_owned()),
        workdir: Some("/tmp".into()),
        mounts: vec![mount("/m", false), mount("/ro", true)],
        labels: [("x".to_owned(), "y".to_owned())].into(),
        ..shell(script)
    };
    let container = bed.create(&image.id, spec).await;
    let (code, output) = bed.run(&container).await;
    bed.runtime.remove(&container).await.unwrap();
    assert_eq!(code, 0, "{output}");
    assert_eq!(output, "0\n5\n/tmp\nx=y z a \"b\" $c\nfrom the host\nrefused\n");
    assert_eq!(std::fs::read_to_string(host.path().join("out")).unwrap(), "back\n");

    let own = bed.create(&image.id, ContainerSpec { workdir: None, user: None, ..shell("id -u; id -g; pwd") }).await;
    assert_eq!(bed.run(&own).await.1, "7\n8\n/srv\n", "the image's own");
    bed.runtime.remove(&own).await.unwrap();
    bed.forget(&[&image]).await;
}

async fn a_commit_has_the_files_and_nothing_of_the_container(bed: &Bed) {
    let host = tempfile::tempdir().unwrap();
    let base = bed.base().await;
    let first =
        bed.runtime.append(Some(&base.id), Some(Arc::new(vec![file("t/old", "")])), &rich_change()).await.unwrap();
    let spec = ContainerSpec {
        env: vec![("COLUMNS".to_owned(), "80".to_owned()), ("E".to_owned(), "other".to_owned())],
        user: Some("0:0".to_owned()),
        workdir: Some("/".into()),
        mounts: vec![Mount { source: host.path().to_owned(), target: "/.slipway".into(), read_only: false }],
        labels: [("container".to_owned(), "only".to_owned())].into(),
        ..shell("echo new >> /t/new; rm -f /t/old; echo m > /.slipway/m; mkdir -p /t/d; chmod 700 /t/d; chown 9:9 /t/d")
    };
    let container = bed.create(&first.id, spec).await;
    assert_eq!(bed.run(&container).await, (0, String::new()));
    let change = ImageChange { labels: [("stage".to_owned(), "install".to_owned())].into(), ..ImageChange::default() };
    let second = bed.runtime.commit(&container, &change).await.unwrap();
    assert_eq!(second.config, first.config.changed(&change), "nothing of the container's own");
    assert_eq!(second.parent.as_ref(), Some(&first.id));
    assert_eq!(bed.run(&container).await, (0, String::new()));
    let again = bed.runtime.commit(&container, &ImageChange::default()).await.unwrap();
    assert_eq!(again.config, first.config, "the container is still there, and none of the image made of it");
    assert_eq!(again.parent.as_ref(), Some(&first.id));
    bed.runtime.remove(&container).await.unwrap();

    let look = ContainerSpec {
        user: Some("0".to_owned()),
        ..shell("cd /t; stat -c '%n %a %u:%g' *; cat new; ls -A /.slipway 2>/dev/null || true")
    };
    let container = bed.create(&second.id, look).await;
    assert_eq!(bed.run(&container).await, (0, "d 700 9:9\nnew 644 0:0\nnew\n".to_owned()));
    bed.runtime.remove(&container).await.unwrap();
    assert_eq!(bed.shell(&again.id, "cat /t/new; test ! -e /t/old").await, "new\nnew\n", "all of its changes");
    bed.forget(&[&again, &second, &first]).await;
}

async fn a_container_can_have_a_layer_on_top(bed: &Bed) {
    let base = bed.base().await;
    let first = bed.append(&base.id, vec![file("t/old", "")]).await;
    let layer = Arc::new(vec![file("t/given", "given"), entry("t/old", EntryKind::Whiteout)]);
    let container = bed.runtime.create(&first.id, Some(layer), &shell("ls /t; echo made > /t/made")).await.unwrap();
    assert_eq!(bed.run(&container).await, (0, "given\n".to_owned()));
    let second = bed.runtime.commit(&container, &ImageChange::default()).await.unwrap();
    bed.runtime.remove(&container).await.unwrap();
    assert_eq!((&second.config, second.parent.as_ref()), (&first.config, Some(&first.id)));
    assert_eq!(bed.shell(&second.id, "cd /t; cat *").await, "givenmade\n");
    bed.forget(&[&second, &first]).await;
}

async fn a_program_that_is_not_there_is_named(bed: &Bed) {
    let spec = ContainerSpec { command: vec!["/no/such/program".to_owned()], ..shell("") };
    let container = bed.create(&bed.base().await.id, spec).await;
    let error = bed.runtime.run(&container, &mut |_, _| {}).await.unwrap_err();
    bed.runtime.remove(&container).await.unwrap();
    assert!(format!("{error:#}").contains("/no/such/program"), "{error:#}");
}

async fn accounts_are_those_of_the_image(bed: &Bed) {
    let base = bed.base().await;
    let accounts = bed.runtime.accounts(&base.id).await.unwrap();
    assert_eq!((accounts.users["root"], accounts.users["www-data"], accounts.groups["adm"]), ((0, 0), (33, 33), 4));
    let other = bed
        .append(&base.id, vec![entry("etc/group", EntryKind::Whiteout), file("etc/passwd", "me:x:12:34::/:\n")])
        .await;
    let accounts = bed.runtime.accounts(&other.id).await.unwrap();
    assert_eq!(accounts.users, [("me".to_owned(), (12, 34))].into());
    assert_eq!(accounts.groups, BTreeMap::new());
    bed.forget(&[&other]).await;
}

/// `path: content` or `path kind` of each entry.
fn contents(tree: Option<Arc<dyn LayerSource>>) -> Vec<String> {
    let tree = tree.expect("the path is there");
    let describe = |entry: anyhow::Result<Entry>| {
        let entry = entry.unwrap();
        let path = entry.path.display();
        match &entry.kind {
            EntryKind::File { content, .. } => {
                format!("{path}: {}", io::read_to_string(content.open().unwrap()).unwrap())
            }
            EntryKind::Directory => format!("{path}/"),
            EntryKind::Symlink { target } => format!("{path} -> {}", target.display()),
            EntryKind::Hardlink { target } => format!("{path} = {}", target.display()),
            other => format!("{path} {other:?}"),
        }
    };
    tree.entries().unwrap().map(describe).collect()
}

async fn a_tree_is_sorted_and_readable(bed: &Bed) {
    let base = bed.base().await;
    let image = bed
        .append(
            &base.id,
            vec![
                directory("opt/t"),
                directory("opt/t/a"),
                file("opt/t/a-b", "dash"),
                file("opt/t/a/x", "deep"),
                entry("opt/t/link", EntryKind::Symlink { target: "/opt/t/a".into() }),
                entry("opt/t/nowhere", EntryKind::Symlink { target: "missing".into() }),
                Entry { mode: 0o4755, uid: 7, ..file("opt/t/one", "shared") },
                Entry {
                    mode: 0o4755,
                    uid: 7,
                    ..entry("opt/t/two", EntryKind::Hardlink { target: "opt/t/one".into() })
                },
            ],
        )
        .await;
    let tree = async |path: &str| bed.runtime.tree(&image.id, &TreeRequest { path: path.into() }).await.unwrap();
    let all = [
        "opt/t/",
        "opt/t/a/",
        "opt/t/a-b: dash",
        "opt/t/a/x: deep",
        "opt/t/link -> /opt/t/a",
        "opt/t/nowhere -> missing",
        "opt/t/one: shared",
        "opt/t/two = opt/t/one",
    ];
    assert_eq!(contents(tree("/opt/t").await), all);
    assert_eq!(contents(tree("/opt//t/").await), all);
    assert_eq!(contents(tree("/opt/t/a/x").await), ["opt/t/a/x: deep"]);
    assert_eq!(contents(tree("/opt/t/two").await), ["opt/t/two: shared"], "alone it is a file");
    assert_eq!(contents(tree("/opt/t/link").await), ["opt/t/link/", "opt/t/link/x: deep"], "under the path asked for");
    assert!(tree("/opt/t/missing").await.is_none());
    assert!(tree("/opt/t/nowhere").await.is_none(), "a link to nothing");
    let root = tree("/").await.unwrap();
    assert!(root.entries().unwrap().any(|entry| entry.unwrap().path == Path::new("opt/t/a-b")));

    let source = tree("/opt/t").await.unwrap();
    let one = source.entries().unwrap().map(Result::unwrap).find(|entry| entry.path.ends_with("one")).unwrap();
    assert_eq!((one.mode, one.uid, one.gid, one.mtime), (0o4755, 7, 0, 1_600_000_000));
    let copy = bed.runtime.append(Some(&base.id), Some(source), &ImageChange::default()).await.unwrap();
    assert_eq!(bed.shell(&copy.id, "cat /opt/t/a/x /opt/t/two").await, "deepshared", "a tree is a layer");
    bed.forget(&[&copy, &image]).await;
}

async fn paths_lead_where_links_say(bed: &Bed) {
    let base = bed.base().await;
    let link = |path: &str, target: &str| entry(path, EntryKind::Symlink { target: target.into() });
    let image = bed
        .append(
            &base.id,
            vec![
                Entry { mode: 0o2750, uid: 7, gid: 8, ..entry("opt/t/a", EntryKind::Directory) },
                file("opt/t/a/x", ""),
                link("opt/t/link", "/opt/t/a"),
                link("opt/t/nowhere", "missing"),
                link("opt/t/outside", "../../../../bin"),
                link("opt/t/привет", "link"),
            ],
        )
        .await;
    let resolve = async |path: &str| {
        let found = bed.runtime.resolve(&image.id, Path::new(path)).await.unwrap();
        found.map(|found| format!("{}{}", found.path.display(), if found.directory.is_some() { "/" } else { "" }))
    };
    for (path, expected) in [
        ("/", Some("/")),
        ("/opt/t", Some("opt/t/")),
        ("/opt//t/a/x", Some("opt/t/a/x")),
        ("/opt/t/link", Some("opt/t/a/")),
        ("/opt/t/link/x", Some("opt/t/a/x")),
        ("/opt/t/привет/x", Some("opt/t/a/x")),
        ("/opt/t/outside", Some("usr/bin/")),
        ("/bin", Some("usr/bin/")),
        ("/bin/sh", Some("usr/bin/dash")),
        ("/opt/t/nowhere", None),
        ("/opt/t/missing/x", None),
        ("/opt/t/a/x/y", None),
    ] {
        assert_eq!(resolve(path).await.as_deref(), expected, "{path}");
        assert_eq!(resolve(path).await.as_deref(), expected, "{path} again");
    }
    let looks = async |path: &str| bed.runtime.resolve(&image.id, Path::new(path)).await.unwrap().unwrap().directory;
    assert_eq!(looks("/opt/t/link").await, Some(Looks { mode: 0o2750, uid: 7, gid: 8 }));
    assert_eq!(looks("/tmp").await, Some(Looks { mode: 0o1777, uid: 0, gid: 0 }));
    assert!(bed.runtime.is_fetched(&image.id).await.unwrap(), "now it is");
    bed.forget(&[&image]).await;
    assert!(bed.runtime.inspect(image.id.as_str()).await.unwrap().is_none(), "nothing holds it");
}

async fn names_are_given_listed_and_taken(bed: &Bed) {
    let base = bed.base().await;
    let label = unique("label");
    let labelled =
        |value: &str| ImageChange { labels: [(label.clone(), value.to_owned())].into(), ..ImageChange::default() };
    let one = bed.runtime.append(Some(&base.id), None, &labelled("1")).await.unwrap();
    let two = bed.runtime.append(Some(&base.id), None, &labelled("2")).await.unwrap();
    let repository = unique("list").replace(':', "/");
    let name = |tag: &str| format!("{repository}:{tag}");
    bed.runtime.tag(&one.id, &name("a")).await.unwrap();
    bed.runtime.tag(&two.id, &name("b")).await.unwrap();
    bed.runtime.tag(&two.id, &name("c")).await.unwrap();

    let list = async |repository: Option<&str>, value: Option<&str>| -> Vec<ImageId> {
        let labels = value.map(|value| (label.clone(), value.to_owned())).into_iter().collect();
        let filter = ImageFilter { repository: repository.map(str::to_owned), labels };
        bed.runtime.list(&filter).await.unwrap().into_iter().map(|image| image.id).collect()
    };
    assert_eq!(list(Some(&repository), None).await, [one.id.clone(), two.id.clone()], "oldest first");
    assert_eq!(list(Some(&repository), Some("2")).await, std::slice::from_ref(&two.id));
    assert_eq!(list(None, Some("1")).await, std::slice::from_ref(&one.id));
    assert_eq!(list(Some("slipway-contract-nobody"), None).await, []);
    let found = bed.runtime.inspect(&name("c")).await.unwrap().unwrap();
    assert_eq!((found.id, found.names), (two.id.clone(), vec![name("b"), name("c")]));

    bed.runtime.tag(&one.id, &name("c")).await.unwrap();
    assert_eq!(bed.runtime.inspect(&name("c")).await.unwrap().unwrap().id, one.id, "a name moves");
    let filter = ImageFilter { repository: Some(repository.clone()), ..ImageFilter::default() };
    let names: Vec<Vec<String>> =
        bed.runtime.list(&filter).await.unwrap().into_iter().map(|image| image.names).collect();
    assert_eq!(names, [vec![name("a"), name("c")], vec![name("b")]]);
    for tag in ["a", "b", "c", "never-was"] {
        bed.runtime.untag(&name(tag)).await.unwrap();
    }
    assert!(bed.runtime.inspect(&name("c")).await.unwrap().is_none());
    assert!(bed.runtime.inspect(one.id.as_str()).await.unwrap().is_none(), "an image without names is dropped");
    assert!(bed.runtime.inspect("../../containers/json?").await.unwrap().is_none());
}

async fn many_appends_at_a_time(bed: &Bed) {
    let base = bed.base().await.id;
    let append = |number: usize| {
        let base = &base;
        async move { bed.append(base, vec![file("t/number", &number.to_string())]).await }
    };
    let images = futures_util::future::join_all((0..6).map(|number| append(number % 5))).await;
    for (number, image) in images.iter().enumerate() {
        let tree = bed.runtime.tree(&image.id, &TreeRequest { path: "/t/number".into() }).await.unwrap();
        assert_eq!(contents(tree), [format!("t/number: {}", number % 5)]);
    }
    let distinct: BTreeMap<&str, &ImageDescription> = images.iter().map(|image| (image.id.as_str(), image)).collect();
    bed.forget(&distinct.into_values().collect::<Vec<_>>()).await;
}

async fn a_published_image_comes_back(bed: &Bed) {
    let Ok(registry) = std::env::var("TESTBED_REGISTRY") else {
        println!("skipped: TESTBED_REGISTRY is not set");
        return;
    };
    let base = bed.base().await;
    let local = bed.append(&base.id, vec![file("t/published", "yes")]).await;
    let target: ImageRef = format!("{registry}/{}", unique("push")).parse().unwrap();
    let change = ImageChange { labels: [("published".to_owned(), "1".to_owned())].into(), ..ImageChange::default() };
    let lines = AtomicUsize::new(0);
    let count = |_: &str, _, _| {
        lines.fetch_add(1, Ordering::Relaxed);
    };
    let pushed = bed.runtime.push(&local.id, &change, &target, &count).await.unwrap();
    assert!(lines.into_inner() > 0, "progress was shown");
    assert!(pushed.reused_blobs + pushed.mounted_blobs > 0, "{pushed:?}");
    assert!(bed.runtime.inspect(&target.to_string()).await.unwrap().is_none(), "no name is left");
    let again = bed.runtime.push(&local.id, &change, &target, &|_, _, _| {}).await.unwrap();
    assert_eq!(
        (&again.digest, &again.id),
        (&pushed.digest, &pushed.id),
        "the same wherever and whenever it is published"
    );

    bed.runtime.tag(&base.id, &target.to_string()).await.unwrap();
    let other = bed.runtime.push(&local.id, &ImageChange::default(), &target, &|_, _, _| {}).await.unwrap();
    assert_ne!(other.digest, pushed.digest);
    let named = bed.runtime.inspect(&target.to_string()).await.unwrap().unwrap();
    assert_eq!(named.id, base.id, "a name that was in use is given back");
    bed.runtime.untag(&target.to_string()).await.unwrap();

    let config = published_config(&registry, &target, pushed.digest.as_str()).await;
    assert_eq!(config["config"]["Image"], local.id.as_str());
    assert_eq!(config["config"]["Labels"]["published"], "1");
    bed.forget(&[&local]).await;
    let by_digest = format!("{}@{}", target.name(), pushed.digest);
    let back = bed.runtime.base(&by_digest, BasePolicy::AskRegistry, &|_, _, _| {}).await.unwrap();
    assert_eq!(bed.shell(&back.id, "cat /t/published").await, "yes");
    assert_eq!(back.config.labels["published"], "1");
    bed.runtime.untag(&by_digest).await.unwrap();
    assert!(bed.runtime.inspect(&by_digest).await.unwrap().is_none());
}

/// The configuration blob of a manifest, as the registry has it.
async fn published_config(registry: &str, target: &ImageRef, digest: &str) -> serde_json::Value {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let get = async |path: String| -> serde_json::Value {
        let accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
        let url = format!("http://{registry}/v2/{}/{path}", target.repository);
        client.get(url).header("accept", accept).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    };
    let manifest = get(format!("manifests/{digest}")).await;
    get(format!("blobs/{}", manifest["config"]["digest"].as_str().unwrap())).await
}

async fn an_unknown_image_is_named(bed: &Bed) {
    let unknown: ImageId = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    assert!(bed.runtime.inspect(unknown.as_str()).await.unwrap().is_none());
    let append = bed.runtime.append(Some(&unknown), None, &ImageChange::default()).await.map(drop);
    let create = bed.runtime.create(&unknown, None, &shell("true")).await.map(drop);
    let accounts = bed.runtime.accounts(&unknown).await.map(drop);
    let path = bed.runtime.resolve(&unknown, Path::new("/bin")).await.map(drop);
    let fetched = bed.runtime.is_fetched(&unknown).await.map(drop);
    for error in [append, create, accounts, path, fetched] {
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(unknown.as_str()), "{error}");
    }
}

async fn attaching_works_after_a_run(bed: &Bed) {
    let host = tempfile::tempdir().unwrap();
    let spec = ContainerSpec {
        env: vec![("V".to_owned(), "value".to_owned())],
        mounts: vec![Mount { source: host.path().to_owned(), target: "/m".into(), read_only: false }],
        user: Some("33:33".to_owned()),
        ..shell("echo 1 > /tmp/made; exit 1")
    };
    std::fs::set_permissions(host.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let container = bed.create(&bed.base().await.id, spec).await;
    let command = ["/bin/sh", "-c", "test $V = value && cat /tmp/made > /m/seen && id -u >> /m/seen && exit 5"]
        .map(str::to_owned);
    assert_eq!(bed.run(&container).await.0, 1);
    assert_eq!(bed.runtime.attach(&container, &command).await.unwrap().code, 5);
    assert_eq!(std::fs::read_to_string(host.path().join("seen")).unwrap(), "1\n33\n");
    bed.runtime.remove(&container).await.unwrap();
}

/// A container with limits; `None`, with the reason printed, where this host has none.
async fn limited(bed: &Bed, limits: Limits, script: &str) -> Option<ContainerId> {
    let ignored = bed.runtime.ignored_limits(&limits).await.unwrap();
    if !ignored.is_empty() {
        println!("skipped: this host cannot limit {ignored:?}");
        return None;
    }
    Some(bed.create(&bed.base().await.id, ContainerSpec { limits, ..shell(script) }).await)
}

async fn a_command_with_too_much_memory_is_told_so(bed: &Bed) {
    let limits = Limits { memory: Some(Memory(64 << 20)), ..Limits::default() };
    let script = "echo before; exec python3 -c 'b = bytearray(512 << 20); print(len(b))'";
    let Some(container) = limited(bed, limits, script).await else { return };
    let mut output = Vec::new();
    let status = bed.runtime.run(&container, &mut |_, bytes| output.extend_from_slice(bytes)).await.unwrap();
    bed.runtime.remove(&container).await.unwrap();
    let output = String::from_utf8_lossy(&output);
    assert_eq!((status.code, status.out_of_memory, &*output), (137, true, "before\n"));
}

/// A fork bomb with a bound, should the limit not hold.
async fn too_many_processes_hurt_only_themselves(bed: &Bed) {
    let limits = Limits { pids: Some(Pids(32)), ..Limits::default() };
    let script = "import os, signal\n\
                  made = 0\n\
                  try:\n    \
                      for made in range(200):\n        \
                          if os.fork() == 0: signal.pause()\n\
                  except BlockingIOError: print('refused below 32:', made < 32)\n";
    let Some(container) = limited(bed, limits, &format!("exec python3 -c \"{script}\"")).await else { return };
    let (code, output) = bed.run(&container).await;
    bed.runtime.remove(&container).await.unwrap();
    assert_eq!((code, output.as_str()), (0, "refused below 32: True\n"));
}
