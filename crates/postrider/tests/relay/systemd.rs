//! Under a service manager: sockets that are handed over, and what the manager is told.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Folder, Relay, Session, config};

/// `serve` with one socket as its third descriptor, as systemd starts it: the shell moves it there and tells its own process.
fn activated(folder: &Folder, socket: TcpListener, name: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&0 0</dev/null", "sh", env!("CARGO_BIN_EXE_postrider")]);
    command.arg("--data").arg(folder.data()).arg("serve").env("LISTEN_FDNAMES", name).stdin(Stdio::from(OwnedFd::from(socket)));
    command
}

#[test]
fn a_socket_that_is_handed_over_serves_the_listener_of_its_name() {
    let folder = Folder::new();
    // A port that this relay could not bind itself: it is bound here.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let text =
        config(1).replace("name = \"submission\"\naddress = \"127.0.0.1:0\"", &format!("name = \"submission\"\naddress = \"{address}\""));
    folder.configure(&text);
    // A client that comes before the relay is there waits, and is not refused.
    let early = std::net::TcpStream::connect(address).unwrap();
    let command = activated(&folder, socket, "submission");
    let relay = Relay::start_as(folder, command);
    assert_eq!(relay.address("submission"), address);
    Session::over(early);
    Session::log_in(address);
    // A reload finds the listener as it was, and keeps the socket.
    let said = relay.folder.said(&["reload"]);
    assert!(said.trim_end().ends_with("is in force"), "{said}");
    Session::log_in(address);
}

#[test]
fn a_socket_that_nobody_wants_is_told() {
    let folder = Folder::new();
    folder.configure(&config(1));
    let command = activated(&folder, TcpListener::bind("127.0.0.1:0").unwrap(), "typo");
    let relay = Relay::start_as(folder, command);
    let line = relay.said.seen("fits no [[listener]]");
    assert!(line.contains("\"typo\" on 127.0.0.1:"), "{line}");
}

#[test]
fn the_manager_is_told_ready_alive_and_stopping() {
    let folder = Folder::new();
    folder.configure(&config(1));
    let path = folder.0.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = crate::harness::program();
    command.arg("--data").arg(folder.data()).arg("serve").env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000").stdin(Stdio::null());
    let relay = Relay::start_as(folder, command);
    let heard = |wanted: &str| {
        let mut seen = Vec::new();
        loop {
            let mut octets = [0; 4096];
            let count = manager.recv(&mut octets).unwrap_or_else(|_| panic!("no {wanted} came, but {seen:?}"));
            let text = String::from_utf8_lossy(&octets[..count]).into_owned();
            if text.lines().any(|line| line == wanted) {
                return;
            }
            seen.push(text);
        }
    };
    heard("READY=1");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    relay.signal("TERM");
    heard("STOPPING=1");
    assert!(relay.ended().0.success());
}
