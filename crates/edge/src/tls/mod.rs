//! TLS on both sides (RFC 3207 for its place in SMTP, RFC 8314 for submission, RFC 7435 for opportunism).
//!
//! **Promises.** TLS 1.2 and 1.3 only, by rustls on aws-lc. A handshake gives facts: version, cipher suite, and whether the peer's chain leads to a trusted
//! root for its name. Sessions resume. After a clean end (`close_notify`) a read gives zero octets; a stream that just stops gives `UnexpectedEof`, so
//! a cut-off is never taken for an end (RFC 8446 §6.1).
//!
//! **Never** panics on a peer's name, certificate or handshake, and sends no SNI for what is no DNS name (RFC 6066 §3).

mod certificate;
mod client;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use postrider_model::outcome::TlsFacts;
use rustls::crypto::CryptoProvider;
use rustls::{CommonState, ProtocolVersion};

pub use certificate::{Certified, generate};
pub use client::{ClientTls, SYSTEM_ROOTS, roots_in, system_roots};
pub use server::ServerTls;

/// Octets of plain text and of TLS records that one session buffers at most in each direction. Two full records: less would cut writes, and ten thousand
/// idle sessions must not hold more.
const BUFFER_OCTETS_MAX: usize = 32 * 1024;

/// Why TLS could not be set up: mistakes of configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupTrouble {
    /// A file could not be read.
    #[error("{path}: {trouble}")]
    File {
        /// Which.
        path: String,
        /// The system's words.
        trouble: std::io::Error,
    },
    /// There is no certificate in the file.
    #[error("no certificate in {0}")]
    NoCertificate(String),
    /// There is no private key in the file.
    #[error("no private key in {0}")]
    NoKey(String),
    /// Key and certificate do not fit, or are of an unknown kind.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(String),
    /// A certificate could not be made.
    #[error("no certificate could be made: {0}")]
    Generate(String),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What was agreed.
fn facts(state: &CommonState, trusted: bool) -> TlsFacts {
    let version = match state.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "unknown",
    };
    // rustls names the suites of TLS 1.3 with a prefix of its own; IANA does not (RFC 8446 §B.4).
    let cipher = state.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    let cipher = cipher.strip_prefix("TLS13_").map_or_else(|| Arc::from(cipher), |name| Arc::from(format!("TLS_{name}")));
    TlsFacts { version: version.into(), cipher, trusted }
}
