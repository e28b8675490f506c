//! How the relay is at the instant of a scrape.

use std::collections::BTreeSet;

use postrider_model::doors::{SYNC_TIME_BOUNDS_US, SpoolHealth, SyncTimes};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Metric, Registry};

use super::{DomainRecords, KeptCounts, MetricsDoors, NAMES_MAX};

/// The prefix of every name.
const PREFIX: &str = "postrider";

/// The whole text of a scrape.
pub(super) async fn text(doors: &MetricsDoors) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    doors.history.register(&mut registry);
    spool(&mut registry, &doors.desk.health());
    sessions(&mut registry, doors);
    refusals(&mut registry, doors);
    domains(&mut registry, &(doors.domains)());
    kept(&mut registry, (doors.kept)());
    if let Some(connections) = doors.insight.connections_out().await {
        gauge(&mut registry, "connections_out", "Connections to next hops, those that are being made included", connections);
    }
    let draining = u64::from((doors.draining)());
    gauge(&mut registry, "draining", "1 while the relay is about to stop", draining);
    registry.register(
        "start_time_seconds",
        "When the relay started, in seconds since 1970",
        ConstGauge::new(doors.started_ms as f64 / 1_000.0),
    );
    if let Some(at) = (doors.certificate_ends)() {
        let help = "When the certificate of the listeners ends, in seconds since 1970";
        registry.register("certificate_not_after_seconds", help, ConstGauge::new(at.millis() as f64 / 1_000.0));
    }
    let version: Family<Vec<(String, String)>, Gauge> = Family::default();
    version.get_or_create(&vec![("version".to_owned(), doors.version.clone())]).set(1);
    registry.register("build_info", "Always 1; the label tells the version", version);
    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    encode_eof(&mut text)?;
    Ok(text)
}

fn spool(registry: &mut Registry, health: &SpoolHealth) {
    gauge(registry, "queue_messages", "Messages with a recipient that is neither delivered nor bounced", health.messages);
    gauge(registry, "queue_deliveries", "Recipients that are neither delivered nor bounced", health.deliveries);
    gauge(registry, "queue_deliveries_lent", "Of them those with a worker", health.lent);
    counter(registry, "spool_syncs", "Syncs of the log", health.syncs);
    put(
        registry,
        "spool_sync_duration_seconds",
        "How long a sync took; every acceptance waits for one",
        SyncSeconds(health.sync_times.clone()),
    );
    counter(registry, "spool_settled", "Outcomes settled, deferrals included", health.settled);
    gauge(registry, "spool_segments", "Segments of the log, free ones included", health.segments);
    gauge(registry, "spool_segments_free", "Segments that wait to be used", health.segments_free);
    gauge(registry, "spool_disk_octets", "Octets on disk: segments, contents and journal", health.disk_octets);
    gauge(registry, "spool_contents_octets", "Of them the contents in files of their own", health.contents_octets);
    gauge(registry, "spool_journal_octets", "Of them the journal", health.journal_octets);
    gauge(registry, "spool_live_octets", "Octets of the segments that waiting mail needs", health.live_octets);
    gauge(registry, "spool_full", "1 while new mail is refused for want of disk", u64::from(health.full));
    gauge(
        registry,
        "spool_poisoned",
        "1 after a failed sync: nothing is taken or sent until a restart",
        u64::from(health.poisoned.is_some()),
    );
}

/// How long syncs took, as a histogram that was counted elsewhere.
#[derive(Debug)]
struct SyncSeconds(SyncTimes);

impl EncodeMetric for SyncSeconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let seconds = SYNC_TIME_BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = seconds.zip(self.0.counts).collect();
        encoder.encode_histogram::<NoLabelSet>(self.0.sum_us as f64 / 1e6, self.0.counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

fn sessions(registry: &mut Registry, doors: &MetricsDoors) {
    let (now, begun) = (doors.sessions)();
    gauge(registry, "sessions", "Sessions with clients", now as u64);
    counter(registry, "sessions_begun", "Sessions with clients that began", begun);
}

fn refusals(registry: &mut Registry, doors: &MetricsDoors) {
    let refused: Family<[(&'static str, &'static str); 1], prometheus_client::metrics::counter::Counter> = Family::default();
    for (reason, count) in doors.refusals.counts() {
        refused.get_or_create(&[("reason", reason)]).inc_by(count);
    }
    registry.register("refused", "What clients were refused, by reason", refused);
    let judged: Family<Vec<(String, String)>, prometheus_client::metrics::counter::Counter> = Family::default();
    for (judge, judgement, count) in doors.refusals.judged() {
        judged.get_or_create(&vec![("judge".to_owned(), judge), ("judgement".to_owned(), judgement.to_owned())]).inc_by(count);
    }
    registry.register("judged", "What milters and rules said of mail", judged);
    counter(registry, "alarms", "Alarms in the log", doors.refusals.alarms());
}

fn kept(registry: &mut Registry, counts: KeptCounts) {
    gauge(registry, "kept_messages", "Messages that stay although they are done, as their streams ask", counts.messages);
    gauge(registry, "kept_octets", "Octets of disk that they take", counts.octets);
    counter(registry, "kept_failed", "Messages that could not be kept", counts.failed);
    counter(registry, "kept_evicted", "Kept messages that went before their time, for want of room", counts.evicted);
}

/// Each domain by its name, as long as there is room for names.
fn domains(registry: &mut Registry, records: &[DomainRecords]) {
    let published: Family<Vec<(&'static str, String)>, Gauge> = Family::default();
    let named: Family<[(&'static str, &'static str); 1], Gauge> = Family::default();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for found in records {
        let count = i64::try_from(found.count).unwrap_or(i64::MAX);
        if found.domain.is_empty() {
            named.get_or_create(&[("state", found.state)]).inc_by(count);
            continue;
        }
        let domain = if names.contains(&*found.domain) || names.len() < NAMES_MAX { &*found.domain } else { "other" };
        names.insert(domain);
        let labels = vec![("domain", domain.to_owned()), ("record", found.record.to_owned()), ("state", found.state.to_owned())];
        published.get_or_create(&labels).inc_by(count);
    }
    registry.register("domain_records", "Records that a domain has to publish, by how they stood at the last look", published);
    registry.register("source_names", "Sources, by how their names in the DNS stood at the last look", named);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    put(registry, name, help, ConstGauge::new(value));
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    put(registry, name, help, ConstCounter::new(value));
}

fn put(registry: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    registry.register(name, help, metric);
}
