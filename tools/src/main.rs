//! The `asof` binary: everything is in the library, so that tests and the demo can call in.

fn main() -> std::process::ExitCode {
    asof_tools::run(std::env::args_os())
}
