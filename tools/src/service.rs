//! Word to the service manager that started this process: systemd's notification protocol.
//!
//! `$NOTIFY_SOCKET` names a datagram socket, in the file system or (with `@` before it) in the abstract namespace, to
//! which lines `NAME=VALUE` go. `$WATCHDOG_USEC` asks for a sign of life in time. Where nobody asked, nothing is sent;
//! where nobody listens any more, that is no reason to fail.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
/// Whose signs of life are wanted, where it is set.
const WATCHDOG_PROCESS_VARIABLE: &str = "WATCHDOG_PID";

/// The service manager, if there is one that wants to hear.
#[derive(Debug)]
pub struct ServiceManager(Option<(UnixDatagram, SocketAddr)>);

impl ServiceManager {
    /// The one that the environment names.
    pub fn of_environment() -> ServiceManager {
        let name = std::env::var_os(SOCKET_VARIABLE).filter(|name| !name.is_empty());
        ServiceManager(name.and_then(|name| match connect(&name) {
            Ok(connected) => Some(connected),
            Err(error) => {
                log::warn!("${SOCKET_VARIABLE} cannot be used, so nobody is told when all is ready: {error}");
                None
            }
        }))
    }

    /// Whether somebody listens.
    pub fn listens(&self) -> bool {
        self.0.is_some()
    }

    /// Sends word, one or more lines `NAME=VALUE`.
    pub fn tell(&self, word: &str) {
        if let Some((socket, manager)) = &self.0
            && let Err(error) = socket.send_to_addr(word.as_bytes(), manager)
        {
            log::debug!("the service manager did not take '{}': {error}", word.escape_debug());
        }
    }
}

fn connect(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            let what = format!("'{}' is neither a path nor begins with @", name.to_string_lossy());
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, what));
        }
    };
    Ok((UnixDatagram::unbound()?, manager))
}

/// How often a sign of life is wanted, if at all: twice in the time after which this process is taken for dead.
pub fn watchdog_interval() -> Option<Duration> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    interval(number(WATCHDOG_VARIABLE), number(WATCHDOG_PROCESS_VARIABLE), std::process::id())
}

fn interval(microseconds: Option<u64>, process: Option<u64>, own: u32) -> Option<Duration> {
    let is_for_us = process.is_none_or(|process| process == u64::from(own));
    microseconds.filter(|limit| *limit > 0 && is_for_us).map(|limit| Duration::from_micros(limit / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_arrives_at_sockets_with_paths_and_without() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("notify");
        let hidden = format!("asof-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(hidden.as_bytes()).unwrap();
        for (name, listener) in [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{hidden}").into(), UnixDatagram::bind_addr(&address).unwrap()),
        ] {
            let manager = ServiceManager(Some(connect(&name).unwrap()));
            manager.tell("READY=1\nSTATUS=here");
            let mut word = [0; 64];
            let length = listener.recv(&mut word).unwrap();
            assert_eq!(&word[..length], b"READY=1\nSTATUS=here");
            drop(listener);
            manager.tell("nobody hears this");
        }
        assert!(connect(OsStr::new("vsock:2:1234")).is_err());
        assert!(connect(OsStr::from_bytes(b"/with\0zero")).is_err());
    }

    #[test]
    fn signs_of_life_are_given_twice_in_time_and_only_by_who_is_asked() {
        assert_eq!(interval(Some(3_000_000), None, 7), Some(Duration::from_millis(1500)));
        assert_eq!(interval(Some(3_000_000), Some(7), 7), Some(Duration::from_millis(1500)));
        assert_eq!(interval(Some(3_000_000), Some(8), 7), None);
        assert_eq!(interval(Some(0), None, 7), None);
        assert_eq!(interval(None, Some(7), 7), None);
    }
}
