//! When a message is wanted: delivered by (RFC 2852), not released before (RFC 4865), before or after others (RFC 6710).
//!
//! **Promises.** A value is parsed into its type, and a value that the RFC does not allow is no value. **Never** reads a clock: instants that
//! are relative stay relative, and whether an instant is too far away is asked of the caller's clock.

use std::fmt;

/// `BY=seconds;mode[T]` (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverBy {
    /// Counted from the MAIL command; not positive only with [`ByMode::Notify`].
    pub seconds: i64,
    /// What happens then.
    pub mode: ByMode,
    /// Each relay on the way is to be told of.
    pub trace: bool,
}

/// What happens when the time is over (RFC 2852 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByMode {
    /// The message is returned.
    Return,
    /// The sender is told, and delivery goes on.
    Notify,
}

/// `HOLDFOR=` or `HOLDUNTIL=` (RFC 4865 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Seconds, counted from the MAIL command.
    For(u32),
    /// Seconds since 1970-01-01T00:00:00Z.
    Until(u64),
}

/// `MT-PRIORITY=`, from -9 to 9; 0 is the usual (RFC 6710 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MtPriority(i8);

impl DeliverBy {
    /// Nine digits, a sign perhaps, `;`, `N` or `R`, and perhaps `T`. A message cannot be returned before it was sent: `R` needs a time to come.
    pub fn parse(value: &str) -> Option<DeliverBy> {
        let (time, rest) = value.split_once(';')?;
        let seconds = digits(time.strip_prefix(['+', '-']).unwrap_or(time))?;
        let seconds = if time.starts_with('-') { -i64::from(seconds) } else { i64::from(seconds) };
        let (mode, trace) = match rest.to_ascii_uppercase().as_str() {
            "N" => (ByMode::Notify, false),
            "NT" => (ByMode::Notify, true),
            "R" => (ByMode::Return, false),
            "RT" => (ByMode::Return, true),
            _ => return None,
        };
        (mode == ByMode::Notify || seconds > 0).then_some(DeliverBy { seconds, mode, trace })
    }
}

impl fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.mode == ByMode::Return { 'R' } else { 'N' };
        write!(f, "{};{mode}{}", self.seconds.clamp(-999_999_999, 999_999_999), if self.trace { "T" } else { "" })
    }
}

impl Hold {
    /// The value of HOLDFOR.
    pub fn parse_for(value: &str) -> Option<Hold> {
        digits(value).filter(|seconds| *seconds > 0).map(Hold::For)
    }

    /// The value of HOLDUNTIL: `date-time` of RFC 3339 §5.6 (RFC 4865's own production is dangling, erratum 2040), not before 1970.
    pub fn parse_until(value: &str) -> Option<Hold> {
        let plain = value.as_bytes().get(10).is_some_and(|octet| octet.eq_ignore_ascii_case(&b'T')) && !value.contains('[');
        let at: jiff::Timestamp = value.parse().ok().filter(|_| plain)?;
        u64::try_from(at.as_second()).ok().map(Hold::Until)
    }
}

impl MtPriority {
    /// A sign perhaps, and one digit.
    pub fn parse(value: &str) -> Option<MtPriority> {
        let digit = value.strip_prefix(['+', '-']).unwrap_or(value);
        let [digit @ b'0'..=b'9'] = digit.as_bytes() else { return None };
        let level = (digit - b'0') as i8;
        Some(MtPriority(if value.starts_with('-') { -level } else { level }))
    }

    /// From a number; beyond the ends, the end.
    pub fn new(level: i8) -> MtPriority {
        MtPriority(level.clamp(-9, 9))
    }

    /// From -9 to 9.
    pub fn level(self) -> i8 {
        self.0
    }
}

impl fmt::Display for MtPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One to nine digits.
fn digits(text: &str) -> Option<u32> {
    let sound = (1..=9).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    sound.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliver_by_there_and_back() {
        for (text, seconds, mode, trace) in [
            ("120;R", 120, ByMode::Return, false),
            ("999999999;NT", 999_999_999, ByMode::Notify, true),
            ("-5;N", -5, ByMode::Notify, false),
            ("0;N", 0, ByMode::Notify, false),
        ] {
            let parsed = DeliverBy::parse(text).unwrap();
            assert_eq!((parsed, parsed.to_string().as_str()), (DeliverBy { seconds, mode, trace }, text));
        }
        assert_eq!(DeliverBy::parse("+7;rt"), Some(DeliverBy { seconds: 7, mode: ByMode::Return, trace: true }));
        for text in ["", "1", ";R", "1;", "1;X", "1;TR", "0;R", "-1;R", "1000000000;R", "+-1;N", "1 ;N", "1;R;T"] {
            assert_eq!(DeliverBy::parse(text), None, "{text}");
        }
    }

    #[test]
    fn holds() {
        assert_eq!(Hold::parse_for("86400"), Some(Hold::For(86_400)));
        assert_eq!(Hold::parse_until("2026-11-23T20:37:00Z"), Some(Hold::Until(1_795_466_220)));
        assert_eq!(Hold::parse_until("2026-11-23t21:37:00.5+01:00"), Some(Hold::Until(1_795_466_220)));
        for text in ["", "0", "-1", "1s", "1000000000"] {
            assert_eq!(Hold::parse_for(text), None, "{text}");
        }
        for text in ["", "2026-11-23", "2026-11-23T20:37:00", "2026-11-23 20:37:00Z", "2026-02-30T00:00:00Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(Hold::parse_until(text), None, "{text}");
        }
        assert_eq!(Hold::parse_until("2026-11-23T20:37:00Z[Europe/Paris]"), None);
    }

    #[test]
    fn priorities() {
        for (text, level) in [("0", 0), ("9", 9), ("+3", 3), ("-9", -9), ("-0", 0)] {
            assert_eq!(MtPriority::parse(text).map(MtPriority::level), Some(level));
        }
        for text in ["", "10", "-", "+", "a", "--1", "1.0"] {
            assert_eq!(MtPriority::parse(text), None, "{text}");
        }
    }
}
