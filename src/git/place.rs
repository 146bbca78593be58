//! A layer from git fitted to the image it goes on: links on the way are followed, and directories that are there stay as they
//! are: where something is put into one, the layer holds it as the image has it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::archive::ArchiveSpec;
use super::entries::{Planned, PlannedKind, path_buf};
use crate::layer::ground::{Ground, Lookup, sort_key};
use crate::layer::{Entry, LayerSource};

/// An archive or patch with the places of its entries in one image.
pub struct Placed {
    entries: BTreeMap<Vec<u8>, Planned>,
    spec: ArchiveSpec,
}

impl LayerSource for Placed {
    fn entries(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Entry>> + Send + '_>> {
        let entry = |(path, planned): (&Vec<u8>, &Planned)| Ok(planned.entry_at(path_buf(path.clone()), &self.spec)?);
        Ok(Box::new(self.entries.iter().map(entry)))
    }
}

/// Finds the place of each entry. A directory that the image has stays as it is; only `to` gets the mapping's owner, if there
/// is one.
pub(super) fn place(planned: Vec<Planned>, spec: &ArchiveSpec, lookup: &mut Lookup<'_>) -> anyhow::Result<Placed> {
    let mut ground = Ground::new(lookup);
    let owned = (spec.uid, spec.gid) != (0, 0);
    let mut entries = BTreeMap::new();
    for planned in planned {
        let path = path_buf(planned.image_path(spec));
        let at = match planned.kind {
            PlannedKind::Directory => {
                let place = ground.directory(&path)?;
                if place.exists && !(owned && planned.path.is_empty()) {
                    continue;
                }
                place.at
            }
            _ => ground.beside(&path)?,
        };
        entries.insert(sort_key(&at), planned);
    }
    let places: Vec<PathBuf> = entries.keys().cloned().map(path_buf).collect();
    for (at, looks) in ground.above(places.iter().map(PathBuf::as_path))? {
        entries.insert(sort_key(&at), Planned { path: Vec::new(), kind: PlannedKind::Existing(looks) });
    }
    Ok(Placed { entries, spec: spec.clone() })
}
