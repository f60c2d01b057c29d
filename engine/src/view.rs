//! A past state as a file.
//!
//! [`render`] turns rows into the bytes of a file. A [`View`] is such a file with its exact size: CSV, JSON Lines and
//! Arrow know it from running sums, and are rendered section by section as they are read, or as a whole when they are
//! opened; Parquet is stitched of data files where it can be, and others are rendered to know it. Rendered bytes lie in
//! a [`ViewCache`]. Invariant: a view's size and bytes never change, and bytes that do not have the expected size are an
//! error, not a file.

mod arrow_file;
mod cache;
mod carried;
mod diff;
mod digest;
mod extents;
mod log;
mod parquet_file;
mod render;
mod restart_points;
mod stitched;
#[cfg(test)]
mod tests;
mod text_file;

pub(crate) use arrow_file::{ArrowSizes, Told, ToldValues};
pub use cache::{Render, ViewCache, ViewKey};
pub use diff::render_diff;
pub use digest::SHA256_HEX_BYTES;
pub use log::{LogExtent, LogFile};
pub(crate) use render::render_arrow;
pub use render::{RENDERER_REVISION, render};
pub use stitched::Composition;

use crate::error::Result;
use crate::state::State;
use asof_mvcc::{Table, TableSchema, Version};
use cache::SealedFile;
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, OnceLock};
use stitched::Stitched;
use text_file::{Source, TextFile};

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header; NULL is an empty cell, the empty string is `""`.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// The Arrow IPC file format.
    Arrow,
}

impl Format {
    /// `parquet`, `csv`, `jsonl`, `arrow`.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::JsonLines => "jsonl",
            Format::Arrow => "arrow",
        }
    }

    /// The format of a file name's extension.
    pub fn of_extension(extension: &str) -> Option<Format> {
        [Format::Parquet, Format::Csv, Format::JsonLines, Format::Arrow]
            .into_iter()
            .find(|format| format.extension() == extension)
    }
}

/// A digest of all of a schema that a file's bytes depend on: names, types, ids, nullability, key.
pub fn schema_digest(schema: &TableSchema) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for column in &schema.columns {
        add(&column.id.to_le_bytes());
        add(column.name.as_bytes());
        add(column.column_type.to_string().as_bytes());
        add(&[u8::from(column.nullable)]);
    }
    add(b"key");
    schema.key.iter().for_each(|id| add(&id.to_le_bytes()));
    half(&hasher)
}

/// Half of a digest, which is enough to tell contents apart.
fn half(hasher: &blake3::Hasher) -> [u8; 16] {
    *hasher.finalize().as_bytes().first_chunk().expect("a digest has 32 bytes")
}

/// A file whose bytes never change: the sealed rendering of one table at one version.
pub struct View {
    size: u64,
    body: Body,
}

enum Body {
    Bytes(Vec<u8>),
    File(Box<Rendered>),
    Stitched(Box<Stitched>),
    Text(Arc<TextFile>),
}

/// A file that is in the cache or can be rendered into it.
struct Rendered {
    cache: Arc<ViewCache>,
    key: ViewKey,
    file: OnceLock<Arc<SealedFile>>,
    /// Dropped, with the snapshot it holds, as soon as the file is there.
    render: Mutex<Option<Render>>,
}

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;

impl View {
    /// A file by its key. With `expected_size` nothing is rendered before the first read; without, the size is taken
    /// from the cache, or from rendering the file now.
    pub fn new(
        cache: Arc<ViewCache>,
        key: ViewKey,
        expected_size: Option<u64>,
        render: Render,
    ) -> Result<View> {
        let known_size = expected_size.or_else(|| cache.known_size(&key));
        let rendered = Rendered { cache, key, file: OnceLock::new(), render: Mutex::new(Some(render)) };
        let size = match known_size {
            Some(size) => size,
            None => rendered.file(None)?.size,
        };
        Ok(View { size, body: Body::File(Box::new(rendered)) })
    }

    /// A small file in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> View {
        View { size: bytes.len() as u64, body: Body::Bytes(bytes) }
    }

    /// A table as a Parquet file that is stitched of data files; none where it has to be rendered.
    pub(crate) fn stitched(
        state: &Arc<State>,
        table: &Table,
        version: Version,
        rows: u64,
        cache: Arc<ViewCache>,
    ) -> Result<Option<View>> {
        let schema = table.schema_at(version);
        let stitched = Stitched::new(state, table, schema, version, rows, cache)?;
        Ok(stitched.map(|stitched| View { size: stitched.size(), body: Body::Stitched(Box::new(stitched)) }))
    }

    /// A table as CSV or JSON Lines, of a size that is known, with so many rows, in sections of about so many
    /// bytes.
    pub(crate) fn text(
        cache: Arc<ViewCache>,
        key: ViewKey,
        size: u64,
        (state, table, version): (&Arc<State>, Arc<Table>, Version),
        (rows, section_bytes): (u64, u64),
    ) -> View {
        let new = || {
            let source = Source::new(state.clone(), table, version, rows);
            TextFile::new(cache.clone(), key.clone(), size, source, section_bytes)
        };
        View { size, body: Body::Text(cache.text(&key, size, new)) }
    }

    /// Its exact size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the bytes of a stitched file depend on beside the table's rows: how these lie in data files. 0 of all others.
    pub fn layout(&self) -> u64 {
        match &self.body {
            Body::Stitched(stitched) => stitched.layout(),
            _ => 0,
        }
    }

    /// What a stitched file is made of; none of others.
    pub fn composition(&self) -> Option<Composition> {
        match &self.body {
            Body::Stitched(stitched) => Some(stitched.composition()),
            _ => None,
        }
    }

    /// Whether a range can be read without rendering anything; an empty one, whether [`View::prepare`] has nothing to do.
    pub fn is_ready(&self, offset: u64, length: u64) -> bool {
        let range = offset.min(self.size)..offset.saturating_add(length).min(self.size);
        match &self.body {
            Body::Bytes(_) => true,
            Body::File(rendered) => rendered.file.get().is_some(),
            Body::Stitched(stitched) => stitched.is_ready(range),
            Body::Text(text) => text.is_ready(range),
        }
    }

    /// The first stretch of nothing but zeros that ends behind an offset, as far as one is known without rendering
    /// anything: what slots of a stitched file do not need.
    pub fn hole_behind(&self, offset: u64) -> Option<std::ops::Range<u64>> {
        match &self.body {
            Body::Stitched(stitched) if offset < self.size => stitched.hole_behind(offset),
            _ => None,
        }
    }

    /// Bytes of such stretches, at least: the same for every file of this layout.
    pub fn hole_bytes_min(&self) -> u64 {
        match &self.body {
            Body::Stitched(stitched) => stitched.hole_bytes_min(),
            _ => 0,
        }
    }

    /// Whether nobody has written to a file of the cache that it is read from, or cut one, since that was verified. If
    /// somebody has, a new view is right.
    pub fn is_intact(&self) -> bool {
        match &self.body {
            Body::Bytes(_) | Body::Stitched(_) => true,
            Body::File(rendered) => rendered.file.get().is_none_or(|file| file.is_intact()),
            Body::Text(text) => text.is_intact(),
        }
    }

    /// What of the file is rendered as one where a byte lies: others can be read meanwhile.
    pub fn part_at(&self, offset: u64) -> u64 {
        match &self.body {
            Body::Stitched(stitched) => stitched.part_at(offset) as u64,
            Body::Text(text) => text.part_at(offset),
            Body::Bytes(_) | Body::File(_) => 0,
        }
    }

    /// Reads at an offset; fewer bytes than asked only at the end. May render on first use.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let wanted = self.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let buf = &mut buf[..wanted];
        match &self.body {
            Body::Bytes(bytes) => buf.copy_from_slice(&bytes[offset as usize..offset as usize + wanted]),
            Body::Stitched(stitched) => stitched.read_exact_at(buf, offset)?,
            Body::Text(text) => text.read_exact_at(buf, offset)?,
            Body::File(rendered) => {
                rendered.file(Some(self.size))?.read_exact_at(buf, offset, &rendered.key)?;
            }
        }
        Ok(wanted)
    }

    /// The whole file written to `out`.
    pub fn copy_to(&self, out: &mut dyn std::io::Write) -> Result<()> {
        if let Body::Bytes(bytes) = &self.body {
            return Ok(out.write_all(bytes)?);
        }
        let mut buffer = vec![0; COPY_BYTES];
        let mut offset = 0;
        while offset < self.size {
            let count = self.read_at(&mut buffer, offset)?;
            out.write_all(&buffer[..count])?;
            offset += count as u64;
        }
        Ok(())
    }

    /// The one sealed file behind it, where there is one and it is ready (for kernel passthrough).
    pub fn sealed_file(&self) -> Option<&std::fs::File> {
        match &self.body {
            Body::Bytes(_) | Body::Stitched(_) => None,
            Body::File(rendered) => rendered.file.get().map(|sealed| &sealed.file),
            Body::Text(text) => text.sealed().map(|sealed| &sealed.file),
        }
    }

    /// Does what is worth doing before the first read: renders a file that is rendered as a whole, makes the footer of one
    /// that is stitched, looks for one of text in the cache.
    pub fn prepare(&self) -> Result<()> {
        match &self.body {
            Body::Bytes(_) => Ok(()),
            Body::Stitched(stitched) => stitched.prepare(),
            Body::Text(text) => {
                text.open();
                Ok(())
            }
            Body::File(rendered) => rendered.file(Some(self.size)).map(|_| ()),
        }
    }
}

impl Rendered {
    /// The file, from the cache or rendered now.
    fn file(&self, expected_size: Option<u64>) -> Result<&SealedFile> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let mut render = self.render.lock();
        if let Some(renderer) = render.as_ref() {
            let file = self.cache.get(&self.key, expected_size, renderer)?;
            self.file.set(file).expect("the file is set under the renderer's lock, once");
            *render = None;
        }
        Ok(self.file.get().expect("the renderer goes only after the file was set"))
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("View");
        debug.field("size", &self.size);
        if let Body::File(rendered) = &self.body {
            debug.field("key", &rendered.key).field("ready", &rendered.file.get().is_some());
        }
        debug.finish_non_exhaustive()
    }
}
