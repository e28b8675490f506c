//! Is a message from whom its From says that it is, and what does that domain ask for if it is not? (RFC 7489 §3.1, §6.6)
//!
//! **Promises.** A domain that SPF or DKIM vouch for counts when it is aligned with From's. What the DNS did not tell now, and could have vouched, makes the verdict
//! temporary and never a failure. A From that names several domains, or that is there twice, is read by nobody's favourite reader: nobody is its author.
//!
//! **Never** asks: what is not known is named (`mail::lookup`).
//!
//! **Bends.** Where organisations end is the Public Suffix List's word ([`suffix`], RFC 7489 §3.2). The walk up the DNS that DMARC's revision puts in its place would ask
//! for up to eight names of each message, and says the same of nearly every domain; the gate (`core::preflight`) judges by the same list, so what we promise of our own
//! mail is what we hold strangers to.
//!
//! **Does badly.** There are no reports yet.

use postrider_mail::dmarc::{Said, read};
use postrider_mail::lookup::{Answer, Known, Question};
use postrider_mail::records::DmarcPolicy as Policy;
use postrider_mail::{Fields, claims, mailboxes, suffix};
use postrider_smtp::Domain;

/// Whom a header says it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// One domain, in A-labels.
    Domain(String),
    /// No domain: no From, or an address without one.
    Nobody,
    /// Several From fields, several domains in one, or one that only some readers find.
    Several,
}

/// What is known of a domain that could vouch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voucher {
    /// It does.
    Passes,
    /// The DNS did not tell whether it does.
    Unknown,
}

/// Yes, no, or why not (RFC 7489 §11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The domain says nothing.
    None,
    /// The message is the domain's.
    Pass,
    /// It is not.
    Fail,
    /// The DNS did not tell now.
    TempError,
    /// There is no telling.
    PermError,
}

impl Outcome {
    /// Its word in Authentication-Results.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::None => "none",
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
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
    /// What is wrong, in our words.
    pub reason: Option<&'static str>,
    /// What the domain asks to be done with what is not its own, after `sp=` and `pct=`; `None` where it says nothing.
    pub policy: Option<Policy>,
}

/// Reads whom a header says it is from.
pub fn author(header: &[u8]) -> Author {
    let mut fields = Fields::of(header).filter(|field| field.is("From"));
    let Some(field) = fields.next() else { return Author::Nobody };
    if fields.next().is_some() {
        return Author::Several;
    }
    let mut domains: Vec<Option<String>> = mailboxes(field.value)
        .iter()
        .map(|mailbox| {
            let domain = mailbox.rsplit_once('@')?.1;
            Some(Domain::parse(domain).ok()?.to_ascii().into_owned())
        })
        .collect();
    domains.sort();
    domains.dedup();
    match &mut domains[..] {
        // A reader may show what no parser finds: the name of a group, a comment, a domain that is none.
        [] | [None] if claims::show_a_domain(field.value) => Author::Several,
        [] | [None] => Author::Nobody,
        [Some(domain)] => Author::Domain(std::mem::take(domain)),
        // A name without a domain beside one that has one may be what a reader shows.
        _ => Author::Several,
    }
}

/// Where the domain's record may stand: its own, and its organisation's.
pub fn questions(author: &Author) -> Vec<Question> {
    let Author::Domain(domain) = author else { return Vec::new() };
    let organisation = suffix::organisation(domain);
    let above = (organisation != domain).then_some(organisation);
    [Some(domain.as_str()), above].into_iter().flatten().map(question).collect()
}

fn question(domain: &str) -> Question {
    Question::Texts(format!("_dmarc.{domain}"))
}

/// Judges. `spf` is the domain that SPF is about, `dkim` those of signatures, all in A-labels, of those that pass or might. `dice` is a number below a hundred, for
/// domains that ask for a part.
///
/// # Errors
/// The question that nothing is known of.
pub fn judge(
    author: &Author,
    spf: Option<(&str, Voucher)>,
    dkim: &[(&str, Voucher)],
    known: &Known,
    dice: u8,
) -> Result<Verdict, Question> {
    let verdict = |outcome, reason| Verdict { outcome, reason, policy: None };
    let domain = match author {
        Author::Domain(domain) => domain,
        Author::Nobody => return Ok(verdict(Outcome::PermError, Some("From names no domain"))),
        Author::Several => return Ok(verdict(Outcome::PermError, Some("From names several domains"))),
    };
    let mut found = None;
    for place in questions(author) {
        let answer = known.get(&place).ok_or_else(|| place.clone())?;
        let said = match answer {
            Answer::Texts(texts) => read(texts),
            Answer::Failed => return Ok(verdict(Outcome::TempError, Some("the policy could not be looked up"))),
            Answer::Nothing | Answer::Addresses(_) | Answer::Names(_) => Said::Nothing,
        };
        match said {
            Said::Nothing => {}
            Said::Nonsense => return Ok(verdict(Outcome::PermError, Some("the policy is malformed"))),
            Said::Record(record) => {
                let is_own = place == question(domain);
                found = Some((record, if is_own { record.policy } else { record.subdomains }));
                break;
            }
        }
    }
    let Some((record, policy)) = found else { return Ok(verdict(Outcome::None, None)) };
    let spf = spf.filter(|(of, _)| is_aligned(of, domain, record.strict_spf));
    let dkim = dkim.iter().copied().filter(|(of, _)| is_aligned(of, domain, record.strict_dkim));
    let vouchers: Vec<Voucher> = spf.into_iter().chain(dkim).map(|(_, voucher)| voucher).collect();
    // RFC 7489 §6.6.4: what is not in the sample gets the next weaker treatment.
    let in_sample = dice < record.percent;
    let policy = Some(match policy {
        policy if in_sample => policy,
        Policy::Reject => Policy::Quarantine,
        Policy::Quarantine | Policy::None => Policy::None,
    });
    let (outcome, reason) = if vouchers.contains(&Voucher::Passes) {
        (Outcome::Pass, None)
    } else if vouchers.contains(&Voucher::Unknown) {
        (Outcome::TempError, Some("who might vouch could not be looked up"))
    } else {
        (Outcome::Fail, Some("nobody aligned vouches for it"))
    };
    Ok(Verdict { outcome, reason, policy })
}

/// RFC 7489 §3.1: the very same, or of the same organisation.
fn is_aligned(of: &str, domain: &str, strict: bool) -> bool {
    of == domain || (!strict && suffix::are_of_one(of, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors() {
        let one = |domain: &str| Author::Domain(domain.to_owned());
        for (header, expected) in [
            ("From: a@b.example\r\n", one("b.example")),
            ("from: \"evil@x.example\" (y@z.example) <A@B.Example>\r\n", one("b.example")),
            ("From: a@b.example, c@B.example\r\n", one("b.example")),
            ("From: a@b\u{fc}cher.example\r\n", one("xn--bcher-kva.example")),
            ("From: a@b.example, c@d.example\r\n", Author::Several),
            ("From: a@b.example\r\nFrom: a@b.example\r\n", Author::Several),
            ("From: root, a@b.example\r\n", Author::Several),
            ("From: MAILER-DAEMON (Mail Delivery System)\r\n", Author::Nobody),
            ("From: a@[192.0.2.1]\r\n", Author::Nobody),
            ("From: \r\n", Author::Nobody),
            ("From: <>\r\n", Author::Nobody),
            ("From: a@b.example: ;\r\n", Author::Several),
            ("From: \"a@b.example\" <>\r\n", Author::Several),
            ("From: (a@b.example)\r\n", Author::Several),
            ("From: =?utf-8?q?a=40b=2Eexample?= <x>\r\n", Author::Several),
            ("From: a@b..example\r\n", Author::Several),
            ("From: Dinner @ Home <x>\r\n", Author::Nobody),
            ("To: a@b.example\r\n", Author::Nobody),
        ] {
            assert_eq!(author(header.as_bytes()), expected, "{header:?}");
        }
    }

    #[test]
    fn alignment_policies_and_samples() {
        use Outcome::{Fail, None as Silent, Pass, PermError, TempError};
        use Policy::{Quarantine, Reject};
        use Voucher::{Passes, Unknown};
        let org = |record: &str| {
            let texts = || Answer::Texts(vec![record.as_bytes().to_vec()]);
            Known::from([(question("b.example"), texts()), (question("a.co.uk"), texts())])
        };
        let reject = "v=DMARC1; p=reject";
        for (from, spf, dkim, record, dice, outcome, policy) in [
            ("b.example", Some(("b.example", Passes)), None, reject, 0, Pass, Some(Reject)),
            ("b.example", Some(("bounce.b.example", Passes)), None, reject, 0, Pass, Some(Reject)),
            ("b.example", Some(("bounce.b.example", Passes)), None, "v=DMARC1; p=reject; aspf=s", 0, Fail, Some(Reject)),
            ("b.example", Some(("b.example", Passes)), None, "v=DMARC1; p=reject; aspf=s", 0, Pass, Some(Reject)),
            ("b.example", None, Some(("mail.b.example", Passes)), reject, 0, Pass, Some(Reject)),
            ("b.example", None, Some(("mail.b.example", Passes)), "v=DMARC1; p=reject; adkim=s", 0, Fail, Some(Reject)),
            ("mail.b.example", None, Some(("b.example", Passes)), reject, 0, Pass, Some(Reject)),
            ("mail.b.example", Some(("other.b.example", Passes)), None, reject, 0, Pass, Some(Reject)),
            ("a.co.uk", Some(("b.co.uk", Passes)), Some(("co.uk", Passes)), reject, 0, Fail, Some(Reject)),
            ("b.example", Some(("evilb.example", Passes)), Some(("example", Passes)), reject, 0, Fail, Some(Reject)),
            ("b.example", Some(("c.example", Passes)), Some(("d.example", Passes)), reject, 0, Fail, Some(Reject)),
            ("b.example", Some(("c.example", Unknown)), None, reject, 0, Fail, Some(Reject)),
            ("b.example", Some(("b.example", Unknown)), None, reject, 0, TempError, Some(Reject)),
            ("b.example", Some(("b.example", Unknown)), Some(("b.example", Passes)), reject, 0, Pass, Some(Reject)),
            ("x.b.example", None, None, "v=DMARC1; p=reject; sp=quarantine", 0, Fail, Some(Quarantine)),
            ("b.example", None, None, "v=DMARC1; p=reject; sp=quarantine", 0, Fail, Some(Reject)),
            ("b.example", None, None, "v=DMARC1; p=reject; pct=10", 9, Fail, Some(Reject)),
            ("b.example", None, None, "v=DMARC1; p=reject; pct=10", 10, Fail, Some(Quarantine)),
            ("b.example", None, None, "v=DMARC1; p=quarantine; pct=0", 0, Fail, Some(Policy::None)),
            ("b.example", None, None, "v=DMARC1; p=none", 0, Fail, Some(Policy::None)),
            ("b.example", None, None, "v=DMARC1; p=odd", 0, PermError, None),
            ("b.example", None, None, "v=spf1 -all", 0, Silent, None),
        ] {
            let mut known = org(record);
            known.entry(question("x.b.example")).or_insert(Answer::Nothing);
            known.entry(question("mail.b.example")).or_insert(Answer::Nothing);
            let dkim: Vec<_> = dkim.into_iter().collect();
            let verdict = judge(&Author::Domain(from.to_owned()), spf, &dkim, &known, dice).unwrap();
            assert_eq!((verdict.outcome, verdict.policy), (outcome, policy), "{from} {spf:?} {dkim:?} {record:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_asked_and_failures_are_temporary() {
        let from = Author::Domain("x.b.example".to_owned());
        assert_eq!(questions(&from), [question("x.b.example"), question("b.example")]);
        let mut known = Known::new();
        assert_eq!(judge(&from, None, &[], &known, 0), Err(question("x.b.example")));
        known.insert(question("x.b.example"), Answer::Nothing);
        assert_eq!(judge(&from, None, &[], &known, 0), Err(question("b.example")));
        known.insert(question("b.example"), Answer::Failed);
        assert_eq!(judge(&from, None, &[], &known, 0).unwrap().outcome, Outcome::TempError);
        for nobody in [Author::Nobody, Author::Several] {
            assert_eq!(questions(&nobody), []);
            assert_eq!(judge(&nobody, None, &[], &known, 0).unwrap().outcome, Outcome::PermError);
        }
    }
}
