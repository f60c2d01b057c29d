//! The program that `mount(8)` runs for file systems of type `asof`: this one, under the name `mount.asof`.
//!
//! `mount.asof DB DIR [-fnsv] [-o OPTIONS] [-t TYPE]` is translated to `asof mount DB DIR --background ..`, so that
//! what an option means is written down once. Options of `mount(8)` itself, of fstab and of systemd are taken and mean
//! nothing here; those that ask for what cannot be are refused.

use crate::database_argument;
use crate::error::{Error, Result, Status};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The names this program is called by for it.
const NAMES: [&str; 2] = ["mount.asof", "mount.fuse.asof"];
/// The exit status that means to `mount(8)` that mounting failed.
pub const STATUS_MOUNT_FAILED: u8 = 32;
/// The exit status of wrong usage there.
pub const STATUS_USAGE: u8 = 1;

/// Options for others, and those that say what is so in any case.
const IGNORED: [&str; 27] = [
    "ro",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "nofail",
    "_netdev",
    "nosuid",
    "nodev",
    "noexec",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "lazytime",
    "nolazytime",
    "silent",
];
/// What cannot be, and what is instead.
const REFUSED: [(&str, &str); 6] = [
    ("rw", "the past cannot be written; add the option 'ro'"),
    ("remount", "a mount cannot be changed; umount it and mount it again"),
    ("suid", "mounts of asof are 'nosuid'"),
    ("dev", "mounts of asof are 'nodev'"),
    ("exec", "mounts of asof are 'noexec'"),
    ("bind", "that is no mount of a database; leave out the type"),
];
/// Options with a value, and those of `asof mount` they are.
const VALUES: [(&str, &str); 9] = [
    ("at", "--at"),
    ("uid", "--uid"),
    ("gid", "--gid"),
    ("mode", "--mode"),
    ("formats", "--formats"),
    ("cache_size", "--cache-size"),
    ("memory", "--memory"),
    ("tz", "--tz"),
    ("log", "--log"),
];

/// What `mount(8)` wants.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The command line of asof that does it.
    pub words: Vec<OsString>,
    /// Check, but do not mount.
    pub fake: bool,
}

/// Whether this program was called as a helper of `mount(8)`.
pub fn is_called(program: Option<&OsString>) -> bool {
    let name = program.and_then(|program| Path::new(program).file_name());
    NAMES.iter().any(|known| name == Some(OsStr::new(known)))
}

/// Reads what `mount(8)` passes.
pub fn translate(words: &[OsString]) -> Result<Request> {
    let (mut places, mut mount) = (Vec::new(), Vec::<OsString>::new());
    let (mut fake, mut sloppy, mut options) = (false, false, Vec::new());
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let letters = match word.as_bytes() {
            [b'-', letters @ ..] if !letters.is_empty() => letters,
            _ => {
                places.push(word.clone());
                continue;
            }
        };
        for (at, letter) in letters.iter().enumerate() {
            match letter {
                b'f' => fake = true,
                b's' => sloppy = true,
                b'v' => mount.push("-v".into()),
                // There is no mtab.
                b'n' => {}
                b'o' | b't' | b'N' => {
                    let value = match &letters[at + 1..] {
                        [] => rest.next().map(|value| value.as_bytes()),
                        value => Some(value),
                    };
                    let value = value
                        .ok_or_else(|| Error::usage(format!("-{} has no value", char::from(*letter))))?;
                    match letter {
                        b'o' => options.extend(split(value)),
                        b'N' => return Err(Error::usage("-N: enter the namespace with nsenter instead")),
                        _ => {}
                    }
                    break;
                }
                _ => return Err(Error::usage(format!("unknown option -{}", char::from(*letter)))),
            }
        }
    }
    for option in &options {
        mount.extend(translate_option(option, sloppy)?);
    }
    let [database, directory] = <[OsString; 2]>::try_from(places)
        .map_err(|_| Error::usage("usage: mount.asof DB DIR [-fnsv] [-o OPTIONS]"))?;
    let mut words: Vec<OsString> =
        ["asof", "mount", "--background", "--quiet", "--source"].map(OsString::from).to_vec();
    // As fstab has it, so that mount(8) finds again what it has mounted.
    words.push(database.clone());
    words.extend(mount);
    words.extend(["--".into(), database, directory]);
    Ok(Request { words, fake })
}

/// Splits options at commas that are not between quotation marks.
fn split(options: &[u8]) -> Vec<OsString> {
    let mut quoted = false;
    options
        .split(|byte| {
            quoted ^= *byte == b'"';
            *byte == b',' && !quoted
        })
        .filter(|option| !option.is_empty())
        .map(|option| OsString::from_vec(option.to_vec()))
        .collect()
}

fn translate_option(option: &OsStr, sloppy: bool) -> Result<Option<OsString>> {
    let bytes = option.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let is = |known: &str| name == known.as_bytes();
    let shown = option.to_string_lossy();
    if let Some((_, why)) = REFUSED.iter().find(|(known, _)| is(known)) {
        return Err(Error::usage(format!("option '{shown}': {why}")));
    }
    if is("allow_other") && value.is_none() {
        return Ok(Some("--allow-other".into()));
    }
    if let Some((_, long)) = VALUES.iter().find(|(known, _)| is(known)) {
        let value = value.ok_or_else(|| Error::usage(format!("option '{shown}' has no value")))?;
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        // A comma ends an option of mount(8).
        let colons = |byte: &u8| if is("formats") && *byte == b':' { b',' } else { *byte };
        let value: Vec<u8> = value.iter().map(colons).collect();
        let mut word = OsString::from(format!("{long}="));
        word.push(OsStr::from_bytes(&value));
        return Ok(Some(word));
    }
    let for_others = name.starts_with(b"x-") || name.starts_with(b"X-") || is("comment");
    if sloppy || for_others || IGNORED.iter().any(|known| is(known)) {
        return Ok(None);
    }
    let known: Vec<&str> = VALUES.iter().map(|(known, _)| *known).collect();
    Err(Error::usage(format!(
        "unknown option '{shown}'; known are allow_other, {}=, and those of fstab",
        known.join("=, ")
    )))
}

/// The status to exit with as a helper of `mount(8)`.
pub fn status(status: Status) -> u8 {
    match status {
        Status::Done => 0,
        Status::Usage => STATUS_USAGE,
        _ => STATUS_MOUNT_FAILED,
    }
}

/// Checks what would be mounted, without mounting it.
pub fn check(words: &[OsString]) -> Result {
    let cli = database_argument::parse(words, None).map_err(|error| Error::usage(error.to_string()))?;
    let crate::args::Command::Mount(args) = &cli.command else {
        return Err(Error::usage("this mounts, and nothing else"));
    };
    let database = crate::Context::new(&cli.globals).open_read_only(&args.database)?;
    let missing = std::fs::symlink_metadata(&args.directory)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if !missing {
        asof_fuse::mount_point::check(&args.directory, database.path())?;
    }
    Ok(Status::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is typed, and the command line it becomes, without its beginning.
    fn check_translation(typed: &str, expected: std::result::Result<&str, &str>) {
        let words: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
        let found = translate(&words).map(|request| {
            let words: Vec<_> = request.words.iter().map(|word| word.to_str().unwrap()).collect();
            words[4..].join(" ")
        });
        match expected {
            Ok(line) => assert_eq!(found, Ok(line.to_string()), "{typed}"),
            Err(why) => {
                let error = found.expect_err(typed);
                assert!(error.to_string().contains(why), "{typed}: {error}");
                assert_eq!(error.status(), Status::Usage);
            }
        }
    }

    #[test]
    fn what_mount_passes_becomes_a_command_line_of_asof() {
        check_translation("/db /mnt", Ok("--source /db -- /db /mnt"));
        check_translation("/db /mnt -o ro", Ok("--source /db -- /db /mnt"));
        check_translation("/db /mnt -n -s -v -o ro,unheard=of", Ok("--source /db -v -- /db /mnt"));
        check_translation("/db /mnt -nvoro -t fuse.asof", Ok("--source /db -v -- /db /mnt"));
        check_translation(
            "/db /mnt -o ro,noexec,nosuid,nodev,allow_other,uid=5,gid=6,mode=444,user=me,nofail,_netdev,x-systemd.automount",
            Ok("--source /db --allow-other --uid=5 --gid=6 --mode=444 -- /db /mnt"),
        );
        check_translation(
            "/db /mnt -o ro,formats=csv:parquet,cache_size=2GiB,at=tag:q3,log=/l",
            Ok("--source /db --formats=csv,parquet --cache-size=2GiB --at=tag:q3 --log=/l -- /db /mnt"),
        );
        check_translation(
            r#"/db /mnt -o at="2025-01-02T10:00[Europe,Paris]",ro,at=-1h"#,
            Ok("--source /db --at=2025-01-02T10:00[Europe,Paris] --at=-1h -- /db /mnt"),
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        check_translation("/db /mnt -o rw", Err("add the option 'ro'"));
        check_translation("/db /mnt -o remount,ro", Err("umount it"));
        check_translation("/db /mnt -o ro,exec", Err("noexec"));
        check_translation("/db /mnt -o ro,unheard=of", Err("unknown option 'unheard=of'"));
        check_translation("/db /mnt -o ro,at", Err("has no value"));
        check_translation("/db /mnt -o", Err("-o has no value"));
        check_translation("/db /mnt -x", Err("unknown option -x"));
        check_translation("/db", Err("usage"));
        check_translation("/db /mnt more", Err("usage"));
    }

    #[test]
    fn it_is_known_by_its_name() {
        for (name, called) in [
            ("/sbin/mount.asof", true),
            ("mount.fuse.asof", true),
            ("asof", false),
            ("/mount.asof/asof", false),
        ] {
            assert_eq!(is_called(Some(&name.into())), called, "{name}");
        }
        assert!(!is_called(None));
    }
}
