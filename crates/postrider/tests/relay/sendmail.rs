//! The commands of old software: sendmail, mailq, newaliases.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::harness::{Folder, Hop, Relay, config, program};

/// Runs the program under another name, as its symbolic links do.
fn called(name: &str, data: &Path, words: &[&str], input: &str) -> Output {
    let mut command = program();
    command.arg0(name).args(words).env("POSTRIDER_DATA", data);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses its words does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn sendmail(relay: &Relay, words: &[&str], input: &str) -> Output {
    called("/usr/sbin/sendmail", &relay.folder.data(), words, input)
}

/// It succeeds and says nothing, as cron wants it.
fn taken(relay: &Relay, words: &[&str], input: &str) {
    let output = sendmail(relay, words, input);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{words:?}: {} {}", output.status, String::from_utf8_lossy(&said));
}

/// It fails with this status; what it says.
fn refused(output: &Output, status: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{said}");
    said
}

/// What the next hop got behind the trace field.
fn arrived(hop: &Hop) -> String {
    let taken = hop.take();
    let starts = ["\r\nTo:", "\r\nSubject:", "\r\nFrom:"].iter().filter_map(|field| taken.find(field)).min();
    taken[starts.unwrap() + 2..].to_owned()
}

#[test]
fn as_php_calls_it() {
    let hop = Hop::open(|_| None);
    let mut relay = Relay::start(&config(hop.port));
    let mail = "To: a@[127.0.0.1], \"B, C\" <b@[127.0.0.1]>\r\nSubject: Hello\r\nBcc: secret@[127.0.0.1]\r\nX-PHP: 1\r\n\r\nHello\r\n.\r\nWorld\r\n";
    taken(&relay, &["-t", "-i", "-fshop@shop.example"], mail);
    let line = relay.mail.wait("accepted");
    assert!(line.contains("from=<shop@shop.example>"), "{line}");
    let content = arrived(&hop);
    assert!(
        content.starts_with("From: <shop@shop.example>\r\n")
            && content.contains("\r\nTo: a@[127.0.0.1], \"B, C\" <b@[127.0.0.1]>\r\nSubject: Hello\r\nX-PHP: 1\r\n\r\nHello"),
        "{content}"
    );
    assert!(content.ends_with("\r\n\r\nHello\r\n..\r\nWorld\r\n.\r\n") && !content.contains("secret"), "{content}");
    for recipient in ["a", "b", "secret"] {
        relay.mail.wait(&format!("to=<{recipient}@[127.0.0.1]>"));
    }
}

#[test]
fn as_cron_calls_it() {
    let relay = Relay::start(&config(1));
    let mail = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> job\nMIME-Version: 1.0\n\n10%\r20%\nfailed";
    taken(&relay, &["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"], mail);
    let list: serde_json::Value = serde_json::from_str(relay.folder.said(&["queue", "list", "--json"]).trim()).unwrap();
    assert_eq!(list["host"], "relay.test");
    let shown = relay.folder.said(&["queue", "show", list["id"].as_str().unwrap(), "--json"]);
    assert!(shown.contains("root@relay.test"), "{shown}");
    let queue = called("mailq", &relay.folder.data(), &[], "");
    let queue = String::from_utf8(queue.stdout).unwrap();
    assert!(queue.starts_with("-Queue ID-") && queue.contains("root@relay.test") && queue.ends_with("Kbytes in 1 Request.\n"), "{queue}");
    assert!(sendmail(&relay, &["-q"], "").status.success());
    assert!(sendmail(&relay, &["-qRrelay.test"], "").status.success());
    assert!(called("newaliases", &relay.folder.data(), &[], "").status.success());
}

#[test]
fn as_people_call_it() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let to = "a@[127.0.0.1]";
    taken(&relay, &["-r", "me@shop.example", "-F", "Me & Co.", to], "Subject: s\n\none\n.\ntwo\n");
    let content = arrived(&hop);
    assert!(content.contains("\r\nFrom: \"Me & Co.\" <me@shop.example>\r\n"), "{content}");
    assert!(content.ends_with("\r\n\r\none\r\n.\r\n"), "a dot alone ends it: {content}");
    taken(&relay, &["-oi", "-f", "<>", to], "Subject: s\n\none\n.\ntwo");
    let content = arrived(&hop);
    assert!(content.contains("From: <MAILER-DAEMON@relay.test>\r\n"), "{content}");
    assert!(content.ends_with("\r\n\r\none\r\n..\r\ntwo\r\n.\r\n"), "{content}");
    taken(&relay, &["-bm", &format!("Somebody <{to}>")], "no header at all\n");
    let content = arrived(&hop);
    assert!(content.ends_with("\r\n\r\nno header at all\r\n.\r\n"), "{content}");
    let output = {
        let mut command = program();
        command.arg("--data").arg(relay.folder.data()).args(["sendmail", "-i", "-f", "me@shop.example", to]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"Subject: by its own name\n\n").unwrap();
        child.wait().unwrap()
    };
    assert!(output.success());
    assert!(arrived(&hop).contains("Subject: by its own name"));
}

#[test]
fn what_cannot_be_sent_is_told_with_a_status() {
    let relay = Relay::start(&format!("{}[limits]\nmessage_size_max = \"2 KB\"\n", config(1)));
    for (words, input, status, part) in [
        (&[][..], "x\n", 64, "recipients must be named"),
        (&["-t"], "Subject: nobody\n\n", 64, "no recipients in the header"),
        (&["-t"], "To: undisclosed-recipients:;\n\n", 64, "no recipients in the header"),
        (&["John Doe"], "x\n", 65, "is not a mailbox"),
        (&["-f", "a b", "c@d.example"], "x\n", 65, "is not a mailbox"),
        (&["a@b.example"], &"x\n".repeat(2_000), 65, "more than the 2000 allowed"),
        (&["-bd"], "", 64, "postrider serve"),
        (&["-y"], "", 64, "unknown option -y"),
    ] {
        let said = refused(&sendmail(&relay, words, input), status);
        assert!(said.starts_with("sendmail: ") && said.contains(part), "{words:?}: {said}");
    }
    assert_eq!(relay.waiting(), 0);
    let queue = called("mailq", &relay.folder.data(), &[], "");
    assert_eq!(String::from_utf8_lossy(&queue.stdout), "Mail queue is empty\n");
}

#[test]
fn a_user_who_may_not_open_the_data_directory_hands_over_by_the_open_socket() {
    let hop = Hop::open(|_| None);
    let folder = Folder::new();
    let socket = folder.0.join("sendmail.sock");
    folder.configure(&format!("{}[sendmail]\nsocket = {socket:?}\n", config(hop.port)));
    let mut relay = Relay::start_in(folder, &[]);
    assert_eq!(crate::harness::mode(&socket), 0o666);
    let mut command = program();
    command.arg0("sendmail").args(["-i", "a@[127.0.0.1]"]).env("POSTRIDER_DATA", "/nonexistent").env("POSTRIDER_SENDMAIL", &socket);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Subject: by the open door\n\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(relay.mail.wait("accepted").contains("uid-"), "who it was is kept");
    assert!(arrived(&hop).contains("Subject: by the open door"));
    // Nothing but handing over is possible there.
    use std::io::Read;
    for path in ["/v1/queue", "/v1/status", "/v1/reload"] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    relay.signal("TERM");
    assert!(relay.ended().0.success());
    assert!(!socket.exists());
}

#[test]
fn without_a_relay_it_is_tried_again_later() {
    let folder = Folder::new();
    let said = refused(&called("sendmail", &folder.data(), &["-t"], "To: a@b.example\n\n"), 75);
    assert!(said.contains("no relay runs"), "{said}");
    assert!(refused(&called("mailq", &folder.data(), &[], ""), 75).starts_with("mailq: no relay runs"));
}

#[test]
fn smtp_is_spoken_on_standard_input() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let said = "EHLO me\nMAIL FROM:<a@shop.example> BODY=8BITMIME\nRCPT TO:<b@[127.0.0.1]>\nDATA\nSubject: s\n\n..dot\n.\nMAIL FROM:<>\nRCPT TO:<nobody>\nQUIT\n";
    let output = patiently(&relay, said);
    assert!(output.contains("250-SIZE") && !output.contains("STARTTLS") && !output.contains("AUTH"), "{output}");
    assert!(output.contains("250 2.0.0 Ok: queued as ") && output.contains("\r\n221 "), "{output}");
    assert!(hop.take().ends_with("Subject: s\r\n\r\n..dot\r\n.\r\n"));
}

/// Says a dialogue line by line, waiting for each reply as a client does.
fn patiently(relay: &Relay, dialogue: &str) -> String {
    use std::io::{BufRead, BufReader};
    let mut command = program();
    command.arg0("sendmail").arg("-bs").env("POSTRIDER_DATA", relay.folder.data());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut all = String::new();
    let mut reply = |all: &mut String| {
        loop {
            let mut line = String::new();
            let read = output.read_line(&mut line).unwrap();
            all.push_str(&line);
            if read == 0 || line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    };
    reply(&mut all);
    let mut in_content = false;
    for line in dialogue.lines() {
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
        if in_content && line != "." {
            continue;
        }
        in_content = reply(&mut all).starts_with("354");
    }
    assert!(child.wait().unwrap().success());
    all
}

#[test]
fn wishes_for_reports_are_carried_out() {
    let hop = Hop::offering("250-DSN\r\n", |_| None);
    let relay = Relay::start(&config(hop.port));
    let words = ["-f", "a@shop.example", "-N", "success,delay", "-R", "hdrs", "-V", "order 7", "b@[127.0.0.1]"];
    taken(&relay, &words, "Subject: x\n\nHello\n");
    assert!(hop.hear("MAIL").ends_with(" RET=HDRS ENVID=order+207"));
    assert!(hop.hear("RCPT").ends_with(" NOTIFY=SUCCESS,DELAY"));
}
