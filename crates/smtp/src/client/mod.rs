//! The sender's machine: one SMTP session, as seen from the client (RFC 5321 §3, §4.3); or an LMTP session (RFC 2033).
//!
//! **Promises.** The machine speaks and listens; it never decides. A transaction ends in a [`Report`] with one final reply per recipient, kept as the
//! server said it. Pipelined groups are bounded, so that neither side blocks on a full window (RFC 2920 §3.1). Whatever the server sends, the machine
//! neither panics nor grows beyond its limits: what it cannot make sense of is a [`ProtocolTrouble`].
//!
//! **Never** reads a clock, dials, or sends again. A positive reply is never made up: a recipient counts as taken only by the reply to the end of data.
//!
//! *Invariant*: nothing heard in the clear is believed under TLS: octets behind the reply to STARTTLS are trouble, and EHLO is said again.
//! *Invariant*: a reply is never taken for one to a command that was written after it arrived.
//! *Invariant*: content leaves behind DATA dot-stuffed, and without bare CR, LF or NUL, or in chunks without these, or, when it is declared binary, in chunks as it
//! is. The end of data leaves only by [`Client::end_of_content`], or alone where the server takes no recipient but says 354 all the same (RFC 2920 §3.1).
//!
//! **Chunks** (RFC 3030). Where CHUNKING is offered, no DATA is said: when RCPT was answered, content follows in BDAT commands. With PIPELINING
//! up to [`CHUNKS_UNANSWERED_MAX`] of them are unanswered at a time, else one; the last one goes when all before it were taken. A chunk that is refused ends the transaction and the session, as a refusal in
//! the middle of DATA does: what was sent behind it, the server may take for commands.
//!
//! **The driver's loop.** Call [`Client::next`] and do what it says. At [`Step::Ready`], begin something. When a write fails, read what is still there
//! and call [`Client::end_of_input`]: the server may have said why.
//!
//! **Does badly.** A first chunk could ride with RCPT; it waits for the replies, so that no content is sent for nobody.

mod config;
mod replies;
mod session;
mod transaction;

use std::mem;

pub use config::{Addressee, Config, LastWord, ProtocolTrouble, Refusal, Report, Step, Transaction, Unsendable, Wait};

use crate::data::Encoder;
use crate::extension::Hello;
use crate::line::Inbox;
use crate::reply::Reply;
use crate::sasl::Proof;
use replies::ReplyReader;
use transaction::Job;

/// Octets of a reply line with its end. RFC 5321 §4.5.3.1.5 allows 512; servers exceed it.
pub const REPLY_LINE_OCTETS_MAX: usize = 2048;
/// Lines of one reply.
pub const REPLY_LINES_MAX: usize = 128;
/// Commands that may be unanswered at a time.
pub const PIPELINED_COMMANDS_MAX: usize = 100;
/// Chunks that may be unanswered at a time, so that the server's replies always find room (RFC 2920 §3.1).
pub const CHUNKS_UNANSWERED_MAX: usize = 8;
/// Room for one read.
const SPACE_OCTETS: usize = 2048;

/// One session. See the module.
#[derive(Debug)]
pub struct Client {
    config: Config,
    inbox: Inbox,
    outbox: Vec<u8>,
    /// The outbox was handed out and is to be emptied.
    handed: bool,
    reader: ReplyReader,
    state: State,
    /// What was awaited when the last reply, or trouble, came.
    stage: Wait,
    hello: Hello,
    job: Option<Job>,
    encoder: Encoder,
    /// Content that will be the next chunk.
    chunk: Vec<u8>,
    /// It will be the last one.
    ending: bool,
    /// A transaction was begun and never ended by the end of data: RSET comes before the next.
    dangling: bool,
    /// The end of data was handed out for writing.
    dot_is_out: bool,
    /// No further input will come.
    ended: bool,
}

/// What the machine waits for.
#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    Idle,
    StartTls,
    Handshake,
    Auth(Proof),
    Reset,
    Envelope,
    Content,
    EndOfData,
    Quit,
    /// Something to be told, and then the session is over.
    Over(Option<Last>),
}

#[derive(Debug)]
enum Last {
    Trouble(ProtocolTrouble),
    Refused(Refusal),
}

/// A [`Step`] that does not borrow yet.
enum Stride {
    Read,
    Write,
    Ready,
    TlsGranted,
    WantContent,
    Report(Report),
    Refused(Refusal),
    Trouble(ProtocolTrouble),
    Close,
}

impl Client {
    /// A session on a fresh connection; the greeting is awaited.
    pub fn new(mut config: Config) -> Client {
        config.name.retain(|letter| letter.is_ascii_graphic());
        Client {
            config,
            inbox: Inbox::default(),
            outbox: Vec::new(),
            handed: false,
            reader: ReplyReader::default(),
            state: State::Greeting,
            stage: Wait::Greeting,
            hello: Hello::default(),
            job: None,
            encoder: Encoder::new(),
            chunk: Vec::new(),
            ending: false,
            dangling: false,
            dot_is_out: false,
            ended: false,
        }
    }

    /// Room to read into; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        self.inbox.space(SPACE_OCTETS)
    }

    /// `octets` octets were read into the space.
    pub fn filled(&mut self, octets: usize) {
        self.inbox.filled(octets);
    }

    /// Takes octets by copy; for tests and tools.
    pub fn feed(&mut self, octets: &[u8]) {
        self.inbox.push(octets);
    }

    /// Releases buffers that are empty, before a long idle time.
    pub fn shrink(&mut self) {
        self.inbox.shrink();
        if self.chunk.is_empty() {
            self.chunk = Vec::new();
        }
        if self.handed || self.outbox.is_empty() {
            self.handed = false;
            self.outbox = Vec::new();
        }
    }

    /// The server will send no more, or the connection failed.
    pub fn end_of_input(&mut self) {
        self.ended = true;
    }

    /// What to do now.
    // It is no iterator: a step borrows the machine.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Step<'_> {
        if mem::take(&mut self.handed) {
            self.outbox.clear();
        }
        let stride = loop {
            if let Some(stride) = self.advance() {
                break stride;
            }
        };
        match stride {
            Stride::Read => Step::Read,
            Stride::Write => {
                self.handed = true;
                self.dot_is_out |= matches!(self.state, State::EndOfData) && self.job.as_ref().is_some_and(Job::has_accepted);
                Step::Write(&self.outbox)
            }
            Stride::Ready => Step::Ready(&self.hello),
            Stride::TlsGranted => Step::TlsGranted,
            Stride::WantContent => Step::WantContent,
            Stride::Report(report) => Step::Report(report),
            Stride::Refused(refusal) => Step::Refused(refusal),
            Stride::Trouble(trouble) => Step::Trouble(trouble),
            Stride::Close => Step::Close,
        }
    }

    /// What the session waits for, for the driver's timeouts.
    pub fn waits_for(&self) -> Wait {
        match self.state {
            State::Greeting => Wait::Greeting,
            State::Ehlo | State::Helo => Wait::Hello,
            State::Idle | State::Over(_) => Wait::Idle,
            State::StartTls | State::Handshake => Wait::StartTls,
            State::Auth(_) => Wait::Auth,
            State::Reset => Wait::Reset,
            State::Envelope => self.job.as_ref().map_or(Wait::Mail, Job::waits_for),
            State::Content => Wait::DataBlock,
            State::EndOfData => Wait::DataTermination,
            State::Quit => Wait::Quit,
        }
    }

    /// Replies heard in all, for a driver that gives each of them its time: octets that drip in make no progress, a reply does.
    pub fn replies_heard(&self) -> u64 {
        self.reader.heard()
    }

    /// What was awaited when the last reply, or trouble, came: several may come with one read, so a driver that looks before the read sees too little.
    pub fn stage(&self) -> Wait {
        self.stage
    }

    /// The end of data was handed out for writing and its reply is not here: the server may have taken the mail. Only meaningful after trouble; it
    /// is forgotten when the next transaction begins.
    pub fn ambiguous(&self) -> bool {
        self.dot_is_out
    }

    /// After trouble: the recipients, by index, that the server had refused for good or for now before the session broke.
    pub fn refused_so_far(&self) -> impl Iterator<Item = (usize, &Reply)> {
        self.job.iter().flat_map(Job::refused_so_far)
    }

    /// After trouble, over LMTP: the recipients, by index, that had their own reply to the end of data before the session broke.
    pub fn ended_so_far(&self) -> impl Iterator<Item = (usize, &Reply)> {
        self.job.iter().flat_map(Job::ended_so_far)
    }

    /// What the server offered, as of now.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Moves until something is to be done; None: moved, look again.
    fn advance(&mut self) -> Option<Stride> {
        if !self.outbox.is_empty() {
            return Some(Stride::Write);
        }
        if !matches!(self.state, State::Over(_)) {
            self.stage = self.waits_for();
        }
        match &mut self.state {
            State::Idle => self.idle(),
            State::Handshake if self.ended => self.trouble(ProtocolTrouble::ConnectionLost(Wait::StartTls)),
            State::Handshake => Some(Stride::TlsGranted),
            State::Content => self.heard_while_sending(),
            State::Over(last) => Some(match last.take() {
                Some(Last::Trouble(trouble)) => Stride::Trouble(trouble),
                Some(Last::Refused(refusal)) => Stride::Refused(refusal),
                None => Stride::Close,
            }),
            State::Greeting
            | State::Ehlo
            | State::Helo
            | State::StartTls
            | State::Auth(_)
            | State::Reset
            | State::Envelope
            | State::EndOfData
            | State::Quit => self.listen(),
        }
    }

    /// Awaits a reply and acts on it.
    fn listen(&mut self) -> Option<Stride> {
        let with_status = !matches!(self.state, State::Greeting | State::Ehlo | State::Helo);
        match self.reader.take(&mut self.inbox, with_status) {
            Ok(Some(reply)) => self.heard(reply),
            Ok(None) if self.ended => {
                let during = self.waits_for();
                self.trouble(ProtocolTrouble::ConnectionLost(during))
            }
            Ok(None) => Some(Stride::Read),
            Err(trouble) => self.trouble(trouble),
        }
    }

    fn heard(&mut self, reply: Reply) -> Option<Stride> {
        match self.state {
            State::Envelope => self.heard_of_envelope(reply),
            State::EndOfData => self.heard_of_data(reply),
            _ => self.heard_of_session(reply),
        }
    }

    /// Whether octets wait that nothing has asked for.
    fn has_unsolicited(&self) -> bool {
        !self.inbox.is_empty() || self.reader.is_midway()
    }

    fn trouble(&mut self, trouble: ProtocolTrouble) -> Option<Stride> {
        // Nobody cares for what comes after QUIT.
        let last = (!matches!(self.state, State::Quit)).then_some(Last::Trouble(trouble));
        self.over(last)
    }

    fn over(&mut self, last: Option<Last>) -> Option<Stride> {
        self.state = State::Over(last);
        None
    }

    fn command(&mut self, words: &[&str]) {
        for word in words {
            self.outbox.extend_from_slice(word.as_bytes());
        }
        self.outbox.extend_from_slice(b"\r\n");
    }
}
