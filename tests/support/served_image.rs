//! An image that a registry serves, well or with faults, to programs that are no part of the test's own runtime.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::Response;
use serde_json::json;
use slipway::ids::Digest;
use slipway::registry::manifest::{OCI_CONFIG, OCI_MANIFEST};
use slipway::registry::{Descriptor, Manifest};

use super::fault_registry::{FaultRegistry, Seen, answer, refusal};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// The image `base:1` of a registry that runs as long as this lives.
pub struct ServedImage {
    pub registry: FaultRegistry,
    faults: Arc<AtomicBool>,
    _tokio: tokio::runtime::Runtime,
}

impl ServedImage {
    /// One layer, a tar as it is. `fault` answers what it gives an answer for, until [`ServedImage::mend`].
    pub fn new(layer: Vec<u8>, fault: impl Fn(&Seen) -> Option<Response<Body>> + Send + Sync + 'static) -> Self {
        let faults = Arc::new(AtomicBool::new(true));
        let on = faults.clone();
        let pages = pages(layer);
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let answer_to = move |seen: &Seen| {
            let faulty = if on.load(Ordering::Relaxed) { fault(seen) } else { None };
            faulty.unwrap_or_else(|| page(&pages, seen))
        };
        let registry = tokio.block_on(FaultRegistry::start(answer_to));
        Self { registry, faults, _tokio: tokio }
    }

    /// From now on without faults.
    pub fn mend(&self) {
        self.faults.store(false, Ordering::Relaxed);
    }

    pub fn name(&self) -> String {
        format!("{}/base:1", self.registry.address)
    }

    pub fn host(&self) -> String {
        self.registry.address.to_string()
    }
}

/// Where the blob of a layer is.
pub fn blob_path(layer: &[u8]) -> String {
    format!("/v2/base/blobs/{}", Digest::of(layer))
}

type Pages = BTreeMap<String, (&'static str, Vec<u8>)>;

fn pages(layer: Vec<u8>) -> Pages {
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let manifest = Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        config: Descriptor::new(OCI_CONFIG, Digest::of(&config), config.len() as u64),
        layers: vec![Descriptor::new(TAR, Digest::of(&layer), layer.len() as u64)],
        annotations: BTreeMap::new(),
    };
    let manifest = manifest.to_bytes().to_vec();
    [
        ("/v2/".to_owned(), ("application/json", b"{}".to_vec())),
        (format!("/v2/base/manifests/{}", Digest::of(&manifest)), (OCI_MANIFEST, manifest.clone())),
        ("/v2/base/manifests/1".to_owned(), (OCI_MANIFEST, manifest)),
        (format!("/v2/base/blobs/{}", Digest::of(&config)), ("application/octet-stream", config)),
        (blob_path(&layer), ("application/octet-stream", layer)),
    ]
    .into()
}

fn page(pages: &Pages, seen: &Seen) -> Response<Body> {
    match pages.get(&seen.target) {
        Some((media_type, bytes)) => {
            let digest = Digest::of(bytes).to_string();
            answer(200, &[("content-type", media_type), ("docker-content-digest", &digest)], bytes.clone())
        }
        None => refusal(404, if seen.target.contains("/blobs/") { "BLOB_UNKNOWN" } else { "MANIFEST_UNKNOWN" }),
    }
}
