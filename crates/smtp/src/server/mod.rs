//! The receiver's machine: one SMTP session, as seen from the server (RFC 5321 §4.1.4, §4.3).
//!
//! **Promises.** The machine knows grammar, legality and limits. It asks a [`Question`] wherever policy must speak, hands out content as it
//! comes, and gathers replies so that a pipelined group is answered by one write (RFC 2920 §3.2). Whatever the octets, it neither
//! panics nor grows beyond its limits: it holds at most one line or one read, and replies up to [`OUTBOX_OCTETS_MAX`] before it lets them go.
//!
//! **Never** reads a clock, and never keeps an envelope: the driver gathers what it accepted. When a transaction dies, [`Step::Aborted`] says so.
//!
//! *Invariant*: nothing received in the clear is obeyed under TLS. Octets behind STARTTLS end the session (CVE-2011-0411).
//! *Invariant*: content ends at CR LF . CR LF only, and octets sent before they were asked for (behind EHLO, DATA, AUTH or STARTTLS, before the
//! greeting, or without the leave of PIPELINING) end the session (RFC 2920 §3.1; SMTP smuggling).
//! *Invariant*: after a chunk that was refused, or whose size was not understood, no octet of it is taken for a command.
//!
//! **The driver's loop.** Call [`Server::next`] and do what it says, until [`Step::Close`]. It may read before the greeting is written (while it
//! thinks about [`Question::Connect`]); what comes so early ends the session. [`Server::close`] ends a session with a reply of the
//! driver's: a timeout, a shutdown. [`Server::shrink`], before a long wait, gives the buffers back.
//!
//! **Does badly.** A refused content is read to its end without a limit of its own; the driver's time limits bound it.

mod auth;
mod commands;
mod config;
mod content;
mod replies;

use std::mem;
use std::ops::Range;
use std::sync::Arc;

pub use config::{Config, Question, Step, Verdict, Wait};

use crate::line::Inbox;
use crate::reply::{self, Reply};
use crate::sasl::Exchange;
use content::Intake;
use replies::Canned;

/// Replies gathered before they must be written.
pub const OUTBOX_OCTETS_MAX: usize = 16 * 1024;
/// Room for one read while commands are awaited.
const COMMAND_SPACE_OCTETS: usize = 4 * 1024;
/// Room for one read while content flows.
const CONTENT_SPACE_OCTETS: usize = 64 * 1024;
/// Room for the first read of content; a read that fills it doubles the next.
const CONTENT_SPACE_OCTETS_MIN: usize = 16 * 1024;

/// One session. See the module.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    inbox: Inbox,
    /// Room for the next read of content.
    appetite_octets: usize,
    outbox: Vec<u8>,
    /// The outbox was handed out and is to be emptied.
    handed: bool,
    state: State,
    /// The greeting or STARTTLS said that TLS protects the session.
    tls: bool,
    /// None before HELO or EHLO; true for EHLO.
    esmtp: Option<bool>,
    authenticated: bool,
    /// The driver knows the client: it need not say AUTH.
    trusted: bool,
    /// The peer is a proxy that may say who the client is.
    xclient: bool,
    /// The client has shown who it is otherwise, so AUTH EXTERNAL is offered.
    external: bool,
    transaction: Option<Transaction>,
    /// A transaction died, and the driver has yet to hear it.
    aborted: bool,
    /// No further input will come.
    ended: bool,
    errors: u32,
    junk_commands: u32,
    /// What the driver's clock said last, in seconds since 1970.
    now_seconds: u64,
}

/// What the machine waits for.
#[derive(Debug)]
enum State {
    Connect,
    Answer(Asked),
    Command,
    /// The end of a line that is too long; with what is said then, and the octets dropped so far.
    LineEnd(Canned, usize),
    AuthLine(Exchange),
    Content,
    Chunk(content::Chunk),
    Handshake,
    Closing,
    Closed,
}

/// Which question is open.
#[derive(Debug)]
enum Asked {
    Connect,
    Hello { esmtp: bool },
    Authenticate,
    XClient,
    Mail { smtputf8: bool, binary: bool },
    Recipient,
    Data,
    FirstChunk(content::Chunk),
    Verify,
    EndOfContent,
}

#[derive(Debug, Default)]
struct Transaction {
    smtputf8: bool,
    /// BODY=BINARYMIME: any octet is content, and it comes in chunks.
    binary: bool,
    recipients: usize,
    /// RCPT commands, taken or not.
    recipients_tried: usize,
    /// Content, once DATA or the first BDAT was allowed.
    intake: Option<Intake>,
    /// A chunk was refused: only RSET helps (RFC 3030 §2).
    failed: bool,
    /// The driver knows that it is void.
    void: bool,
}

/// A [`Step`] that does not borrow yet.
enum Stride {
    Read,
    Write,
    Ask(Question),
    Content(Range<usize>),
    ContentStatic(&'static [u8]),
    Aborted,
    StartTls,
    Close,
}

impl Server {
    /// A session at its beginning. `tls_active`: the connection began with a TLS handshake (RFC 8314 §3.3).
    pub fn new(config: Arc<Config>, tls_active: bool) -> Server {
        Server {
            config,
            inbox: Inbox::default(),
            appetite_octets: CONTENT_SPACE_OCTETS_MIN,
            outbox: Vec::new(),
            handed: false,
            state: State::Connect,
            tls: tls_active,
            esmtp: None,
            authenticated: false,
            trusted: false,
            xclient: false,
            external: false,
            transaction: None,
            aborted: false,
            ended: false,
            errors: 0,
            junk_commands: 0,
            now_seconds: 0,
        }
    }

    /// Tells the machine the time, in seconds since 1970-01-01T00:00:00Z; it has no clock. Needed where FUTURERELEASE is offered: before a
    /// [`Question::Hello`] is answered, and now and then in a long session.
    pub fn set_clock(&mut self, now_seconds: u64) {
        self.now_seconds = now_seconds;
    }

    /// The client is known by other means than AUTH (its address, its certificate), which it then need not say, but may. Holds for the whole session.
    pub fn trust(&mut self) {
        self.trusted = true;
    }

    /// The client has shown a certificate that is known: AUTH EXTERNAL is offered (RFC 4422 §A), as long as the session is that client's.
    pub fn allow_external(&mut self) {
        self.external = true;
    }

    /// The peer may say XCLIENT.
    pub fn allow_xclient(&mut self) {
        self.xclient = true;
    }

    /// Room to read into; never empty. Small while commands are awaited, up to 64 KiB while content flows.
    pub fn space(&mut self) -> &mut [u8] {
        let wanted = if self.waits_for() == Wait::Content { self.appetite_octets } else { COMMAND_SPACE_OCTETS };
        self.inbox.space(wanted)
    }

    /// `octets` octets were read into the space.
    pub fn filled(&mut self, octets: usize) {
        if self.inbox.filled(octets) && self.waits_for() == Wait::Content {
            self.appetite_octets = (self.appetite_octets * 2).min(CONTENT_SPACE_OCTETS);
        }
    }

    /// Takes octets by copy; for tests and tools.
    pub fn feed(&mut self, octets: &[u8]) {
        self.inbox.push(octets);
    }

    /// Releases buffers that are empty. Worth its price before a long wait only.
    pub fn shrink(&mut self) {
        self.inbox.shrink();
        self.appetite_octets = CONTENT_SPACE_OCTETS_MIN;
        if self.handed || self.outbox.is_empty() {
            self.handed = false;
            self.outbox = Vec::new();
        }
    }

    /// What to do now.
    ///
    /// # Panics
    /// When a question is open: answer it first.
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
                Step::Write(&self.outbox)
            }
            Stride::Ask(question) => Step::Ask(question),
            Stride::Content(range) => Step::Content(self.inbox.consumed(range)),
            Stride::ContentStatic(octets) => Step::Content(octets),
            Stride::Aborted => Step::Aborted,
            Stride::StartTls => Step::StartTls,
            Stride::Close => Step::Close,
        }
    }

    /// Answers the open question. Does nothing when the session is closing.
    ///
    /// # Panics
    /// When no question is open.
    pub fn answer(&mut self, verdict: Verdict) {
        match mem::replace(&mut self.state, State::Command) {
            State::Answer(asked) => self.answered(asked, verdict),
            closing @ (State::Closing | State::Closed) => self.state = closing,
            state => panic!("an answer without a question, in state {state:?}"),
        }
    }

    /// Refuses the content that is flowing. The rest of it is read and dropped, then the client gets `reply`; a 421 is said at once and
    /// ends the session. The driver forgets the transaction itself; no [`Step::Aborted`] comes for it. Without content it does nothing.
    pub fn abort_content(&mut self, reply: Reply) {
        let flowing = matches!(self.state, State::Content | State::Chunk(_));
        let Some(transaction) = self.transaction.as_mut().filter(|_| flowing) else { return };
        transaction.void = true;
        if ends_session(&reply) {
            return self.close(reply);
        }
        if let Some(intake) = &mut transaction.intake {
            intake.refuse(reply);
        }
    }

    /// Ends the session: `reply` is the last thing said. An open question needs no answer any more.
    pub fn close(&mut self, reply: Reply) {
        if !matches!(self.state, State::Closing | State::Closed) {
            self.say(&reply);
            self.hang_up();
        }
    }

    /// The client will send no more. What is in progress is aborted; what is asked may still be answered, and the answer is written.
    pub fn end_of_input(&mut self) {
        self.ended = true;
        if matches!(self.state, State::Handshake) {
            self.hang_up();
        }
    }

    /// The TLS handshake is done; everything the client said before is forgotten (RFC 3207 §4.2).
    ///
    /// # Panics
    /// When no [`Step::StartTls`] was given.
    pub fn secured(&mut self) {
        assert!(matches!(self.state, State::Handshake), "secured without StartTls");
        self.inbox.clear();
        self.forget_transaction();
        (self.tls, self.esmtp, self.authenticated) = (true, None, false);
        self.state = State::Command;
    }

    /// What the session waits for, for the driver's timeouts.
    pub fn waits_for(&self) -> Wait {
        match self.state {
            State::Content | State::Chunk(_) => Wait::Content,
            State::AuthLine(_) => Wait::Auth,
            _ => Wait::Command,
        }
    }

    /// Errors so far. A driver may slow down a client that makes many.
    pub fn errors(&self) -> u32 {
        self.errors
    }

    /// Moves until something is to be done; None: moved, look again.
    fn advance(&mut self) -> Option<Stride> {
        if mem::take(&mut self.aborted) {
            return Some(Stride::Aborted);
        }
        if self.outbox.len() > OUTBOX_OCTETS_MAX {
            return Some(Stride::Write);
        }
        match &mut self.state {
            State::Connect => self.ask(Asked::Connect, Question::Connect),
            State::Answer(asked) => panic!("a question is open: {asked:?}"),
            State::Command if self.errors >= self.config.errors_max => {
                self.say_canned(replies::TOO_MANY_ERRORS);
                self.hang_up();
                None
            }
            State::Command => self.command_line(),
            State::LineEnd(..) => self.skip_line(),
            State::AuthLine(_) => self.auth_line(),
            State::Content => self.content(),
            State::Chunk(_) => self.chunk(),
            State::Handshake | State::Closing if !self.outbox.is_empty() => Some(Stride::Write),
            State::Handshake => Some(Stride::StartTls),
            State::Closing | State::Closed => {
                self.state = State::Closed;
                Some(Stride::Close)
            }
        }
    }

    /// More input is needed: what was gathered goes out first.
    fn wait(&mut self) -> Option<Stride> {
        if !self.outbox.is_empty() {
            return Some(Stride::Write);
        }
        if self.ended {
            self.hang_up();
            return None;
        }
        Some(Stride::Read)
    }

    fn ask(&mut self, asked: Asked, question: Question) -> Option<Stride> {
        self.state = State::Answer(asked);
        Some(Stride::Ask(question))
    }

    fn say_canned(&mut self, canned: Canned) {
        reply::write_line(&mut self.outbox, canned.code, canned.status, canned.text, true);
    }

    fn say(&mut self, reply: &Reply) {
        reply.write_to(&mut self.outbox);
    }

    /// Says yes: with the text of the verdict, or with the usual one.
    fn say_yes(&mut self, usual: Canned, verdict: &Verdict) {
        match verdict {
            Verdict::AcceptWith(text) => self.say(&Reply::new(usual.code, usual.status, text.replace('\n', " "))),
            _ => self.say_canned(usual),
        }
    }

    /// An error of the client's.
    fn refuse(&mut self, canned: Canned) -> Option<Stride> {
        self.errors += 1;
        self.say_canned(canned);
        None
    }

    /// An error after which nothing the client sends can be trusted.
    fn expel(&mut self, canned: Canned) -> Option<Stride> {
        self.refuse(canned);
        self.hang_up();
        None
    }

    /// A refusal by policy; a permanent one counts as an error of the client's.
    fn refused_by_policy(&mut self, reply: &Reply, close: bool) {
        self.errors += u32::from(reply.is_permanent());
        self.say(reply);
        if close || ends_session(reply) {
            self.hang_up();
        }
    }

    fn hang_up(&mut self) {
        self.forget_transaction();
        self.state = State::Closing;
    }

    fn forget_transaction(&mut self) {
        self.aborted |= self.transaction.take().is_some_and(|transaction| !transaction.void);
    }
}

/// 421 closes the channel (RFC 5321 §3.8), and so does 521 (RFC 7504).
fn ends_session(reply: &Reply) -> bool {
    matches!(reply.code(), 421 | 521)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
