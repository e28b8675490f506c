//! The judgement of a whole message.

use postrider_mail::HeaderFacts;
use postrider_model::doors::{Judged, Judgement, SpoolTrouble, Staged};
use postrider_model::{MessageId, Recipient};
use postrider_smtp::milter::{BODY_OCTETS_MAX, Change, Command, Verdict};
use postrider_smtp::{Reply, ReversePath};

use super::conversation::Failure;
use super::draft::{Draft, HEADER_OCTETS_MAX, Replacing};
use super::{Judges, Word, apply, rules};
use crate::receive::reply;

/// The part of the envelope that judges may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Papers {
    pub(crate) reverse_path: ReversePath,
    pub(crate) recipients: Vec<Recipient>,
}

/// What came of it.
pub(crate) enum Checked {
    /// It is to be taken.
    Taken(Taken),
    /// It is to be thrown away, and the client hears a yes.
    Discarded,
    /// It is refused.
    Refused(Reply),
}

/// What is to be taken.
pub(crate) struct Taken {
    pub(crate) staged: Staged,
    pub(crate) facts: HeaderFacts,
    pub(crate) papers: Papers,
    /// It is to be held, for this reason.
    pub(crate) hold: Option<String>,
}

/// What is judged.
pub(crate) struct Judging<'a> {
    /// The id it will have.
    pub(crate) id: MessageId,
    pub(crate) staged: Staged,
    pub(crate) facts: HeaderFacts,
    /// It comes from a client of ours, whose header may be put right.
    pub(crate) is_ours: bool,
    /// It comes back to a return path of ours.
    pub(crate) returned: bool,
    /// The fields that it lacks, written out.
    pub(crate) lacking: &'a [u8],
    /// A message's limit.
    pub(crate) octets_max: u64,
}

/// Why a judgement broke off.
enum Broken {
    /// The milter's fault.
    Milter(Failure),
    /// The spool's.
    Spool(SpoolTrouble),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Broken::Milter(failure)
    }
}

impl From<SpoolTrouble> for Broken {
    fn from(trouble: SpoolTrouble) -> Self {
        Broken::Spool(trouble)
    }
}

impl Judges {
    /// Judges a content, and what belongs to it.
    pub(crate) async fn content(&mut self, judging: Judging<'_>, mut papers: Papers) -> Result<Checked, SpoolTrouble> {
        let Judging { id, staged, facts, is_ours, returned, lacking, octets_max } = judging;
        if facts.header_octets > HEADER_OCTETS_MAX {
            return Ok(Checked::Refused(reply(552, (5, 3, 4), "the header is too long to be checked")));
        }
        self.values.set("i", id.to_string());
        let spool = self.doors.spool.clone();
        let mut draft = Draft::open(&*spool, staged, facts).await?;
        if let Some(verifying) = self.snapshot.checking.verifying.filter(|_| self.is_stranger)
            && let Word::Refuse(refusal) = self.verify(&verifying, id, &mut draft, returned).await?
        {
            return Ok(Checked::Refused(refusal));
        }
        draft.header.prepend(lacking);
        if let Word::Refuse(refusal) = self.header_rules(id, &mut draft.header) {
            return Ok(Checked::Refused(refusal));
        }
        let (rewriting, routing) = (&self.snapshot.checking.rewriting, &self.snapshot.routing);
        rules::rewrite_sender(&mut papers.reverse_path, rewriting, routing);
        if is_ours {
            rules::rewrite_header(&mut draft.header, rewriting, routing);
        }
        for nth in 0..self.list.len() {
            if !self.list[nth].asked || self.list[nth].conversation.is_none() || self.discard.is_some() {
                continue;
            }
            let judged = match self.judge(nth, &draft, octets_max).await {
                Ok(judged) => Ok(judged),
                Err(Broken::Milter(failure)) => Err(failure),
                Err(Broken::Spool(trouble)) => return Err(trouble),
            };
            if let Some(Word::Refuse(refusal)) = self.concluded(nth, id, judged, &mut draft, &mut papers) {
                return Ok(Checked::Refused(refusal));
            }
        }
        if self.discard.is_some() || papers.recipients.is_empty() {
            let judge = self.discard.take().unwrap_or_else(|| "milter: all recipients were removed".into());
            let peer = self.address.map(|address| address.ip());
            let text = format!("from {}", papers.reverse_path);
            self.doors.log.judged(&Judged { judge: &judge, judgement: Judgement::Discarded, peer, message: Some(id), text: &text });
            return Ok(Checked::Discarded);
        }
        let (staged, facts) = draft.finish(&*spool).await?;
        Ok(Checked::Taken(Taken { staged, facts, papers, hold: self.hold.take() }))
    }

    /// One milter's word on the content. Its changes are whole when it has spoken.
    async fn judge(&mut self, nth: usize, draft: &Draft, octets_max: u64) -> Result<(Verdict, Vec<Change>, Option<Staged>), Broken> {
        let spool = self.doors.spool.clone();
        let judge = &mut self.list[nth];
        let (command, content) = (judge.milter.command_timeout, judge.milter.content_timeout);
        let Some(conversation) = judge.conversation.as_mut().filter(|conversation| !conversation.is_over()) else {
            return Ok((Verdict::Continue, Vec::new(), None));
        };
        for field in draft.header.fields() {
            let verdict = conversation.ask(Command::Header { name: field.name, value: field.value }, &self.values, command).await?;
            if verdict != Verdict::Continue {
                return Ok((verdict, Vec::new(), None));
            }
        }
        let verdict = conversation.ask(Command::EndOfHeader, &self.values, command).await?;
        if verdict != Verdict::Continue {
            return Ok((verdict, Vec::new(), None));
        }
        if conversation.wants_body() {
            let mut body = draft.body(&*spool).await?;
            while let Some(octets) = body.next().await? {
                for piece in octets.chunks(BODY_OCTETS_MAX) {
                    let verdict = conversation.ask(Command::Body(piece), &self.values, content).await?;
                    if verdict != Verdict::Continue {
                        return Ok((verdict, Vec::new(), None));
                    }
                }
                if !conversation.wants_body() {
                    break;
                }
            }
        }
        let mut replacing = Replacing { spool: &*spool, octets_max, octets: 0, after_cr: false, staging: None, trouble: None };
        let (verdict, changes) = conversation.end(&self.values, content, &mut replacing).await?;
        let body = replacing.finish().await?;
        Ok((verdict, changes, body))
    }

    /// Takes a judgement over, whole or not at all.
    fn concluded(
        &mut self,
        nth: usize,
        id: MessageId,
        judged: Result<(Verdict, Vec<Change>, Option<Staged>), Failure>,
        draft: &mut Draft,
        papers: &mut Papers,
    ) -> Option<Word> {
        let (verdict, changes, body) = match judged {
            Ok(judged) => judged,
            Err(failure) => return self.failed(nth, &failure),
        };
        if !matches!(verdict, Verdict::Continue | Verdict::Accept) {
            return self.heard(nth, Ok(verdict), "end of data");
        }
        let milter = self.list[nth].milter.clone();
        let (mut header, mut changed, mut held) = (draft.header.clone(), papers.clone(), None);
        for change in &changes {
            if let Err(failure) = apply::apply(change, &mut header, &mut changed, &mut held, &self.snapshot.routing) {
                return self.failed(nth, &failure);
            }
        }
        if header.octets() as u64 > HEADER_OCTETS_MAX {
            return self.failed(nth, &Failure::Impossible("a longer header than anybody reads".into()));
        }
        let touched = !changes.is_empty() || body.is_some();
        (draft.header, *papers) = (header, changed);
        body.into_iter().for_each(|body| draft.replace_body(body));
        self.watch.works(&self.doors, &milter);
        let judgement = if held.is_some() {
            Judgement::Held
        } else if touched {
            Judgement::Changed
        } else {
            Judgement::Passed
        };
        self.say(&milter, judgement, Some(id), held.as_deref().unwrap_or_default());
        if let Some(why) = held {
            self.hold.get_or_insert_with(|| format!("milter {}: {why}", milter.name));
        }
        None
    }
}
