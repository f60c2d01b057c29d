//! `import`.

use crate::{Context, Error, Result};
use clap::Args;

/// `import`
#[derive(Debug, Args)]
pub struct ImportArgs {}

/// Written on another branch.
pub fn run(_args: ImportArgs, _context: &Context) -> Result {
    Err(Error::failed("not there yet"))
}
