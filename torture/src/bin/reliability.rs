//! The checks of reliability that CI runs, and the long ones: `reliability [--long] [--threads N]`.
fn main() {}
