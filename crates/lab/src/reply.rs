//! Replies as this room writes them, apart from `smtp::Reply`, so that a fault there shows.

use std::time::Duration;

use crate::personality::{Hostile, Pace};
use crate::provider::Action;

/// A reply's octets. The text may hold several lines, joined by `\n`; the code stands in front.
pub(crate) fn wire(text: &str) -> Vec<u8> {
    let (code, rest) = text.split_at(text.len().min(3));
    let lines: Vec<&str> = rest.trim_start_matches(' ').split('\n').collect();
    let mut out = Vec::with_capacity(text.len() + 8);
    for (nth, line) in lines.iter().enumerate() {
        out.extend_from_slice(code.as_bytes());
        out.push(if nth + 1 == lines.len() { b' ' } else { b'-' });
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Says octets at the provider's pace.
pub(crate) fn say(actions: &mut Vec<Action>, pace: Pace, octets: Vec<u8>) {
    if pace.reply > Duration::ZERO {
        actions.push(Action::Pause(pace.reply));
    }
    if pace.octet == Duration::ZERO {
        return actions.push(Action::Write(octets));
    }
    for octet in octets {
        actions.push(Action::Write(vec![octet]));
        actions.push(Action::Pause(pace.octet));
    }
}

/// What no server should say.
pub(crate) fn hostile(actions: &mut Vec<Action>, kind: Hostile) {
    let octets: &[u8] = match kind {
        Hostile::Bare550 => b"550\r\n",
        Hostile::Endless => return actions.push(Action::Repeat(b"250-and another thing\r\n".repeat(64))),
        Hostile::Code999 => b"999 no such code\r\n",
        Hostile::Differing => b"250-yes\r\n550-no\r\n354 perhaps\r\n",
        Hostile::LongLine => return actions.push(Action::Repeat(vec![b'2'; 4096])),
        Hostile::Garbage => b"\x16\x03\x01\x00\xff\xfe\x80 \x1b[31m\r\n\0\0\r\n",
        Hostile::Double => b"451 4.3.0 no\r\n250 2.0.0 yes\r\n",
    };
    actions.push(Action::Write(octets.to_vec()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_their_code_on_each_line() {
        assert_eq!(wire("250 a\nb"), b"250-a\r\n250 b\r\n");
        assert_eq!(wire("354 go"), b"354 go\r\n");
    }
}
