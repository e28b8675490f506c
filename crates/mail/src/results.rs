//! Authentication-Results (RFC 8601): ours written, and forged ones told from others'.
//!
//! **Promises.** A field that is written is one field, whose results are the given ones: no value can begin another result, a comment or a line. A field that says it is
//! ours is found in every spelling that a reader may take for ours; one whose first words no reader can be sure of is taken for ours, too.

use crate::header::Field;
use crate::text::Fold;

/// What one method found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `spf`, `dkim`.
    pub method: &'static str,
    /// `pass`.
    pub result: &'static str,
    /// Why, in words that are nobody's but ours and names.
    pub reason: Option<String>,
    /// What it was about: `smtp.mailfrom` and its value.
    pub properties: Vec<(&'static str, String)>,
}

/// Octets of one value that are written.
const VALUE_OCTETS_MAX: usize = 255;

/// Writes the field.
pub fn write(host: &str, findings: &[Finding], out: &mut Vec<u8>) {
    let mut fold = Fold::new(out, "Authentication-Results:");
    let end = |nth: usize| if nth + 1 == findings.len() { "" } else { ";" };
    fold.word(&format!("{};", value(host)));
    if findings.is_empty() {
        fold.word("none");
    }
    for (nth, finding) in findings.iter().enumerate() {
        let mut words = vec![format!("{}={}", finding.method, finding.result)];
        words.extend(finding.reason.as_deref().map(|reason| format!("reason={}", quoted(reason))));
        words.extend(finding.properties.iter().map(|(name, text)| format!("{name}={}", value(text))));
        if let Some(last) = words.last_mut() {
            last.push_str(end(nth));
        }
        fold.break_line_before_next();
        words.iter().for_each(|word| fold.word(word));
    }
    fold.end();
}

/// Whether a field is an Authentication-Results field that says it is this host's.
pub fn claims_to_be_from(field: &Field<'_>, host: &str) -> bool {
    if !field.is("Authentication-Results") {
        return false;
    }
    let bare = |name: &str| name.trim_end_matches('.').to_lowercase();
    server(field.value).is_none_or(|server| bare(&server) == bare(host))
}

/// The authserv-id of a field (RFC 8601 §2.2); nothing where readers may disagree.
fn server(field: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(field).ok()?;
    let (id, rest) = match blanks(text)?.strip_prefix('"') {
        Some(rest) => quoted_rest(rest)?,
        None => {
            let rest = blanks(text)?;
            let end = rest.find(|letter: char| !is_of_a_token(letter) && letter.is_ascii()).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        }
    };
    // A version may follow, of digits; then the results, or nothing.
    let behind = blanks(rest)?;
    let digits = behind.len() - behind.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let behind = if behind.len() < rest.len() { blanks(&behind[digits..])? } else { behind };
    (!id.is_empty() && (behind.is_empty() || behind.starts_with(';'))).then_some(id)
}

/// Behind blanks and comments, which nest (RFC 5322 §3.2.2); nothing where a comment does not end.
fn blanks(text: &str) -> Option<&str> {
    let mut depth = 0_u32;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            '\\' if depth > 0 => drop(letters.next()),
            letter if depth == 0 && !letter.is_ascii_whitespace() => return Some(&text[at..]),
            _ => {}
        }
    }
    (depth == 0).then_some("")
}

/// What a quoted string says, and what stands behind it.
fn quoted_rest(text: &str) -> Option<(String, &str)> {
    let mut said = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((said, &text[at + 1..])),
            '\\' => said.push(letters.next()?.1),
            '\r' | '\n' => {}
            letter => said.push(letter),
        }
    }
    None
}

/// RFC 2045 §5.1.
fn is_of_a_token(letter: char) -> bool {
    letter.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(letter)
}

/// A value as it may stand: bare where nobody can misread it, else quoted.
fn value(text: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '+' | '@');
    let whole = !text.is_empty() && text.len() <= VALUE_OCTETS_MAX && text.chars().all(bare);
    if whole { text.to_owned() } else { quoted(text) }
}

/// A quoted string of printable ASCII (RFC 5322 §3.2.4).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars().take(VALUE_OCTETS_MAX) {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            ' '..='~' => out.push(letter),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fields;

    #[test]
    fn no_value_begins_another_result() {
        let finding = |reason: Option<&str>, text: &str| Finding {
            method: "spf",
            result: "fail",
            reason: reason.map(Into::into),
            properties: vec![("smtp.mailfrom", text.to_owned())],
        };
        for (findings, expected) in [
            (vec![], "Authentication-Results: mx.example; none\r\n"),
            (vec![finding(None, "a@b.example")], "Authentication-Results: mx.example;\r\n spf=fail smtp.mailfrom=a@b.example\r\n"),
            (
                vec![finding(Some("no \"such\"\r\n thing"), "b.example"), finding(None, "")],
                "Authentication-Results: mx.example;\r\n spf=fail reason=\"no \\\"such\\\"?? thing\" smtp.mailfrom=b.example;\r\n \
                 spf=fail smtp.mailfrom=\"\"\r\n",
            ),
            (
                vec![finding(None, "\"a; dkim=pass header.d=bank.example\"@b.example")],
                "Authentication-Results: mx.example;\r\n spf=fail \
                 smtp.mailfrom=\"\\\"a; dkim=pass header.d=bank.example\\\"@b.example\"\r\n",
            ),
            (
                vec![finding(None, "a(b@c.example\r\nX: y"), finding(None, "\u{fc}@c.example")],
                "Authentication-Results: mx.example;\r\n spf=fail smtp.mailfrom=\"a(b@c.example??X: y\";\r\n spf=fail smtp.mailfrom=\"?@c.example\"\r\n",
            ),
        ] {
            let mut out = Vec::new();
            write("mx.example", &findings, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text, expected);
            let field = Fields::of(text.as_bytes()).next().unwrap();
            assert_eq!(field.whole.len(), text.len());
            assert!(claims_to_be_from(&field, "MX.example"));
        }
    }

    #[test]
    fn fields_that_say_they_are_ours_are_found_in_every_spelling() {
        for (field, ours) in [
            ("Authentication-Results: mx.example; spf=pass", true),
            ("authentication-results:MX.EXAMPLE;none", true),
            ("Authentication-Results : mx.example; none", true),
            ("Authentication-Results: mx.example. ; none", true),
            ("Authentication-Results: mx.example 1; none", true),
            ("Authentication-Results: mx.example(x)1 (y); none", true),
            ("Authentication-Results: \r\n\t(a (nested\\) (comment)) ) mx.example; none", true),
            ("Authentication-Results: \"mx.example\"; none", true),
            ("Authentication-Results: \"mx.exam\\ple\" ; none", true),
            ("Authentication-Results: mx.example", true),
            ("Authentication-Results: (never ended mx.other; none", true),
            ("Authentication-Results: mx.other mx.example; none", true),
            ("Authentication-Results: mx.other/mx.example; none", true),
            ("Authentication-Results: ; none", true),
            ("Authentication-Results: \"mx.other", true),
            ("Authentication-Results: mx.other; spf=pass", false),
            ("Authentication-Results: mx.other 1; none", false),
            ("Authentication-Results: mx.example.org; none", false),
            ("Authentication-Results: (mx.example) mx.other; none", false),
            ("Authentication-Results: \u{fc}x.example; none", false),
            ("X-Authentication-Results: mx.example; none", false),
            ("ARC-Authentication-Results: i=1; mx.example; none", false),
        ] {
            let read = Fields::of(field.as_bytes()).next().unwrap();
            assert_eq!(claims_to_be_from(&read, "mx.example"), ours, "{field:?}");
        }
    }
}
