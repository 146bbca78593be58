//! The registry client: against a real registry, and against one that misbehaves (spec/hostile-inputs.md 14-21).

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use base64::Engine as _;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::json;
use slipway::error::Explain;
use slipway::ids::Digest;
use slipway::image_ref::ImageRef;
use slipway::registry::manifest::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};
use slipway::registry::{
    BlobSource, Client, Descriptor, DockerConfig, Error, Manifest, Options, Platform, Progress, UploadOutcome,
    no_progress,
};
use slipway::sys::env::Env;
use tokio::sync::Notify;

use crate::support::fault_registry::{FaultRegistry, Seen, answer, cutting_proxy, refusal};
use crate::support::real_registry::RealRegistry;
use crate::support::{in_own_process, tls};

/// Nothing waits longer than a test should.
fn quick() -> Options {
    Options { attempts: 3, pause: Duration::from_millis(1), patience: Duration::from_secs(20), ..Options::default() }
}

fn client() -> Client {
    Client::new(quick())
}

/// A client that knows user `me`, password `hunter2` for a registry.
fn client_with_login(registry: &ImageRef) -> Client {
    let home = tempfile::tempdir().unwrap();
    DockerConfig::add_auth(home.path(), &registry.registry, "me", "hunter2").unwrap();
    Client::new(Options { docker_config: DockerConfig::load(home.path(), &Env::default()).unwrap(), ..quick() })
}

fn blob_of(bytes: &[u8]) -> Descriptor {
    Descriptor::new(OCI_LAYER_GZIP, Digest::of(bytes), bytes.len() as u64)
}

/// Bytes that do not repeat within any piece.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(length)
    .collect()
}

/// The error without what differs between runs.
fn told(error: &Error, server: &FaultRegistry) -> String {
    error.to_string().replace(&server.address.to_string(), "HOST")
}

fn manifest_bytes() -> Bytes {
    Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        config: Descriptor::new(OCI_CONFIG, Digest::of(b"{}"), 2),
        layers: Vec::new(),
        annotations: [].into(),
    }
    .to_bytes()
}

// --- a real registry -------------------------------------------------------------------------------------------------

/// A repository of the test registry with a name of its own, or a printed reason.
fn real_repository(test: &str) -> Option<ImageRef> {
    let Ok(registry) = std::env::var("TESTBED_REGISTRY") else {
        eprintln!("skipped: TESTBED_REGISTRY names no registry");
        return None;
    };
    let unique = std::process::id();
    Some(format!("{registry}/slipway-test/registry-{test}-{unique}").parse().unwrap())
}

#[tokio::test]
async fn an_image_is_pushed_pulled_mounted_listed_and_deleted() {
    let Some(name) = real_repository("whole") else { return };
    let other: ImageRef = format!("{}-other", name.name()).parse().unwrap();
    let client = client();
    assert_eq!(client.tags(&name).await.unwrap(), [""; 0]);
    assert!(client.manifest(&name.with_tag("v1")).await.unwrap().is_none());

    let layer = noise(3 << 20);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer");
    std::fs::write(&path, &layer).unwrap();
    let (layer, config) = (blob_of(&layer), Descriptor::new(OCI_CONFIG, Digest::of(b"{}"), 2));
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let progress: Progress = Arc::new(move |bytes| counter.store(bytes, Ordering::Relaxed));
    let from_file = BlobSource::File(path.clone());
    let outcome = client.upload(&name, &layer, &from_file, None, &progress).await.unwrap();
    assert_eq!((outcome, sent.load(Ordering::Relaxed)), (UploadOutcome::Uploaded(layer.size), layer.size));
    assert_eq!(client.upload(&name, &layer, &from_file, None, &progress).await.unwrap(), UploadOutcome::Existed);
    let mounted = client.upload(&other, &layer, &from_file, Some(&name.repository), &progress).await.unwrap();
    assert_eq!(mounted, UploadOutcome::Mounted);
    let bytes = BlobSource::Bytes(Bytes::from_static(b"{}"));
    client.upload(&name, &config, &bytes, None, &progress).await.unwrap();

    let manifest = Manifest { layers: vec![layer.clone()], ..serde_json::from_slice(&manifest_bytes()).unwrap() };
    let digest = client.put_manifest(&name.with_tag("v2"), OCI_MANIFEST, manifest.to_bytes()).await.unwrap();
    client.put_manifest(&name.with_tag("v1"), OCI_MANIFEST, manifest.to_bytes()).await.unwrap();
    assert_eq!(client.tags(&name).await.unwrap(), ["v1", "v2"]);
    let head = client.manifest_head(&name.with_tag("v1")).await.unwrap().unwrap();
    assert_eq!(head, (digest.clone(), OCI_MANIFEST.to_owned(), manifest.to_bytes().len() as u64));
    let (fetched, parsed) = client.image_manifest(&name.with_tag("v1"), &Platform::of_host()).await.unwrap().unwrap();
    assert_eq!((fetched.digest, parsed), (digest.clone(), manifest));

    let copy = directory.path().join("copy");
    client.blob_file(&name, &layer, &copy, &progress).await.unwrap();
    assert!(std::fs::read(copy).unwrap() == std::fs::read(path).unwrap());
    assert_eq!(client.blob_bytes(&name, &config, 100).await.unwrap(), "{}");

    assert!(client.delete_manifest(&name.with_tag("v1")).await.unwrap());
    assert!(!client.delete_manifest(&name.with_tag("v1")).await.unwrap());
    assert_eq!(client.manifest_head(&name.with_tag("v2")).await.unwrap(), None);
}

/// Bytes pass from one repository to another when the registry cannot mount them.
#[tokio::test]
async fn a_blob_is_copied_from_registry_to_registry() {
    let Some(name) = real_repository("copy") else { return };
    let into: ImageRef = format!("{}-into", name.name()).parse().unwrap();
    let bytes = noise(1 << 20);
    let blob = blob_of(&bytes);
    let client = client();
    client.upload(&name, &blob, &BlobSource::Bytes(bytes.into()), None, &no_progress()).await.unwrap();
    let outcome = client.upload(&into, &blob, &BlobSource::Registry(name), None, &no_progress()).await.unwrap();
    assert_eq!(outcome, UploadOutcome::Uploaded(blob.size));
    assert!(client.blob_exists(&into, &blob).await.unwrap());
}

/// Hostile inputs 20: the connection is cut in mid-upload, by a proxy in front of a real registry.
#[tokio::test]
async fn an_upload_survives_cut_connections() {
    let Some(name) = real_repository("cut") else { return };
    let proxy = cutting_proxy(name.registry.clone(), 2 << 20, 2).await;
    let through = ImageRef { registry: proxy.to_string(), ..name.clone() };
    let bytes = noise(8 << 20);
    let blob = blob_of(&bytes);
    let client = Client::new(Options { attempts: 5, ..quick() });
    let outcome = client.upload(&through, &blob, &BlobSource::Bytes(bytes.into()), None, &no_progress()).await.unwrap();
    assert_eq!(outcome, UploadOutcome::Uploaded(blob.size));
    assert!(client.blob_exists(&name, &blob).await.unwrap());
}

/// A registry of our own, with TLS and passwords.
#[tokio::test]
async fn a_registry_with_tls_and_passwords_is_used_with_a_login_only() {
    let directory = tempfile::tempdir().unwrap();
    let Some(registry) = RealRegistry::start(directory.path()) else { return };
    let name: ImageRef = format!("{}/app", registry.address).parse().unwrap();
    // The server needs a moment to listen; the first call tries until it does.
    let options = || Options { skip_tls_verify: true, attempts: 8, pause: Duration::from_millis(50), ..quick() };
    let stranger = Client::new(options());
    let refused = stranger.tags(&name).await.unwrap_err();
    insta::assert_snapshot!(refused.to_string().replace(&registry.address, "HOST"), @"registry `HOST` refuses GET https://HOST/v2/app/tags/list: it asks for a login, and no credentials are known: authentication required");
    let refused = stranger.check_login(&registry.address, "me", "wrong").await.unwrap_err();
    insta::assert_snapshot!(refused.to_string().replace(&registry.address, "HOST"), @"registry `HOST` refuses GET https://HOST/v2/: it does not accept the credentials: authentication required");
    stranger.check_login(&registry.address, "me", "hunter2").await.unwrap();

    DockerConfig::session_copy(Path::new("/nonexistent"), &directory.path().join("session")).unwrap();
    DockerConfig::add_auth(&directory.path().join("session"), &name.name(), "me", "hunter2").unwrap();
    let docker_config = DockerConfig::load(&directory.path().join("session"), &Env::default()).unwrap();
    let client = Client::new(Options { docker_config, ..options() });
    let bytes = noise(2 << 20);
    let blob = blob_of(&bytes);
    let source = BlobSource::Bytes(bytes.clone().into());
    let outcome = client.upload(&name, &blob, &source, Some("elsewhere"), &no_progress()).await.unwrap();
    assert_eq!(outcome, UploadOutcome::Uploaded(blob.size), "what cannot be mounted is uploaded");
    assert!(client.blob_bytes(&name, &blob, blob.size).await.unwrap() == bytes);
}

// --- digests, sizes, media types -----------------------------------------------------------------------------------------

/// Hostile inputs 14: the digest of the reference, of the header and of the body must agree.
#[tokio::test]
async fn a_manifest_whose_digests_disagree_is_refused() {
    let (good, other) = (Digest::of(&manifest_bytes()), Digest::of(b"other"));
    let (good_text, other_text) = (good.to_string(), other.to_string());
    for (asked, header, body_is_good) in [
        (None, Some(other_text.as_str()), true),
        (None, Some(good_text.as_str()), false),
        (Some(&good), None, false),
        (Some(&other), Some(other_text.as_str()), true),
        (Some(&other), None, true),
        (None, Some("sha256:short"), true),
    ] {
        let header = header.map(str::to_owned);
        let server = FaultRegistry::start(move |_| {
            let headers: Vec<_> = header.iter().map(|it| ("docker-content-digest", it.as_str())).collect();
            answer(200, &headers, if body_is_good { manifest_bytes() } else { Bytes::from_static(b"{}") })
        })
        .await;
        let image = ImageRef { digest: asked.cloned(), ..server.image("app:v1") };
        let error = client().manifest(&image).await.unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. } | Error::Answer { .. }), "{asked:?}: {error}");
    }
}

/// Hostile inputs 15.
#[tokio::test]
async fn a_manifest_of_fifty_megabytes_is_not_read() {
    let server = FaultRegistry::start(|_| {
        let pieces = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 << 10]))).take(800);
        answer(200, &[("content-type", OCI_MANIFEST)], Body::from_stream(pieces))
    })
    .await;
    let error = client().manifest(&server.image("app:v1")).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"GET http://HOST/v2/app/manifests/v1: the answer is not usable: it is larger than 4194304 bytes");
    assert_eq!(server.seen().len(), 1);
}

/// Hostile inputs 15: an index that names indexes without end, and one nested a thousand deep.
#[tokio::test]
async fn endless_indexes_are_refused() {
    let index_of = |child: &[u8]| {
        let platform = json!({ "os": "linux", "architecture": Platform::of_host().architecture });
        let entry =
            json!({ "mediaType": OCI_INDEX, "digest": Digest::of(child), "size": child.len(), "platform": platform });
        serde_json::to_vec(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] })).unwrap()
    };
    let chain: Vec<Vec<u8>> =
        std::iter::successors(Some(b"{}".to_vec()), |child| Some(index_of(child))).take(1001).collect();
    let top = chain.last().unwrap().clone();
    let server = FaultRegistry::start(move |seen| {
        let found = chain.iter().find(|bytes| seen.target.ends_with(Digest::of(bytes).as_str()));
        answer(200, &[("content-type", OCI_INDEX)], found.unwrap_or(&top).clone())
    })
    .await;
    let error = client().image_manifest(&server.image("app:v1"), &Platform::of_host()).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"manifest of HOST/app:v1: its indexes are nested deeper than 4");
    assert_eq!(server.seen().len(), 4);
}

/// Hostile inputs 15: an index that names itself needs a digest that no content has; the one it gets is another's.
#[tokio::test]
async fn an_index_cannot_name_itself() {
    let platform = json!({ "os": "linux", "architecture": Platform::of_host().architecture });
    let entry = json!({ "mediaType": OCI_INDEX, "digest": Digest::of(b"me"), "size": 2, "platform": platform });
    let bytes = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let server = FaultRegistry::start(move |_| answer(200, &[("content-type", OCI_INDEX)], bytes.clone())).await;
    let error = client().image_manifest(&server.image("app:v1"), &Platform::of_host()).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_blob_is_checked_by_length_and_digest() {
    let right = b"right content".to_vec();
    for (sent, expected) in [
        (b"wrong content".to_vec(), "digest"),
        (b"right content and more".to_vec(), "length"),
        (b"right".to_vec(), "length"),
    ] {
        let server = FaultRegistry::start(move |_| answer(200, &[], sent.clone())).await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob");
        let error =
            client().blob_file(&server.image("app"), &blob_of(&right), &path, &no_progress()).await.unwrap_err();
        let kind = match error {
            Error::DigestMismatch { .. } => "digest",
            Error::LengthMismatch { .. } => "length",
            other => panic!("{other}"),
        };
        assert_eq!(kind, expected);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing half-made is left");
    }
}

/// A configuration that claims gigabytes is not asked for.
#[tokio::test]
async fn a_small_blob_is_small() {
    let server = FaultRegistry::start(|_| answer(200, &[], "")).await;
    let huge = Descriptor::new(OCI_CONFIG, Digest::of(b""), 1 << 40);
    let error = client().blob_bytes(&server.image("app"), &huge, 8 << 20).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"blob sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 of HOST/app has 1099511627776 bytes, more than the 8388608 allowed");
    assert!(server.seen().is_empty());
}

/// Hostile inputs 21: what was looked up by tag is read by digest, so a tag that moves in between changes nothing.
#[tokio::test]
async fn a_tag_that_moves_is_noticed() {
    let server = FaultRegistry::start(|seen| {
        let by_digest = seen.target.contains("sha256:");
        let moved = Bytes::from_static(b"{\"moved\":true}");
        let body = if seen.number == 0 || by_digest { manifest_bytes() } else { moved };
        answer(200, &[("content-type", OCI_MANIFEST), ("docker-content-digest", Digest::of(&body).as_str())], body)
    })
    .await;
    let client = client();
    let image = server.image("app:v1");
    let (digest, ..) = client.manifest_head(&image).await.unwrap().unwrap();
    let pinned = ImageRef { digest: Some(digest.clone()), ..image.clone() };
    assert_eq!(client.manifest(&pinned).await.unwrap().unwrap().digest, digest);
    assert_ne!(client.manifest(&image).await.unwrap().unwrap().digest, digest);
    assert_eq!(server.calls()[1], format!("GET /v2/app/manifests/{digest}"));
}

#[tokio::test]
async fn a_damaged_image_is_not_an_absent_one() {
    let server = FaultRegistry::start(|seen| match seen.target.as_str() {
        "/v2/app/manifests/broken" => refusal(404, "BLOB_UNKNOWN"),
        "/v2/app/manifests/absent" => refusal(404, "MANIFEST_UNKNOWN"),
        _ => refusal(404, "NAME_UNKNOWN"),
    })
    .await;
    let client = client();
    assert!(client.manifest(&server.image("app:absent")).await.unwrap().is_none());
    assert!(client.manifest(&server.image("none:v1")).await.unwrap().is_none());
    let error = client.manifest(&server.image("app:broken")).await.unwrap_err();
    assert!(error.is_broken());
    insta::assert_snapshot!(told(&error, &server), @"GET http://HOST/v2/app/manifests/broken: 404 Not Found: BLOB_UNKNOWN: as the test wishes");
}

// --- busy and broken connections ---------------------------------------------------------------------------------------

/// Checklist row 83 of spec/publish-and-cleanup.md.
#[tokio::test]
async fn a_busy_registry_is_asked_again_after_the_pause_it_wants() {
    let server = FaultRegistry::start(|seen| match seen.number {
        0 => answer(429, &[("retry-after", "1")], ""),
        1 => refusal(503, "UNAVAILABLE"),
        _ => answer(200, &[], r#"{"name":"app","tags":["b","a"]}"#),
    })
    .await;
    let start = std::time::Instant::now();
    assert_eq!(client().tags(&server.image("app")).await.unwrap(), ["a", "b"]);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn every_attempt_is_told_when_none_succeeds() {
    let server =
        FaultRegistry::start(|seen| if seen.number == 0 { answer(429, &[], "") } else { refusal(500, "UNKNOWN") })
            .await;
    let error = client().tags(&server.image("app")).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"GET http://HOST/v2/app/tags/list failed 3 times: 429 Too Many Requests; then 500 Internal Server Error: as the test wishes (2 times)");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn what_is_refused_is_not_asked_again() {
    let server = FaultRegistry::start(|_| refusal(403, "DENIED")).await;
    let error = client().put_manifest(&server.image("app:v1"), OCI_MANIFEST, manifest_bytes()).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"PUT http://HOST/v2/app/manifests/v1: 403 Forbidden: DENIED: as the test wishes");
    assert!(error.is_denied());
    assert_eq!(server.seen().len(), 1);
}

/// How a blob server treats the request after the cut.
#[derive(Clone, Copy, Debug)]
enum AfterCut {
    Resumes,
    IgnoresRange,
    RefusesRange,
    StartsEarlier,
    StartsLater,
}

/// Sends half of the blob and breaks off when the client has it, then does as told.
fn cut_once(blob: &'static [u8], seen: &Seen, after: AfterCut, received: Arc<Notify>) -> Response<Body> {
    let half = blob.len() / 2;
    let Some(range) = &seen.range else {
        if seen.number > 0 {
            return answer(200, &[], blob);
        }
        let cut = stream::once(async move {
            received.notified().await;
            Err(std::io::Error::other("cut"))
        });
        let pieces = stream::iter([Ok(Bytes::from_static(&blob[..half]))]).chain(cut.boxed());
        return answer(200, &[("content-length", &blob.len().to_string())], Body::from_stream(pieces));
    };
    assert_eq!(range, &format!("bytes={half}-"));
    let part = |start: usize| {
        let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
        answer(206, &[("content-range", &range)], &blob[start..])
    };
    match after {
        AfterCut::Resumes => part(half),
        AfterCut::StartsEarlier => part(half - 100),
        AfterCut::StartsLater => part(half + 1),
        AfterCut::IgnoresRange => answer(200, &[], blob),
        AfterCut::RefusesRange => answer(416, &[], ""),
    }
}

/// Downloads from a registry that cuts once.
async fn download_with_cut(blob: &'static [u8], after: AfterCut) -> Result<Vec<u8>, Error> {
    let received = Arc::new(Notify::new());
    let signal = received.clone();
    let server = FaultRegistry::start(move |seen| cut_once(blob, seen, after, signal.clone())).await;
    let progress: Progress = Arc::new(move |bytes| {
        if bytes == blob.len() as u64 / 2 {
            received.notify_one();
        }
    });
    let mut out = Vec::new();
    client().blob(&server.image("app"), &blob_of(blob), &mut out, &progress).await?;
    Ok(out)
}

/// Hostile inputs 20.
#[tokio::test]
async fn a_download_goes_on_after_a_cut() {
    let blob: &'static [u8] = noise(300_000).leak();
    for after in [AfterCut::Resumes, AfterCut::IgnoresRange, AfterCut::RefusesRange, AfterCut::StartsEarlier] {
        assert!(download_with_cut(blob, after).await.unwrap() == blob, "{after:?}");
    }
    let error = download_with_cut(blob, AfterCut::StartsLater).await.unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error}");
}

/// Hostile inputs 20: bytes that stop coming end an attempt.
#[tokio::test]
async fn a_standstill_ends_an_attempt() {
    let server = FaultRegistry::start(|_| {
        let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))]).chain(stream::pending());
        answer(200, &[], Body::from_stream(pieces))
    })
    .await;
    let client = Client::new(Options { patience: Duration::from_millis(500), ..quick() });
    let error = client.blob(&server.image("app"), &blob_of(b"xyz"), &mut Vec::new(), &no_progress()).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server).replace(blob_of(b"xyz").digest.as_str(), "DIGEST"), @"GET http://HOST/v2/app/blobs/DIGEST failed 3 times: no answer within 0.5 s (3 times)");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn nobody_listening_is_told_as_such() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let image: ImageRef = format!("{address}/app:v1").parse().unwrap();
    let error = client().manifest(&image).await.unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(&address.to_string(), "HOST"), @"GET https://HOST/v2/ failed 3 times: cannot connect: Connection refused (os error 111) (3 times)");
}

// --- TLS and plain HTTP ---------------------------------------------------------------------------------------------------

/// An address of this machine that is not loopback, or a printed reason.
fn outer_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: connecting a datagram socket only chooses the local address.
    let address = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr());
    match address {
        Ok(address) => Some(address.ip()),
        Err(_) => {
            eprintln!("skipped: this machine has no address but loopback");
            None
        }
    }
}

/// Row 35 of the checklist in spec/publish-and-cleanup.md: plain HTTP where it is allowed, and only there.
#[tokio::test]
async fn plain_http_beyond_this_machine_is_spoken_only_where_allowed() {
    let Some(ip) = outer_address() else { return };
    let server = FaultRegistry::start_at(ip, |_| answer(200, &[], r#"{"tags":["v1"]}"#)).await;
    let image = server.image("app");
    let error = client().tags(&image).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"GET https://HOST/v2/app/tags/list: the port does not speak TLS");
    insta::assert_snapshot!(error.hints().join("\n"), @"if the registry speaks plain HTTP, allow it with `--insecure-registry`");
    assert!(server.seen().is_empty());
    let allowed = Client::new(Options { plain_http: [image.registry.clone()].into(), ..quick() });
    assert_eq!(allowed.tags(&image).await.unwrap(), ["v1"]);
}

#[tokio::test]
async fn certificates_are_checked_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    if !tls::make_certificates(directory.path()) {
        return;
    }
    let address = tls::serve(directory.path(), r#"{"tags":["v1"]}"#);
    let image: ImageRef = format!("{address}/app").parse().unwrap();
    let error = client().tags(&image).await.unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(&address.to_string(), "HOST"), @"GET https://HOST/v2/app/tags/list: the certificate is not accepted: invalid peer certificate: UnknownIssuer");
    insta::assert_snapshot!(error.hints().join("\n"), @"add the registry's authority to the system's certificates, or use `--skip-tls-verify-registry`");
    let careless = Client::new(Options { skip_tls_verify: true, ..quick() });
    assert_eq!(careless.tags(&image).await.unwrap(), ["v1"]);
}

/// The system's certificates count, wherever `SSL_CERT_FILE` says they are.
#[test]
fn an_authority_of_the_system_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let variables =
        [("SSL_CERT_FILE", ca.to_str().unwrap()), ("TEST_CERTIFICATES", directory.path().to_str().unwrap())];
    if std::env::var_os("TEST_CERTIFICATES").is_none() && !tls::make_certificates(directory.path()) {
        return;
    }
    if !in_own_process("features::registry::an_authority_of_the_system_is_trusted", &variables) {
        return;
    }
    let directory = std::env::var_os("TEST_CERTIFICATES").unwrap();
    let address = tls::serve(directory.as_ref(), r#"{"tags":["v1"]}"#);
    let image: ImageRef = format!("{address}/app").parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(client().tags(&image)).unwrap(), ["v1"]);
}

// --- where a registry points to -------------------------------------------------------------------------------------------

/// Hostile inputs 17.
#[tokio::test]
async fn pages_of_tags_stay_on_the_registry_and_end() {
    let page = |link: &'static str| {
        move |seen: &Seen| {
            let link = link.replace("NUMBER", &seen.number.to_string());
            let body = format!(r#"{{"tags":["t{}"]}}"#, seen.number);
            if seen.number == 3 { answer(200, &[], body) } else { answer(200, &[("link", &link)], body) }
        }
    };
    let server = FaultRegistry::start(page(r#"</v2/app/tags/list?last=NUMBER>; rel="next""#)).await;
    assert_eq!(client().tags(&server.image("app")).await.unwrap(), ["t0", "t1", "t2", "t3"]);

    let server = FaultRegistry::start(page(r#"<http://127.0.0.2:1/v2/app/tags/list>; rel="next""#)).await;
    let error = client().tags(&server.image("app")).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"GET http://HOST/v2/app/tags/list: the answer is not usable: its next page is on another host, `http://127.0.0.2:1/v2/app/tags/list`");
}

/// Hostile inputs 17: pages that never repeat, and never end.
#[tokio::test]
async fn pages_of_tags_that_bring_nothing_new_end_the_list() {
    let server = FaultRegistry::start(|seen| {
        let link = format!(r#"</v2/app/tags/list?last={}>; rel="next""#, seen.number);
        answer(200, &[("link", &link)], r#"{"tags":["a","b"]}"#)
    })
    .await;
    let error = client().tags(&server.image("app")).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"GET http://HOST/v2/app/tags/list: the answer is not usable: a page brings nothing new and names another");
    assert_eq!(server.seen().len(), 2);
}

/// Hostile inputs 18: an upload is not sent where the registry has no business.
#[tokio::test]
async fn an_upload_location_is_not_followed_anywhere() {
    let mut errors = Vec::new();
    for location in ["http://169.254.169.254/latest/meta-data", "file:///etc/shadow", "http://me:pw@127.0.0.1/x"] {
        let server = FaultRegistry::start(move |seen| match seen.method.as_str() {
            "HEAD" => answer(404, &[], ""),
            _ => answer(202, &[("location", location)], ""),
        })
        .await;
        let source = BlobSource::Bytes(Bytes::from_static(b"x"));
        let error =
            client().upload(&server.image("app"), &blob_of(b"x"), &source, None, &no_progress()).await.unwrap_err();
        errors.push(told(&error, &server));
    }
    insta::assert_snapshot!(errors.join("\n"), @r"
    registry `HOST` points to `http://169.254.169.254/latest/meta-data` for PUT, which is not followed: it is a link-local, metadata or unspecified address
    registry `HOST` points to `file:///etc/shadow` for PUT, which is not followed: it is not an http or https address
    registry `HOST` points to `http://127.0.0.1/x` for PUT, which is not followed: it carries a user name
    ");
}

/// A redirect to a storage is followed, without the login.
#[tokio::test]
async fn a_redirect_to_another_host_carries_no_login() {
    let storage = FaultRegistry::start(|_| answer(200, &[], "content")).await;
    let target = format!("http://{}/bucket/blob?signature=secret", storage.address);
    let server = FaultRegistry::start(move |seen| match seen.authorization {
        None => answer(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
        Some(_) => answer(307, &[("location", &target)], ""),
    })
    .await;
    let image = server.image("app");
    let mut out = Vec::new();
    client_with_login(&image).blob(&image, &blob_of(b"content"), &mut out, &no_progress()).await.unwrap();
    assert_eq!(out, b"content");
    assert_eq!(storage.seen()[0].authorization, None);
    assert!(server.seen()[1].authorization.is_some());
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = FaultRegistry::start(|_| answer(302, &[("location", "/v2/again")], "")).await;
    let error = client().manifest(&server.image("app:v1")).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"GET http://HOST/v2/app/manifests/v1: the answer is not usable: more than 5 redirects");
}

// --- login ------------------------------------------------------------------------------------------------------------------

/// A registry that wants bearer tokens from `realm` (`SELF` is its own address), and its token service.
async fn token_registry(realm: &'static str, token: impl Fn(&Seen) -> String + Send + Sync + 'static) -> FaultRegistry {
    let own: Arc<Mutex<String>> = Arc::default();
    let address = own.clone();
    let server = FaultRegistry::start(move |seen| {
        if seen.target.starts_with("/token") {
            return answer(200, &[], json!({ "token": token(seen), "expires_in": 300 }).to_string());
        }
        let realm = realm.replace("SELF", &address.lock().unwrap());
        let challenge = format!(r#"Bearer realm="{realm}",service="test",scope="repository:app:pull""#);
        match seen.authorization.as_deref() {
            Some("Bearer good") => answer(200, &[], r#"{"tags":["v1"]}"#),
            _ => answer(401, &[("www-authenticate", &challenge)], ""),
        }
    })
    .await;
    *own.lock().unwrap() = server.address.to_string();
    server
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many_callers() {
    let server = token_registry("http://SELF/token", |_| "good".to_owned()).await;
    let image = server.image("app");
    let client = client_with_login(&image);
    assert_eq!(client.tags(&image).await.unwrap(), ["v1"]);
    let calls = (0..20).map(|_| client.tags(&image));
    assert!(futures_util::future::join_all(calls).await.iter().all(Result::is_ok));
    let tokens: Vec<Seen> = server.seen().into_iter().filter(|seen| seen.target.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].target, "/token?service=test&scope=repository%3Aapp%3Apull&account=me");
    let login = base64::engine::general_purpose::STANDARD.encode("me:hunter2");
    assert_eq!(tokens[0].authorization, Some(format!("Basic {login}")));
    assert_eq!(server.seen().len(), 23, "the challenge is paid for once");
}

#[tokio::test]
async fn a_token_that_went_stale_is_renewed_once() {
    let server =
        token_registry(
            "http://SELF/token",
            |seen| {
                if seen.number < 2 { "stale".to_owned() } else { "good".to_owned() }
            },
        )
        .await;
    let image = server.image("app");
    let client = client_with_login(&image);
    let error = client.tags(&image).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"registry `HOST` refuses GET http://HOST/v2/app/tags/list: it does not accept the credentials");
    assert_eq!(client.tags(&image).await.unwrap(), ["v1"]);
}

/// Hostile inputs 19: over plain HTTP, a token service elsewhere does not see the credentials.
#[tokio::test]
async fn credentials_are_not_sent_to_a_foreign_token_service() {
    let server = token_registry("https://evil.example.invalid/token", |_| "good".to_owned()).await;
    let image = server.image("app");
    let error = client_with_login(&image).tags(&image).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"registry `HOST` asks to send its credentials to `https://evil.example.invalid/token`, which is refused: over plain http anybody can name another host");
    insta::assert_snapshot!(error.hints().join("\n"), @"serve the registry over https, or its token service on the registry's own host");
    let error = client().check_login(&image.registry, "me", "hunter2").await.unwrap_err();
    assert!(matches!(error, Error::Realm { .. }), "{error}");
}

#[tokio::test]
async fn without_credentials_a_login_is_asked_for() {
    let server = FaultRegistry::start(|_| answer(401, &[("www-authenticate", "Basic realm=\"r\"")], "")).await;
    let error = client().tags(&server.image("app")).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"registry `HOST` refuses GET http://HOST/v2/app/tags/list: it asks for a login, and no credentials are known");
    insta::assert_snapshot!(error.hints().join("\n"), @"log in with `docker login REGISTRY` (in a GitLab job: `slipway ci-env gitlab`), or check what the user may do");
    assert_eq!(server.seen().len(), 1);
}

/// Hostile inputs 19: each registry sees its own credentials only.
#[tokio::test]
async fn credentials_of_one_registry_are_not_shown_to_another() {
    let wants_login = |_: &Seen| answer(401, &[("www-authenticate", "Basic realm=\"r\"")], "");
    let (known, other) = (FaultRegistry::start(wants_login).await, FaultRegistry::start(wants_login).await);
    let client = client_with_login(&known.image("app"));
    assert!(client.tags(&known.image("app")).await.is_err());
    assert!(client.tags(&other.image("app")).await.is_err());
    assert_eq!(known.seen().iter().filter(|seen| seen.authorization.is_some()).count(), 1);
    assert!(other.seen().iter().all(|seen| seen.authorization.is_none()));
}

/// Hostile inputs 20: a registry that never believes us is asked twice, not for ever.
#[tokio::test]
async fn a_registry_that_always_says_401_is_left_alone() {
    let server = token_registry("http://SELF/token", |_| "bad".to_owned()).await;
    let image = server.image("app");
    let error = client_with_login(&image).tags(&image).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_login_is_checked_by_the_handshake() {
    let right = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("me:hunter2"));
    let server = FaultRegistry::start(move |seen| match seen.authorization.as_ref() {
        Some(given) if *given == right => answer(200, &[], "{}"),
        _ => answer(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
    })
    .await;
    let registry = server.address.to_string();
    client().check_login(&registry, "me", "hunter2").await.unwrap();
    let error = client().check_login(&registry, "me", "wrong").await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server), @"registry `HOST` refuses GET http://HOST/v2/: it does not accept the credentials");
    assert!(!format!("{error:?}").contains("wrong"));
}

// --- uploads ---------------------------------------------------------------------------------------------------------------

/// A registry that cannot mount opens a session instead, and that session is used.
#[tokio::test]
async fn a_mount_answered_with_a_session_becomes_an_upload() {
    let server = FaultRegistry::start(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("HEAD", _) => answer(404, &[], ""),
        ("POST", _) => answer(202, &[("location", "/v2/app/blobs/uploads/1?state=a%3Db")], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let source = BlobSource::Bytes(Bytes::from_static(b"content"));
    let blob = blob_of(b"content");
    let outcome = client().upload(&server.image("app"), &blob, &source, Some("base"), &no_progress()).await.unwrap();
    assert_eq!(outcome, UploadOutcome::Uploaded(7));
    let digest = blob.digest.as_str().replace(':', "%3A");
    assert_eq!(
        server.calls()[1..],
        [
            format!("POST /v2/app/blobs/uploads/?mount={digest}&from=base"),
            format!("PUT /v2/app/blobs/uploads/1?state=a%3Db&digest={digest}")
        ]
    );
}

#[tokio::test]
async fn an_upload_goes_on_where_the_registry_says() {
    let bytes = noise(100_000);
    let server = FaultRegistry::start(|seen| match (seen.method.as_str(), seen.number) {
        ("HEAD", _) => answer(404, &[], ""),
        ("POST", _) => answer(202, &[("location", "/v2/app/blobs/uploads/1")], ""),
        ("PUT", 2) => answer(502, &[], ""),
        ("GET", _) => answer(204, &[("location", "/v2/app/blobs/uploads/2"), ("range", "0-39999")], ""),
        ("PATCH", _) => answer(202, &[("location", "/v2/app/blobs/uploads/3")], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let source = BlobSource::Bytes(bytes.clone().into());
    client().upload(&server.image("app"), &blob_of(&bytes), &source, None, &no_progress()).await.unwrap();
    let methods: Vec<String> = server.calls().iter().map(|call| call.split('?').next().unwrap().to_owned()).collect();
    insta::assert_snapshot!(methods.join("\n").replace(blob_of(&bytes).digest.as_str(), "DIGEST"), @r"
    HEAD /v2/app/blobs/DIGEST
    POST /v2/app/blobs/uploads/
    PUT /v2/app/blobs/uploads/1
    GET /v2/app/blobs/uploads/1
    PATCH /v2/app/blobs/uploads/2
    PUT /v2/app/blobs/uploads/3
    ");
    assert!(server.seen()[4].body == bytes[40_000..]);
}

#[tokio::test]
async fn an_upload_whose_session_is_lost_begins_anew() {
    let server = FaultRegistry::start(|seen| match (seen.method.as_str(), seen.number) {
        ("HEAD", _) => answer(404, &[], ""),
        ("POST", number) => answer(202, &[("location", &format!("/v2/app/blobs/uploads/{number}"))], ""),
        ("PUT", 2) => refusal(404, "BLOB_UPLOAD_UNKNOWN"),
        _ => answer(201, &[], ""),
    })
    .await;
    let source = BlobSource::Bytes(Bytes::from_static(b"content"));
    client().upload(&server.image("app"), &blob_of(b"content"), &source, None, &no_progress()).await.unwrap();
    assert_eq!(server.seen().last().unwrap().body, "content");
}

#[tokio::test]
async fn a_file_that_changed_is_not_uploaded() {
    let server = FaultRegistry::start(|seen| match seen.method.as_str() {
        "HEAD" => answer(404, &[], ""),
        _ => answer(202, &[("location", "/v2/app/blobs/uploads/1")], ""),
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "longer than it was").unwrap();
    let source = BlobSource::File(file.path().to_owned());
    let error =
        client().upload(&server.image("app"), &blob_of(b"content"), &source, None, &no_progress()).await.unwrap_err();
    insta::assert_snapshot!(told(&error, &server).replace(blob_of(b"content").digest.as_str(), "DIGEST").replace(file.path().to_str().unwrap(), "FILE"), @"`FILE`, to be uploaded as DIGEST: expected 7 bytes, got 18");
}

/// A gibibyte passes through, and is not kept.
#[test]
fn a_large_upload_needs_little_memory() {
    if !in_own_process("features::registry::a_large_upload_needs_little_memory", &[]) {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 30).unwrap();
    let blob = Descriptor::new(OCI_LAYER_GZIP, Digest::of(b"not looked at by this registry"), 1 << 30);
    let source = BlobSource::File(file.path().to_owned());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let server = FaultRegistry::start(|seen| match seen.method.as_str() {
            "HEAD" => answer(404, &[], ""),
            "POST" => answer(202, &[("location", "/v2/app/blobs/uploads/1")], ""),
            _ => answer(201, &[], ""),
        })
        .await;
        client().upload(&server.image("app"), &blob, &source, None, &no_progress()).await.unwrap();
        server
    });
    assert_eq!(server.seen()[2].length, 1 << 30);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak: u64 = peak.parse().unwrap();
    assert!(peak < 64 << 10, "{peak} KiB at the peak");
    println!("{peak} KiB at the peak");
}

/// Calls can be spawned as tasks of their own.
#[tokio::test]
async fn calls_run_in_parallel_tasks() {
    let server = FaultRegistry::start(|_| answer(200, &[], r#"{"tags":["v1"]}"#)).await;
    let (client, image) = (client(), server.image("app"));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (client, image) = (client.clone(), image.clone());
            tokio::spawn(async move { client.tags(&image).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), ["v1"]);
    }
}
