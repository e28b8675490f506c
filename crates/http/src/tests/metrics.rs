//! Metrics and health over a real socket, from events that are played.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postrider_model::doors::{Journal, JournalTrouble, SpoolHealth, SuppressedMailbox, Suppression, SuppressionCause, SyncTimes};
use postrider_model::outcome::TlsFacts;
use postrider_model::*;
use postrider_smtp::{EnhancedStatus, Mailbox, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::played::{MESSAGE, NOW, Played};
use crate::{DomainRecords, History, KeptCounts, MetricsDoors, Refusals, follow, serve_metrics};

/// A journal that gives what it has, and then says that the rest is gone.
struct PlayedJournal {
    events: Vec<Event>,
    read_to_the_end: Notify,
    gone: bool,
}

impl Journal for PlayedJournal {
    fn read(&self, sequence: u64, max: usize) -> Result<Vec<Event>, JournalTrouble> {
        if self.gone && sequence < 5 {
            return Err(JournalTrouble::Gone(5));
        }
        Ok(self.events.iter().filter(|event| event.sequence >= sequence).take(max).cloned().collect())
    }

    fn wait(&self, sequence: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if sequence >= self.end() {
                self.read_to_the_end.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }

    fn end(&self) -> u64 {
        self.events.len() as u64
    }
}

async fn events() -> Vec<Event> {
    let desk: Arc<dyn postrider_model::doors::SpoolDesk> = Arc::new(Played::default());
    let (message, _) = desk.show(MESSAGE).await.unwrap();
    let at = MESSAGE.accepted_at().after(std::time::Duration::from_secs(2));
    let attempt = Arc::new(AttemptFacts {
        started_at: at,
        duration_ms: 40,
        source: "default".into(),
        host: Some("mx1.google.com".into()),
        address: None,
        tls: Some(TlsFacts { version: "TLSv1.3".into(), cipher: "x".into(), trusted: true }),
    });
    let diagnosis = |reason| Diagnosis { at, phase: Phase::Recipient, reason, remote: None, address: None };
    let reply = Reply::new(450, EnhancedStatus::parse("4.7.1"), "later");
    let outcomes = [
        (Some(&attempt), Outcome::Delivered { reply: Reply::new(250, None, "ok") }),
        (Some(&attempt), Outcome::Deferred { due: at, diagnosis: diagnosis(Reason::Reply(reply)), delay_told: false }),
        (None, Outcome::Bounced { diagnosis: diagnosis(Reason::Trouble(Trouble::NullMx("c.example".into()))) }),
    ];
    let settled = outcomes.into_iter().enumerate().map(|(index, (attempt, outcome))| EventKind::Settled {
        delivery: DeliveryId { message: MESSAGE, index: index as u32 },
        attempt: attempt.cloned(),
        outcome,
    });
    let suppression = Suppression {
        tenant: message.tenant.clone(),
        stream: "news".into(),
        mailbox: SuppressedMailbox::of(&Mailbox::parse("a@b.example").unwrap()),
        since: at,
        cause: SuppressionCause::OneClick,
        message: None,
        reason: "".into(),
    };
    let noted = EventKind::Noted(Notice::Suppressed { suppression: Arc::new(suppression), peer: None });
    let kinds = std::iter::once(EventKind::Accepted { message, reports_on: None }).chain(settled).chain([noted]);
    kinds.enumerate().map(|(sequence, kind)| Event { sequence: sequence as u64, at, kind }).collect()
}

struct World {
    address: std::net::SocketAddr,
    played: Arc<Played>,
    draining: Arc<AtomicBool>,
}

/// Two syncs of a fast disk, and one of a disk in trouble.
fn times() -> SyncTimes {
    let mut times = SyncTimes { sum_us: 3_500_000, ..SyncTimes::default() };
    (times.counts[3], times.counts[12]) = (2, 1);
    times
}

impl World {
    /// A listener over doors that are played, when all events were counted.
    async fn open(connections_out: Option<u64>, gone: bool) -> Self {
        let played = Arc::new(Played { connections_out, ..Played::default() });
        *played.health.lock().unwrap() = Some(SpoolHealth { deliveries: 12, syncs: 34, sync_times: times(), ..SpoolHealth::default() });
        let journal = Arc::new(PlayedJournal { events: events().await, read_to_the_end: Notify::new(), gone });
        let draining = Arc::new(AtomicBool::new(false));
        let drains = draining.clone();
        let doors = MetricsDoors {
            desk: played.clone(),
            journal: journal.clone(),
            insight: played.clone(),
            provider_of: Arc::new(|host| if host.ends_with(".google.com") { "google" } else { "default" }.to_owned()),
            sessions: Arc::new(|| (3, 44)),
            draining: Arc::new(move || drains.load(Ordering::Relaxed)),
            certificate_ends: Arc::new(|| Some(NOW)),
            domains: Arc::new(|| {
                let many = (0..150).map(|nth| ("key", "ok", nth)).chain([("dmarc", "missing", 3), ("dmarc", "missing", 149)]);
                let record = |(record, state, nth)| DomainRecords { domain: format!("d{nth:03}.example"), record, state, count: 1 };
                let source = DomainRecords { domain: String::new(), record: "source", state: "differs", count: 2 };
                many.map(record).chain([source]).collect()
            }),
            kept: Arc::new(|| KeptCounts { messages: 5, octets: 20_480, failed: 2, evicted: 1 }),
            history: Arc::new(History::default()),
            refusals: Arc::new(Refusals::default()),
            version: "1.2.3".to_owned(),
            started_ms: NOW.millis(),
        };
        tokio::spawn(follow(doors.clone(), 0));
        journal.read_to_the_end.notified().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_metrics(listener, doors));
        Self { address, played, draining }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn what_happened_and_how_it_is_are_told_to_prometheus() {
    let world = World::open(Some(7), false).await;
    let (status, text) = world.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "postrider_messages_accepted_total{tenant=\"shop\",role=\"submission\"} 1",
        "postrider_recipients_accepted_total 1",
        "postrider_accepted_octets_total 5",
        "postrider_deliveries_total{outcome=\"delivered\",provider=\"google\"} 1",
        "postrider_deliveries_total{outcome=\"deferred\",provider=\"google\"} 1",
        "postrider_deliveries_total{outcome=\"bounced\",provider=\"none\"} 1",
        "postrider_delivery_failures_total{outcome=\"deferred\",status=\"4.7\"} 1",
        "postrider_delivery_failures_total{outcome=\"bounced\",status=\"5.1\"} 1",
        "postrider_delivered_tls_total{tls=\"TLSv1.3\"} 1",
        "postrider_delivery_delay_seconds_bucket{le=\"2.5\"} 2",
        "postrider_delivery_delay_seconds_bucket{le=\"1.0\"} 0",
        "postrider_attempt_duration_seconds_count 1",
        "postrider_suppressions_total{tenant=\"shop\",by=\"one_click\"} 1",
        "postrider_queue_deliveries 12",
        "postrider_spool_syncs_total 34",
        "postrider_spool_sync_duration_seconds_bucket{le=\"0.0005\"} 0",
        "postrider_spool_sync_duration_seconds_bucket{le=\"0.001\"} 2",
        "postrider_spool_sync_duration_seconds_bucket{le=\"2.0\"} 2",
        "postrider_spool_sync_duration_seconds_bucket{le=\"+Inf\"} 3",
        "postrider_spool_sync_duration_seconds_sum 3.5",
        "postrider_certificate_not_after_seconds 1795466220.0",
        "postrider_connections_out 7",
        "postrider_sessions 3",
        "postrider_sessions_begun_total 44",
        "postrider_refused_total{reason=\"relay_denied\"} 0",
        "postrider_source_names{state=\"differs\"} 2",
        "postrider_domain_records{domain=\"d003.example\",record=\"dmarc\",state=\"missing\"} 1",
        "postrider_domain_records{domain=\"other\",record=\"key\",state=\"ok\"} 50",
        "postrider_domain_records{domain=\"other\",record=\"dmarc\",state=\"missing\"} 1",
        "postrider_kept_messages 5",
        "postrider_kept_octets 20480",
        "postrider_kept_failed_total 2",
        "postrider_kept_evicted_total 1",
        "postrider_build_info{version=\"1.2.3\"} 1",
        "postrider_metrics_events_missed_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let others = text.lines().filter(|line| !line.starts_with("postrider_domain_records{domain=\"d"));
    assert!(others.clone().all(|line| !line.contains("example")), "no domain is named but those that we send for: {text}");
    assert_eq!(text.matches("record=\"key\"").count(), 101, "and of these a hundred");
}

#[tokio::test]
async fn what_was_missed_is_counted() {
    let world = World::open(Some(0), true).await;
    let (_, text) = world.get("/metrics").await;
    assert!(text.contains("postrider_metrics_events_missed_total 5"), "{text}");
}

#[tokio::test]
async fn health_is_told_with_the_reason() {
    let world = World::open(Some(0), false).await;
    let put = |health: SpoolHealth| *world.played.health.lock().unwrap() = Some(health);
    assert_eq!(world.get("/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(world.get("/readyz").await, (200, "ready\n".to_owned()));
    put(SpoolHealth { full: true, ..SpoolHealth::default() });
    let (status, said) = world.get("/readyz").await;
    assert!(status == 503 && said.starts_with("full: "), "{said}");
    put(SpoolHealth { poisoned: Some("EIO".to_owned()), ..SpoolHealth::default() });
    let (status, said) = world.get("/readyz").await;
    assert!(status == 503 && said.starts_with("poisoned (EIO)"), "{said}");
    world.draining.store(true, Ordering::Relaxed);
    let (status, said) = world.get("/readyz").await;
    assert!(status == 503 && said.starts_with("draining"), "{said}");
    assert_eq!(world.get("/nothing").await.0, 404);
    let dead = World::open(None, false).await;
    let (status, said) = dead.get("/livez").await;
    assert!(status == 503 && said.contains("the dispatcher has ended"), "{said}");
    assert_eq!(dead.get("/metrics").await.0, 200);
    dead.draining.store(true, Ordering::Relaxed);
    assert_eq!(dead.get("/livez").await.0, 200);
}

/// The names that a text of queries speaks of.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices("postrider_").map(|(at, _)| text[at..].chars().take_while(|c| word(*c)).collect()).collect()
}

#[tokio::test]
async fn the_dashboard_asks_for_nothing_that_is_not_there() {
    let dashboard = include_str!("../../../../packaging/grafana/postrider.json");
    let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let panels = parsed["panels"].as_array().unwrap();
    let queries: Vec<&str> =
        panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()).map(|t| t["expr"].as_str().unwrap()).collect();
    assert!(queries.len() >= 12, "{queries:?}");
    let world = World::open(Some(7), false).await;
    let known = names(&world.get("/metrics").await.1);
    for query in queries {
        let asked = names(query);
        assert!(!asked.is_empty(), "{query}");
        for name in asked {
            assert!(known.contains(&name), "{name} in {query}");
        }
    }
}
