//! What a domain asks to be done with mail that is not its own (RFC 7489 §6.3), as a receiver reads it: what makes no sense counts as if it were not there, where
//! [`DmarcRecord`](crate::records::DmarcRecord) tells the domain's owner about it.
//!
//! **Does badly.** Reports are not written here, so who wants them is not read.

use crate::records::{DmarcPolicy as Policy, Tags, is_dmarc};

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// For the domain itself (`p=`).
    pub policy: Policy,
    /// For those below it (`sp=`).
    pub subdomains: Policy,
    /// DKIM's domain must be the very same (`adkim=s`).
    pub strict_dkim: bool,
    /// So must SPF's (`aspf=s`).
    pub strict_spf: bool,
    /// To how many of a hundred the policy is to be applied (`pct=`).
    pub percent: u8,
}

/// What TXT records say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Nothing, or several things at once, which is the same (RFC 7489 §6.6.3).
    Nothing,
    /// A record that makes no sense.
    Nonsense,
    /// This.
    Record(Record),
}

/// Reads the TXT records of a name.
pub fn read(texts: &[Vec<u8>]) -> Said {
    let mut records = texts.iter().filter(|text| is_dmarc(text));
    match (records.next(), records.next()) {
        (Some(text), None) => record(text).map_or(Said::Nonsense, Said::Record),
        (None, _) | (Some(_), Some(_)) => Said::Nothing,
    }
}

fn policy(word: &str) -> Option<Policy> {
    [Policy::None, Policy::Quarantine, Policy::Reject].into_iter().find(|policy| policy.word().eq_ignore_ascii_case(word))
}

fn record(text: &[u8]) -> Option<Record> {
    let tags = Tags::parse(text).ok()?;
    let of_domain = match tags.get("p").map(policy) {
        Some(Some(policy)) => policy,
        // Who wants reports wants no harm (RFC 7489 §6.6.3, point 6).
        Some(None) | None if tags.get("rua").is_some_and(|reports| reports.contains(':')) => Policy::None,
        Some(None) | None => return None,
    };
    let strict = |tag| tags.get(tag).is_some_and(|mode| mode.eq_ignore_ascii_case("s"));
    Some(Record {
        policy: of_domain,
        subdomains: tags.get("sp").and_then(policy).unwrap_or(of_domain),
        strict_dkim: strict("adkim"),
        strict_spf: strict("aspf"),
        percent: tags.get("pct").and_then(|percent| percent.parse().ok()).filter(|percent| *percent <= 100).unwrap_or(100),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        use Policy::{None, Quarantine, Reject};
        let record = |policy, subdomains, strict_dkim, strict_spf, percent| {
            Said::Record(Record { policy, subdomains, strict_dkim, strict_spf, percent })
        };
        for (texts, expected) in [
            (&["v=DMARC1; p=reject"][..], record(Reject, Reject, false, false, 100)),
            (&["v=DMARC1;p=quarantine;sp=none;adkim=s;aspf=r;pct=30;"], record(Quarantine, None, true, false, 30)),
            (&["v = DMARC1 ; P=none; p = REJECT; aspf=S; pct=101; sp=odd"], record(Reject, Reject, false, true, 100)),
            (&["v=DMARC1; rua=mailto:a@b.example"], record(None, None, false, false, 100)),
            (&["v=DMARC1; p=odd; rua=mailto:a@b.example"], record(None, None, false, false, 100)),
            (&["v=spf1 -all", "v=DMARC1; p=none", "x"], record(None, None, false, false, 100)),
            (&["v=DMARC1"], Said::Nonsense),
            (&["v=DMARC1; p=odd"], Said::Nonsense),
            (&["v=DMARC1; p=none; p=reject"], Said::Nonsense),
            (&["v=DMARC1; p=none", "v=DMARC1; p=reject"], Said::Nothing),
            (&["p=reject; v=DMARC1"], Said::Nothing),
            (&["v=DMARC12; p=reject"], Said::Nothing),
            (&["v=dmarc1; p=reject"], Said::Nothing),
            (&[], Said::Nothing),
        ] {
            let octets: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(read(&octets), expected, "{texts:?}");
        }
    }
}
