//! Content: behind DATA (RFC 5321 §4.1.1.4) and in chunks (RFC 3030 §2).
//!
//! Content that must be refused is read to its end all the same, because only there is the client listening; the driver hears at once, by
//! [`super::Step::Aborted`], that it can let go of what it staged.

use std::ops::Range;

use super::replies::{self, Canned};
use super::{Asked, Question, Server, State, Stride, Transaction};
use crate::data::{BareNewline, ContentTrouble, Decoder, Piece};
use crate::reply::Reply;

/// Beyond this a refused chunk is not worth reading to its end.
const SWALLOWED_CHUNK_OCTETS_MIN: u64 = 1024 * 1024;

/// The content of one transaction as it comes.
#[derive(Debug)]
pub(super) struct Intake {
    decoder: Decoder,
    octets: u64,
    refusal: Option<Reply>,
}

/// A chunk as it comes.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Octets it was announced with.
    announced: u64,
    /// Octets still to come.
    remaining: u64,
    last: bool,
    /// It is only swallowed, and this is the reply at its end.
    refusal: Option<Reply>,
}

impl Intake {
    pub(super) fn new(decoder: Decoder) -> Intake {
        Intake { decoder, octets: 0, refusal: None }
    }

    /// The first refusal stays.
    pub(super) fn refuse(&mut self, reply: Reply) {
        self.refusal.get_or_insert(reply);
    }
}

/// What became of a stretch of input.
enum Taken {
    NeedMore,
    Run(Range<usize>),
    Static(&'static [u8]),
    End,
}

impl Transaction {
    /// Looks at the front of `input`. Gives out nothing any more once the content is refused; `aborted` is set when that happens now.
    fn take(&mut self, input: &[u8], limits: (BareNewline, u64), aborted: &mut bool) -> (usize, Taken) {
        let Some(intake) = &mut self.intake else { return (input.len(), Taken::NeedMore) };
        let mut used = 0;
        loop {
            let (more, piece) = intake.decoder.next(&input[used..]);
            let from = used;
            used += more;
            intake.octets += match &piece {
                Piece::Run(range) => range.len() as u64,
                Piece::Static(octets) => octets.len() as u64,
                Piece::NeedMore | Piece::End => 0,
            };
            if intake.refusal.is_none()
                && let Some(refusal) = judge(intake, limits)
            {
                intake.refuse(refusal.into());
                *aborted |= !std::mem::replace(&mut self.void, true);
            }
            let taken = match piece {
                Piece::NeedMore => Taken::NeedMore,
                Piece::End => Taken::End,
                _ if intake.refusal.is_some() => continue,
                Piece::Run(range) => Taken::Run(range.start + from..range.end + from),
                Piece::Static(octets) => Taken::Static(octets),
            };
            return (used, taken);
        }
    }
}

fn judge(intake: &Intake, (bare_newline, octets_max): (BareNewline, u64)) -> Option<Canned> {
    match intake.decoder.trouble() {
        Some(ContentTrouble::LineTooLong) => return Some(replies::CONTENT_LINE_TOO_LONG),
        Some(ContentTrouble::Stray) if bare_newline == BareNewline::Refuse => return Some(replies::CONTENT_STRAY),
        Some(ContentTrouble::Stray) | None => {}
    }
    (intake.octets > octets_max).then_some(replies::TOO_LARGE)
}

impl Server {
    fn limits(&self) -> (BareNewline, u64) {
        (self.config.bare_newline, self.config.message_bytes_max)
    }

    /// Behind DATA.
    pub(super) fn content(&mut self) -> Option<Stride> {
        let limits = self.limits();
        let Some(transaction) = &mut self.transaction else {
            self.state = State::Command;
            return None;
        };
        let (used, taken) = transaction.take(self.inbox.unread(), limits, &mut self.aborted);
        let range = self.inbox.consume(used);
        match taken {
            Taken::NeedMore if self.aborted => None,
            Taken::NeedMore => self.wait(),
            Taken::Run(run) => Some(Stride::Content(range.start + run.start..range.start + run.end)),
            Taken::Static(octets) => Some(Stride::ContentStatic(octets)),
            Taken::End => self.end_of_content(),
        }
    }

    fn end_of_content(&mut self) -> Option<Stride> {
        let refusal =
            self.transaction.as_mut().and_then(|transaction| transaction.intake.as_mut()).and_then(|intake| intake.refusal.take());
        self.state = State::Command;
        match refusal {
            Some(reply) => {
                self.forget_transaction();
                self.refused_by_policy(&reply, false);
                None
            }
            None => self.ask(Asked::EndOfContent, Question::EndOfContent),
        }
    }

    /// BDAT. Its octets are on the way whatever we think of it.
    pub(super) fn chunk_command(&mut self, octets: u64, last: bool) -> Option<Stride> {
        if octets > self.config.message_bytes_max.max(SWALLOWED_CHUNK_OCTETS_MIN) {
            return self.expel(replies::TOO_LARGE);
        }
        let mut chunk = Chunk { announced: octets, remaining: octets, last, refusal: None };
        let refusal = if self.config.tls_required && !self.tls {
            Some(replies::TLS_FIRST)
        } else if !self.config.extensions.chunking {
            Some(replies::NO_CHUNKING)
        } else {
            self.why_no_content()
        };
        if let Some(refusal) = refusal {
            chunk.refusal = Some(refusal.into());
        } else if self.transaction.as_ref().is_some_and(|transaction| transaction.intake.is_none()) {
            return self.ask(Asked::FirstChunk(chunk), Question::Data);
        }
        self.state = State::Chunk(chunk);
        None
    }

    /// Policy refused before the first chunk: it is swallowed, then the client hears.
    pub(super) fn refuse_chunk(&mut self, mut chunk: Chunk, reply: Reply) {
        chunk.refusal = Some(reply);
        self.state = State::Chunk(chunk);
    }

    /// Inside a chunk.
    pub(super) fn chunk(&mut self) -> Option<Stride> {
        let limits = self.limits();
        let State::Chunk(chunk) = &mut self.state else { return None };
        if chunk.remaining == 0 {
            return self.end_of_chunk();
        }
        let unread = self.inbox.unread();
        let here = unread.len().min(usize::try_from(chunk.remaining).unwrap_or(usize::MAX));
        let (used, taken) = match &mut self.transaction {
            Some(transaction) if chunk.refusal.is_none() => transaction.take(&unread[..here], limits, &mut self.aborted),
            _ => (here, Taken::NeedMore),
        };
        chunk.remaining -= used as u64;
        let done = chunk.remaining == 0;
        let range = self.inbox.consume(used);
        match taken {
            Taken::Run(run) => Some(Stride::Content(range.start + run.start..range.start + run.end)),
            Taken::Static(octets) => Some(Stride::ContentStatic(octets)),
            Taken::NeedMore if done || self.aborted => None,
            Taken::NeedMore | Taken::End => self.wait(),
        }
    }

    fn end_of_chunk(&mut self) -> Option<Stride> {
        let limits = self.limits();
        let State::Chunk(chunk) = std::mem::replace(&mut self.state, State::Command) else { return None };
        if let Some(reply) = chunk.refusal {
            return self.chunk_failed(&reply, chunk.last);
        }
        let Some((transaction, intake)) = self.transaction.as_mut().and_then(|transaction| {
            let intake = transaction.intake.take()?;
            Some((transaction, intake))
        }) else {
            return self.refuse(replies::MAIL_FIRST);
        };
        let mut intake = intake;
        let held = if chunk.last { intake.decoder.finish() } else { None };
        intake.octets += held.map_or(0, |held| held.len() as u64);
        let refusal = intake.refusal.take().or_else(|| judge(&intake, limits).map(Reply::from));
        transaction.intake = Some(intake);
        match (refusal, held) {
            (Some(reply), _) => self.chunk_failed(&reply, chunk.last),
            (None, Some(held)) => {
                // Come back for the question when this was handed out.
                self.state = State::Chunk(Chunk { remaining: 0, refusal: None, ..chunk });
                Some(Stride::ContentStatic(held))
            }
            (None, None) if chunk.last => self.ask(Asked::EndOfContent, Question::EndOfContent),
            (None, None) => {
                self.say(&Reply::new(250, replies::OK.status, format!("{} octets received", chunk.announced)));
                None
            }
        }
    }

    /// After a refused chunk the transaction is lost, and chunks that were sent along are refused, too (RFC 3030 §2).
    fn chunk_failed(&mut self, reply: &Reply, last: bool) -> Option<Stride> {
        if last {
            self.forget_transaction();
        } else if let Some(transaction) = &mut self.transaction {
            transaction.failed = true;
            self.aborted |= !std::mem::replace(&mut transaction.void, true);
        }
        self.refused_by_policy(reply, false);
        None
    }
}
