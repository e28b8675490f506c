//! The client's machine of SOCKS5: CONNECT to an address (RFC 1928), with name and password where the proxy asks for them (RFC 1929).
//!
//! **Promises.** It says how many octets to read, never more than the proxy's next word has for certain, so nothing behind its last word is touched. Whatever
//! comes, it ends: the longest word has 262 octets, and no word comes twice. What the proxy says of the next hop is told apart from what is wrong with
//! the proxy.
//!
//! **Never** offers a password where none is configured, and never asks the proxy to look a name up: names are looked up here.

use std::net::{IpAddr, SocketAddr};

use postrider_smtp::sasl::Credentials;

const VERSION: u8 = 5;
/// RFC 1928 §3.
const NO_AUTHENTICATION: u8 = 0;
const NAME_AND_PASSWORD: u8 = 2;
/// RFC 1929 §2: the version of that exchange.
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
/// RFC 1928 §5.
const IPV4: u8 = 1;
const DOMAIN: u8 = 3;
const IPV6: u8 = 4;

/// What the driver does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Write all of it.
    Write(Vec<u8>),
    /// Read exactly so many octets, and give them to [`Socks::heard`].
    Read(usize),
    /// The connection leads to the next hop now.
    Connected,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The next hop refuses connections.
    Refused,
    /// There is no way to the next hop.
    Unreachable(&'static str),
    /// The way to the next hop takes too long.
    TimedOut,
    /// The proxy is no use, behind its name.
    Proxy(&'static str),
}

/// One exchange.
#[derive(Debug)]
pub(crate) struct Socks {
    to: SocketAddr,
    login: Option<Credentials>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    SayMethods,
    Method,
    SayLogin,
    Login,
    SayConnect,
    /// Version, reply, reserved, kind of address, and the first octet of the address.
    Connect,
    /// So many octets of the bound address and its port are left.
    Bound(usize),
    Connected,
}

impl Socks {
    /// Towards `to`; with `login` if the proxy asks for one.
    pub(crate) fn new(to: SocketAddr, login: Option<&Credentials>) -> Self {
        Self { to, login: login.cloned(), state: State::SayMethods }
    }

    /// Whether the proxy was told whom to dial.
    pub(crate) fn has_asked(&self) -> bool {
        matches!(self.state, State::Connect | State::Bound(_) | State::Connected)
    }

    /// What to do now.
    pub(crate) fn next(&mut self) -> Act {
        let (say, then) = match self.state {
            State::SayMethods if self.login.is_some() => (vec![VERSION, 2, NO_AUTHENTICATION, NAME_AND_PASSWORD], State::Method),
            State::SayMethods => (vec![VERSION, 1, NO_AUTHENTICATION], State::Method),
            State::SayLogin => (self.login_words(), State::Login),
            State::SayConnect => (self.connect_words(), State::Connect),
            State::Method | State::Login => return Act::Read(2),
            State::Connect => return Act::Read(5),
            State::Bound(octets) => return Act::Read(octets),
            State::Connected => return Act::Connected,
        };
        self.state = then;
        Act::Write(say)
    }

    /// Takes what was to be read.
    pub(crate) fn heard(&mut self, octets: &[u8]) -> Result<(), Trouble> {
        self.state = match (self.state, octets) {
            (State::Method, [VERSION, NO_AUTHENTICATION]) => State::SayConnect,
            (State::Method, [VERSION, NAME_AND_PASSWORD]) if self.login.is_some() => State::SayLogin,
            (State::Method, [VERSION, 0xff]) if self.login.is_some() => return Err(Trouble::Proxy("takes neither a password nor none")),
            (State::Method, [VERSION, _]) => return Err(Trouble::Proxy("asks for a proof that is not configured")),
            (State::Login, [LOGIN_VERSION, 0]) => State::SayConnect,
            (State::Login, [LOGIN_VERSION, _]) => return Err(Trouble::Proxy("refused our name and password")),
            (State::Connect, [VERSION, 0, _, kind, first]) => match *kind {
                // One octet of the address was read already; two of the port follow it.
                IPV4 => State::Bound(4 - 1 + 2),
                IPV6 => State::Bound(16 - 1 + 2),
                DOMAIN => State::Bound(usize::from(*first) + 2),
                _ => return Err(Trouble::Proxy("answers with an unknown kind of address")),
            },
            (State::Connect, [VERSION, reply, ..]) => return Err(refusal(*reply)),
            (State::Bound(expected), octets) if octets.len() == expected => State::Connected,
            _ => return Err(Trouble::Proxy("does not speak SOCKS5")),
        };
        Ok(())
    }

    fn login_words(&self) -> Vec<u8> {
        let Some(login) = &self.login else { return Vec::new() };
        // The configuration takes neither above 255 octets.
        let short = |octets: &[u8]| u8::try_from(octets.len()).unwrap_or(u8::MAX);
        let (name, password) = (login.authcid.as_bytes(), login.password.as_slice());
        let words = [&[LOGIN_VERSION, short(name)], name.get(..usize::from(short(name))).unwrap_or_default(), &[short(password)]].concat();
        [&words, password.get(..usize::from(short(password))).unwrap_or_default()].concat()
    }

    fn connect_words(&self) -> Vec<u8> {
        let mut words = vec![VERSION, CONNECT, 0];
        match self.to.ip() {
            IpAddr::V4(address) => {
                words.push(IPV4);
                words.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                words.push(IPV6);
                words.extend_from_slice(&address.octets());
            }
        }
        words.extend_from_slice(&self.to.port().to_be_bytes());
        words
    }
}

/// RFC 1928 §6.
fn refusal(reply: u8) -> Trouble {
    match reply {
        2 => Trouble::Proxy("does not allow this connection by its rules"),
        3 => Trouble::Unreachable("the proxy says: network unreachable"),
        4 => Trouble::Unreachable("the proxy says: host unreachable"),
        5 => Trouble::Refused,
        6 => Trouble::TimedOut,
        7 => Trouble::Proxy("does not do CONNECT"),
        8 => Trouble::Proxy("does not reach addresses of this family"),
        _ => Trouble::Proxy("failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Credentials {
        Credentials { authzid: String::new(), authcid: "ann".into(), password: b"pw".to_vec() }
    }

    /// Plays a proxy that says these words; what was said to it, and how it ended.
    fn play(to: &str, login: Option<&Credentials>, words: &[&[u8]]) -> (Vec<Vec<u8>>, Result<usize, Trouble>) {
        let (mut socks, mut said, mut rest) = (Socks::new(to.parse().unwrap(), login), Vec::new(), words.concat());
        loop {
            match socks.next() {
                Act::Write(octets) => said.push(octets),
                Act::Connected => return (said, Ok(rest.len())),
                Act::Read(octets) => {
                    let read: Vec<u8> = rest.drain(..octets.min(rest.len())).collect();
                    if let Err(trouble) = socks.heard(&read) {
                        return (said, Err(trouble));
                    }
                }
            }
        }
    }

    const BOUND: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 4, 0];

    #[test]
    fn a_connection_without_and_with_a_password() {
        let (said, ended) = play("192.0.2.1:25", None, &[&[5, 0], BOUND, b"220 greeting"]);
        assert_eq!(said, [vec![5, 1, 0], vec![5, 1, 0, 1, 192, 0, 2, 1, 0, 25]]);
        assert_eq!(ended, Ok(12), "the greeting is left where it is");
        let (said, ended) = play("[2001:db8::1]:25", Some(&login()), &[&[5, 2], &[1, 0], &[5, 0, 0, 3, 2, b'a', b'b', 0, 25]]);
        assert_eq!(said[..2], [vec![5, 2, 0, 2], b"\x01\x03ann\x02pw".to_vec()]);
        assert_eq!((said[2].len(), ended), (22, Ok(0)));
        let bound6 = [&[5, 0, 0, 4][..], &[0; 18]].concat();
        assert_eq!(play("192.0.2.1:25", Some(&login()), &[&[5, 0], &bound6]).1, Ok(0), "a proxy need not ask");
    }

    #[test]
    fn what_is_wrong_with_the_proxy_is_told_from_what_is_wrong_behind_it() {
        let proxy = |why| Err(Trouble::Proxy(why));
        let connect = |reply| [&[5, 0][..], &[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
        for (words, expected) in [
            (connect(1), proxy("failed")),
            (connect(2), proxy("does not allow this connection by its rules")),
            (connect(3), Err(Trouble::Unreachable("the proxy says: network unreachable"))),
            (connect(4), Err(Trouble::Unreachable("the proxy says: host unreachable"))),
            (connect(5), Err(Trouble::Refused)),
            (connect(6), Err(Trouble::TimedOut)),
            (connect(8), proxy("does not reach addresses of this family")),
            (connect(99), proxy("failed")),
            (vec![5, 0, 5, 0, 0, 9, 0], proxy("answers with an unknown kind of address")),
            (vec![5, 0xff], proxy("asks for a proof that is not configured")),
            (vec![5, 2], proxy("asks for a proof that is not configured")),
            (b"HTTP/1.1 400".to_vec(), proxy("does not speak SOCKS5")),
            (vec![4, 0], proxy("does not speak SOCKS5")),
            (Vec::new(), proxy("does not speak SOCKS5")),
        ] {
            assert_eq!(play("192.0.2.1:25", None, &[&words]).1, expected, "{}", words.escape_ascii());
        }
        assert_eq!(play("192.0.2.1:25", Some(&login()), &[&[5, 2, 1, 1]]).1, proxy("refused our name and password"));
        assert_eq!(play("192.0.2.1:25", Some(&login()), &[&[5, 0xff]]).1, proxy("takes neither a password nor none"));
    }
}
