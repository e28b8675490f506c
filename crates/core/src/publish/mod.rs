//! What a domain has to publish so that receivers trust its mail, and how what it publishes differs from that.
//!
//! **Promises.** [`wanted`] says every record, from the facts alone. [`check::domain`] and [`sources::source`] compare it with what the DNS serves: by meaning, not by letters,
//! with the remedy for each difference. A DNS that does not answer makes a finding unknown, never wrong. Work and questions are bounded, whatever the DNS serves
//! ([`asking::QUESTIONS_MAX`]).
//!
//! **Never** asks: a judge says which questions it has ([`asking::Asking`]), and is run again with the answers.
//!
//! **Does badly.** It does not know where one zone ends and the other begins: names are shown in full and relative to the domain. Who sends for the domain beside this
//! relay it cannot know, so the SPF record that it proposes ends in `~all`.

pub mod asking;
pub mod check;
mod check_policy;
pub mod drift;
pub mod print;
pub mod sources;
pub mod spf;

use std::net::IpAddr;

use postrider_model::policy::{ProxyProtocol, Source};
use postrider_smtp::Domain;

/// The label in front of a domain where its proof of ownership stands.
pub const PROOF_LABEL: &str = "_postrider";

/// What is known of a domain, and of the relay that sends for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Itself.
    pub domain: Domain,
    /// The keys that sign for it.
    pub keys: Vec<PublicKey>,
    /// Where its failures come back to us.
    pub return_path: Option<Domain>,
    /// The name of the relay: who takes the mail of the return path.
    pub relay: Domain,
    /// From where the relay sends.
    pub faces: Vec<Face>,
    /// What the record says that proves whose domain it is; `None` where nobody asks for a proof.
    pub proof: Option<Box<str>>,
}

/// A key, as its domain publishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its name in the DNS.
    pub selector: Box<str>,
    /// What its record says.
    pub record: Box<str>,
}

/// What receivers see of a Source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// How policy calls it.
    pub source: Box<str>,
    /// The address they see; else why it is not known here.
    pub address: Result<IpAddr, Hidden>,
    /// What it says in EHLO.
    pub hello: Box<str>,
}

/// Why the address is not known that receivers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// Policy names none: the system chooses.
    Unnamed,
    /// One that is not of the open Internet: another machine translates it, or there is none beyond this machine.
    Private(IpAddr),
    /// A proxy chooses.
    Proxied,
}

impl Face {
    /// A Source, from outside.
    pub fn of(source: &Source) -> Self {
        let through_socks = source.proxy.as_ref().is_some_and(|proxy| matches!(proxy.protocol, ProxyProtocol::Socks5(_)));
        let address = match source.address {
            _ if through_socks => Err(Hidden::Proxied),
            None => Err(Hidden::Unnamed),
            Some(address) if !is_of_the_internet(address) => Err(Hidden::Private(address)),
            Some(address) => Ok(address.to_canonical()),
        };
        Self { source: source.name.as_str().into(), address, hello: source.ehlo_name.as_str().into() }
    }

    /// The term of SPF that lets it send.
    fn term(&self) -> Option<String> {
        match (self.address, Domain::parse(&self.hello)) {
            (Ok(IpAddr::V4(address)), _) => Some(format!("ip4:{address}")),
            (Ok(IpAddr::V6(address)), _) => Some(format!("ip6:{address}")),
            // Its name has to lead to the address in any case.
            (Err(_), Ok(name)) => Some(format!("a:{}", name.to_ascii())),
            (Err(_), Err(_)) => None,
        }
    }
}

/// Whether strangers can see an address. Those of documentation count: they stand for such as can be seen.
pub fn is_of_the_internet(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_broadcast()
                || shared)
        }
        IpAddr::V6(address) => {
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local())
        }
    }
}

/// Which record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The proof of ownership.
    Proof,
    /// A key's, by its selector.
    Key(Box<str>),
    /// Who takes the mail of the return path.
    ReturnMx,
    /// Who may send with the return path.
    ReturnSpf,
    /// Who may send for the domain itself.
    Spf,
    /// What receivers are to do with mail that nobody vouches for.
    Dmarc,
    /// The names of a Source, by the name of the Source.
    Source(Box<str>),
}

impl What {
    /// One word for programs.
    pub fn word(&self) -> String {
        match self {
            What::Proof => "proof".to_owned(),
            What::Key(selector) => format!("key:{selector}"),
            What::ReturnMx => "return_path_mx".to_owned(),
            What::ReturnSpf => "return_path_spf".to_owned(),
            What::Spf => "spf".to_owned(),
            What::Dmarc => "dmarc".to_owned(),
            What::Source(name) => format!("source:{name}"),
        }
    }

    /// For people, with its reason.
    pub fn title(&self) -> String {
        match self {
            What::Proof => "Ownership: proves whose domain it is".to_owned(),
            What::Key(selector) => format!("DKIM key {selector}: receivers verify signatures with it"),
            What::ReturnMx => "Return path, MX: failures come back to the relay".to_owned(),
            What::ReturnSpf => "Return path, SPF: the relay may send with it".to_owned(),
            What::Spf => "SPF: the relay may send for the domain".to_owned(),
            What::Dmarc => "DMARC: what receivers do with mail that nobody vouches for".to_owned(),
            What::Source(name) => format!("Source {name}: its names in the DNS"),
        }
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// TXT.
    Text(String),
    /// MX.
    Mx(u16, Domain),
}

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub what: What,
    /// Where.
    pub name: Domain,
    /// What it says.
    pub data: Data,
}

/// The preference of the relay as mail exchanger of a return path: it is the only one.
const PREFERENCE: u16 = 10;

/// Every record that a domain needs. Where SPF and DMARC records are there already, [`check::domain`] says what to change in them.
pub fn wanted(facts: &Facts) -> Vec<Wanted> {
    let domain = &facts.domain;
    let mut records = Vec::new();
    let mut text = |what: What, name: Option<Domain>, text: String| {
        records.extend(name.map(|name| Wanted { what, name, data: Data::Text(text) }));
    };
    if let Some(proof) = &facts.proof {
        text(What::Proof, below(PROOF_LABEL, domain), proof.to_string());
    }
    for key in &facts.keys {
        text(What::Key(key.selector.clone()), key_name(&key.selector, domain), key.record.to_string());
    }
    if let Some(return_path) = &facts.return_path {
        text(What::ReturnSpf, Some(return_path.clone()), spf_record(&facts.faces, "-all"));
    }
    text(What::Spf, Some(domain.clone()), spf_record(&facts.faces, "~all"));
    text(What::Dmarc, below("_dmarc", domain), dmarc_record(domain));
    if let Some(return_path) = &facts.return_path {
        let data = Data::Mx(PREFERENCE, facts.relay.clone());
        let at = records.iter().position(|record| record.what == What::ReturnSpf).unwrap_or(records.len());
        records.insert(at, Wanted { what: What::ReturnMx, name: return_path.clone(), data });
    }
    records
}

/// A name below a domain; `None` where it would be too long for the DNS.
pub(crate) fn below(label: &str, domain: &Domain) -> Option<Domain> {
    Domain::parse(&format!("{label}.{}", domain.to_ascii())).ok()
}

/// Where the record of a key stands (RFC 6376 §3.6.2.1).
pub(crate) fn key_name(selector: &str, domain: &Domain) -> Option<Domain> {
    below(&format!("{selector}._domainkey"), domain)
}

/// The least that DMARC asks for, with reports to the domain's postmaster.
fn dmarc_record(domain: &Domain) -> String {
    format!("v=DMARC1; p=none; rua=mailto:postmaster@{}", domain.to_ascii())
}

/// The terms that let the relay send, each once.
fn spf_terms(faces: &[Face]) -> Vec<String> {
    let mut terms: Vec<String> = Vec::new();
    for term in faces.iter().filter_map(Face::term) {
        if !terms.contains(&term) {
            terms.push(term);
        }
    }
    terms
}

fn spf_record(faces: &[Face], end: &str) -> String {
    let words = ["v=spf1".to_owned()].into_iter().chain(spf_terms(faces)).chain([end.to_owned()]);
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
