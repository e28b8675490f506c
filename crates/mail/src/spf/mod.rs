//! Whether a client may use a domain as its sender's (RFC 7208): `check_host()` as a pure function of what is known of the DNS; and what a domain's record costs those
//! who ask ([`cost`]), for its owner.
//!
//! **Promises.** Temporary, permanent and "no" are kept apart: what the DNS did not tell is [`Outcome::TempError`] and nothing else. At most ten terms that
//! look up, two of them in vain, ten exchangers of a name and ten names of an address (RFC 7208 §4.6.4), so the questions about one message are bounded,
//! whatever the records say.
//!
//! **Never** asks: what is not known is named, and the caller asks ([`crate::lookup`]).
//!
//! **Bends.** A record of an included domain is read again for each answer that was missing; records are small.

mod cost;
mod macros;
mod record;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lookup::{Answer, Known, Question, ask, is_possible};
pub use cost::{Cost, cost};
use macros::{Macros, Values};
use record::{Lengths, Mechanism};
pub use record::{Record, is_record, read};

/// Terms of all records that look up (RFC 7208 §4.6.4).
pub const LOOKUPS_MAX: u32 = 10;
/// Of these, those that find nothing.
pub const VOIDS_MAX: u32 = 2;
/// Exchangers of one `mx`, and names of the client that are looked at.
const NAMES_MAX: usize = 10;

/// Hosts whose addresses are asked for together: more would mostly be asked for nothing, since the first ones match.
const TOGETHER_MAX: usize = 4;

/// Whose right is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The client's address; one of IPv4 in the form of IPv6 is taken for what it is.
    pub client: IpAddr,
    /// Its word of HELO or EHLO.
    pub hello: &'a str,
    /// The reverse-path without its brackets; empty for the null reverse-path, where HELO stands in (RFC 7208 §2.4).
    pub mail_from: &'a str,
    /// We, for the words of a refusal (`%{r}`).
    pub receiver: &'a str,
    /// Seconds since 1970, likewise (`%{t}`).
    pub now: u64,
    /// A refusal's words are wanted, which costs a look-up.
    pub explain: bool,
}

/// RFC 7208 §2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing is said of it, or there is no domain to ask.
    None,
    /// The domain says that it says nothing.
    Neutral,
    /// The client may.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// The DNS did not tell now.
    TempError,
    /// What the domain says makes no sense.
    PermError,
}

impl Outcome {
    /// Its word in Authentication-Results (RFC 8601 §2.7.2).
    pub fn word(self) -> &'static str {
        match self {
            Outcome::None => "none",
            Outcome::Neutral => "neutral",
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::SoftFail => "softfail",
            Outcome::TempError => "temperror",
            Outcome::PermError => "permerror",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Yes, no, or why not.
    pub outcome: Outcome,
    /// What is wrong, where something is; never a peer's octets beyond printable ASCII.
    pub reason: Option<String>,
    /// The domain's own words to whom it refuses, printable ASCII, where they were wanted and there are some.
    pub explanation: Option<String>,
}

/// Why an evaluation ends before its end.
enum Stop {
    Ask(Vec<Question>),
    Temp(String),
    Perm(String),
}

impl From<Question> for Stop {
    fn from(question: Question) -> Self {
        Stop::Ask(vec![question])
    }
}

/// RFC 7208 §4: the verdict, or the questions whose answers it needs next; those that are named together do not depend on each other.
///
/// # Errors
/// The questions that nothing is known of, each once, and never none.
pub fn check(identity: &Identity<'_>, known: &Known) -> Result<Verdict, Vec<Question>> {
    let client = identity.client.to_canonical();
    let (local, domain) = match identity.mail_from.rsplit_once('@') {
        Some(("", domain)) => ("postmaster", domain),
        Some(parts) => parts,
        None if identity.mail_from.is_empty() => ("postmaster", identity.hello),
        None => ("postmaster", identity.mail_from),
    };
    let lower = domain.to_lowercase();
    let domain = lower.strip_suffix('.').unwrap_or(&lower);
    let verdict = |outcome, reason| Verdict { outcome, reason, explanation: None };
    // RFC 7208 §4.3
    if !is_possible(domain) || !domain.contains('.') || domain.starts_with('[') || domain.parse::<Ipv4Addr>().is_ok() {
        return Ok(verdict(Outcome::None, None));
    }
    let mut host = Host { identity, client, local, sender_domain: domain, known, lookups: 0, voids: 0 };
    match host.check(domain, true) {
        Ok((outcome, explanation)) => Ok(Verdict { outcome, reason: None, explanation }),
        Err(Stop::Ask(questions)) => Err(questions),
        Err(Stop::Temp(reason)) => Ok(verdict(Outcome::TempError, Some(reason))),
        Err(Stop::Perm(reason)) => Ok(verdict(Outcome::PermError, Some(reason))),
    }
}

struct Host<'a> {
    identity: &'a Identity<'a>,
    client: IpAddr,
    local: &'a str,
    sender_domain: &'a str,
    known: &'a Known,
    lookups: u32,
    voids: u32,
}

impl<'a> Host<'a> {
    /// RFC 7208 §4.4 to §4.7. Records that include each other run into the limit of look-ups.
    fn check(&mut self, domain: &str, is_outermost: bool) -> Result<(Outcome, Option<String>), Stop> {
        let Some(record) = record_of(self.known, domain)? else { return Ok((Outcome::None, None)) };
        for directive in &record.directives {
            if self.matches(&directive.mechanism, domain)? {
                let wanted = is_outermost && self.identity.explain && directive.outcome == Outcome::Fail;
                let explanation = if wanted { self.explanation(&record, domain)? } else { None };
                return Ok((directive.outcome, explanation));
            }
        }
        let Some(redirect) = &record.redirect else { return Ok((Outcome::Neutral, None)) };
        self.look_up()?;
        let target = self.name(redirect, domain)?;
        match self.check(&target, is_outermost)? {
            (Outcome::None, _) => Err(Stop::Perm(format!("redirect to {}, which has no record", printable(&target)))),
            other => Ok(other),
        }
    }

    fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, bits) => Ok(within(self.client, IpAddr::V4(*network), *bits)),
            Mechanism::Ip6(network, bits) => Ok(within(self.client, IpAddr::V6(*network), *bits)),
            Mechanism::Include(target) => {
                self.look_up()?;
                let target = self.name(target, domain)?;
                match self.check(&target, false)?.0 {
                    Outcome::Pass => Ok(true),
                    Outcome::Fail | Outcome::SoftFail | Outcome::Neutral => Ok(false),
                    // RFC 7208 §5.2; the errors ended the evaluation before.
                    Outcome::None | Outcome::TempError | Outcome::PermError => {
                        Err(Stop::Perm(format!("{} is included, and has no record", printable(&target))))
                    }
                }
            }
            Mechanism::A(target, lengths) => {
                self.look_up()?;
                let name = self.target(target.as_ref(), domain)?;
                let addresses = self.addresses(&name, self.client.is_ipv6())?;
                self.found(!addresses.is_empty() || !is_possible(&name))?;
                Ok(self.is_among(addresses, *lengths))
            }
            Mechanism::Mx(target, lengths) => self.exchangers(target.as_ref(), *lengths, domain),
            Mechanism::Exists(target) => {
                self.look_up()?;
                let name = self.name(target, domain)?;
                // RFC 7208 §5.7: an A record, even where the client has an address of IPv6.
                let exists = !self.addresses(&name, false)?.is_empty();
                self.found(exists || !is_possible(&name))?;
                Ok(exists)
            }
            Mechanism::Ptr(target) => {
                self.look_up()?;
                let name = self.target(target.as_ref(), domain)?;
                Ok(self.validated()?.iter().any(|own| is_within(own, &name)))
            }
        }
    }

    fn exchangers(&mut self, target: Option<&Macros>, lengths: Lengths, domain: &str) -> Result<bool, Stop> {
        self.look_up()?;
        let name = self.target(target, domain)?;
        if !is_possible(&name) {
            return Ok(false);
        }
        let hosts = match ask(self.known, Question::Exchangers(name.clone()))? {
            Answer::Names(hosts) => hosts,
            Answer::Failed => return Err(Stop::Temp(format!("the exchangers of {} could not be looked up", printable(&name)))),
            Answer::Nothing | Answer::Texts(_) | Answer::Addresses(_) => &Vec::new(),
        };
        self.found(!hosts.is_empty())?;
        if hosts.len() > NAMES_MAX {
            return Err(Stop::Perm(format!("{} has more than {NAMES_MAX} exchangers", printable(&name))));
        }
        for (nth, host) in hosts.iter().enumerate() {
            let addresses = self.addresses(host, self.client.is_ipv6()).map_err(|stop| self.with_next(stop, &hosts[nth..]))?;
            if self.is_among(addresses, lengths) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The addresses of a name; none where there are none.
    fn addresses(&self, name: &str, ipv6: bool) -> Result<&'a [IpAddr], Stop> {
        if !is_possible(name) {
            return Ok(&[]);
        }
        match ask(self.known, Question::Addresses { name: name.to_owned(), ipv6 })? {
            Answer::Addresses(addresses) => Ok(addresses),
            Answer::Failed => Err(Stop::Temp(format!("the addresses of {} could not be looked up", printable(name)))),
            Answer::Nothing | Answer::Texts(_) | Answer::Names(_) => Ok(&[]),
        }
    }

    /// The names of the client that lead back to it (RFC 7208 §5.5). Failures are no match.
    fn validated(&self) -> Result<Vec<String>, Stop> {
        let names = match ask(self.known, Question::Pointers(self.client))? {
            Answer::Names(names) => names,
            Answer::Failed | Answer::Nothing | Answer::Texts(_) | Answer::Addresses(_) => return Ok(Vec::new()),
        };
        let mut own = Vec::new();
        let names = &names[..names.len().min(NAMES_MAX)];
        for (nth, name) in names.iter().enumerate() {
            match self.addresses(name, self.client.is_ipv6()) {
                Ok(addresses) if addresses.contains(&self.client) => own.push(name.clone()),
                Ok(_) | Err(Stop::Temp(_) | Stop::Perm(_)) => {}
                Err(ask @ Stop::Ask(_)) => return Err(self.with_next(ask, &names[nth..])),
            }
        }
        Ok(own)
    }

    /// Where a host's addresses are to be asked for, those of the next hosts are, too: they will be needed unless an earlier one matches.
    fn with_next(&self, stop: Stop, hosts: &[String]) -> Stop {
        let Stop::Ask(mut questions) = stop else { return stop };
        for host in hosts.iter().filter(|host| is_possible(host)) {
            let question = Question::Addresses { name: host.clone(), ipv6: self.client.is_ipv6() };
            if questions.len() < TOGETHER_MAX && !self.known.contains_key(&question) && !questions.contains(&question) {
                questions.push(question);
            }
        }
        Stop::Ask(questions)
    }

    /// RFC 7208 §6.2: whatever is wrong with it, there are no words then.
    fn explanation(&self, record: &Record<'_>, domain: &str) -> Result<Option<String>, Stop> {
        let Some(target) = &record.explanation else { return Ok(None) };
        let name = self.name(target, domain)?;
        if !is_possible(&name) {
            return Ok(None);
        }
        let Answer::Texts(texts) = ask(self.known, Question::Texts(name))? else { return Ok(None) };
        let [text] = &texts[..] else { return Ok(None) };
        let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
        let Some(macros) = text.and_then(|text| macros::read(text, true).ok()) else { return Ok(None) };
        let values = self.values(&macros, domain)?;
        let expanded = macros.expand(&values.with(domain, self));
        Ok(expanded.bytes().all(|octet| matches!(octet, b' '..=b'~')).then_some(expanded))
    }

    fn target(&self, macros: Option<&Macros>, domain: &str) -> Result<String, Stop> {
        macros.map_or_else(|| Ok(domain.to_owned()), |macros| self.name(macros, domain))
    }

    fn name(&self, macros: &Macros, domain: &str) -> Result<String, Stop> {
        let own = self.values(macros, domain)?;
        Ok(macros.name(&own.with(domain, self)))
    }

    /// The client's own name, where macros want it: the domain itself, a name within it, or any other (RFC 7208 §7.3).
    fn values(&self, macros: &Macros, domain: &str) -> Result<Own, Stop> {
        if !macros.wants_validated() {
            return Ok(Own(None));
        }
        let mut names = self.validated()?;
        names.sort_by_key(|name| (name != domain, !is_within(name, domain)));
        Ok(Own(names.into_iter().next()))
    }

    fn look_up(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > LOOKUPS_MAX {
            return Err(Stop::Perm(format!("more than {LOOKUPS_MAX} look-ups")));
        }
        Ok(())
    }

    fn found(&mut self, any: bool) -> Result<(), Stop> {
        self.voids += u32::from(!any);
        if self.voids > VOIDS_MAX {
            return Err(Stop::Perm(format!("more than {VOIDS_MAX} look-ups in vain")));
        }
        Ok(())
    }

    fn is_among(&self, addresses: &[IpAddr], lengths: Lengths) -> bool {
        let bits = if self.client.is_ipv6() { lengths.v6 } else { lengths.v4 };
        addresses.iter().any(|address| within(self.client, *address, bits))
    }
}

/// The one record of a domain.
fn record_of<'a>(known: &'a Known, domain: &str) -> Result<Option<Record<'a>>, Stop> {
    if !is_possible(domain) {
        return Ok(None);
    }
    let texts = match ask(known, Question::Texts(domain.to_owned()))? {
        Answer::Texts(texts) => texts,
        Answer::Failed => return Err(Stop::Temp(format!("the records of {} could not be looked up", printable(domain)))),
        Answer::Nothing | Answer::Addresses(_) | Answer::Names(_) => return Ok(None),
    };
    let mut records = texts.iter().filter(|text| is_record(text));
    match (records.next(), records.next()) {
        (None, _) => Ok(None),
        (Some(text), None) => match read(text) {
            Ok(record) => Ok(Some(record)),
            Err(why) => Err(Stop::Perm(format!("{why} in the record of {}", printable(domain)))),
        },
        (Some(_), Some(_)) => Err(Stop::Perm(format!("{} has more than one record", printable(domain)))),
    }
}

/// A validated name, kept while macros are expanded.
struct Own(Option<String>);

impl Own {
    fn with<'a>(&'a self, domain: &'a str, host: &'a Host<'_>) -> Values<'a> {
        Values {
            local: host.local,
            sender_domain: host.sender_domain,
            domain,
            client: host.client,
            hello: host.identity.hello,
            validated: self.0.as_deref().unwrap_or("unknown"),
            receiver: host.identity.receiver,
            now: host.identity.now,
        }
    }
}

/// Whether two addresses agree in their first bits.
fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let agrees = |one: u128, other: u128, width: u8| {
        let shift = width - bits.min(width);
        shift == 128 || (one ^ other) >> shift == 0
    };
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => agrees(one.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => agrees(Ipv6Addr::to_bits(one), other.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Whether a name is a domain or stands below it.
fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// What goes into a reason.
fn printable(name: &str) -> String {
    name.chars().take(100).map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }).collect()
}

#[cfg(test)]
mod tests;
