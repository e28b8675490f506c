//! A small message, made here: enough for a first mail and for scripts.

use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postrider_model::Timestamp;

/// What a message is made of.
pub struct Draft<'a> {
    /// The author's mailbox; empty for none.
    pub from: &'a str,
    /// The recipients.
    pub to: &'a [String],
    /// One line.
    pub subject: &'a str,
    /// Text.
    pub body: &'a str,
    /// Now.
    pub at: Timestamp,
    /// What makes the Message-ID unlike any other.
    pub unique: [u8; 16],
    /// The right side of the Message-ID.
    pub host_name: &'a str,
}

/// Header and body, with CR LF, in 7 bits: everything else is base64.
pub fn compose(draft: &Draft<'_>) -> anyhow::Result<Vec<u8>> {
    for (what, text) in
        [("sender", draft.from), ("subject", draft.subject)].into_iter().chain(draft.to.iter().map(|to| ("recipient", to.as_str())))
    {
        if text.chars().any(char::is_control) {
            bail!("the {what} holds a control character");
        }
    }
    let author = if draft.from.is_empty() { format!("MAILER-DAEMON@{}", draft.host_name) } else { draft.from.to_owned() };
    let unique: String = draft.unique.iter().map(|octet| format!("{octet:02x}")).collect();
    let date = postrider_mail::date::date_time(draft.at.seconds());
    let mut text = format!(
        "From: <{author}>\r\nTo: <{}>\r\nSubject: {}\r\nDate: {date}\r\nMessage-ID: <{unique}@{}>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n",
        draft.to.join(">,\r\n <"),
        encoded_words(draft.subject),
        draft.host_name
    );
    let body = crlf(draft.body.as_bytes());
    let plain = body.iter().all(|octet| (b' '..=b'~').contains(octet) || b"\r\n\t".contains(octet));
    if plain && body.split(|octet| *octet == b'\n').all(|line| line.len() <= 998) {
        text.push_str("Content-Transfer-Encoding: 7bit\r\n\r\n");
        let mut octets = text.into_bytes();
        octets.extend_from_slice(&body);
        if !octets.ends_with(b"\r\n") {
            octets.extend_from_slice(b"\r\n");
        }
        return Ok(octets);
    }
    text.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
    for line in STANDARD.encode(&body).as_bytes().chunks(76) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push_str("\r\n");
    }
    Ok(text.into_bytes())
}

/// RFC 2047 §2: words of at most 75 characters, none split inside a letter.
pub(super) fn encoded_words(text: &str) -> String {
    if text.bytes().all(|octet| (b' '..=b'~').contains(&octet)) && text.len() <= 900 {
        return text.to_owned();
    }
    let mut words: Vec<String> = vec![String::new()];
    for letter in text.chars() {
        // 45 octets are 60 characters of base64, and the frame of a word takes 12.
        if words.last().is_some_and(|word| word.len() + letter.len_utf8() > 45) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let framed: Vec<String> = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    framed.join("\r\n ")
}

/// Lines of the system (LF) become lines of mail (CR LF); a CR LF stays.
pub fn crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    let mut before = 0;
    for octet in text {
        if *octet == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(*octet);
        before = *octet;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(subject: &str, body: &str) -> String {
        let to = ["b@c.example".to_owned(), "d@e.example".to_owned()];
        let draft = Draft {
            from: "a@shop.example",
            to: &to,
            subject,
            body,
            at: Timestamp::from_millis(1_795_466_220_000),
            unique: [7; 16],
            host_name: "mx.shop.example",
        };
        String::from_utf8(compose(&draft).unwrap()).unwrap()
    }

    #[test]
    fn a_message_is_made() {
        let expected = "From: <a@shop.example>\r\nTo: <b@c.example>,\r\n <d@e.example>\r\nSubject: Hello\r\n\
            Date: Mon, 23 Nov 2026 20:37:00 +0000\r\nMessage-ID: <07070707070707070707070707070707@mx.shop.example>\r\nMIME-Version: 1.0\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nOne\r\n.\r\nTwo\r\n";
        assert_eq!(composed("Hello", "One\n.\nTwo"), expected);
    }

    #[test]
    fn what_is_not_plain_is_encoded() {
        let text = composed(&"Grüße ".repeat(20), "größer\n");
        assert!(text.is_ascii());
        assert!(text.lines().all(|line| line.len() <= 87), "{text}");
        assert!(text.contains("\r\n\r\nZ3LDtsOfZXINCg==\r\n"), "{text}");
    }

    #[test]
    fn a_header_cannot_be_injected() {
        let draft = |to: &[String]| {
            let draft = Draft { from: "", to, subject: "x", body: "", at: Timestamp::default(), unique: [0; 16], host_name: "h" };
            compose(&draft).map(|_| ())
        };
        assert!(draft(&["a@b.example\r\nBcc: c@d.example".to_owned()]).is_err());
        assert!(draft(&["a@b.example".to_owned()]).is_ok());
    }

    #[test]
    fn line_ends_are_mended_once() {
        assert_eq!(crlf(b"a\nb\r\nc\n"), b"a\r\nb\r\nc\r\n");
    }
}
