//! Registries that refuse, break off and lie, through `build` and `publish`.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use futures_util::stream;
use slipway::ids::Digest;

use super::{error_of, left};
use crate::support::build_project::BuildProject;
use crate::support::fault_registry::{FaultRegistry, Seen, answer, cutting_proxy, refusal};
use crate::support::served_image::{ServedImage, blob_path};

type Fault = Box<dyn Fn(&Seen) -> Option<Response<Body>> + Send + Sync>;

/// Answers only requests for this path (or, ending with `/`, below it).
fn at(path: impl Into<String>, fault: impl Fn() -> Response<Body> + Send + Sync + 'static) -> Fault {
    let path = path.into();
    Box::new(move |seen| {
        let meant = if path.ends_with('/') { seen.target.starts_with(&path) } else { seen.target == path };
        (meant && seen.target != "/v2/").then(&fault)
    })
}

/// The first `count` times.
fn first(count: usize, fault: Fault) -> Fault {
    let done = AtomicUsize::new(0);
    Box::new(move |seen| {
        let response = fault(seen)?;
        (done.fetch_add(1, Ordering::Relaxed) < count).then_some(response)
    })
}

/// A root file system that this host does not have yet: of a layer that it has nothing is fetched.
fn layer_of(project: &BuildProject) -> Vec<u8> {
    let root = std::fs::File::open(project.host().join("root.tar")).unwrap();
    let mut layer = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(root).entries().unwrap() {
        let entry = entry.unwrap();
        layer.append(&entry.header().clone(), entry).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    layer.append_data(&mut header, "served", std::io::empty()).unwrap();
    layer.into_inner().unwrap()
}

/// Needs no file of the base.
fn lazy(project: &BuildProject, image: &ServedImage) {
    project.commit_yaml(&format!("image: app\nfrom: {}\ngit: [{{add: /, to: /app}}]\n", image.name()));
}

fn needed(project: &BuildProject, image: &ServedImage) {
    project.commit_yaml(&format!("image: app\nfrom: {}\nshell: {{install: [echo made > /made]}}\n", image.name()));
}

/// The build fails with code 4 (1 where nothing but the name is wrong) and these words; mended, it succeeds.
fn fails_until_mended(layer: &[u8], needs_files: bool, cases: Vec<(Fault, i32, &str)>) {
    for (fault, code, words) in cases {
        let Some(project) = BuildProject::embedded() else { return };
        let image = ServedImage::new(layer.to_vec(), fault);
        if needs_files {
            needed(&project, &image)
        } else {
            lazy(&project, &image)
        }
        let output = project.slipway(["build"]).run();
        assert_eq!(output.code, code, "expected {words:?}: {}", output.stderr);
        let error = error_of(&output).replace(&image.host(), "HOST");
        assert!(error.contains(words), "expected {words:?} in: {error}");
        assert_eq!(left(&project), [""; 0], "{words}");
        image.mend();
        let log = project.build();
        assert_eq!(log.built().last(), Some(&if needs_files { "app/install" } else { "app/gitArchive" }));
        assert_eq!(left(&project), [""; 0], "{words}");
    }
}

#[test]
fn a_base_image_whose_manifest_cannot_be_had() {
    let huge = || answer(200, &[("content-type", "application/vnd.oci.image.manifest.v1+json")], vec![b' '; 50 << 20]);
    let lie = || answer(200, &[("docker-content-digest", Digest::of(b"other").as_str())], r#"{"schemaVersion":2}"#);
    let Some(project) = BuildProject::embedded() else { return };
    fails_until_mended(
        &layer_of(&project),
        false,
        vec![
            (
                at("/v2/base/", || refusal(404, "MANIFEST_UNKNOWN")),
                1,
                "there is no image `HOST/base:1`, neither on this host nor in its registry\nhint: `slipway image import",
            ),
            (at("/v2/base/", || refusal(403, "DENIED")), 4, "403 Forbidden"),
            (at("/v2/base/", || refusal(401, "UNAUTHORIZED")), 4, "registry `HOST` refuses"),
            (at("/v2/base/manifests/", huge), 4, "bytes"),
            (at("/v2/base/manifests/", lie), 4, "expected digest"),
            (at("/v2/base/blobs/", || refusal(404, "BLOB_UNKNOWN")), 4, "404 Not Found"),
        ],
    );
}

#[test]
fn a_base_image_whose_layer_cannot_be_had() {
    let Some(project) = BuildProject::embedded() else { return };
    let layer = layer_of(&project);
    let blob = blob_path(&layer);
    let to = |target: &'static str| move || answer(307, &[("location", target)], Body::empty());
    let mut altered = layer.clone();
    altered[600] ^= 1;
    let (served, short) = (layer.clone(), layer[..9000].to_vec());
    fails_until_mended(
        &served,
        true,
        vec![
            (at(&blob, to("file:///etc/passwd")), 4, "it is not an http or https address"),
            (at(&blob, to("http://169.254.169.254/latest/")), 4, "which is not followed"),
            (at(&blob, move || answer(200, &[], altered.clone())), 4, "expected digest sha256:"),
            (at(&blob, move || answer(200, &[], short.clone())), 4, "bytes"),
            (at(&blob, || refusal(404, "BLOB_UNKNOWN")), 4, "404 Not Found"),
            (at(&blob, || refusal(403, "DENIED")), 4, "403 Forbidden"),
        ],
    );
}

/// Half of what is announced, then the connection is closed.
fn half(bytes: &[u8]) -> Response<Body> {
    let length = bytes.len().to_string();
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    let pieces = stream::iter([Ok(half), Err(std::io::Error::other("cut"))]);
    answer(200, &[("content-length", &length)], Body::from_stream(pieces))
}

#[test]
fn what_passes_by_itself_is_waited_for() {
    let Some(project) = BuildProject::embedded() else { return };
    let layer = layer_of(&project);
    let blob = blob_path(&layer);
    let elsewhere = ServedImage::new(layer.clone(), |_| None);
    let there = format!("http://{}{blob}", elsewhere.host());
    let cut = layer.clone();
    let busy = || answer(429, &[("retry-after", "1")], "slow down");
    let cases: Vec<Fault> = vec![
        first(1, at("/v2/base/", busy)),
        first(2, at("/v2/base/", || answer(500, &[], "oops"))),
        first(1, at(&blob, move || half(&cut))),
        at(&blob, move || answer(307, &[("location", &there)], Body::empty())),
    ];
    for fault in cases {
        let Some(project) = BuildProject::embedded() else { return };
        let image = ServedImage::new(layer.clone(), fault);
        needed(&project, &image);
        project.build();
        assert_eq!(left(&project), [""; 0]);
    }
}

#[test]
fn a_layer_that_nothing_needs_is_never_asked_for() {
    let Some(project) = BuildProject::embedded() else { return };
    let layer = layer_of(&project);
    let blob = blob_path(&layer);
    let image = ServedImage::new(layer, at(&blob, || refusal(500, "UNKNOWN")));
    lazy(&project, &image);
    project.build();
    assert!(image.registry.calls().iter().all(|call| !call.ends_with(&blob)), "{:?}", image.registry.calls());
}

/// A registry that has every blob and takes every manifest, but for `fault`.
fn taking(fault: Fault) -> (tokio::runtime::Runtime, FaultRegistry) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let registry = tokio.block_on(FaultRegistry::start(move |seen| {
        if let Some(response) = fault(seen) {
            return response;
        }
        match seen.method.as_str() {
            "PUT" => answer(201, &[("docker-content-digest", Digest::of(&seen.body).as_str())], Body::empty()),
            "HEAD" | "GET" if seen.target.contains("/manifests/") => refusal(404, "MANIFEST_UNKNOWN"),
            _ => answer(200, &[], Body::empty()),
        }
    }));
    (tokio, registry)
}

#[test]
fn a_registry_that_refuses_a_publication_is_told_as_such() {
    let Some(project) = BuildProject::embedded() else { return };
    project.commit_yaml("image: app\nfrom: BASE\n");
    project.build();
    let manifests = |method: &'static str, fault: fn() -> Response<Body>| -> Fault {
        Box::new(move |seen| (seen.method == method && seen.target.contains("/manifests/")).then(fault))
    };
    let cases: Vec<(Fault, i32, &str)> = vec![
        (manifests("PUT", || refusal(403, "DENIED")), 4, "403 Forbidden"),
        (manifests("PUT", || refusal(401, "UNAUTHORIZED")), 4, "registry `HOST` refuses"),
        (manifests("GET", || refusal(403, "DENIED")), 4, "403 Forbidden"),
        (
            manifests("PUT", || answer(201, &[("docker-content-digest", Digest::of(b"x").as_str())], Body::empty())),
            4,
            "expected digest",
        ),
        (first(1, manifests("PUT", || answer(429, &[("retry-after", "1")], "slow down"))), 0, ""),
        (first(2, manifests("PUT", || answer(503, &[], "starting"))), 0, ""),
    ];
    for (fault, code, words) in cases {
        let (_tokio, registry) = taking(fault);
        let repo = format!("--images-repo={}/app", registry.address);
        let output = project.slipway(["publish", &repo, "--tag-custom=1"]).run();
        assert_eq!(output.code, code, "{words} {}", output.stderr);
        if code != 0 {
            let error = error_of(&output).replace(&registry.address.to_string(), "HOST");
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(left(&project), [""; 0]);
    }
}

#[test]
fn an_upload_that_is_cut_goes_on() {
    let Some(project) = BuildProject::embedded() else { return };
    let Ok(registry) = std::env::var("TESTBED_REGISTRY") else {
        println!("skipped: needs TESTBED_REGISTRY");
        return;
    };
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let proxy = tokio.block_on(cutting_proxy(registry, 500_000, 2));
    project.commit_yaml("image: app\nfrom: BASE\nshell: {install: [head -c 3000000 /dev/urandom > /noise]}\n");
    let repo = format!("--images-repo={proxy}/{}", project.name);
    let publish = || project.slipway(["build-and-publish", &repo, "--tag-custom=1"]).run();
    let output = publish();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let again = publish();
    assert!(again.stderr.contains("up-to-date"), "{}", again.stderr);
    assert_eq!(left(&project), [""; 0]);
}
