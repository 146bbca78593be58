//! What is on disk: layers, images, names. Everything here is content, kept until somebody removes it; what a process owns
//! while it lives is in `containers/` and `tmp/`.
//!
//! ```text
//! layers/<id>/layer.json   digests, size, where it can be fetched     layers/<id>/users/<image>   images that have it and whose parent has not
//! layers/<id>/tree/        its files, once something needed them      layers/<id>/blob            its tar.gz, once made
//! images/<id>.json         configuration, layers, parent              children/<id>/<image>       images made from it
//! names/<repository>       one line for each tag: tag, id and description of the image
//! bases/<hash>             what a reference to a base image stood for when its registry was asked last
//! pending/<id>             images that nobody has named yet, with the process that made them
//! pending/layer-<id>       layers that no image has yet, likewise
//! unsynced/<id>            layers whose files may be in memory only, with the boot they were written in
//! containers/<id>/  tmp/   of living processes; the rest is swept     locks/                      files to lock, without content
//! ```
//!
//! Every write is a new file that is renamed, every removal starts with a rename into `tmp/`. Adding holds the lock `store`
//! shared, removing holds it alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::ids::{Digest, ImageId, hex};
use crate::lease::Owner;
use crate::runtime::{ImageConfig, ImageDescription};

/// The directory of everything.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A layer: the hex digits of its diff id, or random ones where that was not known when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerId(String);

/// What is known of a layer. The files themselves may be a directory, a blob, both, or still in a registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    pub diff_id: Option<Digest>,
    pub blob: Option<Blob>,
    /// Repositories that have the blob, `registry/repository`.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Bytes uncompressed; compressed where only that is known.
    pub size: u64,
}

/// The compressed form of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
}

/// An image as it is kept. Its id is the digest of its configuration where that came from outside, else of this record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    pub parent: Option<ImageId>,
    pub config: ImageConfig,
    /// Bottom first.
    pub layers: Vec<LayerId>,
    /// One entry for each layer and each change of the configuration, as in an OCI configuration.
    pub history: Vec<Value>,
    /// `architecture`, `os`, `variant` and whatever else stands beside `config`, `rootfs` and `history`.
    pub platform: serde_json::Map<String, Value>,
    /// Milliseconds since 1970.
    pub created: i64,
    pub size: u64,
    /// Makes the id of an image that was made here its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// The parts of a description that a list needs, so that a list reads one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Described {
    parent: Option<ImageId>,
    config: ImageConfig,
    created: i64,
    size: u64,
}

/// A path for something half-made. What is still there when this is dropped is removed: a full disk does not stay full.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl std::ops::Deref for Temporary {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for Temporary {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed now, the next process that opens the store removes.
        let _ = remove_tree(&self.0);
    }
}

/// Held while the store is changed.
pub struct StoreLock {
    _file: File,
}

impl LayerId {
    pub fn of_diff_id(diff_id: &Digest) -> Self {
        Self(diff_id.hex().to_owned())
    }

    /// An id that no other layer has.
    pub fn random() -> io::Result<Self> {
        nonce().map(Self)
    }
}

/// 64 hex digits that nobody else has.
pub fn nonce() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex(&bytes))
}

impl std::fmt::Display for LayerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.get(..12).unwrap_or(&self.0))
    }
}

impl ImageRecord {
    pub fn describe(&self, id: ImageId, names: Vec<String>) -> ImageDescription {
        let Self { parent, config, created, size, .. } = self.clone();
        ImageDescription { id, parent, names, config, created, size }
    }
}

impl Store {
    /// Makes the directories where they are missing, and removes what dead processes left.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        let store = Self { root: root.to_owned() };
        for name in
            ["layers", "images", "children", "names", "pending", "unsynced", "bases", "containers", "tmp", "locks"]
        {
            let path = root.join(name);
            if !path.is_dir() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| {
                    Error::environment(format!("cannot make the image store `{}`", path.display()))
                        .hint("set SLIPWAY_STATE_DIR to a directory that this user may write")
                        .because(error)
                })?;
            }
        }
        Ok(store)
    }

    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub fn tree_dir(&self, layer: &LayerId) -> PathBuf {
        self.layer_dir(layer).join("tree")
    }

    pub fn blob_file(&self, layer: &LayerId) -> PathBuf {
        self.layer_dir(layer).join("blob")
    }

    fn layer_dir(&self, layer: &LayerId) -> PathBuf {
        self.root.join("layers").join(&layer.0)
    }

    /// An error with its cause told, where that is a disk without room for more.
    pub fn explain_full_disk(&self, error: anyhow::Error) -> anyhow::Error {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        let is_full = |link: &&(dyn std::error::Error + 'static)| {
            link.downcast_ref::<io::Error>().is_some_and(|error| full.contains(&error.kind()))
        };
        if error.chain().find(is_full).is_some() { error.context(self.no_room()) } else { error }
    }

    /// An error where the disk has no room for more.
    pub fn check_room(&self) -> anyhow::Result<()> {
        /// What is left when a file system says that nothing is.
        const NOTHING: u64 = 64 << 10;
        let disk = rustix::fs::statvfs(&self.root)?;
        let is_full = disk.f_bavail.saturating_mul(disk.f_frsize) < NOTHING;
        if is_full { Err(self.no_room().into()) } else { Ok(()) }
    }

    fn no_room(&self) -> Error {
        Error::environment(format!("no space is left on the disk of the image store `{}`", self.root.display()))
            .hint("free space there, or name another directory with SLIPWAY_STATE_DIR; `slipway image ls` and `slipway image rm` show and remove images")
    }

    fn image_file(&self, id: &ImageId) -> PathBuf {
        self.root.join("images").join(format!("{}.json", hex_of(id)))
    }

    fn pending_layer(&self, layer: &LayerId) -> PathBuf {
        self.root.join("pending").join(format!("layer-{}", layer.0))
    }

    fn children_dir(&self, id: &ImageId) -> PathBuf {
        self.root.join("children").join(hex_of(id))
    }

    /// A path in `tmp/` that nothing has; the name says who it belongs to.
    pub fn temporary(&self) -> io::Result<Temporary> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let Owner { pid, started, boot, namespace } = Owner::current()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Ok(Temporary(self.root.join("tmp").join(format!("{pid}.{started}.{boot}.{namespace}.{number}"))))
    }

    /// Waits for the right to add to the store, together with others.
    pub fn lock_to_add(&self) -> io::Result<StoreLock> {
        let file = lock_file(&self.root.join("store.lock"))?;
        file.lock_shared()?;
        Ok(StoreLock { _file: file })
    }

    /// Waits for the right to remove from the store, alone.
    pub fn lock_to_remove(&self) -> io::Result<StoreLock> {
        let file = lock_file(&self.root.join("store.lock"))?;
        file.lock()?;
        Ok(StoreLock { _file: file })
    }

    /// Waits for the right to make one part of a layer.
    pub fn lock_layer(&self, id: &LayerId, part: &str) -> io::Result<StoreLock> {
        let file = lock_file(&self.layer_dir(id).join(format!("{part}.lock")))?;
        file.lock()?;
        Ok(StoreLock { _file: file })
    }

    /// Waits for the right to change the names in a repository.
    fn lock_names(&self, repository: &str) -> io::Result<StoreLock> {
        let file = lock_file(&self.root.join("locks").join(escape(repository)))?;
        file.lock()?;
        Ok(StoreLock { _file: file })
    }

    // Layers

    pub fn layer(&self, id: &LayerId) -> anyhow::Result<LayerRecord> {
        read_json(&self.layer_dir(id).join("layer.json"))?.ok_or_else(|| {
            Error::environment(format!("the image store has lost layer `{}`", id.0))
                .hint("remove the image; it is then fetched or built again")
                .into()
        })
    }

    pub fn has_layer(&self, id: &LayerId) -> bool {
        self.layer_dir(id).join("layer.json").exists()
    }

    pub fn has_tree(&self, id: &LayerId) -> bool {
        self.tree_dir(id).exists()
    }

    /// Adds a layer that is complete in `directory`, with `tree` or `blob` or neither in it. One that is there already stays.
    pub fn add_layer(&self, id: &LayerId, record: &LayerRecord, directory: &Path) -> anyhow::Result<()> {
        fs::create_dir(directory.join("users"))?;
        self.replace(&self.pending_layer(id), &serde_json::to_vec(&Owner::current()?)?)?;
        self.mark_unsynced(id)?;
        write_new(&directory.join("layer.json"), &serde_json::to_vec(record)?)?;
        match fs::rename(directory, self.layer_dir(id)) {
            Err(error) if is_not_empty(&error) => self.discard(directory),
            result => Ok(result?),
        }
    }

    /// To be called before the files of a layer get their place. Nothing waits for the disk while images are made; instead,
    /// what was not yet there when the power failed is forgotten at the next start.
    pub fn mark_unsynced(&self, id: &LayerId) -> io::Result<()> {
        self.replace(&self.unsynced_file(id), Owner::current()?.boot.as_bytes())
    }

    fn unsynced_file(&self, id: &LayerId) -> PathBuf {
        self.root.join("unsynced").join(&id.0)
    }

    /// Changes what is known of a layer.
    pub fn update_layer(&self, id: &LayerId, change: impl FnOnce(&mut LayerRecord)) -> anyhow::Result<LayerRecord> {
        let _lock = self.lock_layer(id, "record")?;
        let mut record = self.layer(id)?;
        change(&mut record);
        self.replace(&self.layer_dir(id).join("layer.json"), &serde_json::to_vec(&record)?)?;
        Ok(record)
    }

    // Images

    pub fn image(&self, id: &ImageId) -> anyhow::Result<Option<ImageRecord>> {
        read_json(&self.image_file(id))
    }

    /// Adds an image whose layers are there. Until it has a name or a child it lives as long as this process.
    pub fn add_image(&self, id: Option<ImageId>, record: &ImageRecord) -> anyhow::Result<ImageId> {
        let bytes = serde_json::to_vec(record)?;
        let id = id.unwrap_or_else(|| Digest::of(&bytes).into());
        let file = self.image_file(&id);
        if file.exists() {
            return Ok(id);
        }
        self.replace(&self.root.join("pending").join(hex_of(&id)), &serde_json::to_vec(&Owner::current()?)?)?;
        // The layers of the parent stay as long as it does, and it stays as long as it has a child.
        let parent = record.parent.as_ref().map(|parent| self.image(parent)).transpose()?.flatten();
        let inherited = parent.map(|parent| parent.layers).unwrap_or_default();
        for layer in record.layers.iter().filter(|layer| !inherited.contains(layer)) {
            File::create(self.layer_dir(layer).join("users").join(hex_of(&id)))?;
            remove_if_there(&self.pending_layer(layer))?;
        }
        if let Some(parent) = &record.parent {
            let children = self.children_dir(parent);
            fs::create_dir_all(&children)?;
            File::create(children.join(hex_of(&id)))?;
        }
        self.replace(&file, &bytes)?;
        Ok(id)
    }

    /// The image with this id or name, with all its names.
    pub fn find(&self, name: &str) -> anyhow::Result<Option<(ImageId, ImageRecord)>> {
        let id = match name.parse::<ImageId>() {
            Ok(id) => Some(id),
            Err(_) => self.named(name)?,
        };
        let Some(id) = id else { return Ok(None) };
        Ok(self.image(&id)?.map(|record| (id, record)))
    }

    // Names

    /// The image that a name stands for.
    pub fn named(&self, name: &str) -> anyhow::Result<Option<ImageId>> {
        let (repository, tag) = split_name(name);
        let text = self.name_text(repository)?;
        let line = text.lines().filter_map(NameLine::parse).find(|line| line.tag == tag);
        Ok(line.map(|line| line.id.parse()).transpose()?)
    }

    /// All names of an image.
    pub fn names_of(&self, id: &ImageId) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for repository in self.repositories()? {
            let text = self.name_text(&repository)?;
            let lines = text.lines().filter_map(NameLine::parse).filter(|line| line.id == id.as_str());
            names.extend(lines.map(|line| format!("{repository}:{}", line.tag)));
        }
        names.sort();
        Ok(names)
    }

    /// Named images, in one repository or all, oldest first, whose description contains all `words`: a quick sieve, the
    /// caller looks closer.
    pub fn list(&self, repository: Option<&str>, words: &[String]) -> anyhow::Result<Vec<ImageDescription>> {
        let repositories = match repository {
            Some(repository) => vec![repository.to_owned()],
            None => self.repositories()?,
        };
        let mut found: BTreeMap<ImageId, ImageDescription> = BTreeMap::new();
        for repository in &repositories {
            let text = self.name_text(repository)?;
            let lines = text.lines().filter(|line| words.iter().all(|word| line.contains(word.as_str())));
            for NameLine { tag, id, image } in lines.filter_map(NameLine::parse) {
                let id: ImageId = id.parse()?;
                let Described { parent, config, created, size } = serde_json::from_str(image)?;
                found
                    .entry(id.clone())
                    .or_insert(ImageDescription { id, parent, names: Vec::new(), config, created, size })
                    .names
                    .push(format!("{repository}:{tag}"));
            }
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by(|a, b| (a.created, &a.names).cmp(&(b.created, &b.names)));
        Ok(found)
    }

    /// Gives an image a name. Gives the image that had it before and now has not.
    pub fn tag(&self, id: &ImageId, name: &str) -> anyhow::Result<Option<ImageId>> {
        let (repository, tag) = split_name(name);
        let ImageRecord { parent, config, created, size, .. } =
            self.image(id)?.ok_or_else(|| Error::user(format!("there is no image `{id}` on this host")))?;
        let image = serde_json::to_string(&Described { parent, config, created, size })?;
        let had = self.change_name(repository, tag, Some(format!("{tag} {id} {image}\n")))?;
        remove_if_there(&self.root.join("pending").join(hex_of(id)))?;
        Ok(had.filter(|had| had != id.as_str()).map(|had| had.parse()).transpose()?)
    }

    /// Takes a name away. Gives the image that had it.
    pub fn untag(&self, name: &str) -> anyhow::Result<Option<ImageId>> {
        let (repository, tag) = split_name(name);
        let had = self.change_name(repository, tag, None)?;
        Ok(had.map(|id| id.parse()).transpose()?)
    }

    /// Replaces the line of a tag. Gives the id it had.
    fn change_name(&self, repository: &str, tag: &str, line: Option<String>) -> anyhow::Result<Option<String>> {
        let _lock = self.lock_names(repository)?;
        let text = self.name_text(repository)?;
        let mut had = None;
        let mut changed = String::with_capacity(text.len() + line.as_ref().map_or(0, String::len));
        for known in text.lines() {
            match NameLine::parse(known) {
                Some(NameLine { tag: known_tag, id, .. }) if known_tag == tag => had = Some(id.to_owned()),
                _ => changed.extend([known, "\n"]),
            }
        }
        changed.push_str(line.as_deref().unwrap_or_default());
        let file = self.names_file(repository);
        if changed.is_empty() {
            remove_if_there(&file)?
        } else {
            self.replace(&file, changed.as_bytes())?
        }
        Ok(had)
    }

    fn names_file(&self, repository: &str) -> PathBuf {
        self.root.join("names").join(escape(repository))
    }

    fn name_text(&self, repository: &str) -> anyhow::Result<String> {
        match fs::read_to_string(self.names_file(repository)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            result => Ok(result?),
        }
    }

    /// Repositories that have a name.
    fn repositories(&self) -> anyhow::Result<Vec<String>> {
        let mut repositories = Vec::new();
        for entry in fs::read_dir(self.root.join("names"))? {
            repositories.extend(entry?.file_name().to_str().and_then(unescape));
        }
        repositories.sort();
        Ok(repositories)
    }

    // Base images

    /// What was written down of a reference to a base image.
    pub fn remembered_base<T: DeserializeOwned>(&self, reference: &str) -> anyhow::Result<Option<T>> {
        read_json(&self.base_file(reference))
    }

    /// Writes down what a reference to a base image stands for.
    pub fn remember_base(&self, reference: &str, what: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.replace(&self.base_file(reference), &serde_json::to_vec(what)?)?)
    }

    fn base_file(&self, reference: &str) -> PathBuf {
        self.root.join("bases").join(Digest::of(reference.as_bytes()).hex())
    }

    // Removal

    /// Removes an image that has neither name nor child nor container, then its layers that nothing else has, then the same for
    /// its parent. The caller holds the lock to remove.
    pub fn remove_unused(&self, _lock: &StoreLock, id: &ImageId) -> anyhow::Result<()> {
        let mut next = Some(id.clone());
        while let Some(id) = next.take() {
            let Some(record) = self.image(&id)? else { break };
            if !self.names_of(&id)?.is_empty() || self.has_children(&id)? || self.has_containers(&id)? {
                break;
            }
            remove_if_there(&self.image_file(&id))?;
            remove_if_there(&self.root.join("pending").join(hex_of(&id)))?;
            for layer in &record.layers {
                self.release_layer(layer, &id)?;
            }
            if let Some(parent) = &record.parent {
                remove_if_there(&self.children_dir(parent).join(hex_of(&id)))?;
            }
            next = record.parent;
        }
        Ok(())
    }

    fn release_layer(&self, layer: &LayerId, image: &ImageId) -> anyhow::Result<()> {
        remove_if_there(&self.layer_dir(layer).join("users").join(hex_of(image)))?;
        self.remove_unused_layer(layer)
    }

    fn remove_unused_layer(&self, layer: &LayerId) -> anyhow::Result<()> {
        let directory = self.layer_dir(layer);
        let is_used = fs::read_dir(directory.join("users")).is_ok_and(|mut users| users.next().is_some());
        if is_used {
            return Ok(());
        }
        remove_if_there(&self.unsynced_file(layer))?;
        self.discard(&directory)
    }

    /// A child that was written down but never made does not count.
    fn has_children(&self, id: &ImageId) -> anyhow::Result<bool> {
        let Ok(children) = fs::read_dir(self.children_dir(id)) else { return Ok(false) };
        for child in children {
            let mut name = child?.file_name();
            name.push(".json");
            if self.root.join("images").join(name).exists() {
                return Ok(true);
            }
        }
        let _ = fs::remove_dir_all(self.children_dir(id));
        Ok(false)
    }

    fn has_containers(&self, id: &ImageId) -> anyhow::Result<bool> {
        for entry in fs::read_dir(self.containers())? {
            if fs::read_to_string(entry?.path().join("image")).is_ok_and(|image| image == id.as_str()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes a directory of ours, in one instant for everybody else.
    pub fn discard(&self, directory: &Path) -> anyhow::Result<()> {
        let doomed = self.temporary()?;
        match fs::rename(directory, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result?,
        }
        Ok(remove_tree(&doomed)?)
    }

    /// Forgets layers that a former boot may not have brought to the disk.
    pub fn forget_torn(&self) -> anyhow::Result<()> {
        let boot = Owner::current()?.boot;
        for marker in self.unsynced()? {
            if !may_be_torn(&marker, &boot)? {
                continue;
            }
            if let Some(id) = marker.file_name().and_then(|name| name.to_str()) {
                self.forget_layer(&self.lock_to_remove()?, &LayerId(id.to_owned()))?;
            }
            remove_if_there(&marker)?;
        }
        Ok(())
    }

    /// The markers of layers that may be in memory only.
    pub fn unsynced(&self) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(self.root.join("unsynced"))?.map(|entry| Ok(entry?.path())).collect()
    }

    /// Brings all layers to the disk; may take long.
    pub fn sync(root: &Path) -> io::Result<()> {
        let store = Self { root: root.to_owned() };
        let markers = store.unsynced()?;
        rustix::fs::syncfs(File::open(root)?)?;
        markers.iter().try_for_each(|marker| remove_if_there(marker))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes the files of a layer. Where no registry has them, its images go too: they are built again.
    fn forget_layer(&self, lock: &StoreLock, id: &LayerId) -> anyhow::Result<()> {
        let record: Option<LayerRecord> = read_json(&self.layer_dir(id).join("layer.json"))?;
        if record.is_none_or(|record| record.sources.is_empty()) {
            for image in ids_in(&self.layer_dir(id).join("users")) {
                self.forget_image(lock, &image)?;
            }
            return self.discard(&self.layer_dir(id));
        }
        remove_tree(&self.blob_file(id))?;
        self.discard(&self.tree_dir(id))?;
        Ok(())
    }

    /// Removes an image with all its names, also when others are made from it.
    fn forget_image(&self, _held: &StoreLock, id: &ImageId) -> anyhow::Result<()> {
        for child in ids_in(&self.children_dir(id)) {
            self.forget_image(_held, &child)?;
        }
        for name in self.names_of(id)? {
            self.untag(&name)?;
        }
        let record = self.image(id)?;
        remove_if_there(&self.image_file(id))?;
        for layer in record.iter().flat_map(|record| &record.layers) {
            self.release_layer(layer, id)?;
        }
        Ok(())
    }

    /// Removes what dead processes left: half-made things in `tmp/`, containers, images that never got a name.
    pub fn sweep(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(self.root.join("tmp"))? {
            let entry = entry?;
            if owner_in_name(&entry.file_name().to_string_lossy()).is_none_or(|owner| !owner.is_alive()) {
                remove_tree(&entry.path())?;
            }
        }
        for entry in fs::read_dir(self.root.join("pending"))? {
            let entry = entry?;
            let owner: Option<Owner> = read_json(&entry.path())?;
            if owner.is_some_and(|owner| owner.is_alive()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let lock = self.lock_to_remove()?;
            match name.strip_prefix("layer-") {
                Some(layer) => self.remove_unused_layer(&LayerId(layer.to_owned()))?,
                None => {
                    if let Ok(id) = format!("sha256:{name}").parse() {
                        self.remove_unused(&lock, &id)?;
                    }
                }
            }
            remove_if_there(&entry.path())?;
        }
        Ok(())
    }

    /// Writes a file as a whole: the old content or the new one is there, never anything else.
    pub fn replace(&self, file: &Path, content: &[u8]) -> io::Result<()> {
        let temporary = self.temporary()?;
        write_new(&temporary, content)?;
        fs::rename(temporary, file)
    }
}

/// A line of a file in `names/`.
struct NameLine<'a> {
    tag: &'a str,
    id: &'a str,
    /// JSON of [`Described`].
    image: &'a str,
}

impl<'a> NameLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (tag, rest) = line.split_once(' ')?;
        let (id, image) = rest.split_once(' ')?;
        Some(Self { tag, id, image })
    }
}

/// Repository and tag of a local name; the tag is `latest` where none is given.
pub fn split_name(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

fn hex_of(id: &ImageId) -> &str {
    id.as_str().trim_start_matches("sha256:")
}

/// A text as a file name: letters, digits, `.`, `_`, `-` stay, every other byte becomes `%XX`. A leading dot is escaped too.
fn escape(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (position, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || (byte == b'.' && position > 0);
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = after.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// The images that the files of a directory are called by; none where there is no directory.
fn ids_in(directory: &Path) -> Vec<ImageId> {
    let names = fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name()));
    names.filter_map(|name| format!("sha256:{}", name.to_str()?).parse().ok()).collect()
}

fn owner_in_name(name: &str) -> Option<Owner> {
    let mut parts = name.split('.');
    Some(Owner {
        pid: parts.next()?.parse().ok()?,
        started: parts.next()?.parse().ok()?,
        boot: parts.next()?.to_owned(),
        namespace: parts.next()?.parse().ok()?,
    })
}

fn lock_file(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

/// Whether the files of a marked layer may be torn: they were written in another boot. A marker that is gone was removed
/// meanwhile by the process that brought the layer to the disk.
fn may_be_torn(marker: &Path, boot: &str) -> io::Result<bool> {
    match fs::read_to_string(marker) {
        Ok(written) => Ok(written != boot),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Not forced to the disk: after a power failure a file may be empty, and [`read_json`] takes that for absent.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    File::options().create_new(true).write(true).open(path)?.write_all(content)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        Error::environment(format!("`{}` in the image store is damaged", path.display()))
            .hint("remove the file; what it described is then fetched or built again")
            .because(error)
    })?;
    Ok(Some(value))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// `remove_dir_all` does not follow links; it is content with what somebody else has removed meanwhile.
fn remove_tree(path: &Path) -> io::Result<()> {
    let is_directory = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?.is_dir(),
    };
    match if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn is_not_empty(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_layers_of_another_boot_may_be_torn() {
        let directory = tempfile::tempdir().unwrap();
        let marker = directory.path().join("marker");
        // Somebody else has just brought it to the disk: forgetting it then would lose a good layer.
        assert!(!may_be_torn(&marker, "this boot").unwrap());
        for (written, torn) in [("this boot", false), ("another boot", true), ("", true)] {
            fs::write(&marker, written).unwrap();
            assert_eq!(may_be_torn(&marker, "this boot").unwrap(), torn, "{written:?}");
        }
    }
}
