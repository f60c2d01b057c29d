//! Compression, encodings, formats.

use asof_tools::input::encoding;
use asof_tools::input::format::InputFormat;
use asof_tools::input::reader::{Input, InputOptions, Reader};
use asof_tools::input::source::{Compression, Source};
use std::io::{Read, Write};

const TEXT: &[u8] = b"a,b\n1,x\n2,y\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut out = zstd::Encoder::new(Vec::new(), 1).unwrap();
    out.include_checksum(true).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn unpacked(source: &Source) -> Vec<u8> {
    let mut bytes = Vec::new();
    source.read().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn compression_is_told_by_content_and_may_have_several_parts() {
    for (pack, expected) in [
        (gzip as fn(&[u8]) -> Vec<u8>, Compression::Gzip),
        (bzip2, Compression::Bzip2),
        (zstd, Compression::Zstd),
        (|bytes: &[u8]| bytes.to_vec(), Compression::None),
    ] {
        let mut packed = pack(&TEXT[..5]);
        packed.extend(pack(&TEXT[5..]));
        assert_eq!(Compression::of_content(&packed), expected);
        let source = Source::memory("anything.csv", packed);
        assert_eq!(unpacked(&source), TEXT, "{expected:?}");
        assert_eq!(unpacked(&source), TEXT, "a second time");
        let mut file = source.read_anywhere().unwrap();
        let mut bytes = Vec::new();
        std::io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, TEXT);
        assert_eq!(source.start(3).unwrap(), b"a,b");
    }
    assert_eq!(Compression::of_content(b"BZhello"), Compression::None);
}

#[test]
fn cut_off_and_damaged_archives_are_errors_that_name_the_file() {
    let text: Vec<u8> = (0..50_000u32)
        .flat_map(|number| format!("{},x\n", number.wrapping_mul(2654435761)).into_bytes())
        .collect();
    for (name, packed) in [("g", gzip(&text)), ("b", bzip2(&text)), ("z", zstd(&text))] {
        for damaged in [packed[..packed.len() / 2].to_vec(), {
            let mut flipped = packed.clone();
            let middle = flipped.len() / 2;
            flipped[middle..middle + 20].fill(0xA5);
            flipped
        }] {
            let name = format!("{name}.csv");
            let input = Input::new(Source::memory(name.clone(), damaged), InputOptions::default()).unwrap();
            let error = input.open().and_then(|mut reader| {
                while reader.next_chunk(&mut |_| Ok(()))?.is_some() {}
                Ok(())
            });
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with(&name), "{error}");
        }
    }
}

#[test]
fn pipes_can_be_read_twice() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let thread = std::thread::spawn(move || writer.write_all(&gzip(TEXT)));
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let source = Source::open(path.as_ref()).unwrap();
    thread.join().unwrap().unwrap();
    assert_eq!(unpacked(&source), TEXT);
    assert_eq!(unpacked(&source), TEXT);
}

#[test]
fn what_is_no_file_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let error = Source::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("is a directory"), "{error}");
    let missing = directory.path().join("missing.csv");
    let error = Source::open(&missing).unwrap_err();
    assert!(error.to_string().starts_with(&missing.display().to_string()), "{error}");
    assert_eq!(error.kind(), asof_engine::ErrorKind::Io);
}

fn first_row(bytes: &[u8], encoding: Option<&str>) -> Result<Vec<Option<String>>, String> {
    let options = InputOptions {
        encoding: encoding.map(|name| encoding::by_name(name).unwrap()),
        ..InputOptions::default()
    };
    let input = Input::new(Source::memory("t.csv", bytes), options).map_err(|error| error.to_string())?;
    let mut reader = input.open().map_err(|error| error.to_string())?;
    assert_eq!(reader.columns().unwrap()[0].0, "a");
    let chunk =
        reader.next_chunk(&mut |row| Err(row.to_error("t.csv"))).map_err(|error| error.to_string())?;
    let chunk = chunk.unwrap();
    let cells = chunk.cells().unwrap();
    Ok((0..2).map(|column| cells.get(0, column).map(str::to_string)).collect())
}

#[test]
fn byte_order_marks_are_known_and_left_out() {
    let expected = vec![Some("é".to_string()), Some("x".to_string())];
    assert_eq!(first_row("\u{feff}a,b\né,x\n".as_bytes(), None).unwrap(), expected);
    let utf16 = "\u{feff}a,b\né,x\n".encode_utf16();
    let little: Vec<u8> = utf16.clone().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = utf16.flat_map(u16::to_be_bytes).collect();
    assert_eq!(first_row(&little, None).unwrap(), expected);
    assert_eq!(first_row(&big, None).unwrap(), expected);
    assert_eq!(first_row(&zstd(&big), None).unwrap(), expected);
}

#[test]
fn encodings_are_decoded_and_what_means_nothing_is_an_error() {
    assert_eq!(first_row(b"a,b\ncaf\xe9,x\n", Some("latin1")).unwrap()[0], Some("café".to_string()));
    assert_eq!(
        first_row(b"a,b\n\x93\xfa\x96\x7b,x\n", Some("shift_jis")).unwrap()[0],
        Some("日本".to_string())
    );
    let error = first_row(b"a,b\n\x93\xff\x96\x7b,x\n", Some("shift_jis")).unwrap_err();
    assert_eq!(error, "t.csv: byte 4 is not Shift_JIS; name the encoding with --encoding");
    let long = [b"a,b\n".to_vec(), "x".repeat(200_000).into_bytes(), b"\x93\xff,x\n".to_vec()].concat();
    let error = first_row(&long, Some("shift_jis")).unwrap_err();
    assert_eq!(error, "t.csv: byte 200004 is not Shift_JIS; name the encoding with --encoding");
    assert!(encoding::by_name("no-such-code").is_none());
}

#[test]
fn formats_are_said_or_told_by_name_or_by_content() {
    let format = |name: &str, bytes: &[u8], said| {
        let options = InputOptions { format: said, ..InputOptions::default() };
        Input::new(Source::memory(name, bytes), options).unwrap().format()
    };
    assert_eq!(format("t.csv", b"[{}]", None), InputFormat::Csv);
    assert_eq!(format("t", b"[{}]", None), InputFormat::Json);
    assert_eq!(format("standard input", &gzip(b"a\tb\n"), None), InputFormat::Tsv);
    assert_eq!(format("t.csv", b"", Some(InputFormat::Jsonl)), InputFormat::Jsonl);
    let tsv = Input::new(Source::memory("t.tsv", &b"a\tb,c\n1\t2\n"[..]), InputOptions::default()).unwrap();
    let Reader::Csv(reader) = tsv.open().unwrap() else { panic!("TSV is read as CSV") };
    assert_eq!(reader.columns(), ["a", "b,c"]);
}
