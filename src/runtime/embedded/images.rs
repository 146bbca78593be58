//! Images made of what is in the store: found, derived, read.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FileType, Stat};
use serde_json::{Map, Value, json};

use super::marks::Marks;
use super::merged::{Found, Merged, MergedSource, relative};
use super::snapshot;
use super::store::{self, ImageRecord, LayerId, LayerRecord, Store};
use crate::error::Error;
use crate::ids::ImageId;
use crate::layer::{LayerSource, Looks};
use crate::runtime::{Accounts, ImageChange, ImageConfig, ImageDescription, ImageFilter, Resolved};
use crate::sys::clock::Clock;

/// The images of this host. Everything here blocks.
#[derive(Clone, Debug)]
pub struct Images {
    pub store: Store,
    pub marks: Marks,
    pub clock: Clock,
}

/// A database of accounts is never near this large.
const MAX_ACCOUNTS: u64 = 16 << 20;

impl Images {
    pub fn inspect(&self, name: &str) -> anyhow::Result<Option<ImageDescription>> {
        let Some((id, record)) = self.store.find(name)? else { return Ok(None) };
        let names = self.store.names_of(&id)?;
        Ok(Some(record.describe(id, names)))
    }

    pub fn list(&self, filter: &ImageFilter) -> anyhow::Result<Vec<ImageDescription>> {
        let quoted = |text: &String| Value::from(text.as_str()).to_string();
        let words: Vec<String> =
            filter.labels.iter().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value))).collect();
        let mut found = self.store.list(filter.repository.as_deref(), &words)?;
        found.retain(|image| filter.labels.iter().all(|(name, value)| image.config.labels.get(name) == Some(value)));
        Ok(found)
    }

    /// The record of an image that must be here.
    pub fn record(&self, id: &ImageId) -> anyhow::Result<ImageRecord> {
        let missing = || {
            Error::user(format!("there is no image `{id}` on this host"))
                .hint("it may have been removed meanwhile; run the command again")
        };
        Ok(self.store.image(id)?.ok_or_else(missing)?)
    }

    pub fn append(
        &self,
        parent: Option<&ImageId>,
        layer: Option<&dyn LayerSource>,
        change: &ImageChange,
    ) -> anyhow::Result<ImageDescription> {
        let _lock = self.store.lock_to_add()?;
        let layer = layer.map(|layer| snapshot::keep_entries(&self.store, layer)).transpose()?;
        self.derive(parent, layer.as_slice(), change)
    }

    /// A new image of a parent, layers that are in the store and a change: never one that is there already, or whoever drops
    /// the one would drop the other. The caller holds the lock to add.
    pub fn derive(
        &self,
        parent: Option<&ImageId>,
        layers: &[(LayerId, LayerRecord)],
        change: &ImageChange,
    ) -> anyhow::Result<ImageDescription> {
        let mut record = match parent {
            Some(parent) => ImageRecord { parent: Some(parent.clone()), ..self.record(parent)? },
            None => scratch(),
        };
        record.created = self.clock.now();
        record.config = record.config.changed(change);
        record.nonce = Some(store::nonce()?);
        if layers.is_empty() {
            record.history.push(history(record.created, true));
        }
        for (id, layer) in layers {
            record.history.push(history(record.created, false));
            record.layers.push(id.clone());
            record.size += layer.size;
        }
        let id = self.store.add_image(None, &record)?;
        Ok(record.describe(id, Vec::new()))
    }

    /// Gives an image a name. An image that loses its last name by that is dropped when nothing is made from it.
    pub fn tag(&self, id: &ImageId, name: &str) -> anyhow::Result<()> {
        self.drop_unused(self.store.tag(id, name)?.as_ref())
    }

    /// Drops an image that has lost a name, unless something else keeps it.
    pub fn drop_unused(&self, image: Option<&ImageId>) -> anyhow::Result<()> {
        match image {
            Some(image) => self.store.remove_unused(&self.store.lock_to_remove()?, image),
            None => Ok(()),
        }
    }

    pub fn untag(&self, name: &str) -> anyhow::Result<()> {
        let lock = self.store.lock_to_remove()?;
        if let Some(id) = self.store.untag(name)? {
            self.store.remove_unused(&lock, &id)?;
        }
        Ok(())
    }

    pub fn accounts(&self, id: &ImageId) -> anyhow::Result<Accounts> {
        accounts_of(&self.merged(id)?)
    }

    pub fn tree(&self, id: &ImageId, path: &Path) -> anyhow::Result<Option<Arc<dyn LayerSource>>> {
        let merged = self.merged(id)?;
        let Some(found) = merged.find(path)? else { return Ok(None) };
        Ok(Some(Arc::new(MergedSource { merged, path: relative(path), found })))
    }

    pub fn resolve(&self, id: &ImageId, path: &Path) -> anyhow::Result<Option<Resolved>> {
        let (path, found) = self.merged(id)?.resolve(path)?;
        let looks = |stat: Stat| Looks { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid };
        let directory = |found: Found| (found.kind() == FileType::Directory).then(|| looks(found.stat));
        Ok(found.map(|found| Resolved { path, directory: directory(found) }))
    }

    /// The files of an image; every layer must be here in some form.
    pub fn merged(&self, id: &ImageId) -> anyhow::Result<Merged> {
        Ok(Merged::new(self.trees(&self.record(id)?)?, self.marks))
    }

    /// The directories of all layers, top first; made where they are missing.
    pub fn trees(&self, record: &ImageRecord) -> anyhow::Result<Vec<PathBuf>> {
        self.unpack_missing(record)?;
        // A layer that stands twice is hidden, the lower time, by itself; an overlay refuses it.
        let mut seen = BTreeSet::new();
        let layers = record.layers.iter().rev().filter(|layer| seen.insert(*layer));
        let mut trees: Vec<PathBuf> = layers.map(|layer| self.store.tree_dir(layer)).collect();
        if trees.is_empty() {
            trees.push(self.empty_tree()?);
        }
        Ok(trees)
    }

    /// Makes the directories that are missing, as many at a time as there are cores.
    fn unpack_missing(&self, record: &ImageRecord) -> anyhow::Result<()> {
        let missing: BTreeSet<&LayerId> = record.layers.iter().filter(|layer| !self.store.has_tree(layer)).collect();
        let missing: Vec<&LayerId> = missing.into_iter().collect();
        let next = AtomicUsize::new(0);
        let unpack = || -> anyhow::Result<()> {
            while let Some(layer) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                snapshot::ensure_tree(&self.store, layer, self.marks)?;
            }
            Ok(())
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cores.min(missing.len())).map(|_| scope.spawn(unpack)).collect();
            let panicked = |_| Err(anyhow::anyhow!("a thread that unpacks a layer has panicked"));
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(panicked))
        })
    }

    /// The files of an image that has no layer.
    fn empty_tree(&self) -> anyhow::Result<PathBuf> {
        let empty = self.store.containers().with_file_name("empty");
        if !empty.is_dir() {
            fs::create_dir_all(&empty)?;
            snapshot::set_root_mode(&empty)?;
        }
        Ok(empty)
    }
}

/// The image that has nothing yet.
pub fn scratch() -> ImageRecord {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform =
        Map::from_iter([("architecture".to_owned(), architecture.into()), ("os".to_owned(), "linux".into())]);
    ImageRecord {
        parent: None,
        config: ImageConfig::default(),
        layers: Vec::new(),
        history: Vec::new(),
        platform,
        created: 0,
        size: 0,
        nonce: None,
    }
}

/// An entry of the history in an OCI configuration.
pub fn history(created: i64, empty_layer: bool) -> Value {
    let mut entry = json!({ "created": timestamp(created), "created_by": "slipway" });
    if empty_layer {
        entry["empty_layer"] = true.into();
    }
    entry
}

/// Milliseconds since 1970 as RFC 3339 has it.
pub fn timestamp(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default().to_string()
}

/// `/etc/passwd` and `/etc/group` of an image; lines that are no accounts are passed over, as programs do.
pub fn accounts_of(merged: &Merged) -> anyhow::Result<Accounts> {
    let read = |path| -> anyhow::Result<String> {
        let bytes = merged.read(Path::new(path), MAX_ACCOUNTS)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut accounts = Accounts::default();
    for line in read("/etc/passwd")?.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid), Some(gid)) = (fields.next(), number(fields.nth(1)), number(fields.next())) {
            accounts.users.entry(name.to_owned()).or_insert((uid, gid));
        }
    }
    for line in read("/etc/group")?.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(gid)) = (fields.next(), number(fields.nth(1))) {
            accounts.groups.entry(name.to_owned()).or_insert(gid);
        }
    }
    Ok(accounts)
}

fn number(field: Option<&str>) -> Option<u32> {
    field?.parse().ok()
}
