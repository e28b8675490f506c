//! The Received field (RFC 5321 §4.4; RFC 3848 and RFC 6531 §4.3 for the protocol's word).
//!
//! **Promises.** [`Received::write`] appends exactly one well-formed field, folded at 78 octets where words allow, whatever its arguments hold: what
//! a client said of itself cannot end the field, open a comment, or pass for another clause.
//!
//! **Never** asks the DNS: the address in the comment is a literal.
//!
//! **Bends.** A name that is no domain is shown with question marks where octets were not those of a domain. Mail made here has no `from` clause. A
//! secured session that said HELO is still `SMTP`: RFC 3848 has no word for it, and the TLS comment tells.

use std::net::IpAddr;

use crate::date::date_time;
use crate::text::{Fold, deceives};

/// Octets of a client's name that are shown (RFC 5321 §4.5.3.1.2).
const NAME_OCTETS_MAX: usize = 255;
/// Octets of the TLS phrase and of the id that are shown.
const PHRASE_OCTETS_MAX: usize = 100;
/// Octets of a path, brackets included (RFC 5321 §4.5.3.1.3), and a few for code points that RFC 6531 makes longer.
const RECIPIENT_OCTETS_MAX: usize = 320;

/// The protocol a message came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// The client said HELO.
    Smtp,
    /// The client said EHLO.
    Esmtp,
    /// It was made or handed over here: neither a `from` nor a `with` clause.
    Local,
}

/// What a Received field tells.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What the client called itself.
    pub hello: &'a str,
    /// The client's address.
    pub peer: Option<IpAddr>,
    /// Our name.
    pub by: &'a str,
    /// The protocol.
    pub with: With,
    /// TLS version and cipher suite, as one phrase, when the session was secured.
    pub tls: Option<&'a str>,
    /// Whether the client proved itself.
    pub authenticated: bool,
    /// Whether the message was announced with SMTPUTF8.
    pub smtputf8: bool,
    /// The message's id.
    pub id: &'a str,
    /// The recipient, when it may be shown: only where there is exactly one (RFC 5321 §7.2).
    pub recipient: Option<&'a str>,
    /// When it came, in seconds since 1970-01-01T00:00:00Z.
    pub at: u64,
}

impl Received<'_> {
    /// Appends the field, with its line end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut fold = Fold::new(out, "Received:");
        if self.with != With::Local {
            fold.word("from");
            fold.word(&domain_or_literal(self.hello));
            if let Some(peer) = self.peer {
                let literal = match peer.to_canonical() {
                    IpAddr::V4(address) => format!("([{address}])"),
                    IpAddr::V6(address) => format!("([IPv6:{address}])"),
                };
                fold.word(&literal);
            }
            fold.break_line_before_next();
        }
        fold.word("by");
        fold.word(&domain_or_literal(self.by));
        if let Some(word) = self.protocol() {
            fold.word("with");
            fold.word(word);
        }
        if let Some(tls) = self.tls {
            fold.word(&format!(
                "({})",
                only(tls, PHRASE_OCTETS_MAX, |octet| octet == b' ' || octet.is_ascii_graphic() && !b"()\\".contains(&octet))
            ));
        }
        fold.word("id");
        fold.word(&only(self.id, PHRASE_OCTETS_MAX, |octet| octet.is_ascii_alphanumeric() || b"-._/".contains(&octet)));
        if let Some(recipient) = self.recipient.filter(|recipient| self.may_show(recipient)) {
            fold.word(&format!("for <{recipient}>;"));
        } else {
            fold.glue(";");
        }
        fold.word(&date_time(self.at));
        fold.end();
    }

    /// RFC 3848 §1; RFC 6531 §4.3.
    fn protocol(&self) -> Option<&'static str> {
        Some(match (self.with, self.smtputf8, self.tls.is_some(), self.authenticated) {
            (With::Local, ..) => return None,
            (With::Smtp, ..) => "SMTP",
            (With::Esmtp, false, false, false) => "ESMTP",
            (With::Esmtp, false, false, true) => "ESMTPA",
            (With::Esmtp, false, true, false) => "ESMTPS",
            (With::Esmtp, false, true, true) => "ESMTPSA",
            (With::Esmtp, true, false, false) => "UTF8SMTP",
            (With::Esmtp, true, false, true) => "UTF8SMTPA",
            (With::Esmtp, true, true, false) => "UTF8SMTPS",
            (With::Esmtp, true, true, true) => "UTF8SMTPSA",
        })
    }

    /// Whether a recipient can stand in the `for` clause as it is: one path, and none that needs an SMTPUTF8 which was not announced.
    fn may_show(&self, recipient: &str) -> bool {
        let (mut quoted, mut escaped) = (false, false);
        let harmless = recipient.chars().all(|letter| {
            let inside = quoted;
            if escaped {
                escaped = false;
            } else if letter == '\\' {
                escaped = true;
            } else if letter == '"' {
                quoted = !quoted;
            }
            !deceives(letter) && (inside || !" <>();,\\".contains(letter))
        });
        harmless
            && !quoted
            && !escaped
            && !recipient.is_empty()
            && recipient.len() <= RECIPIENT_OCTETS_MAX
            && (self.smtputf8 || recipient.is_ascii())
    }
}

/// A name with question marks for what a domain cannot hold; an address literal in brackets stays.
fn domain_or_literal(name: &str) -> String {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => {
            format!("[{}]", only(inside, NAME_OCTETS_MAX, |octet| octet.is_ascii_alphanumeric() || b".:-".contains(&octet)))
        }
        None => only(name, NAME_OCTETS_MAX, |octet| octet.is_ascii_alphanumeric() || b".-_".contains(&octet)),
    }
}

/// The text with a question mark for each octet that is not fit; `unknown` for nothing.
fn only(text: &str, octets_max: usize, fit: impl Fn(u8) -> bool) -> String {
    if text.is_empty() {
        return "unknown".into();
    }
    text.bytes().take(octets_max).map(|octet| if fit(octet) { char::from(octet) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Received = Received {
        hello: "client.example",
        peer: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1))),
        by: "mx.example",
        with: With::Esmtp,
        tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384"),
        authenticated: true,
        smtputf8: false,
        id: "0193-ab",
        recipient: Some("a@b.example"),
        at: 1_795_466_220,
    };

    /// Writes the field, and holds it to be one field and nothing else.
    fn write(received: Received) -> String {
        let mut out = b"before\r\n".to_vec();
        received.write(&mut out);
        let field = out.split_off(8);
        let mut fields = crate::Fields::of(&field);
        assert!(fields.next().is_some_and(|one| one.is("Received") && one.whole == field), "one field");
        let text = String::from_utf8(field).unwrap();
        for line in text.strip_suffix("\r\n").unwrap().split("\r\n") {
            assert!(!line.contains(['\r', '\n', '\0', '\x1b']) && line.len() <= 998 && !line.trim().is_empty(), "{line:?}");
        }
        text
    }

    #[test]
    fn the_usual_field() {
        assert_eq!(
            write(USUAL),
            "Received: from client.example ([192.0.2.1])\r\n by mx.example with ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384) id 0193-ab\r\n \
             for <a@b.example>; Mon, 23 Nov 2026 20:37:00 +0000\r\n"
        );
        assert_eq!(
            write(Received { with: With::Local, peer: None, tls: None, recipient: None, ..USUAL }),
            "Received: by mx.example id 0193-ab; Mon, 23 Nov 2026 20:37:00 +0000\r\n"
        );
        assert!(write(Received { peer: Some("2001:db8::1".parse().unwrap()), ..USUAL }).contains("([IPv6:2001:db8::1])"));
        assert!(write(Received { peer: Some("::ffff:192.0.2.9".parse().unwrap()), ..USUAL }).contains("([192.0.2.9])"));
        assert!(write(Received { hello: "[IPv6:2001:db8::1]", ..USUAL }).contains("from [IPv6:2001:db8::1] ("));
    }

    #[test]
    fn the_protocol_has_its_registered_word() {
        for (with, smtputf8, tls, authenticated, word) in [
            (With::Smtp, false, None, false, "SMTP"),
            (With::Esmtp, false, None, false, "ESMTP"),
            (With::Esmtp, false, Some("T"), false, "ESMTPS"),
            (With::Esmtp, false, None, true, "ESMTPA"),
            (With::Esmtp, false, Some("T"), true, "ESMTPSA"),
            (With::Esmtp, true, None, false, "UTF8SMTP"),
            (With::Esmtp, true, Some("T"), true, "UTF8SMTPSA"),
        ] {
            assert!(write(Received { with, smtputf8, tls, authenticated, ..USUAL }).contains(&format!(" with {word} ")), "{word}");
        }
    }

    #[test]
    fn nothing_can_be_forged() {
        let long = "x".repeat(70_000);
        for hostile in [
            "a\r\nX-Forged: yes",
            "a\r\n\r\nbody",
            "a) by evil.example (",
            "a; Mon, 1 Jan 2001 00:00:00 +0000",
            "a\0b\x1b[31m",
            "a\u{2028}b\u{10d}\u{10a}c\u{202e}",
            "\u{fc}",
            "<a> by b",
            "\\",
            "[1.2.3.4] by x [",
            "",
            " ",
            &long,
        ] {
            let text = write(Received { hello: hostile, by: hostile, tls: Some(hostile), id: hostile, recipient: Some(hostile), ..USUAL });
            let (mut outside, mut depth) = (String::new(), 0);
            for letter in text.chars() {
                depth += i32::from(letter == '(');
                outside.extend((depth == 0).then_some(letter));
                depth -= i32::from(letter == ')');
                assert!((0..=1).contains(&depth), "{text}");
            }
            assert_eq!((outside.split_whitespace().filter(|word| *word == "by").count(), outside.matches(';').count()), (1, 1), "{text}");
            assert!(text.is_ascii() && text.ends_with(" +0000\r\n"), "{text}");
        }
    }

    #[test]
    fn a_recipient_is_shown_as_it_is_or_not_at_all() {
        for (recipient, smtputf8, shown) in [
            ("\"a b;(\\\"\"@c.example", false, true),
            ("j\u{fc}@b.example", true, true),
            ("j\u{fc}@b.example", false, false),
            ("a b@c.example", false, false),
            ("\"a@c.example", false, false),
            ("a@b>;<c", false, false),
            ("\"a\r\nX: y\"@b.example", false, false),
        ] {
            let text = write(Received { recipient: Some(recipient), smtputf8, ..USUAL });
            assert_eq!(text.contains(&format!("for <{recipient}>;")), shown, "{text}");
            assert_eq!(text.contains(" for "), shown, "{text}");
        }
    }
}
