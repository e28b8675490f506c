//! Identities. One id everywhere: a message is named by the same UUID in the log, the spool, replies and reports.

use std::fmt;
use std::str::FromStr;

use crate::Timestamp;

/// A message's id: a UUID of version 7 (RFC 9562 §5.7), so that ids sort by the time of acceptance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u128);

impl MessageId {
    /// Makes an id from the time of acceptance and 74 random bits.
    pub fn new(at: Timestamp, entropy: [u8; 10]) -> Self {
        let millis = u128::from(at.millis() & 0xffff_ffff_ffff);
        let mut random = 0u128;
        for octet in entropy {
            random = random << 8 | u128::from(octet);
        }
        let rand_a = random >> 64 & 0xfff;
        let rand_b = random & 0x3fff_ffff_ffff_ffff;
        Self(millis << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b)
    }

    /// The time of acceptance, to the millisecond, as the id carries it.
    pub fn accepted_at(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> 80) as u64)
    }
}

impl fmt::Display for MessageId {
    /// The usual form of a UUID: 8-4-4-4-12 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            v >> 96,
            v >> 80 & 0xffff,
            v >> 64 & 0xffff,
            v >> 48 & 0xffff,
            v & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 32 hexadecimal digits, with or without dashes")]
pub struct IdTrouble;

impl FromStr for MessageId {
    type Err = IdTrouble;

    fn from_str(text: &str) -> Result<Self, IdTrouble> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(IdTrouble);
        }
        u128::from_str_radix(&digits, 16).map(Self).map_err(|_| IdTrouble)
    }
}

/// Custody for one recipient: the message and the recipient's place in its envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The message.
    pub message: MessageId,
    /// The recipient's index in `Message::recipients`.
    pub index: u32,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.message, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_time_version_and_variant_and_reads_back() {
        let at = Timestamp::from_millis(1_763_900_000_123);
        let id = MessageId::new(at, [0xff; 10]);
        let text = id.to_string();
        assert_eq!(id.accepted_at(), at);
        assert_eq!(&text[14..15], "7");
        assert!("89ab".contains(&text[19..20]));
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.replace('-', "").parse(), Ok(id));
        assert_eq!("g".repeat(32).parse::<MessageId>(), Err(IdTrouble));
        assert_eq!("+".repeat(32).parse::<MessageId>(), Err(IdTrouble));
        assert!(MessageId::new(Timestamp::from_millis(1), [0xff; 10]) < MessageId::new(Timestamp::from_millis(2), [0; 10]));
    }
}
