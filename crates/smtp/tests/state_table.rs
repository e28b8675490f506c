//! The reply to every command in every state, as a table a person can check: `dialogues/state-table.txt`.
//!
//! After a wanted change, `POSTRIDER_WRITE_GOLDEN=1 cargo test -p postrider-smtp --test state_table` writes it anew.

// The module also serves the dialogues.
#[allow(dead_code)]
mod support;

use std::fmt::Write;
use std::path::Path;

use support::server::{Player, config};
use support::{Cut, Heard};

const STATES: [(&str, &str, &[&str]); 14] = [
    ("greeted", "", &[]),
    ("HELO", "", &["HELO c.example"]),
    ("EHLO", "", &["EHLO c.example"]),
    ("MAIL", "", &["EHLO c.example", "MAIL FROM:<a@b.example>"]),
    ("RCPT taken", "", &["EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>"]),
    ("RCPT refused", "", &["EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<nobody@d.example>"]),
    ("after a chunk", "", &["EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "BDAT 0"]),
    ("after a refused chunk", "", &["EHLO c.example", "MAIL FROM:<full@b.example>", "RCPT TO:<c@d.example>", "BDAT 0"]),
    ("message taken", "", &["EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "BDAT 0 LAST"]),
    ("TLS required, in the clear", "starttls tls_required auth", &["EHLO c.example"]),
    ("STARTTLS offered, in the clear", "starttls auth", &["EHLO c.example"]),
    ("AUTH required, under TLS", "tls auth auth_required", &["EHLO c.example"]),
    ("authenticated", "tls auth auth_required", &["EHLO c.example", "AUTH PLAIN AGEAc2VjcmV0"]),
    ("content", "", &["EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"]),
];

const COMMANDS: [&str; 21] = [
    "EHLO c.example",
    "HELO c.example",
    "MAIL FROM:<a@b.example>",
    "RCPT TO:<c@d.example>",
    "DATA",
    "BDAT 0",
    "BDAT 0 LAST",
    "BDAT x",
    "RSET",
    "NOOP",
    "VRFY a",
    "EXPN a",
    "HELP",
    "STARTTLS",
    "AUTH PLAIN AGEAc2VjcmV0",
    "AUTH LOGIN",
    "XCLIENT ADDR=192.0.2.1",
    "QUIT",
    "GET / HTTP/1.1",
    "WIZ",
    ".",
];

#[test]
fn every_command_in_every_state() {
    let mut table = String::from("# Made by tests/state_table.rs. For each state, the reply to each command, and what else happens.\n");
    for (state, options, before) in STATES {
        writeln!(table, "\n== {state}").unwrap();
        for command in COMMANDS {
            writeln!(table, "{command:<26}{}", outcome(options, before, command)).unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dialogues/state-table.txt");
    if std::env::var_os("POSTRIDER_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &table).expect("written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden table is there");
    for (nth, (now, then)) in table.lines().zip(golden.lines()).enumerate() {
        assert_eq!(now, then, "line {} of {}", nth + 1, path.display());
    }
    assert_eq!(table.lines().count(), golden.lines().count());
}

fn outcome(options: &str, before: &[&str], command: &str) -> String {
    let options: Vec<(String, String)> = options.split_whitespace().map(|name| (name.to_owned(), "true".to_owned())).collect();
    let (config, tls) = config(&options);
    let mut player = Player::with(config, tls);
    let mut heard = Heard::default();
    player.run(&mut heard);
    for line in before {
        player.feed(format!("{line}\r\n").as_bytes(), Cut::Whole, &mut heard);
    }
    let mut heard = Heard::default();
    player.feed(format!("{command}\r\n").as_bytes(), Cut::Whole, &mut heard);
    let said = String::from_utf8(heard.octets).expect("replies are UTF-8");
    let mut said: Vec<&str> = said.split_terminator("\r\n").collect();
    if said.len() > 1 {
        said = vec![said[0], "..."];
    }
    if said.is_empty() {
        said.push("(nothing)");
    }
    let notes: String = heard.notes.iter().map(|note| format!(" [{note}]")).collect();
    format!("{}{notes}", said.join(" "))
}
