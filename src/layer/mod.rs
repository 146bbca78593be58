//! Layers: sorted entries on one side, tar streams and their digests on the other.
//!
//! `entry` is what everybody exchanges; `ground` finds where entries land in the image below; `write` makes a tar of it, bit-identical for equal entries; `gzip` compresses on all
//! cores with an output that does not depend on their number; `read` takes a foreign stream apart and trusts nothing in it.
//! Below `read`: `decompress` (the stream), `header` and `pax` (blocks to facts), `seen` (which entries may stand together).

mod decompress;
pub mod entry;
pub mod ground;
pub mod gzip;
mod header;
mod pax;
pub mod read;
mod seen;
pub mod write;

pub use entry::{Content, Entry, EntryKind, LayerSource};
pub use ground::{Below, Looks};
pub use gzip::GzipWriter;
pub use read::{Devices, LayerReader, Limits, ReadError};
pub use write::{TarSummary, WriteError, write_tar};
