//! Wires: TCP out and in (RFC 5321 §4.5.4.1 for trying addresses is the caller's; this module makes one connection at a time).
//!
//! **Promises.** A connection sends without delay (TCP_NODELAY: the machines above write whole command groups), takes scattered buffers in one call, and
//! comes from the local address that was asked for. Every error is told by who caused it: the peer, the way, our own address, or our own limits.
//!
//! **Never** retries, never resolves, never reads ahead: octets that a peer sent early stay in the connection for `secure`'s caller to judge.
//!
//! **Does badly.** A bound connection takes a local port when it binds, so one Source holds at most as many connections, over all peers, as the machine
//! has ephemeral ports (28,232 on Linux). A listener's accept takes one client a call; with thousands of connects a second the kernel's backlog is the buffer.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use postrider_model::BoxFuture;
use postrider_model::doors::{Connection, Listener, Net, NetTrouble, Peer, Secured, TlsDemand};
use postrider_model::policy::{Proxy, ProxyProtocol};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};

use crate::proxy;
use crate::tls::{ClientTls, ServerTls};

/// Connections the kernel keeps for us while we are busy.
const BACKLOG: i32 = 1024;

/// Dialling and securing over the machine's network.
pub struct TcpNet {
    client: ClientTls,
    server: Option<Arc<ServerTls>>,
    listening: Mutex<Vec<SocketAddr>>,
}

impl TcpNet {
    /// A net that dials, secures with `client`, and answers STARTTLS with `server` when there is one.
    pub fn new(client: ClientTls, server: Option<Arc<ServerTls>>) -> Self {
        Self { client, server, listening: Mutex::default() }
    }

    /// Says where we listen, so that a way back to us is known for one.
    pub fn set_listening(&self, addresses: Vec<SocketAddr>) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

impl Net for TcpNet {
    fn dial(&self, from: Option<IpAddr>, to: SocketAddr, timeout: Duration) -> BoxFuture<'_, Result<Box<dyn Connection>, NetTrouble>> {
        Box::pin(async move {
            let socket = outgoing_socket(from, to)?;
            let stream = match tokio::time::timeout(timeout, socket.connect(to)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(trouble)) => return Err(connect_trouble(&trouble)),
                Err(_) => return Err(NetTrouble::TimedOut),
            };
            Ok(Box::new(TcpConnection(stream)) as Box<dyn Connection>)
        })
    }

    fn dial_through<'a>(
        &'a self,
        proxy: &'a Proxy,
        from: Option<IpAddr>,
        to: SocketAddr,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Connection>, NetTrouble>> {
        Box::pin(async move {
            // A header names the address that the proxy is to use; it need not be this machine's.
            let bound = from.filter(|_| matches!(proxy.protocol, ProxyProtocol::Socks5(_)));
            let connection = self.dial(bound, proxy.address, timeout).await.map_err(|trouble| match trouble {
                // Our own fault, or nobody's.
                NetTrouble::Source(_) | NetTrouble::Exhausted(_) => trouble,
                other => NetTrouble::Proxy(format!("the proxy {} cannot be reached: {other}", proxy.address)),
            })?;
            proxy::pass(connection, proxy, from, to, timeout).await
        })
    }

    fn dial_unix<'a>(&'a self, path: &'a Path, timeout: Duration) -> BoxFuture<'a, Result<Box<dyn Connection>, NetTrouble>> {
        Box::pin(async move {
            match tokio::time::timeout(timeout, UnixStream::connect(path)).await {
                Ok(Ok(stream)) => Ok(Box::new(stream) as Box<dyn Connection>),
                Ok(Err(trouble)) if matches!(trouble.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                    Err(NetTrouble::Unreachable(format!("{}: {trouble}", path.display())))
                }
                Ok(Err(trouble)) => Err(connect_trouble(&trouble)),
                Err(_) => Err(NetTrouble::TimedOut),
            }
        })
    }

    fn is_ours(&self, address: SocketAddr) -> bool {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let same_port = listening.into_iter().filter(|ours| ours.port() == address.port());
        same_port.into_iter().any(|ours| {
            let any = ours.ip().is_unspecified() && ours.is_ipv4() == address.is_ipv4();
            ours.ip() == address.ip() || any && is_of_this_machine(address.ip())
        })
    }

    fn secure(&self, connection: Box<dyn Connection>, name: &str, demand: TlsDemand) -> BoxFuture<'_, Result<Secured, NetTrouble>> {
        let name = name.to_owned();
        Box::pin(async move { self.client.secure(connection, &name, demand).await })
    }

    fn accept_secure(&self, connection: Box<dyn Connection>) -> BoxFuture<'_, Result<Secured, NetTrouble>> {
        Box::pin(async move {
            match &self.server {
                Some(server) => server.accept(connection).await,
                None => Err(NetTrouble::Tls("no certificate is configured".into())),
            }
        })
    }
}

/// The kernel binds a socket to no address but the machine's own.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

/// A socket bound to the local address, not yet connected.
fn outgoing_socket(from: Option<IpAddr>, to: SocketAddr) -> Result<TcpSocket, NetTrouble> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).map_err(|trouble| connect_trouble(&trouble))?;
    if let Some(from) = from {
        if from.is_ipv4() != to.is_ipv4() {
            return Err(NetTrouble::Source(format!("{from} cannot reach {}: another address family", to.ip())));
        }
        socket.bind(&SockAddr::from(SocketAddr::new(from, 0))).map_err(|trouble| match resources(&trouble) {
            Some(exhausted) => exhausted,
            None => NetTrouble::Source(format!("{from}: {trouble}")),
        })?;
    }
    socket.set_tcp_nodelay(true).and_then(|()| socket.set_nonblocking(true)).map_err(|trouble| connect_trouble(&trouble))?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// What a failed connect says.
fn connect_trouble(trouble: &io::Error) -> NetTrouble {
    if let Some(exhausted) = resources(trouble) {
        return exhausted;
    }
    match trouble.kind() {
        ErrorKind::ConnectionRefused => NetTrouble::Refused,
        ErrorKind::TimedOut => NetTrouble::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => NetTrouble::Unreachable(trouble.to_string()),
        // The kernel has no port left for this pair of addresses.
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => NetTrouble::Exhausted(trouble.to_string()),
        // Errno 97, EAFNOSUPPORT: a machine without IPv6.
        _ if trouble.raw_os_error() == Some(97) => NetTrouble::Unreachable(trouble.to_string()),
        _ => NetTrouble::Other(trouble.to_string()),
    }
}

/// Whether descriptors or memory ran out: EMFILE 24, ENFILE 23, ENOBUFS 105, ENOMEM 12.
fn resources(trouble: &io::Error) -> Option<NetTrouble> {
    let exhausted = matches!(trouble.raw_os_error(), Some(12 | 23 | 24 | 105)) || trouble.kind() == ErrorKind::OutOfMemory;
    exhausted.then(|| NetTrouble::Exhausted(trouble.to_string()))
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpConnection(TcpStream);

impl AsyncRead for TcpConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for TcpConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpListenerDoor {
    listener: TcpListener,
    address: SocketAddr,
}

impl TcpListenerDoor {
    /// Listens. Port 0 takes any; `[::]` takes IPv6 only, so that a listener on `0.0.0.0` can stand beside it. Must be called within a runtime.
    ///
    /// # Errors
    /// The socket's, as the system said it.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Self::over(socket.into())
    }

    /// Takes over a socket that listens already, as a service manager opens it. Must be called within a runtime.
    ///
    /// # Errors
    /// The socket's, as the system said it.
    pub fn over(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }
}

impl Listener for TcpListenerDoor {
    fn accept(&self) -> BoxFuture<'_, Result<(Box<dyn Connection>, Peer), NetTrouble>> {
        Box::pin(async move {
            loop {
                let (stream, remote) = match self.listener.accept().await {
                    Ok(client) => client,
                    // The client left before we took it: nothing is wrong with the socket.
                    Err(trouble) if matches!(trouble.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
                    Err(trouble) => return Err(resources(&trouble).unwrap_or_else(|| NetTrouble::Other(trouble.to_string()))),
                };
                // These fail only on a connection that is gone already.
                if let (Ok(()), Ok(local)) = (stream.set_nodelay(true), stream.local_addr()) {
                    return Ok((Box::new(TcpConnection(stream)) as Box<dyn Connection>, Peer { remote, local }));
                }
            }
        })
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_know_where_we_listen() {
        let net = TcpNet::new(ClientTls::new(rustls::RootCertStore::empty()).unwrap(), None);
        let is_ours = |address: &str| net.is_ours(address.parse().unwrap());
        assert!(!is_ours("127.0.0.1:25"));
        net.set_listening(["127.0.0.1:2525", "0.0.0.0:25"].map(|address| address.parse().unwrap()).to_vec());
        for (address, ours) in [
            ("127.0.0.1:2525", true),
            ("127.0.0.2:2525", false),
            ("127.0.0.1:25", true),
            ("127.0.0.9:25", true),
            ("192.0.2.1:25", false),
            ("[::1]:25", false),
            ("127.0.0.1:26", false),
        ] {
            assert_eq!(is_ours(address), ours, "{address}");
        }
    }

    #[test]
    fn errors_are_told_by_who_caused_them() {
        let told = |errno| connect_trouble(&io::Error::from_raw_os_error(errno));
        assert_eq!(told(111), NetTrouble::Refused);
        assert_eq!(told(110), NetTrouble::TimedOut);
        for errno in [101, 113, 100, 97] {
            assert!(matches!(told(errno), NetTrouble::Unreachable(_)), "{errno}");
        }
        for errno in [24, 23, 105, 12, 99] {
            assert!(matches!(told(errno), NetTrouble::Exhausted(_)), "{errno}");
        }
        assert!(matches!(told(104), NetTrouble::Other(_)));
    }
}
