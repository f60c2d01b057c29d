//! Manifests: any bytes are a manifest or an error, also in a frame whose digest is right; a manifest is written as it
//! was read, one of an earlier format as the same manifest.

#![no_main]

use asof_engine::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(Manifest::from_bytes(bytes, "manifest").is_err(), "nobody guesses a digest");
    let framed = frame(5, bytes);
    if let Ok(manifest) = Manifest::from_bytes(&framed, "manifest") {
        assert_eq!(manifest.to_bytes(), framed);
    }
    // Earlier formats are read, and written again as the newest.
    for format in [1, 2, 3, 4] {
        if let Ok(manifest) = Manifest::from_bytes(&frame(format, bytes), "manifest") {
            let again = Manifest::from_bytes(&manifest.to_bytes(), "manifest").expect("it was just written");
            assert_eq!(again, manifest);
        }
    }
});

/// The frame as FORMAT.md has it.
fn frame(format: u32, body: &[u8]) -> Vec<u8> {
    let mut out = b"ASOFMANI".to_vec();
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&out).update(body);
    out.extend_from_slice(hasher.finalize().as_bytes());
    out.extend_from_slice(body);
    out
}
