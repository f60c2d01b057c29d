//! Parquet and Arrow files to import: any bytes are rows or an error, also where the libraries that read them panic.

#![no_main]

use asof_tools::input::source::Source;
use asof_tools::input::typed::TypedReader;
use libfuzzer_sys::fuzz_target;

// The first byte says which of the two the rest is.
fuzz_target!(|input: &[u8]| {
    asof_engine::guard::silence();
    let Some((&flags, bytes)) = input.split_first() else { return };
    let source = Source::memory("f", bytes);
    let reader = if flags & 1 == 0 { TypedReader::parquet(&source) } else { TypedReader::arrow(&source) };
    let Ok(mut reader) = reader else { return };
    let columns = reader.columns().len();
    // A few bytes may stand for any number of rows.
    for _ in 0..16 {
        let Ok(Some((batch, _))) = reader.next_batch() else { return };
        assert_eq!(batch.num_columns(), columns);
    }
});
