//! Recovery: a log of so many megabytes, a kill, then the time until the store is open and its last row is read.

use crate::arguments::Arguments;
use crate::load::exit;
use crate::rows::value;
use crate::store;
use std::io::Write;
use std::time::Instant;

const ROWS_PER_COMMIT: u64 = 1000;

/// Commits until the payload has the size asked for, then kills itself.
pub fn fill(arguments: &Arguments) {
    let store = store::open(
        if arguments.engine == "limit" { "limit-growing" } else { &arguments.engine },
        &arguments.dir,
        true,
    );
    let start = Instant::now();
    let mut rows = 0;
    while rows * (8 + arguments.value_bytes as u64) < arguments.megabytes << 20 {
        let batch: Vec<_> =
            (rows..rows + ROWS_PER_COMMIT).map(|key| (key, value(key, 0, arguments.value_bytes))).collect();
        store.commit(&batch);
        rows += ROWS_PER_COMMIT;
    }
    println!(
        "{{\"workload\":\"recovery\",\"phase\":\"fill\",\"system\":\"{}\",\"rows\":{rows},\"seconds\":{:.3}}}",
        arguments.engine,
        start.elapsed().as_secs_f64()
    );
    std::io::stdout().flush().expect("standard output is open");
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// Opens what `fill` left, and reads the last row.
pub fn reopen(arguments: &Arguments) {
    let start = Instant::now();
    let store = store::open(
        if arguments.engine == "limit" { "limit-growing" } else { &arguments.engine },
        &arguments.dir,
        true,
    );
    let open = start.elapsed().as_secs_f64();
    let last_key = store.last_key();
    println!(
        "{{\"workload\":\"recovery\",\"phase\":\"reopen\",\"system\":\"{}\",\"open_seconds\":{open:.4},\
         \"readable_seconds\":{:.4},\"rows\":{}}}",
        arguments.engine,
        start.elapsed().as_secs_f64(),
        last_key + 1
    );
    exit();
}
