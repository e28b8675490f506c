//! The machine: one connection to one milter.

use super::PACKET_OCTETS_MAX;
use super::answer::{Answer, Verdict};
use super::command::{BODY_OCTETS_MAX, Command, Stage, text};
use super::terms::{Steps, Terms};

/// Why nothing a milter says can be trusted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rubbish {
    /// A packet's length is beyond all bounds, or zero.
    #[error("a packet of {0} octets")]
    Length(u32),
    /// The versions do not meet.
    #[error("it speaks version {0} of the protocol, we speak 2 to 6")]
    Version(u32),
    /// The opening went wrong.
    #[error("its answer to the opening is wrong: {0}")]
    Negotiation(&'static str),
    /// An answer is broken, or out of place.
    #[error("its answer {:?} is wrong: {}", char::from(*.0), .1)]
    Answer(u8, &'static str),
    /// It speaks unasked.
    #[error("it spoke without being asked")]
    Unasked,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// An answer is owed.
    Awaits,
    /// No answer comes for it.
    Quiet,
    /// The milter does not want to hear it.
    Skipped,
}

/// Whose answer is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Nothing,
    Terms,
    Verdict(Asked),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Of the whole session.
    Client,
    Recipient,
    Body,
    EndOfBody,
    Other,
}

/// How much more of the session or the message the milter wants to hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Over {
    session: bool,
    message: bool,
    body: bool,
}

/// One connection to one milter. See the module.
#[derive(Debug)]
pub struct Session {
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    terms: Terms,
    owed: Owed,
    over: Over,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session whose opening waits in the outbox.
    pub fn new() -> Session {
        let mut outbox = Vec::new();
        packet(&mut outbox, b'O', Terms::offer);
        Session { inbox: Vec::new(), outbox, terms: Terms::default(), owed: Owed::Terms, over: Over::default() }
    }

    /// What was agreed.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether it wants to hear (more) of a body.
    pub fn wants_body(&self) -> bool {
        !self.is_over() && !self.over.body && !self.terms.steps.any(Steps::NO_BODY)
    }

    /// Whether it has said all it wants to say of this message, or of the whole session.
    pub fn is_over(&self) -> bool {
        self.over.session || self.over.message
    }

    /// Says a command; `value` gives the macros that go with it.
    ///
    /// # Panics
    /// When an answer is owed, or a piece of a body is too long: that is the driver's fault.
    pub fn say(&mut self, command: Command<'_>, value: &dyn Fn(&str) -> Option<String>) -> Said {
        assert!(self.owed == Owed::Nothing || matches!(command, Command::Quit), "an answer is owed");
        assert!(!matches!(command, Command::Body(octets) if octets.len() > BODY_OCTETS_MAX), "a piece of a body is too long");
        let manner = command.manner(&self.terms);
        match command {
            Command::Abort => (self.over.message, self.over.body) = (false, false),
            Command::Quit => {}
            _ if self.over.session || self.over.message || self.over.body && manner.letter == b'B' => return Said::Skipped,
            _ => {}
        }
        if manner.skipped {
            return Said::Skipped;
        }
        if let Some(stage) = manner.stage {
            self.macros(stage, manner.letter, value);
        }
        let terms = &self.terms;
        packet(&mut self.outbox, manner.letter, |out| command.write(terms, out));
        if manner.quiet {
            return Said::Quiet;
        }
        self.owed = Owed::Verdict(match command {
            Command::Connect { .. } | Command::Hello(_) => Asked::Client,
            Command::Recipient { .. } => Asked::Recipient,
            Command::Body(_) => Asked::Body,
            Command::EndOfBody => Asked::EndOfBody,
            _ => Asked::Other,
        });
        Said::Awaits
    }

    /// What is to be written; empties it.
    pub fn outbox(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outbox)
    }

    /// Octets that wait to be written.
    pub fn outbox_octets(&self) -> usize {
        self.outbox.len()
    }

    /// Takes what was read; at most 64 KiB at a time, and [`Session::next`] until it has no more.
    pub fn feed(&mut self, octets: &[u8]) {
        self.inbox.extend_from_slice(octets);
    }

    /// The next word of the milter, when it is whole.
    // It is no iterator: what it says is wrong is the end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Answer>, Rubbish> {
        let Some(length) = self.inbox.first_chunk::<4>().map(|octets| u32::from_be_bytes(*octets)) else { return Ok(None) };
        let octets = usize::try_from(length).unwrap_or(usize::MAX);
        if !(1..=PACKET_OCTETS_MAX).contains(&octets) {
            return Err(Rubbish::Length(length));
        }
        let Some(packet) = self.inbox.get(4..4 + octets) else { return Ok(None) };
        let (letter, payload) = (packet[0], &packet[1..]);
        let answer = match self.owed {
            Owed::Nothing => return Err(Rubbish::Unasked),
            Owed::Terms if letter == b'O' => {
                self.terms = Terms::parse(payload)?;
                self.owed = Owed::Nothing;
                Answer::Agreed
            }
            Owed::Terms => return Err(Rubbish::Answer(letter, "the opening is not answered yet")),
            Owed::Verdict(asked) => {
                let answer = Answer::parse(letter, payload, &self.terms, asked == Asked::EndOfBody)?;
                if let Answer::Verdict(verdict) = &answer {
                    self.owed = Owed::Nothing;
                    self.over.heard(asked, verdict, letter == b's');
                }
                answer
            }
        };
        self.inbox.drain(..4 + octets);
        Ok(Some(answer))
    }

    fn macros(&mut self, stage: Stage, letter: u8, value: &dyn Fn(&str) -> Option<String>) {
        let names = self.terms.macros_of(stage);
        let known: Vec<_> = names.into_iter().filter_map(|name| Some((name, value(name)?))).collect();
        packet(&mut self.outbox, b'D', |out| {
            out.push(letter);
            for (name, value) in &known {
                text(out, name.as_bytes());
                text(out, value.as_bytes());
            }
        });
    }
}

impl Over {
    fn heard(&mut self, asked: Asked, verdict: &Verdict, skip: bool) {
        if asked == Asked::EndOfBody {
            (self.message, self.body) = (false, false);
            return;
        }
        match verdict {
            Verdict::Continue => self.body |= skip && asked == Asked::Body,
            // A refused recipient is one less; the message goes on.
            Verdict::Reject | Verdict::TempFail | Verdict::Refuse(_) if asked == Asked::Recipient => {}
            Verdict::Accept | Verdict::Discard | Verdict::Reject | Verdict::TempFail | Verdict::Refuse(_) | Verdict::Shutdown => {
                if asked == Asked::Client { self.session = true } else { self.message = true }
            }
        }
    }
}

/// Appends a packet: its length, its letter, and what is written.
fn packet(out: &mut Vec<u8>, letter: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, letter]);
    write(out);
    let octets = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&octets.to_be_bytes());
}
