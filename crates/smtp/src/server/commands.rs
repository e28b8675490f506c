//! Commands: what is allowed when (RFC 5321 §4.1.4), and what the driver's answers lead to.

use super::content::{Chunk, Intake};
use super::{Asked, Question, Server, State, Stride, Transaction, Verdict, replies};
use crate::command::{Command, CommandTrouble, announces_chunk};
use crate::data::{BareNewline, Decoder};
use crate::extension::Offer;
use crate::line::{self, Split};
use crate::parameters::{Body, MailParameters, RecipientParameters};
use crate::path::{ForwardPath, ReversePath};
use crate::reply::{self, Reply};
use crate::wishes::Hold;
use crate::xclient::KEYWORD;

/// Recipients beyond the limit that are refused before each further one counts as an error.
const RECIPIENTS_BEYOND_MAX: usize = 1000;
/// Octets of a line that is too long, before the session ends without waiting for its end.
const LONG_LINE_OCTETS_MAX: usize = 64 * 1024;

impl Server {
    /// Takes one command line, when it is there.
    pub(super) fn command_line(&mut self) -> Option<Stride> {
        let unread = self.inbox.unread();
        let is_auth = unread.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        let octets_max = if is_auth { self.config.auth_line_octets_max } else { self.config.command_line_octets_max };
        match self.split(octets_max) {
            Split::Partial => self.wait(),
            // The chunk behind it would be read as commands.
            Split::TooLong if announces_chunk(self.inbox.unread()) => self.expel(replies::LINE_TOO_LONG),
            Split::TooLong => {
                self.state = State::LineEnd(if is_auth { replies::AUTH_LINE_TOO_LONG } else { replies::LINE_TOO_LONG }, 0);
                None
            }
            Split::Stray => self.expel(replies::BARE_NEWLINE),
            Split::Line { text, whole } => {
                let range = self.inbox.consume(whole);
                let line = &self.inbox.consumed(range)[..text];
                let command = Command::parse(line);
                self.obey(command)
            }
        }
    }

    pub(super) fn split(&self, octets_max: usize) -> Split {
        match self.config.bare_newline {
            BareNewline::Refuse => line::split(self.inbox.unread(), octets_max),
            BareNewline::Normalise => line::split_leniently(self.inbox.unread(), octets_max),
        }
    }

    /// Drops a line that is too long up to its end, then says so.
    pub(super) fn skip_line(&mut self) -> Option<Stride> {
        let State::LineEnd(canned, dropped_before) = self.state else { return None };
        let unread = self.inbox.unread();
        match memchr::memchr(b'\n', unread) {
            Some(at) => {
                let bare = at == 0 || unread[at - 1] != b'\r';
                self.inbox.consume(at + 1);
                if bare && self.config.bare_newline == BareNewline::Refuse {
                    return self.expel(replies::BARE_NEWLINE);
                }
                self.state = State::Command;
                self.refuse(canned)
            }
            None => {
                // A CR at the very end may belong to the LF that comes next.
                let kept = usize::from(unread.last() == Some(&b'\r'));
                let dropped = unread.len() - kept;
                self.inbox.consume(dropped);
                let dropped_in_all = dropped_before + dropped;
                self.state = State::LineEnd(canned, dropped_in_all);
                if dropped_in_all > LONG_LINE_OCTETS_MAX { self.expel(canned) } else { self.wait() }
            }
        }
    }

    fn obey(&mut self, command: Result<Command, CommandTrouble>) -> Option<Stride> {
        if !self.inbox.is_empty() && !self.may_be_followed(&command) {
            return self.expel(replies::OUT_OF_STEP);
        }
        let command = match command {
            Ok(command) => command,
            Err(CommandTrouble::ChunkSize) => {
                self.say(&replies::to_trouble(CommandTrouble::ChunkSize));
                self.hang_up();
                return None;
            }
            Err(trouble) => {
                self.errors += 1;
                self.say(&replies::to_trouble(trouble));
                return None;
            }
        };
        let before_tls = matches!(
            command,
            Command::Hello { .. }
                | Command::Noop
                | Command::StartTls
                | Command::Quit
                | Command::Chunk { .. }
                | Command::XClient(_)
                | Command::Foreign
        );
        if self.config.tls_required && !self.tls && !before_tls {
            return self.refuse(replies::TLS_FIRST);
        }
        self.count_junk(&command);
        match command {
            Command::Hello { esmtp, name } => {
                self.forget_transaction();
                self.esmtp = None;
                self.ask(Asked::Hello { esmtp }, Question::Hello { name, esmtp })
            }
            Command::Mail(reverse_path, parameters) => self.mail(reverse_path, parameters),
            Command::Recipient(forward_path, parameters) => self.recipient(forward_path, parameters),
            Command::Data => self.data(),
            Command::Chunk { octets, last } => self.chunk_command(octets, last),
            Command::Reset => {
                self.forget_transaction();
                self.yes(replies::OK)
            }
            Command::Noop => self.yes(replies::OK),
            Command::Help => self.yes(replies::HELP),
            Command::Verify(argument) => self.ask(Asked::Verify, Question::Verify { argument }),
            Command::Expand => self.refuse(replies::NO_EXPN),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_deref()),
            Command::XClient(_) if !self.xclient => self.refuse(replies::XCLIENT_NOT_FOR_YOU),
            Command::XClient(_) if self.transaction.is_some() => self.refuse(replies::XCLIENT_IN_TRANSACTION),
            Command::XClient(client) => self.ask(Asked::XClient, Question::XClient(client)),
            Command::Quit => {
                self.say_canned(replies::BYE);
                self.hang_up();
                None
            }
            Command::Foreign => self.expel(replies::FOREIGN),
        }
    }

    /// Whether more input may stand behind this command before its reply was given (RFC 2920 §3.1).
    fn may_be_followed(&self, command: &Result<Command, CommandTrouble>) -> bool {
        match command {
            // Their own octets follow, or nothing behind them matters.
            Ok(Command::Chunk { .. } | Command::Quit | Command::Foreign) | Err(CommandTrouble::ChunkSize) => true,
            Ok(Command::Hello { .. } | Command::Data | Command::StartTls | Command::Auth { .. } | Command::XClient(_)) => false,
            _ => self.config.extensions.pipelining && self.esmtp == Some(true),
        }
    }

    fn count_junk(&mut self, command: &Command) {
        if matches!(command, Command::Noop | Command::Reset | Command::Help | Command::Verify(_) | Command::Expand | Command::Hello { .. })
        {
            self.junk_commands += 1;
            self.errors += u32::from(self.junk_commands > self.config.junk_commands_max);
        }
    }

    fn yes(&mut self, canned: replies::Canned) -> Option<Stride> {
        self.say_canned(canned);
        None
    }

    fn mail(&mut self, reverse_path: ReversePath, parameters: MailParameters) -> Option<Stride> {
        if self.esmtp.is_none() {
            return self.refuse(replies::HELLO_FIRST);
        }
        if self.config.auth_required && !self.authenticated && !self.trusted {
            return self.refuse(replies::AUTH_FIRST);
        }
        if self.transaction.is_some() {
            return self.refuse(replies::NESTED_MAIL);
        }
        if parameters.uses_more_than(&self.config.extensions) {
            return self.refuse(replies::UNKNOWN_PARAMETER);
        }
        if !parameters.smtputf8 && !reverse_path.is_ascii() {
            return self.refuse(replies::NEEDS_SMTPUTF8);
        }
        if parameters.size.is_some_and(|size| size > self.config.message_bytes_max) {
            return self.refuse(replies::TOO_LARGE);
        }
        if parameters.hold.is_some_and(|hold| !self.may_hold(hold)) {
            return self.refuse(replies::HOLD_TOO_LONG);
        }
        let binary = parameters.body == Some(Body::BinaryMime);
        self.ask(Asked::Mail { smtputf8: parameters.smtputf8, binary }, Question::Mail { reverse_path, parameters })
    }

    /// RFC 4865 §4: no longer than was offered. An instant that has passed holds nothing, and is no error.
    fn may_hold(&self, hold: Hold) -> bool {
        let seconds_max = self.config.extensions.hold_seconds_max.unwrap_or(0);
        match hold {
            Hold::For(seconds) => seconds <= seconds_max,
            Hold::Until(at) => at <= self.now_seconds + u64::from(seconds_max),
        }
    }

    fn recipient(&mut self, forward_path: ForwardPath, parameters: RecipientParameters) -> Option<Stride> {
        let Some(transaction) = &mut self.transaction else { return self.refuse(replies::MAIL_FIRST) };
        if transaction.failed {
            return self.refuse(replies::FAILED_TRANSACTION);
        }
        if transaction.intake.is_some() {
            return self.refuse(replies::AFTER_CHUNK);
        }
        transaction.recipients_tried += 1;
        if transaction.recipients >= self.config.recipients_max {
            // RFC 5321 §4.5.3.1.10: 452, and the client sends the rest in a further transaction.
            let beyond = transaction.recipients_tried - transaction.recipients > RECIPIENTS_BEYOND_MAX;
            self.errors += u32::from(beyond);
            return self.yes(replies::TOO_MANY_RECIPIENTS);
        }
        if !transaction.smtputf8 && !forward_path.is_ascii() {
            return self.refuse(replies::NEEDS_SMTPUTF8);
        }
        if parameters.uses_more_than(&self.config.extensions) {
            return self.refuse(replies::UNKNOWN_PARAMETER);
        }
        self.ask(Asked::Recipient, Question::Recipient { forward_path, parameters })
    }

    fn data(&mut self) -> Option<Stride> {
        match self.why_no_content() {
            Some(canned) => self.refuse(canned),
            // RFC 3030 §3: behind DATA a bare LF is not content, and a dot is.
            None if self.transaction.as_ref().is_some_and(|transaction| transaction.binary) => self.refuse(replies::BINARY_NEEDS_CHUNKS),
            None if self.transaction.as_ref().is_some_and(|transaction| transaction.intake.is_some()) => self.refuse(replies::AFTER_CHUNK),
            None => self.ask(Asked::Data, Question::Data),
        }
    }

    /// Why neither DATA nor BDAT may come now.
    pub(super) fn why_no_content(&self) -> Option<replies::Canned> {
        let Some(transaction) = &self.transaction else { return Some(replies::MAIL_FIRST) };
        if transaction.failed {
            return Some(replies::FAILED_TRANSACTION);
        }
        match (transaction.recipients, transaction.recipients_tried) {
            (0, 0) => Some(replies::RECIPIENT_FIRST),
            (0, _) => Some(replies::NO_VALID_RECIPIENTS),
            _ => None,
        }
    }

    fn start_tls(&mut self) -> Option<Stride> {
        if self.tls {
            return self.refuse(replies::TLS_ACTIVE);
        }
        if !self.config.starttls {
            return self.refuse(replies::NO_STARTTLS);
        }
        self.forget_transaction();
        self.say_canned(replies::READY_FOR_TLS);
        self.state = State::Handshake;
        None
    }

    /// The driver has spoken; the state is Command already.
    pub(super) fn answered(&mut self, asked: Asked, verdict: Verdict) {
        let (reply, close) = match verdict {
            Verdict::Accept | Verdict::AcceptWith(_) => return self.accepted(asked, &verdict),
            Verdict::Refuse(reply) => (reply, false),
            Verdict::Close(reply) => (reply, true),
        };
        match asked {
            Asked::Connect => self.refused_by_policy(&reply, true),
            Asked::FirstChunk(chunk) if !close && !super::ends_session(&reply) => self.refuse_chunk(chunk, reply),
            // The driver has judged this transaction itself.
            Asked::EndOfContent => {
                self.transaction = None;
                self.refused_by_policy(&reply, close);
            }
            // "Try later" is no reason to let somebody guess on.
            Asked::Authenticate => {
                self.errors += u32::from(!reply.is_permanent());
                self.refused_by_policy(&reply, close);
            }
            _ => self.refused_by_policy(&reply, close),
        }
    }

    fn accepted(&mut self, asked: Asked, verdict: &Verdict) {
        match asked {
            Asked::Connect => self.greet(verdict),
            Asked::Hello { esmtp } => self.say_hello(esmtp),
            Asked::Authenticate => {
                self.authenticated = true;
                self.say_yes(replies::AUTHENTICATED, verdict);
            }
            Asked::XClient => {
                (self.esmtp, self.authenticated, self.trusted, self.external) = (None, false, false, false);
                self.greet(verdict);
            }
            Asked::Mail { smtputf8, binary } => {
                self.transaction = Some(Transaction { smtputf8, binary, ..Transaction::default() });
                self.say_yes(replies::SENDER_OK, verdict);
            }
            Asked::Recipient => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients += 1;
                }
                self.say_yes(replies::RECIPIENT_OK, verdict);
            }
            Asked::Data => self.begin_data(verdict),
            Asked::FirstChunk(chunk) => self.begin_chunks(chunk),
            Asked::Verify => self.say_yes(replies::CANNOT_VERIFY, verdict),
            Asked::EndOfContent => {
                self.transaction = None;
                (self.errors, self.junk_commands) = (0, 0);
                self.say_yes(replies::OK, verdict);
            }
        }
    }

    fn greet(&mut self, verdict: &Verdict) {
        if !self.inbox.is_empty() {
            self.expel(replies::BEFORE_GREETING);
            return;
        }
        let text = match verdict {
            Verdict::AcceptWith(text) => format!("{} {text}", self.config.name),
            _ => format!("{} ESMTP Postrider", self.config.name),
        };
        self.say(&Reply::new(220, None, text.replace('\n', " ")));
    }

    fn say_hello(&mut self, esmtp: bool) {
        self.esmtp = Some(esmtp);
        let config = &self.config;
        if !esmtp {
            return reply::write_line(&mut self.outbox, 250, None, &config.name, true);
        }
        let mechanisms = if self.auth_is_open() { self.mechanisms() } else { Default::default() };
        let keywords = config.extensions.keywords(&Offer {
            message_bytes_max: config.message_bytes_max,
            recipients_max: config.recipients_max,
            starttls: config.starttls && !self.tls,
            mechanisms,
            now_seconds: self.now_seconds,
        });
        let mut keywords = keywords;
        keywords.extend(self.xclient.then(|| KEYWORD.to_owned()));
        reply::write_line(&mut self.outbox, 250, None, &config.name, keywords.is_empty());
        for (nth, keyword) in keywords.iter().enumerate() {
            reply::write_line(&mut self.outbox, 250, None, keyword, nth + 1 == keywords.len());
        }
    }

    fn begin_data(&mut self, verdict: &Verdict) {
        if !self.inbox.is_empty() {
            self.expel(replies::OUT_OF_STEP);
            return;
        }
        let decoder = Decoder::for_data(self.config.text_line_octets_max);
        if let Some(transaction) = &mut self.transaction {
            transaction.intake = Some(Intake::new(decoder));
        }
        self.say_yes(replies::GO_AHEAD, verdict);
        self.state = State::Content;
    }

    fn begin_chunks(&mut self, chunk: Chunk) {
        let text_line_octets_max = self.config.text_line_octets_max;
        if let Some(transaction) = &mut self.transaction {
            let decoder = if transaction.binary { Decoder::for_binary() } else { Decoder::for_chunks(text_line_octets_max) };
            transaction.intake = Some(Intake::new(decoder));
        }
        self.state = State::Chunk(chunk);
    }
}
