//! One file per command. Each has `run(args, &Context) -> Result<Status>`.

pub mod alter_table;
pub mod apply;
pub mod cat;
pub mod checkpoint;
pub mod compact;
pub mod completions;
pub mod create_table;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod drop_table;
pub mod get;
pub mod history;
pub mod import;
pub mod import_history;
pub mod info;
pub mod init;
pub mod log;
pub mod mount;
pub mod resolve;
pub mod schema;
pub mod show;
pub mod tables;
pub mod tag;
pub mod umount;
pub mod verify;
