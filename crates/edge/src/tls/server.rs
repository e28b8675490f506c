//! The server's side: our certificate, swapped while we run.

use std::sync::{Arc, PoisonError, RwLock};

use postrider_model::doors::{Connection, NetTrouble, Secured};
use rustls::ServerConfig;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use tokio_rustls::TlsAcceptor;

use super::certificate::Certified;
use super::{BUFFER_OCTETS_MAX, TlsSetupTrouble, facts, provider};

/// TLS 1.2 sessions kept for clients that take no tickets.
const SESSIONS_MAX: usize = 1024;

/// Server configuration that can be replaced; sessions under way keep what they began with.
pub struct ServerTls {
    current: RwLock<Arc<ServerConfig>>,
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl ServerTls {
    /// Takes a certificate into use.
    ///
    /// # Errors
    /// When key and certificate do not fit together.
    pub fn new(certified: Certified) -> Result<Self, TlsSetupTrouble> {
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|trouble| TlsSetupTrouble::Unusable(trouble.to_string()))?;
        let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(SESSIONS_MAX);
        let config = configure(certified, &tickets, &sessions)?;
        Ok(Self { current: RwLock::new(Arc::new(config)), tickets, sessions })
    }

    /// Takes another certificate into use, for handshakes from now on. On an error the old one stays.
    ///
    /// # Errors
    /// When key and certificate do not fit together.
    pub fn replace(&self, certified: Certified) -> Result<(), TlsSetupTrouble> {
        let config = configure(certified, &self.tickets, &self.sessions)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }

    pub(crate) async fn accept(&self, connection: Box<dyn Connection>) -> Result<Secured, NetTrouble> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let accept = TlsAcceptor::from(config).accept_with(connection, |session| session.set_buffer_limit(Some(BUFFER_OCTETS_MAX)));
        let stream = Box::pin(accept).await.map_err(|trouble| NetTrouble::Tls(trouble.to_string()))?;
        // A submission client's certificate is not asked for, so there is no chain to trust.
        let facts = facts(stream.get_ref().1, false);
        Ok(Secured { connection: Box::new(stream), facts })
    }
}

fn configure(
    certified: Certified,
    tickets: &Arc<dyn ProducesTickets>,
    sessions: &Arc<dyn StoresServerSessions>,
) -> Result<ServerConfig, TlsSetupTrouble> {
    let unusable = |trouble: rustls::Error| TlsSetupTrouble::Unusable(trouble.to_string());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(certified.chain, certified.key)
        .map_err(unusable)?;
    config.ticketer = Arc::clone(tickets);
    config.session_storage = Arc::clone(sessions);
    Ok(config)
}
