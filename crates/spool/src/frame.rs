//! A record on its way to the log: encoded and hashed by whoever hands it over, placed and written by the committer.

use std::sync::Arc;

use bytes::Bytes;
use postrider_model::doors::SpoolTrouble;
use postrider_model::{AttemptFacts, Message, MessageId, Notice, Outcome, Timestamp};
use smallvec::SmallVec;
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use crate::alteration::{StoredAlteration, put_alteration};
use crate::codec::Encode;
use crate::footer::{Summary, born, fates, held, told_fates};
use crate::forms::{Body, SettlementParts, State, put_settlement, put_states, put_stored_message};
use crate::index::Fate;
use crate::notice::put_notice;
use crate::record::{HEADER_OCTETS, Header, Kind, record_octets};
use crate::staging::{Kept, StagedBody};

/// Who waits for the commit.
pub(crate) type Answer = oneshot::Sender<Result<(), SpoolTrouble>>;

pub(crate) struct Frame {
    /// Room for the header, then the meta part.
    pub(crate) buffer: Vec<u8>,
    pub(crate) meta_hash: u64,
    pub(crate) header: Header,
    pub(crate) body: Bytes,
    /// How many events it gives birth to.
    pub(crate) events: u64,
    pub(crate) summaries: SmallVec<[Summary; 1]>,
    pub(crate) purpose: Purpose,
}

/// What happens when the frame is durable.
pub(crate) enum Purpose {
    /// Custody begins.
    Accept { message: Arc<Message>, staged: StagedBody, answer: Answer },
    /// Outcomes stand.
    Settle(SettlePurpose),
    /// A message's record moved.
    Move { id: MessageId, fates: Vec<(u32, Fate)> },
    /// Standings moved.
    Retell { id: MessageId, fates: Vec<(u32, Fate)> },
    /// A person changed deliveries; ends the turn of this number, which reached what arrived meanwhile, too.
    Alter { turn: Option<u64> },
    /// A fact stands.
    Note { notice: Notice, answer: Answer },
    /// Book-keeping of the log itself.
    Mark,
}

/// The facts of a settlement that outlive its encoding.
pub(crate) struct SettlePurpose {
    pub(crate) message: MessageId,
    pub(crate) at: Timestamp,
    pub(crate) attempt: Option<Arc<AttemptFacts>>,
    pub(crate) outcomes: Vec<(u32, Outcome)>,
    pub(crate) fates: Vec<(u32, Fate)>,
    pub(crate) report: Option<(Arc<Message>, Bytes)>,
}

impl Frame {
    fn new(kind: Kind, buffer: Vec<u8>, body: Bytes, body_hash: u64, summaries: SmallVec<[Summary; 1]>, purpose: Purpose) -> Self {
        let meta_octets = buffer.len() - HEADER_OCTETS;
        Self {
            meta_hash: xxh3_64(&buffer[HEADER_OCTETS..]),
            header: Header::new(kind, meta_octets, body.len(), body_hash),
            buffer,
            body,
            events: 0,
            summaries,
            purpose,
        }
    }

    pub(crate) fn acceptance(message: Arc<Message>, staged: StagedBody, answer: Answer) -> Self {
        let mut buffer = begin(256 + 48 * message.recipients.len());
        let (body, hash, form, file) = match &staged.kept {
            Kept::Held(octets) => (octets.clone(), staged.hash, Body::Inline, None),
            Kept::File(name) => (Bytes::new(), 0, Body::File(*name, staged.hash), Some(*name)),
        };
        put_stored_message(&mut buffer, &message, form);
        let (fates, held) = born(&message);
        let summary = Summary::Message { message: message.clone(), file, fates, held };
        let purpose = Purpose::Accept { message, staged, answer };
        Self { events: 1, ..Self::new(Kind::Acceptance, buffer, body, hash, smallvec::smallvec![summary], purpose) }
    }

    pub(crate) fn settlement(parts: &SettlementParts<'_>, purpose: SettlePurpose) -> Self {
        let mut buffer = begin(512);
        put_settlement(&mut buffer, parts);
        let mut summaries: SmallVec<[Summary; 1]> = SmallVec::new();
        summaries.push(Summary::Fates { id: purpose.message, fates: purpose.fates.clone() });
        let mut body = Bytes::new();
        if let Some((message, content)) = &purpose.report {
            summaries.push(Summary::Message { message: message.clone(), file: None, fates: None, held: Vec::new() });
            body = content.clone();
        }
        let events = (parts.outcomes.len() + usize::from(parts.report.is_some())) as u64;
        let hash = body_hash(&body);
        Self { events, ..Self::new(Kind::Settlement, buffer, body, hash, summaries, Purpose::Settle(purpose)) }
    }

    /// A copy of a message. `hash` is that of `content` when it stands in the record.
    pub(crate) fn checkpoint(message: &Arc<Message>, form: Body, content: Bytes, states: &[(u32, State)]) -> Self {
        let mut buffer = begin(256 + 48 * message.recipients.len());
        put_stored_message(&mut buffer, message, form);
        put_states(&mut buffer, states);
        let fates = fates(states);
        let file = match form {
            Body::Inline => None,
            Body::File(name, _) => Some(name),
        };
        let summary = Summary::Message { message: message.clone(), file, fates: Some(fates.clone()), held: held(states) };
        let hash = body_hash(&content);
        let purpose = Purpose::Move { id: message.id, fates };
        Self::new(Kind::Checkpoint, buffer, content, hash, smallvec::smallvec![summary], purpose)
    }

    pub(crate) fn standing(id: MessageId, states: &[(u32, State)]) -> Self {
        let mut buffer = begin(256);
        buffer.fixed128(id.0);
        put_states(&mut buffer, states);
        let fates = told_fates(states);
        let summary = Summary::Fates { id, fates: fates.clone() };
        Self::new(Kind::Standing, buffer, Bytes::new(), 0, smallvec::smallvec![summary], Purpose::Retell { id, fates })
    }

    pub(crate) fn alteration(alteration: StoredAlteration, turn: Option<u64>) -> Self {
        let mut buffer = begin(64);
        put_alteration(&mut buffer, &alteration);
        let kind = if alteration.is_plain() { Kind::Alteration } else { Kind::Change };
        Self::new(kind, buffer, Bytes::new(), 0, smallvec::smallvec![Summary::Alteration(alteration)], Purpose::Alter { turn })
    }

    pub(crate) fn notice(notice: Notice, answer: Answer) -> Self {
        let mut buffer = begin(128);
        put_notice(&mut buffer, &notice);
        let purpose = Purpose::Note { notice, answer };
        Self { events: 1, ..Self::new(Kind::Notice, buffer, Bytes::new(), 0, SmallVec::new(), purpose) }
    }

    /// The mark that all live records of segment `life` are copied.
    pub(crate) fn transferred(life: u32) -> Self {
        let mut buffer = begin(8);
        buffer.number(life.into());
        Self::new(Kind::Transferred, buffer, Bytes::new(), 0, SmallVec::new(), Purpose::Mark)
    }

    /// Octets it takes in the log.
    pub(crate) fn octets(&self) -> u64 {
        record_octets(self.header.meta_octets.into(), self.header.body_octets.into())
    }

    /// Whether it brings new mail.
    pub(crate) fn is_mail(&self) -> bool {
        matches!(self.purpose, Purpose::Accept { .. })
    }

    /// Whether it brings something new, which has no right to the reserve: somebody waits for the answer, and can be refused.
    pub(crate) fn is_new(&self) -> bool {
        self.is_mail() || matches!(self.purpose, Purpose::Note { .. })
    }

    /// Whether it is compaction's.
    pub(crate) fn is_copy(&self) -> bool {
        matches!(self.purpose, Purpose::Move { .. } | Purpose::Retell { .. })
    }

    /// The message it is about, beside which no other message is touched; `None`: it may touch any.
    pub(crate) fn subject(&self) -> Option<MessageId> {
        match &self.purpose {
            Purpose::Accept { message, .. } => Some(message.id),
            Purpose::Settle(purpose) => Some(purpose.message),
            Purpose::Move { id, .. } | Purpose::Retell { id, .. } => Some(*id),
            Purpose::Alter { .. } | Purpose::Note { .. } | Purpose::Mark => None,
        }
    }

    /// Tells whoever waits that it came to nothing.
    pub(crate) fn fail(self, trouble: &SpoolTrouble) {
        let was_placed = self.header.check != 0;
        match self.purpose {
            Purpose::Accept { answer, mut staged, .. } => {
                if was_placed {
                    // The record may stand on the disk for all we know, so the file it names stays until a restart has looked.
                    staged.keep();
                }
                let _ = answer.send(Err(trouble.clone()));
            }
            Purpose::Note { answer, .. } => drop(answer.send(Err(trouble.clone()))),
            Purpose::Move { .. } | Purpose::Retell { .. } | Purpose::Settle(_) | Purpose::Alter { .. } | Purpose::Mark => {}
        }
    }
}

fn begin(octets: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(HEADER_OCTETS + octets);
    buffer.resize(HEADER_OCTETS, 0);
    buffer
}

/// The hash of a body; an empty one has none.
pub(crate) fn body_hash(body: &[u8]) -> u64 {
    if body.is_empty() { 0 } else { xxh3_64(body) }
}
