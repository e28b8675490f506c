//! The private listener for metrics and health, when the configuration asks for one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::anyhow;
use postrider_flow::Relay;
use postrider_http::{CountingLog, DomainRecords, History, KeptCounts, MetricsDoors, Refusals, follow, serve_metrics};
use postrider_model::Timestamp;
use postrider_model::doors::{Insight, Journal, MailLog};
use postrider_spool::EmbeddedSpool;
use tokio::net::TcpListener;

/// The listener, bound, and what is counted from the first moment on.
pub struct Metrics {
    listener: TcpListener,
    address: SocketAddr,
    refusals: Arc<Refusals>,
    draining: Arc<AtomicBool>,
}

/// What is known only once the relay runs.
pub struct MetricsParts {
    /// The relay.
    pub relay: Arc<Relay>,
    /// Its spool.
    pub spool: Arc<EmbeddedSpool>,
    /// Its schedule.
    pub insight: Arc<dyn Insight>,
    /// The name of the provider that a host belongs to, by the policy in force.
    pub provider_of: Arc<dyn Fn(&str) -> String + Send + Sync>,
    /// When the certificate ends.
    pub certificate_ends: Arc<dyn Fn() -> Option<Timestamp> + Send + Sync>,
    /// What the domains publish.
    pub domains: Arc<dyn Fn() -> Vec<DomainRecords> + Send + Sync>,
    /// Messages that stay when they are done.
    pub kept: Arc<dyn Fn() -> KeptCounts + Send + Sync>,
    /// When it started, in milliseconds since the epoch.
    pub started_ms: u64,
}

impl Metrics {
    /// Binds; a port in use costs nothing this early.
    pub async fn bind(address: Option<SocketAddr>, draining: &Arc<AtomicBool>) -> anyhow::Result<Option<Self>> {
        let Some(wanted) = address else { return Ok(None) };
        let trouble = |trouble: std::io::Error| {
            anyhow!("cannot listen on {wanted} (metrics): {trouble}; choose another address under [metrics] listen, or leave the key away")
        };
        let listener = TcpListener::bind(wanted).await.map_err(trouble)?;
        let address = listener.local_addr().map_err(trouble)?;
        Ok(Some(Self { listener, address, refusals: Arc::default(), draining: draining.clone() }))
    }

    /// Counts what goes to the mail log.
    pub fn count(&self, log: Arc<dyn MailLog>) -> Arc<dyn MailLog> {
        Arc::new(CountingLog::new(log, self.refusals.clone()))
    }

    /// Follows the journal from here on, and answers.
    pub fn start(self, parts: MetricsParts) {
        let MetricsParts { relay, spool, insight, provider_of, certificate_ends, domains, kept, started_ms } = parts;
        let Self { listener, address, refusals, draining } = self;
        let from = spool.end();
        let doors = MetricsDoors {
            desk: spool.clone(),
            journal: spool,
            insight,
            provider_of,
            sessions: Arc::new(move || (relay.sessions(), relay.sessions_begun())),
            draining: Arc::new(move || draining.load(Ordering::Relaxed)),
            certificate_ends,
            domains,
            kept,
            history: Arc::new(History::default()),
            refusals,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms,
        };
        tracing::info!("metrics on http://{address}/metrics, health on /livez and /readyz");
        tokio::spawn(follow(doors.clone(), from));
        tokio::spawn(serve_metrics(listener, doors));
    }
}
