//! The wiring: doors to the relay, the relay to its listeners, signals to both.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use postrider_edge::tls::Certified;
use postrider_edge::{
    ClientTls, DnsResolver, FileNotebook, Maildirs, ResolverSettings, ServerTls, SystemClock, SystemEntropy, TcpNet, Workshop,
};
use postrider_flow::{Doors, Relay, Silence};
use postrider_http::{About, ControlDoors, WebDoors};
use postrider_model::doors::{Entropy, Keeping, MailLog, Notebook, SpoolTrouble, Suppressions, Suspended};
use postrider_model::{Role, SiteName};
use postrider_records::{Book, SqlRegistry};
use postrider_spool::{EmbeddedSpool, Options};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::certificate::{self, Seen};
use super::control::{CaptureInsight, ControlSocket, RelayIntake};
use super::first_start::FirstStart;
use super::handed::Handed;
use super::listeners::Listeners;
use super::logging::Logs;
use super::metrics::{Metrics, MetricsParts};
use super::reload::{Reloader, with_detours};
use super::web::Web;
use super::{clock, drift, listener_line, manager, pools};
use crate::braking::{self, Uses, WatchedLog};
use crate::config::{Config, ListenerConfig};
use crate::data::DataDirectory;
use crate::keeping::{Keep, KeepDoor};
use crate::registry::{ConfigRegistry, LayeredRegistry, open_registry};
use crate::reroutes::Reroutes;
use crate::{suppressions, suspensions, tokens};

/// The exit status of a process that a second signal ended.
const ENDED_AT_ONCE: i32 = 130;

/// What a relay starts from.
pub struct Start<'a> {
    /// The data directory, taken.
    pub directory: DataDirectory,
    /// The configuration file.
    pub file: PathBuf,
    /// What it says.
    pub config: Config,
    /// Keep mail instead of delivering it.
    pub capture: bool,
    /// The logs.
    pub logs: Logs,
    /// What the first start made.
    pub first: Option<&'a FirstStart>,
    /// Sockets that a service manager opened.
    pub handed: Handed,
}

/// Runs a relay until it is told to stop.
pub async fn run(start: Start<'_>) -> anyhow::Result<()> {
    // Signals are caught before anything is accepted, so that none ends the process halfway.
    let mut signals = Signals::catch()?;
    let running = Running::start(start).await?;
    tracing::info!("ready");
    manager::ready();
    let reloader = running.reloader.clone();
    signals.wait_for_stop(|| drop(say_reload(&reloader))).await;
    manager::stopping();
    let limit = running.reloader.drain_timeout();
    tracing::info!("stopping: transactions under way have {} s to end (a second signal ends them now)", limit.as_secs());
    tokio::select! { biased;
        () = signals.wait_for_stop(|| {}) => {
            tracing::warn!("ended at once by a second signal; what was under way waits in the spool");
            running.leave();
            std::process::exit(ENDED_AT_ONCE);
        }
        closed = running.drain(limit) => closed?,
    }
    running.leave();
    tracing::info!("stopped; nothing is lost");
    Ok(())
}

/// A relay with its control socket.
struct Running {
    relay: Arc<Relay>,
    spool: Arc<EmbeddedSpool>,
    reloader: Arc<Reloader>,
    sockets: Vec<ControlSocket>,
    serving: Vec<JoinHandle<()>>,
    draining: Arc<AtomicBool>,
    /// What tenants and keys have sent, and where it is kept.
    counts: (Arc<SqlRegistry>, Arc<Uses>),
}

/// Whether a tenant, a Source or a Site of this name is there. It is asked beside the reactor, and may wait for the registry; where that does not answer, a name is believed: what
/// is suspended in vain harms nobody.
fn knows(reloader: Arc<Reloader>, book: Arc<Book>) -> impl Fn(&Suspended) -> bool + Send + Sync {
    let runtime = tokio::runtime::Handle::current();
    move |what| match what {
        Suspended::Tenant(name) if !reloader.knows(what) => !runtime.block_on(book.tenant(name)).is_ok_and(|found| found.is_none()),
        _ => reloader.knows(what),
    }
}

impl Running {
    async fn start(start: Start<'_>) -> anyhow::Result<Self> {
        let Start { directory, file, config, capture, logs, first, mut handed } = start;
        let listeners = Arc::new(Listeners::bind(&config.listeners, &mut handed)?);
        for socket in handed.left_over() {
            tracing::warn!(
                "the socket {socket} that the service manager handed over fits no [[listener]] by name or address; it is closed"
            );
        }
        let draining = Arc::new(AtomicBool::new(false));
        let metrics = Metrics::bind(config.metrics, &draining).await?;
        let web = Web::bind(config.web)?;
        let seen = Mutex::new(Seen::now(&config));
        let certified = Certified::from_files(&config.certificate, &config.key)?;
        let certificate_ends = Mutex::new(certified.ends_at());
        let tls = Arc::new(ServerTls::new(certified)?);
        tls.ask_for_certificates(config.knows_certificates());
        let spool = open_spool(&directory, &config, capture)?;
        let registry = Arc::new(ConfigRegistry::new(&config.tenants, &config.credentials, &config.domains));
        let (records, suppressions) = open_registry(&config.registry, directory.root()).await?;
        suppressions::import(&directory.suppressions_file(), &suppressions).await?;
        let suppressions: Arc<dyn Suppressions> = suppressions;
        let layered = Arc::new(LayeredRegistry::new(registry.clone(), records.clone()));
        let log = match &metrics {
            Some(metrics) => metrics.count(logs.door),
            None => logs.door,
        };
        let uses = Arc::new(Uses::new(Arc::new(SystemClock)));
        let log: Arc<dyn MailLog> = Arc::new(WatchedLog { log, uses: uses.clone() });
        let net = Arc::new(TcpNet::new(ClientTls::with_roots_in(&config.roots)?, Some(tls.clone())));
        listeners.tell(&net);
        let quotas = open_quotas(&directory)?;
        let tokens = Arc::new(tokens::open(&directory.tokens_file(), &SystemEntropy::new())?);
        let keep = Keep::open(&directory.kept(), config.kept_octets_max, Arc::new(SystemClock), log.clone());
        let doors = doors(&config, &spool, layered, net, quotas, log)?;
        let keeping: Arc<dyn Keeping> = Arc::new(KeepDoor(keep.clone()));
        let doors = Doors { tokens: Some(tokens.clone()), suppressions: Some(suppressions.clone()), keeping: Some(keeping), ..doors };
        let silence = Arc::new(Silence::new(suppressions.clone(), spool.clone(), doors.log.clone()));
        let clock = doors.clock.clone();
        let web = web.map(|web| {
            let (suppressions, suppressing, clock) = (suppressions.clone(), silence.clone(), clock.clone());
            let requests_per_minute = web.requests_per_minute;
            (web, doors.net.clone(), WebDoors { tokens, suppressions, suppressing, clock, requests_per_minute })
        });
        let suspended = suspensions::load(&directory.suspended_file())?;
        let reroutes = Reroutes::load(&directory.rerouted_file())?;
        let snapshot = Arc::new(with_detours(&config.snapshot, &reroutes.in_force(clock.now())));
        let receive = Arc::new(config.receive.clone());
        let relay = Relay::start_suspended(doors.clone(), snapshot.clone(), receive, !capture, suspended.clone());
        braking::load(&records, &uses, &relay).await;
        let counting = tokio::spawn(braking::watch(records.clone(), uses.clone(), relay.clone()));
        let keeping = tokio::spawn(keep.clone().run(doors.registry.clone()));
        let counts = (records.clone(), uses);
        let bound = listeners.bound();
        announce(&config, &bound, &directory, capture);
        let tenants = Arc::new(ArcSwap::from_pointee(config.tenants.clone()));
        let about = Arc::new(about(&config, clock.now().millis(), capture));
        let host_name = config.snapshot.host_name.clone();
        let sendmail_socket = config.sendmail_socket.clone();
        let reloader = Arc::new(Reloader {
            directory: directory.clone(),
            file,
            at_start: config.clone(),
            snapshot: ArcSwap::new(snapshot),
            current: Mutex::new(config),
            relay: relay.clone(),
            listeners: listeners.clone(),
            registry,
            tenants: tenants.clone(),
            tls,
            seen,
            certificate_ends,
            writer: logs.writer,
            reroutes: Mutex::new(reroutes),
            clock: clock.clone(),
            rerouted: Notify::new(),
            keep: keep.clone(),
        });
        let looks = drift::start(&doors, &reloader, &records);
        let insight = if capture { Arc::new(CaptureInsight::new(spool.clone())) } else { relay.insight(spool.clone()) };
        if let Some(metrics) = metrics {
            let current = reloader.clone();
            let provider_of = Arc::new(move |host: &str| current.snapshot().provider_for(&SiteName::new(host)).name.to_string());
            let started_ms = about.started_ms;
            let current = reloader.clone();
            let certificate_ends = Arc::new(move || current.certificate_ends());
            let (relay, spool, insight, looks) = (relay.clone(), spool.clone(), insight.clone(), looks.clone());
            let domains = Arc::new(move || looks.counts());
            let kept = Arc::new(move || kept_counts(&keep));
            metrics.start(MetricsParts { relay, spool, insight, provider_of, certificate_ends, domains, kept, started_ms });
        }
        tokio::spawn(manager::keep_watchdog_quiet(insight.clone()));
        tokio::spawn(clock::watch(clock.clone(), doors.log.clone()));
        let (reload, placed, views) = (reloader.clone(), reloader.clone(), listeners.clone());
        let book = records.book().clone();
        let known = Box::new(knows(reloader.clone(), book.clone()));
        let suspended = suspensions::Book::new(directory.suspended_file(), suspended, relay.clone(), clock.clone(), known);
        let control = ControlDoors {
            desk: spool.clone(),
            spool: spool.clone(),
            journal: spool.clone(),
            hand: relay.clone(),
            suspensions: Arc::new(suspended),
            suppressions,
            suppressing: silence.clone(),
            reroutes: reloader.clone(),
            insight,
            intake: Arc::new(RelayIntake::new(relay.clone(), tenants, records.clone())),
            clock,
            reload: Arc::new(move || say_reload(&reload)),
            look_again: Arc::new(move || {
                let records = records.clone();
                Box::pin(async move { records.refresh().await.map(drop).map_err(|trouble| trouble.to_string()) })
            }),
            listeners: Arc::new(move || views.views()),
            places: Arc::new(move || placed.places(capture)),
            domains: Arc::new(move || looks.view()),
            pools: pools::views(reloader.clone(), book),
            about,
        };
        let (socket, listener) = ControlSocket::bind(&directory)?;
        let mut sockets = vec![socket];
        let telling = tokio::spawn(async move { silence.tell_the_rest().await });
        let mut serving = vec![counting, keeping, telling];
        if let Some(path) = &sendmail_socket {
            let (socket, listener) = ControlSocket::bind_public(path)?;
            tracing::info!("every user may hand mail over on {}", path.display());
            sockets.push(socket);
            serving.push(tokio::spawn(postrider_http::serve_public(listener, control.clone())));
        }
        let owner = rustix::process::geteuid().as_raw();
        serving.push(tokio::spawn(postrider_http::serve(listener, control, Some(owner))));
        listeners.start(&relay);
        serving.extend(web.map(|(web, net, doors)| web.start(net, doors)));
        tokio::spawn(certificate::watch(reloader.clone()));
        let rerouting = reloader.clone();
        tokio::spawn(async move { rerouting.end_reroutes_in_time().await });
        if let Some(first) = first {
            first.tell(directory.root(), first_submission(&bound), &host_name, capture);
        }
        Ok(Self { relay, spool, reloader, sockets, serving, draining, counts })
    }

    /// Ends transactions, hands loans back, closes the spool.
    async fn drain(&self, limit: Duration) -> anyhow::Result<()> {
        self.draining.store(true, Ordering::Relaxed);
        self.relay.drain(limit).await;
        self.serving.iter().for_each(JoinHandle::abort);
        braking::look(&self.counts.0, &self.counts.1, &self.relay).await;
        let spool = self.spool.clone();
        tokio::task::spawn_blocking(move || spool.close()).await.context("the spool did not close")
    }

    /// What is left to do however it ended.
    fn leave(self) {
        drop(self.sockets);
        if let Some(writer) = &self.reloader.writer {
            writer.flush();
        }
    }
}

fn doors(
    config: &Config,
    spool: &Arc<EmbeddedSpool>,
    registry: Arc<LayeredRegistry>,
    net: Arc<TcpNet>,
    quotas: Arc<FileNotebook>,
    log: Arc<dyn MailLog>,
) -> anyhow::Result<Doors> {
    let dns = ResolverSettings { servers: config.dns_servers.clone(), ipv6: config.ipv6, ..ResolverSettings::default() };
    let resolver = DnsResolver::new(&dns).context("the system names no DNS server; name one under [dns] servers")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Doors {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::new()),
        resolver: Arc::new(resolver),
        net,
        spool: spool.clone(),
        offload: Arc::new(Workshop::new(cores).context("the system gives no thread")?),
        registry,
        log,
        mailboxes: Some(Arc::new(Maildirs)),
        tokens: None,
        suppressions: None,
        keeping: None,
        quotas: Some(quotas),
    })
}

fn kept_counts(keep: &Keep) -> postrider_http::KeptCounts {
    let counts = keep.counts();
    postrider_http::KeptCounts { messages: counts.messages, octets: counts.octets, failed: counts.failed, evicted: counts.evicted }
}

/// The counts of smart hosts' limits, as the last run left them.
fn open_quotas(directory: &DataDirectory) -> anyhow::Result<Arc<FileNotebook>> {
    let path = directory.quotas();
    let remedy = || {
        let path = path.display();
        format!(
            "the counts of the smart hosts' limits in {path} cannot be used. Nothing was changed; use the version that wrote them, or remove the file: \
             the limits are then counted from nothing"
        )
    };
    let notebook = FileNotebook::open(&path, "postrider quotas 1").with_context(remedy)?;
    postrider_core::quota::parse(notebook.text()).map_err(|line| anyhow!(line)).with_context(remedy)?;
    Ok(Arc::new(notebook))
}

type Bound = [(ListenerConfig, SocketAddr)];

fn open_spool(directory: &DataDirectory, config: &Config, capture: bool) -> anyhow::Result<Arc<EmbeddedSpool>> {
    let path = directory.spool(capture);
    let mut log_id = [0; 16];
    SystemEntropy::new().fill(&mut log_id);
    let options = Options { segment_octets: config.segment_octets, new_log_id: Some(u128::from_le_bytes(log_id)), ..Options::new(&path) };
    EmbeddedSpool::open(options).map_err(|trouble| {
        let path = path.display();
        match trouble {
            SpoolTrouble::Corrupt(what) => anyhow!(
                "the spool {path} is corrupt: {what}. Nothing was changed. `postrider spool verify` shows the extent; restore the files from a copy, \
                 or move the directory away to start with an empty spool"
            ),
            SpoolTrouble::Unknown(what) => {
                anyhow!("the spool {path} was written by something this version does not know: {what}. Nothing was changed; use the version that wrote it")
            }
            SpoolTrouble::Full => anyhow!("the disk that holds the spool {path} is full: make room and start again"),
            other => anyhow!("the spool {path} cannot be opened: {other}"),
        }
    })
}

fn announce(config: &Config, bound: &Bound, directory: &DataDirectory, capture: bool) {
    let name = &config.snapshot.host_name;
    tracing::info!("postrider {} as {name}, data in {}", env!("CARGO_PKG_VERSION"), directory.root().display());
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    if !config.roots.exists() {
        let roots = config.roots.display();
        tracing::warn!(
            "there is no file of root certificates {roots}: smart hosts cannot prove their names. Install ca-certificates, or set tls.roots"
        );
    }
    for (listener, address) in bound {
        tracing::info!("listening on {}", listener_line(listener, *address, config));
    }
    tracing::info!("control socket {}", directory.control_socket().display());
    match capture {
        true => tracing::info!("keeping mail instead of delivering it: `postrider capture list` shows it"),
        false => tracing::info!("delivering to the next hops on port {}", config.snapshot.smtp_port),
    }
}

fn about(config: &Config, started_ms: u64, capture: bool) -> About {
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host_name: config.snapshot.host_name.clone(),
        pid: std::process::id(),
        started_ms,
        capture,
        message_octets_max: config.receive.message_octets_max,
    }
}

/// Where a first mail can be submitted with STARTTLS.
fn first_submission(bound: &Bound) -> Option<SocketAddr> {
    let found = bound.iter().find(|(listener, _)| listener.settings.role == Role::Submission && listener.settings.starttls);
    found.map(|(_, address)| *address)
}

/// Reloads, and says what came of it in the log, too.
fn say_reload(reloader: &Reloader) -> Result<String, String> {
    let outcome = reloader.reload();
    match &outcome {
        Ok(said) => tracing::info!("{said}"),
        Err(why) => why.lines().for_each(|line| tracing::error!("{line}")),
    }
    outcome
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        let (terminate, interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: catch(SignalKind::hangup())? })
    }

    async fn wait_for_stop(&mut self, mut on_hangup: impl FnMut()) {
        loop {
            tokio::select! { biased;
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => on_hangup(),
            }
        }
    }
}
