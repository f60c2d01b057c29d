//! What a mount in the foreground tells: people on a terminal, and the service manager.

use super::mount;
use crate::cli::support::*;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

fn receive(socket: &UnixDatagram) -> String {
    let mut word = [0; 4096];
    let length = socket.recv(&mut word).unwrap_or_else(|error| panic!("no word: {error}"));
    String::from_utf8(word[..length].to_vec()).unwrap()
}

#[test]
fn the_service_manager_hears_when_the_mount_is_ready_that_it_lives_and_that_it_ends() {
    let shop = shop();
    let socket = UnixDatagram::bind(shop.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let place = MountGuard(shop.path("mnt"));
    let mut command = shop.command(&["mount", "db", "mnt", "-q"]);
    command.env("NOTIFY_SOCKET", shop.path("notify")).env("WATCHDOG_USEC", "200000");
    let mut child = Guard(Some(command.spawn().unwrap()));
    assert_eq!(receive(&socket), format!("READY=1\nMAINPID={}", child.get().id()));
    assert!(place.is_mounted());
    let (mut signs, mut statuses) = (0, Vec::new());
    while signs < 3 || statuses.is_empty() {
        match receive(&socket) {
            word if word == "WATCHDOG=1" => signs += 1,
            word => statuses.push(word),
        }
    }
    let expected =
        format!("STATUS={} at {}: version 4, 0 open, ", shop.path("db").display(), place.0.display());
    assert!(statuses[0].starts_with(&expected), "{statuses:?}");
    signal(child.get().id(), libc::SIGTERM);
    while receive(&socket) != "STOPPING=1" {}
    assert_eq!(child.finish().status, 0);
    assert!(!place.is_mounted());
}

#[test]
fn a_mount_in_the_background_tells_the_service_manager_its_process() {
    let shop = shop();
    let socket = UnixDatagram::bind(shop.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let place = MountGuard(shop.path("mnt"));
    let mut command = shop.command(&["mount", "db", "mnt", "--background", "--json"]);
    // The signs of life of another process are asked for: nobody gives them.
    command.env("NOTIFY_SOCKET", shop.path("notify")).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let ran: Ran = command.output().unwrap().into();
    let told: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(receive(&socket), format!("READY=1\nMAINPID={}", told["pid"]));
    assert!(receive(&socket).starts_with("STATUS="));
    shop.ok(&["umount", "mnt", "-q"]);
    assert!(!place.0.exists(), "it was made, and who waited for the end finds it gone");
    socket.set_nonblocking(true).unwrap();
    let mut word = [0; 64];
    assert!(socket.recv(&mut word).is_err(), "{}", String::from_utf8_lossy(&word));
}

#[test]
fn a_terminal_shows_how_it_goes_in_one_line_and_a_pipe_is_told_once() {
    let shop = shop();
    let place = MountGuard(shop.path("mnt"));
    let (mut terminal, theirs) = terminal(60);
    let mut sent = String::new();
    let mut command = shop.command(&["mount", "db", "mnt"]);
    let mut child = Guard(Some(command.stderr(theirs).stdout(Stdio::piped()).spawn().unwrap()));
    drop(command);
    let mut read_until = |wanted: &dyn Fn(&str) -> bool| {
        read_terminal(&mut terminal, &mut sent, wanted);
        sent.clone()
    };
    read_until(&|sent| sent.contains("version 4, 0 open, 0 requests, "));
    let open = std::fs::File::open(place.0.join("latest/customers.csv")).unwrap();
    let sent = read_until(&|sent| sent.contains("version 4, 1 open, "));
    let lines = sent.split("\r\x1b[2K").skip(1);
    assert!(lines.clone().all(|line| line.chars().count() < 60 && !line.contains('\n')), "{sent:?}");
    assert!(lines.last().unwrap().contains("of memory; /"), "{sent:?}");
    drop(open);
    interrupt(child.get());
    let sent = read_until(&|sent| sent.contains("unmounted"));
    assert!(sent.ends_with(&format!("\r\x1b[2Kunmounted {}\r\n", place.0.display())), "{sent:?}");
    let ran = child.finish();
    assert_eq!((ran.status, ran.text()), (0, ""));

    let mut command = shop.command(&["mount", "db", "mnt"]);
    let mut child = Guard(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()));
    wait_until("it is mounted", || place.0.join("latest").exists());
    shop.ok(&["umount", "mnt", "-q"]);
    let stderr = child.get().stderr.take().unwrap();
    let told = std::io::read_to_string(stderr).unwrap();
    assert_eq!(child.finish().status, 0);
    let told: Vec<&str> = told.lines().collect();
    let starts = ["made the directory ", "mounted ", "unmounted "];
    assert!(
        told.len() == 3 && told.iter().zip(starts).all(|(line, start)| line.starts_with(start)),
        "{told:?}"
    );
}

#[test]
fn a_mount_whose_reader_of_output_is_gone_ends_when_it_is_told_to() {
    let shop = shop();
    let (mut child, place) = mount(&shop, &[]);
    drop(child.get().stdout.take());
    drop(child.get().stderr.take());
    assert!(place.is_mounted());
    interrupt(child.get());
    assert_eq!(child.finish().status, 0);
    assert!(!place.is_mounted());
}
