//! Mail of strangers, verified: SPF, DKIM, ARC and DMARC, and what was found out written in front of it.
//!
//! **Promises.** A field that claims to be ours is taken out before ours is put in (RFC 8601 §5), so what stands in the stored content is true. A body of any size is
//! hashed as it is read, and never held. All look-ups of one message have one time limit; what is not known then is a temporary failure.
//!
//! **Never** decides: `core::dmarc` and `core::verdict` do.

use std::collections::BTreeSet;

use postrider_core::dmarc::{self, Author, Voucher};
use postrider_core::verdict::{self, Consequence, Sender, Verdicts};
use postrider_mail::edit::Turn;
use postrider_mail::lookup::{Answer, Known, Question};
use postrider_mail::{arc, dkim, results, spf};
use postrider_model::doors::{Judged, Judgement, Spool, SpoolTrouble};
use postrider_model::policy::Verifying;
use postrider_model::{MessageId, Timestamp};
use postrider_smtp::{Domain, Host, ReversePath};
use tokio::time::Instant;

use super::asking::Asker;
use super::draft::Draft;
use super::{Judges, Word};

/// Who says it in the log.
const JUDGE: &str = "verify";

impl Judges {
    /// Verifies a draft, and tells in it what was found out. What comes back to a return path of ours is refused by nobody's policy: its token was ours, servers send their
    /// reports from where they like, and who reads them has our word on each.
    pub(super) async fn verify(
        &mut self,
        verifying: &Verifying,
        id: MessageId,
        draft: &mut Draft,
        returned: bool,
    ) -> Result<Word, SpoolTrouble> {
        let Some(address) = self.address else { return Ok(Word::Go) };
        let client = address.ip().to_canonical();
        let (sender, mail_from) = sender(&self.said, &self.hello);
        let now = self.doors.clock.now();
        let identity = spf::Identity {
            client,
            hello: &self.hello,
            mail_from: &mail_from,
            receiver: &self.snapshot.host_name,
            now: now.seconds(),
            explain: false,
        };
        let mut header = Vec::with_capacity(draft.header.octets());
        draft.header.write(true, &mut header);
        let signed = Signed::of(&header);
        let spool = self.doors.spool.clone();
        let asker = Asker::new(self.doors.resolver.clone(), self.watch.clone(), Instant::now() + verifying.timeout);
        let author = dmarc::author(&header);
        let (hashes, spf, keys, policies) = tokio::join!(
            hashes(&*spool, &signed, draft),
            asker.spf(&identity),
            asker.all(signed.questions()),
            asker.all(dmarc::questions(&author))
        );
        let hashes = hashes?;
        let (dkim, arc) = signed.judge(&header, &hashes, &keys, now);
        let dice = u8::try_from(self.doors.entropy.below(100)).unwrap_or(0);
        let dmarc = judge_dmarc(&author, &mail_from, &self.hello, &spf, &dkim, &policies, dice);
        let verdicts = Verdicts { spf, sender, untried: signed.count - dkim.len(), dkim, arc, dmarc, author };
        let consequence = verdict::consequence(&verdicts, verifying.enforces && !returned);
        let judgement = match &consequence {
            Consequence::Take => Judgement::Verified,
            Consequence::TakeWarily => Judgement::Warned,
            Consequence::Refuse(reply) if reply.is_permanent() => Judgement::Rejected,
            Consequence::Refuse(_) => Judgement::TempFailed,
        };
        let text = verdict::summary(&verdicts);
        self.doors.log.judged(&Judged { judge: JUDGE, judgement, peer: Some(client), message: Some(id), text: &text });
        if let Consequence::Refuse(refusal) = consequence {
            return Ok(Word::Refuse(refusal));
        }
        let host = self.snapshot.host_name.clone();
        draft.header.turn(|_, field| if results::claims_to_be_from(&field, &host) { Turn::Remove } else { Turn::Keep });
        let mut told = Vec::new();
        results::write(&host, &verdict::findings(&verdicts, &client.to_string()), &mut told);
        draft.header.prepend(&told);
        Ok(Word::Go)
    }
}

/// What signatures need to know of the body.
async fn hashes(spool: &dyn Spool, signed: &Signed<'_>, draft: &Draft) -> Result<dkim::Hashed, SpoolTrouble> {
    let mut hashes = dkim::BodyHashes::needed(signed.claims.iter().map(|(claim, _)| claim).chain(&signed.newest));
    if !hashes.is_empty() {
        let mut body = draft.body(spool).await?;
        while let Some(octets) = body.next().await? {
            hashes.feed(&octets);
        }
    }
    Ok(hashes.finish())
}

/// What a header has of signatures.
struct Signed<'a> {
    claims: Vec<(dkim::Claim, postrider_mail::Field<'a>)>,
    /// With those that are not tried.
    count: usize,
    chain: arc::Chain<'a>,
    newest: Option<dkim::Claim>,
}

impl<'a> Signed<'a> {
    fn of(header: &'a [u8]) -> Self {
        let (claims, count) = dkim::claims(header);
        let chain = arc::Chain::of(header);
        Self { claims, count, newest: chain.claim(), chain }
    }

    /// Where the keys stand, each once, those of DKIM first.
    fn questions(&self) -> Vec<Question> {
        let mut seen = BTreeSet::new();
        let all = self.claims.iter().filter_map(|(claim, _)| claim.question()).chain(self.chain.questions());
        all.filter(|question| seen.insert(question.clone())).collect()
    }

    fn judge(&self, header: &[u8], hashes: &dkim::Hashed, keys: &Known, now: Timestamp) -> (Vec<dkim::Verdict>, arc::Verdict) {
        let rows = dkim::Rows::of(header);
        // What was not asked, because there were too many, is not known now.
        let mut keys = keys.clone();
        for question in self.questions() {
            keys.entry(question).or_insert(Answer::Failed);
        }
        let judged = self.claims.iter().map(|(claim, field)| claim.judge(field, &rows, hashes, &keys, now.seconds()));
        let dkim = judged.map(|verdict| verdict.expect("every question of a claim was put in")).collect();
        let arc = self.chain.judge(&rows, hashes, &keys, now.seconds()).expect("every question of a chain was put in");
        (dkim, arc)
    }
}

/// Whom SPF is about, and the reverse-path as it sees it: its domain in A-labels.
fn sender(path: &ReversePath, hello: &str) -> (Sender, String) {
    let Some(mailbox) = path.mailbox() else { return (Sender::Hello(hello.to_owned()), String::new()) };
    let host = match mailbox.host() {
        Host::Domain(domain) => domain.to_ascii().into_owned(),
        literal @ Host::Literal(_) => literal.to_string(),
    };
    // What the field cannot hold is left away; the domain is what counts.
    let shown = if mailbox.is_ascii() { mailbox.to_string() } else { host.clone() };
    (Sender::MailFrom(shown), format!("{}@{host}", mailbox.local_part()))
}

fn judge_dmarc(
    author: &Author,
    mail_from: &str,
    hello: &str,
    spf: &spf::Verdict,
    dkim: &[dkim::Verdict],
    known: &Known,
    dice: u8,
) -> dmarc::Verdict {
    let ascii = |name: &str| Domain::parse(name).ok().map(|domain| domain.to_ascii().into_owned());
    let by_spf = match spf.outcome {
        spf::Outcome::Pass => Some(Voucher::Passes),
        spf::Outcome::TempError => Some(Voucher::Unknown),
        spf::Outcome::None | spf::Outcome::Neutral | spf::Outcome::Fail | spf::Outcome::SoftFail | spf::Outcome::PermError => None,
    };
    // RFC 7489 §3.1.2
    let of_spf = ascii(mail_from.rsplit_once('@').map_or(hello, |(_, domain)| domain));
    let by_dkim: Vec<(String, Voucher)> = dkim
        .iter()
        .filter_map(|signature| {
            let voucher = match signature.outcome {
                dkim::Outcome::Pass => Voucher::Passes,
                dkim::Outcome::TempError => Voucher::Unknown,
                dkim::Outcome::Fail | dkim::Outcome::Policy | dkim::Outcome::Neutral | dkim::Outcome::PermError => return None,
            };
            Some((ascii(signature.domain.as_deref()?)?, voucher))
        })
        .collect();
    let by_dkim: Vec<(&str, Voucher)> = by_dkim.iter().map(|(domain, voucher)| (domain.as_str(), *voucher)).collect();
    let judged = dmarc::judge(author, of_spf.as_deref().zip(by_spf), &by_dkim, known, dice);
    judged.expect("every question of a policy was put in")
}

#[cfg(test)]
mod tests {
    use postrider_smtp::Mailbox;

    use super::*;

    #[test]
    fn senders_as_spf_sees_them_and_as_they_are_told() {
        let of = |text: &str| sender(&Mailbox::parse(text).map_or(ReversePath::Null, ReversePath::Mailbox), "mx.c.example");
        let told = |text: &str| Sender::MailFrom(text.to_owned());
        assert_eq!(of(""), (Sender::Hello("mx.c.example".into()), String::new()));
        assert_eq!(of("a@B.example"), (told("a@b.example"), "a@b.example".into()));
        assert_eq!(of("a@b\u{fc}cher.example"), (told("xn--bcher-kva.example"), "a@xn--bcher-kva.example".into()));
        assert_eq!(of("\"a b\"@b.example"), (told("\"a b\"@b.example"), "\"a b\"@b.example".into()));
        assert_eq!(of("a@[192.0.2.1]"), (told("a@[192.0.2.1]"), "a@[192.0.2.1]".into()));
    }
}
