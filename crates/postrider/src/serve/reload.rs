//! Reading the configuration again, whole or not at all.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use postrider_edge::ServerTls;
use postrider_edge::TlsSetupTrouble;
use postrider_edge::tls::Certified;
use postrider_flow::Relay;
use postrider_http::{Reroute, RerouteBook, wire};
use postrider_model::Timestamp;
use postrider_model::doors::{Clock, Suspended};
use postrider_model::policy::Snapshot;
use tokio::sync::Notify;

use super::certificate::{Seen, ends_soon};
use super::listeners::Listeners;
use crate::config::{Config, Tenant};
use crate::data::DataDirectory;
use crate::keeping::Keep;
use crate::mail_log::Writer;
use crate::registry::ConfigRegistry;
use crate::reroutes::{self, Reroutes};

/// Reroutes at once: each is asked about for every mail that it may be of. A standing rule belongs into the configuration.
const REROUTES_MAX: usize = 100;

/// Everything that a reload reaches.
pub struct Reloader {
    /// The data directory.
    pub directory: DataDirectory,
    /// The configuration file.
    pub file: PathBuf,
    /// What the file said when it was read last.
    pub current: Mutex<Config>,
    /// What it said at the start, which still holds where a reload does not reach.
    pub at_start: Config,
    /// The policy in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// The relay.
    pub relay: Arc<Relay>,
    /// The listening sockets.
    pub listeners: Arc<Listeners>,
    /// Who may send.
    pub registry: Arc<ConfigRegistry>,
    /// Tenants, for mail that is handed over.
    pub tenants: Arc<ArcSwap<Vec<Tenant>>>,
    /// The certificate.
    pub tls: Arc<ServerTls>,
    /// The certificate's files, as they were when they were read last.
    pub seen: Mutex<Seen>,
    /// When the certificate in force ends.
    pub certificate_ends: Mutex<Option<Timestamp>>,
    /// The mail log.
    pub writer: Option<Arc<Writer>>,
    /// What people send another way.
    pub reroutes: Mutex<Reroutes>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Messages that stay when they are done.
    pub keep: Arc<Keep>,
    /// Rung when the reroutes have changed.
    pub rerouted: Notify,
}

impl Reloader {
    /// Reads the file and takes it into use; on an error everything stays as it was. Both are lines for people.
    pub fn reload(&self) -> Result<String, String> {
        // A log file that was rotated is let go even when the configuration is wrong.
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
        let stays = |why: String| format!("{why}\nthe old configuration stays in force");
        // One at a time: a signal and the command may meet.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let config = Config::load(&self.file, self.directory.root()).map_err(|trouble| stays(trouble.to_string()))?;
        let seen = Seen::now(&config);
        let certified = Certified::from_files(&config.certificate, &config.key).map_err(|trouble| stays(trouble.to_string()))?;
        let change = self.listeners.change(&config.listeners).map_err(|trouble| stays(format!("{trouble:#}")))?;
        self.certify(certified).map_err(|trouble| stays(trouble.to_string()))?;
        self.tls.ask_for_certificates(config.knows_certificates());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        self.registry.replace(&config.tenants, &config.credentials, &config.domains);
        self.tenants.store(Arc::new(config.tenants.clone()));
        self.keep.set_octets_max(config.kept_octets_max);
        self.put_in_force(&config, &self.reroutes.lock().unwrap_or_else(PoisonError::into_inner));
        let mut said = vec![format!("the configuration {} is in force", self.file.display())];
        said.extend(self.listeners.make(&self.relay, change));
        let later = not_yet(&self.at_start, &config);
        if !later.is_empty() {
            said.push(format!("takes effect at the next start: {}", later.join(", ")));
        }
        *current = config;
        Ok(said.join("; "))
    }

    /// The policy of the file, with what people send another way.
    fn put_in_force(&self, config: &Config, reroutes: &Reroutes) {
        let snapshot = Arc::new(with_detours(&config.snapshot, &reroutes.in_force(self.clock.now())));
        self.snapshot.store(snapshot.clone());
        self.relay.reload(snapshot, Arc::new(config.receive.clone()));
    }

    /// One change of what is sent another way: the file, then the relay.
    fn change_reroutes(&self, change: impl FnOnce(&mut Reroutes, &Config) -> Result<u64, String>) -> Result<u64, String> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reroutes = self.reroutes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = reroutes.in_force(self.clock.now());
        let number = change(&mut changed, &current)?;
        let path = self.directory.rerouted_file();
        changed
            .store(&path)
            .map_err(|trouble| format!("cannot write {}: {trouble}; nothing was changed, make room or see its owner", path.display()))?;
        *reroutes = changed;
        self.put_in_force(&current, &reroutes);
        self.rerouted.notify_one();
        Ok(number)
    }

    /// Lets what is sent another way for a time go as the rules say when the time is over. Until this future is dropped.
    pub async fn end_reroutes_in_time(&self) {
        loop {
            let end = self.reroutes.lock().unwrap_or_else(PoisonError::into_inner).next_end();
            let wait = end.map_or(Duration::MAX, |end| end.since(self.clock.now()));
            // The clock of the machine may be set: it is looked at once a minute.
            if tokio::time::timeout(wait.min(Duration::from_secs(60)), self.rerouted.notified()).await.is_ok() {
                continue;
            }
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            let mut reroutes = self.reroutes.lock().unwrap_or_else(PoisonError::into_inner);
            let left = reroutes.in_force(self.clock.now());
            if left != *reroutes {
                // The file may keep what has ended: the next change leaves it out.
                *reroutes = left;
                self.put_in_force(&current, &reroutes);
            }
        }
    }

    /// What the file said when it was read last.
    pub fn configuration(&self) -> Config {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The policy of the file that was read last.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Reads the certificate again when its files are others than they were. Both are lines for people; `None`: nothing changed.
    pub fn renew_certificate(&self) -> Option<Result<String, String>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (certificate, key) = (&current.certificate, &current.key);
        let now = Seen::now(&current);
        // What is seen is remembered even when it is of no use, so that it is told once.
        if std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), now.clone()) == now {
            return None;
        }
        let renewed = Certified::from_files(certificate, key).and_then(|certified| self.certify(certified));
        Some(match renewed {
            Ok(()) => Ok(format!("the certificate {} has changed, and is in force for new sessions", certificate.display())),
            Err(trouble) => Err(format!(
                "the certificate {} or its key has changed and cannot be used: {trouble}; the old one stays in force until the files are right",
                certificate.display()
            )),
        })
    }

    /// The certificate that handshakes get from now on.
    fn certify(&self, certified: Certified) -> Result<(), TlsSetupTrouble> {
        let ends = certified.ends_at();
        self.tls.replace(certified)?;
        *self.certificate_ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
        Ok(())
    }

    /// When the certificate in force ends.
    pub fn certificate_ends(&self) -> Option<Timestamp> {
        *self.certificate_ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be said of its end.
    pub fn certificate_ends_soon(&self, now: Timestamp) -> Option<String> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        ends_soon(&current.certificate, self.certificate_ends(), now)
    }

    /// Where what a backup copies stands.
    pub fn places(&self, capture: bool) -> wire::Places {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let absolute = |path: &std::path::Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        wire::Places {
            spool: absolute(&self.directory.spool(capture)),
            configuration: absolute(&self.file),
            certificate: absolute(&current.certificate),
            key: absolute(&current.key),
        }
    }

    /// How often the certificate's files are looked at.
    pub fn look_every(&self) -> Duration {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).look_every
    }

    /// Whether the configuration in force names it; a Site is named by the DNS.
    pub fn knows(&self, what: &Suspended) -> bool {
        let config = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Suspended::Site(_) => true,
            Suspended::Tenant(name) => config.tenants.iter().any(|tenant| tenant.name == *name),
            Suspended::Source(name) => config.snapshot.sources.iter().any(|source| source.name == *name),
        }
    }

    /// How long a stop may take, by the file that was read last.
    pub fn drain_timeout(&self) -> Duration {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).drain_timeout
    }
}

/// A policy of the file, with detours in front.
pub fn with_detours(policy: &Snapshot, reroutes: &Reroutes) -> Snapshot {
    let mut policy = policy.clone();
    policy.routing.detours = reroutes.detours(&policy.routing);
    policy
}

impl RerouteBook for Reloader {
    fn list(&self) -> Vec<Reroute> {
        self.reroutes.lock().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    fn reroute(&self, wanted: Reroute) -> Result<u64, String> {
        self.change_reroutes(|reroutes, config| {
            reroutes::detour(&wanted, &config.snapshot.routing)?;
            if reroutes.all.len() >= REROUTES_MAX {
                return Err(format!("{REROUTES_MAX} are in force already; `postrider queue reroute --end NUMBER` ends one"));
            }
            let number = reroutes.next;
            reroutes.all.push(Reroute { number, ..wanted });
            reroutes.next += 1;
            Ok(number)
        })
    }

    fn end(&self, number: u64) -> Result<(), String> {
        let ended = self.change_reroutes(|reroutes, _| {
            let before = reroutes.all.len();
            reroutes.all.retain(|one| one.number != number);
            let none = || format!("number {number} is not in force: `postrider queue rerouted` lists what is");
            if reroutes.all.len() == before { Err(none()) } else { Ok(number) }
        });
        ended.map(|_| ())
    }
}

/// What is read at the start only, and says something else now than it did then.
fn not_yet(at_start: &Config, now: &Config) -> Vec<&'static str> {
    let differs = [
        ("relay.workers", at_start.workers != now.workers),
        ("[dns]", at_start.dns_servers != now.dns_servers || at_start.ipv6 != now.ipv6),
        ("tls.roots", at_start.roots != now.roots),
        ("[spool]", at_start.segment_octets != now.segment_octets),
        ("[registry]", at_start.registry != now.registry),
        ("[sendmail]", at_start.sendmail_socket != now.sendmail_socket),
        ("[metrics]", at_start.metrics != now.metrics),
        ("[web]", at_start.web != now.web),
        ("[log]", at_start.log != now.log),
    ];
    differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}
