//! Durable small commits (`commits`) and recovery after a kill (`fill`, then `reopen`) of other
//! embedded stores, each through the same loop, the same rows and the same counter of syncs.
//! One JSON line per call; see ../README.md for how it is used.

mod arguments;
mod fill;
mod limit;
mod load;
mod rows;
mod store;
mod stores;
mod syncs;

use arguments::Arguments;

fn main() {
    let arguments = Arguments::from_command_line();
    std::fs::create_dir_all(&arguments.dir).expect("the directory can be made");
    match arguments.command.as_str() {
        "commits" => load::commits(&arguments),
        "fill" => fill::fill(&arguments),
        "reopen" => fill::reopen(&arguments),
        other => arguments::usage(&format!("unknown command {other}")),
    }
}
