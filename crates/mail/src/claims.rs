//! Who a header says that it is from, in every reading that some program might have (RFC 5322 §3.6.2, §3.6.6).
//!
//! **Promises.** [`of`] gives, for each field that names an author or a sender, every domain that any reading of it may find: behind each `@`, wherever it
//! stands: in quotes, comments, routes, encoded words, and behind the letters that look like an `@`. So a tenant that owns all of these domains deceives nobody, whichever
//! parser the receiver has. A From that is there twice, names nobody, or can only be guessed is told as what it is ([`Disguise`]), and never read in
//! the most favourable way. Work is linear, but for the IDNA of those who take the names on.
//!
//! **Never** says whose a domain is.
//!
//! **Does badly.** Names that merely look alike (`examp1e`) are other names.

use crate::{Fields, mailboxes, words};

/// The fields that say whom a message is from. Reply-To is not among them: it says where answers go, and that may be anywhere.
const FIELDS: [&str; 5] = ["From", "Sender", "Resent-From", "Resent-Sender", "Return-Path"];

/// Octets of one field that are read. A From of thousands of authors is no mail of people.
const FIELD_OCTETS_MAX: usize = 16 * 1024;

/// Letters that become an `@` where names are normalised (Unicode NFKC).
const ALSO_AT: [char; 2] = ['\u{FF20}', '\u{FE6B}'];

/// What one field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The field's name.
    pub field: &'static str,
    /// Every domain that it names, as it stands there, each once.
    pub domains: Vec<String>,
}

/// Why nobody can say whom a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disguise {
    /// Servers and readers choose different ones.
    #[error("there are several {0} fields")]
    Several(&'static str),
    /// It is there, and names no address with a domain.
    #[error("{0} names no address with a domain")]
    Nobody(&'static str),
    /// Octets or forms that programs read differently.
    #[error("{0} can be read in several ways")]
    Ambiguous(&'static str),
    /// It is too long to be read.
    #[error("{0} is too long")]
    TooLong(&'static str),
}

/// What a header says. A field that is not there says nothing.
///
/// # Errors
/// When any of it is disguised.
pub fn of(header: &[u8]) -> Result<Vec<Claim>, Disguise> {
    let mut claims: Vec<Claim> = Vec::new();
    for field in Fields::of(header) {
        let Some(name) = FIELDS.into_iter().find(|name| field.is(name)) else { continue };
        // Resent blocks may be several, one for each time (RFC 5322 §3.6.6).
        if !name.starts_with("Resent-") && claims.iter().any(|claim| claim.field == name) {
            return Err(Disguise::Several(name));
        }
        claims.push(Claim { field: name, domains: domains(name, field.value)? });
    }
    Ok(claims)
}

/// Whether any reading of a field's value finds a domain in it, as a reader of mail may show it; an address of a machine is none.
pub fn show_a_domain(value: &[u8]) -> bool {
    let unfolded: String = String::from_utf8_lossy(value).chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
    [unfolded, words::decoded(value)].iter().any(|reading| {
        let mut found = Vec::new();
        named(reading, &mut found).is_err() || found.iter().any(|domain| !domain.starts_with('['))
    })
}

fn domains(name: &'static str, value: &[u8]) -> Result<Vec<String>, Disguise> {
    if value.len() > FIELD_OCTETS_MAX {
        return Err(Disguise::TooLong(name));
    }
    let Ok(text) = std::str::from_utf8(value) else { return Err(Disguise::Ambiguous(name)) };
    let unfolded: String = text.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
    if unfolded.chars().any(|letter| letter != '\t' && crate::text::deceives(letter)) {
        return Err(Disguise::Ambiguous(name));
    }
    let shown = words::decoded(value);
    if shown.contains("=?") || shown.contains(char::REPLACEMENT_CHARACTER) {
        // A word that we cannot decode may hold an address for who can.
        return Err(Disguise::Ambiguous(name));
    }
    let mut found = Vec::new();
    for reading in [unfolded.as_str(), shown.as_str()] {
        named(reading, &mut found).map_err(|()| Disguise::Ambiguous(name))?;
    }
    // The addresses themselves: whatever their domain looks like, it counts.
    let addresses = mailboxes(value);
    let empty_path = name == "Return-Path" && text.trim() == "<>";
    if addresses.is_empty() && !empty_path {
        return Err(Disguise::Nobody(name));
    }
    for address in addresses {
        match address.rsplit_once('@') {
            Some((local_part, domain)) if !local_part.trim().is_empty() && !domain.trim().is_empty() => {
                let domain = domain.trim();
                if domain.contains(char::is_whitespace) {
                    return Err(Disguise::Ambiguous(name));
                }
                push(&mut found, domain);
            }
            _ => return Err(Disguise::Nobody(name)),
        }
    }
    Ok(found)
}

/// Every domain behind an `@`. A name without a dot is left to the addresses: in a person's name ("Dinner @ Home") it is none.
fn named(text: &str, found: &mut Vec<String>) -> Result<(), ()> {
    let mut rest = text;
    while let Some(at) = rest.find(|letter| letter == '@' || ALSO_AT.contains(&letter)) {
        rest = rest[at..].trim_start_matches(|letter| letter == '@' || ALSO_AT.contains(&letter));
        rest = after_comments(rest);
        if let Some(literal) = rest.strip_prefix('[') {
            let end = literal.find(']').filter(|end| !literal[..*end].contains(char::is_whitespace)).ok_or(())?;
            push(found, &rest[..end + 2]);
            rest = &literal[end + 1..];
            continue;
        }
        let end = rest.find(|letter| !of_a_domain(letter)).unwrap_or(rest.len());
        let (domain, behind) = rest.split_at(end);
        let domain = domain.trim_matches(|letter| is_dot(letter) || letter == '-');
        if domain.contains(is_dot) {
            push(found, domain);
        }
        // Blanks and comments around the dots (RFC 5322 §4.4): one program sees the whole name, another its end.
        if !domain.is_empty() && after_comments(behind).starts_with(is_dot) {
            return Err(());
        }
        rest = behind;
    }
    Ok(())
}

fn of_a_domain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_') || (!letter.is_ascii() && !letter.is_whitespace())
}

/// The full stops of IDNA (RFC 3490 §3.1).
fn is_dot(letter: char) -> bool {
    matches!(letter, '.' | '\u{3002}' | '\u{FF0E}' | '\u{FF61}')
}

/// What follows blanks and comments.
fn after_comments(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some(comment) = rest.strip_prefix('(') {
        let (mut depth, mut end, mut escaped) = (1u32, comment.len(), false);
        for (at, letter) in comment.char_indices() {
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                end = at + 1;
                break;
            }
        }
        rest = comment[end..].trim_start();
    }
    rest
}

fn push(found: &mut Vec<String>, domain: &str) {
    if !found.iter().any(|other| other.eq_ignore_ascii_case(domain)) {
        found.push(domain.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What From says: domains with blanks between, or why it cannot be said.
    fn check(from: &str) -> String {
        let header = format!("Subject: x\r\nFrom: {from}\r\nTo: b@other.example\r\n");
        match of(header.as_bytes()) {
            Ok(claims) => claims.iter().flat_map(|claim| claim.domains.clone()).collect::<Vec<_>>().join(" "),
            Err(disguise) => disguise.to_string(),
        }
    }

    #[test]
    fn usual_authors() {
        for (from, domains) in [
            ("a@shop.example", "shop.example"),
            ("Shop <a@Shop.example>", "Shop.example"),
            ("\"Shop, Inc.\" <a@shop.example>", "shop.example"),
            ("a@shop.example (The Shop)", "shop.example"),
            ("A <a@one.example>, B <b@two.example>", "one.example two.example"),
            ("team: a@shop.example, b@shop.example;", "shop.example"),
            ("=?windows-1252?Q?J=FCrgen?= <j@shop.example>", "shop.example"),
            ("Dinner @ Home <a@shop.example>", "shop.example"),
            ("\r\n\t<a@shop.example>", "shop.example"),
            ("J\u{fc}rgen <j@b\u{fc}cher.example>", "b\u{fc}cher.example"),
            ("a%other.example@shop.example", "shop.example"),
            ("\"a b\"@shop.example", "shop.example"),
            ("a@localhost", "localhost"),
            ("a@[192.0.2.1]", "[192.0.2.1]"),
        ] {
            assert_eq!(check(from), domains, "{from:?}");
        }
    }

    #[test]
    fn every_reading_counts() {
        for (from, domains) in [
            ("\"b@bank.example\" <a@shop.example>", "bank.example shop.example"),
            ("b@bank.example <a@shop.example>", "bank.example shop.example"),
            ("a@shop.example (b@bank.example)", "shop.example bank.example"),
            ("<@bank.example:a@shop.example>", "bank.example shop.example"),
            ("\"b@bank.example\"@shop.example", "bank.example shop.example"),
            ("<b@bank.example>, <a@shop.example>", "bank.example shop.example"),
            ("<b@bank.example> <a@shop.example>", "bank.example shop.example"),
            ("=?utf-8?q?b=40bank.example?= <a@shop.example>", "shop.example bank.example"),
            ("=?utf-8?b?YkBiYW5rLmV4YW1wbGU=?= <a@shop.example>", "shop.example bank.example"),
            ("=?shift_jis?q?b=40bank.example?= <a@shop.example>", "shop.example bank.example"),
            ("\"b\u{ff20}bank\u{3002}example\" <a@shop.example>", "bank\u{3002}example shop.example"),
            ("b@(x)bank.example <a@shop.example>", "bank.example shop.example"),
            ("b@ bank.example, a@shop.example", "bank.example shop.example"),
            ("b@bank.example.", "bank.example bank.example."),
        ] {
            assert_eq!(check(from), domains, "{from:?}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_not_guessed() {
        let ambiguous = "From can be read in several ways";
        for (from, said) in [
            ("", "From names no address with a domain"),
            ("nobody", "From names no address with a domain"),
            ("group:;", "From names no address with a domain"),
            ("<>", "From names no address with a domain"),
            ("@shop.example", "From names no address with a domain"),
            ("a@", "From names no address with a domain"),
            ("b@bank . example <a@shop.example>", ambiguous),
            ("b@bank(x).example", ambiguous),
            ("b@bank.example\0 <a@shop.example>", ambiguous),
            ("b@bank.example\u{202e} <a@shop.example>", ambiguous),
            ("=?utf-7?Q?b+AEA-bank.example?= <a@shop.example>", ambiguous),
            ("=?utf-8?q?b=FF?= <a@shop.example>", ambiguous),
            ("a@shop.example\r\nFrom: b@bank.example", "there are several From fields"),
            ("a@shop.example\r\nfrom : b@bank.example", "there are several From fields"),
            ("a@[192.0.2.1", ambiguous),
        ] {
            assert_eq!(check(from), said, "{from:?}");
        }
        assert_eq!(of(b"From: a\xff@shop.example\r\n"), Err(Disguise::Ambiguous("From")));
        let long = format!("From: {}\r\n", "a@shop.example, ".repeat(2_000));
        assert_eq!(of(long.as_bytes()), Err(Disguise::TooLong("From")));
    }

    #[test]
    fn each_field_that_names_an_author_speaks() {
        let header = b"Return-Path: <>\r\nSender: s@one.example\r\nResent-From: r@two.example\r\nResent-From: r@three.example\r\n\
                       Resent-Sender: t@four.example\r\nReply-To: anybody@five.example\r\nFrom: a@six.example\r\n\r\nFrom: b@body.example\r\n";
        let claims = of(header).unwrap();
        let told: Vec<String> = claims.iter().map(|claim| format!("{} {}", claim.field, claim.domains.join(" "))).collect();
        assert_eq!(
            told,
            [
                "Return-Path ",
                "Sender one.example",
                "Resent-From two.example",
                "Resent-From three.example",
                "Resent-Sender four.example",
                "From six.example"
            ]
        );
        assert_eq!(of(b"Subject: x\r\n"), Ok(Vec::new()));
        assert_eq!(of(b"Sender: a@b.example\r\nSender: a@b.example\r\n"), Err(Disguise::Several("Sender")));
    }
}
