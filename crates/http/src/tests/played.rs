//! Doors that are played.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use postrider_model::doors::*;
use postrider_model::*;
use postrider_smtp::{Host, Mailbox, ReversePath};

use crate::{About, ControlDoors, Intake, IntakeTrouble, LocalMail, Reroute, RerouteBook, SuspensionBook, wire};

/// An instant that the played clock stands at.
pub const NOW: Timestamp = Timestamp::from_millis(1_795_466_220_000);

/// A relay that is played: what it holds, and what it was asked to do.
#[derive(Default)]
pub struct Played {
    pub contents: BTreeMap<MessageId, Vec<Result<Bytes, SpoolTrouble>>>,
    pub deliveries: u32,
    pub asked: Mutex<Vec<String>>,
    pub intake: Option<IntakeTrouble>,
    pub connections_out: Option<u64>,
    pub health: Mutex<Option<SpoolHealth>>,
    pub suspensions: Mutex<Vec<Suspension>>,
    pub suppressions: Mutex<BTreeMap<SuppressionKey, Arc<Suppression>>>,
    pub reroutes: Mutex<Vec<Reroute>>,
    /// The sequence of the first event that is kept, and what is kept.
    pub journal: (u64, Vec<Event>),
}

impl Played {
    pub fn doors(self: &Arc<Self>) -> ControlDoors {
        let reload = self.clone();
        ControlDoors {
            desk: self.clone(),
            spool: self.clone(),
            journal: self.clone(),
            insight: self.clone(),
            hand: self.clone(),
            suspensions: self.clone(),
            suppressions: self.clone(),
            suppressing: self.clone(),
            reroutes: self.clone(),
            intake: self.clone(),
            clock: self.clone(),
            look_again: Arc::new(|| Box::pin(std::future::ready(Ok(())))),
            reload: Arc::new(move || {
                reload.note("reload");
                if reload.deliveries == 0 { Err("line 3 is wrong".to_owned()) } else { Ok("in force".to_owned()) }
            }),
            listeners: Arc::new(Vec::new),
            domains: Arc::new(|| None),
            pools: Arc::new(|| Box::pin(std::future::ready(Vec::new()))),
            places: Arc::new(wire::Places::default),
            about: Arc::new(About {
                version: "1".to_owned(),
                started_ms: NOW.millis() - 5_000,
                message_octets_max: 1_000,
                ..About::default()
            }),
        }
    }

    pub fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The one message that is played, with all deliveries in it.
pub const MESSAGE: MessageId = MessageId(0x0199_0000_0000_7000_8000_0000_0000_0001);

fn view(index: u32) -> DeliveryView {
    DeliveryView {
        id: DeliveryId { message: MESSAGE, index },
        tenant: "shop".into(),
        stream: "news".into(),
        host: "c.example".into(),
        site: None,
        arrived_at: NOW,
        due: NOW,
        attempts: 1,
        state: DeliveryState::Waiting,
        content_octets: 5,
        held: None,
        ahead: None,
    }
}

impl Clock for Played {
    fn now(&self) -> Timestamp {
        NOW
    }
}

impl SpoolDesk for Played {
    fn list(&self, filter: &QueueFilter, after: Option<DeliveryId>, max: usize) -> Vec<DeliveryView> {
        self.note(format!("list {filter:?}"));
        let from = after.map_or(0, |after| after.index + 1);
        (from..self.deliveries).take(max).map(view).collect()
    }

    fn count(&self) -> QueueCount {
        QueueCount { messages: 1, deliveries: u64::from(self.deliveries), lent: 0, held: 0, groups: vec![("c.example".to_owned(), 3)] }
    }

    fn walk<'a>(&'a self, filter: &'a QueueFilter, from: u64, max: usize) -> BoxFuture<'a, Result<Walked, SpoolTrouble>> {
        self.note(format!("walk {filter:?} from {from}"));
        let to = self.deliveries.min(from as u32 + max as u32);
        let walked = Walked { found: (from as u32..to).map(view).collect(), next: (to < self.deliveries).then_some(u64::from(to)) };
        Box::pin(std::future::ready(Ok(walked)))
    }

    fn shape(&self, filter: &QueueFilter, by: ShapeBy, now: Timestamp, rows_max: usize) -> QueueShape {
        self.note(format!("shape {filter:?} {by:?} {now} {rows_max}"));
        let total = [1, 2, 0, 0, 0, 0, 0, 0, 0, 4];
        QueueShape { rows: vec![("c.example".into(), total)], rows_in_all: 1, total, oldest: Some(NOW) }
    }

    fn show(&self, id: MessageId) -> BoxFuture<'_, Result<(Arc<Message>, Vec<(DeliveryView, Option<Diagnosis>)>), SpoolTrouble>> {
        let message = Message {
            id,
            tenant: "shop".into(),
            stream: "news".into(),
            envelope: Envelope::new(ReversePath::Null, BodyType::SevenBit, false),
            arrival: Arrival {
                at: NOW,
                role: Role::Submission,
                peer: None,
                hello: "h".into(),
                protocol: Protocol::Esmtp,
                tls: None,
                credential: None,
            },
            priority: Priority::Normal,
            deadline: None,
            release_at: None,
            mend: Default::default(),
            body_hash: None,
            held: None,
            recipients: vec![Recipient::new(Mailbox::parse("b@c.example").unwrap())],
            content_octets: 5,
        };
        let reason = Reason::Trouble(Trouble::Silent(300));
        let diagnosis = Diagnosis { at: NOW, phase: Phase::Greeting, reason, remote: Some("mx.c.example".into()), address: None };
        let found = (id == MESSAGE).then(|| (Arc::new(message), vec![(view(0), Some(diagnosis))]));
        Box::pin(std::future::ready(found.ok_or(SpoolTrouble::NoSuchMessage)))
    }

    fn alter(&self, filter: &QueueFilter, alteration: Alteration) -> Result<usize, SpoolTrouble> {
        self.note(format!("alter {filter:?} {alteration:?}"));
        Ok(7)
    }

    fn hold(&self) -> BoxFuture<'_, Result<Box<dyn Hold>, SpoolTrouble>> {
        self.note("hold");
        let hold = PlayedHold { files: vec![HeldFile { name: "log/seg-00001".to_owned(), octets: 9, octets_to_copy: 5 }] };
        Box::pin(std::future::ready(Ok(Box::new(hold) as Box<dyn Hold>)))
    }

    fn health(&self) -> SpoolHealth {
        let played = self.health.lock().unwrap().clone();
        played.unwrap_or_else(|| SpoolHealth { syncs: 3, poisoned: Some("EIO".to_owned()), ..SpoolHealth::default() })
    }
}

/// A hold that is broken at once.
struct PlayedHold {
    files: Vec<HeldFile>,
}

impl Hold for PlayedHold {
    fn files(&self) -> &[HeldFile] {
        &self.files
    }

    fn broken(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Journal for Played {
    fn read(&self, sequence: u64, max: usize) -> Result<Vec<Event>, JournalTrouble> {
        if sequence < self.journal.0 {
            return Err(JournalTrouble::Gone(self.journal.0));
        }
        let from = (sequence - self.journal.0) as usize;
        Ok(self.journal.1.iter().skip(from).take(max).cloned().collect())
    }

    fn wait(&self, _: u64) -> BoxFuture<'_, ()> {
        unreachable!("nobody follows")
    }

    fn end(&self) -> u64 {
        self.journal.0 + self.journal.1.len() as u64
    }
}

impl Hand for Played {
    fn end(&self, deliveries: Vec<DeliveryId>, how: End, reason: Arc<str>) -> BoxFuture<'_, Result<Ended, SpoolTrouble>> {
        self.note(format!("end {} {how:?} {reason}", deliveries.len()));
        Box::pin(std::future::ready(Ok(Ended { ended: deliveries.len() - 1, left: 1 })))
    }

    fn recall(&self) -> BoxFuture<'_, ()> {
        self.note("recall");
        Box::pin(std::future::ready(()))
    }

    fn suspend(&self, _: Vec<Suspension>) {
        unreachable!("the book does it")
    }
}

impl SuspensionBook for Played {
    fn list(&self) -> Vec<Suspension> {
        self.suspensions.lock().unwrap().clone()
    }

    fn suspend(&self, suspension: Suspension) -> Result<(), String> {
        self.suspensions.lock().unwrap().push(suspension);
        Ok(())
    }

    fn resume(&self, what: &Suspended) -> Result<(), String> {
        let mut all = self.suspensions.lock().unwrap();
        let before = all.len();
        all.retain(|suspension| suspension.what != *what);
        if all.len() == before { Err(format!("{what} is not suspended")) } else { Ok(()) }
    }
}

impl Suppressions for Played {
    fn suppress(&self, suppression: Suppression) -> BoxFuture<'_, Result<bool, SuppressionTrouble>> {
        let mut book = self.suppressions.lock().unwrap();
        let fresh = !book.contains_key(&suppression.key());
        if fresh && suppression.mailbox.as_str() == "full@there.example" {
            return Box::pin(std::future::ready(Err(SuppressionTrouble::Full("played".to_owned()))));
        }
        book.entry(suppression.key()).or_insert_with(|| Arc::new(suppression));
        Box::pin(std::future::ready(Ok(fresh)))
    }

    fn suppressed<'a>(
        &'a self,
        tenant: &'a TenantName,
        stream: &'a StreamName,
        mailbox: &'a SuppressedMailbox,
    ) -> BoxFuture<'a, Result<Option<Arc<Suppression>>, SuppressionTrouble>> {
        let found = self.suppressions.lock().unwrap().get(&(tenant.clone(), stream.clone(), mailbox.clone())).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn list<'a>(
        &'a self,
        filter: &'a SuppressionFilter,
        after: Option<&'a SuppressionKey>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Suppression>>, SuppressionTrouble>> {
        let book = self.suppressions.lock().unwrap();
        let found = book.iter().filter(|(key, one)| after.is_none_or(|after| *key > after) && filter.matches(one));
        let found = found.map(|(_, one)| one.clone()).take(max).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn lift<'a>(&'a self, key: &'a SuppressionKey) -> BoxFuture<'a, Result<bool, SuppressionTrouble>> {
        let gone = self.suppressions.lock().unwrap().remove(key).is_some();
        Box::pin(std::future::ready(Ok(gone)))
    }

    fn untold<'a>(&'a self, _: Option<&'a SuppressionKey>, _: usize) -> BoxFuture<'a, Result<Vec<Arc<Suppression>>, SuppressionTrouble>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn told<'a>(&'a self, _: &'a SuppressionKey) -> BoxFuture<'a, Result<(), SuppressionTrouble>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What is new is noted.
impl Suppressing for Played {
    fn suppress(&self, suppression: Suppression, peer: Option<std::net::IpAddr>) -> BoxFuture<'_, Result<bool, SuppressionTrouble>> {
        Box::pin(async move {
            let mailbox = suppression.mailbox.as_str().to_owned();
            let fresh = Suppressions::suppress(self, suppression).await?;
            if fresh && peer.is_some() {
                self.note(format!("suppressed {mailbox} {peer:?}"));
            }
            Ok(fresh)
        })
    }
}

impl Insight for Played {
    fn explain(&self, _: MessageId) -> BoxFuture<'_, Vec<(u32, Waiting)>> {
        let waiting = Waiting { reason: "the Site rests".to_owned(), since: Some(NOW), until: None, ahead: Some(4) };
        Box::pin(std::future::ready(vec![(0, waiting)]))
    }

    fn connections_out(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(std::future::ready(self.connections_out))
    }

    fn sites(&self) -> BoxFuture<'_, Vec<SiteView>> {
        let view = |number: usize| SiteView {
            site: SiteName::new(&format!("mx{number}.example")),
            provider: "default".to_owned(),
            connections: 1,
            window: 5,
            waiting: 0,
            held: None,
        };
        Box::pin(std::future::ready((0..1500).map(view).collect()))
    }
}

impl Intake for Played {
    fn submit(&self, mail: LocalMail) -> BoxFuture<'_, Result<Receipt, IntakeTrouble>> {
        let content = String::from_utf8_lossy(&mail.content).into_owned();
        self.note(format!("submit {} {:?} {:?} {content:?}", mail.reverse_path, mail.recipients, mail.tenant));
        let answer = self.intake.clone().map_or(Ok(Receipt { message: MESSAGE, at: NOW }), Err);
        Box::pin(std::future::ready(answer))
    }
}

struct Chunks(std::vec::IntoIter<Result<Bytes, SpoolTrouble>>);

impl ContentSource for Chunks {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SpoolTrouble>> {
        Box::pin(std::future::ready(self.0.next().transpose()))
    }
}

impl Spool for Played {
    fn stage(&self, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn Staging>, SpoolTrouble>> {
        unreachable!("the API stages nothing")
    }

    fn read_staged(&self, _: &Staged) -> BoxFuture<'_, Result<Content, SpoolTrouble>> {
        unreachable!("the API reads nothing staged")
    }

    fn accept(&self, _: Arc<Message>, _: Staged) -> BoxFuture<'_, Result<Receipt, SpoolTrouble>> {
        unreachable!("the API accepts nothing itself")
    }

    fn ready(&self, _: Timestamp, _: usize) -> Vec<Group> {
        unreachable!("the API claims nothing")
    }

    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    fn wait(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn place(&self, _: &Host, _: &SiteName) {}

    fn divert(&self, _: MessageId, _: Loan, _: &SiteName) {}

    fn displace(&self, _: &Host) {}

    fn lend_singly(&self, _: &TenantName, _: &StreamName) {}

    fn lend(&self, _: &Group, _: Timestamp, _: LendLimit) -> Lent {
        unreachable!("the API lends nothing")
    }

    fn lend_these(&self, _: MessageId, _: &[u32]) -> Option<Parcel> {
        unreachable!("the API lends nothing")
    }

    fn pause(&self, _: &[TenantName]) {}

    fn release(&self, _: &Group, _: Timestamp) {}

    fn open(&self, message: MessageId) -> BoxFuture<'_, Result<Opened, SpoolTrouble>> {
        let chunks = self.contents.get(&message).cloned().ok_or(SpoolTrouble::NoSuchMessage);
        Box::pin(async move {
            let (message, _) = self.show(MESSAGE).await?;
            Ok(Opened { message, content: Content::Streamed(Box::new(Chunks(chunks?.into_iter()))) })
        })
    }

    fn hand_back(&self, _: MessageId, _: Loan, _: Option<Timestamp>) {}

    fn settle(&self, _: Settlement) -> Result<(), SpoolTrouble> {
        unreachable!("the API settles nothing")
    }

    fn note(&self, _: Notice) -> BoxFuture<'_, Result<(), SpoolTrouble>> {
        unreachable!("the API tells the log nothing by itself")
    }

    fn settle_room(&self) -> BoxFuture<'_, Result<(), SpoolTrouble>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), SpoolTrouble>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl RerouteBook for Played {
    fn list(&self) -> Vec<Reroute> {
        self.reroutes.lock().unwrap().clone()
    }

    fn reroute(&self, wanted: Reroute) -> Result<u64, String> {
        if wanted.to == "nowhere" {
            return Err("there is no nowhere".to_owned());
        }
        let mut all = self.reroutes.lock().unwrap();
        let number = all.len() as u64 + 1;
        all.push(Reroute { number, ..wanted });
        Ok(number)
    }

    fn end(&self, number: u64) -> Result<(), String> {
        self.reroutes.lock().unwrap().retain(|one| one.number != number);
        Ok(())
    }
}
