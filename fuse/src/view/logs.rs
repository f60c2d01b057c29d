//! The logs that grow: `log.csv` and `log.jsonl`.
//!
//! Each is one inode for ever, whose size is that of the newest commit at each look. Invariant: bytes that were once there
//! stay, and a line is there whole or not at all. The kernel keeps neither size nor bytes: who reads on at the end of an
//! open log finds what was committed meanwhile.

use super::{FileSystem, Found, Opened};
use crate::answer::{Answer, Work};
use crate::attributes::MOVING_TTL;
use crate::error::Refusal;
use crate::handles::{Content, Handle, OpenFile};
use crate::nodes::Inode;
use crate::tree::Node;
use asof_engine::view::{Format, LogExtent, LogFile};
use asof_engine::{Database, Version};
use std::sync::Arc;

/// Commits that are counted within a request; what is more is work.
const AT_ONCE_MAX: u64 = 512;
/// Reads this far apart do not wait for one another.
const PART_BYTES: u64 = 1 << 20;

/// The logs of a database that grow.
#[derive(Debug)]
pub(super) struct Logs {
    csv: Arc<LogFile>,
    json_lines: Arc<LogFile>,
}

impl Logs {
    pub(super) fn new(database: &Database) -> Logs {
        let log = |format| Arc::new(LogFile::new(database.clone(), format));
        Logs { csv: log(Format::Csv), json_lines: log(Format::JsonLines) }
    }

    /// The log of a form, if that is one that grows.
    pub(super) fn of(&self, format: Format) -> Option<&Arc<LogFile>> {
        match format {
            Format::Csv => Some(&self.csv),
            Format::JsonLines => Some(&self.json_lines),
            Format::Parquet | Format::Arrow => None,
        }
    }
}

impl FileSystem {
    pub(super) fn lookup_growing_log(
        self: &Arc<Self>,
        format: Format,
        log: &Arc<LogFile>,
    ) -> Result<Answer<Found>, Refusal> {
        let node = Node::GrowingLog { format };
        let enter = move |this: &FileSystem| {
            let inode = this.inodes.enter(Inode::new(node, 0, this.started));
            this.found(&inode, MOVING_TTL)
        };
        if log.behind()? <= AT_ONCE_MAX {
            return Ok(Answer::Now(enter(self)?));
        }
        let (this, log) = (self.clone(), log.clone());
        Ok(Answer::Later(Work::new(Node::GrowingLog { format }.inode(), move || {
            log.grow(u64::MAX)?;
            enter(&this)
        })))
    }

    /// How far a log reaches at this look. After very many commits at once it is told of some of them, and of all when it
    /// is looked up or read.
    pub(super) fn log_extent(&self, format: Format) -> Result<LogExtent, Refusal> {
        let log = self.logs.of(format).ok_or(Refusal::Stale)?;
        let extent = log.grow(AT_ONCE_MAX)?;
        Ok(match extent.version {
            // It has the time of what belongs to no version.
            Version::ZERO => LogExtent { time: self.started, ..extent },
            _ => extent,
        })
    }

    pub(super) fn open_log(&self, inode: Arc<Inode>, format: Format) -> Result<Opened, Refusal> {
        let log = self.logs.of(format).ok_or(Refusal::Stale)?;
        let content = Content::Log(log.clone());
        let file = OpenFile { inode, content };
        let handle = self.handles.add(Handle::File(file));
        Ok(Opened { handle, keep_cache: false, direct: true })
    }
}

/// Reads of a log: what was committed meanwhile, too, where reading comes to the end.
pub(super) fn read_log(log: &Arc<LogFile>, inode: u64, offset: u64, length: u32) -> Answer<Vec<u8>> {
    let log = log.clone();
    Answer::Later(Work::new(inode.wrapping_add((offset / PART_BYTES) << 32), move || {
        let end = offset.saturating_add(u64::from(length));
        if end > log.extent().size {
            log.grow(u64::MAX)?;
        }
        let rest = log.extent().size.saturating_sub(offset);
        let mut bytes = vec![0; rest.min(u64::from(length)) as usize];
        let count = log.read_at(&mut bytes, offset)?;
        bytes.truncate(count);
        Ok(bytes)
    }))
}
