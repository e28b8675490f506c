//! From a Site to an open session: resolve, dial, greet, secure.
//!
//! Hosts in order of preference, equal ones rotated (RFC 5321 §5.1); their addresses in turn, both families. An address that does not answer, or that refuses
//! the session, is left for the next one, until there is none or `limits::ADDRESSES_PER_ATTEMPT_MAX` were tried.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use postrider_core::route::{self, MxPlan, RouteTrouble};
use postrider_model::doors::{DnsTrouble, NetTrouble};
use postrider_model::policy::{Snapshot, Source};
use postrider_model::{Diagnosis, Phase, Reason, Trouble, limits};

use crate::Doors;
use crate::session_out::{Broken, Remote, SessionOut};

/// Where the mail of a Site goes.
#[derive(Debug, Clone)]
pub(crate) enum NextHop {
    /// Hosts by preference.
    Mx(Arc<MxPlan>),
    /// An address literal.
    Address(IpAddr),
}

/// Why there is no session.
pub(crate) enum NoSession {
    /// No host of the Site has an address: a fact about each recipient's domain, which the Site's name would not say.
    NoAddress(RouteTrouble),
    /// Told in full.
    Failed(Diagnosis),
}

/// The candidates of one attempt, in order.
#[derive(Default)]
struct Candidates {
    remotes: Vec<Remote>,
    /// What look-ups gave instead of addresses.
    troubles: Vec<DnsTrouble>,
    /// The last host whose look-up failed, with the reason.
    failed: Option<(Arc<str>, Arc<str>)>,
    implicit: bool,
}

async fn candidates(doors: &Doors, hop: &NextHop, port: u16) -> Candidates {
    let plan = match hop {
        NextHop::Address(address) => {
            let remote = Remote { host: format!("[{address}]").into(), address: SocketAddr::new(*address, port) };
            return Candidates { remotes: vec![remote], ..Candidates::default() };
        }
        NextHop::Mx(plan) => plan,
    };
    let mut found = Candidates { implicit: plan.implicit, ..Candidates::default() };
    for host in route::order(plan, doors.entropy.below(u64::MAX)) {
        if found.remotes.len() >= limits::ADDRESSES_PER_ATTEMPT_MAX {
            break;
        }
        match doors.resolver.addresses(&host).await {
            Ok(answer) => {
                let name: Arc<str> = host.as_str().into();
                for address in route::addresses(true, answer.addresses) {
                    found.remotes.push(Remote { host: name.clone(), address: SocketAddr::new(address, port) });
                }
            }
            Err(trouble) => {
                if let DnsTrouble::Failed(why) = &trouble {
                    found.failed = Some((host.as_str().into(), why.as_str().into()));
                }
                found.troubles.push(trouble);
            }
        }
    }
    found.remotes.truncate(limits::ADDRESSES_PER_ATTEMPT_MAX);
    found
}

/// Opens a session with a Site, or says why none could be had.
pub(crate) async fn connect(doors: &Doors, snapshot: &Snapshot, source: &Source, hop: &NextHop) -> Result<SessionOut, NoSession> {
    let found = candidates(doors, hop, snapshot.smtp_port).await;
    let diagnose = |phase, reason, remote: Option<&Remote>| Diagnosis {
        at: doors.clock.now(),
        phase,
        reason,
        remote: remote.map(|r| r.host.clone()),
        address: remote.map(|r| r.address),
    };
    if found.remotes.is_empty() {
        // An MX that points nowhere is a fact of the DNS only if every look-up was answered.
        return Err(match found.failed {
            Some((host, why)) => NoSession::Failed(diagnose(Phase::Route, Reason::Trouble(Trouble::DnsFailed(host, why)), None)),
            None => NoSession::NoAddress(route::no_address(found.implicit, &found.troubles)),
        });
    }
    let mut last = None;
    for remote in &found.remotes {
        match session_with(doors, snapshot, source, remote).await {
            Ok(session) => return Ok(session),
            Err(broken) => last = Some(diagnose(broken.phase, broken.reason, Some(remote))),
        }
    }
    let none = || diagnose(Phase::Connect, Reason::Trouble(Trouble::ConnectFailed("no address".into())), None);
    Err(NoSession::Failed(last.unwrap_or_else(none)))
}

/// A session with one address: under TLS where it is offered; in the clear, over a new connection, where the handshake fails.
async fn session_with(doors: &Doors, snapshot: &Snapshot, source: &Source, remote: &Remote) -> Result<SessionOut, Broken> {
    match dial(doors, snapshot, source, remote, true).await {
        Err(Broken { phase: Phase::StartTls, .. }) => dial(doors, snapshot, source, remote, false).await,
        session => session,
    }
}

async fn dial(doors: &Doors, snapshot: &Snapshot, source: &Source, remote: &Remote, try_tls: bool) -> Result<SessionOut, Broken> {
    let connected = doors.net.dial(source.address, remote.address, snapshot.timeouts.connect).await;
    let trouble = |trouble: NetTrouble| Reason::Trouble(Trouble::ConnectFailed(trouble.to_string().into()));
    let connection = connected.map_err(|failed| Broken::new(Phase::Connect, trouble(failed)))?;
    SessionOut::greet(&*doors.net, connection, remote.clone(), &source.ehlo_name, try_tls, snapshot.timeouts).await
}
