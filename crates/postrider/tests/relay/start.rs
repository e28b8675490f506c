//! The first start, what can be in its way, and `check`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Folder, Hop, Relay, config, mode, program};

/// The secret that a first start shows.
fn secret_in(said: &str) -> &str {
    let behind = said.split("secret").nth(1).unwrap_or_default().trim_start();
    behind.split_whitespace().next().unwrap_or_default()
}

#[test]
fn a_first_start_makes_everything_and_a_mail_goes_through() {
    let folder = Folder::new();
    // The port is taken, here or by somebody else, so the start ends with a sentence, and shows the secret all the same.
    let _taken = TcpListener::bind("127.0.0.1:2587");
    let (said, status) = folder.complained(&["serve"]);
    assert_eq!(status, 1);
    assert!(said.contains("cannot listen on 127.0.0.1:2587 (submission): another program listens there. Stop it ("), "{said}");
    let secret = secret_in(&said).to_owned();
    assert_eq!(secret.len(), 64, "{said}");
    let file = folder.data().join("postrider.toml");
    for (path, expected) in
        [(folder.data(), 0o700), (file.clone(), 0o600), (folder.data().join("tls/key.pem"), 0o600), (folder.data().join("tls"), 0o700)]
    {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    let made = fs::read_to_string(&file).unwrap();
    assert!(!made.contains(&secret), "the file holds no secret");

    let ports = ["2587", "2465", "2525"].iter().fold(made, |text, port| text.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0"));
    fs::write(&file, ports).unwrap();
    let relay = Relay::start_in(folder, &["--capture"]);
    let secret_file = relay.folder.0.join("secret");
    fs::write(&secret_file, format!("{secret}\n")).unwrap();
    let address = relay.address("submission").to_string();
    let by_smtp = ["send", "--to", "b@c.example", "--subject", "Grüße", "--smtp", &address, "--user", "app", "--secret-file"];
    let reply = relay.folder.said(&[&by_smtp[..], &[secret_file.to_str().unwrap()]].concat());
    assert!(reply.starts_with("250"), "{reply}");
    let id = relay.folder.said(&["send", "--to", "b@c.example", "--body", ".\nOne\n."]);
    let list = relay.folder.said(&["capture", "list"]);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains("=?utf-8?B?R3LDvMOfZQ==?="), "{list}");
    let read = relay.folder.said(&["capture", "read", id.trim()]);
    assert!(read.ends_with("\r\n\r\n.\r\nOne\r\n.\r\n"), "{read}");
    let explained = relay.folder.said(&["explain", id.trim()]);
    assert!(explained.contains("this mail is never sent"), "{explained}");
    fs::write(&secret_file, "wrong").unwrap();
    let (refused, _) = relay.folder.complained(&[&by_smtp[..], &[secret_file.to_str().unwrap()]].concat());
    assert!(refused.contains("the reply to AUTH PLAIN was: 535"), "{refused}");
    assert!(!refused.contains("AGFwcA"), "{refused}");
}

#[test]
fn captured_mail_is_not_sent_by_a_later_start() {
    let hop = Hop::open(|_| None);
    let folder = Folder::new();
    folder.configure(&config(hop.port));
    let relay = Relay::start_in(folder, &["--capture"]);
    relay.folder.said(&["send", "--to", "b@[127.0.0.1]"]);
    relay.signal("TERM");
    let (_, _, folder) = relay.ended();
    let relay = Relay::start_in(folder, &[]);
    assert!(relay.folder.said(&["queue"]).contains("nothing waits"));
    let (said, _) = relay.folder.complained(&["capture", "list"]);
    assert!(said.contains("this relay delivers its mail"), "{said}");
}

#[test]
fn what_is_in_the_way_of_a_start_is_one_sentence() {
    let relay = Relay::start(&config(1));
    let (said, status) = relay.folder.complained(&["serve"]);
    assert!(status == 1 && said.contains("another relay runs on the data directory"), "{said}");

    let folder = Folder::new();
    folder.configure("[relay]\nhost_nam = \"x\"\n[limits]\nrecipients_max = 0\n");
    let (said, _) = folder.complained(&["serve"]);
    assert!(said.contains("postrider.toml:2: unknown key `relay.host_nam`; did you mean `host_name`?\n"), "{said}");
    assert!(said.contains("postrider.toml:4: limits.recipients_max: 0 is not between 1 and 100000"), "{said}");

    let folder = Folder::new();
    folder.configure(&config(1).replace("127.0.0.1:0", "192.0.2.1:0"));
    let (said, _) = folder.complained(&["serve"]);
    assert!(said.contains("this machine does not have that address; correct it in the configuration"), "{said}");

    let folder = Folder::new();
    folder.configure(&config(1));
    fs::create_dir(folder.data().join("tls")).unwrap();
    fs::write(folder.data().join("tls/certificate.pem"), "x").unwrap();
    let (said, _) = folder.complained(&["serve"]);
    assert!(said.contains("but no key at"), "{said}");

    let folder = Folder::new();
    fs::write(folder.data(), "a file").unwrap();
    let (said, _) = folder.complained(&["serve"]);
    assert!(said.contains("cannot make the data directory") && said.contains("--data"), "{said}");
}

#[test]
fn a_directory_that_stood_open_is_closed() {
    let folder = Folder::new();
    folder.configure(&config(1));
    fs::set_permissions(folder.data(), fs::Permissions::from_mode(0o777)).unwrap();
    let relay = Relay::start_in(folder, &[]);
    assert_eq!(mode(&relay.folder.data()), 0o700);
    assert_eq!(mode(&relay.folder.data().join("control.sock")), 0o600);
}

#[test]
fn check_tells_everything_and_tries_the_port() {
    let folder = Folder::new();
    assert!(folder.said(&["check", "--offline"]).contains("none yet"));
    let hop = Hop::open(|_| None);
    let probe = |port: u16| format!("{}\n[check]\nprobe = \"127.0.0.1:{port}\"\n", config(1));
    folder.configure(&probe(hop.port));
    let said = folder.said(&["check"]);
    assert!(said.contains("port 25        open: 127.0.0.1") && said.contains("220 hop.test"), "{said}");
    folder.configure(&probe(1));
    let (said, status) = folder.complained(&["check"]);
    assert_eq!(status, 3);
    assert!(said.contains("BLOCKED outward") && said.contains("serve --capture"), "{said}");
    folder.configure("[retry]\nintervals = [\"soon\"]\n[lmits]\n");
    let (said, status) = folder.complained(&["check", "--offline"]);
    assert_eq!((status, said.lines().count()), (1, 2), "{said}");
    let table = Folder::new().said(&["check", "--providers"]);
    assert!(table.contains("name = \"google\""), "{table}");
}

#[test]
fn check_tells_what_this_machine_lacks_all_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = Folder::new();
    let more = format!(
        "mail_log = \"/nonexistent/mail.log\"\n[[source]]\nname = \"far\"\naddress = \"192.0.2.1\"\n[sendmail]\nsocket = \"/nonexistent/s.sock\"\n\
         [metrics]\nlisten = \"127.0.0.1:{port}\"\n[check]\nprobe = \"127.0.0.1:1\"\n"
    );
    let text = config(1).replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    folder.configure(&format!("{text}{more}"));
    let (said, status) = folder.complained(&["check"]);
    assert_eq!(status, 1);
    for part in [
        "log.mail_log: there is no directory /nonexistent; make it, or choose another place",
        "sendmail.socket: there is no directory /nonexistent",
        "[[source]] far: 192.0.2.1 cannot be sent from",
        "another program listens there. Stop it",
        "metrics.listen: ",
    ] {
        assert!(said.lines().any(|line| line.starts_with("WRONG ") && line.contains(part)), "{part}\n{said}");
    }
    // A relay that runs has its ports itself, and that is no fault.
    let relay = Relay::start(&config(1).replace("[dns]", "[check]\nprobe = \"127.0.0.1:1\"\n[dns]"));
    let (said, status) = relay.folder.complained(&["check"]);
    assert_eq!(status, 3, "{said}");
}

#[test]
fn every_command_explains_itself() {
    for words in [
        "",
        "serve",
        "check",
        "send",
        "queue",
        "queue list",
        "queue retry",
        "explain",
        "capture",
        "spool",
        "backup",
        "restore",
        "bench",
        "status",
        "reload",
    ] {
        let output = program().args(words.split_whitespace()).arg("--help").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("Usage: postrider") && text.len() > 200, "{words}: {text}");
    }
}
