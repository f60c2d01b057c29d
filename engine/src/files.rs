//! Writing files so that they are whole or absent, and frames that carry their own checksum.

use crate::error::{Error, Result, damaged};
use crate::layout::TEMPORARY_SUFFIX;
use crate::text::hex;
use asof_wal::planted::{Bug, planted};
use asof_wal::{Disk, DiskFile, OpenMode};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes in front of a frame's body: magic 8, format u32, zero u32, body length u64, BLAKE3 of all before it and the
/// body 32.
pub const FRAME_HEADER_BYTES: usize = 56;

/// The most a framed file may hold: 4 GiB.
const FRAME_BYTES_MAX: u64 = 4 << 30;

fn frame_digest(head: &[u8], body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    *hasher.finalize().as_bytes()
}

/// Puts a body into a frame.
pub fn frame(magic: &[u8; 8], format: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + body.len());
    out.extend_from_slice(magic);
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let digest = frame_digest(&out, body);
    out.extend_from_slice(&digest);
    out.extend_from_slice(body);
    out
}

/// Takes a body out of a frame, checking every byte. `file` names it in errors.
pub fn unframe<'a>(bytes: &'a [u8], magic: &[u8; 8], format: u32, file: &str) -> Result<&'a [u8]> {
    unframe_of(bytes, magic, format..=format, file).map(|(_, body)| body)
}

/// The same where frames of several formats are read; gives the format too.
pub fn unframe_of<'a>(
    bytes: &'a [u8],
    magic: &[u8; 8],
    formats: RangeInclusive<u32>,
    file: &str,
) -> Result<(u32, &'a [u8])> {
    let damaged = |offset: usize, expected: String, found: String| {
        damaged(file, offset as u64, format!("{expected}, found {found}"))
    };
    let Some((head, body)) = bytes.split_at_checked(FRAME_HEADER_BYTES) else {
        return Err(damaged(
            bytes.len(),
            format!("at least {FRAME_HEADER_BYTES} bytes"),
            format!("{} bytes", bytes.len()),
        ));
    };
    if head[..8] != magic[..] {
        return Err(damaged(0, hex(magic), hex(&head[..8])));
    }
    if head[12..16] != [0; 4] {
        return Err(damaged(12, "00000000".to_string(), hex(&head[12..16])));
    }
    let found_format = u32::from_le_bytes(head[8..12].try_into().expect("four bytes"));
    let length = u64::from_le_bytes(head[16..24].try_into().expect("eight bytes"));
    if length != body.len() as u64 {
        return Err(damaged(16, format!("a body of {length} bytes"), format!("{} bytes", body.len())));
    }
    let digest = frame_digest(&head[..24], body);
    if head[24..] != digest && !planted(Bug::FrameDigestIgnored) {
        return Err(damaged(24, format!("digest {}", hex(&head[24..])), hex(&digest)));
    }
    if !formats.contains(&found_format) {
        return Err(Error::new(
            crate::ErrorKind::Unsupported,
            format!("{file} has format {found_format}; this release reads {}", formats.end()),
        ));
    }
    Ok((found_format, body))
}

/// Opens a file that a manifest says is there.
pub fn open_named(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>> {
    disk.open(path, OpenMode::Read).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::corrupt(format!("{} is missing; run 'asof verify'", path.display()))
        }
        _ => io_error("open", path, error),
    })
}

/// Fills `bytes` from an offset of a file that a manifest says is that long.
pub fn read_settled(file: &dyn DiskFile, path: &Path, bytes: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            let expected = format!("{} bytes there, found the end of the file", bytes.len());
            damaged(path.display(), offset, expected)
        }
        _ => io_error(&format!("read {} bytes at offset {offset} of", bytes.len()), path, error),
    })
}

/// Reads a whole file of which the manifest has the digest. `explain` tells better than a digest can what is wrong,
/// where it finds it.
pub fn read_named(
    disk: &dyn Disk,
    path: &Path,
    expected: &[u8; 32],
    explain: impl Fn(&[u8], &str) -> Result<()>,
) -> Result<Vec<u8>> {
    let bytes = read_file(disk, path)?;
    let found = blake3::hash(&bytes);
    if found.as_bytes() != expected {
        let name = path.display().to_string();
        explain(&bytes, &name)?;
        return Err(Error::corrupt(format!(
            "{name} is another file than the manifest names: expected digest {}, found {}; run 'asof verify'",
            hex(expected),
            hex(found.as_bytes())
        )));
    }
    Ok(bytes)
}

/// Reads a whole file, at most [`FRAME_BYTES_MAX`].
pub fn read_file(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>> {
    let file = open_named(disk, path)?;
    let length = file.len().map_err(|error| io_error("read", path, error))?;
    if length > FRAME_BYTES_MAX {
        return Err(Error::corrupt(format!("{} is {length} bytes long, which cannot be", path.display())));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|error| io_error("read", path, error))?;
    Ok(bytes)
}

/// Writes a file so that after a crash it is whole under its name or not there: a temporary name, sync, rename, sync of
/// the directory (left to the caller where `sync_dir` is false, who then syncs once for many).
pub fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8], sync_dir: bool) -> Result<()> {
    let in_place = planted(Bug::ManifestInPlace) && path.extension().is_some_and(|name| name == "manifest");
    let temporary = if in_place { path.to_path_buf() } else { temporary_path(path) };
    let file =
        disk.open(&temporary, OpenMode::Create).map_err(|error| io_error("create", &temporary, error))?;
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all_at(bytes, 0))
        .and_then(|()| if planted(Bug::FileNotSynced) { Ok(()) } else { file.sync_all() })
        .and_then(|()| disk.rename(&temporary, path));
    if let Err(error) = written {
        // Best effort: what stays is removed by the next checkpoint.
        let _ = disk.remove_file(&temporary);
        return Err(io_error("write", path, error));
    }
    if sync_dir {
        sync_parent(disk, path)?;
    }
    Ok(())
}

/// Makes a file's name durable.
pub fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<()> {
    let parent = path.parent().expect("files of a database lie in a directory");
    disk.sync_dir(parent).map_err(|error| io_error("sync", parent, error))
}

/// What a file is called until it is whole.
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

/// An operating system's error with the file and what was attempted.
pub fn io_error(operation: &str, path: &Path, error: std::io::Error) -> Error {
    Error::from(error).at(format!("cannot {operation} {}", path.display()))
}

/// Appends to a file whose first `length` bytes are settled; what lies behind them is left over from a crash and is
/// overwritten. A file that was cut is told of, and goes on where it should: what it has lost reads as damage, and keeps
/// nobody from settling more. Synced on return, but for its name, which is the caller's to sync.
pub fn append_settled(disk: &dyn Disk, path: &Path, length: u64, bytes: &[u8]) -> Result<()> {
    let fail = |error| io_error("append to", path, error);
    let file: Arc<dyn DiskFile> = disk.open(path, OpenMode::Create).map_err(fail)?;
    let found = file.len().map_err(fail)?;
    if found < length {
        log::error!(
            "{} is damaged: expected at least {length} bytes, found {found}; run 'asof verify'",
            path.display()
        );
    }
    file.write_all_at(bytes, length).map_err(fail)?;
    if found > length + bytes.len() as u64 {
        file.set_len(length + bytes.len() as u64).map_err(fail)?;
    }
    if planted(Bug::HistoryNotSynced) {
        return Ok(());
    }
    file.sync_all().map_err(fail)
}
