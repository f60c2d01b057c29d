//! Tables from files: CSV, TSV, JSON, JSON Lines, Parquet and Arrow, compressed or not.
//!
//! A [`source::Source`] gives the same bytes as often as they are asked for. [`mod@format`] says what they are, and an
//! [`reader::Input`] reads them as [`chunk::Chunk`]s of some thousand rows, each of which knows where in the file its
//! rows stood. [`survey`] looks at whole inputs and says which columns they have and which types hold them.
//! [`load`] puts it together: inputs become changes of an open transaction.
//!
//! Invariants: memory is bounded by a chunk, whatever the input (the limits are named constants), and bytes from
//! outside give an error that names file, line, column and offset, never a panic. Reading is repeatable: nothing here
//! depends on time, place or the order of hash maps.

pub mod arrow;
pub mod bad_rows;
pub mod bounds;
pub mod cast;
pub mod cells;
pub mod chunk;
pub mod csv;
pub mod duplicates;
pub mod encoding;
pub mod first_answer;
pub mod format;
pub mod infer;
pub mod json;
pub mod load;
pub mod parquet;
pub mod reader;
pub mod retry;
pub mod source;
pub mod survey;
pub mod thrift;
pub mod typed;
pub mod types;
pub mod window;
