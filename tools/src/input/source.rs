//! Where bytes come from: files, standard input, memory; decompressed by their content.
//!
//! Invariant: a source can be read as often as needed, always from its beginning. What cannot be read twice (standard
//! input, pipes) is first copied to an unnamed temporary file.

use asof_engine::{Error, ErrorKind, Result};
use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a stream of input is.
pub type Bytes = Box<dyn Read + Send>;

/// Something that can be read from its beginning as often as needed.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    Path(PathBuf),
    Spooled(Arc<File>),
    Memory(Arc<[u8]>),
}

/// How the bytes of a source are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, also of several members.
    Gzip,
    /// Zstandard, also of several frames.
    Zstd,
    /// bzip2, also of several streams.
    Bzip2,
}

/// Bytes that tell a compression.
const COMPRESSION_MAGIC_BYTES: usize = 10;

impl Compression {
    /// The compression of what begins with these bytes.
    pub fn of_content(start: &[u8]) -> Compression {
        match start {
            [0x1F, 0x8B, 0x08, ..] => Compression::Gzip,
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Compression::Bzip2,
            _ => Compression::None,
        }
    }
}

impl Source {
    /// A file, or standard input for `-`. Pipes are read to their end at once.
    pub fn open(path: &Path) -> Result<Source> {
        if path.as_os_str() == "-" {
            return Source::spool("standard input", io::stdin().lock());
        }
        let name = path.display().to_string();
        let metadata = std::fs::metadata(path).map_err(|error| read_error(&name, &error))?;
        if metadata.is_dir() {
            return Err(Error::new(ErrorKind::Io, format!("{name}: is a directory; give the files in it")));
        }
        if metadata.is_file() {
            return Ok(Source { name, origin: Origin::Path(path.to_path_buf()) });
        }
        let file = File::open(path).map_err(|error| read_error(&name, &error))?;
        Source::spool(&name, file)
    }

    /// Bytes in memory, under a name for messages.
    pub fn memory(name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Source {
        Source { name: name.into(), origin: Origin::Memory(bytes.into()) }
    }

    fn spool(name: &str, mut from: impl Read) -> Result<Source> {
        let mut file = tempfile::tempfile()
            .map_err(|error| Error::from(error).at(format_args!("temporary file for {name}")))?;
        io::copy(&mut from, &mut file).map_err(|error| read_error(name, &error))?;
        Ok(Source { name: name.to_string(), origin: Origin::Spooled(Arc::new(file)) })
    }

    /// Its name in messages: the path as given, or `standard input`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes as they are, from the beginning.
    fn raw(&self) -> Result<Bytes> {
        Ok(match &self.origin {
            Origin::Path(path) => Box::new(File::open(path).map_err(|error| read_error(&self.name, &error))?),
            Origin::Spooled(file) => Box::new(FileFromStart { file: file.clone(), offset: 0 }),
            Origin::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
        })
    }

    /// The decompressed bytes, from the beginning.
    pub fn read(&self) -> Result<Bytes> {
        let (start, rest) = peek(self.raw()?, COMPRESSION_MAGIC_BYTES).map_err(|error| self.error(&error))?;
        let compression = Compression::of_content(start.get_ref());
        let bytes = start.chain(rest);
        Ok(match compression {
            Compression::None => Box::new(bytes),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(bytes))),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(BufReader::new(bytes))),
            Compression::Zstd => {
                Box::new(zstd::stream::read::Decoder::new(bytes).map_err(|error| self.error(&error))?)
            }
        })
    }

    /// The decompressed bytes as a file that can be read anywhere; compressed ones are unpacked to a temporary file.
    pub fn read_anywhere(&self) -> Result<File> {
        let mut start = Vec::new();
        self.raw()?
            .take(COMPRESSION_MAGIC_BYTES as u64)
            .read_to_end(&mut start)
            .map_err(|error| self.error(&error))?;
        let plain = Compression::of_content(&start) == Compression::None;
        match &self.origin {
            Origin::Path(path) if plain => File::open(path).map_err(|error| self.error(&error)),
            _ => {
                let mut file = tempfile::tempfile()?;
                io::copy(&mut self.read()?, &mut file).map_err(|error| self.error(&error))?;
                Ok(file)
            }
        }
    }

    /// The first decompressed bytes, at most `bytes` of them.
    pub fn start(&self, bytes: usize) -> Result<Vec<u8>> {
        let mut start = Vec::new();
        self.read()?.take(bytes as u64).read_to_end(&mut start).map_err(|error| self.error(&error))?;
        Ok(start)
    }

    /// An error of reading this source.
    pub fn error(&self, error: &io::Error) -> Error {
        read_error(&self.name, error)
    }
}

/// An input that could not be read: never "nothing there", which is said of tables and versions.
pub fn read_error(name: &str, error: &io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "ends in the middle of its compressed data; fetch it again".to_string()
        }
        _ => error.to_string(),
    };
    Error::new(ErrorKind::Io, format!("{name}: {message}"))
}

/// Takes the first bytes off a stream, fewer only where it is shorter.
fn peek(mut bytes: Bytes, count: usize) -> io::Result<(Cursor<Vec<u8>>, Bytes)> {
    let mut start = Vec::with_capacity(count);
    bytes.by_ref().take(count as u64).read_to_end(&mut start)?;
    Ok((Cursor::new(start), bytes))
}

/// Puts bytes that were looked at back before the rest.
pub type Rejoined = Chain<Cursor<Vec<u8>>, Bytes>;

/// Looks at the first bytes of a stream and gives them back with the stream as it was.
pub fn look_ahead(bytes: Bytes, count: usize) -> io::Result<(Vec<u8>, Rejoined)> {
    let (start, rest) = peek(bytes, count)?;
    Ok((start.get_ref().clone(), start.chain(rest)))
}

/// Reads a shared file from its beginning without moving a shared position.
struct FileFromStart {
    file: Arc<File>,
    offset: u64,
}

impl Read for FileFromStart {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buf, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
