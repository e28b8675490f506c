//! Octets that another reader could take for a line end, in every parameter a client may send: refused, and nothing of them is asked about.

#[allow(dead_code, reason = "the dialogues use the rest")]
mod support;

use postrider_smtp::server::Config;
use support::server::Player;
use support::{Cut, Heard};

/// What is slipped in. `+0D+0A` is a line end in xtext only, and a plain piece of an address elsewhere.
const EVIL: [&[u8]; 14] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\x85",
    b"\x1b[2J",
    "\u{85}".as_bytes(),
    "\u{2028}".as_bytes(),
    "\u{2029}".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{10d}\u{10a}".as_bytes(),
    b"%0d%0a",
    b"%0D%0A",
    b"+0D+0A",
];

/// Lines with a place (`*`) for it.
const PLACES: [&str; 12] = [
    "EHLO a*FORGED",
    "HELO a*FORGED.example",
    "MAIL FROM:<a*FORGED@b.example> SMTPUTF8",
    "MAIL FROM:<\"a*FORGED\"@b.example> SMTPUTF8",
    "MAIL FROM:<a@b*FORGED.example> SMTPUTF8",
    "MAIL FROM:<a@b.example> SMTPUTF8 AUTH=a*FORGED@b.example",
    "MAIL FROM:<a@b.example> SMTPUTF8 ENVID=a*FORGED",
    "MAIL FROM:<a@b.example> SMTPUTF8 SIZE=1*FORGED",
    "MAIL FROM:<a@b.example> SMTPUTF8 BODY=8BITMIME*FORGED",
    "RCPT TO:<a*FORGED@b.example>",
    "RCPT TO:<a@b*FORGED.example>",
    "RCPT TO:<a@b.example> ORCPT=rfc822;a*FORGED@b.example",
];

fn session() -> Player {
    let mut config = Config::new("mx.example");
    config.extensions.dsn = true;
    let mut player = Player::with(config, false);
    let mut heard = Heard::default();
    player.run(&mut heard);
    player.feed(b"EHLO client.example\r\n", Cut::Whole, &mut heard);
    player
}

/// What is said to this line, in a transaction where RCPT needs one.
fn said_to(line: &[u8], cut: Cut) -> Vec<String> {
    let (mut player, mut heard) = (session(), Heard::default());
    if line.starts_with(b"RCPT") {
        player.feed(b"MAIL FROM:<a@b.example> SMTPUTF8\r\n", Cut::Whole, &mut heard);
        heard.octets.clear();
    }
    player.feed(line, cut, &mut heard);
    player.feed(b"\r\n", cut, &mut heard);
    assert!(!heard.notes.iter().any(|note| note.contains("FORGED")), "{heard:?}");
    String::from_utf8(heard.octets).expect("replies are text").lines().map(str::to_owned).collect()
}

#[test]
fn no_parameter_carries_a_line_end() {
    for place in PLACES {
        let (before, after) = place.split_once('*').expect("a place");
        let xtext = place.contains("AUTH=") || place.contains("ENVID=") || place.contains("ORCPT=") || place.contains("SIZE=");
        for evil in EVIL.into_iter().filter(|evil| evil[0] != b'+' || xtext) {
            let line = [before.as_bytes(), evil, after.as_bytes()].concat();
            for cut in [Cut::Whole, Cut::Octets] {
                let said = said_to(&line, cut);
                // CR LF ends the line, as it should: what stands behind it is another command, and no part of this one.
                let judged = if evil == b"\r\n" { said.last().as_slice().len() } else { said.len() };
                let refused = judged > 0 && said[said.len() - judged..].iter().all(|reply| reply.starts_with('5'));
                assert!(refused, "{}: {said:?}", line.escape_ascii());
            }
        }
    }
}

/// The control: the same lines without the evil are taken.
#[test]
fn the_lines_are_refused_for_what_was_slipped_in() {
    for place in PLACES.into_iter().filter(|place| !place.contains("SIZE=") && !place.contains("BODY=")) {
        let said = said_to(place.replace('*', "").as_bytes(), Cut::Whole);
        assert!(said.last().is_some_and(|reply| reply.starts_with("250")), "{place}: {said:?}");
    }
}
