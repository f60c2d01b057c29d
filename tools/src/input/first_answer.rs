//! The same request again gets the first answer.
//!
//! What a request changes depends on what it finds: an insert finds its rows, a replacement finds nothing to change. So
//! a request under an id of the caller's is looked up before it is done, and told from another one of the same id by a
//! digest of what is asked for.

use asof_engine::{CommitOptions, Committed, Database, Result};

/// The digest of a request, from its parts.
#[derive(Clone, Debug, Default)]
pub struct RequestDigest(blake3::Hasher);

impl RequestDigest {
    /// Adds a part.
    pub fn part(&mut self, bytes: &[u8]) -> &mut RequestDigest {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a part that is read to its end.
    pub fn part_of(&mut self, bytes: &mut dyn std::io::Read) -> std::io::Result<()> {
        let mut part = blake3::Hasher::new();
        std::io::copy(bytes, &mut part)?;
        self.part(part.finalize().as_bytes());
        Ok(())
    }

    /// The digest.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The answer that a request got; none where its id is new. An id that another request had is an error.
pub fn first_answer(database: &Database, id: &str, request: [u8; 32]) -> Result<Option<Committed>> {
    if database.commit_with_client_id(id)?.is_none() {
        return Ok(None);
    }
    let options = CommitOptions {
        client_id: Some(id.to_string()),
        request_digest: Some(request),
        ..CommitOptions::default()
    };
    let committed = database.begin()?.commit(options)?;
    Ok(committed.repeated.then_some(committed))
}
