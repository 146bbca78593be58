//! Files of another image as a layer: what rsync did in 1.1, without a container (spec/build.md 2.12, rules 3 to 5).

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::config::Import;
use crate::layer::entry::put_files_before_links;
use crate::layer::ground::{Ground, Lookup, sort_key};
use crate::layer::{Entry, EntryKind, LayerSource, Looks};
use crate::stage::mapping::{PathFilter, PathRules};

/// The entries of a tree, moved from `add` to `to`, filtered, and given to an owner when one is set.
pub struct Imported {
    entries: Vec<Entry>,
    /// Keeps contents readable.
    _tree: Arc<dyn LayerSource>,
}

/// What an import makes of the paths of its tree.
struct Move<'a, 'b> {
    root: PathBuf,
    to: PathBuf,
    rules: PathRules,
    owner: Option<(u32, u32)>,
    ground: Option<Ground<'a, 'b>>,
    /// Hard links by the path in the tree of their file, where that is not imported.
    orphans: Orphans,
}

type Orphans = BTreeMap<PathBuf, Vec<PathBuf>>;

impl Imported {
    /// `tree` holds the entries at and under what is imported, with paths from the root of the image. `lookup` says what the
    /// image has that the import goes on, where that matters: links on the way are followed then, a directory that is there
    /// keeps its looks unless the import gives it an owner, and a file that goes where a directory is goes into it.
    ///
    /// # Errors
    /// Those of the tree and of the lookup.
    pub fn new(
        tree: Arc<dyn LayerSource>,
        import: &Import,
        owner: Option<(u32, u32)>,
        lookup: Option<&mut Lookup<'_>>,
    ) -> anyhow::Result<Self> {
        let rules = PathFilter {
            base: String::new(),
            include: import.include_paths.clone(),
            exclude: import.exclude_paths.clone(),
        }
        .rules();
        let (root, to) = (normal(&import.add), normal(&import.to));
        let mut moving = Move { root, to, rules, owner, ground: lookup.map(Ground::new), orphans: BTreeMap::new() };
        let mut entries = BTreeMap::new();
        for entry in tree.entries()? {
            if let Some(entry) = moving.entry(entry?)? {
                entries.insert(sort_key(&entry.path), entry);
            }
        }
        adopt(&mut entries, moving.orphans, tree.as_ref())?;
        if let Some(ground) = &mut moving.ground {
            let places: Vec<PathBuf> = entries.values().map(|entry| entry.path.clone()).collect();
            for (at, looks) in ground.above(places.iter().map(PathBuf::as_path))? {
                entries.insert(sort_key(&at), existing(at, looks));
            }
        }
        put_files_before_links(&mut entries);
        Ok(Self { entries: entries.into_values().collect(), _tree: tree })
    }

    /// Whether any file comes with it; an import of nothing is worth a warning.
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| matches!(entry.kind, EntryKind::Directory))
    }
}

impl LayerSource for Imported {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        self.entries.entries()
    }
}

impl Move<'_, '_> {
    /// The entry as it is imported; `None` when it is not.
    fn entry(&mut self, mut entry: Entry) -> anyhow::Result<Option<Entry>> {
        let Ok(below) = entry.path.strip_prefix(&self.root).map(Path::to_owned) else { return Ok(None) };
        // Directories on the way to a wanted file are made when they are missing; only selected ones keep their looks.
        if !self.selects(&below) {
            return Ok(None);
        }
        let place = match entry.kind {
            EntryKind::Directory => self.directory(&below)?,
            _ => Some(self.leaf(&below)?),
        };
        let Some(place) = place else { return Ok(None) };
        if let EntryKind::Hardlink { target } = &mut entry.kind {
            match target.strip_prefix(&self.root) {
                Ok(file) if self.selects(file) => *target = self.leaf(file)?,
                _ => self.orphans.entry(target.clone()).or_default().push(place.clone()),
            }
        }
        entry.path = place;
        if let Some((uid, gid)) = self.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        Ok(Some(entry))
    }

    fn selects(&self, below: &Path) -> bool {
        below.as_os_str().is_empty() || self.rules.selects(below.as_os_str().as_bytes())
    }

    /// The place of a directory; `None` when the image has it.
    fn directory(&mut self, below: &Path) -> anyhow::Result<Option<PathBuf>> {
        let path = join(&self.to, below);
        let is_owned_root = self.owner.is_some() && below.as_os_str().is_empty();
        Ok(match &mut self.ground {
            _ if path.as_os_str().is_empty() => None,
            None => Some(path),
            Some(ground) => {
                let place = ground.directory(&path)?;
                (!place.exists || is_owned_root).then_some(place.at)
            }
        })
    }

    fn leaf(&mut self, below: &Path) -> anyhow::Result<PathBuf> {
        let path = join(&self.to, below);
        let Some(ground) = &mut self.ground else { return Ok(path) };
        if below.as_os_str().is_empty() {
            let place = ground.directory(&path)?;
            if let (true, Some(name)) = (place.exists, self.root.file_name()) {
                return Ok(place.at.join(name));
            }
        }
        ground.beside(&path)
    }
}

/// Of several names of a file that is not imported itself, the first becomes the file.
fn adopt(entries: &mut BTreeMap<Vec<u8>, Entry>, mut orphans: Orphans, tree: &dyn LayerSource) -> anyhow::Result<()> {
    if orphans.is_empty() {
        return Ok(());
    }
    for file in tree.entries()? {
        let file = file?;
        let names = orphans.remove(&file.path).unwrap_or_default();
        for name in &names {
            let kind = match names.first() {
                Some(first) if first != name => EntryKind::Hardlink { target: first.clone() },
                _ => file.kind.clone(),
            };
            if let Some(entry) = entries.get_mut(&sort_key(name)) {
                entry.kind = kind;
            }
        }
    }
    Ok(())
}

/// A directory as the image has it.
fn existing(path: PathBuf, Looks { mode, uid, gid }: Looks) -> Entry {
    Entry { path, kind: EntryKind::Directory, mode, uid, gid, mtime: 0, xattrs: [].into() }
}

fn join(to: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) }
}

/// A path from the root of an image.
pub fn normal(path: &str) -> PathBuf {
    Path::new(path).components().filter(|component| matches!(component, Component::Normal(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ImportTime;
    use crate::layer::{Below, Content};

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o700, uid: 1, gid: 1, mtime: 0, xattrs: [].into() }
    }

    fn file(path: &str) -> Entry {
        entry(path, EntryKind::File { size: 0, content: Content::Bytes(Default::default()) })
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, EntryKind::Hardlink { target: target.into() })
    }

    fn import(add: &str, to: &str) -> Import {
        Import {
            source: "other".to_owned(),
            stage: None,
            when: ImportTime::BeforeInstall,
            add: add.to_owned(),
            to: to.to_owned(),
            owner: String::new(),
            group: String::new(),
            include_paths: vec![],
            exclude_paths: vec![],
        }
    }

    /// What an image with a merged `/usr` has.
    fn usr_merged(path: &Path) -> anyhow::Result<Below> {
        Ok(match path.to_str().unwrap() {
            "bin" => Below::LinkTo("usr/bin".into()),
            "usr" | "usr/bin" | "tmp" => Below::Directory(Looks { mode: 0o755, uid: 0, gid: 0 }),
            _ => Below::Nothing,
        })
    }

    fn listing(tree: Vec<Entry>, import: &Import, owner: Option<(u32, u32)>, fitted: bool) -> Vec<String> {
        let mut lookup = usr_merged;
        let lookup: Option<&mut Lookup<'_>> = if fitted { Some(&mut lookup) } else { None };
        let imported = Imported::new(Arc::new(tree), import, owner, lookup).unwrap();
        let shown = imported.entries().unwrap().map(|entry| {
            let Entry { path, kind, uid, .. } = entry.unwrap();
            match kind {
                EntryKind::Directory => format!("{}/ {uid}", path.display()),
                EntryKind::Hardlink { target } => format!("{} = {} {uid}", path.display(), target.display()),
                _ => format!("{} {uid}", path.display()),
            }
        });
        shown.collect()
    }

    fn out() -> Vec<Entry> {
        let directory = |path| entry(path, EntryKind::Directory);
        vec![
            directory("out"),
            directory("out/bin"),
            file("out/bin/tool"),
            directory("out/new"),
            link("out/new/link", "out/bin/tool"),
            directory("out/tmp"),
        ]
    }

    #[test]
    fn what_goes_among_the_image_s_own_files_lands_behind_its_links() {
        let fitted = listing(out(), &import("/out", "/"), None, true);
        assert_eq!(
            fitted,
            ["new/ 1", "new/link 1", "usr/ 0", "usr/bin/ 0", "usr/bin/tool = new/link 1"],
            "its directories stay as they are"
        );
        let plain = listing(out(), &import("/out", "/app"), Some((7, 7)), false);
        let expected = ["app/ 7", "app/bin/ 7", "app/bin/tool 7", "app/new/ 7", "app/new/link = app/bin/tool 7"];
        assert_eq!(plain.get(..5), Some(&expected.map(str::to_owned)[..]));
        let owned = listing(out(), &import("/out/bin", "/tmp"), Some((7, 7)), true);
        assert_eq!(owned, ["tmp/ 7", "tmp/tool 7"], "an owner is given to the target too");
    }

    #[test]
    fn a_file_goes_into_a_directory_that_has_its_name() {
        let tool = || vec![file("out/tool")];
        assert_eq!(listing(tool(), &import("/out/tool", "/bin"), None, true).last().unwrap(), "usr/bin/tool 1");
        assert_eq!(listing(tool(), &import("/out/tool", "/bin/other"), None, true).last().unwrap(), "usr/bin/other 1");
        assert_eq!(listing(tool(), &import("/out/tool", "/app/other"), None, false), ["app/other 1"]);
    }

    #[test]
    fn a_hard_link_whose_file_is_left_out_becomes_the_file() {
        let tree = vec![file("out/a"), link("out/b", "out/a"), link("out/c", "out/a")];
        let import = Import { exclude_paths: vec!["a".to_owned()], ..import("/out", "/app") };
        assert_eq!(listing(tree, &import, None, false), ["app/b 1", "app/c = app/b 1"]);
    }
}
