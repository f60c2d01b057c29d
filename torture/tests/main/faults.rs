//! One fault at each call to the disk.

use crate::model::seeds;
use asof_torture::sim::{Sweep, sweep};

#[test]
fn no_single_fault_loses_or_falsifies_anything() {
    for seed in 0..seeds(1) {
        let swept = sweep(&Sweep { seed, steps: 8, one_in: 16, threads: 2, first_only: false });
        println!("{swept:?}");
        assert_eq!(swept.wrong, Vec::<String>::new());
        assert!(swept.failed * 4 > swept.runs, "only {} of {} runs failed", swept.failed, swept.runs);
    }
}
