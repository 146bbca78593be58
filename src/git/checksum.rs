//! Checksums of chosen paths of a commit: what stage dependencies look at (spec/build.md 3.6, decisions 2.2).

use git2::Oid;
use sha2::{Digest as _, Sha256};

use super::Repo;
use super::archive::file_position;
use super::entries::below_base;
use super::error::Error;
use super::tree::{self, Directory, LeafMode, Node, TreeEntryKind, join};
use crate::ids::{CommitId, hex};
use crate::stage::mapping::{PathFilter, PathRules, Reach, RulesPosition};

/// The checksum of the files that one pattern selects; `None` when it selects none, which is worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternChecksum {
    pub pattern: String,
    /// 64 hex digits.
    pub checksum: Option<String>,
}

impl Repo {
    /// For each pattern a hash over path, mode and object id of all it selects within the mapping. A directory that is
    /// selected whole counts by its tree id, a submodule that is selected whole by its commit; only directories that hold
    /// some selected and some other files are opened. Commits and times do not matter.
    pub fn checksum(
        &self,
        commit: &CommitId,
        filter: &PathFilter,
        patterns: &[String],
    ) -> Result<Vec<PatternChecksum>, Error> {
        let base = tree::base(&self.objects, commit, filter)?;
        let checksum = |pattern: &String| {
            let checksum = checksum_of(&base, filter, &filter.rules().and(pattern))?;
            Ok(PatternChecksum { pattern: pattern.clone(), checksum })
        };
        patterns.iter().map(checksum).collect()
    }
}

fn checksum_of(base: &Node, filter: &PathFilter, rules: &PathRules) -> Result<Option<String>, Error> {
    let path = filter.base.trim_matches('/').as_bytes();
    let mut sum = Sum { hash: Sha256::new(), records: 0 };
    sum.hash.update(b"slipway paths 1");
    match base {
        Node::Leaf(leaf) => {
            if file_position(rules, path).selects_file() {
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                sum.add(leaf_mark(leaf.mode), name, leaf.id);
            }
        }
        Node::Directory(directory) => add_directory(&mut sum, directory, path, filter, rules)?,
    }
    Ok((sum.records > 0).then(|| hex(&sum.hash.finalize())))
}

/// Adds what the rules select below a directory, in git's order.
fn add_directory(
    sum: &mut Sum,
    base: &Directory,
    base_path: &[u8],
    filter: &PathFilter,
    rules: &PathRules,
) -> Result<(), Error> {
    if rules.start().reach() == Reach::Everything {
        sum.add(DIRECTORY, b"", base.tree);
        return Ok(());
    }
    let entries = base.entries(base_path)?.into_iter();
    let mut open = vec![(base.clone(), base_path.to_owned(), rules.start(), entries)];
    while let Some((directory, path, position, entries)) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let next: RulesPosition = rules.step(position, &entry.name);
        let entry_path = join(path, &entry.name);
        let relative = below_base(&entry_path, filter);
        match (entry.kind, next.reach()) {
            (TreeEntryKind::Leaf(mode), _) if next.selects_file() => sum.add(leaf_mark(mode), relative, entry.id),
            (TreeEntryKind::Leaf(_), _) | (_, Reach::Nothing) => {}
            (TreeEntryKind::Directory, Reach::Everything) => sum.add(DIRECTORY, relative, entry.id),
            (TreeEntryKind::Submodule, Reach::Everything) => sum.add(SUBMODULE, relative, entry.id),
            (_, Reach::Partly) => {
                if let Node::Directory(child) = directory.child(&entry, &entry_path)? {
                    let entries = child.entries(&entry_path)?.into_iter();
                    open.push((child, entry_path, next, entries));
                }
            }
        }
    }
    Ok(())
}

/// One letter for each kind of record.
const DIRECTORY: u8 = b'd';
const SUBMODULE: u8 = b'm';

pub(super) fn leaf_mark(mode: LeafMode) -> u8 {
    match mode {
        LeafMode::File => b'f',
        LeafMode::Executable => b'x',
        LeafMode::Symlink => b'l',
    }
}

struct Sum {
    hash: Sha256,
    records: usize,
}

impl Sum {
    /// Every field has a fixed length or its length in front, so that no two lists of records read alike.
    fn add(&mut self, mark: u8, path: &[u8], id: Oid) {
        self.hash.update([mark]);
        self.hash.update((path.len() as u64).to_be_bytes());
        self.hash.update(path);
        self.hash.update(id.as_bytes());
        self.records += 1;
    }
}
