//! Signatures of others, verified (RFC 6376 §6, RFC 8301, RFC 8463).
//!
//! The header is read first ([`Claim`]), so that it is known which hashes of the body are needed; the body goes by ([`BodyHashes`]); then each claim is judged by what
//! is known of the DNS ([`Claim::judge`]).

use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::body::{BodyHash, Canonical};
use super::record::PublicKey;
use super::{Algorithm, relaxed};
use crate::header::{Field, Fields};
use crate::lookup::{Answer, Known, Question, ask};
use crate::records::Tags;
use crate::records::tags::unfolded;

/// Signatures of one message that are tried; the first ones. Real mail has four, and a hundred would be a way to keep us busy.
pub const SIGNATURES_MAX: usize = 10;

/// Octets of a signature's field that are read.
const FIELD_OCTETS_MAX: usize = 16 * 1024;

/// Base64 as others write it.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// What a signature is worth (RFC 8601 §2.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is the domain's, over this message.
    Pass,
    /// It is not.
    Fail,
    /// It would be, and is not good enough.
    Policy,
    /// It could not be read, or means nothing.
    Neutral,
    /// The DNS did not tell its key now.
    TempError,
    /// It can never be verified as it is.
    PermError,
}

impl Outcome {
    /// Its word in Authentication-Results.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Policy => "policy",
            Outcome::Neutral => "neutral",
            Outcome::TempError => "temperror",
            Outcome::PermError => "permerror",
        }
    }
}

/// What is wrong, and what that makes of the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) Outcome, pub(crate) &'static str);

/// What came of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Yes, no, or why not.
    pub outcome: Outcome,
    /// What is wrong, in our words.
    pub reason: Option<&'static str>,
    /// `d=`, as far as it could be read; a name, in lower case.
    pub domain: Option<String>,
    /// `s=`, likewise.
    pub selector: Option<String>,
    /// The first eight letters of `b=`, which tell signatures of one domain apart (RFC 6008).
    pub beginning: Option<String>,
}

/// Which field a claim stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// DKIM-Signature.
    Signature,
    /// ARC-Message-Signature, whose `i=` is a number (RFC 8617 §4.1.2).
    ArcMessage,
}

/// A signature as it stands in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    domain: Option<String>,
    selector: Option<String>,
    beginning: Option<String>,
    terms: Result<Terms, Fault>,
}

/// What a well-formed one says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    algorithm: Algorithm,
    signature: Vec<u8>,
    body_hash: Vec<u8>,
    header: Canonical,
    body: Canonical,
    length: Option<u64>,
    names: Vec<String>,
    agent: Option<String>,
    expires: Option<u64>,
}

/// The signatures of a header, the first [`SIGNATURES_MAX`] of them, and how many there are in all.
pub fn claims(header: &[u8]) -> (Vec<(Claim, Field<'_>)>, usize) {
    let fields = Fields::of(header).filter(|field| field.is("DKIM-Signature"));
    let count = fields.clone().count();
    (fields.take(SIGNATURES_MAX).map(|field| (Claim::read(field.value, Kind::Signature), field)).collect(), count)
}

impl Claim {
    /// Reads the value of a field.
    pub(crate) fn read(value: &[u8], kind: Kind) -> Self {
        let mut claim = Self { domain: None, selector: None, beginning: None, terms: Err(MALFORMED) };
        let Some(tags) = Tags::parse(value).ok().filter(|_| value.len() <= FIELD_OCTETS_MAX) else { return claim };
        let name = |tag| tags.get(tag).map(str::to_lowercase).filter(|name| is_name(name));
        (claim.domain, claim.selector) = (name("d"), name("s"));
        let beginning = tags.get("b").map(unfolded).filter(|signature| signature.bytes().all(is_base64));
        claim.beginning = beginning.map(|signature| signature.chars().take(8).collect());
        claim.terms = Terms::read(&tags, kind);
        if claim.terms.is_ok() && (claim.domain.is_none() || claim.selector.is_none()) {
            claim.terms = Err(MALFORMED);
        }
        claim
    }

    /// Where its key stands; nothing where it is not worth a look-up.
    pub fn question(&self) -> Option<Question> {
        self.terms.as_ref().ok()?;
        key_question(self.selector.as_deref()?, self.domain.as_deref()?)
    }

    /// Judges it by the header that its field stands in, by what the body was hashed to, and by what is known.
    ///
    /// # Errors
    /// The question that nothing is known of.
    pub fn judge(&self, field: &Field<'_>, header: &Rows<'_>, hashes: &Hashed, known: &Known, now: u64) -> Result<Verdict, Question> {
        let fault = match &self.terms {
            Ok(terms) => self.fault(terms, field, header, hashes, known, now)?,
            Err(fault) => Some(*fault),
        };
        let (outcome, reason) = fault.map_or((Outcome::Pass, None), |Fault(outcome, why)| (outcome, Some(why)));
        Ok(Verdict { outcome, reason, domain: self.domain.clone(), selector: self.selector.clone(), beginning: self.beginning.clone() })
    }

    fn fault(
        &self,
        terms: &Terms,
        field: &Field<'_>,
        header: &Rows<'_>,
        hashes: &Hashed,
        known: &Known,
        now: u64,
    ) -> Result<Option<Fault>, Question> {
        let (Some(domain), Some(selector)) = (&self.domain, &self.selector) else { return Ok(Some(MALFORMED)) };
        let key = match key(selector, domain, known)? {
            Ok(key) => key,
            Err(fault) => return Ok(Some(fault)),
        };
        let judged = terms.judge(domain, &key, field, header, hashes, now);
        // RFC 6376 §3.6.1: what is only being tested is as good as unsigned when it fails.
        Ok(judged.err().map(|fault| if key.is_tested { Fault(Outcome::Neutral, fault.1) } else { fault }))
    }

    /// Which hash of the body it needs.
    fn needs(&self) -> Option<Need> {
        self.terms.as_ref().ok().map(|terms| (terms.body, terms.length))
    }
}

impl Terms {
    fn read(tags: &Tags<'_>, kind: Kind) -> Result<Self, Fault> {
        let needed = |tag| tags.get(tag).filter(|value| !value.is_empty()).ok_or(MALFORMED);
        if kind == Kind::Signature && needed("v")? != "1" {
            return Err(Fault(Outcome::Neutral, "the version is unknown"));
        }
        let algorithm = algorithm(needed("a")?)?;
        let (header, body) = match tags.get("c").unwrap_or("simple/simple").split_once('/') {
            Some((header, body)) => (canonical(header)?, canonical(body)?),
            None => (canonical(tags.get("c").unwrap_or_default())?, Canonical::Simple),
        };
        let names: Vec<String> = needed("h")?.split(':').map(|name| name.trim_ascii().to_ascii_lowercase()).collect();
        if !names.iter().any(|name| name == "from") {
            return Err(Fault(Outcome::PermError, "From is not signed"));
        }
        if kind == Kind::ArcMessage && names.iter().any(|name| name == "arc-seal") {
            return Err(Fault(Outcome::PermError, "it signs a seal"));
        }
        let number = |tag| match tags.get(tag).map(str::parse::<u64>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(MALFORMED),
        };
        let (signed, expires) = (number("t")?, number("x")?);
        if expires.is_some_and(|expires| signed.is_some_and(|signed| expires <= signed)) {
            return Err(MALFORMED);
        }
        let methods = tags.get("q").unwrap_or("dns/txt");
        if !methods.split(':').any(|method| method.trim_ascii() == "dns/txt") {
            return Err(Fault(Outcome::Neutral, "the key stands where nobody looks"));
        }
        let decoded = |tag| BASE64.decode(unfolded(needed(tag)?)).map_err(|_| MALFORMED);
        Ok(Self {
            algorithm,
            signature: decoded("b")?,
            body_hash: decoded("bh")?,
            header,
            body,
            length: number("l")?,
            names,
            agent: tags.get("i").filter(|_| kind == Kind::Signature).map(str::to_lowercase),
            expires,
        })
    }

    fn judge(&self, domain: &str, key: &PublicKey, field: &Field<'_>, header: &Rows<'_>, hashes: &Hashed, now: u64) -> Result<(), Fault> {
        let agent = self.agent.as_deref().map_or(Some(domain), |agent| agent.rsplit_once('@').map(|(_, host)| host));
        let agrees = agent.is_some_and(|agent| {
            agent == domain || (!key.is_strict && agent.strip_suffix(domain).is_some_and(|before| before.ends_with('.')))
        });
        if !agrees {
            return Err(Fault(Outcome::PermError, "i= is not within d="));
        }
        let Some((hash, octets)) = hashes.0.get(&(self.body, self.length)) else { return Err(MALFORMED) };
        if self.length.is_some_and(|length| length > *octets) || hash[..] != self.body_hash[..] {
            return Err(Fault(Outcome::Fail, "the body is another one"));
        }
        let mut signed = header.canonical(&self.names, self.header);
        own(field, self.header, &mut signed).ok_or(MALFORMED)?;
        key.verify(self.algorithm, &signed, &self.signature)?;
        if self.expires.is_some_and(|expires| expires < now) {
            return Err(Fault(Outcome::Policy, "it is past its date"));
        }
        // RFC 6376 §8.2: behind what is signed, anybody can put anything.
        if self.length.is_some_and(|length| length < *octets) {
            return Err(Fault(Outcome::Policy, "a part of the body is not signed"));
        }
        Ok(())
    }
}

pub(crate) const MALFORMED: Fault = Fault(Outcome::Neutral, "it is malformed");

/// How a signature was made. SHA-1 proves nothing (RFC 8301 §3.1).
pub(crate) fn algorithm(word: &str) -> Result<Algorithm, Fault> {
    match word.to_ascii_lowercase().as_str() {
        "rsa-sha256" => Ok(Algorithm::RsaSha256),
        "ed25519-sha256" => Ok(Algorithm::Ed25519Sha256),
        "rsa-sha1" => Err(Fault(Outcome::Policy, "it was made with SHA-1")),
        _ => Err(Fault(Outcome::Neutral, "the algorithm is unknown")),
    }
}

fn canonical(word: &str) -> Result<Canonical, Fault> {
    match word.trim_ascii().to_ascii_lowercase().as_str() {
        "simple" => Ok(Canonical::Simple),
        "relaxed" => Ok(Canonical::Relaxed),
        _ => Err(MALFORMED),
    }
}

/// Where a key stands.
pub(crate) fn key_question(selector: &str, domain: &str) -> Option<Question> {
    let name = format!("{selector}._domainkey.{domain}");
    is_name(&name).then_some(Question::Texts(name))
}

/// The key of a domain's selector, or what is wrong with it.
pub(crate) fn key(selector: &str, domain: &str, known: &Known) -> Result<Result<PublicKey, Fault>, Question> {
    let Some(question) = key_question(selector, domain) else { return Ok(Err(MALFORMED)) };
    Ok(match ask(known, question)? {
        Answer::Texts(texts) => PublicKey::among(texts),
        Answer::Failed => Err(Fault(Outcome::TempError, "the key could not be looked up")),
        Answer::Nothing | Answer::Addresses(_) | Answer::Names(_) => Err(Fault(Outcome::PermError, "there is no such key")),
    })
}

/// Letters that a name may have, so that it can stand in a field of ours.
pub(crate) fn is_name(name: &str) -> bool {
    let good = |letter: char| {
        letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_') || (!letter.is_ascii() && letter.is_alphanumeric())
    };
    crate::lookup::is_possible(name) && name.chars().all(good)
}

pub(crate) fn is_base64(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
}

/// The fields of a header by name, so that what is signed is found in one pass, however many there are.
#[derive(Debug, Clone, Default)]
pub struct Rows<'a>(BTreeMap<Vec<u8>, Vec<Field<'a>>>);

impl<'a> Rows<'a> {
    /// Reads a header.
    pub fn of(header: &'a [u8]) -> Self {
        let mut rows: BTreeMap<Vec<u8>, Vec<Field<'a>>> = BTreeMap::new();
        for field in Fields::of(header) {
            rows.entry(field.name.to_ascii_lowercase()).or_default().push(field);
        }
        Self(rows)
    }

    /// The named fields, the last of equal names first; who is not there is left out (RFC 6376 §5.4.2).
    pub(super) fn canonical(&self, names: &[String], form: Canonical) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        let mut used: BTreeMap<&str, usize> = BTreeMap::new();
        for name in names {
            let again = used.entry(name).or_default();
            *again += 1;
            let row = self.0.get(name.as_bytes()).map_or(&[][..], Vec::as_slice);
            let Some(field) = row.len().checked_sub(*again).and_then(|at| row.get(at)) else { continue };
            write(field, form, &mut out);
            out.extend_from_slice(b"\r\n");
        }
        out
    }
}

/// A field in either form, without its line end.
fn write(field: &Field<'_>, form: Canonical, out: &mut Vec<u8>) {
    match form {
        Canonical::Relaxed => relaxed(field.name, field.value, out),
        Canonical::Simple => {
            let whole = field.whole;
            out.extend_from_slice(whole.strip_suffix(b"\r\n").or(whole.strip_suffix(b"\n")).unwrap_or(whole));
        }
    }
}

/// A signature's own field, as if its `b=` were empty.
pub(crate) fn own(field: &Field<'_>, form: Canonical, out: &mut Vec<u8>) -> Option<()> {
    let span = Tags::parse(field.value).ok()?.span("b")?;
    let value = [&field.value[..span.start], &field.value[span.end..]].concat();
    match form {
        Canonical::Relaxed => relaxed(field.name, &value, out),
        Canonical::Simple => {
            let before = field.whole.len() - field.value.len();
            let line_end = if field.whole.ends_with(b"\r\n") { 2 } else { usize::from(field.whole.ends_with(b"\n")) };
            out.extend_from_slice(&field.whole[..before - line_end]);
            out.extend_from_slice(&value);
        }
    }
    Some(())
}

/// How a body is to be hashed.
type Need = (Canonical, Option<u64>);

/// A body on its way into every hash that some claim needs.
#[derive(Debug, Clone, Default)]
pub struct BodyHashes(BTreeMap<Need, BodyHash>);

/// What a body was hashed to, and how many octets its canonical form has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashed(BTreeMap<Need, ([u8; 32], u64)>);

impl BodyHashes {
    /// The hashes that these claims need, each once.
    pub fn needed<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> Self {
        let needs = claims.into_iter().filter_map(Claim::needs);
        Self(needs.map(|need| (need, BodyHash::of(need.0, need.1))).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next octets of the body.
    pub fn feed(&mut self, octets: &[u8]) {
        self.0.values_mut().for_each(|hash| hash.feed(octets));
    }

    /// The body is at its end.
    pub fn finish(self) -> Hashed {
        Hashed(self.0.into_iter().map(|(need, hash)| (need, hash.finish_counted())).collect())
    }
}
