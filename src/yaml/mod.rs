//! YAML as the tools we speak for read it: by the rules of Go's parser (YAML 1.1) or of the 1.2 core schema, with the
//! position of every node, and with limits that hold before anything large is built.

mod error;
mod lenient;
mod load;
mod scalar;

pub use error::{Error, Problem};
pub use load::{Document, Limits, Node, Position, Spans, load, load_all};
pub use scalar::Dialect;
