//! Bugs that can be switched on, one at a time, to show that the tests of faults catch them.
//!
//! Invariant: without the feature `planted` every switch is a constant `false`, and nothing of this is compiled in.

use crate::disk::DiskFile;
use std::io;

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Bug {
            /// Every one of them.
            pub const ALL: &[Bug] = &[$(Bug::$name,)+];

            /// What is wrong, in a line.
            pub fn what(self) -> &'static str {
                match self {
                    $(Bug::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

bugs! {
    /// A batch of the log is not synced.
    LogNotSynced,
    /// The sync of a batch goes to another file.
    WrongFileSynced,
    /// The durable head is published before the sync.
    PublishedBeforeSync,
    /// A commit is acknowledged before it is written.
    EarlyAcknowledgement,
    /// A failed sync counts as done.
    SyncErrorIgnored,
    /// A log whose sync failed goes on.
    PoisonIgnored,
    /// A short write counts as done.
    ShortWriteIgnored,
    /// The checksum of a record's header is not checked.
    RecordChecksumIgnored,
    /// The checksum of a record's payload is not checked.
    PayloadChecksumIgnored,
    /// A record of another segment, epoch or place in the order is replayed.
    StaleRecordReplayed,
    /// What later records say was synced is ignored: damage looks like the end of the log.
    SyncedThroughIgnored,
    /// Readers do not stop at the durable head.
    EndOfLogTooLate,
    /// A repair leaves the tail behind.
    TailDropped,
    /// A repair trusts the tail where it lies, without rewriting it.
    TailNotRewritten,
    /// The directory of the log is not synced after a new segment.
    LogDirectoryNotSynced,
    /// Files are renamed before they are synced.
    FileNotSynced,
    /// Data files are not synced.
    DataFileNotSynced,
    /// The directories of data are not synced before the manifest.
    DirectoryNotSynced,
    /// The manifest is written under its own name.
    ManifestInPlace,
    /// What grows behind settled bytes is not synced.
    HistoryNotSynced,
    /// Files that the new manifest does not name go before it is durable.
    GarbageBeforeManifest,
    /// Manifests go although readers hold leases on them.
    LeaseIgnored,
    /// The log goes up to the newest manifest's start, not the oldest one's.
    LogRetiredTooEarly,
    /// A checkpoint's ends file is not named by its manifest.
    EndsFileForgotten,
    /// A checkpoint leaves the rows of its last version out.
    CheckpointSettlesTooMuch,
    /// A checkpoint forgets idempotency ids.
    IdsForgotten,
    /// A commit does not look at what other processes committed.
    CatchUpSkipped,
    /// Conflicts are not checked.
    ConflictsIgnored,
    /// A refused transaction leaves its tables behind.
    RefusedTablesKept,
    /// Commit times are the clock's, even if it went backwards.
    ClockTrusted,
    /// Blocks of data files are not checked.
    BlockChecksumIgnored,
    /// Index blocks and footers of data files are not checked.
    IndexChecksumIgnored,
    /// The digests of manifests and other framed files are not checked.
    FrameDigestIgnored,
    /// Entries of the index of commits are not checked.
    CommitIndexChecksumIgnored,
    /// The last dead row told of in an ends file is left out.
    EndsEntryForgotten,
    /// A copies file says that it tells of one version more than it does.
    CopiesClaimTooMuch,
    /// Copies files go, though a manifest names them.
    CopiesNotKept,
    /// Compaction writes a row twice, and the next not at all.
    CompactionDropsRow,
    /// Compaction lets rows die a version later than they did.
    CompactionMovesEnds,
    /// Garbage is collected in spite of the locks of loads.
    LoadLockIgnored,
    /// Garbage is collected without a look at the records that a dead writer left behind the durable head.
    TailIgnoredByGarbage,
    /// The files of a load are named by the log before they are synced.
    LoadNotSynced,
    /// The names of a load's files are not synced before the log has them.
    LoadDirectoryNotSynced,
    /// Keys that are loaded are not looked up.
    LoadedKeysNotChecked,
    /// A checkpoint forgets the files of loads.
    LoadedFilesForgotten,
    /// Key filters deny some of the keys that are there.
    KeyFilterDenies,
    /// Retention lets go what tags name.
    TagsKeepNothing,
    /// A checkpoint forgets which versions are gone.
    GoneForgotten,
    /// Rows go that the version after those that are gone shows.
    KeptRowsGo,
}

#[cfg(feature = "planted")]
mod switch {
    use super::Bug;
    use std::sync::atomic::{AtomicU32, Ordering};

    static PLANTED: AtomicU32 = AtomicU32::new(u32::MAX);

    /// Whether a bug is switched on.
    pub fn planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u32
    }

    /// Switches a bug on for the whole process, or all of them off.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(u32::MAX, |bug| bug as u32), Ordering::Relaxed);
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Bug;

    /// Whether a bug is switched on: never.
    #[inline(always)]
    pub const fn planted(_bug: Bug) -> bool {
        false
    }
}

pub use switch::*;

/// Makes a batch durable.
pub(crate) fn sync_batch(file: &dyn DiskFile, other: &dyn DiskFile) -> io::Result<()> {
    if planted(Bug::LogNotSynced) {
        return Ok(());
    }
    let synced = if planted(Bug::WrongFileSynced) { other.sync_data() } else { file.sync_data() };
    if planted(Bug::SyncErrorIgnored) { Ok(()) } else { synced }
}
