//! A domain's policy for mail that nobody vouches for, at `_dmarc.DOMAIN` (RFC 7489 §6.3).

use super::tags::{TagTrouble, Tags, is_white, shown};

/// What receivers are asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DmarcPolicy {
    /// Nothing but to report.
    None,
    /// To put it aside.
    Quarantine,
    /// To refuse it.
    Reject,
}

impl DmarcPolicy {
    /// As the record says it.
    pub fn word(self) -> &'static str {
        match self {
            DmarcPolicy::None => "none",
            DmarcPolicy::Quarantine => "quarantine",
            DmarcPolicy::Reject => "reject",
        }
    }
}

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DmarcTrouble {
    /// It is no list of tags.
    #[error(transparent)]
    Tags(#[from] TagTrouble),
    /// `p=` is missing.
    #[error("the tag p= is missing; it has to be p=none, p=quarantine or p=reject")]
    NoPolicy,
    /// A tag says what it cannot.
    #[error("{0}={1:?} says nothing that receivers know; it may be {2}")]
    Value(&'static str, Box<str>, &'static str),
}

/// A domain's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarcRecord {
    /// `p=`.
    pub policy: DmarcPolicy,
    /// `sp=`, for the domains below; as `policy` where nothing is said.
    pub below: DmarcPolicy,
    /// `adkim=s`: the signing domain has to be the very domain of From.
    pub strict_dkim: bool,
    /// `aspf=s`: the reverse-path's domain has to be.
    pub strict_spf: bool,
    /// `pct=`, how many of a hundred messages the policy is for.
    pub percent: u8,
    /// `rua=`, where reports go: addresses from `mailto:` without their size limit, and other URIs whole.
    pub reports: Vec<Box<str>>,
}

/// Whether a TXT record is meant to be a policy; others at the name do not count (RFC 7489 §6.6.3).
pub fn is_dmarc(octets: &[u8]) -> bool {
    let text = octets.trim_ascii_start();
    let Some(rest) = text.strip_prefix(b"v") else { return false };
    let rest = rest.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii_start);
    rest.and_then(|rest| rest.strip_prefix(b"DMARC1")).is_some_and(|rest| matches!(rest.trim_ascii_start().first(), None | Some(b';')))
}

impl DmarcRecord {
    /// Reads a policy for which [`is_dmarc`] holds.
    ///
    /// # Errors
    /// When receivers would read something else than its owner meant, or nothing.
    pub fn parse(octets: &[u8]) -> Result<Self, DmarcTrouble> {
        let tags = Tags::parse(octets)?;
        let word = |name: &'static str| {
            let Some(value) = tags.get(name) else { return Ok(None) };
            let known = [DmarcPolicy::None, DmarcPolicy::Quarantine, DmarcPolicy::Reject];
            let found = known.into_iter().find(|policy| value.eq_ignore_ascii_case(policy.word()));
            found.map(Some).ok_or_else(|| DmarcTrouble::Value(name, shown(value), "none, quarantine or reject"))
        };
        let policy = word("p")?.ok_or(DmarcTrouble::NoPolicy)?;
        let strict = |name: &'static str| match tags.get(name) {
            None | Some("r" | "R") => Ok(false),
            Some("s" | "S") => Ok(true),
            Some(value) => Err(DmarcTrouble::Value(name, shown(value), "r or s")),
        };
        let percent = match tags.get("pct") {
            None => 100,
            Some(value) => {
                let number = value.parse().ok().filter(|percent| *percent <= 100);
                number.ok_or_else(|| DmarcTrouble::Value("pct", shown(value), "a number from 0 to 100"))?
            }
        };
        let uris = tags.get("rua").unwrap_or_default().split(',').map(|uri| uri.trim_matches(is_white)).filter(|uri| !uri.is_empty());
        let mut reports = Vec::new();
        for uri in uris {
            let address = uri.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("mailto:")).map(|_| &uri[7..]);
            match address {
                Some(address) => reports.push(address.split('!').next().unwrap_or_default().into()),
                None if uri.contains(':') => reports.push(uri.into()),
                None => return Err(DmarcTrouble::Value("rua", shown(uri), "mailto: with an address behind it")),
            }
        }
        Ok(Self {
            policy,
            below: word("sp")?.unwrap_or(policy),
            strict_dkim: strict("adkim")?,
            strict_spf: strict("aspf")?,
            percent,
            reports,
        })
    }
}
