//! The mailboxes that a field such as To names (RFC 5322 §3.4), for a sender that keeps his recipients in the header.
//!
//! **Promises.** Names, comments, groups and the routes of old (RFC 5322 §4.4) are left away; what stays is the text of each mailbox, quoted parts as
//! they were written. A local name without a domain is given, too. Whatever the octets, it ends, and its work is linear.
//!
//! **Never** judges a mailbox: what is no address comes out as it stands, and is refused where addresses are parsed.

use std::iter::Peekable;
use std::str::Chars;

/// The mailboxes of a field's value, in their order.
pub fn mailboxes(value: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(value);
    let mut reader = Reader { letters: text.chars().peekable(), outside: String::new(), angle: None, found: Vec::new() };
    while let Some(letter) = reader.letters.next() {
        reader.take(letter);
    }
    reader.flush();
    reader.found
}

struct Reader<'a> {
    letters: Peekable<Chars<'a>>,
    /// What stands outside angle brackets: a name, or the address itself.
    outside: String,
    angle: Option<String>,
    found: Vec<String>,
}

impl Reader<'_> {
    fn take(&mut self, letter: char) {
        match letter {
            '"' => {
                let quoted = self.until('"');
                self.outside.push(letter);
                self.outside.push_str(&quoted);
            }
            '[' => {
                let literal = self.until(']');
                self.outside.push(letter);
                self.outside.push_str(&literal);
            }
            '(' => self.comment(),
            '<' => self.angle(),
            ',' | ';' => self.flush(),
            // The name of a group.
            ':' if self.angle.is_none() => self.outside.clear(),
            letter if letter.is_whitespace() => self.outside.push(' '),
            letter => self.outside.push(letter),
        }
    }

    /// The rest of a quoted string or of a literal, with its end.
    fn until(&mut self, end: char) -> String {
        let mut text = String::new();
        while let Some(letter) = self.letters.next() {
            match letter {
                '\\' => {
                    text.push(letter);
                    text.extend(self.letters.next().filter(|letter| !matches!(letter, '\r' | '\n')));
                }
                // A fold is no part of the text (RFC 5322 §3.2.4).
                '\r' | '\n' => {}
                letter => text.push(letter),
            }
            if letter == end {
                break;
            }
        }
        text
    }

    /// Comments nest (RFC 5322 §3.2.2).
    fn comment(&mut self) {
        let mut depth = 1;
        while depth > 0
            && let Some(letter) = self.letters.next()
        {
            match letter {
                '\\' => drop(self.letters.next()),
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
        }
        self.outside.push(' ');
    }

    fn angle(&mut self) {
        let mut address = String::new();
        while let Some(letter) = self.letters.next() {
            match letter {
                '>' => break,
                '"' => {
                    address.push(letter);
                    address.push_str(&self.until('"'));
                }
                '[' => {
                    address.push(letter);
                    address.push_str(&self.until(']'));
                }
                // A route: only what stands behind it is the mailbox.
                ':' if address.starts_with('@') => address.clear(),
                letter if letter.is_whitespace() => {}
                letter => address.push(letter),
            }
        }
        self.angle = Some(address);
    }

    fn flush(&mut self) {
        let outside = std::mem::take(&mut self.outside);
        let address = self.angle.take().unwrap_or_else(|| joined(&outside));
        if !address.is_empty() {
            self.found.push(address);
        }
    }
}

/// The text without blanks around its dots and at signs (RFC 5322 §4.4 allows them); other blanks stay, one for many, and are no address.
fn joined(text: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut blank = false;
    for letter in text.trim().chars() {
        if letter == ' ' && !quoted {
            blank = true;
            continue;
        }
        if blank && !matches!(letter, '.' | '@') && !out.ends_with(['.', '@']) {
            out.push(' ');
        }
        blank = false;
        quoted ^= letter == '"' && !out.ends_with('\\');
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_found() {
        for (value, expected) in [
            ("root", &["root"][..]),
            (" root (Cron Daemon)", &["root"]),
            ("a@b.example, \"X, Y\" <c@d.example>, root", &["a@b.example", "c@d.example", "root"]),
            ("group: a@b.example, C <c@d.example>;, e@f.example", &["a@b.example", "c@d.example", "e@f.example"]),
            ("undisclosed-recipients:;", &[]),
            ("<@r1.example,@r2.example:u@h.example>", &["u@h.example"]),
            ("\"john doe\"@x.example", &["\"john doe\"@x.example"]),
            ("\"a\\\"b,\"@c.example", &["\"a\\\"b,\"@c.example"]),
            ("a@b.example (comment, with (a nested) comma), c@d.example", &["a@b.example", "c@d.example"]),
            ("=?utf-8?q?Gr=C3=BC?= <g@h.example>", &["g@h.example"]),
            ("John Doe <j@d.example>,\r\n\tK <k@d.example>", &["j@d.example", "k@d.example"]),
            ("a @ b . example", &["a@b.example"]),
            ("user@[127.0.0.1], u@[IPv6:::1]", &["user@[127.0.0.1]", "u@[IPv6:::1]"]),
            ("X <u@[IPv6:::1]>", &["u@[IPv6:::1]"]),
            ("gr\u{fc}\u{df}e@ex\u{e4}mple.de", &["gr\u{fc}\u{df}e@ex\u{e4}mple.de"]),
            ("a@b.example; c@d.example", &["a@b.example", "c@d.example"]),
            ("John Doe", &["John Doe"]),
            ("a@b.example c@d.example", &["a@b.example c@d.example"]),
            ("foo <bar@x.example", &["bar@x.example"]),
            ("\"open", &["\"open"]),
            ("<>", &[]),
            (", ,", &[]),
            ("", &[]),
        ] {
            assert_eq!(mailboxes(value.as_bytes()), expected, "{value:?}");
        }
    }
}
