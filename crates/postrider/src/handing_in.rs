//! How a client hands mail in, for people who set one up: server, port, TLS, and a line to try it with.

use std::net::{IpAddr, SocketAddr};

use postrider_flow::ListenerSettings;
use postrider_model::Role;
use serde::Serialize;

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WayIn {
    /// A name, or an address.
    pub server: String,
    /// The port.
    pub port: u16,
    /// `implicit`, `starttls` or `none`.
    pub tls: &'static str,
}

impl WayIn {
    /// The way in by a listener; `None` where nobody logs in.
    pub fn of(settings: &ListenerSettings, address: SocketAddr, host_name: &str) -> Option<Self> {
        let tls = match (settings.implicit_tls, settings.starttls) {
            (true, _) => "implicit",
            (false, true) => "starttls",
            (false, false) => "none",
        };
        // The certificate has the relay's name; on the machine itself the address is what surely leads there.
        let server = match address.ip() {
            ip if !ip.is_loopback() => host_name.to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        (settings.role == Role::Submission).then_some(Self { server, port: address.port(), tls })
    }

    /// For people who fill in a form.
    pub fn in_words(&self) -> String {
        let tls = match self.tls {
            "implicit" => "TLS from the start (SSL/TLS)",
            "starttls" => "STARTTLS",
            _ => "no TLS",
        };
        format!("{} port {}, {tls}", self.server, self.port)
    }

    /// A line for a shell.
    pub fn swaks(&self, user: &str, secret: &str, from: &str) -> String {
        let Self { server, port, .. } = self;
        let tls = match self.tls {
            "implicit" => " --tls-on-connect",
            "starttls" => " --tls",
            _ => "",
        };
        format!(
            "swaks --server {server} --port {port}{tls} --auth PLAIN --auth-user {user} --auth-password {secret} --from {from} --to you@example.com"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(role: Role, implicit_tls: bool, starttls: bool) -> ListenerSettings {
        ListenerSettings {
            name: "x".into(),
            role,
            implicit_tls,
            starttls,
            auth_in_clear: false,
            auth_required: true,
            proxies: Vec::new(),
            not_verified: Vec::new(),
            xclients: Vec::new(),
        }
    }

    #[test]
    fn a_way_in_is_told_as_its_client_needs_it() {
        let way = |settings: &ListenerSettings, address: &str| WayIn::of(settings, address.parse().unwrap(), "mx.shop.example");
        let starttls = way(&settings(Role::Submission, false, true), "0.0.0.0:587").unwrap();
        assert_eq!(starttls.in_words(), "mx.shop.example port 587, STARTTLS");
        assert_eq!(
            starttls.swaks("u", "s", "a@b.example"),
            "swaks --server mx.shop.example --port 587 --tls --auth PLAIN --auth-user u --auth-password s --from a@b.example --to you@example.com"
        );
        let implicit = way(&settings(Role::Submission, true, false), "[::1]:465").unwrap();
        assert_eq!(implicit.in_words(), "[::1] port 465, TLS from the start (SSL/TLS)");
        assert!(implicit.swaks("u", "s", "f").contains("--server [::1] --port 465 --tls-on-connect --auth"));
        let clear = way(&settings(Role::Submission, false, false), "192.0.2.7:2525").unwrap();
        assert!(clear.in_words() == "mx.shop.example port 2525, no TLS" && !clear.swaks("u", "s", "f").contains("tls"));
        assert_eq!(way(&settings(Role::Relay, false, true), "0.0.0.0:25"), None);
    }
}
