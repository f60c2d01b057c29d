//! A simulated disk at one moment, to be cut in many ways.

use super::content::Content;
use super::world::Operation;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A disk at one moment: what processes saw, and what was on the platter.
#[derive(Clone, Debug)]
pub struct Image {
    pub(super) content: Content,
    pub(super) boot: u64,
    pub(super) next_process: u32,
    pub(super) next_number: u64,
}

/// The disk just before an operation.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The operation's number.
    pub number: u64,
    /// What it is.
    pub operation: Operation,
    /// The mark at that time; see [`super::SimDisk::mark`].
    pub mark: u64,
    /// The disk.
    pub image: Image,
}

impl Image {
    /// A hash of names and bytes, as processes see them and as they are on the platter: equal for equal disks.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Content { inodes, names, durable_names, .. } = &self.content;
        names.hash(&mut hasher);
        durable_names.hash(&mut hasher);
        for (number, inode) in inodes {
            number.hash(&mut hasher);
            let cache = hash_bytes(&inode.cache);
            cache.hash(&mut hasher);
            // After a power cut there is no difference.
            let durable = match Arc::ptr_eq(&inode.cache, &inode.durable) {
                true => cache,
                false => hash_bytes(&inode.durable),
            };
            durable.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// A fast hash of bytes, eight at a time.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = 0x9E37_79B9_7F4A_7C15 ^ bytes.len() as u64;
    let mut add = |word: u64| hash = (hash ^ word).wrapping_mul(0x2545_F491_4F6C_DD1D).rotate_left(23);
    let chunks = bytes.chunks_exact(8);
    let rest = chunks.remainder();
    chunks.for_each(|chunk| add(u64::from_le_bytes(chunk.try_into().expect("eight bytes"))));
    rest.iter().for_each(|byte| add(u64::from(*byte)));
    hash
}
