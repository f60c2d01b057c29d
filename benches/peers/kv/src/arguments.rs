//! What was typed: a command, and `--name value` pairs.

use std::path::PathBuf;

/// The command and its options, each with its default.
pub struct Arguments {
    pub command: String,
    pub engine: String,
    pub dir: PathBuf,
    pub threads: u64,
    pub seconds: f64,
    pub value_bytes: usize,
    /// Rows that are there before the clock starts.
    pub preload: u64,
    /// Whether commits replace random rows of the preloaded ones instead of adding new ones.
    pub upsert: bool,
    /// Payload that `fill` writes.
    pub megabytes: u64,
}

pub fn usage(problem: &str) -> ! {
    eprintln!(
        "{problem}\nusage: asof-bench-kv commits|fill|reopen --engine NAME --dir DIR [--threads 1] [--seconds 2] \
         [--value-bytes 200] [--preload 0] [--mode insert|upsert] [--megabytes 500]\nengines: {}",
        crate::store::NAMES.join(" ")
    );
    std::process::exit(2)
}

impl Arguments {
    pub fn from_command_line() -> Arguments {
        let mut words = std::env::args().skip(1);
        let mut arguments = Arguments {
            command: words.next().unwrap_or_else(|| usage("a command is missing")),
            engine: String::new(),
            dir: PathBuf::new(),
            threads: 1,
            seconds: 2.0,
            value_bytes: 200,
            preload: 0,
            upsert: false,
            megabytes: 500,
        };
        while let Some(name) = words.next() {
            let value = words.next().unwrap_or_else(|| usage(&format!("{name} needs a value")));
            let number =
                || value.parse::<u64>().unwrap_or_else(|_| usage(&format!("{name}: {value} is no number")));
            match name.as_str() {
                "--engine" => arguments.engine = value,
                "--dir" => arguments.dir = value.into(),
                "--threads" => arguments.threads = number(),
                "--seconds" => {
                    arguments.seconds = value.parse().unwrap_or_else(|_| usage("--seconds: a number"))
                }
                "--value-bytes" => arguments.value_bytes = number() as usize,
                "--preload" => arguments.preload = number(),
                "--mode" => arguments.upsert = value == "upsert",
                "--megabytes" => arguments.megabytes = number(),
                _ => usage(&format!("unknown option {name}")),
            }
        }
        if arguments.engine.is_empty() || arguments.dir.as_os_str().is_empty() {
            usage("--engine and --dir are needed");
        }
        if arguments.upsert && arguments.preload == 0 {
            usage("--mode upsert needs --preload");
        }
        arguments
    }
}
