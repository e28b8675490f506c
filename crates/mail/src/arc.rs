//! Chains of those who handed a message on and say what they saw (RFC 8617), verified.
//!
//! **Promises.** A chain passes when its form is right, its newest signature is over this message, and every seal is over the sets before it. What the DNS does
//! not tell now is [`Outcome::TempError`], and no failure. The work is bounded by the length of a chain and of the header.
//!
//! **Never** says whether who sealed is to be believed: that is policy's, and a chain of strangers proves nothing by itself.

use std::collections::BTreeMap;

use base64::Engine;

use crate::dkim::verify::{BASE64, Fault, Kind, MALFORMED, algorithm, is_name, key, key_question, own};
use crate::dkim::{self, Algorithm, Canonical, Claim, Hashed, Rows, relaxed};
use crate::header::{Field, Fields};
use crate::lookup::{Known, Question};
use crate::records::Tags;
use crate::records::tags::unfolded;

/// Sets of one chain (RFC 8617 §4.2.1).
const SETS_MAX: usize = 50;

/// Octets of all fields of one chain. Each seal is over all sets before it, so a chain of a megabyte would be fifty to hash; real sets have two thousand.
const OCTETS_MAX: usize = 256 * 1024;

/// What a chain is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// There is none.
    None,
    /// It is whole.
    Pass,
    /// It is not.
    Fail,
    /// The DNS did not tell all keys now.
    TempError,
}

impl Outcome {
    /// Its word in Authentication-Results. RFC 8617 has none for the last; readers take what they do not know for `none` (RFC 8601 §2.7.7).
    pub fn word(self) -> &'static str {
        match self {
            Outcome::None => "none",
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::TempError => "temperror",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Yes, no, or why not.
    pub outcome: Outcome,
    /// What is wrong, in our words.
    pub reason: Option<&'static str>,
    /// How many sets it has.
    pub sets: usize,
    /// Who sealed last; a name, in lower case.
    pub sealer: Option<String>,
}

/// A chain as it stands in a header.
#[derive(Debug, Clone, Default)]
pub struct Chain<'a> {
    sets: Vec<Set<'a>>,
    broken: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Set<'a> {
    results: Field<'a>,
    message: Field<'a>,
    seal: Field<'a>,
    terms: Seal,
}

#[derive(Debug, Clone)]
struct Seal {
    algorithm: Result<Algorithm, Fault>,
    signature: Vec<u8>,
    domain: String,
    selector: String,
}

/// Fields of one number.
#[derive(Default)]
struct Found<'a> {
    results: Vec<Field<'a>>,
    message: Vec<Field<'a>>,
    seal: Vec<Field<'a>>,
}

impl<'a> Chain<'a> {
    /// Reads the chain of a header.
    pub fn of(header: &'a [u8]) -> Self {
        let mut found: BTreeMap<usize, Found<'a>> = BTreeMap::new();
        let mut octets = 0;
        for field in Fields::of(header) {
            let is_results = field.is("ARC-Authentication-Results");
            let (is_message, is_seal) = (field.is("ARC-Message-Signature"), field.is("ARC-Seal"));
            if !is_results && !is_message && !is_seal {
                continue;
            }
            octets += field.whole.len();
            if octets > OCTETS_MAX {
                return Self::broken("the chain is too long");
            }
            let Some(number) = number(&field, is_results) else { return Self::broken("a number is missing") };
            let set = found.entry(number).or_default();
            let row = if is_results {
                &mut set.results
            } else if is_message {
                &mut set.message
            } else {
                &mut set.seal
            };
            row.push(field);
        }
        let mut chain = Self::default();
        for (place, (number, set)) in found.into_iter().enumerate() {
            let ([results], [message], [seal]) = (&set.results[..], &set.message[..], &set.seal[..]) else {
                return Self::broken("a set is not whole");
            };
            if number != place + 1 {
                return Self::broken("a set is missing");
            }
            match Seal::read(seal, number) {
                Ok(terms) => chain.sets.push(Set { results: *results, message: *message, seal: *seal, terms }),
                Err(why) => return Self { broken: Some(why), ..chain },
            }
        }
        chain
    }

    fn broken(why: &'static str) -> Self {
        Self { sets: Vec::new(), broken: Some(why) }
    }

    /// The signature over the message that counts, the newest.
    pub fn claim(&self) -> Option<Claim> {
        let set = self.sets.last().filter(|_| self.broken.is_none())?;
        Some(Claim::read(set.message.value, Kind::ArcMessage))
    }

    /// Where all its keys stand.
    pub fn questions(&self) -> Vec<Question> {
        if self.broken.is_some() {
            return Vec::new();
        }
        let seals = self.sets.iter().filter_map(|set| key_question(&set.terms.selector, &set.terms.domain));
        self.claim().and_then(|claim| claim.question()).into_iter().chain(seals).collect()
    }

    /// Judges it (RFC 8617 §5.2).
    ///
    /// # Errors
    /// The question that nothing is known of.
    pub fn judge(&self, header: &Rows<'_>, hashes: &Hashed, known: &Known, now: u64) -> Result<Verdict, Question> {
        let sealer = self.sets.last().map(|set| set.terms.domain.clone());
        let verdict = |outcome, reason| Verdict { outcome, reason, sets: self.sets.len(), sealer: sealer.clone() };
        if let Some(why) = self.broken {
            return Ok(verdict(Outcome::Fail, Some(why)));
        }
        let (Some(claim), Some(last)) = (self.claim(), self.sets.last()) else { return Ok(verdict(Outcome::None, None)) };
        let message = claim.judge(&last.message, header, hashes, known, now)?;
        match message.outcome {
            dkim::Outcome::Pass => {}
            dkim::Outcome::TempError => return Ok(verdict(Outcome::TempError, message.reason)),
            dkim::Outcome::Fail | dkim::Outcome::Policy | dkim::Outcome::Neutral | dkim::Outcome::PermError => {
                return Ok(verdict(Outcome::Fail, message.reason));
            }
        }
        for place in (0..self.sets.len()).rev() {
            match self.seal(place, known)? {
                Ok(()) => {}
                Err(Fault(dkim::Outcome::TempError, why)) => return Ok(verdict(Outcome::TempError, Some(why))),
                Err(Fault(_, why)) => return Ok(verdict(Outcome::Fail, Some(why))),
            }
        }
        Ok(verdict(Outcome::Pass, None))
    }

    /// Whether a seal is over the sets up to its own (RFC 8617 §5.1.1).
    fn seal(&self, place: usize, known: &Known) -> Result<Result<(), Fault>, Question> {
        let Seal { algorithm, signature, domain, selector } = &self.sets[place].terms;
        let algorithm = match algorithm {
            Ok(algorithm) => *algorithm,
            Err(fault) => return Ok(Err(*fault)),
        };
        let key = match key(selector, domain, known)? {
            Ok(key) => key,
            Err(fault) => return Ok(Err(fault)),
        };
        let mut sealed = Vec::with_capacity(4096);
        for (nth, set) in self.sets[..=place].iter().enumerate() {
            for field in [&set.results, &set.message] {
                relaxed(field.name, field.value, &mut sealed);
                sealed.extend_from_slice(b"\r\n");
            }
            if nth < place {
                relaxed(set.seal.name, set.seal.value, &mut sealed);
                sealed.extend_from_slice(b"\r\n");
            } else if own(&set.seal, Canonical::Relaxed, &mut sealed).is_none() {
                return Ok(Err(MALFORMED));
            }
        }
        Ok(key.verify(algorithm, &sealed, signature).map_err(|Fault(outcome, _)| Fault(outcome, "a seal is not over its sets")))
    }
}

impl Seal {
    fn read(field: &Field<'_>, number: usize) -> Result<Self, &'static str> {
        let tags = Tags::parse(field.value).map_err(|_| "a seal is malformed")?;
        let name = |tag| tags.get(tag).map(str::to_lowercase).filter(|name| is_name(name)).ok_or("a seal is malformed");
        // RFC 8617 §4.1.3: no list of fields, since all of the sets are sealed.
        if tags.get("h").is_some() {
            return Err("a seal is malformed");
        }
        match (tags.get("cv").map(str::to_ascii_lowercase).as_deref(), number) {
            (Some("none"), 1) | (Some("pass"), 2..) => {}
            (Some("fail"), _) => return Err("who sealed says that it was broken"),
            (_, _) => return Err("a seal is malformed"),
        }
        let signature = tags.get("b").and_then(|signature| BASE64.decode(unfolded(signature)).ok()).ok_or("a seal is malformed")?;
        Ok(Self { algorithm: algorithm(tags.get("a").unwrap_or_default()), signature, domain: name("d")?, selector: name("s")? })
    }
}

/// The number of the set that a field belongs to.
fn number(field: &Field<'_>, is_results: bool) -> Option<usize> {
    let value = if is_results {
        let text = std::str::from_utf8(field.value).ok()?;
        let (name, value) = text.split_once(';')?.0.split_once('=')?;
        (name.trim_ascii() == "i").then(|| value.trim_ascii())?
    } else {
        Tags::parse(field.value).ok()?.get("i")?
    };
    value.parse().ok().filter(|number| (1..=SETS_MAX).contains(number))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::dkim::{BodyHash, BodyHashes, SigningKey};
    use crate::lookup::Answer;

    const FROM: &str = "From: a@b.example\r\n";
    const BODY: &str = "Hello\r\n";

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate(Algorithm::Ed25519Sha256).unwrap()).unwrap()
    }

    fn sign(key: &SigningKey, before: &[String], field: &str) -> String {
        let mut octets = Vec::new();
        for field in before {
            let field = Fields::of(field.as_bytes()).next().unwrap();
            relaxed(field.name, field.value, &mut octets);
            octets.extend_from_slice(b"\r\n");
        }
        let own = Fields::of(field.as_bytes()).next().unwrap();
        relaxed(own.name, own.value, &mut octets);
        format!("{field}{}\r\n", STANDARD.encode(key.sign(&octets).unwrap()))
    }

    /// A header with so many sets, each by `sN.example`, whose seals say `cv` where the usual word stands.
    fn sealed(sets: usize, key: &SigningKey, cv: &dyn Fn(usize) -> &'static str) -> String {
        let mut hash = BodyHash::new();
        hash.feed(BODY.as_bytes());
        let hash = STANDARD.encode(hash.finish());
        let (mut chain, mut header) = (Vec::new(), FROM.to_owned());
        for number in 1..=sets {
            let terms = format!("i={number}; a=ed25519-sha256; d=s{number}.example; s=s;");
            let results = format!("ARC-Authentication-Results: i={number}; s{number}.example; spf=pass\r\n");
            let message = format!("ARC-Message-Signature: {terms} c=relaxed/relaxed; h=from; bh={hash}; b=");
            let message = sign(key, &[FROM.to_owned()], &message);
            chain.extend([results.clone(), message.clone()]);
            let seal = sign(key, &chain, &format!("ARC-Seal: {terms} cv={}; b=", cv(number)));
            chain.push(seal.clone());
            header = format!("{seal}{message}{results}{header}");
        }
        header
    }

    fn usual(number: usize) -> &'static str {
        if number == 1 { "none" } else { "pass" }
    }

    fn judge(header: &str, body: &str, answer: &Answer) -> Verdict {
        let chain = Chain::of(header.as_bytes());
        let claim = chain.claim();
        let mut hashes = BodyHashes::needed(&claim);
        hashes.feed(body.as_bytes());
        let known: Known = chain.questions().into_iter().map(|question| (question, answer.clone())).collect();
        chain.judge(&Rows::of(header.as_bytes()), &hashes.finish(), &known, 1).expect("all questions were announced")
    }

    #[test]
    fn chains() {
        let key = key();
        let found = Answer::Texts(vec![key.record().into_bytes()]);
        let good = sealed(3, &key, &usual);
        let verdict = judge(&good, BODY, &found);
        assert_eq!((verdict.outcome, verdict.sets, verdict.sealer.as_deref()), (Outcome::Pass, 3, Some("s3.example")), "{good}");
        assert_eq!(judge(&sealed(50, &key, &usual), BODY, &found).outcome, Outcome::Pass);
        let cut = |from: &str| {
            let at = good.find(from).unwrap();
            let end = at + good[at..].find("\r\n").unwrap() + 2;
            format!("{}{}", &good[..at], &good[end..])
        };
        for (header, body, outcome, why) in [
            (FROM.to_owned(), BODY, Outcome::None, None),
            (good.clone(), "Hello \r\n\r\n", Outcome::Pass, None),
            (good.clone(), "Hullo\r\n", Outcome::Fail, Some("the body is another one")),
            (good.replace("From: a", "From: e"), BODY, Outcome::Fail, Some("the signature is not over this header")),
            (
                good.replace("i=2; s2.example; spf=pass", "i=2; s2.example; spf=fail"),
                BODY,
                Outcome::Fail,
                Some("a seal is not over its sets"),
            ),
            (cut("ARC-Seal: i=2"), BODY, Outcome::Fail, Some("a set is not whole")),
            (cut("ARC-Authentication-Results: i=1"), BODY, Outcome::Fail, Some("a set is not whole")),
            (format!("ARC-Seal: i=1; cv=none\r\n{good}"), BODY, Outcome::Fail, Some("a set is not whole")),
            (format!("ARC-Seal: cv=none\r\n{good}"), BODY, Outcome::Fail, Some("a number is missing")),
            (format!("ARC-Authentication-Results: i=51; x\r\n{good}"), BODY, Outcome::Fail, Some("a number is missing")),
            (format!("ARC-Seal: i=1; x={}\r\n{good}", "y".repeat(300_000)), BODY, Outcome::Fail, Some("the chain is too long")),
            (sealed(51, &key, &usual), BODY, Outcome::Fail, Some("a number is missing")),
            (good.replace("i=3", "i=4"), BODY, Outcome::Fail, Some("a set is missing")),
            (sealed(2, &key, &|_| "none"), BODY, Outcome::Fail, Some("a seal is malformed")),
            (sealed(1, &key, &|_| "pass"), BODY, Outcome::Fail, Some("a seal is malformed")),
            (
                sealed(2, &key, &|number| if number == 2 { "fail" } else { "none" }),
                BODY,
                Outcome::Fail,
                Some("who sealed says that it was broken"),
            ),
        ] {
            let verdict = judge(&header, body, &found);
            assert_eq!((verdict.outcome, verdict.reason), (outcome, why), "{header}");
        }
        assert_eq!(judge(&good, BODY, &Answer::Failed).outcome, Outcome::TempError);
        assert_eq!(judge(&good, BODY, &Answer::Nothing).outcome, Outcome::Fail);
    }
}
