//! One connection to one milter: the driver of `smtp::milter`.
//!
//! **Promises.** No wait is without an end: each answer has its time, a milter that says it is still at work gets it anew, but not for ever
//! ([`PATIENCE_FACTOR`]). What a milter may want is bounded, too ([`CHANGES_MAX`], [`CHANGES_OCTETS_MAX`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postrider_model::doors::{Connection, NetTrouble};
use postrider_model::policy::{Milter, MilterServer, Remote};
use postrider_smtp::milter::{Answer, Change, Command, Rubbish, Said, Session, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::Doors;

/// How many times its time limit a milter may take for one answer when it says that it is at work.
const PATIENCE_FACTOR: u32 = 4;

/// Changes of one message by one milter.
const CHANGES_MAX: usize = 4096;

/// Octets of these changes, the body not counted.
const CHANGES_OCTETS_MAX: usize = 1024 * 1024;

/// Octets that wait to be written while no answer is awaited.
const UNSAID_OCTETS: usize = 64 * 1024;

/// How long a milter may take to hear that we go.
const PARTING: Duration = Duration::from_secs(1);

/// Why a milter gave no judgement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody is there.
    #[error("it cannot be reached: {0}")]
    NoConnection(NetTrouble),
    /// Its name leads nowhere.
    #[error("its address cannot be looked up: {0}")]
    NoAddress(String),
    /// It says nothing.
    #[error("it did not answer within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// It says that it is at work, and that is all.
    #[error("it was still at work after {} s", .0.as_secs())]
    Endless(Duration),
    /// It went away.
    #[error("it closed the connection")]
    Dropped,
    /// It says what nobody can understand.
    #[error("{0}")]
    Rubbish(Rubbish),
    /// It wants what cannot be.
    #[error("it wants {0}")]
    Impossible(String),
}

impl From<Rubbish> for Failure {
    fn from(rubbish: Rubbish) -> Self {
        Failure::Rubbish(rubbish)
    }
}

/// The macros that are known, by name without braces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values(BTreeMap<&'static str, String>);

impl Values {
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.insert(name, value.into());
    }

    pub(crate) fn forget(&mut self, name: &'static str) {
        self.0.remove(name);
    }

    fn get(&self, asked: &str) -> Option<String> {
        let name = asked.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(asked);
        self.0.get(name).cloned()
    }
}

/// One connection to one milter.
pub(crate) struct Conversation {
    connection: Box<dyn Connection>,
    session: Session,
    buffer: Box<[u8]>,
}

impl Conversation {
    /// Dials, and agrees on terms.
    pub(crate) async fn open(doors: &Doors, milter: &Milter) -> Result<Self, Failure> {
        let connection = dial(doors, milter).await?;
        let mut opened = Self { connection, session: Session::new(), buffer: vec![0; 16 * 1024].into() };
        opened.flush(milter.command_timeout).await?;
        opened.hear(milter.command_timeout).await?;
        Ok(opened)
    }

    /// Whether the milter wants to hear of the body.
    pub(crate) fn wants_body(&self) -> bool {
        self.session.wants_body()
    }

    /// Whether it has said all it wants to say of this message.
    pub(crate) fn is_over(&self) -> bool {
        self.session.is_over()
    }

    /// Says a command, and waits for the verdict where one is owed.
    pub(crate) async fn ask(&mut self, command: Command<'_>, values: &Values, limit: Duration) -> Result<Verdict, Failure> {
        match self.session.say(command, &|name| values.get(name)) {
            Said::Awaits => {}
            Said::Quiet | Said::Skipped => {
                if self.session.outbox_octets() >= UNSAID_OCTETS || command == Command::Abort {
                    self.flush(limit).await?;
                }
                return Ok(Verdict::Continue);
            }
        }
        self.flush(limit).await?;
        let end = Instant::now() + limit * PATIENCE_FACTOR;
        loop {
            match self.hear(limit).await? {
                Answer::Verdict(verdict) => return Ok(verdict),
                Answer::Progress | Answer::Agreed | Answer::Change(_) if Instant::now() < end => {}
                Answer::Progress | Answer::Agreed | Answer::Change(_) => return Err(Failure::Endless(limit * PATIENCE_FACTOR)),
            }
        }
    }

    /// Ends the body: the verdict, and the changes in the order they came. Pieces of a new body go to `body` as they come.
    pub(crate) async fn end(
        &mut self,
        values: &Values,
        limit: Duration,
        body: &mut (dyn NewBody + '_),
    ) -> Result<(Verdict, Vec<Change>), Failure> {
        if self.session.say(Command::EndOfBody, &|name| values.get(name)) != Said::Awaits {
            return Ok((Verdict::Continue, Vec::new()));
        }
        self.flush(limit).await?;
        let end = Instant::now() + limit * PATIENCE_FACTOR;
        let (mut changes, mut octets) = (Vec::new(), 0);
        loop {
            match self.hear(limit).await? {
                Answer::Verdict(verdict) => return Ok((verdict, changes)),
                Answer::Change(Change::ReplaceBody(piece)) => body.take(piece).await?,
                Answer::Change(change) => {
                    octets += weight(&change);
                    changes.push(change);
                    if changes.len() > CHANGES_MAX || octets > CHANGES_OCTETS_MAX {
                        return Err(Failure::Impossible("more changes of one message than anybody needs".into()));
                    }
                }
                Answer::Progress | Answer::Agreed => {}
            }
            if Instant::now() >= end {
                return Err(Failure::Endless(limit * PATIENCE_FACTOR));
            }
        }
    }

    /// Says that we go.
    pub(crate) async fn quit(mut self) {
        self.session.say(Command::Quit, &|_| None);
        let _ = self.flush(PARTING).await;
    }

    async fn flush(&mut self, limit: Duration) -> Result<(), Failure> {
        let octets = self.session.outbox();
        match timeout(limit, self.connection.write_all(&octets)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failure::Dropped),
            Err(_) => Err(Failure::Silent(limit)),
        }
    }

    async fn hear(&mut self, limit: Duration) -> Result<Answer, Failure> {
        let end = Instant::now() + limit;
        loop {
            if let Some(answer) = self.session.next()? {
                return Ok(answer);
            }
            // The whole answer has this time, however it drips in.
            match tokio::time::timeout_at(end, self.connection.read(&mut self.buffer)).await {
                Ok(Ok(0)) | Ok(Err(_)) => return Err(Failure::Dropped),
                Ok(Ok(octets)) => self.session.feed(&self.buffer[..octets]),
                Err(_) => return Err(Failure::Silent(limit)),
            }
        }
    }
}

/// Where the pieces of a new body go.
pub(crate) trait NewBody: Send {
    fn take(&mut self, piece: Vec<u8>) -> postrider_model::BoxFuture<'_, Result<(), Failure>>;
}

fn weight(change: &Change) -> usize {
    match change {
        Change::AddHeader(field) | Change::InsertHeader(_, field) | Change::ChangeHeader(_, field) => field.name.len() + field.value.len(),
        Change::ReplaceBody(piece) => piece.len(),
        Change::ChangeSender(text) | Change::DeleteRecipient(text) | Change::Quarantine(text) => text.len(),
        Change::AddRecipient(path, parameters) => path.len() + parameters.len(),
    }
}

async fn dial(doors: &Doors, milter: &Milter) -> Result<Box<dyn Connection>, Failure> {
    let limit = milter.connect_timeout;
    let (host, port) = match &milter.server {
        MilterServer::Unix(path) => return doors.net.dial_unix(path, limit).await.map_err(Failure::NoConnection),
        MilterServer::Tcp(host, port) => (host, *port),
    };
    let mut last = Failure::NoAddress("it has no address".into());
    for address in addresses(doors, host, limit).await? {
        match doors.net.dial(None, SocketAddr::new(address, port), limit).await {
            Ok(connection) => return Ok(connection),
            Err(trouble) => last = Failure::NoConnection(trouble),
        }
    }
    Err(last)
}

async fn addresses(doors: &Doors, host: &Remote, limit: Duration) -> Result<Vec<IpAddr>, Failure> {
    match host {
        Remote::Address(address) => Ok(vec![*address]),
        // This machine needs no DNS to be found (RFC 6761 §6.3).
        Remote::Name(name) if name.as_str().eq_ignore_ascii_case("localhost") => {
            Ok(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16])])
        }
        Remote::Name(name) => match timeout(limit, doors.resolver.addresses(name)).await {
            Ok(Ok(answer)) => Ok(answer.addresses),
            Ok(Err(trouble)) => Err(Failure::NoAddress(trouble.to_string())),
            Err(_) => Err(Failure::Silent(limit)),
        },
    }
}
