//! The client's side: one accept-any configuration for opportunistic TLS, one that demands a trusted chain.
//!
//! A session resumes only under the verifier it began with, so each demand has one verifier for the process' life. Under opportunistic TLS any
//! certificate passes and the chain is judged after the handshake, also for a resumed session, whose chain rustls remembers. The proof
//! that the peer holds the certificate's key is always demanded: else `trusted` would be a claim.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postrider_model::doors::{Clock, Connection, NetTrouble, Secured, TlsDemand};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock::SystemClock;

use super::{BUFFER_OCTETS_MAX, TlsSetupTrouble, facts, provider};

/// Hosts whose sessions are kept for resumption, for each demand.
const SESSIONS_MAX: usize = 1024;

/// Where Debian and its kin keep the roots that the machine trusts.
pub const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The roots the machine trusts; none when it has no such file.
pub fn system_roots() -> RootCertStore {
    roots_in(Path::new(SYSTEM_ROOTS))
}

/// The roots in a PEM file, usually those the machine trusts; none when there is no such file, and then nothing is trusted.
pub fn roots_in(file: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if let Ok(certificates) = CertificateDer::pem_file_iter(file) {
        roots.add_parsable_certificates(certificates.flatten());
    }
    roots
}

/// Client configurations and their sessions.
#[derive(Clone)]
pub struct ClientTls {
    opportunistic: Arc<ClientConfig>,
    /// As opportunistic, without memory: peers without a name cannot be told apart.
    nameless: Arc<ClientConfig>,
    verified: Option<Arc<ClientConfig>>,
    judge: Option<Arc<WebPkiServerVerifier>>,
}

impl ClientTls {
    /// A client that trusts these roots. With no roots nothing is trusted, and what demands trust fails.
    ///
    /// # Errors
    /// When the roots cannot be used.
    pub fn new(roots: RootCertStore) -> Result<Self, TlsSetupTrouble> {
        let provider = provider();
        let unusable = |trouble: &dyn std::fmt::Display| TlsSetupTrouble::Unusable(trouble.to_string());
        let judge = if roots.is_empty() {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            Some(built.map_err(|trouble| unusable(&trouble))?)
        };
        let configure = |verifier: Arc<dyn ServerCertVerifier>, resumption: Resumption| {
            let versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
            let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
            config.resumption = resumption;
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        let any = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let sessions = || Resumption::in_memory_sessions(SESSIONS_MAX);
        let opportunistic = configure(any.clone(), sessions()).map_err(|trouble| unusable(&trouble))?;
        let nameless = configure(any, Resumption::disabled()).map_err(|trouble| unusable(&trouble))?;
        let verified = match &judge {
            Some(judge) => Some(configure(judge.clone(), sessions()).map_err(|trouble| unusable(&trouble))?),
            None => None,
        };
        Ok(Self { opportunistic, nameless, verified, judge })
    }

    /// A client that trusts what the machine trusts.
    ///
    /// # Errors
    /// As [`ClientTls::new`].
    pub fn with_system_roots() -> Result<Self, TlsSetupTrouble> {
        Self::new(system_roots())
    }

    /// A client that trusts what this file of roots says.
    ///
    /// # Errors
    /// As [`ClientTls::new`].
    pub fn with_roots_in(file: &Path) -> Result<Self, TlsSetupTrouble> {
        Self::new(roots_in(file))
    }

    pub(crate) async fn secure(&self, connection: Box<dyn Connection>, name: &str, demand: TlsDemand) -> Result<Secured, NetTrouble> {
        let (stream, trusted) = self.handshake(connection, name, demand).await?;
        let facts = facts(stream.get_ref().1, trusted);
        Ok(Secured { connection: Box::new(stream), facts, certificate: None })
    }

    /// The handshake, and whether the peer is who its name says.
    pub(super) async fn handshake(
        &self,
        connection: Box<dyn Connection>,
        name: &str,
        demand: TlsDemand,
    ) -> Result<(TlsStream<Box<dyn Connection>>, bool), NetTrouble> {
        let name = server_name(name);
        let (config, name) = match (demand, name) {
            (TlsDemand::Verified, None) => return Err(NetTrouble::Tls("the peer has no name that a certificate could prove".into())),
            (TlsDemand::Verified, Some(name)) => {
                let config = self.verified.as_ref().ok_or_else(|| NetTrouble::Tls("this machine trusts no root certificate".into()))?;
                (config, name)
            }
            (TlsDemand::Opportunistic, Some(name @ ServerName::DnsName(_))) => (&self.opportunistic, name),
            (TlsDemand::Opportunistic, name) => {
                (&self.nameless, name.unwrap_or(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])))))
            }
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let limit = |session: &mut ClientConnection| session.set_buffer_limit(Some(BUFFER_OCTETS_MAX));
        let handshake = Box::pin(connector.connect_with(name.clone(), connection, limit));
        let stream = handshake.await.map_err(|trouble| NetTrouble::Tls(told(&trouble, &name)))?;
        let trusted = demand == TlsDemand::Verified || self.is_trusted(stream.get_ref().1, &name);
        Ok((stream, trusted))
    }

    fn is_trusted(&self, session: &ClientConnection, name: &ServerName<'_>) -> bool {
        let (Some(judge), Some([leaf, chain @ ..])) = (&self.judge, session.peer_certificates()) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(SystemClock.now().millis()));
        judge.verify_server_cert(leaf, chain, name, &[], now).is_ok()
    }
}

/// Why a handshake failed. What is wrong with a certificate is said for the people who have to mend it, the server's or ours.
fn told(trouble: &std::io::Error, name: &ServerName<'_>) -> String {
    let known = trouble.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(wrong)) = known else { return trouble.to_string() };
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "the certificate is not valid yet".to_owned(),
        CertificateError::BadSignature => "the certificate is of no authority that is trusted here, though it names one".to_owned(),
        CertificateError::UnknownIssuer => "the certificate is of no authority that is trusted here".to_owned(),
        CertificateError::NotValidForName => format!("the certificate is not for the name {}", name.to_str()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let presented = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!("the certificate is not for the name {}, but for {presented}", name.to_str())
        }
        _ => trouble.to_string(),
    }
}

/// The peer's name as TLS wants it; none for what is neither a DNS name nor an address.
fn server_name(name: &str) -> Option<ServerName<'static>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.strip_prefix("IPv6:").unwrap_or(literal),
        None => name,
    };
    ServerName::try_from(name.to_owned()).ok()
}

/// Takes any certificate whose key the peer holds.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
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
