//! A table's rows as the bytes of a file, in one pass and bounded memory.
//!
//! The bytes depend on the rows, the schema and, for Parquet and Arrow, the version of the writer
//! ([`RENDERER_REVISION`]): never on how the rows came in batches, nor on what lies under nulls.

use super::arrow_file::Told;
use super::{Format, arrow_file, parquet_file};
use crate::error::Result;
use crate::text::{CsvRows, JsonRows, write_csv_header};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use asof_mvcc::TableSchema;
use std::io::{self, Write};

/// Raised with every change to the bytes of any format, so that no cache serves older ones.
pub const RENDERER_REVISION: u32 = 2;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// Rows handed at once to the writers of Parquet and Arrow, and rows of a record batch in Arrow files.
pub(super) const BATCH_ROWS: usize = 8192;

/// Writes a table as a file and gives the bytes written. The batches have the schema's columns in their order.
pub fn render(
    format: Format,
    schema: &TableSchema,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    out: &mut dyn Write,
) -> Result<u64> {
    counted(out, |out| write(format, schema, batches, out))
}

/// Writes a table as an Arrow file of the size that [`arrow_file::ArrowSizes`] told from what is told of its rows, and
/// gives it.
pub(crate) fn render_arrow(
    schema: &TableSchema,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    (told, size): (Told, u64),
    out: &mut dyn Write,
) -> Result<u64> {
    counted(out, |out| arrow_file::write(schema, batches, Some((told, size)), out))
}

/// Writes to the end, and gives the bytes written.
fn counted(out: &mut dyn Write, write: impl FnOnce(&mut Sink) -> Result<()>) -> Result<u64> {
    let mut out = Sink { out, bytes: 0, error: None };
    let written = write(&mut out).and_then(|()| Ok(out.flush()?));
    out.own_error_first(written)?;
    Ok(out.bytes)
}

fn write(
    format: Format,
    schema: &TableSchema,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    out: &mut Sink,
) -> Result<()> {
    match format {
        Format::Csv => {
            let mut buffer = Vec::with_capacity(BUFFER_BYTES);
            write_csv_header(schema, &mut buffer);
            for batch in batches {
                let batch = batch?;
                let rows = CsvRows::new(schema, &batch);
                write_lines(batch.num_rows(), |row, buffer| rows.write(row, buffer), &mut buffer, out)?;
            }
            out.write_all(&buffer)?;
        }
        Format::JsonLines => {
            let mut buffer = Vec::with_capacity(BUFFER_BYTES);
            for batch in batches {
                let batch = batch?;
                let rows = JsonRows::new(schema, &batch);
                write_lines(batch.num_rows(), |row, buffer| rows.write(row, buffer), &mut buffer, out)?;
            }
            out.write_all(&buffer)?;
        }
        Format::Arrow => arrow_file::write(schema, batches, None, out)?,
        Format::Parquet => parquet_file::write(schema, batches, out)?,
    }
    Ok(())
}

fn write_lines(
    rows: usize,
    write: impl Fn(usize, &mut Vec<u8>),
    buffer: &mut Vec<u8>,
    out: &mut Sink,
) -> Result<()> {
    for row in 0..rows {
        write(row, buffer);
        if buffer.len() >= BUFFER_BYTES {
            out.write_all(buffer)?;
            buffer.clear();
        }
    }
    Ok(())
}

/// Where the bytes go: counts them, and remembers the error that a writer in between would wrap.
pub(super) struct Sink<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
    error: Option<io::Error>,
}

impl Sink<'_> {
    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The error of the destination itself, where there was one.
    fn own_error_first(&mut self, result: Result<()>) -> Result<()> {
        match (self.error.take(), result) {
            (Some(own), Err(_)) => Err(own.into()),
            (_, result) => result,
        }
    }

    /// Remembers an error, and gives another like it for the writer in between.
    fn keep(&mut self, error: io::Error) -> io::Error {
        let again = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        self.error = Some(error);
        again
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.out.write(bytes) {
            Ok(count) => {
                self.bytes += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.keep(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|error| self.keep(error))
    }
}

/// The same rows in batches of exactly [`BATCH_ROWS`], the last one shorter.
pub(super) struct Rechunked<I> {
    batches: I,
    schema: SchemaRef,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
}

impl<I: Iterator<Item = Result<RecordBatch>>> Rechunked<I> {
    /// Batches under a schema: columns are taken by position.
    pub(super) fn new(batches: I, schema: SchemaRef) -> Rechunked<I> {
        Rechunked { batches, schema, pending: Vec::new(), pending_rows: 0 }
    }

    /// Takes the next rows off the pending ones.
    fn take(&mut self) -> Result<RecordBatch> {
        let (mut wanted, mut taken) = (BATCH_ROWS.min(self.pending_rows), Vec::new());
        self.pending_rows -= wanted;
        while wanted > 0 {
            let first = &mut self.pending[0];
            let count = wanted.min(first.num_rows());
            taken.push(first.slice(0, count));
            wanted -= count;
            if count == first.num_rows() {
                self.pending.remove(0);
            } else {
                *first = first.slice(count, first.num_rows() - count);
            }
        }
        Ok(concat_batches(&self.schema, &taken)?)
    }
}

impl<I: Iterator<Item = Result<RecordBatch>>> Iterator for Rechunked<I> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        while self.pending_rows < BATCH_ROWS {
            match self.batches.next() {
                None => break,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => {
                    self.pending_rows += batch.num_rows();
                    match RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec()) {
                        Ok(batch) => self.pending.push(batch),
                        Err(error) => return Some(Err(error.into())),
                    }
                }
            }
        }
        (self.pending_rows > 0).then(|| self.take())
    }
}
