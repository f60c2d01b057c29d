//! Archives in directories and buckets: the commands, real histories, and processes killed at any moment.

mod commands;
mod histories;
mod kills;
mod retaining;
mod server;

use crate::cli::support::{Ran, Scratch};
use server::Server;
use std::process::Command;

/// Where an archive lies.
pub struct Destination {
    /// As it is typed.
    pub name: String,
    server: Option<Server>,
}

impl Destination {
    /// A directory of the scratch directory.
    pub fn directory() -> Destination {
        Destination { name: "archive".to_string(), server: None }
    }

    /// A bucket of a server of its own.
    pub fn bucket() -> Destination {
        let server = Server::start();
        server.make_bucket("bucket");
        Destination { name: "s3://bucket/archives/shop".to_string(), server: Some(server) }
    }

    /// Both kinds.
    pub fn all() -> [Destination; 2] {
        [Destination::directory(), Destination::bucket()]
    }

    /// `asof` with words, in the environment that leads to the archive.
    pub fn command(&self, scratch: &Scratch, words: &[&str]) -> Command {
        let mut command = scratch.command(words);
        if let Some(server) = &self.server {
            command.envs(server.environment());
        }
        command
    }

    pub fn run(&self, scratch: &Scratch, words: &[&str]) -> Ran {
        self.command(scratch, words).output().unwrap().into()
    }

    /// Runs, expects success, gives standard output.
    pub fn ok(&self, scratch: &Scratch, words: &[&str]) -> String {
        let ran = self.run(scratch, words);
        assert_eq!(ran.status, 0, "{words:?}: {} {}", ran.text(), ran.stderr);
        ran.text().to_string()
    }

    /// Runs, expects a status, gives standard error.
    pub fn fails(&self, scratch: &Scratch, status: i32, words: &[&str]) -> String {
        let ran = self.run(scratch, words);
        assert_eq!(ran.status, status, "{words:?}: {} {}", ran.text(), ran.stderr);
        ran.stderr
    }
}
