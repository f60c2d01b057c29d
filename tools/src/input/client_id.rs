//! Finds the commit that was made under an id of the caller's, so that the same request again gets the first answer.
//!
//! The engine refuses to commit other content under a known id; but a request's content depends on what it finds (an
//! insert that is there already, a replacement that changes nothing), so the request is looked up before it is done.

use asof_engine::{CommitInfo, Database, Result, Version};
use std::collections::HashMap;

/// The ids of the commits read so far.
#[derive(Debug, Default)]
pub struct ClientIds {
    versions: HashMap<String, Version>,
    read: Version,
}

impl ClientIds {
    /// The commit made under an id. Reads each commit of the history once.
    pub fn find(&mut self, database: &Database, id: &str) -> Result<Option<CommitInfo>> {
        let latest = database.refresh()?;
        while self.read < latest {
            self.read = self.read.next();
            if let Some(id) = database.commit_info(self.read)?.client_id {
                self.versions.insert(id, self.read);
            }
        }
        self.versions.get(id).map(|version| database.commit_info(*version)).transpose()
    }
}
