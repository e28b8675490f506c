//! The enhanced status code, `class.subject.detail` (RFC 3463, RFC 2034).
//!
//! **Promises.** A value printed and parsed again is the same value. **Never** judges whether a subject or detail is registered: a peer may use
//! one that is newer than we are.

use std::fmt;

/// An enhanced status code (RFC 3463 §2): class 2, 4 or 5; subject and detail of up to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnhancedStatus {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// What the status is about: 1 addressing, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content, 7 policy.
    pub subject: u16,
    /// The precise condition within the subject.
    pub detail: u16,
}

impl EnhancedStatus {
    /// A status from its three numbers, as they stand in the code that says them: `EnhancedStatus::new(5, 1, 1)`.
    pub const fn new(class: u8, subject: u16, detail: u16) -> EnhancedStatus {
        EnhancedStatus { class, subject, detail }
    }

    /// Parses exactly `class.subject.detail`, nothing before and nothing behind.
    pub fn parse(text: &str) -> Option<EnhancedStatus> {
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let subject = number(parts.next()?)?;
        let detail = number(parts.next()?)?;
        parts.next().is_none().then_some(EnhancedStatus { class, subject, detail })
    }

    /// Splits a status off the front of a reply's text; gives the status and the text behind its white space (RFC 2034 §4).
    pub fn split_off(text: &str) -> Option<(EnhancedStatus, &str)> {
        let end = text.find([' ', '\t']).unwrap_or(text.len());
        let status = EnhancedStatus::parse(&text[..end])?;
        Some((status, text[end..].trim_start_matches([' ', '\t'])))
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One to three digits without a leading zero (RFC 3463 §2).
fn number(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.len() <= 3 && text.bytes().all(|octet| octet.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if plain && !padded { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints_and_refuses_the_rest() {
        for text in ["2.0.0", "4.4.1", "5.7.509", "5.999.999"] {
            assert_eq!(EnhancedStatus::parse(text).map(|status| status.to_string()).as_deref(), Some(text));
        }
        for text in ["", "5", "5.1", "3.0.0", "5.1.1.1", "5.1.1000", "5.01.1", "5..1", "+5.1.1", " 5.1.1", "5.1.1 ", "5.1.-1", "55.1.1"] {
            assert_eq!(EnhancedStatus::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn splits_off_the_front_only() {
        assert_eq!(EnhancedStatus::split_off("5.1.1 no such user"), Some((EnhancedStatus::new(5, 1, 1), "no such user")));
        assert_eq!(EnhancedStatus::split_off("5.7.2"), Some((EnhancedStatus::new(5, 7, 2), "")));
        assert_eq!(EnhancedStatus::split_off("user 5.1.1"), None);
    }
}
