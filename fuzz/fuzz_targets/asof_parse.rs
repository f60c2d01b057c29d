//! As-of expressions: any text is an expression or an error, and an expression reads back as itself.

#![no_main]

use asof_engine::AsOf;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let zone = TimeZone::UTC;
    if let Ok(asof) = AsOf::parse(text, &zone) {
        let written = asof.to_string();
        let back =
            AsOf::parse(&written, &zone).unwrap_or_else(|error| panic!("'{written}' from '{text}': {error}"));
        assert_eq!(back.to_string(), written, "from '{text}'");
    }
});
