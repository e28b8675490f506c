//! Where the addresses of a field such as To stand (RFC 5322 §3.4), so that some can be replaced and nothing else is touched.
//!
//! **Promises.** A field that is a list of addresses gives the place of each `addr-spec` in it and its text without comments and folds; names, comments, groups, encoded
//! words and folds stay as they are. A field that is no such list gives nothing, and so stays as it is. Whatever the octets, it ends; its work is linear.
//!
//! **Bends.** Routes of old (RFC 5322 §4.4), empty elements, octets beyond ASCII (RFC 6532) and blanks around dots are taken. An address without a domain is none.

use std::ops::Range;

/// One address: where it stands in the value, and how it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its octets, comments inside it included.
    pub at: Range<usize>,
    /// Local part, at sign and domain, and nothing between.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An atom, or a part of a domain.
    Atom,
    Quoted,
    Literal,
    Special(u8),
}

#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

/// The addresses of a field's value, in their order; `None` when the value is no list of addresses.
pub fn addresses(value: &[u8]) -> Option<Vec<Address>> {
    let tokens = tokens(value)?;
    let (mut found, mut at, mut in_group) = (Vec::new(), 0, false);
    while at < tokens.len() {
        // Up to what ends or changes an element.
        let start = at;
        while at < tokens.len() && !matches!(tokens[at].kind, Kind::Special(b',' | b';' | b':' | b'<' | b'>')) {
            at += 1;
        }
        let before = &tokens[start..at];
        match tokens.get(at).map(|token| token.kind) {
            Some(Kind::Special(b':')) if !in_group && is_phrase(before) && !before.is_empty() => {
                in_group = true;
                at += 1;
                continue;
            }
            Some(Kind::Special(b'<')) if is_phrase(before) => {
                let end = at + tokens[at..].iter().position(|token| token.kind == Kind::Special(b'>'))?;
                let inside = &tokens[at + 1..end];
                let inside = match inside.first().map(|token| token.kind) {
                    Some(Kind::Special(b'@')) => &inside[inside.iter().position(|token| token.kind == Kind::Special(b':'))? + 1..],
                    _ => inside,
                };
                if !inside.is_empty() {
                    found.extend(address(value, inside)?);
                }
                at = end + 1;
            }
            Some(Kind::Special(b',' | b';')) | None if before.is_empty() => {}
            Some(Kind::Special(b',' | b';')) | None => found.extend(address(value, before)?),
            Some(_) => return None,
        }
        match tokens.get(at).map(|token| token.kind) {
            Some(Kind::Special(b';')) if in_group => {
                in_group = false;
                at += 1;
                // Behind a group stands a comma, or nothing.
                match tokens.get(at).map(|token| token.kind) {
                    Some(Kind::Special(b',')) => at += 1,
                    None => {}
                    Some(_) => return None,
                }
            }
            Some(Kind::Special(b',')) => at += 1,
            None => {}
            Some(_) => return None,
        }
    }
    Some(found)
}

/// The value with other addresses in the places where `other` gives some; `None`: nothing changes.
pub fn replace(value: &[u8], mut other: impl FnMut(&str) -> Option<String>) -> Option<Vec<u8>> {
    let (mut out, mut from, mut changed) = (Vec::with_capacity(value.len() + 64), 0, false);
    for address in addresses(value)? {
        if let Some(new) = other(&address.text) {
            out.extend_from_slice(&value[from..address.at.start]);
            out.extend_from_slice(new.as_bytes());
            (from, changed) = (address.at.end, true);
        }
    }
    out.extend_from_slice(&value[from..]);
    changed.then_some(out)
}

fn is_phrase(tokens: &[Token]) -> bool {
    tokens.iter().all(|token| matches!(token.kind, Kind::Atom | Kind::Quoted | Kind::Special(b'.' | b'@')))
}

/// `word *("." word) "@" (atom *("." atom) / literal)`; inner `None`: a local name without a domain.
fn address(value: &[u8], tokens: &[Token]) -> Option<Option<Address>> {
    let split = tokens.iter().position(|token| token.kind == Kind::Special(b'@'));
    let Some(split) = split else {
        return dotted(tokens, |kind| matches!(kind, Kind::Atom | Kind::Quoted)).then_some(None);
    };
    let (local, domain) = (&tokens[..split], &tokens[split + 1..]);
    let literal = matches!(domain, [Token { kind: Kind::Literal, .. }]);
    let right = dotted(local, |kind| matches!(kind, Kind::Atom | Kind::Quoted)) && (literal || dotted(domain, |kind| kind == Kind::Atom));
    if !right {
        return None;
    }
    let text: Vec<u8> = tokens.iter().flat_map(|token| &value[token.start..token.end]).copied().collect();
    let at = tokens.first()?.start..tokens.last()?.end;
    Some(Some(Address { at, text: String::from_utf8(text).ok()? }))
}

/// Words of this kind with single dots between them, at least one.
fn dotted(tokens: &[Token], is_word: impl Fn(Kind) -> bool) -> bool {
    let words = tokens.iter().step_by(2).all(|token| is_word(token.kind));
    let dots = tokens.iter().skip(1).step_by(2).all(|token| token.kind == Kind::Special(b'.'));
    words && dots && tokens.len() % 2 == 1
}

fn tokens(value: &[u8]) -> Option<Vec<Token>> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&octet) = value.get(at) {
        let start = at;
        let kind = match octet {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'(' => {
                at = comment_end(value, at)?;
                continue;
            }
            b'"' => {
                at = quoted_end(value, at, b'"')?;
                Kind::Quoted
            }
            b'[' => {
                at = quoted_end(value, at, b']')?;
                Kind::Literal
            }
            b'<' | b'>' | b',' | b';' | b':' | b'@' | b'.' => {
                at += 1;
                Kind::Special(octet)
            }
            b')' | b']' | b'\\' | 0..=31 | 127 => return None,
            _ => {
                at += value[at..].iter().take_while(|octet| is_atom(**octet)).count();
                Kind::Atom
            }
        };
        tokens.push(Token { kind, start, end: at });
    }
    Some(tokens)
}

fn is_atom(octet: u8) -> bool {
    octet > 32 && octet != 127 && !b"()<>[]:;@\\,.\"".contains(&octet)
}

/// Behind the end of a quoted string or a literal. Folds in it are dropped by nobody, so a quoted string with one is not taken.
fn quoted_end(value: &[u8], start: usize, end: u8) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match value.get(at)? {
            b'\\' => at += 2,
            b'\r' | b'\n' => return None,
            octet if *octet == end => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Behind the end of a comment; comments nest (RFC 5322 §3.2.2).
fn comment_end(value: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0usize);
    loop {
        match value.get(at)? {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_where_they_stand() {
        for (value, expected) in [
            (" a@b.example", Some("a@b.example")),
            ("A B <a@b.example>, c@d.example", Some("a@b.example c@d.example")),
            ("\"B, C\" <a@b.example>", Some("a@b.example")),
            ("=?utf-8?q?Gr=C3=BC?= <g@h.example>", Some("g@h.example")),
            ("a@b.example (x, y (z) \\) ), c@d.example", Some("a@b.example c@d.example")),
            ("group: a@b.example, C <c@d.example>;, e@f.example", Some("a@b.example c@d.example e@f.example")),
            ("undisclosed-recipients:;", Some("")),
            ("<@r.example,@s.example:u@h.example>", Some("u@h.example")),
            ("\"john doe\"@x.example", Some("\"john doe\"@x.example")),
            ("a (c) @ b . (d) example", Some("a@b.example")),
            ("u@[IPv6:::1]", Some("u@[IPv6:::1]")),
            ("A\r\n <a@b.example>,\r\n\tc@d.example", Some("a@b.example c@d.example")),
            ("gr\u{fc}\u{df}e@ex\u{e4}mple.de", Some("gr\u{fc}\u{df}e@ex\u{e4}mple.de")),
            ("root", Some("")),
            ("<>", Some("")),
            (",,", Some("")),
            ("", Some("")),
            ("J. R. <j@d.example>", Some("j@d.example")),
            ("a@b.example c@d.example", None),
            ("a@b@c", None),
            ("a..b@c.example", None),
            ("A <a@b.example> trailing", None),
            ("A <a@b.example", None),
            ("a@b.example;", None),
            ("g: h: a@b.example;;", None),
            ("\"open", None),
            ("(open", None),
            (")", None),
            ("a\\b@c.example", None),
        ] {
            let found = addresses(value.as_bytes()).map(|found| found.into_iter().map(|one| one.text).collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn what_is_replaced_is_the_address_and_nothing_else() {
        let other = |text: &str| (text == "a@b.example").then(|| "new@c.example".to_owned());
        for (value, expected) in [
            (" \"A, B\" (c) <a@b.example>,\r\n\tx@y.example ", Some(" \"A, B\" (c) <new@c.example>,\r\n\tx@y.example ")),
            (" g: a@b.example, A <a@b.example>; (end)", Some(" g: new@c.example, A <new@c.example>; (end)")),
            (" a (x) @ b.example (y)", Some(" new@c.example (y)")),
            (" x@y.example", None),
            (" a@b.example a@b.example", None),
        ] {
            let replaced = replace(value.as_bytes(), other).map(|new| String::from_utf8(new).unwrap());
            assert_eq!(replaced.as_deref(), expected, "{value:?}");
        }
    }
}
