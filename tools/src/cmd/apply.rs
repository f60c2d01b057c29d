//! `apply`.

use crate::{Context, Error, Result};
use clap::Args;

/// `apply`
#[derive(Debug, Args)]
pub struct ApplyArgs {}

/// Written on another branch.
pub fn run(_args: ApplyArgs, _context: &Context) -> Result {
    Err(Error::failed("not there yet"))
}
