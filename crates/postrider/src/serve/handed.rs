//! Sockets that a service manager opened for us (sd_listen_fds(3)): then nobody is refused while the relay starts anew, and no privilege is needed
//! for ports below 1024.
//!
//! **Promises.** A socket goes to the listener whose name it bears (`FileDescriptorName=`), else to the listener whose address it has. What no listener
//! wants is told and closed. Each is given out once.

use std::net::TcpListener;

use listenfd::ListenFd;

use crate::config::ListenerConfig;

/// One socket that was handed over.
struct Socket {
    name: String,
    listener: TcpListener,
}

/// What was handed over and is not in use.
#[derive(Default)]
pub struct Handed {
    sockets: Vec<Socket>,
}

impl Handed {
    /// Takes what the environment speaks of. Called once, before anything else opens a file.
    pub fn take() -> anyhow::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::new();
        for place in 0..given.len() {
            let name = names.get(place).copied().unwrap_or_default().to_owned();
            match given.take_tcp_listener(place) {
                Ok(Some(listener)) => sockets.push(Socket { name, listener }),
                Ok(None) => {}
                Err(trouble) => anyhow::bail!(
                    "the socket {name:?} that the service manager handed over is no listening TCP socket ({trouble}): correct its .socket unit \
                     (ListenStream= with a port or an address)"
                ),
            }
        }
        Ok(Self { sockets })
    }

    /// The socket for a listener, if there is one.
    pub fn give(&mut self, config: &ListenerConfig) -> Option<TcpListener> {
        let named = self.sockets.iter().position(|socket| socket.name == config.settings.name);
        let there = || self.sockets.iter().position(|socket| socket.listener.local_addr().is_ok_and(|address| address == config.address));
        let place = named.or_else(there)?;
        Some(self.sockets.swap_remove(place).listener)
    }

    /// Lets go what no listener wants; says what that was.
    pub fn left_over(&mut self) -> Vec<String> {
        let told = |socket: Socket| match socket.listener.local_addr() {
            Ok(address) => format!("{:?} on {address}", socket.name),
            Err(_) => format!("{:?}", socket.name),
        };
        self.sockets.drain(..).map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use super::*;
    use crate::config::{Config, HostName};

    fn config(name: &str, address: SocketAddr) -> ListenerConfig {
        let text = format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nrole = \"relay\"\n");
        let host_name = HostName { name: "relay.test".to_owned(), guessed: false };
        Config::parse(&text, "", Path::new(""), &host_name).unwrap().listeners.remove(0)
    }

    #[test]
    fn a_socket_goes_to_the_listener_of_its_name_else_of_its_address() {
        let open = |name: &str| Socket { name: name.to_owned(), listener: TcpListener::bind("127.0.0.1:0").unwrap() };
        let mut handed = Handed { sockets: vec![open("smtp"), open("postrider.socket"), open("spare")] };
        let address = |handed: &Handed, place: usize| handed.sockets[place].listener.local_addr().unwrap();
        let (first, second) = (address(&handed, 0), address(&handed, 1));
        let found = |handed: &mut Handed, name: &str, at| handed.give(&config(name, at)).map(|socket| socket.local_addr().unwrap());
        assert_eq!(found(&mut handed, "smtp", second), Some(first), "the name goes first");
        assert_eq!(found(&mut handed, "other", second), Some(second));
        assert_eq!(found(&mut handed, "other", second), None, "each is given once");
        let left = handed.left_over();
        assert!(left.len() == 1 && left[0].starts_with("\"spare\" on 127.0.0.1:"), "{left:?}");
    }
}
