//! The listener for recipients, when the configuration asks for one.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::anyhow;
use postrider_edge::TcpListenerDoor;
use postrider_http::{WebDoors, serve_web};
use postrider_model::doors::{Listener, Net};
use tokio::task::JoinHandle;

use crate::config::WebConfig;

/// The socket, bound.
pub struct Web {
    socket: Arc<TcpListenerDoor>,
    tls: bool,
    /// How many requests a network may make in a minute.
    pub requests_per_minute: Option<u32>,
}

impl Web {
    /// Binds; a port in use costs nothing this early.
    pub fn bind(wanted: Option<WebConfig>) -> anyhow::Result<Option<Self>> {
        let Some(WebConfig { address, tls, requests_per_minute }) = wanted else { return Ok(None) };
        let socket = TcpListenerDoor::bind(address).map_err(|trouble| {
            anyhow!(
                "cannot listen on {address} (web): {trouble}; choose another address under [web] listen, or leave the key away. Ports below 1024 need the \
                 right to bind them (CAP_NET_BIND_SERVICE), or a proxy in front"
            )
        })?;
        Ok(Some(Self { socket: Arc::new(socket), tls, requests_per_minute }))
    }

    fn address(&self) -> SocketAddr {
        self.socket.address()
    }

    /// Answers from here on.
    pub fn start(self, net: Arc<dyn Net>, doors: WebDoors) -> JoinHandle<()> {
        let scheme = if self.tls { "https" } else { "http" };
        tracing::info!("unsubscribing on {scheme}://{}/u/", self.address());
        let tls = self.tls.then_some(net);
        tokio::spawn(serve_web(self.socket, tls, doors))
    }
}
