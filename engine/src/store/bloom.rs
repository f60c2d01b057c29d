//! Which keys a row group may hold: a split-block Bloom filter. FORMAT.md describes the bytes.
//!
//! A filter is a list of blocks of 32 bytes; a key sets one bit in each of the eight words of one block, so a
//! lookup looks at one block only. There are no false negatives.

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 32;
/// Bits of filter for each key: about one lookup in a hundred that should find nothing looks further.
const BITS_PER_KEY: usize = 10;
/// Odd numbers that spread a hash over the words of a block: those of Parquet's own filters.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// The hash of a key.
pub fn hash(key: &[u8]) -> u64 {
    let mut hash = key.len() as u64;
    for part in key.chunks(8) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

/// A bijection in which each bit of the result depends on every bit given (SplitMix64).
fn mix(hash: u64) -> u64 {
    let hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

/// The bits that a hash sets in each word of its block.
fn masks(hash: u64) -> [u32; 8] {
    SALT.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

/// Which of `blocks` blocks a hash belongs to.
fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// The filter of keys with these hashes.
pub fn build(hashes: &[u64]) -> Vec<u8> {
    let blocks = (hashes.len() * BITS_PER_KEY).div_ceil(BLOCK_BYTES * 8).max(1);
    let mut words = vec![[0u32; 8]; blocks];
    for &hash in hashes {
        let block = &mut words[block_of(hash, blocks)];
        block.iter_mut().zip(masks(hash)).for_each(|(word, mask)| *word |= mask);
    }
    words.into_iter().flatten().flat_map(u32::to_le_bytes).collect()
}

/// Where in a filter of `bytes` bytes the block of a hash begins; `None` where that is no filter's length.
pub fn offset_of(hash: u64, bytes: usize) -> Option<usize> {
    let blocks = bytes / BLOCK_BYTES;
    (blocks > 0 && bytes.is_multiple_of(BLOCK_BYTES)).then(|| block_of(hash, blocks) * BLOCK_BYTES)
}

/// Whether a block may hold the key of a hash.
pub fn may_hold(block: &[u8], hash: u64) -> bool {
    let words = block.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
    words.zip(masks(hash)).all(|(word, mask)| word & mask != 0)
}

/// Whether a whole filter may hold the key of a hash.
pub fn allows(filter: &[u8], hash: u64) -> bool {
    let block = offset_of(hash, filter.len()).and_then(|at| filter.get(at..at + BLOCK_BYTES));
    block.is_some_and(|block| may_hold(block, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(filter: &[u8], key: &[u8]) -> bool {
        allows(filter, hash(key))
    }

    #[test]
    fn holds_every_key_and_few_others() {
        let keys: Vec<Vec<u8>> =
            (0..20_000u32).map(|n| [&b"key "[..], &n.to_be_bytes()[..]].concat()).collect();
        let filter = build(&keys.iter().map(|key| hash(key)).collect::<Vec<_>>());
        assert_eq!(filter.len(), 25_024);
        assert!(keys.iter().all(|key| holds(&filter, key)));
        let others = (0..20_000u32).filter(|n| holds(&filter, &n.to_le_bytes())).count();
        assert!(others < 400, "{others} of 20,000 keys that are not there may be there");
    }

    #[test]
    fn a_key_and_its_prefix_differ() {
        let hashes: std::collections::BTreeSet<u64> = (0..40).map(|length| hash(&vec![0; length])).collect();
        assert_eq!(hashes.len(), 40);
    }
}
