//! What a provider took, refused, counted, and had to complain about.

use std::collections::BTreeMap;
use std::net::IpAddr;

use postrider_model::Timestamp;

use crate::provider::SessionId;

/// A message that a provider has taken into its custody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// When its end of data came.
    pub at: Timestamp,
    /// In which session.
    pub session: SessionId,
    /// From which address.
    pub peer: IpAddr,
    /// The reverse-path as written, without brackets; empty when null.
    pub reverse_path: String,
    /// The recipients it took it for, as written, without brackets.
    pub recipients: Vec<String>,
    /// The value of the header field `X-Token`.
    pub token: Option<String>,
    /// The content, dots unstuffed.
    pub content: Vec<u8>,
    /// Whether it means to say so: a liar takes mail and hangs up.
    pub said: bool,
}

/// A recipient that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// From which address.
    pub peer: IpAddr,
    /// The reverse-path; empty when null.
    pub reverse_path: String,
    /// The recipient.
    pub recipient: String,
    /// The code it heard.
    pub code: u16,
}

/// The provider's own book.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Messages taken, in order.
    pub taken: Vec<Taken>,
    /// Recipients refused at RCPT, in order.
    pub refused: Vec<Refused>,
    /// When each transaction began (MAIL answered with 250), and whose.
    pub transactions: Vec<(Timestamp, IpAddr, SessionId)>,
    /// Sessions that were opened: when, whose, and how many of that peer were then open.
    pub sessions: Vec<(Timestamp, IpAddr, u32)>,
    /// How often a throttle said no.
    pub throttled: u64,
    /// What clients did against the protocol.
    pub complaints: Vec<String>,
    /// How often each of its manners was felt, by a name for people.
    pub felt: BTreeMap<&'static str, u64>,
}

impl Ledger {
    /// One of its manners was felt.
    pub(crate) fn feel(&mut self, manner: &'static str) {
        *self.felt.entry(manner).or_default() += 1;
    }

    /// How many messages with this token were taken for this recipient.
    pub fn copies(&self, token: &str, recipient: &str) -> usize {
        self.taken.iter().filter(|t| t.token.as_deref() == Some(token) && t.recipients.iter().any(|r| r == recipient)).count()
    }
}

/// The value of a header field in a content; names compare without case. Folded lines are not joined: tokens are short.
pub fn field<'a>(content: &'a [u8], name: &str) -> Option<&'a str> {
    let end = content.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(content.len());
    for line in content[..end].split(|octet| *octet == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if let Some((key, value)) = line.split_once(':')
            && key.eq_ignore_ascii_case(name)
        {
            return Some(value.trim());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_the_header_only() {
        let content = b"Received: by x\r\n\twith y; X-Token: no\r\nx-TOKEN: abc\r\n\r\nX-Other: body\r\n";
        assert_eq!(field(content, "X-Token"), Some("abc"));
        assert_eq!(field(content, "X-Other"), None);
        assert_eq!(field(b"", "X-Token"), None);
    }
}
