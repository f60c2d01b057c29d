//! Which format an input has: by what was said, else by its name, else by its content.

use super::source::Source;
use asof_engine::Result;

/// The formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum InputFormat {
    /// Comma-separated values
    Csv,
    /// Tab-separated values
    Tsv,
    /// An array of objects, or objects one after the other
    Json,
    /// One object a line
    #[value(alias = "ndjson")]
    Jsonl,
    /// Apache Parquet
    Parquet,
    /// Arrow IPC, file or stream
    Arrow,
}

/// Bytes that are looked at to tell a format.
const FORMAT_LOOK_BYTES: usize = 4096;

/// Endings that only say how the rest is compressed.
const COMPRESSION_ENDINGS: [&str; 7] = ["gz", "gzip", "zst", "zstd", "bz2", "bzip2", "z"];

impl InputFormat {
    /// The format that a file's name tells, compression endings left out.
    pub fn of_name(name: &str) -> Option<InputFormat> {
        let mut name = name;
        loop {
            let (rest, ending) = name.rsplit_once('.')?;
            let ending = ending.to_ascii_lowercase();
            if COMPRESSION_ENDINGS.contains(&ending.as_str()) {
                name = rest;
                continue;
            }
            return Some(match ending.as_str() {
                "csv" => InputFormat::Csv,
                "tsv" | "tab" => InputFormat::Tsv,
                "json" => InputFormat::Json,
                "jsonl" | "ndjson" => InputFormat::Jsonl,
                "parquet" | "pq" => InputFormat::Parquet,
                "arrow" | "arrows" | "ipc" | "feather" => InputFormat::Arrow,
                _ => return None,
            });
        }
    }

    /// The format that the first bytes tell. Text that is neither JSON nor has a tab in its first line is CSV.
    pub fn of_content(start: &[u8]) -> InputFormat {
        if start.starts_with(b"PAR1") {
            return InputFormat::Parquet;
        }
        if start.starts_with(b"ARROW1") || start.starts_with(&[0xFF, 0xFF, 0xFF, 0xFF]) {
            return InputFormat::Arrow;
        }
        let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start);
        if let Some(b'{' | b'[') = text.trim_ascii_start().first() {
            return InputFormat::Json;
        }
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or(text);
        match line.contains(&b'\t') && !line.contains(&b',') {
            true => InputFormat::Tsv,
            false => InputFormat::Csv,
        }
    }

    /// The format of a source.
    pub fn of_source(source: &Source) -> Result<InputFormat> {
        match InputFormat::of_name(source.name()) {
            Some(format) => Ok(format),
            None => Ok(InputFormat::of_content(&source.start(FORMAT_LOOK_BYTES)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::InputFormat::*;
    use super::*;

    #[test]
    fn names_tell_the_format_whatever_the_compression() {
        for (name, format) in [
            ("a.csv", Some(Csv)),
            ("dir.json/a.TSV.gz", Some(Tsv)),
            ("a.jsonl.zst", Some(Jsonl)),
            ("a.parquet", Some(Parquet)),
            ("a.feather.bz2", Some(Arrow)),
            ("a.gz", None),
            ("a", None),
            ("a.txt", None),
        ] {
            assert_eq!(InputFormat::of_name(name), format, "{name}");
        }
    }

    #[test]
    fn content_tells_the_format_where_the_name_does_not() {
        assert_eq!(InputFormat::of_content(b"PAR1\x15\x04"), Parquet);
        assert_eq!(InputFormat::of_content(b"ARROW1\0\0"), Arrow);
        assert_eq!(InputFormat::of_content(b"\xff\xff\xff\xff\x10"), Arrow);
        assert_eq!(InputFormat::of_content(b"\xef\xbb\xbf [\n{}]"), Json);
        assert_eq!(InputFormat::of_content(b"{\"a\":1}"), Json);
        assert_eq!(InputFormat::of_content(b"a\tb\nc,d\n"), Tsv);
        assert_eq!(InputFormat::of_content(b"a,b\tc\n"), Csv);
        assert_eq!(InputFormat::of_content(b""), Csv);
    }
}
