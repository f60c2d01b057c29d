//! Writes what fuzzing begins with, from a real database: run `seeds`, which `run.sh` builds, without arguments. Only
//! what nobody could write by hand: the other inputs in `corpus/` are texts and what was found.
//!
//! A target in form, since our crates are built for no other use here; it is done before there is any input.

#![no_main]

use asof_engine::view::Format;
use asof_engine::{Database, Version};
use asof_fuzz::{Base, DB, options};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::Path;

/// The largest input that is kept.
const SEED_BYTES_MAX: usize = 8 << 10;

fuzz_target!(
    init: write().map_or_else(|error| panic!("{error}"), |()| std::process::exit(0)),
    |_input: &[u8]| {}
);

fn write() -> Result<(), Box<dyn std::error::Error>> {
    let base = Base::get();
    let database = Database::open(Path::new(DB), options(&base.disk()))?;
    let newest = database.latest()?;
    let snapshot = database.snapshot(newest)?;
    for (index, table) in snapshot.table_names()?.iter().enumerate() {
        for (flag, format) in [(0, Format::Parquet), (1, Format::Arrow)] {
            let view = snapshot.view(table, format)?;
            let mut bytes = vec![0; view.size() as usize];
            view.read_at(&mut bytes, 0)?;
            put("typed_input", &format!("table{index}-{flag}"), &[&[flag], &bytes[..]].concat())?;
        }
    }
    put("manifest_decode", "real", &base.manifest.to_bytes()[56..])?;
    // One for each file, so that each is reached at once: no edits, no cut.
    for (number, _) in base.files.iter().enumerate() {
        put("store_files", &format!("file{number:02}"), &[number as u8, 0, 0, 0, 0, 0, 0, 0])?;
    }
    for number in 0..8u8 {
        put("hostile_commit", &format!("commit{number}"), &[number; 16])?;
        put("operations", &format!("scenario{number}"), &[number.wrapping_mul(37); 9])?;
    }
    assert!(newest > Version(0));
    Ok(())
}

fn put(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.len() > SEED_BYTES_MAX {
        return Ok(());
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(name), bytes)
}
