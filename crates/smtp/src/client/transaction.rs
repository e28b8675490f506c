//! One transaction: MAIL, RCPT, DATA or BDAT, content, and whose reply is whose (RFC 5321 §3.3, RFC 2920 §3.1, RFC 3030 §2).

use super::config::{Addressee, LastWord, ProtocolTrouble, Report, Transaction, Unsendable, Wait};
use super::{CHUNKS_UNANSWERED_MAX, Client, PIPELINED_COMMANDS_MAX, State, Stride};
use crate::address::{Host, Mailbox};
use crate::data::Encoder;
use crate::parameters::{Body, Xtext};
use crate::path::ForwardPath;
use crate::reply::Reply;
use crate::wishes::ByMode;

/// A transaction in progress.
#[derive(Debug)]
pub(super) struct Job {
    transaction: Transaction,
    /// RSET goes first.
    reset: bool,
    /// Say UTF-8 as it is; else domains in A-labels.
    utf8: bool,
    /// Content goes in chunks; there is no DATA.
    chunking: bool,
    /// Chunks written, the last one not counted, whose replies were not heard.
    chunks_unanswered: usize,
    /// Commands written, and replies heard, of RSET, MAIL, RCPT..., DATA.
    written: usize,
    answered: usize,
    mail: Option<Reply>,
    recipients: Vec<Option<Reply>>,
    /// LMTP: the replies to the end of data, one for each recipient that was taken at RCPT, in their order.
    ends: Vec<Reply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Reset,
    Mail,
    Recipient(usize),
    Data,
    Nothing,
}

impl Job {
    fn word(&self, nth: usize) -> Word {
        match nth.checked_sub(usize::from(self.reset)) {
            None => Word::Reset,
            Some(0) => Word::Mail,
            Some(nth) if nth <= self.recipients.len() => Word::Recipient(nth - 1),
            Some(nth) if nth == self.recipients.len() + 1 => Word::Data,
            Some(_) => Word::Nothing,
        }
    }

    pub(super) fn waits_for(&self) -> Wait {
        match self.word(self.answered) {
            Word::Reset => Wait::Reset,
            Word::Mail => Wait::Mail,
            Word::Recipient(_) => Wait::Recipient,
            Word::Data | Word::Nothing => Wait::DataInitiation,
        }
    }

    pub(super) fn has_accepted(&self) -> bool {
        self.mail.as_ref().is_some_and(Reply::is_positive_completion) && self.recipients.iter().flatten().any(Reply::is_positive_completion)
    }

    pub(super) fn refused_so_far(&self) -> impl Iterator<Item = (usize, &Reply)> {
        let refused_whole = self.mail.as_ref().filter(|reply| !reply.is_positive_completion());
        self.recipients.iter().enumerate().filter_map(move |(index, own)| {
            let reply = refused_whole.or(own.as_ref())?;
            (!reply.is_positive_completion()).then_some((index, reply))
        })
    }

    /// Recipients, by index, that RCPT took, with their own replies to the end of data as far as those came.
    fn taken(&self) -> impl Iterator<Item = (usize, Option<&Reply>)> {
        let taken = self.recipients.iter().enumerate().filter(|(_, own)| own.as_ref().is_some_and(Reply::is_positive_completion));
        taken.enumerate().map(|(nth, (index, _))| (index, self.ends.get(nth)))
    }

    pub(super) fn ended_so_far(&self) -> impl Iterator<Item = (usize, &Reply)> {
        self.taken().filter_map(|(index, end)| Some((index, end?)))
    }

    /// The report. `last` is the reply that ended the transaction: it goes to every recipient that has no refusal of its own.
    fn report(self, last: &LastWord, data: Option<Reply>, closing: bool) -> Report {
        let refused = |own: Option<Reply>, stage| own.filter(|own| !own.is_positive_completion()).map(|reply| LastWord { reply, stage });
        let refused_whole = refused(self.mail.clone(), Wait::Mail);
        let mut ends = self.ends.into_iter().map(|reply| LastWord { reply, stage: Wait::DataTermination });
        let settle = |own: Option<Reply>| {
            let taken = own.as_ref().is_some_and(Reply::is_positive_completion);
            let end = if taken { ends.next() } else { None };
            refused_whole.clone().or_else(|| refused(own, Wait::Recipient)).or(end).unwrap_or_else(|| last.clone())
        };
        let recipients = self.recipients.into_iter().map(settle).collect();
        Report { mail: self.mail.unwrap_or_else(|| last.reply.clone()), recipients, data, closing }
    }
}

impl Client {
    /// Begins a transaction. Only at [`super::Step::Ready`]. On error nothing was said, and the session stays ready.
    pub fn begin(&mut self, transaction: Transaction) -> Result<(), Unsendable> {
        if transaction.recipients.is_empty() {
            return Err(Unsendable::NoRecipients);
        }
        let chunking = self.hello.chunking && self.config.chunking;
        if transaction.body == Body::BinaryMime && !self.takes_binary() {
            return Err(Unsendable::NeedsBinaryMime);
        }
        let utf8 = transaction.smtputf8 || !local_parts_are_ascii(&transaction);
        if utf8 && !self.hello.smtputf8 {
            return Err(Unsendable::NeedsSmtpUtf8);
        }
        if let Some(limit) = self.hello.message_bytes_max().filter(|limit| transaction.size > *limit) {
            return Err(Unsendable::TooLarge { octets: transaction.size, limit });
        }
        self.dot_is_out = false;
        let recipients = vec![None; transaction.recipients.len()];
        self.encoder = match transaction.body {
            Body::BinaryMime => Encoder::for_binary(),
            Body::SevenBit | Body::EightBitMime if chunking => Encoder::for_chunks(),
            Body::SevenBit | Body::EightBitMime => Encoder::new(),
        };
        self.chunk.clear();
        self.ending = false;
        self.job = Some(Job {
            transaction,
            reset: self.dangling,
            utf8,
            chunking,
            chunks_unanswered: 0,
            written: 0,
            answered: 0,
            mail: None,
            recipients,
            ends: Vec::new(),
        });
        if self.leave_idle() {
            self.state = State::Envelope;
            self.write_commands();
        }
        Ok(())
    }

    /// Whether the server takes content of any octets, in chunks (RFC 3030 §3).
    pub fn takes_binary(&self) -> bool {
        self.hello.binary_mime && self.hello.chunking && self.config.chunking
    }

    /// Appends content. Only at [`super::Step::WantContent`]; it is ignored when the session has ended meanwhile.
    pub fn content(&mut self, octets: &[u8]) {
        if !matches!(self.state, State::Content) {
            return;
        }
        self.empty_what_was_written();
        if !self.goes_in_chunks() {
            return self.encoder.encode(octets, &mut self.outbox);
        }
        if self.chunk.len() >= self.config.chunk_octets {
            self.write_chunk(false);
        }
        self.encoder.encode(octets, &mut self.chunk);
    }

    /// The content is complete. Only at [`super::Step::WantContent`].
    pub fn end_of_content(&mut self) {
        if !matches!(self.state, State::Content) {
            return;
        }
        self.empty_what_was_written();
        if self.goes_in_chunks() {
            self.encoder.finish(&mut self.chunk);
            self.ending = true;
        } else {
            self.encoder.finish(&mut self.outbox);
            self.state = State::EndOfData;
        }
    }

    fn goes_in_chunks(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.chunking)
    }

    fn write_chunk(&mut self, last: bool) {
        let Some(job) = &mut self.job else { return };
        self.outbox.extend_from_slice(format!("BDAT {}{}\r\n", self.chunk.len(), if last { " LAST" } else { "" }).as_bytes());
        self.outbox.append(&mut self.chunk);
        job.chunks_unanswered += usize::from(!last);
    }

    fn empty_what_was_written(&mut self) {
        if std::mem::take(&mut self.handed) {
            self.outbox.clear();
        }
    }

    /// Writes the next group of commands: as many as are allowed, or one.
    fn write_commands(&mut self) {
        let Some(job) = &mut self.job else { return };
        let group = if self.hello.pipelining && self.config.pipelining { PIPELINED_COMMANDS_MAX } else { 1 };
        for _ in 0..group {
            match job.word(job.written) {
                Word::Reset => self.outbox.extend_from_slice(b"RSET\r\n"),
                Word::Mail => write_mail(&mut self.outbox, &job.transaction, job.utf8, &self.hello),
                Word::Recipient(index) => write_recipient(&mut self.outbox, &job.transaction.recipients[index], job.utf8, self.hello.dsn),
                Word::Data if job.chunking => return,
                Word::Data => self.outbox.extend_from_slice(b"DATA\r\n"),
                Word::Nothing => return,
            }
            job.written += 1;
        }
    }

    pub(super) fn heard_of_envelope(&mut self, reply: Reply) -> Option<Stride> {
        let Some(job) = &mut self.job else { return self.trouble(ProtocolTrouble::Unexpected(reply)) };
        if reply.code() == 421 {
            let stage = job.waits_for();
            return self.report(LastWord { reply, stage }, None, true);
        }
        let word = job.word(job.answered);
        job.answered += 1;
        if word == Word::Data {
            return self.heard_of_data_command(reply);
        }
        if reply.is_positive_intermediate() || (word == Word::Reset && !reply.is_positive_completion()) {
            return self.trouble(ProtocolTrouble::Unexpected(reply));
        }
        match word {
            Word::Mail => {
                self.dangling = reply.is_positive_completion();
                job.mail = Some(reply);
            }
            Word::Recipient(index) => job.recipients[index] = Some(reply),
            Word::Reset | Word::Data | Word::Nothing => self.dangling = false,
        }
        self.go_on()
    }

    /// A reply was heard; write more, or see that nobody is left to write for.
    fn go_on(&mut self) -> Option<Stride> {
        let job = self.job.as_ref()?;
        if job.answered < job.written {
            return None;
        }
        if self.has_unsolicited() {
            return self.trouble(ProtocolTrouble::Unsolicited);
        }
        let refused_whole = job.mail.as_ref().filter(|reply| !reply.is_positive_completion());
        let all_refused = job.word(job.written) == Word::Data && !job.has_accepted();
        let last_refusal = job.recipients.last().and_then(Option::as_ref).filter(|_| all_refused);
        let stage = if refused_whole.is_some() { Wait::Mail } else { Wait::Recipient };
        match refused_whole.or(last_refusal).cloned() {
            Some(reply) => self.report(LastWord { reply, stage }, None, false),
            None if job.chunking && job.word(job.written) == Word::Data => {
                self.state = State::Content;
                None
            }
            None => {
                self.write_commands();
                None
            }
        }
    }

    fn heard_of_data_command(&mut self, reply: Reply) -> Option<Stride> {
        let job = self.job.as_ref()?;
        let some_recipient = job.recipients.iter().flatten().any(Reply::is_positive_completion);
        if reply.is_positive_completion() {
            return self.trouble(ProtocolTrouble::Unexpected(reply));
        }
        if !reply.is_positive_intermediate() {
            let said = Some(reply.clone());
            return self.report(LastWord { reply, stage: Wait::DataInitiation }, said, false);
        }
        if job.has_accepted() {
            self.state = State::Content;
        } else if some_recipient || self.config.lmtp {
            // RFC 2033 §4.2: an LMTP server says 503 when it has no recipient; how many replies would follow a dot, nobody knows.
            // MAIL was refused, RCPT and DATA were not: a lone dot could send an empty message.
            return self.trouble(ProtocolTrouble::Unexpected(reply));
        } else {
            // RFC 2920 §3.1: the server wants content for nobody; it gets none.
            self.encoder.finish(&mut self.outbox);
            self.state = State::EndOfData;
        }
        None
    }

    pub(super) fn heard_of_data(&mut self, reply: Reply) -> Option<Stride> {
        if reply.is_positive_intermediate() {
            return self.trouble(ProtocolTrouble::Unexpected(reply));
        }
        if self.config.lmtp && reply.code() != 421 && self.awaits_more_ends(&reply) {
            return None;
        }
        self.dangling = false;
        self.dot_is_out = false;
        let (closing, said) = (reply.code() == 421, Some(reply.clone()));
        self.report(LastWord { reply, stage: Wait::DataTermination }, said, closing)
    }

    /// RFC 2033 §4.2: one reply for each recipient that was taken, in the order of RCPT. A 421 speaks for all that are left.
    fn awaits_more_ends(&mut self, reply: &Reply) -> bool {
        let Some(job) = &mut self.job else { return false };
        job.ends.push(reply.clone());
        job.taken().any(|(_, end)| end.is_none())
    }

    /// The reply to a chunk that was not the last one.
    fn heard_of_chunk(&mut self, reply: Reply) -> Option<Stride> {
        let job = self.job.as_mut()?;
        if reply.is_positive_completion() && job.chunks_unanswered > 0 {
            job.chunks_unanswered -= 1;
            return None;
        }
        if reply.is_transient() || reply.is_permanent() {
            let said = Some(reply.clone());
            return self.report(LastWord { reply, stage: Wait::DataBlock }, said, true);
        }
        let of_data = self.goes_in_chunks() && reply.is_positive_intermediate();
        self.trouble(if of_data { ProtocolTrouble::Unexpected(reply) } else { ProtocolTrouble::Unsolicited })
    }

    /// Content is being sent, and the driver may have read meanwhile. A refusal ends it at once: there is no way back to commands but the
    /// end of data, and that must not be sent for half a message.
    pub(super) fn heard_while_sending(&mut self) -> Option<Stride> {
        match self.reader.take(&mut self.inbox, true) {
            Ok(Some(reply)) => self.heard_of_chunk(reply),
            Ok(None) if self.ended => self.trouble(ProtocolTrouble::ConnectionLost(Wait::DataBlock)),
            Ok(None) => {
                let pipelining = self.hello.pipelining && self.config.pipelining;
                let most = if pipelining { CHUNKS_UNANSWERED_MAX } else { 1 };
                match self.job.as_ref().map_or(0, |job| job.chunks_unanswered) {
                    0 if self.goes_in_chunks() && self.has_unsolicited() => self.trouble(ProtocolTrouble::Unsolicited),
                    // A server that took the last chunk in spite of a refusal would have half a message for a whole one.
                    0 if self.ending => {
                        self.write_chunk(true);
                        self.state = State::EndOfData;
                        None
                    }
                    unanswered if self.ending || unanswered >= most => Some(Stride::Read),
                    _ => Some(Stride::WantContent),
                }
            }
            Err(trouble) => self.trouble(trouble),
        }
    }

    fn report(&mut self, last: LastWord, data: Option<Reply>, closing: bool) -> Option<Stride> {
        let job = self.job.take()?;
        self.state = if closing { State::Over(None) } else { State::Idle };
        Some(Stride::Report(job.report(&last, data, closing)))
    }
}

/// Whether all can be said in ASCII: a domain can (in A-labels), a local part may not.
fn local_parts_are_ascii(transaction: &Transaction) -> bool {
    let recipients = transaction.recipients.iter().filter_map(|addressee| addressee.path.mailbox());
    transaction.reverse_path.mailbox().into_iter().chain(recipients).all(|mailbox| mailbox.local_part().is_ascii())
}

fn write_mail(out: &mut Vec<u8>, transaction: &Transaction, utf8: bool, hello: &crate::extension::Hello) {
    out.extend_from_slice(b"MAIL FROM:<");
    if let Some(mailbox) = transaction.reverse_path.mailbox() {
        write_mailbox(out, mailbox, utf8);
    }
    out.push(b'>');
    if hello.size.is_some() {
        out.extend_from_slice(b" SIZE=");
        out.extend_from_slice(transaction.size.to_string().as_bytes());
    }
    match transaction.body {
        Body::EightBitMime if hello.eight_bit_mime => out.extend_from_slice(b" BODY=8BITMIME"),
        Body::BinaryMime => out.extend_from_slice(b" BODY=BINARYMIME"),
        Body::SevenBit | Body::EightBitMime => {}
    }
    if utf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    let mut parameter = |wanted: bool, text: std::fmt::Arguments<'_>| {
        if wanted {
            out.extend_from_slice(text.to_string().as_bytes());
        }
    };
    if let Some(ret) = transaction.ret {
        parameter(hello.dsn, format_args!(" RET={ret}"));
    }
    if let Some(envid) = &transaction.envid {
        parameter(hello.dsn, format_args!(" ENVID={}", Xtext(envid)));
    }
    if let Some(by) = transaction.deliver_by {
        // RFC 2852 §4: a time shorter than the server's shortest would be refused.
        let taken = hello.deliver_by.is_some_and(|shortest| by.mode == ByMode::Notify || by.seconds >= i64::from(shortest));
        parameter(taken, format_args!(" BY={by}"));
    }
    if let Some(priority) = transaction.priority {
        parameter(hello.priority, format_args!(" MT-PRIORITY={priority}"));
    }
    out.extend_from_slice(b"\r\n");
}

fn write_recipient(out: &mut Vec<u8>, addressee: &Addressee, utf8: bool, dsn: bool) {
    out.extend_from_slice(b"RCPT TO:<");
    match &addressee.path {
        ForwardPath::Postmaster => out.extend_from_slice(b"Postmaster"),
        ForwardPath::Mailbox(mailbox) => write_mailbox(out, mailbox, utf8),
    }
    out.push(b'>');
    if dsn {
        if let Some(notify) = addressee.notify {
            out.extend_from_slice(format!(" NOTIFY={notify}").as_bytes());
        }
        if let Some(original) = &addressee.original {
            out.extend_from_slice(format!(" ORCPT={}", original.parameter(utf8)).as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_mailbox(out: &mut Vec<u8>, mailbox: &Mailbox, utf8: bool) {
    out.extend_from_slice(mailbox.local_part().as_bytes());
    out.push(b'@');
    match mailbox.host() {
        Host::Domain(domain) if utf8 => out.extend_from_slice(domain.as_str().as_bytes()),
        Host::Domain(domain) => out.extend_from_slice(domain.to_ascii().as_bytes()),
        literal => out.extend_from_slice(literal.to_string().as_bytes()),
    }
}
