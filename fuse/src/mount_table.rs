//! What is mounted where, from `/proc/self/mountinfo`. Asking here never touches a mount, so it works with dead ones.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The file system type of our mounts.
pub const FILE_SYSTEM_TYPE: &str = "fuse.asof";
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Its id, unique among mounts that exist.
    pub id: u64,
    /// Its device, `major:minor`; each FUSE session has its own.
    pub device: String,
    /// Where it is.
    pub path: PathBuf,
    /// `fuse.asof` for ours.
    pub file_system: String,
    /// What it says it shows.
    pub source: String,
}

impl MountEntry {
    /// Whether it is a mount of asof.
    pub fn is_ours(&self) -> bool {
        self.file_system == FILE_SYSTEM_TYPE
    }
}

/// All mounts, each after those it covers.
pub fn mounts() -> Result<Vec<MountEntry>> {
    let bytes =
        std::fs::read(MOUNTINFO).map_err(|error| Error::system(format!("reading {MOUNTINFO}"), error))?;
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// The topmost mount at a path, if one is mounted exactly there.
pub fn mount_at(path: &Path) -> Result<Option<MountEntry>> {
    Ok(mounts()?.into_iter().rfind(|entry| entry.path == path))
}

/// `id parent major:minor root path options [optional fields] - type source super-options`
fn parse(line: &[u8]) -> Option<MountEntry> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    let text = |index: usize| fields.get(index).and_then(|field| std::str::from_utf8(field).ok());
    Some(MountEntry {
        id: text(0)?.parse().ok()?,
        device: text(2)?.to_string(),
        path: PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))),
        file_system: text(separator + 1)?.to_string(),
        source: String::from_utf8_lossy(&unescape(fields.get(separator + 2)?)).into_owned(),
    })
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|digits| *byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal {
            Some(digits) => {
                let value = digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                plain.push(value as u8);
                rest = &after[3..];
            }
            None => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_mount_table_are_read() {
        let line = br"36 35 0:57 / /mnt/a\040b ro,nosuid shared:1 master:2 - fuse.asof asof:/data/x\134y ro,user_id=0";
        let entry = parse(line).expect("well formed");
        assert_eq!(entry.id, 36);
        assert_eq!(entry.device, "0:57");
        assert_eq!(entry.path, Path::new("/mnt/a b"));
        assert_eq!(entry.source, r"asof:/data/x\y");
        assert!(entry.is_ours());
        let other = parse(b"25 1 253:0 / / rw,relatime - ext4 /dev/vda rw").expect("well formed");
        assert!(!other.is_ours());
        for bad in
            [&b""[..], b"x", b"36 35 0:57 / /mnt ro", b"36 35 0:57 / /mnt ro -", b"a b c d e f - g h i"]
        {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(mount_at(Path::new("/")).unwrap().is_some());
        assert_eq!(mount_at(Path::new("/proc/self/nothing")).unwrap(), None);
    }
}
