//! Opening and reading files, and the bytes of the small ones.

use super::{FileSystem, Opened, logs};
use crate::answer::{Answer, Work};
use crate::error::Refusal;
use crate::handles::{Content, Handle, OpenFile};
use crate::names;
use crate::nodes::Inode;
use crate::requests::RequestCounters;
use crate::tree::{self, Kind, Node, TableFile};
use asof_engine::view::{Format, SHA256_HEX_BYTES, View};
use asof_engine::{Snapshot, Version, json};
use std::sync::Arc;

/// What `README.md` says.
pub(super) const README: &str = include_str!("../mounted_readme.md");

impl FileSystem {
    /// Opens a file for reading; with flags that mean writing, refuses.
    pub fn open(self: &Arc<Self>, inode: u64, flags: i32) -> Result<Answer<Opened>, Refusal> {
        RequestCounters::count(&self.requests.opens);
        let inode = self.inode(inode)?;
        if inode.node.kind() == Kind::Directory {
            return Err(Refusal::IsDirectory);
        }
        if flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0 {
            return Err(Refusal::ReadOnly);
        }
        if inode.view().is_some_and(|view| !view.is_intact()) {
            log::warn!(
                "inode {:#x}: its file in the cache was changed by somebody else; what is opened from now on has a new number",
                inode.number
            );
            inode.make_stale();
            return Err(Refusal::Stale);
        }
        let content = match &inode.node {
            Node::Readme => Content::Bytes(README.as_bytes().to_vec()),
            Node::Commit { version } => Content::Bytes(self.commit_json(*version)?),
            Node::Schema { .. } => {
                let snapshot = self.database.snapshot(inode.version())?;
                Content::Bytes(schema_json(&snapshot, table_name(&inode))?)
            }
            Node::Table { .. } | Node::DiffTable { .. } | Node::DiffStat { .. } => {
                match inode.view().filter(|view| view.is_ready(0, 0) && is_of(view, &inode)) {
                    Some(view) => {
                        self.recent.keep(&view);
                        Content::View(view)
                    }
                    None => {
                        // What is sealed is verified before it is open, so that the kernel can read it by itself; Arrow and
                        // diffs are rendered, other forms are made as they are read.
                        let this = self.clone();
                        return Ok(Answer::Later(Work::new(inode.number, move || {
                            let view = this.view_of(&inode)?;
                            view.prepare()?;
                            this.recent.keep(&view);
                            this.opened(inode, Content::View(view))
                        })));
                    }
                }
            }
            Node::Digest { format, .. } => {
                let (format, this) = (*format, self.clone());
                return Ok(Answer::Later(Work::new(inode.number, move || {
                    let snapshot = this.database.snapshot(inode.version())?;
                    let line = digest_line(&snapshot, table_name(&inode), format)?;
                    this.opened(inode, Content::Bytes(line))
                })));
            }
            Node::GrowingLog { format } => {
                let format = *format;
                return Ok(Answer::Now(self.open_log(inode, format)?));
            }
            Node::Log { .. } => Content::View(inode.view().ok_or(Refusal::Stale)?),
            _ => return Err(Refusal::NotLink),
        };
        Ok(Answer::Now(self.opened(inode, content)?))
    }

    /// The rendering of a table's file, or of a diff's.
    fn view_of(&self, inode: &Inode) -> Result<Arc<View>, Refusal> {
        if let Some(view) = inode.view() {
            return Ok(view);
        }
        let view = match &inode.node {
            Node::Table { format, .. } => {
                self.database.snapshot(inode.version())?.view(table_name(inode), *format)?
            }
            diff => self.diff_view(diff)?,
        };
        if is_of(&view, inode) {
            inode.remember_view(&view);
        }
        Ok(view)
    }

    pub(super) fn opened(&self, inode: Arc<Inode>, content: Content) -> Result<Opened, Refusal> {
        let size = match &content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::View(view) => view.size(),
            Content::Log(log) => log.extent().size,
        };
        if matches!(&content, Content::View(view) if !is_of(view, &inode)) {
            // Its rows lie in other files now: the name leads to another inode, which has its number once it is forgotten.
            return Err(Refusal::Stale);
        }
        if size != inode.size {
            log::warn!(
                "inode {:#x} was {} bytes long and is now {size}: it gets a new number",
                inode.number,
                inode.size
            );
            inode.make_stale();
            return Err(Refusal::Stale);
        }
        let file = Handle::File(OpenFile { inode, content });
        Ok(Opened { handle: self.handles.add(file), keep_cache: true, direct: false })
    }

    /// Reads from an open file; fewer bytes than asked only at its end.
    pub fn read(&self, handle: u64, offset: u64, length: u32) -> Result<Answer<Vec<u8>>, Refusal> {
        RequestCounters::count(&self.requests.reads);
        let handle = self.handles.get(handle).ok_or(Refusal::NotOpen)?;
        let Handle::File(file) = &*handle else { return Err(Refusal::IsDirectory) };
        if let Content::Log(log) = &file.content {
            return Ok(logs::read_log(log, file.inode.number, offset, length));
        }
        if file.is_ready(offset, length) {
            return Ok(Answer::Now(file.read(offset, length)?));
        }
        // What is rendered apart is not waited for.
        let part = match &file.content {
            Content::View(view) => view.part_at(offset),
            Content::Bytes(_) | Content::Log(_) => 0,
        };
        let key = file.inode.number.wrapping_add(part << 32);
        Ok(Answer::Later(Work::new(key, move || match &*handle {
            Handle::File(file) => file.read(offset, length),
            Handle::Directory(_) => Err(Refusal::IsDirectory),
        })))
    }

    /// The one sealed file behind an open file, where the kernel may read that by itself.
    pub fn with_sealed_file<T>(&self, handle: u64, use_it: impl FnOnce(&std::fs::File) -> T) -> Option<T> {
        let handle = self.handles.get(handle)?;
        let Handle::File(OpenFile { content: Content::View(view), .. }) = &*handle else { return None };
        view.sealed_file().map(use_it)
    }

    /// Closes a file or directory.
    pub fn release(&self, handle: u64) -> Result<(), Refusal> {
        self.handles.remove(handle).map(drop).ok_or(Refusal::NotOpen)
    }

    /// What a version's commit was, as JSON.
    pub(super) fn commit_json(&self, version: Version) -> Result<Vec<u8>, Refusal> {
        let mut commit = json::commit_info_to_json(&self.database.commit_info(version)?, &[], true);
        // Tags and readability move; this file tells what the commit was, and that does not.
        if let Some(fields) = commit.as_object_mut() {
            fields.shift_remove("tags");
            fields.shift_remove("readable");
        }
        Ok(pretty(&commit))
    }
}

impl OpenFile {
    /// Whether a read takes no rendering.
    fn is_ready(&self, offset: u64, length: u32) -> bool {
        match &self.content {
            Content::Bytes(_) => true,
            Content::Log(_) => false,
            Content::View(view) => view.is_ready(offset, u64::from(length)),
        }
    }

    fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Refusal> {
        let rest = self.inode.size.saturating_sub(offset);
        let length = rest.min(u64::from(length)) as usize;
        match &self.content {
            Content::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes[start..start + length].to_vec())
            }
            Content::Log(_) => unreachable!("logs are read before their inode's size is looked at"),
            Content::View(view) => {
                let mut buffer = vec![0; length];
                let mut filled = 0;
                while filled < length {
                    let got = view.read_at(&mut buffer[filled..], offset + filled as u64)?;
                    if got == 0 {
                        // Fewer bytes than the size says would reach readers as zeros.
                        let table = self.inode.table.as_deref().unwrap_or("log");
                        return Err(asof_engine::Error::corrupt(format!(
                            "'{table}' rendered as a file ends at byte {}, before its size of {}",
                            offset + filled as u64,
                            self.inode.size
                        ))
                        .into());
                    }
                    filled += got;
                }
                Ok(buffer)
            }
        }
    }
}

/// Whether a view has the bytes that an inode stands for, as far as layouts tell.
fn is_of(view: &View, inode: &Inode) -> bool {
    match inode.node {
        Node::Table { layout, .. } => layout == view.layout(),
        _ => true,
    }
}

fn table_name(inode: &Inode) -> &str {
    inode.table.as_deref().expect("inodes of tables are made with the table's name")
}

/// A table's schema as JSON.
pub(super) fn schema_json(snapshot: &Snapshot, table: &str) -> Result<Vec<u8>, Refusal> {
    let info = snapshot.table(table)?;
    Ok(pretty(&json::schema_to_json(&info.name, &info.schema, info.changed)))
}

/// How long the line with the digest of a table's file is: known without the digest.
pub(super) fn digest_line_bytes(table: &str, format: Format) -> u64 {
    (SHA256_HEX_BYTES + "  ".len() + file_name(table, format).len() + "\n".len()) as u64
}

/// The line that `sha256sum` prints of a table's file, and checks it by.
fn digest_line(snapshot: &Snapshot, table: &str, format: Format) -> Result<Vec<u8>, Refusal> {
    let digest = snapshot.view_sha256(table, format)?;
    Ok(format!("{digest}  {}\n", file_name(table, format)).into_bytes())
}

fn file_name(table: &str, format: Format) -> String {
    tree::table_file_name(names::split_table_name(table).1, TableFile::Rows(format))
}

fn pretty(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = format!("{value:#}").into_bytes();
    bytes.push(b'\n');
    bytes
}
