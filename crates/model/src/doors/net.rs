//! The wire.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::BoxFuture;
use crate::outcome::TlsFacts;
use crate::policy::Proxy;

/// A two-way stream of octets.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Dialling, listening, and securing.
pub trait Net: Send + Sync {
    /// Opens a connection, from the given local address when there is one.
    fn dial(&self, from: Option<IpAddr>, to: SocketAddr, timeout: Duration) -> BoxFuture<'_, Result<Box<dyn Connection>, NetTrouble>>;

    /// As [`Net::dial`], by way of a proxy; `timeout` counts for the way to the proxy and again for the way on. A world without proxies has none.
    fn dial_through<'a>(
        &'a self,
        proxy: &'a Proxy,
        _from: Option<IpAddr>,
        _to: SocketAddr,
        _timeout: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Connection>, NetTrouble>> {
        Box::pin(async move { Err(NetTrouble::Proxy(format!("no proxy at {}", proxy.address))) })
    }

    /// Opens a connection to a socket of this machine. A world without files has none.
    fn dial_unix<'a>(&'a self, path: &'a Path, _timeout: Duration) -> BoxFuture<'a, Result<Box<dyn Connection>, NetTrouble>> {
        Box::pin(async move { Err(NetTrouble::Unreachable(format!("no socket {}", path.display()))) })
    }

    /// Whether we listen there ourselves, so that a connection would bring mail back to us.
    fn is_ours(&self, _address: SocketAddr) -> bool {
        false
    }

    /// Makes a TLS client session over a connection whose buffered octets were all consumed.
    fn secure(&self, connection: Box<dyn Connection>, name: &str, demand: TlsDemand) -> BoxFuture<'_, Result<Secured, NetTrouble>>;

    /// Makes a TLS server session, with the relay's certificate.
    fn accept_secure(&self, connection: Box<dyn Connection>) -> BoxFuture<'_, Result<Secured, NetTrouble>>;
}

/// A listening socket.
pub trait Listener: Send + Sync {
    /// The next client. An error is one of the socket, not of a client; the caller pauses before it asks again.
    fn accept(&self) -> BoxFuture<'_, Result<Client, NetTrouble>>;

    /// Where it listens.
    fn address(&self) -> SocketAddr;
}

/// A connection, and who is at its other end.
pub type Client = (Box<dyn Connection>, Peer);

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub remote: SocketAddr,
    /// Ours, as it dialled it.
    pub local: SocketAddr,
}

/// What a TLS client session must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsDemand {
    /// Any certificate (RFC 7435): encrypted is better than not.
    Opportunistic,
    /// A chain to a trusted root, valid for the name.
    Verified,
}

/// A connection under TLS.
pub struct Secured {
    /// The connection.
    pub connection: Box<dyn Connection>,
    /// What was agreed.
    pub facts: TlsFacts,
    /// On the server's side: the certificate that the client has shown and holds the key of, if it is within its time. Nothing else was judged.
    pub certificate: Option<ShownCertificate>,
}

/// A certificate, by its fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of the certificate.
    pub certificate_sha256: [u8; 32],
    /// SHA-256 of its public key (SubjectPublicKeyInfo), which outlives a renewal that keeps the key.
    pub key_sha256: [u8; 32],
}

/// Trouble of the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetTrouble {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No answer in time.
    #[error("timed out")]
    TimedOut,
    /// No way there.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The local address cannot be used: a mistake of ours, not of the peer.
    #[error("cannot use the source address: {0}")]
    Source(String),
    /// The proxy cannot be used: a condition of the Source, not of the peer.
    #[error("{0}")]
    Proxy(String),
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    /// Descriptors or memory ran out.
    #[error("out of resources: {0}")]
    Exhausted(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}
