//! A session with a next hop: the driver of the client machine.
//!
//! One loop with one match. Each wait has the limit that RFC 5321 §4.5.3.2 gives it. What goes wrong comes back as a [`Broken`]: typed, with
//! the phase it happened in, and with the word whether the peer may have taken the message.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::prove;
use postrider_model::doors::{Connection, Net, TlsDemand};
use postrider_model::policy::{AuthInClear, Timeouts, TlsLevel};
use postrider_model::{Content, Phase, Reason, TlsFacts, Trouble};
use postrider_smtp::Reply;
use postrider_smtp::client::{self, Client, ProtocolTrouble, Report, Step, Transaction, Unsendable, Wait};
use postrider_smtp::extension::Hello;
use postrider_smtp::sasl::Credentials;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::patience::Patience;

/// A session that cannot go on.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) phase: Phase,
    pub(crate) reason: Reason,
    /// Recipients, by their place in the transaction, that had a negative reply of their own before.
    pub(crate) refused: Vec<(usize, Reply)>,
    /// Over LMTP: recipients that had a reply of their own to the end of data.
    pub(crate) ended: Vec<(usize, Reply)>,
}

impl Broken {
    pub(crate) fn new(phase: Phase, reason: Reason) -> Self {
        Self { phase, reason, refused: Vec::new(), ended: Vec::new() }
    }

    fn trouble(phase: Phase, trouble: Trouble) -> Self {
        Self::new(phase, Reason::Trouble(trouble))
    }
}

/// Who the next hop is.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) host: Arc<str>,
    pub(crate) place: Place,
}

impl Remote {
    /// Its address, unless it is a socket of this machine.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match &self.place {
            Place::Tcp(address) => Some(*address),
            Place::Unix(_) => None,
        }
    }
}

/// Where it is reached.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(Arc<Path>),
}

/// How we behave in a session, and what we ask of it.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    pub(crate) ehlo_name: String,
    /// LMTP instead of SMTP.
    pub(crate) lmtp: bool,
    /// Chunks where they are offered.
    pub(crate) chunking: bool,
    pub(crate) tls: TlsLevel,
    pub(crate) tls13_only: bool,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) auth_in_clear: AuthInClear,
}

impl Manners {
    /// A stranger's, towards a stranger: TLS where it is offered.
    pub(crate) fn usual(ehlo_name: &str) -> Self {
        Self {
            ehlo_name: ehlo_name.to_owned(),
            lmtp: false,
            chunking: true,
            tls: TlsLevel::Opportunistic,
            tls13_only: false,
            credentials: None,
            auth_in_clear: AuthInClear::Never,
        }
    }
}

/// An open session, ready for a transaction.
pub(crate) struct SessionOut {
    connection: Box<dyn Connection>,
    client: Client,
    patience: Patience,
    timeouts: Timeouts,
    pub(crate) remote: Remote,
    pub(crate) tls: Option<TlsFacts>,
    /// Transactions begun so far.
    pub(crate) transactions: u32,
    /// Something was written since the last flush.
    unflushed: bool,
}

/// How a transaction ended, when the session did not break.
pub(crate) enum Transacted {
    /// The peer's replies.
    Report(Report),
    /// It cannot be said to this peer; nothing was.
    Unsendable(Trouble),
}

/// What the machine reports, without the loan on it.
enum Came {
    Ready,
    TlsGranted,
    WantContent,
    Report(Report),
    Refused { reply: Reply, stage: Wait, usable: bool },
    Closed,
}

/// The machine's wait as the phase that reports name.
pub(crate) fn phase_of(wait: Wait) -> Phase {
    match wait {
        Wait::Greeting => Phase::Greeting,
        Wait::Hello => Phase::Hello,
        Wait::StartTls => Phase::StartTls,
        Wait::Auth => Phase::Auth,
        Wait::Mail | Wait::Reset | Wait::Quit | Wait::Idle => Phase::Mail,
        Wait::Recipient => Phase::Recipient,
        Wait::DataInitiation => Phase::Data,
        Wait::DataBlock => Phase::Content,
        Wait::DataTermination => Phase::EndOfData,
    }
}

/// The time one reply has, from the moment it is awaited. RFC 5321 §4.5.3.2 gives it to the reply, not to the read: octets that drip in win no more.
struct Awaited {
    wait: Wait,
    heard: u64,
    until: Instant,
}

impl Awaited {
    /// What is left of the time. Another wait, or a reply that was complete, begins a new one.
    fn left(awaited: &mut Option<Awaited>, wait: Wait, heard: u64, limit: Duration) -> Duration {
        let now = Instant::now();
        let until = match awaited {
            Some(same) if same.wait == wait && same.heard == heard => same.until,
            _ => now + limit,
        };
        *awaited = Some(Awaited { wait, heard, until });
        until.saturating_duration_since(now)
    }
}

impl SessionOut {
    /// Greets, says EHLO, secures the session as it must be, and proves who we are. Under opportunistic TLS a handshake that fails is told as such, so
    /// that the caller may dial again in the clear (RFC 7435: some protection some of the time).
    pub(crate) async fn greet(
        net: &dyn Net,
        connection: Box<dyn Connection>,
        remote: Remote,
        manners: &Manners,
        timeouts: Timeouts,
    ) -> Result<Self, Broken> {
        let mut config = client::Config::new(&manners.ehlo_name);
        (config.lmtp, config.chunking) = (manners.lmtp, manners.chunking);
        let patience = Patience::new(Duration::from_secs(86_400));
        let mut session =
            Self { connection, client: Client::new(config), patience, timeouts, remote, tls: None, transactions: 0, unflushed: false };
        if manners.tls == TlsLevel::Implicit {
            session = session.secure(net, TlsDemand::Verified, manners).await?;
        }
        session.expect_ready(Phase::Hello).await?;
        let demand = if manners.tls == TlsLevel::Verified { TlsDemand::Verified } else { TlsDemand::Opportunistic };
        let must = matches!(manners.tls, TlsLevel::Required | TlsLevel::Verified);
        match manners.tls {
            TlsLevel::None | TlsLevel::Implicit => {}
            TlsLevel::Opportunistic | TlsLevel::Required | TlsLevel::Verified => {
                if session.hello().starttls {
                    session = session.upgrade(net, demand, must, manners).await?;
                } else if must {
                    return Err(Broken::trouble(
                        Phase::StartTls,
                        Trouble::Tls("the server does not offer STARTTLS, and TLS is required".into()),
                    ));
                }
            }
        }
        if let Some(credentials) = &manners.credentials {
            session.prove(credentials, manners.auth_in_clear).await?;
        }
        Ok(session)
    }

    /// What the peer offered.
    pub(crate) fn hello(&self) -> &Hello {
        self.client.hello()
    }

    /// Whether content may go as it is, whatever its octets.
    pub(crate) fn takes_binary(&self) -> bool {
        self.client.takes_binary()
    }

    async fn upgrade(mut self, net: &dyn Net, demand: TlsDemand, must: bool, manners: &Manners) -> Result<Self, Broken> {
        self.client.start_tls();
        match self.advance().await? {
            Came::TlsGranted => {}
            // A refusal of STARTTLS leaves a session in the clear, which is what opportunistic means.
            Came::Refused { usable: true, .. } if !must => return Ok(self),
            Came::Refused { reply, .. } if must => return Err(Broken::new(Phase::StartTls, Reason::Reply(reply))),
            _ => return Err(Broken::trouble(Phase::StartTls, Trouble::Tls("the peer did not start TLS".into()))),
        }
        let mut session = self.secure(net, demand, manners).await?;
        session.client.secured();
        session.expect_ready(Phase::Hello).await?;
        Ok(session)
    }

    /// The handshake.
    async fn secure(mut self, net: &dyn Net, demand: TlsDemand, manners: &Manners) -> Result<Self, Broken> {
        let name = self.remote.host.clone();
        let failed = |why: String| Broken::trouble(Phase::StartTls, Trouble::Tls(why.into()));
        let secured = match self.patience.within(self.timeouts.tls, net.secure(self.connection, &name, demand)).await {
            Err(_) => return Err(failed("the handshake took too long".to_owned())),
            Ok(Err(trouble)) => return Err(failed(trouble.to_string())),
            Ok(Ok(secured)) => secured,
        };
        // Nothing of value was said yet, so it is soon enough to judge the version now.
        if manners.tls13_only && &*secured.facts.version != "TLSv1.3" {
            return Err(failed(format!("the server speaks {}, and TLS 1.3 is required", secured.facts.version)));
        }
        self.connection = secured.connection;
        self.tls = Some(secured.facts);
        Ok(self)
    }

    /// AUTH (RFC 4954).
    async fn prove(&mut self, credentials: &Credentials, in_clear: AuthInClear) -> Result<(), Broken> {
        let mechanism = prove::mechanism(self.hello().auth, self.tls.is_some(), in_clear)
            .map_err(|why| Broken::trouble(Phase::Auth, Trouble::Protocol(why.into())))?;
        self.client.authenticate(mechanism, credentials);
        match self.advance().await? {
            Came::Ready => Ok(()),
            Came::Refused { reply, .. } => Err(Broken::new(Phase::Auth, Reason::Reply(reply))),
            _ => Err(Broken::trouble(Phase::Auth, Trouble::Dropped("closed during AUTH".into()))),
        }
    }

    async fn expect_ready(&mut self, phase: Phase) -> Result<(), Broken> {
        match self.advance().await? {
            Came::Ready => Ok(()),
            Came::Refused { reply, stage, .. } => Err(Broken::new(phase_of(stage).min(phase), Reason::Reply(reply))),
            _ => Err(Broken::trouble(phase, Trouble::Dropped("closed before the session was ready".into()))),
        }
    }

    /// One transaction, begun when the session is ready. `Err` says that the session is over, and how.
    pub(crate) async fn transact(&mut self, transaction: Transaction, head: &[u8], content: Content) -> Result<Transacted, Broken> {
        self.transactions += 1;
        match self.client.begin(transaction) {
            Ok(()) => {}
            Err(Unsendable::NeedsSmtpUtf8) => {
                return Ok(Transacted::Unsendable(Trouble::Unsupported("SMTPUTF8, which this message needs".into())));
            }
            Err(too_large @ Unsendable::TooLarge { .. }) => {
                return Ok(Transacted::Unsendable(Trouble::TooLarge(too_large.to_string().into())));
            }
            Err(binary @ Unsendable::NeedsBinaryMime) => {
                return Err(Broken::trouble(Phase::Local, Trouble::Internal(binary.to_string().into())));
            }
            Err(Unsendable::NoRecipients) => {
                return Err(Broken::trouble(Phase::Local, Trouble::Internal("a parcel without recipients".into())));
            }
        }
        match self.advance().await? {
            Came::WantContent => {}
            Came::Report(report) => return Ok(Transacted::Report(report)),
            _ => return Err(Broken::trouble(Phase::Data, Trouble::Protocol("no word on the transaction".into()))),
        }
        self.client.content(head);
        match content {
            Content::Held(octets) => self.client.content(&octets),
            Content::Streamed(mut source) => loop {
                match source.next().await {
                    Ok(Some(chunk)) => {
                        self.client.content(&chunk);
                        match self.advance().await? {
                            Came::WantContent => {}
                            Came::Report(report) => return Ok(Transacted::Report(report)),
                            _ => return Err(Broken::trouble(Phase::Content, Trouble::Protocol("no word on the content".into()))),
                        }
                    }
                    Ok(None) => break,
                    // The final dot is never sent after a fault of ours: the peer must not take half a message for a whole one.
                    Err(trouble) => return Err(Broken::trouble(Phase::Local, Trouble::Internal(trouble.to_string().into()))),
                }
            },
        }
        self.client.end_of_content();
        match self.advance().await? {
            Came::Report(report) => Ok(Transacted::Report(report)),
            _ => Err(Broken::trouble(Phase::EndOfData, Trouble::Protocol("no word on the end of data".into()))),
        }
    }

    /// Says QUIT, and does not insist.
    pub(crate) async fn quit(mut self) {
        self.client.quit();
        let limit = self.timeouts.quit;
        let _ = tokio::time::timeout(limit, self.advance()).await;
    }

    /// Returns when the peer speaks or closes although nothing was asked: an idle session is then over.
    pub(crate) async fn hangs_up(&mut self) {
        let space = self.client.space();
        // Whatever comes unasked (a 421, an end of stream) ends the session, so the octets need no reading.
        let _ = self.connection.read(space).await;
    }

    fn limit(&self, wait: Wait) -> Duration {
        match wait {
            Wait::Greeting => self.timeouts.greeting,
            Wait::Hello | Wait::Auth | Wait::Reset => self.timeouts.command,
            Wait::StartTls => self.timeouts.tls,
            Wait::Mail => self.timeouts.mail,
            Wait::Recipient => self.timeouts.recipient,
            Wait::DataInitiation => self.timeouts.data_initiation,
            Wait::DataBlock => self.timeouts.data_block,
            Wait::DataTermination => self.timeouts.data_termination,
            Wait::Quit | Wait::Idle => self.timeouts.quit,
        }
    }

    async fn advance(&mut self) -> Result<Came, Broken> {
        let mut awaited: Option<Awaited> = None;
        loop {
            let wait = self.client.waits_for();
            let limit = self.limit(wait);
            match self.client.next() {
                Step::Ready(_) => return Ok(Came::Ready),
                Step::TlsGranted => return Ok(Came::TlsGranted),
                Step::WantContent => return Ok(Came::WantContent),
                Step::Report(report) => return Ok(Came::Report(report)),
                Step::Refused(refusal) => return Ok(Came::Refused { reply: refusal.reply, stage: refusal.stage, usable: refusal.usable }),
                Step::Close => return Ok(Came::Closed),
                Step::Trouble(trouble) => return Err(self.broken(self.client.stage(), spoken(trouble))),
                Step::Write(octets) => match self.patience.within(limit, self.connection.write_all(octets)).await {
                    Ok(Ok(())) => self.unflushed = true,
                    Ok(Err(error)) => self.last_words(&error).await,
                    Err(_) => return Err(self.broken(wait, Trouble::Silent(limit.as_secs()))),
                },
                // TLS takes octets before the socket has room for them, and a read would leave them where they are: each side would wait for the other.
                Step::Read if std::mem::take(&mut self.unflushed) => match self.patience.within(limit, self.connection.flush()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => self.last_words(&error).await,
                    Err(_) => return Err(self.broken(wait, Trouble::Silent(limit.as_secs()))),
                },
                Step::Read => {
                    let left = Awaited::left(&mut awaited, wait, self.client.replies_heard(), limit);
                    match self.patience.within(left, self.connection.read(self.client.space())).await {
                        Ok(Ok(0) | Err(_)) => self.client.end_of_input(),
                        Ok(Ok(octets)) => self.client.filled(octets),
                        Err(_) => return Err(self.broken(wait, Trouble::Silent(limit.as_secs()))),
                    }
                }
            }
        }
    }

    /// The peer takes nothing more; what it said before (a 421, say) may still be there.
    async fn last_words(&mut self, _error: &std::io::Error) {
        match self.patience.within(self.timeouts.quit, self.connection.read(self.client.space())).await {
            Ok(Ok(octets)) if octets > 0 => self.client.filled(octets),
            Ok(_) | Err(_) => self.client.end_of_input(),
        }
    }

    fn broken(&self, wait: Wait, trouble: Trouble) -> Broken {
        let refused = self.client.refused_so_far().map(|(index, reply)| (index, reply.clone())).collect();
        let ended = self.client.ended_so_far().map(|(index, reply)| (index, reply.clone())).collect();
        let (phase, trouble) = if self.client.ambiguous() && wait == Wait::DataTermination {
            (Phase::EndOfData, Trouble::Ambiguous(trouble.to_string().into()))
        } else {
            (phase_of(wait), trouble)
        };
        Broken { phase, reason: Reason::Trouble(trouble), refused, ended }
    }
}

/// The machine's trouble in the words of attempts.
fn spoken(trouble: ProtocolTrouble) -> Trouble {
    match trouble {
        ProtocolTrouble::ConnectionLost(_) => Trouble::Dropped(trouble.to_string().into()),
        ProtocolTrouble::LineTooLong
        | ProtocolTrouble::TooManyLines
        | ProtocolTrouble::Nul
        | ProtocolTrouble::Malformed
        | ProtocolTrouble::CodesDiffer
        | ProtocolTrouble::Unsolicited
        | ProtocolTrouble::OctetsBeforeTls
        | ProtocolTrouble::Unexpected(_) => Trouble::Protocol(trouble.to_string().into()),
    }
}

#[cfg(test)]
#[path = "session_out_tests.rs"]
mod tests;
