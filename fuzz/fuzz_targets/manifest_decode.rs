//! Manifests: any bytes are a manifest or an error, also in a frame whose digest is right; a manifest is written as it
//! was read.

#![no_main]

use asof_engine::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(Manifest::from_bytes(bytes, "manifest").is_err(), "nobody guesses a digest");
    let framed = frame(bytes);
    if let Ok(manifest) = Manifest::from_bytes(&framed, "manifest") {
        assert_eq!(manifest.to_bytes(), framed);
    }
});

/// The frame as FORMAT.md has it.
fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = b"ASOFMANI".to_vec();
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&out).update(body);
    out.extend_from_slice(hasher.finalize().as_bytes());
    out.extend_from_slice(body);
    out
}
