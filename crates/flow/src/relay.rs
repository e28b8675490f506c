//! One relay: its listeners, its dispatcher, and the ways to speak to both. Two relays can live in one process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use postrider_core::admit;
use postrider_core::local::{self, Resolved};
use postrider_core::preflight::reuse::KEPT;
use postrider_core::rewrite::Whose;
use postrider_core::suspend::Suspensions;
use postrider_model::doors::{Insight, Listener, NetTrouble, Principal, Receipt, SpoolDesk, SpoolTrouble, Suspension};
use postrider_model::policy::{LOCAL_LISTENER, Snapshot};
use postrider_model::{BodyType, Envelope, Protocol, Recipient, ReportWishes, Role};
use postrider_smtp::data::BareNewline;
use postrider_smtp::sasl::Mechanisms;
use postrider_smtp::server;
use postrider_smtp::{Domain, EnhancedStatus, Mailbox, Reply, ReversePath};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::allowed::Meters;
use crate::checking::{Client, Judges, Watch, Word, canonical};
use crate::dispatch::{Command, Dispatcher};
use crate::ending::Ending;
use crate::insight::RelayInsight;
use crate::preflight::{Candidate, Preflight};
use crate::quotas::Quotas;
use crate::receive::{self, Conclusion, Gate, Reception};
use crate::submit::{Submission, find_room, push_once, take_custody, watch};
use crate::{Doors, ListenerSettings, ReceiveLimits, allowed, owned, sign};

/// How long a listener rests after a fault of the socket, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a reload replaces.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) snapshot: Arc<Snapshot>,
    limits: Arc<ReceiveLimits>,
    version: u64,
}

/// A running relay.
pub struct Relay {
    doors: Doors,
    current: Arc<Mutex<Current>>,
    gate: Arc<Gate>,
    meters: Arc<Meters>,
    watch: Arc<Watch>,
    preflight: Arc<Preflight>,
    commands: mpsc::UnboundedSender<Command>,
    quotas: Arc<Quotas>,
    closing: Ending,
    tasks: Mutex<JoinSet<()>>,
}

/// A hold on one listener. Dropping it changes nothing.
pub struct Listening(oneshot::Sender<()>);

impl Listening {
    /// Takes no more clients from it. Sessions under way go on to their end.
    pub fn close(self) {
        // A listener that the drain has closed already needs no telling.
        let _ = self.0.send(());
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitTrouble {
    /// Nobody to send it to.
    #[error("the message has no recipients")]
    NoRecipients,
    /// It is larger than the limit.
    #[error("the message has {octets} octets, more than the {max} allowed")]
    TooLarge {
        /// Its length.
        octets: u64,
        /// The limit.
        max: u64,
    },
    /// A domain of ours has nobody of this name.
    #[error("{0}: no such user here")]
    NoSuchUser(Mailbox),
    /// Too many servers have had it already.
    #[error("the message loops: {0} Received fields")]
    Loops(u32),
    /// A judge of content refused it.
    #[error("refused: {0}")]
    Refused(Reply),
    /// The spool did not take it.
    #[error(transparent)]
    Spool(#[from] SpoolTrouble),
}

impl Relay {
    /// Starts the dispatcher on the current runtime. Without `deliver` nothing leaves the spool (capture).
    pub fn start(doors: Doors, snapshot: Arc<Snapshot>, limits: Arc<ReceiveLimits>, deliver: bool) -> Arc<Self> {
        Self::start_suspended(doors, snapshot, limits, deliver, Vec::new())
    }

    /// The same, with suspensions that hold before anything is sent.
    pub fn start_suspended(
        doors: Doors,
        snapshot: Arc<Snapshot>,
        limits: Arc<ReceiveLimits>,
        deliver: bool,
        suspensions: Vec<Suspension>,
    ) -> Arc<Self> {
        let (commands, received) = mpsc::unbounded_channel();
        let quotas = Arc::new(Quotas::new(doors.quotas.clone()));
        // It is there before the dispatcher is.
        let _ = commands.send(Command::Suspend(Suspensions::new(suspensions)));
        let mut tasks = JoinSet::new();
        if deliver {
            tasks.spawn(Dispatcher::new(doors.clone(), snapshot.clone(), quotas.clone()).run(received));
        }
        let current = Arc::new(Mutex::new(Current { snapshot, limits, version: 0 }));
        Arc::new(Self {
            doors,
            current,
            gate: Arc::default(),
            meters: Arc::default(),
            watch: Arc::default(),
            preflight: Arc::default(),
            commands,
            quotas,
            closing: Ending::default(),
            tasks: Mutex::new(tasks),
        })
    }

    /// Takes over what tenants and credentials had sent before this start, and under which Message-IDs; before the first listener listens.
    pub fn load_meters(&self, kept: impl IntoIterator<Item = (String, String)>) {
        let (ids, meters): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(name, _)| name.starts_with(KEPT));
        self.meters.load(meters);
        self.preflight.load(ids, self.doors.clock.now());
    }

    /// What tenants and credentials have sent, of those that sent since the last question, and under which Message-IDs; an empty text is to be forgotten.
    pub fn changed_meters(&self) -> Vec<(String, String)> {
        let now = self.doors.clock.now();
        let mut changed = self.meters.changed(now);
        changed.extend(self.preflight.changed(now));
        changed
    }

    fn current(&self) -> Current {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The doors, and the policy that rules now.
    pub(crate) fn doors_and_snapshot(&self) -> (Doors, Arc<Snapshot>) {
        (self.doors.clone(), self.current().snapshot)
    }

    /// Orders the dispatcher, if there is one.
    pub(crate) fn order(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Asks the dispatcher; `None` when there is none.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, received) = oneshot::channel();
        self.commands.send(command(answer)).ok()?;
        received.await.ok()
    }

    fn reception(&self, current: &Current, settings: &ListenerSettings) -> Reception {
        let rules = rules(current, settings);
        Reception {
            doors: self.doors.clone(),
            settings: settings.clone(),
            limits: current.limits.clone(),
            rules,
            snapshot: current.snapshot.clone(),
            gate: self.gate.clone(),
            config: Arc::new(server_config(current, settings)),
            meters: self.meters.clone(),
            watch: self.watch.clone(),
            preflight: self.preflight.clone(),
            closing: self.closing.clone(),
        }
    }

    /// Takes clients from a listener until the relay drains, or until the listener is let go by what is returned here.
    pub fn listen(self: &Arc<Self>, listener: Arc<dyn Listener>, settings: ListenerSettings) -> Listening {
        let relay = self.clone();
        let (close, closed) = oneshot::channel();
        let serving = async move { relay.accept_loop(listener, &settings, closed).await };
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(serving);
        Listening(close)
    }

    async fn accept_loop(&self, listener: Arc<dyn Listener>, settings: &ListenerSettings, closed: oneshot::Receiver<()>) {
        let closing = self.closing.clone();
        // Whoever drops his hold on a listener without a word leaves it open.
        let mut closed = std::pin::pin!(async move {
            if closed.await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        let mut current = self.current();
        let mut reception = Arc::new(self.reception(&current, settings));
        let mut sessions = JoinSet::new();
        loop {
            let accepted = tokio::select! { biased;
                () = closing.said() => break,
                () = &mut closed => break,
                accepted = listener.accept() => accepted,
                Some(ended) = sessions.join_next(), if !sessions.is_empty() => { self.ended(ended); continue }
            };
            let (connection, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(trouble) => {
                    self.listener_trouble(settings, &trouble);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let newest = self.current();
            if newest.version != current.version {
                current = newest;
                reception = Arc::new(self.reception(&current, settings));
            }
            let limits = &current.limits;
            match self.gate.enter(peer.remote.ip(), limits.sessions_max, limits.sessions_per_network_max) {
                Ok(pass) => {
                    sessions.spawn(receive::serve(reception.clone(), connection, peer, pass));
                }
                Err(turned) => {
                    let reply = Reply::new(421, Some(EnhancedStatus { class: 4, subject: 7, detail: 0 }), turned.text());
                    self.doors.log.refused(peer.remote.ip(), "connection", &reply);
                    sessions.spawn(receive::turn_away(connection, reply, settings.implicit_tls));
                }
            }
        }
        // Nobody is to find the door open while the last sessions end.
        drop(listener);
        while let Some(ended) = sessions.join_next().await {
            self.ended(ended);
        }
    }

    /// A session that panicked took nothing with it: what was not acknowledged is the client's, and its pass is given back.
    fn ended(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.doors.log.alarm(None, "a session ended by a fault of ours; its client was not acknowledged and will try again");
        }
    }

    fn listener_trouble(&self, settings: &ListenerSettings, trouble: &NetTrouble) {
        self.doors.log.alarm(None, &format!("listener {}: {trouble}", settings.name));
    }

    /// Takes custody of a message that did not come by SMTP.
    pub async fn submit(
        &self,
        principal: Principal,
        reverse_path: ReversePath,
        recipients: Vec<Mailbox>,
        wishes: ReportWishes,
        content: Bytes,
    ) -> Result<Receipt, SubmitTrouble> {
        let Current { snapshot, limits, .. } = self.current();
        let max = limits.message_octets_max;
        if recipients.is_empty() {
            return Err(SubmitTrouble::NoRecipients);
        }
        if content.len() as u64 > max {
            return Err(SubmitTrouble::TooLarge { octets: content.len() as u64, max });
        }
        let mut ends = Vec::with_capacity(recipients.len());
        let end = |mailbox| Recipient { notify: wishes.notify, ..Recipient::new(mailbox) };
        for mailbox in recipients {
            let mailbox = canonical(&snapshot.checking.rewriting, &snapshot.routing, Whose::Recipient, &mailbox).unwrap_or(mailbox);
            match local::resolve(&snapshot.routing, &mailbox) {
                Resolved::Foreign => ends.push(end(mailbox)),
                Resolved::To(mailboxes) => mailboxes.into_iter().for_each(|mailbox| push_once(&mut ends, end(mailbox))),
                Resolved::Unknown => return Err(SubmitTrouble::NoSuchUser(mailbox)),
            }
        }
        let recipients = ends;
        if principal.own_domains_only {
            owned::reverse_path(&self.doors, &principal, &reverse_path).await.map_err(SubmitTrouble::Refused)?;
        }
        let mut watch = watch(&self.doors, Role::Local, Some(&principal)).await.map_err(SubmitTrouble::Refused)?;
        watch.feed(&content);
        let facts = watch.finish();
        owned::header(&self.doors, &principal, &facts).await.map_err(SubmitTrouble::Refused)?;
        sign::header(&self.doors, Role::Local, &facts).map_err(SubmitTrouble::Refused)?;
        if admit::hops(facts.hops).is_err() {
            return Err(SubmitTrouble::Loops(facts.hops));
        }
        let candidate = Candidate {
            principal: &principal,
            role: Role::Local,
            reverse_path: &reverse_path,
            recipients: &recipients,
            facts: &facts,
            peer: None,
        };
        self.preflight.judge(&self.doors, &snapshot, candidate).await.map_err(SubmitTrouble::Refused)?;
        let mut staging = self.doors.spool.stage(Some(content.len() as u64)).await?;
        for chunk in content.chunks(64 * 1024) {
            if staging.append(chunk) {
                staging.drain().await?;
            }
        }
        let staged = staging.finish().await?;
        let mut judges = Judges::of(&self.doors, &self.watch, &snapshot, LOCAL_LISTENER, false);
        if let Some(judges) = &mut judges
            && let Word::Refuse(reply) = introduce(judges, &snapshot.host_name, &principal, &reverse_path, &recipients).await
        {
            return Err(SubmitTrouble::Refused(reply));
        }
        let smtputf8 = facts.header_8bit || !reverse_path.is_ascii() || !recipients.iter().all(|recipient| recipient.mailbox.is_ascii());
        let body = if facts.body_8bit || facts.header_8bit { BodyType::EightBitMime } else { BodyType::SevenBit };
        let submission = Submission {
            id: None,
            held: None,
            principal,
            role: Role::Local,
            envelope: Envelope { ret: wishes.ret, envid: wishes.envid, ..Envelope::new(reverse_path, body, smtputf8) },
            hold: None,
            waits_until: None,
            facts,
            recipients,
            peer: None,
            hello: "".into(),
            protocol: Protocol::Local,
            tls: None,
        };
        let concluded = match &mut judges {
            Some(judges) => {
                let concluded =
                    receive::judge(&self.doors, judges, submission, staged, receive::Terms { octets_max: max, returned: false }).await;
                judges.part().await;
                concluded?
            }
            None => Conclusion::Take(Box::new(submission), staged),
        };
        match concluded.with_copies(&snapshot, LOCAL_LISTENER) {
            Conclusion::Take(mut submission, staged) => {
                let room = allowed::size(&submission.principal, staged.octets);
                room.and_then(|()| find_room(&self.doors, &self.meters, &mut submission)).map_err(SubmitTrouble::Refused)?;
                Ok(take_custody(&self.doors, *submission, staged).await?)
            }
            Conclusion::Discard(message) => Ok(Receipt { message, at: message.accepted_at() }),
            Conclusion::Refuse(reply) => Err(SubmitTrouble::Refused(reply)),
        }
    }

    /// Another policy rules from now on. Sessions under way end under the old one.
    pub fn reload(&self, snapshot: Arc<Snapshot>, limits: Arc<ReceiveLimits>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Current { snapshot: snapshot.clone(), limits, version: current.version + 1 };
        let _ = self.commands.send(Command::Reload(snapshot));
    }

    /// A look at the live schedule, and at the queue behind it.
    pub fn insight(&self, desk: Arc<dyn SpoolDesk>) -> Arc<dyn Insight> {
        Arc::new(RelayInsight::new(self.commands.clone(), desk, self.doors.clone(), self.current.clone()))
    }

    /// Sessions with clients at present.
    pub fn sessions(&self) -> usize {
        self.gate.sessions()
    }

    /// Sessions with clients that began, since the start.
    pub fn sessions_begun(&self) -> u64 {
        self.gate.begun()
    }

    /// Takes no new work, lets transactions under way end within `limit`, hands loans back, and syncs. Nothing is lost.
    pub async fn drain(&self, limit: Duration) {
        self.closing.say();
        let (answer, drained) = oneshot::channel();
        let _ = self.commands.send(Command::Drain(answer));
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ending = async {
            let _ = drained.await;
            while tasks.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout(limit, ending).await;
        tasks.shutdown().await;
        self.quotas.close().await;
        let _ = self.doors.spool.flush().await;
    }
}

/// The judges hear of mail that did not come by SMTP, as of a client on this machine (Postfix's `non_smtpd_milters`).
async fn introduce(
    judges: &mut Judges,
    host_name: &str,
    principal: &Principal,
    reverse_path: &ReversePath,
    recipients: &[Recipient],
) -> Word {
    let user = principal.credential.as_ref().map(|credential| ("LOCAL", credential.as_str()));
    let client =
        Client { listener: LOCAL_LISTENER, address: None, dialled: None, hello: host_name, tls: None, proof: user, is_stranger: false };
    let mut word = judges.mail(&client, &principal.stream, reverse_path, &[]).await;
    for recipient in recipients {
        if word == Word::Go {
            word = judges.recipient(&format!("<{}>", recipient.mailbox), &recipient.mailbox, &[]).await;
        }
    }
    if word == Word::Go { judges.data().await } else { word }
}

fn rules(current: &Current, settings: &ListenerSettings) -> admit::Rules {
    let snapshot = &current.snapshot;
    let own_names = std::iter::once(&snapshot.host_name).chain(snapshot.sources.iter().map(|source| &source.ehlo_name));
    admit::Rules {
        role: if settings.role == Role::Relay { admit::ListenerRole::Relay } else { admit::ListenerRole::Submission },
        tls_required: false,
        postmaster: snapshot.postmaster.clone(),
        own_names: own_names.filter_map(|name| Domain::parse(name).ok()).collect(),
        local_domains: snapshot.routing.local.values().map(|local| local.name.clone()).collect(),
        relay_domains: current.limits.relay_domains.iter().cloned().collect(),
    }
}

fn server_config(current: &Current, settings: &ListenerSettings) -> server::Config {
    let limits = &current.limits;
    let mut config = server::Config::new(&current.snapshot.host_name);
    config.message_bytes_max = limits.message_octets_max;
    config.recipients_max = limits.recipients_max;
    config.text_line_octets_max = limits.text_line_octets_max;
    config.errors_max = limits.errors_per_session_max;
    config.bare_newline = if limits.normalise_bare_newlines { BareNewline::Normalise } else { BareNewline::Refuse };
    config.extensions.dsn = true;
    // A next hop that does not take it is given another encoding.
    config.extensions.binary_mime = true;
    if settings.role == Role::Submission {
        // For clients of ours: RFC 4865 §3 is for submission alone, and strangers do not say what is urgent (RFC 6710 §5).
        config.extensions.deliver_by = true;
        config.extensions.priority = true;
        config.extensions.hold_seconds_max = u32::try_from(limits.hold_max.as_secs()).ok().filter(|seconds| *seconds > 0);
    }
    config.starttls = settings.starttls;
    config.auth_in_clear = settings.auth_in_clear;
    config.auth_required = settings.auth_required;
    if settings.role == Role::Submission {
        config.mechanisms = Mechanisms::SERVED;
    }
    config
}
