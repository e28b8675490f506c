//! From a Site to an open session: resolve, dial, greet, secure, prove.
//!
//! Hosts in order of preference, equal ones rotated (RFC 5321 §5.1), smart hosts in the order of policy; their addresses in turn, both families, which race (`race`). An address
//! that does not answer, or that refuses the session, is left for the next one, until there is none or `limits::ADDRESSES_PER_ATTEMPT_MAX` were tried. A smart
//! host whose limit is reached is passed over. An address where we listen ourselves is never dialled, nor is any host that is no better.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use postrider_core::route::{self, MxPlan, RouteTrouble};
use postrider_core::shape::Hold;
use postrider_model::doors::{Connection, DnsTrouble, NetTrouble};
use postrider_model::policy::{self, LmtpServer, Pool, Proxy, ProxyProtocol, Rule, SmartHost, Snapshot, Source, Target, TlsLevel};
use postrider_model::{Diagnosis, Phase, Reason, Trouble, limits};
use postrider_smtp::{Domain, Reply};

use crate::Doors;
use crate::quotas::Quotas;
use crate::race::{Dialling, race};
use crate::session_out::{Broken, Manners, Place, Remote, SessionOut};

/// Where the mail of a Site goes.
#[derive(Debug, Clone)]
pub(crate) enum NextHop {
    /// Hosts by preference.
    Mx(Arc<MxPlan>),
    /// An address literal.
    Address(IpAddr),
    /// Smart hosts in order.
    SmartHosts(Arc<[Arc<SmartHost>]>),
    /// A mailbox server.
    Lmtp(LmtpServer),
    /// Files; the template of their folder.
    Maildir(Arc<str>),
}

/// A next hop, and how it is met.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    pub(crate) next: NextHop,
    /// How sessions with mail exchangers must be secured.
    pub(crate) tls: TlsLevel,
    pub(crate) tls13_only: bool,
    /// From which Sources; all, when nothing is said.
    pub(crate) pool: Option<Arc<Pool>>,
}

impl Hop {
    /// As a rule and a stream's pool say it, or as usual without them.
    pub(crate) fn by(rule: Option<&Rule>, stream_pool: Option<&Arc<Pool>>, next: NextHop) -> Self {
        let pool = || stream_pool.cloned();
        match rule {
            Some(rule) => Self { next, tls: rule.tls, tls13_only: rule.tls13_only, pool: rule.pool.clone().or_else(pool) },
            None => Self { next, tls: TlsLevel::Opportunistic, tls13_only: false, pool: pool() },
        }
    }
}

impl NextHop {
    /// The next hop of a target that needs no look-up to be known.
    pub(crate) fn of(target: &Target) -> Option<Self> {
        match target {
            Target::Mx | Target::Reject(_) => None,
            Target::SmartHosts(hosts) => Some(Self::SmartHosts(hosts.as_slice().into())),
            Target::Lmtp(server) => Some(Self::Lmtp(server.clone())),
            Target::Maildir(template) => Some(Self::Maildir(template.as_str().into())),
        }
    }
}

/// A session, and the smart host whose limits it counts in.
pub(crate) struct Connected {
    pub(crate) session: SessionOut,
    pub(crate) smart_host: Option<Arc<SmartHost>>,
}

/// Why there is no session.
pub(crate) enum NoSession {
    /// No host of the Site has an address: a fact about each recipient's domain, which the Site's name would not say.
    NoAddress(RouteTrouble),
    /// Told in full.
    Failed(Diagnosis),
    /// Every smart host has been given what it lets through.
    Full(Hold),
    /// The proxy that dials for the Source cannot be used: nothing was heard of any host.
    SourceDown(String),
}

/// Why there is no session with one candidate.
enum Unmet {
    Broken(Broken),
    SourceDown(String),
}

impl From<Broken> for Unmet {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Somebody to try.
struct Candidate {
    remote: Remote,
    manners: Manners,
    smart_host: Option<Arc<SmartHost>>,
}

/// The candidates of one attempt, in order.
#[derive(Default)]
struct Candidates {
    list: Vec<Candidate>,
    /// What look-ups gave instead of addresses.
    troubles: Vec<DnsTrouble>,
    /// The last host whose look-up failed, with the reason.
    failed: Option<(Arc<str>, Trouble)>,
    implicit: bool,
    /// We are the best host that is left.
    ours: bool,
}

/// What dialling gave.
type Dialled = Result<Box<dyn Connection>, NetTrouble>;

/// What connecting needs.
pub(crate) struct Connecting<'a> {
    pub(crate) doors: &'a Doors,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) source: &'a Source,
    pub(crate) quotas: &'a Quotas,
    pub(crate) hop: &'a Hop,
}

impl Connecting<'_> {
    /// Opens a session with a Site for so many recipients, or says why none could be had.
    pub(crate) async fn connect(&self, recipients: u32) -> Result<Connected, NoSession> {
        if let NextHop::SmartHosts(hosts) = &self.hop.next
            && let Some(hold) = self.quotas.hold(hosts, recipients, self.doors.clock.now())
        {
            return Err(NoSession::Full(hold));
        }
        let mut found = self.candidates(recipients).await;
        if found.list.is_empty() {
            return Err(self.nobody(found, recipients));
        }
        self.keep_reachable(&mut found);
        let mut last = None;
        let mut list = VecDeque::from(found.list);
        while let Some((candidate, connection)) = self.next_connection(&mut list).await {
            match self.session_with(&candidate, connection).await {
                Ok(session) => return Ok(Connected { session, smart_host: candidate.smart_host }),
                Err(Unmet::SourceDown(why)) => return Err(NoSession::SourceDown(why)),
                Err(Unmet::Broken(broken)) => {
                    self.alarm(&candidate, &broken);
                    last = Some(self.diagnose(broken.phase, broken.reason, Some(&candidate.remote)));
                }
            }
        }
        let none = || self.diagnose(Phase::Connect, Reason::Trouble(Trouble::ConnectFailed("no address".into())), None);
        Err(NoSession::Failed(last.unwrap_or_else(none)))
    }

    fn diagnose(&self, phase: Phase, reason: Reason, remote: Option<&Remote>) -> Diagnosis {
        let at = self.doors.clock.now();
        Diagnosis { at, phase, reason, remote: remote.map(|r| r.host.clone()), address: remote.and_then(Remote::address) }
    }

    /// An MX that points nowhere is a fact of the DNS only if every look-up was answered. A next hop that policy names is never the mail's fault.
    fn nobody(&self, found: Candidates, recipients: u32) -> NoSession {
        if let NextHop::SmartHosts(hosts) = &self.hop.next
            && let Some(hold) = self.quotas.hold(hosts, recipients, self.doors.clock.now())
        {
            // Others took what was left while names were looked up.
            return NoSession::Full(hold);
        }
        match found.failed {
            Some((host, trouble)) => {
                let diagnosis = self.diagnose(Phase::Route, Reason::Trouble(trouble), None);
                NoSession::Failed(Diagnosis { remote: Some(host), ..diagnosis })
            }
            None if !matches!(self.hop.next, NextHop::Mx(_) | NextHop::Address(_)) => {
                let trouble = Trouble::ConnectFailed("no next hop of the route could be tried".into());
                NoSession::Failed(self.diagnose(Phase::Route, Reason::Trouble(trouble), None))
            }
            None if found.ours => NoSession::NoAddress(RouteTrouble::Loop),
            None => NoSession::NoAddress(route::no_address(found.implicit, &found.troubles)),
        }
    }

    /// A Source of one family reaches that family only.
    fn keep_reachable(&self, found: &mut Candidates) {
        // Which families a SOCKS proxy reaches, it says itself.
        let ours = self.source.proxy.as_ref().is_none_or(|proxy| matches!(proxy.protocol, ProxyProtocol::Header(_)));
        let Some(from) = self.source.address.filter(|_| ours) else { return };
        let reachable = |candidate: &Candidate| candidate.remote.address().is_none_or(|to| to.is_ipv4() == from.is_ipv4());
        // With nobody left, the net says what is wrong with the Source.
        if found.list.iter().any(reachable) {
            found.list.retain(reachable);
        }
    }

    async fn candidates(&self, recipients: u32) -> Candidates {
        match &self.hop.next {
            NextHop::Mx(plan) => self.of_plan(plan).await,
            NextHop::Address(address) => {
                let place = SocketAddr::new(*address, self.snapshot.smtp_port);
                let ours = self.doors.net.is_ours(place);
                let remote = Remote { host: format!("[{address}]").into(), place: Place::Tcp(place) };
                Candidates { list: if ours { Vec::new() } else { vec![self.stranger(remote)] }, ours, ..Candidates::default() }
            }
            NextHop::SmartHosts(hosts) => self.of_smart_hosts(hosts, recipients).await,
            NextHop::Lmtp(server) => self.of_mailbox_server(server).await,
            // Nothing is dialled for files: the worker delivers without a session.
            NextHop::Maildir(_) => Candidates::default(),
        }
    }

    fn usual(&self) -> Manners {
        Manners { chunking: self.snapshot.chunking, ..Manners::usual(&self.source.ehlo_name) }
    }

    fn stranger(&self, remote: Remote) -> Candidate {
        let manners = Manners { tls: self.hop.tls, tls13_only: self.hop.tls13_only, ..self.usual() };
        Candidate { remote, manners, smart_host: None }
    }

    async fn of_plan(&self, plan: &MxPlan) -> Candidates {
        let mut found = Candidates { implicit: plan.implicit, ..Candidates::default() };
        for host in route::order(plan, self.doors.entropy.below(u64::MAX)) {
            if found.list.len() >= limits::ADDRESSES_PER_ATTEMPT_MAX {
                break;
            }
            let addresses = self.look_up(&host, self.snapshot.smtp_port, &mut found).await;
            if addresses.iter().any(|address| self.doors.net.is_ours(*address)) {
                // RFC 5321 §5.1: hosts as good as we are, or worse, would send it back to us.
                let tier = plan.tiers.iter().position(|tier| tier.contains(&host)).unwrap_or(0);
                let better = |name: &str| plan.tiers[..tier].iter().flatten().any(|host| host.as_str() == name);
                found.list.retain(|candidate| better(&candidate.remote.host));
                found.ours = found.list.is_empty();
                break;
            }
            let name: Arc<str> = host.as_str().into();
            let remotes = addresses.into_iter().map(|address| Remote { host: name.clone(), place: Place::Tcp(address) });
            found.list.extend(remotes.map(|remote| self.stranger(remote)));
        }
        found.list.truncate(limits::ADDRESSES_PER_ATTEMPT_MAX);
        found
    }

    async fn of_smart_hosts(&self, hosts: &[Arc<SmartHost>], recipients: u32) -> Candidates {
        let mut found = Candidates::default();
        // Each host gets its part of the tries, so that one with many dead addresses does not hide the next.
        let each = (limits::ADDRESSES_PER_ATTEMPT_MAX / hosts.len().max(1)).max(2);
        for host in hosts {
            if self.quotas.check(host, recipients, self.doors.clock.now()).is_err() {
                continue;
            }
            let manners = Manners {
                tls: host.tls,
                tls13_only: host.tls13_only,
                credentials: host.credentials.clone(),
                auth_in_clear: host.auth_in_clear,
                ..self.usual()
            };
            for remote in self.of_remote(&host.host, host.port, &mut found).await.into_iter().take(each) {
                found.list.push(Candidate { remote, manners: manners.clone(), smart_host: Some(host.clone()) });
            }
        }
        found
    }

    async fn of_mailbox_server(&self, server: &LmtpServer) -> Candidates {
        let mut found = Candidates::default();
        let usual = Manners { lmtp: true, ..self.usual() };
        let (remotes, manners) = match server {
            LmtpServer::Unix(path) => (vec![Remote { host: server.name().into(), place: Place::Unix(path.as_path().into()) }], usual),
            LmtpServer::Tcp { host, port, tls, tls13_only } => {
                (self.of_remote(host, *port, &mut found).await, Manners { tls: *tls, tls13_only: *tls13_only, ..usual })
            }
        };
        found.list.extend(remotes.into_iter().map(|remote| Candidate { remote, manners: manners.clone(), smart_host: None }));
        found
    }

    /// The addresses of a host that policy names. That there is none is our mistake, not the mail's, so it waits.
    async fn of_remote(&self, host: &policy::Remote, port: u16, found: &mut Candidates) -> Vec<Remote> {
        let name: Arc<str> = host.to_string().into();
        let addresses = match host {
            policy::Remote::Address(address) => vec![SocketAddr::new(*address, port)],
            policy::Remote::Name(domain) => self.look_up(domain, port, found).await,
        };
        let nowhere = |why: &str| Some((name.clone(), Trouble::ConnectFailed(format!("{name}:{port} {why}").into())));
        if addresses.is_empty() && found.failed.is_none() {
            found.failed = nowhere("has no address; correct its name in the configuration");
        }
        if addresses.iter().any(|address| self.doors.net.is_ours(*address)) {
            found.failed = nowhere("is this relay itself; correct it in the configuration");
            return Vec::new();
        }
        addresses.into_iter().map(|address| Remote { host: name.clone(), place: Place::Tcp(address) }).collect()
    }

    async fn look_up(&self, host: &Domain, port: u16, found: &mut Candidates) -> Vec<SocketAddr> {
        match self.doors.resolver.addresses(host).await {
            Ok(answer) => route::addresses(true, answer.addresses).into_iter().map(|address| SocketAddr::new(address, port)).collect(),
            Err(trouble) => {
                if let DnsTrouble::Failed(why) = &trouble {
                    let name: Arc<str> = host.as_str().into();
                    found.failed = Some((name.clone(), Trouble::DnsFailed(name, why.as_str().into())));
                }
                found.troubles.push(trouble);
                Vec::new()
            }
        }
    }

    /// Dials the next candidate, and against it the one behind it when that is the other family of the same host. Takes from the list whoever has failed or won.
    async fn next_connection(&self, list: &mut VecDeque<Candidate>) -> Option<(Candidate, Dialled)> {
        let first = list.pop_front()?;
        let timeout = self.snapshot.timeouts.connect;
        let address = match &first.remote.place {
            Place::Tcp(address) => *address,
            Place::Unix(path) => {
                let connected = self.doors.net.dial_unix(path, timeout).await;
                return Some((first, connected));
            }
        };
        let rival = list.front().filter(|rival| rival.remote.host == first.remote.host && rival.manners.tls == first.manners.tls);
        let rival = rival.and_then(|rival| rival.remote.address()).filter(|other| other.is_ipv4() != address.is_ipv4());
        if self.proxy().is_some() {
            let connected = self.dial(&first.remote).await;
            return Some((first, connected));
        }
        let dialling = Dialling { net: &*self.doors.net, from: self.source.address, timeout };
        let raced = race(dialling, address, rival).await;
        let candidate = match (raced.by_rival, raced.other_failed) {
            (false, false) => first,
            (false, true) => {
                list.pop_front();
                first
            }
            (true, other_failed) => {
                let winner = list.pop_front()?;
                if !other_failed {
                    // It may still answer, should the session with the winner fail.
                    list.push_front(first);
                }
                winner
            }
        };
        Some((candidate, raced.connection))
    }

    /// A session over a connection. Where TLS is a matter of chance, a handshake that fails is followed by a new connection in the clear.
    async fn session_with(&self, candidate: &Candidate, connected: Dialled) -> Result<SessionOut, Unmet> {
        match self.greet(candidate, connected, &candidate.manners).await {
            Err(Unmet::Broken(Broken { phase: Phase::StartTls, .. })) if candidate.manners.tls == TlsLevel::Opportunistic => {
                let in_the_clear = Manners { tls: TlsLevel::None, ..candidate.manners.clone() };
                let connected = self.dial(&candidate.remote).await;
                self.greet(candidate, connected, &in_the_clear).await
            }
            session => session,
        }
    }

    /// Who dials for us. Mailbox servers are near by, and dialled by ourselves.
    fn proxy(&self) -> Option<&Proxy> {
        self.source.proxy.as_deref().filter(|_| !matches!(self.hop.next, NextHop::Lmtp(_)))
    }

    async fn dial(&self, remote: &Remote) -> Dialled {
        let (timeout, from) = (self.snapshot.timeouts.connect, self.source.address);
        match (&remote.place, self.proxy()) {
            (Place::Tcp(address), Some(proxy)) => self.doors.net.dial_through(proxy, from, *address, timeout).await,
            (Place::Tcp(address), None) => self.doors.net.dial(from, *address, timeout).await,
            (Place::Unix(path), _) => self.doors.net.dial_unix(path, timeout).await,
        }
    }

    async fn greet(&self, candidate: &Candidate, connected: Dialled, manners: &Manners) -> Result<SessionOut, Unmet> {
        let connection = match connected {
            Ok(connection) => connection,
            Err(NetTrouble::Proxy(why)) => return Err(Unmet::SourceDown(why)),
            Err(failed) => {
                let reason = Reason::Trouble(Trouble::ConnectFailed(failed.to_string().into()));
                return Err(Broken::new(Phase::Connect, reason).into());
            }
        };
        let greeted = SessionOut::greet(&*self.doors.net, connection, candidate.remote.clone(), manners, self.snapshot.timeouts);
        Ok(greeted.await?)
    }

    /// A smart host that does not believe us is our mistake, and somebody has to mend it.
    fn alarm(&self, candidate: &Candidate, broken: &Broken) {
        let (Some(host), Phase::Auth, Reason::Reply(reply)) = (&candidate.smart_host, broken.phase, &broken.reason) else { return };
        if Reply::is_permanent(reply) {
            let name = &host.name;
            self.doors.log.alarm(
                None,
                &format!(
                    "smart host {name} refused our user and password: {reply}; its mail waits. Correct [[smart_host]] {name} and reload"
                ),
            );
        }
    }
}
