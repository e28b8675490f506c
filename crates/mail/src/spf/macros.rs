//! Macros of a record (RFC 7208 §7).

use std::net::IpAddr;

/// A text with macros, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Macros {
    pieces: Vec<Piece>,
    /// Nothing stands behind the last macro.
    ends_with_one: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Macro { letter: char, escaped: bool, last: Option<usize>, reversed: bool, delimiters: String },
}

/// What macros stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) local: &'a str,
    pub(super) sender_domain: &'a str,
    pub(super) domain: &'a str,
    pub(super) client: IpAddr,
    pub(super) hello: &'a str,
    /// A name of the client that was found to be its own; `unknown` where there is none.
    pub(super) validated: &'a str,
    pub(super) receiver: &'a str,
    pub(super) now: u64,
}

/// Reads a text; `in_explanation` allows the letters that only an explanation has.
pub(super) fn read(text: &str, in_explanation: bool) -> Result<Macros, String> {
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (short, wide) = match rest.as_bytes().first() {
            Some(b'%') => ("%", 1),
            Some(b'_') => (" ", 1),
            Some(b'-') => ("%20", 1),
            Some(b'{') => ("", 0),
            _ => return Err("a lone percent sign".to_owned()),
        };
        plain.push_str(short);
        rest = &rest[wide..];
        if wide == 0 {
            let end = rest.find('}').ok_or("a macro without its end")?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(one(&rest[1..end], in_explanation).ok_or("a macro that is none")?);
            rest = &rest[end + 1..];
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(Macros { pieces, ends_with_one: rest.is_empty() && !text.is_empty() })
}

/// Reads a `domain-spec`: it ends with a macro, or with a label that is a top-level domain's.
pub(super) fn domain(text: &str) -> Result<Macros, String> {
    let macros = read(text, false)?;
    if macros.ends_with_one || text.strip_suffix('.').unwrap_or(text).rsplit_once('.').is_some_and(|(_, label)| is_top_label(label)) {
        Ok(macros)
    } else {
        Err(if text.is_empty() { "no domain".to_owned() } else { "no domain at the end".to_owned() })
    }
}

fn is_top_label(label: &str) -> bool {
    let octets = label.as_bytes();
    let row = octets.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    let letter_or_dash = octets.iter().any(|octet| octet.is_ascii_alphabetic() || *octet == b'-');
    row && letter_or_dash && !label.starts_with('-') && !label.ends_with('-')
}

/// What stands between the braces.
fn one(text: &str, in_explanation: bool) -> Option<Piece> {
    let letter = text.chars().next()?;
    let lower = letter.to_ascii_lowercase();
    let known = "slodiphv".contains(lower) || (in_explanation && "crt".contains(lower));
    let rest = &text[letter.len_utf8()..];
    let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (count, rest) = rest.split_at(digits);
    let last = match count {
        "" => None,
        // A number beyond every name is all of it.
        count => Some(count.parse().unwrap_or(usize::MAX)).filter(|last| *last > 0),
    };
    let (reversed, delimiters) = match rest.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let good = known && (count.is_empty() || last.is_some()) && delimiters.chars().all(|letter| ".-+,/_=".contains(letter));
    good.then(|| Piece::Macro { letter: lower, escaped: letter.is_ascii_uppercase(), last, reversed, delimiters: delimiters.to_owned() })
}

impl Macros {
    /// Whether the client's own name is asked for, which must be looked up first.
    pub(super) fn wants_validated(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Macro { letter: 'p', .. }))
    }

    /// The name, where no macro makes it another one for each message.
    pub(super) fn fixed(&self) -> Option<String> {
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Macro { .. } => return None,
            }
        }
        Some(in_the_dns(&name))
    }

    /// The text that they stand for.
    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Macro { letter, escaped, last, reversed, delimiters } => {
                    let value = value(*letter, values);
                    let delimiters = if delimiters.is_empty() { "." } else { delimiters };
                    let mut parts: Vec<&str> = value.split(|letter| delimiters.contains(letter)).collect();
                    if *reversed {
                        parts.reverse();
                    }
                    let kept = last.map_or(parts.len(), |last| last.min(parts.len()));
                    let text = parts[parts.len() - kept..].join(".");
                    if *escaped { url_escaped(&text, &mut out) } else { out.push_str(&text) }
                }
            }
        }
        out
    }

    /// The name that they stand for, shortened from the left to what the DNS can hold (RFC 7208 §7.3).
    pub(super) fn name(&self, values: &Values<'_>) -> String {
        in_the_dns(&self.expand(values))
    }
}

fn in_the_dns(text: &str) -> String {
    let text = text.to_lowercase();
    let mut name = text.strip_suffix('.').unwrap_or(&text);
    while name.len() > 253 {
        let Some((_, shorter)) = name.split_once('.') else { break };
        name = shorter;
    }
    name.to_owned()
}

fn value(letter: char, values: &Values<'_>) -> String {
    match letter {
        's' => format!("{}@{}", values.local, values.sender_domain),
        'l' => values.local.to_owned(),
        'o' => values.sender_domain.to_owned(),
        'd' => values.domain.to_owned(),
        'i' => match values.client {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let nibbles = address.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
                nibbles.map(|nibble| format!("{nibble:X}")).collect::<Vec<_>>().join(".")
            }
        },
        'p' => values.validated.to_owned(),
        'v' => if values.client.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
        'h' => values.hello.to_owned(),
        'c' => values.client.to_string(),
        'r' => values.receiver.to_owned(),
        _ => values.now.to_string(),
    }
}

/// RFC 3986 §2.1, with its unreserved letters left as they are.
fn url_escaped(text: &str, out: &mut String) {
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
}
