//! Where data and holes of an open file are: `lseek` by SEEK_DATA and SEEK_HOLE.
//!
//! Invariant: what is called a hole has no other byte than zeros. Holes are in stitched Parquet files alone, and answering
//! renders nothing; other files are data from beginning to end.

use super::FileSystem;
use crate::error::Refusal;
use crate::handles::{Content, Handle};

impl FileSystem {
    /// The first byte from `offset` on that is data, or that is none, as `whence` says. The end of the file is a hole.
    pub fn seek(&self, handle: u64, offset: i64, whence: i32) -> Result<u64, Refusal> {
        let handle = self.handles.get(handle).ok_or(Refusal::NotOpen)?;
        let Handle::File(file) = &*handle else { return Err(Refusal::IsDirectory) };
        let size = self.attributes_of(&file.inode)?.0.size;
        let mut offset = u64::try_from(offset).ok().filter(|offset| *offset < size).ok_or(Refusal::NoData)?;
        let hole_behind = |offset| match &file.content {
            Content::View(view) => view.hole_behind(offset),
            Content::Bytes(_) | Content::Log(_) => None,
        };
        match whence {
            libc::SEEK_HOLE => Ok(hole_behind(offset).map_or(size, |hole| hole.start.max(offset))),
            libc::SEEK_DATA => {
                while let Some(hole) = hole_behind(offset).filter(|hole| hole.start <= offset) {
                    offset = hole.end;
                }
                if offset < size { Ok(offset) } else { Err(Refusal::NoData) }
            }
            _ => Err(Refusal::BadSeek),
        }
    }
}
