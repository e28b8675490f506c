//! A session with a client: the driver of the server machine.
//!
//! One loop with one match. The machine knows grammar, legality and limits; here are the waits, the content on its way to the spool, and the questions,
//! which `core::admit` answers. A 250 to the end of data is written only after the spool took custody (docs/custody.md, instant 1).
//!
//! Content never gathers here: each slice the machine yields goes on to the staging, which holds at most `limits::INLINE_CONTENT_OCTETS_MAX`.

mod answer;
mod gate;
mod judge;
mod proxy;
mod returned;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use postrider_core::admit;
use postrider_model::doors::{Connection, Peer, Principal, ShownCertificate};
use postrider_model::policy::Snapshot;
use postrider_model::{Role, TlsFacts};
use postrider_smtp::server::{Server, Step, Wait};
use postrider_smtp::{EnhancedStatus, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::allowed::Meters;
use crate::checking::{Judges, Watch};
use crate::ending::Ending;
use crate::patience::Patience;
use crate::preflight::Preflight;
use crate::{Doors, ListenerSettings, ReceiveLimits};
pub(crate) use gate::{Gate, Pass};
pub(crate) use judge::{Conclusion, Terms, judge};
use transaction::Transaction;

/// How long an idle session keeps its buffers: a busy client is back before, and 10,000 silent ones must cost little.
const BUFFERS_KEPT: Duration = Duration::from_secs(2);

/// How long a proxy may take to say who the client is.
const PROXY_HEADER_TIME: Duration = Duration::from_secs(5);

/// What every session of one listener shares.
pub(crate) struct Reception {
    pub(crate) doors: Doors,
    pub(crate) settings: ListenerSettings,
    pub(crate) limits: Arc<ReceiveLimits>,
    pub(crate) rules: admit::Rules,
    /// Policy: which domains end here, and which mail is refused.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Sessions and failed proofs, over all listeners.
    pub(crate) gate: Arc<Gate>,
    /// What the machine is told.
    pub(crate) config: Arc<postrider_smtp::server::Config>,
    /// What tenants and credentials have sent.
    pub(crate) meters: Arc<Meters>,
    /// Which milters work.
    pub(crate) watch: Arc<Watch>,
    /// What is remembered of the rules of providers.
    pub(crate) preflight: Arc<Preflight>,
    /// Turns true when no new work is taken.
    pub(crate) closing: Ending,
}

pub(crate) fn reply(code: u16, (class, subject, detail): (u8, u16, u16), text: &str) -> Reply {
    Reply::new(code, Some(EnhancedStatus { class, subject, detail }), text)
}

/// How a session ended, for those who count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By QUIT, by the peer, or by the machine's own word.
    Closed,
    /// Time ran out.
    TimedOut,
}

/// One session.
pub(crate) struct Session<'a> {
    reception: &'a Reception,
    peer: Peer,
    /// Its place; given back with the session.
    pass: Pass,
    server: Server,
    patience: Patience,
    tls: Option<TlsFacts>,
    /// Who the client is by its address.
    known: Option<Principal>,
    /// Who it is by the certificate it has shown, when it says so (AUTH EXTERNAL).
    shown: Option<Principal>,
    /// It came by a proxy that could not name it.
    nameless: bool,
    /// Who it proved to be, or is known as.
    principal: Option<Principal>,
    hello: Box<str>,
    esmtp: bool,
    transaction: Option<Transaction>,
    /// How the client proved itself.
    mechanism: Option<&'static str>,
    /// Who judges its mail, where anybody does.
    judges: Option<Judges>,
}

/// Serves one client, from its connection to its end.
pub(crate) async fn serve(reception: Arc<Reception>, mut connection: Box<dyn Connection>, mut peer: Peer, mut pass: Pass) {
    let mut patience = Patience::new(reception.limits.session_time_max);
    let mut nameless = false;
    if reception.settings.proxies.iter().any(|network| network.contains(&peer.remote.ip().to_canonical())) {
        let read = proxy::real_peer(&mut *connection, peer);
        peer = match patience.within(PROXY_HEADER_TIME, read).await {
            Ok(Ok(real)) => {
                // The proxy's own address may be one that we trust; a client it cannot name is nobody.
                nameless = real.remote == peer.remote;
                real
            }
            Ok(Err(_)) | Err(_) => {
                let refusal = reply(421, (4, 3, 5), "no PROXY header from the proxy, or a broken one");
                reception.doors.log.refused(peer.remote.ip(), "connection", &refusal);
                return;
            }
        };
        if let Err(turned) = pass.moves_to(peer.remote.ip(), reception.limits.sessions_per_network_max) {
            let refusal = reply(421, (4, 7, 0), turned.text());
            reception.doors.log.refused(peer.remote.ip(), "connection", &refusal);
            return turn_away(connection, refusal, reception.settings.implicit_tls).await;
        }
    }
    let (connection, tls, certificate) = if reception.settings.implicit_tls {
        let handshake = reception.doors.net.accept_secure(connection);
        match patience.within(reception.limits.idle_timeout, handshake).await {
            Ok(Ok(secured)) => (secured.connection, Some(secured.facts), secured.certificate),
            Ok(Err(_)) | Err(_) => return,
        }
    } else {
        (connection, None, None)
    };
    let mut server = Server::new(reception.config.clone(), tls.is_some());
    if reception.settings.xclients.iter().any(|network| network.contains(&peer.remote.ip().to_canonical())) {
        server.allow_xclient();
    }
    let known = match reception.settings.role {
        Role::Submission if !nameless => reception.doors.registry.recognise(peer.remote.ip()).await,
        Role::Submission => None,
        // Servers of others hand over what is for us, whoever they are.
        Role::Relay | Role::Report | Role::Local => None,
    };
    if known.is_some() {
        server.trust();
    }
    let principal = known.clone();
    let takes_strangers = reception.settings.role == Role::Relay;
    let judges = Judges::of(&reception.doors, &reception.watch, &reception.snapshot, &reception.settings.name, takes_strangers);
    let mut session = Session {
        reception: &reception,
        peer,
        pass,
        server,
        patience,
        tls,
        known,
        shown: None,
        nameless: false,
        principal,
        hello: "".into(),
        esmtp: false,
        transaction: None,
        mechanism: None,
        judges,
    };
    session.nameless = nameless;
    session.show(certificate).await;
    session.run(connection).await;
    session.part().await;
}

/// Tells a client that there is no place, and closes. Under implicit TLS it would not understand, so the connection just ends.
pub(crate) async fn turn_away(mut connection: Box<dyn Connection>, reply: Reply, implicit_tls: bool) {
    if !implicit_tls {
        let mut octets = Vec::new();
        reply.write_to(&mut octets);
        let _ = tokio::time::timeout(Duration::from_secs(5), connection.write_all(&octets)).await;
    }
    let _ = tokio::time::timeout(Duration::from_secs(5), connection.shutdown()).await;
}

impl Session<'_> {
    async fn run(&mut self, mut connection: Box<dyn Connection>) -> End {
        let idle = self.reception.limits.idle_timeout;
        let closing = self.reception.closing.clone();
        let mut shrunk = false;
        let mut turn = Turn::new();
        let mut unflushed = false;
        loop {
            match self.server.next() {
                Step::Write(octets) => match self.patience.within(idle, connection.write_all(octets)).await {
                    Ok(Ok(())) => (turn, unflushed) = (Turn::new(), true),
                    Ok(Err(_)) => return End::Closed,
                    Err(_) => return End::TimedOut,
                },
                // TLS takes octets before the socket has room for them, and a read would leave them where they are: each side would wait for the other.
                Step::Read if std::mem::take(&mut unflushed) => match self.patience.within(idle, connection.flush()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return End::Closed,
                    Err(_) => return End::TimedOut,
                },
                Step::Content(octets) => {
                    let drain = self.transaction.as_mut().is_some_and(|transaction| transaction.append(octets));
                    if drain {
                        self.drain().await;
                    }
                }
                Step::Ask(question) => self.answer(question).await,
                Step::Aborted => {
                    self.transaction = None;
                    self.judged_no_more().await;
                }
                Step::Read => {
                    let limit = self.limit(self.server.waits_for(), &turn);
                    let idle_here = self.transaction.is_none();
                    let keeps_buffers = idle_here && !shrunk;
                    let limit = if keeps_buffers { limit.min(BUFFERS_KEPT) } else { limit };
                    let read = connection.read(self.server.space());
                    let read = async {
                        tokio::select! { biased;
                            octets = read => Some(octets),
                            () = closing.said(), if idle_here => None,
                        }
                    };
                    match self.patience.within(limit, read).await {
                        Ok(Some(Ok(0))) => self.server.end_of_input(),
                        Ok(Some(Ok(octets))) => {
                            shrunk = false;
                            self.read(octets);
                        }
                        Ok(Some(Err(_))) => return End::Closed,
                        Ok(None) => self.server.close(reply(421, (4, 3, 2), "service is shutting down")),
                        Err(_) if keeps_buffers => {
                            shrunk = true;
                            self.server.shrink();
                        }
                        Err(_) => {
                            self.transaction = None;
                            self.server.close(reply(421, (4, 4, 2), "timeout, closing"));
                        }
                    }
                }
                Step::StartTls => {
                    let handshake = self.reception.doors.net.accept_secure(connection);
                    match self.patience.within(idle, handshake).await {
                        Ok(Ok(secured)) => {
                            connection = secured.connection;
                            self.tls = Some(secured.facts);
                            self.forget();
                            self.show(secured.certificate).await;
                            self.server.secured();
                        }
                        Ok(Err(_)) => return End::Closed,
                        Err(_) => return End::TimedOut,
                    }
                }
                Step::Close => {
                    let _ = self.patience.within(Duration::from_secs(5), connection.shutdown()).await;
                    return End::Closed;
                }
            }
        }
    }

    /// Who the client is by its certificate: a client of ours that need not say more, one that may say AUTH EXTERNAL, or nobody.
    async fn show(&mut self, certificate: Option<ShownCertificate>) {
        let Some(certificate) = certificate.filter(|_| self.reception.settings.role == Role::Submission && !self.nameless) else { return };
        let found = self.reception.doors.registry.recognise_certificate(self.peer.remote.ip(), &certificate).await;
        let Some((principal, suffices)) = found else { return };
        self.shown = Some(principal.clone());
        self.server.allow_external();
        if suffices {
            self.server.trust();
            (self.known, self.principal) = (Some(principal.clone()), Some(principal));
        }
    }

    /// Before TLS nothing was heard (RFC 3207 §4.2).
    fn forget(&mut self) {
        self.transaction = None;
        self.principal = self.known.clone();
        self.mechanism = None;
        self.hello = "".into();
        self.esmtp = false;
    }

    fn read(&mut self, octets: usize) {
        self.server.filled(octets);
        match &mut self.transaction {
            Some(transaction) => transaction.pace.arrived(octets),
            // What is offered in EHLO, and what MAIL may ask for, has dates in it.
            None => self.server.set_clock(self.reception.doors.clock.now().seconds()),
        }
    }

    /// How long the next octet may take. Content has to come at a minimum rate, and a line to be whole in time, so that dripping does not hold a
    /// session for ever.
    fn limit(&self, wait: Wait, turn: &Turn) -> Duration {
        let idle = self.reception.limits.idle_timeout;
        match (wait, &self.transaction) {
            (Wait::Content, Some(transaction)) => transaction.pace.left(idle, self.reception.limits.content_octets_per_second_min),
            // Content that was refused is read to its end, however long that is.
            (Wait::Content, None) => idle,
            (Wait::Command | Wait::Auth, _) => turn.left(idle),
        }
    }
}

/// The client's turn to speak: from our last word on, it has the idle time-out for a whole line, however it comes.
#[derive(Debug)]
struct Turn {
    since: Instant,
}

impl Turn {
    fn new() -> Self {
        Self { since: Instant::now() }
    }

    fn left(&self, idle: Duration) -> Duration {
        idle.saturating_sub(self.since.elapsed())
    }
}

/// Measures how fast content comes: over each span of the idle time-out it must reach the minimum rate.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    octets: u64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), octets: 0 }
    }

    fn arrived(&mut self, octets: usize) {
        self.octets += octets as u64;
    }

    /// The time left until the span is judged; a span that reached the rate is followed by a new one.
    fn left(&self, span: Duration, octets_per_second_min: u64) -> Duration {
        // What has come entitles to as much time as it would have taken at the minimum rate.
        let earned = Duration::from_secs_f64(self.octets as f64 / octets_per_second_min.max(1) as f64);
        (span + earned).saturating_sub(self.since.elapsed()).min(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_that_drips_in_ends_in_time() {
        let idle = Duration::from_secs(300);
        let turn = Turn::new();
        let mut seconds = 0;
        while turn.left(idle) > Duration::ZERO && seconds < 10_000 {
            // An octet comes, and is no whole line: nothing is said to it.
            tokio::time::advance(Duration::from_secs(10)).await;
            seconds += 10;
        }
        assert_eq!(seconds, 300);
        assert_eq!(Turn::new().left(idle), idle, "our word gives the client its time again");
    }

    #[tokio::test(start_paused = true)]
    async fn dripping_ends_and_steady_content_does_not() {
        let span = Duration::from_secs(60);
        for (octets_per_second, survives) in [(1usize, false), (99, false), (200, true), (100_000, true)] {
            let mut pace = Pace::new();
            let mut seconds = 0;
            while seconds < 10_000 && pace.left(span, 100) > Duration::ZERO {
                tokio::time::advance(Duration::from_secs(1)).await;
                pace.arrived(octets_per_second);
                seconds += 1;
            }
            assert_eq!(seconds == 10_000, survives, "{octets_per_second} octets a second, ended after {seconds} s");
        }
    }
}
