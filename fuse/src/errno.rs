//! The error number of every refusal: one table.

use crate::error::Refusal;
use asof_engine::ErrorKind;

/// The error number that a user sees.
pub fn errno(refusal: &Refusal) -> i32 {
    match refusal {
        Refusal::Missing => libc::ENOENT,
        Refusal::ReadOnly => libc::EROFS,
        Refusal::NotDirectory => libc::ENOTDIR,
        Refusal::IsDirectory => libc::EISDIR,
        Refusal::NotLink => libc::EINVAL,
        Refusal::NameTooLong => libc::ENAMETOOLONG,
        Refusal::NoData => libc::ENXIO,
        Refusal::BadSeek => libc::EINVAL,
        Refusal::NotOpen => libc::EBADF,
        Refusal::Stale => libc::ESTALE,
        Refusal::Engine(error) => errno_of_kind(error.kind()),
    }
}

/// The error number of an engine's error.
pub fn errno_of_kind(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::NotFound => libc::ENOENT,
        ErrorKind::Invalid => libc::EINVAL,
        ErrorKind::Exists => libc::EEXIST,
        ErrorKind::Conflict | ErrorKind::TooOld | ErrorKind::Locked => libc::EAGAIN,
        ErrorKind::ReadOnly => libc::EACCES,
        ErrorKind::Corrupt | ErrorKind::Io | ErrorKind::Poisoned => libc::EIO,
        ErrorKind::Full => libc::ENOSPC,
        ErrorKind::Unsupported => libc::EOPNOTSUPP,
        // Kinds to come: whoever adds one adds it here, until then it is a failure like any other.
        _ => libc::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_engine::Error;

    #[test]
    fn every_refusal_has_its_number() {
        for (refusal, number) in [
            (Refusal::Missing, libc::ENOENT),
            (Refusal::ReadOnly, libc::EROFS),
            (Refusal::NotDirectory, libc::ENOTDIR),
            (Refusal::IsDirectory, libc::EISDIR),
            (Refusal::NotLink, libc::EINVAL),
            (Refusal::NameTooLong, libc::ENAMETOOLONG),
            (Refusal::NoData, libc::ENXIO),
            (Refusal::BadSeek, libc::EINVAL),
            (Refusal::NotOpen, libc::EBADF),
            (Refusal::Stale, libc::ESTALE),
            (Error::not_found("x").into(), libc::ENOENT),
            (Error::corrupt("x").into(), libc::EIO),
            (Error::new(ErrorKind::Full, "x").into(), libc::ENOSPC),
            (Error::new(ErrorKind::Locked, "x").into(), libc::EAGAIN),
            (Error::new(ErrorKind::Unsupported, "x").into(), libc::EOPNOTSUPP),
        ] {
            assert_eq!(errno(&refusal), number, "{refusal}");
        }
    }
}
