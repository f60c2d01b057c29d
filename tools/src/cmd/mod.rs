//! One file per command. Each has `run(args, &Context) -> Result<Status>`.

pub mod apply;
pub mod import;
pub mod import_history;
pub mod init;
