//! Lines of `apply`: any bytes are a transaction or an error of one line.

#![no_main]

use asof_tools::cmd::apply::parse_request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = parse_request(bytes) {
        assert!(!error.to_string().is_empty());
    }
});
