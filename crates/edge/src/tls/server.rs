//! The server's side: our certificate, swapped while we run; and clients' certificates, where somebody knows any.
//!
//! A client is asked for a certificate, never made to have one. Any is taken whose key the client proves to hold; who it stands for, its fingerprint tells. One
//! out of its time counts as none, and so does one that cannot be read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use postrider_model::doors::{Clock, Connection, NetTrouble, Secured, ShownCertificate};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio_rustls::TlsAcceptor;

use crate::clock::SystemClock;

use super::certificate::Certified;
use super::{BUFFER_OCTETS_MAX, TlsSetupTrouble, facts, provider};

/// TLS 1.2 sessions kept for clients that take no tickets.
const SESSIONS_MAX: usize = 1024;

/// Server configuration that can be replaced; sessions under way keep what they began with.
pub struct ServerTls {
    current: RwLock<Configs>,
    /// Whether clients are asked for a certificate.
    asks: AtomicBool,
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// The same certificate of ours, for clients that are asked for theirs and for those that are not.
#[derive(Clone)]
struct Configs {
    silent: Arc<ServerConfig>,
    asking: Arc<ServerConfig>,
}

impl ServerTls {
    /// Takes a certificate into use.
    ///
    /// # Errors
    /// When key and certificate do not fit together.
    pub fn new(certified: Certified) -> Result<Self, TlsSetupTrouble> {
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|trouble| TlsSetupTrouble::Unusable(trouble.to_string()))?;
        let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(SESSIONS_MAX);
        let current = RwLock::new(configure(certified, &tickets, &sessions)?);
        Ok(Self { current, asks: AtomicBool::new(false), tickets, sessions })
    }

    /// Takes another certificate into use, for handshakes from now on. On an error the old one stays.
    ///
    /// # Errors
    /// When key and certificate do not fit together.
    pub fn replace(&self, certified: Certified) -> Result<(), TlsSetupTrouble> {
        let configs = configure(certified, &self.tickets, &self.sessions)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = configs;
        Ok(())
    }

    /// Whether clients are asked for a certificate, from now on. Some bother their users then, so nobody should be asked for nothing.
    pub fn ask_for_certificates(&self, ask: bool) {
        self.asks.store(ask, Ordering::Relaxed);
    }

    pub(crate) async fn accept(&self, connection: Box<dyn Connection>) -> Result<Secured, NetTrouble> {
        let configs = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let config = if self.asks.load(Ordering::Relaxed) { configs.asking } else { configs.silent };
        let accept = TlsAcceptor::from(config).accept_with(connection, |session| session.set_buffer_limit(Some(BUFFER_OCTETS_MAX)));
        let stream = Box::pin(accept).await.map_err(|trouble| NetTrouble::Tls(trouble.to_string()))?;
        // A client's chain is not judged, so there is none to trust.
        let facts = facts(stream.get_ref().1, false);
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| shown(chain.first()?));
        Ok(Secured { connection: Box::new(stream), facts, certificate })
    }
}

fn configure(
    certified: Certified,
    tickets: &Arc<dyn ProducesTickets>,
    sessions: &Arc<dyn StoresServerSessions>,
) -> Result<Configs, TlsSetupTrouble> {
    let unusable = |trouble: rustls::Error| TlsSetupTrouble::Unusable(trouble.to_string());
    let configure = |verifier: Arc<dyn ClientCertVerifier>| {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certified.chain.clone(), certified.key.clone_key())?;
        config.ticketer = Arc::clone(tickets);
        config.session_storage = Arc::clone(sessions);
        Ok(Arc::new(config))
    };
    let silent = configure(WebPkiClientVerifier::no_client_auth()).map_err(unusable)?;
    let asking = configure(Arc::new(AnyClient(provider()))).map_err(unusable)?;
    Ok(Configs { silent, asking })
}

/// The fingerprints of a certificate that is within its time.
fn shown(certificate: &CertificateDer<'_>) -> Option<ShownCertificate> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let now = i64::try_from(SystemClock.now().seconds()).ok()?;
    let validity = read.validity();
    let in_time = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now);
    let sha256 = |octets: &[u8]| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets);
        <[u8; 32]>::try_from(digest.as_ref()).ok()
    };
    let (certificate_sha256, key_sha256) = (sha256(certificate)?, sha256(read.public_key().raw)?);
    in_time.then_some(ShownCertificate { certificate_sha256, key_sha256 })
}

/// Asks for a certificate, and takes any whose key the client holds, and none.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
