//! Reading the configuration again, whole or not at all.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use postrider_edge::ServerTls;
use postrider_edge::tls::Certified;
use postrider_flow::Relay;

use crate::config::{Config, Tenant};
use crate::data::DataDirectory;
use crate::mail_log::Writer;
use crate::registry::ConfigRegistry;

/// Everything that a reload reaches.
pub struct Reloader {
    /// The data directory.
    pub directory: DataDirectory,
    /// The configuration file.
    pub file: PathBuf,
    /// What holds now.
    pub current: Mutex<Config>,
    /// The relay.
    pub relay: Arc<Relay>,
    /// Who may send.
    pub registry: Arc<ConfigRegistry>,
    /// Tenants, for mail that is handed over.
    pub tenants: Arc<ArcSwap<Vec<Tenant>>>,
    /// The certificate.
    pub tls: Arc<ServerTls>,
    /// The mail log.
    pub writer: Option<Arc<Writer>>,
}

impl Reloader {
    /// Reads the file and takes it into use; on an error everything stays as it was. Both are lines for people.
    pub fn reload(&self) -> Result<String, String> {
        // A log file that was rotated is let go even when the configuration is wrong.
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
        let stays = |why: String| format!("{why}\nthe old configuration stays in force");
        let config = Config::load(&self.file, self.directory.root()).map_err(|trouble| stays(trouble.to_string()))?;
        let certified = Certified::from_files(&config.certificate, &config.key).map_err(|trouble| stays(trouble.to_string()))?;
        self.tls.replace(certified).map_err(|trouble| stays(trouble.to_string()))?;
        self.registry.replace(&config.credentials);
        self.tenants.store(Arc::new(config.tenants.clone()));
        self.relay.reload(Arc::new(config.snapshot.clone()), Arc::new(config.receive.clone()));
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let later = needs_restart(&current, &config);
        *current = config;
        let mut said = format!("the configuration {} is in force", self.file.display());
        if !later.is_empty() {
            said.push_str(&format!("; a change of {} needs a restart", later.join(", ")));
        }
        Ok(said)
    }
}

/// Sections that are read at the start only, and differ.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let listeners = |config: &Config| format!("{:?}", config.listeners);
    let differs = [
        ("listener", listeners(old) != listeners(new)),
        ("relay.workers", old.workers != new.workers),
        ("relay.drain_timeout", old.drain_timeout != new.drain_timeout),
        ("dns", old.dns_servers != new.dns_servers || old.ipv6 != new.ipv6),
        ("spool", old.segment_octets != new.segment_octets),
        ("log", old.log != new.log),
    ];
    differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}
