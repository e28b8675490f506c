//! One connection out, from its first parcel to QUIT.
//!
//! A worker is a task that owns at most one session. It takes parcels from the dispatcher, makes an attempt of each, settles it, and tells the dispatcher what the
//! Site made of it. Whatever ends the task (an idle time, a hang-up, a panic), no loan is left behind: a parcel that has no outcome is handed back by the
//! guard that holds it, and parcels not begun go back to the dispatcher with the last note.

use std::sync::Arc;
use std::time::Duration;

use postrider_core::classify::{self, Blame, Fate, Judgement};
use postrider_core::plan;
use postrider_core::quota::{Full, Span};
use postrider_core::retry::{self, Life, Next};
use postrider_core::returns::{self as told, Handed};
use postrider_core::route::RouteTrouble;
use postrider_model::doors::{Opened, SpoolTrouble};
use postrider_model::policy::{Provider, RuleAction, SmartHost, Snapshot, Source};
use postrider_model::{
    AttemptFacts, Diagnosis, LentDelivery, Message, Outcome, Parcel, Phase, Reason, Recipient, Settlement, Timestamp, Trouble,
};
use postrider_smtp::client::{Addressee, Report, Transaction};
use postrider_smtp::{Host, Reply};
use tokio::sync::mpsc;

use crate::Doors;
use crate::connect::{Connecting, Hop, NextHop, NoSession};
use crate::dispatch::{expired, settle_one};
use crate::ending::Ending;
use crate::generic::Generic;
use crate::held::Held;
use crate::keep;
use crate::local;
use crate::outgoing::Making;
use crate::prepared::{Prepared, Way};
use crate::quotas::{NotTaken, Quotas};
use crate::render;
use crate::returns::{self, Taker};
use crate::session_out::{Remote, SessionOut, Transacted, phase_of};
use crate::suppressed::{self, Left};

/// Names a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// What a worker tells the dispatcher.
#[derive(Debug)]
pub(crate) enum Note {
    /// A parcel was settled; the Site's part in it.
    Settled {
        worker: WorkerId,
        feedback: Feedback,
        /// The words or the trouble behind a failure, for `explain`.
        why: Option<String>,
    },
    /// No connection can be had by way of the worker's Source; the parcel comes back with the last note.
    SourceDown { worker: WorkerId, why: String },
    /// The worker has ended; these parcels were not begun.
    Closed { worker: WorkerId, returned: Vec<Parcel> },
}

/// What an attempt says about the Site.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Feedback {
    /// It takes mail.
    Succeeded,
    /// It does not, for a reason that would meet other mail, too.
    Failed,
    /// Nothing about other mail.
    Neutral,
    /// Its reply told us what to do.
    Advice(RuleAction),
}

/// A worker in the making.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) doors: Doors,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) source: Source,
    pub(crate) hop: Hop,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) jobs: mpsc::UnboundedReceiver<Parcel>,
    pub(crate) notes: mpsc::UnboundedSender<Note>,
    /// Turns true when no connection is to be opened any more.
    pub(crate) draining: Ending,
}

/// Sends the last note, however the task ends.
struct LastNote {
    id: WorkerId,
    notes: mpsc::UnboundedSender<Note>,
    jobs: mpsc::UnboundedReceiver<Parcel>,
    returned: Vec<Parcel>,
}

impl Drop for LastNote {
    fn drop(&mut self) {
        self.jobs.close();
        while let Ok(parcel) = self.jobs.try_recv() {
            self.returned.push(parcel);
        }
        let returned = std::mem::take(&mut self.returned);
        // When the dispatcher is gone the process is ending, and loans end with it.
        let _ = self.notes.send(Note::Closed { worker: self.id, returned });
    }
}

/// An open session, and the smart host whose limits it counts in.
struct Open {
    session: SessionOut,
    smart_host: Option<Arc<SmartHost>>,
}

/// One recipient, the judgement, and the words behind it.
type Verdict = (LentDelivery, Judgement, Result<Reply, Diagnosis>);

/// How long mail waits when the count of a limit could not be kept.
const NOT_KEPT_PAUSE: Duration = Duration::from_secs(60);

/// What became of a parcel at a session.
enum Made {
    /// A reply for each recipient, with the phase it came in.
    Replies(Vec<(Phase, Reply)>),
    /// The same diagnosis for all.
    Failed(Diagnosis),
    /// The Site has no address: told of each recipient's own domain.
    NoAddress(RouteTrouble),
    /// The same diagnosis for all but those who had a reply of their own before the session broke.
    Broken(Diagnosis, Vec<(usize, Phase, Reply)>),
    /// The smart hosts' limits are reached: no attempt was made.
    Full(Timestamp),
    /// A kept session had died before it took anything: no attempt was made.
    Stale,
    /// The Source cannot be used: no attempt was made.
    SourceDown(String),
}

impl Worker {
    /// Runs until there is nothing more to do.
    pub(crate) async fn run(self) {
        let Worker { id, doors, snapshot, provider, source, hop, quotas, jobs, notes, draining } = self;
        let mut end = LastNote { id, notes: notes.clone(), jobs, returned: Vec::new() };
        let attempts = Attempts { doors, snapshot, provider, source, hop, quotas, draining };
        let mut session: Option<Open> = None;
        while let Some(parcel) = next_job(&mut end.jobs, &mut session, attempts.snapshot.timeouts.keep_idle).await {
            let held = Held::new(&attempts.doors, parcel);
            match attempts.attempt(&mut session, held).await {
                Attempted::Settled { feedback, why } => {
                    let _ = notes.send(Note::Settled { worker: id, feedback, why });
                }
                Attempted::Stale(parcel) => end.returned.push(*parcel),
                Attempted::SourceDown(parcel, why) => {
                    end.returned.push(*parcel);
                    let _ = notes.send(Note::SourceDown { worker: id, why });
                }
                Attempted::HandedBack => {
                    let _ = notes.send(Note::Settled { worker: id, feedback: Feedback::Neutral, why: None });
                }
            }
            // Without a session this worker's permit must be asked for anew.
            let Some(open) = &session else { break };
            if open.session.transactions >= attempts.provider.messages_per_connection_max {
                break;
            }
        }
        // The permit goes back with the last note: not before the peer has seen the connection end.
        if let Some(open) = session {
            open.session.quit().await;
        }
        drop(end);
    }
}

async fn next_job(jobs: &mut mpsc::UnboundedReceiver<Parcel>, session: &mut Option<Open>, keep_idle: Duration) -> Option<Parcel> {
    if let Ok(parcel) = jobs.try_recv() {
        return Some(parcel);
    }
    let Some(open) = session else { return jobs.recv().await };
    tokio::select! { biased;
        parcel = jobs.recv() => parcel,
        () = open.session.hangs_up() => { *session = None; None }
        () = tokio::time::sleep(keep_idle) => None,
    }
}

/// What an attempt needs, the same for all parcels of a worker.
struct Attempts {
    doors: Doors,
    snapshot: Arc<Snapshot>,
    provider: Arc<Provider>,
    source: Source,
    hop: Hop,
    quotas: Arc<Quotas>,
    draining: Ending,
}

enum Attempted {
    Settled { feedback: Feedback, why: Option<String> },
    Stale(Box<Parcel>),
    SourceDown(Box<Parcel>, String),
    HandedBack,
}

impl Attempts {
    async fn attempt(&self, session: &mut Option<Open>, held: Held) -> Attempted {
        let spool = &self.doors.spool;
        // It was in time when it was lent; since then it waited for a connection, and for those before it on this one.
        let (parcel, now) = (held.parcel(), self.doors.clock.now());
        if retry::expired(&self.snapshot.retry, &Life::of(parcel), now) {
            settle_one(&self.doors, &self.snapshot, held, &expired(now)).await;
            return Attempted::HandedBack;
        }
        if spool.settle_room().await.is_err() {
            return Attempted::HandedBack;
        }
        let opened = match spool.open(held.parcel().message).await {
            Ok(opened) => opened,
            Err(trouble) => return self.unreadable(held, &trouble),
        };
        let started_at = self.doors.clock.now();
        let Opened { message, content } = opened;
        let (held, unknown) = match suppressed::without(&self.doors, &self.snapshot, &message, held).await {
            Left::These(held) => (held, None),
            Left::Unknown(held, trouble) => (held, Some(trouble)),
            Left::Nothing => return Attempted::HandedBack,
        };
        let one;
        let mut parcel = held.parcel();
        let prepared = match unknown {
            None => Prepared::of(&self.doors, &self.snapshot, &message, content, self.way()).await,
            Some(trouble) => Err(trouble),
        };
        let made = match prepared {
            Ok((prepared, content)) => {
                if parcel.deliveries.len() > 1 && prepared.as_ref().is_some_and(Prepared::is_for_one) {
                    // Permits count transactions: the rest is lent anew, one recipient a parcel.
                    self.doors.spool.lend_singly(&message.tenant, &message.stream);
                    one = first_of(parcel);
                    parcel = &one;
                }
                self.make(session, parcel, Opened { message: message.clone(), content }, prepared.as_ref()).await
            }
            Err(trouble) => Made::Failed(self.diagnose_here(trouble)),
        };
        let connected = match &made {
            Made::Failed(diagnosis) => !before_mail(diagnosis.phase),
            Made::NoAddress(_) | Made::Full(_) | Made::SourceDown(_) => false,
            Made::Replies(_) | Made::Broken(..) | Made::Stale => true,
        };
        let facts = self.facts(session.as_ref(), started_at, &made);
        let remote = facts.host.clone();
        let diagnose =
            |phase, reason| Diagnosis { at: self.doors.clock.now(), phase, reason, remote: remote.clone(), address: facts.address };
        let handed = match &session {
            Some(open) if open.session.hello().dsn => Handed::WithReports,
            _ if matches!(self.hop.next, NextHop::Lmtp(_) | NextHop::Maildir(_)) => Handed::ToMailbox,
            _ => Handed::WithoutReports,
        };
        let mut verdicts = Vec::with_capacity(parcel.deliveries.len());
        match made {
            Made::Stale => return Attempted::Stale(Box::new(held.release())),
            Made::SourceDown(why) => return Attempted::SourceDown(Box::new(held.release()), why),
            Made::Full(until) => {
                // A limit may last longer than the mail has time.
                let last = retry::last_instant(&self.snapshot.retry, &Life::of(held.parcel()));
                let now = self.doors.clock.now();
                if last <= now {
                    settle_one(&self.doors, &self.snapshot, held, &expired(now)).await;
                } else {
                    held.hand_back(Some(until.min(last)));
                }
                return Attempted::HandedBack;
            }
            Made::Failed(diagnosis) => {
                let judgement = self.judge(&diagnosis);
                verdicts.extend(parcel.deliveries.iter().map(|lent| (*lent, judgement, Err(diagnosis.clone()))));
            }
            Made::NoAddress(trouble) => {
                for lent in &parcel.deliveries {
                    let host = message.recipients[lent.index as usize].mailbox.host();
                    let diagnosis = diagnose(Phase::Route, Reason::Trouble(of_host(&trouble, host)));
                    verdicts.push((*lent, self.judge(&diagnosis), Err(diagnosis)));
                }
            }
            Made::Broken(diagnosis, replied) => {
                for (place, lent) in parcel.deliveries.iter().enumerate() {
                    match replied.iter().find(|(index, ..)| *index == place) {
                        Some((_, phase, reply)) => verdicts.push(self.judged(*lent, *phase, reply.clone(), &diagnose)),
                        None => verdicts.push((*lent, self.judge(&diagnosis), Err(diagnosis.clone()))),
                    }
                }
            }
            Made::Replies(replies) => {
                for (lent, (phase, reply)) in parcel.deliveries.iter().zip(replies) {
                    verdicts.push(self.judged(*lent, phase, reply, &diagnose));
                }
            }
        }
        let feedback = feedback(verdicts.iter().map(|(_, judgement, _)| judgement), connected);
        let why = verdicts.iter().find_map(|(_, _, told)| told.as_ref().err().map(Diagnosis::describe));
        let outcomes = verdicts.into_iter().map(|(lent, judgement, told)| {
            let outcome = match told {
                Ok(reply) => Outcome::Delivered { reply },
                Err(diagnosis) => self.fail(parcel, &message, lent, judgement.fate, diagnosis),
            };
            (lent.index, outcome)
        });
        let outcomes: Vec<_> = outcomes.collect();
        let settlement = Settlement {
            loan: parcel.loan,
            message: message.id,
            at: self.doors.clock.now(),
            report: returns::report(&self.doors, &self.snapshot, &message, parcel, &outcomes, Taker { handed, host: facts.host.clone() })
                .await,
            attempt: Some(facts),
            outcomes,
        };
        keep::before_the_end(&self.doors, &message, &settlement.outcomes).await;
        settle(&self.doors, &message, settlement, held);
        Attempted::Settled { feedback, why }
    }

    /// What a reply to one recipient makes of it.
    fn judged(&self, lent: LentDelivery, phase: Phase, reply: Reply, diagnose: &dyn Fn(Phase, Reason) -> Diagnosis) -> Verdict {
        let judgement = classify::classify_reply(&self.provider, phase, &reply);
        let told = match judgement.fate {
            Fate::Delivered => Ok(reply),
            Fate::Defer | Fate::Bounce => Err(diagnose(phase, Reason::Reply(reply))),
        };
        (lent, judgement, told)
    }

    /// A session that may carry so many recipients: the open one, or a new one.
    async fn session_for(&self, session: &mut Option<Open>, recipients: u32) -> Result<(), Made> {
        let connecting =
            Connecting { doors: &self.doors, snapshot: &self.snapshot, source: &self.source, quotas: &self.quotas, hop: &self.hop };
        loop {
            if session.is_none() {
                let connected = tokio::select! { biased;
                    connected = connecting.connect(recipients) => connected,
                    // Nothing was said of the mail yet, so nothing is lost by not waiting for a host that may be down.
                    () = self.draining.said() => return Err(Made::Stale),
                };
                match connected {
                    Ok(connected) => *session = Some(Open { session: connected.session, smart_host: connected.smart_host }),
                    Err(NoSession::Failed(diagnosis)) => return Err(Made::Failed(diagnosis)),
                    Err(NoSession::NoAddress(trouble)) => return Err(Made::NoAddress(trouble)),
                    Err(NoSession::SourceDown(why)) => return Err(Made::SourceDown(why)),
                    Err(NoSession::Full(hold)) => return Err(Made::Full(hold.until.unwrap_or(hold.since))),
                }
            }
            let Some(host) = session.as_ref().and_then(|open| open.smart_host.clone()) else { return Ok(()) };
            match self.quotas.take(&host, recipients, self.doors.clock.now()).await {
                Ok(()) => return Ok(()),
                // The limit of a second is waited for; those of an hour and a day send us on to the next smart host.
                Err(NotTaken::Full(Full { span: Span::Second, until, .. })) => {
                    let pause = until.since(self.doors.clock.now()).max(Duration::from_millis(1));
                    tokio::select! { biased;
                        () = self.draining.said() => return Err(Made::Stale),
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                Err(NotTaken::Full(_)) => {
                    if let Some(open) = session.take() {
                        open.session.quit().await;
                    }
                }
                Err(NotTaken::NotKept(why)) => {
                    self.doors.log.alarm(None, &format!("the count of smart host {} cannot be kept, so nothing is sent: {why}", host.name));
                    return Err(Made::Full(self.doors.clock.now().after(NOT_KEPT_PAUSE)));
                }
            }
        }
    }

    /// Where the hop is, as far as the stream is concerned.
    fn way(&self) -> Way {
        if matches!(self.hop.next, NextHop::Lmtp(_) | NextHop::Maildir(_)) { Way::InHouse } else { Way::Out }
    }

    /// Makes the attempt. What is prepared for one recipient comes with one.
    async fn make(&self, session: &mut Option<Open>, parcel: &Parcel, opened: Opened, prepared: Option<&Prepared>) -> Made {
        if let NextHop::Maildir(template) = &self.hop.next {
            return Made::Replies(local::deliver(&self.doors, &self.snapshot, template, &opened.message, parcel, prepared).await);
        }
        let reused = session.is_some();
        let recipients = u32::try_from(parcel.deliveries.len()).unwrap_or(u32::MAX);
        if let Err(made) = self.session_for(session, recipients).await {
            return made;
        }
        let Some(Open { session: open, .. }) = session.as_mut() else { return Made::Stale };
        let remote = open.remote.clone();
        let message = &opened.message;
        let generic = if matches!(self.hop.next, NextHop::Lmtp(_)) { None } else { Generic::of(&self.snapshot) };
        let (mut head, form) =
            (render::head(&self.snapshot, message), plan::form(message.envelope.body, open.hello(), open.takes_binary()));
        let first = parcel.deliveries.first().map_or(0, |lent| lent.index);
        if let Some(prepared) = prepared {
            head.extend(prepared.added(&self.doors, &self.snapshot, message, first));
        }
        let making = Making { doors: &self.doors, message, head, form, prepared, generic };
        let outgoing = match making.outgoing(opened.content).await {
            Ok(outgoing) => outgoing,
            Err(trouble) => return Made::Failed(self.diagnose(Phase::Mail, Reason::Trouble(trouble), &remote)),
        };
        let addressee = |lent: &LentDelivery| {
            let addressee = addressee(&message.recipients[lent.index as usize]);
            match generic {
                Some(generic) => Addressee { path: generic.recipient(addressee.path), ..addressee },
                None => addressee,
            }
        };
        let recipients = parcel.deliveries.iter().map(addressee).collect();
        let sender = &message.envelope.reverse_path;
        let own = prepared.and_then(|prepared| prepared.sender(&self.doors, message, first));
        let sender = own.unwrap_or_else(|| generic.map_or_else(|| sender.clone(), |generic| generic.sender(sender)));
        let transaction = Transaction {
            size: outgoing.octets,
            body: form.body,
            smtputf8: message.envelope.smtputf8,
            ret: message.envelope.ret,
            envid: message.envelope.envid.as_deref().map(Into::into),
            deliver_by: told::deliver_by_left(message, self.doors.clock.now()),
            priority: message.envelope.mt_priority,
            ..Transaction::new(sender, recipients)
        };
        match open.transact(transaction, &outgoing.head, outgoing.content).await {
            Ok(Transacted::Report(report)) => {
                if report.closing {
                    *session = None;
                }
                Made::Replies(phased(report))
            }
            Ok(Transacted::Unsendable(trouble)) => Made::Failed(self.diagnose(Phase::Mail, Reason::Trouble(trouble), &remote)),
            Err(broken) => {
                *session = None;
                let untouched = matches!(broken.phase, Phase::Mail | Phase::Recipient | Phase::Data) && broken.refused.is_empty();
                if reused && untouched {
                    return Made::Stale;
                }
                let diagnosis = self.diagnose(broken.phase, broken.reason, &remote);
                let refused = broken.refused.into_iter().map(|(index, reply)| (index, Phase::Recipient, reply));
                let ended = broken.ended.into_iter().map(|(index, reply)| (index, Phase::EndOfData, reply));
                let replied: Vec<_> = refused.chain(ended).collect();
                if replied.is_empty() { Made::Failed(diagnosis) } else { Made::Broken(diagnosis, replied) }
            }
        }
    }

    fn diagnose(&self, phase: Phase, reason: Reason, remote: &Remote) -> Diagnosis {
        Diagnosis { at: self.doors.clock.now(), phase, reason, remote: Some(remote.host.clone()), address: remote.address() }
    }

    fn diagnose_here(&self, trouble: Trouble) -> Diagnosis {
        Diagnosis { at: self.doors.clock.now(), phase: Phase::Local, reason: Reason::Trouble(trouble), remote: None, address: None }
    }

    fn judge(&self, diagnosis: &Diagnosis) -> Judgement {
        match &diagnosis.reason {
            Reason::Reply(reply) => classify::classify_reply(&self.provider, diagnosis.phase, reply),
            Reason::Trouble(trouble) => classify::classify_trouble(trouble),
        }
    }

    fn fail(&self, parcel: &Parcel, message: &Message, lent: LentDelivery, fate: Fate, diagnosis: Diagnosis) -> Outcome {
        match fate {
            Fate::Delivered | Fate::Bounce => Outcome::Bounced { diagnosis },
            Fate::Defer => defer(&self.doors, &self.snapshot, parcel, message, lent, diagnosis),
        }
    }

    fn facts(&self, session: Option<&Open>, started_at: Timestamp, made: &Made) -> AttemptFacts {
        let remote = session.map(|open| open.session.remote.clone());
        let (host, address) = match (remote, made) {
            (Some(remote), _) => (Some(remote.host.clone()), remote.address()),
            (None, Made::Failed(diagnosis) | Made::Broken(diagnosis, _)) => (diagnosis.remote.clone(), diagnosis.address),
            (None, _) => (None, None),
        };
        AttemptFacts {
            started_at,
            duration_ms: u64::try_from(self.doors.clock.now().since(started_at).as_millis()).unwrap_or(u64::MAX),
            source: self.source.name.clone(),
            host,
            address,
            tls: session.and_then(|open| open.session.tls.clone()),
        }
    }

    /// The record could not be read. A poisoned log lends nothing more; anything else waits for the operator, an hour at a time.
    fn unreadable(&self, held: Held, trouble: &SpoolTrouble) -> Attempted {
        self.doors.log.alarm(Some(held.parcel().message), &format!("cannot read an accepted message: {trouble}"));
        held.hand_back(Some(self.doors.clock.now().after(Duration::from_secs(3600))));
        Attempted::HandedBack
    }
}

/// What follows a failure that may pass: another attempt, or the end of patience.
pub(crate) fn defer(
    doors: &Doors,
    snapshot: &Snapshot,
    parcel: &Parcel,
    message: &Message,
    lent: LentDelivery,
    diagnosis: Diagnosis,
) -> Outcome {
    let (now, random) = (doors.clock.now(), doors.entropy.below(u64::MAX));
    match retry::next(&snapshot.retry, &Life::of(parcel), lent.attempts.saturating_add(1), now, random) {
        Next::At(due) => {
            let recipient = message.recipients.get(lent.index as usize);
            let delay_told =
                lent.delay_told || recipient.is_some_and(|recipient| told::delay_is_due(&snapshot.retry, message, recipient, now));
            // The sender's own time to hear of it (`BY=seconds;N`) is kept by an attempt at it.
            let notice = told::notice_at(message).filter(|at| *at > now && !delay_told);
            Outcome::Deferred { due: notice.map_or(due, |at| at.min(due)), diagnosis, delay_told }
        }
        Next::GiveUp => Outcome::Bounced { diagnosis },
    }
}

/// A recipient, with what is to be told of it (RFC 3461 §5.2.1).
fn addressee(recipient: &Recipient) -> Addressee {
    Addressee { path: recipient.forward_path(), notify: recipient.notify, original: recipient.original.as_deref().cloned() }
}

/// Each recipient's reply, with the phase it came in.
fn phased(report: Report) -> Vec<(Phase, Reply)> {
    report.recipients.into_iter().map(|last| (phase_of(last.stage), last.reply)).collect()
}

/// The trouble of a Site, told of one recipient's host.
fn of_host(trouble: &RouteTrouble, host: &Host) -> Trouble {
    match host {
        Host::Domain(domain) => trouble.trouble(domain),
        Host::Literal(_) if *trouble == RouteTrouble::Loop => Trouble::Loop(host.to_string().into()),
        // A literal is an address; that it has none is a fault of ours, and waits.
        Host::Literal(address) => Trouble::Internal(format!("no address for [{address}]").into()),
    }
}

/// Phases before a session stands: their failure is the Site's.
fn before_mail(phase: Phase) -> bool {
    matches!(phase, Phase::Route | Phase::Connect | Phase::Greeting | Phase::Hello | Phase::StartTls | Phase::Auth)
}

/// The Site's part in an attempt. A rule of the provider counts first; a session that ended a transaction worked, whatever its outcome.
fn feedback<'a>(judgements: impl Iterator<Item = &'a Judgement>, connected: bool) -> Feedback {
    let mut sum = Feedback::Neutral;
    for judgement in judgements {
        if let Some(advice) = judgement.advice.filter(|advice| !matches!(advice, RuleAction::Defer | RuleAction::Bounce)) {
            return Feedback::Advice(advice);
        }
        match judgement.blame {
            Blame::Recipient | Blame::Message => sum = Feedback::Succeeded,
            Blame::Connection if connected => {}
            Blame::Host | Blame::Site if connected => {}
            Blame::Connection | Blame::Host | Blame::Site => return Feedback::Failed,
        }
    }
    sum
}

/// The parcel of its first recipient alone.
fn first_of(parcel: &Parcel) -> Parcel {
    let deliveries = parcel.deliveries.iter().take(1).copied().collect();
    Parcel { deliveries, ..parcel.clone() }
}

/// Settles, and says so in the mail log. What has no outcome waits again, as before. What a spool does not take leaves the mail as the log has it: the guard hands the loan back.
pub(crate) fn settle(doors: &Doors, message: &Message, settlement: Settlement, held: Held) {
    for (index, outcome) in &settlement.outcomes {
        doors.log.attempted(message, *index, settlement.attempt.as_ref(), outcome);
    }
    let report = settlement.report.as_ref().map(|report| report.message.clone());
    let whole = settlement.outcomes.len() == held.parcel().deliveries.len();
    match doors.spool.settle(settlement) {
        Ok(()) => {
            if whole {
                held.settled()
            } else {
                held.hand_back(None)
            }
            if let Some(report) = report {
                doors.log.accepted(&report);
            }
        }
        Err(trouble) => doors.log.alarm(Some(message.id), &format!("an outcome could not be kept: {trouble}")),
    }
}
