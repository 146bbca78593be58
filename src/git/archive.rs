//! All files of a mapping at a commit, as a layer (spec/build.md 3.4).

use std::collections::BTreeSet;
use std::path::Path;

use super::Repo;
use super::entries::{Planned, below_base, directories_above};
use super::error::Error;
use super::place::{Placed, place};
use super::tree::{self, Directory, Item, Node, Walk};
use crate::ids::CommitId;
use crate::layer::{Below, Entry, LayerSource};
use crate::stage::mapping::{PathFilter, PathRules, RulesPosition};

/// What a mapping takes of a repository, and how it stands in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSpec {
    pub filter: PathFilter,
    /// Absolute path in the image: of a directory, or of the file when `add` names one.
    pub to: String,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970, for every entry.
    pub mtime: i64,
}

impl ArchiveSpec {
    /// `to` is the root of the image, which is there already and has no entry.
    pub(super) fn is_root(&self) -> bool {
        self.to.trim_matches('/').is_empty()
    }
}

/// Whether `add` names a directory or a file at a commit; recorded in a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    Directory,
    File,
}

/// The files of a mapping at one commit. The list of paths is in memory, contents are read while the layer is walked.
pub struct Archive {
    kind: ArchiveKind,
    files: usize,
    planned: Vec<Planned>,
    spec: ArchiveSpec,
}

impl Repo {
    /// Whether a mapping's base is a single file at a commit; a missing base is none.
    pub fn is_file(&self, commit: &CommitId, filter: &PathFilter) -> bool {
        matches!(tree::base(&self.objects, commit, filter), Ok(Node::Leaf(_)))
    }

    /// Every selected file of `commit` under `spec.to`, with the directories that lead to it from there (`0755`). `to` itself
    /// is an entry too, also when nothing is selected. Files in git LFS and in submodules come with their content.
    pub fn archive(&self, commit: &CommitId, spec: &ArchiveSpec) -> Result<Archive, Error> {
        let base = tree::base(&self.objects, commit, &spec.filter)?;
        let rules = spec.filter.rules();
        let (kind, items) = match base {
            Node::Directory(directory) => (ArchiveKind::Directory, walk_base(&rules, directory, &spec.filter)?),
            Node::Leaf(_) if spec.is_root() => return Err(Error::FileAtRoot { add: spec.filter.base.clone() }),
            Node::Leaf(leaf) => {
                let path = spec.filter.base.trim_matches('/').as_bytes().to_owned();
                let selected = file_position(&rules, &path).selects_file();
                (ArchiveKind::File, selected.then_some(Item { path, leaf }).into_iter().collect())
            }
        };
        let files = items.len();
        Ok(Archive { kind, files, planned: plan(kind, items, spec)?, spec: spec.clone() })
    }
}

impl Archive {
    pub fn kind(&self) -> ArchiveKind {
        self.kind
    }

    /// No file is selected.
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// How many files and symbolic links there are.
    pub fn files(&self) -> usize {
        self.files
    }

    /// The archive fitted to an image: its links are followed, its directories keep their mode and owner. `lookup` says what the
    /// image has at a path from its root.
    pub fn onto(self, mut lookup: impl FnMut(&Path) -> anyhow::Result<Below>) -> anyhow::Result<Placed> {
        place(self.planned, &self.spec, &mut lookup)
    }
}

impl LayerSource for Archive {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        Ok(Box::new(self.planned.iter().map(|planned| Ok(planned.entry(&self.spec)?))))
    }
}

/// All selected files below the base directory of a mapping.
fn walk_base(rules: &PathRules, directory: Directory, filter: &PathFilter) -> Result<Vec<Item>, Error> {
    let path = filter.base.trim_matches('/').as_bytes().to_owned();
    Walk::new(rules, directory, path, rules.start())?.collect()
}

/// Where the rules stand at a mapping's single file: it is matched by its name.
pub(super) fn file_position(rules: &PathRules, path: &[u8]) -> RulesPosition {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    rules.step(&rules.start(), name)
}

fn plan(kind: ArchiveKind, items: Vec<Item>, spec: &ArchiveSpec) -> Result<Vec<Planned>, Error> {
    let mut directories: BTreeSet<Vec<u8>> = BTreeSet::new();
    for item in &items {
        let above: Vec<&[u8]> = directories_above(below_base(&item.path, &spec.filter)).collect();
        // The nearest first: once one is known, so are those above it.
        for directory in above.into_iter().rev() {
            if !directories.insert(directory.to_owned()) {
                break;
            }
        }
    }
    if kind == ArchiveKind::Directory && !spec.is_root() {
        directories.insert(Vec::new());
    }
    let leaf = |item| Planned::leaf(item, &spec.filter);
    let mut planned = items.into_iter().map(leaf).collect::<Result<Vec<_>, _>>()?;
    planned.extend(directories.into_iter().map(Planned::directory));
    planned.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(planned)
}
