//! `import-history`.

use crate::{Context, Error, Result};
use clap::Args;

/// `import-history`
#[derive(Debug, Args)]
pub struct ImportHistoryArgs {}

/// Written on another branch.
pub fn run(_args: ImportHistoryArgs, _context: &Context) -> Result {
    Err(Error::failed("not there yet"))
}
