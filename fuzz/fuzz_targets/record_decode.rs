//! Payloads of the log and records of manifests: any bytes are a structure or an error.

#![no_main]

use asof_engine::codec::records::{
    CommitHeader, CommitPayload, SchemaRecord, TableRecord, TagRecord, decode_keys,
};
use asof_engine::codec::{decode, encode};
use libfuzzer_sys::fuzz_target;

// The first byte says which structure the rest is.
fuzz_target!(|input: &[u8]| {
    let Some((&which, bytes)) = input.split_first() else { return };
    match which % 6 {
        0 => drop(CommitPayload::decode(bytes)),
        1 => {
            if let Ok(header) = decode::<CommitHeader>(bytes, "a header") {
                assert_eq!(encode(&header), bytes);
                header.to_info();
            }
        }
        2 => drop(decode::<SchemaRecord>(bytes, "a schema").and_then(|record| record.to_schema())),
        3 => drop(decode::<TableRecord>(bytes, "a table").and_then(|record| record.to_table())),
        4 => drop(decode::<TagRecord>(bytes, "a tag").map(|record| record.to_tag())),
        _ => drop(decode_keys(bytes)),
    }
});
