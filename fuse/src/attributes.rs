//! What `stat` shows of an inode, and how long each kind of answer may be believed.

use crate::tree::Kind;
use asof_engine::CommitTime;
use std::path::Path;
use std::time::Duration;

/// For what never changes: longer than any mount lives.
pub const IMMUTABLE_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);
/// For modification times of directories that grow. They are asked for at every path walk, so not quite 0.
pub const GROWING_TTL: Duration = Duration::from_secs(1);
/// For names that may lead elsewhere at any commit.
pub const MOVING_TTL: Duration = Duration::ZERO;

/// Blocks that a file with holes has less than its size says, at least: one more than what rounding up may add.
const BLOCKS_LEFT_OUT_MIN: u64 = 2;

/// Who may do what: owner and permission bits of all files and all directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits of files.
    pub file_mode: u16,
    /// Permission bits of directories.
    pub directory_mode: u16,
}

impl Permissions {
    /// Permissions of a mount for its mounter: 0400 and 0500, unless a mode says more.
    pub fn of_mounter(uid: u32, gid: u32) -> Permissions {
        Permissions { uid, gid, file_mode: 0o400, directory_mode: 0o500 }
    }

    /// The permissions of the given mode: its read bits for files, a search bit beside each of them for directories.
    pub fn with_mode(self, mode: u16) -> Permissions {
        let read = mode & 0o444;
        Permissions { file_mode: read, directory_mode: read | read >> 2, ..self }
    }

    /// Adds for group and others what they may do in the database's directory, whose group this is then: read and
    /// search, never write.
    pub fn with_directory(self, database: &Path) -> std::io::Result<Permissions> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(database)?;
        // Whoever may read a directory's files must be able to list and to enter it.
        let bits = metadata.mode() as u16 & 0o055;
        let may_read = (bits & 0o044) & ((bits & 0o011) << 2);
        Ok(Permissions { gid: metadata.gid(), ..self.with_mode(0o400 | may_read) })
    }
}

/// What `stat` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Inode number.
    pub inode: u64,
    /// Directory, file or link.
    pub kind: Kind,
    /// Exact size of the content.
    pub size: u64,
    /// Bytes of it that are holes, at least.
    pub hole_bytes: u64,
    /// All times.
    pub time: CommitTime,
    /// Permission bits.
    pub mode: u16,
    /// Link count.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Attributes {
    /// Blocks of 512 bytes: never 0 for a file that has bytes. Where there are holes, those that are sure are left out, and
    /// two at least, for who copies files looks for holes only where blocks are missing.
    pub fn blocks(&self) -> u64 {
        let all = self.size.div_ceil(512);
        let left_out = match self.hole_bytes {
            0 => 0,
            bytes => (bytes / 512).max(BLOCKS_LEFT_OUT_MIN),
        };
        all.saturating_sub(left_out).max(all.min(1))
    }

    /// The time in seconds and nanoseconds since 1970. Version 0 has no time and is shown at 1970.
    pub fn unix_time(&self) -> (i64, u32) {
        match self.time {
            CommitTime::MIN => (0, 0),
            CommitTime(micros) => (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) as u32 * 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn others_may_read_what_they_may_read_in_the_database() {
        let directory = tempfile::tempdir().unwrap();
        let gid = std::fs::metadata(directory.path()).unwrap().gid();
        for (mode, file_mode, directory_mode) in [
            (0o700, 0o400, 0o500),
            (0o755, 0o444, 0o555),
            (0o750, 0o440, 0o550),
            (0o777, 0o444, 0o555),
            (0o711, 0o400, 0o500),
            (0o744, 0o400, 0o500),
        ] {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let permissions = Permissions::of_mounter(1, 2).with_directory(directory.path()).unwrap();
            assert_eq!(permissions, Permissions { uid: 1, gid, file_mode, directory_mode }, "{mode:o}");
        }
    }

    #[test]
    fn a_mode_never_lets_anyone_write_or_execute_a_file() {
        let permissions = Permissions::of_mounter(0, 0).with_mode(0o777);
        assert_eq!((permissions.file_mode, permissions.directory_mode), (0o444, 0o555));
    }

    #[test]
    fn times_before_1970_round_down_to_whole_seconds() {
        let at = |micros| Attributes {
            inode: 1,
            kind: Kind::File,
            size: 513,
            hole_bytes: 0,
            time: CommitTime(micros),
            mode: 0,
            links: 1,
            uid: 0,
            gid: 0,
        };
        assert_eq!(at(1_500_000).unix_time(), (1, 500_000_000));
        assert_eq!(at(-1).unix_time(), (-1, 999_999_000));
        assert_eq!(at(i64::MIN).unix_time(), (0, 0));
        assert_eq!(at(0).blocks(), 2);
        let blocks = |size, hole_bytes| Attributes { size, hole_bytes, ..at(0) }.blocks();
        assert_eq!((blocks(0, 0), blocks(1, 1), blocks(5120, 5120)), (0, 1, 1));
        assert_eq!((blocks(5120, 0), blocks(5120, 1), blocks(5120, 1535), blocks(5120, 1536)), (10, 8, 8, 7));
    }
}
