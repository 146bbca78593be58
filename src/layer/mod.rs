//! Layers: sorted entries on one side, tar streams and their digests on the other.
//!
//! `entry` is what everybody exchanges; `write` makes a tar of it, bit-identical for equal entries; `gzip` compresses on all
//! cores with an output that does not depend on their number; `read` takes a foreign stream apart and trusts nothing in it.

pub mod entry;
pub mod gzip;
pub mod read;
pub mod write;

pub use entry::{Content, Entry, EntryKind, LayerSource};
