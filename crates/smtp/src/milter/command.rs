//! What we say to a milter.

use std::net::{IpAddr, SocketAddr};

use super::terms::{Steps, Terms};

/// Octets of a body in one command (`MILTER_CHUNK_SIZE`).
pub const BODY_OCTETS_MAX: usize = 65_535;

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A client is there.
    Connect {
        /// Its name, or its address in brackets where it has none.
        name: &'a str,
        /// Its address; `None` where there is no network between us.
        address: Option<SocketAddr>,
    },
    /// Its word of HELO or EHLO.
    Hello(&'a str),
    /// The reverse-path with its brackets, and the parameters as they were said.
    Mail {
        /// `<a@b.example>`
        path: &'a str,
        /// `SIZE=100`
        parameters: &'a [String],
    },
    /// One recipient, likewise.
    Recipient {
        /// `<a@b.example>`
        path: &'a str,
        /// `NOTIFY=NEVER`
        parameters: &'a [String],
    },
    /// DATA.
    Data,
    /// One header field.
    Header {
        /// Its name.
        name: &'a [u8],
        /// What follows the colon, folds included.
        value: &'a [u8],
    },
    /// The header is over.
    EndOfHeader,
    /// At most [`BODY_OCTETS_MAX`] octets of the body.
    Body(&'a [u8]),
    /// The body is over: judge, and say what is to be changed.
    EndOfBody,
    /// A command that is no command.
    Unknown(&'a str),
    /// The message is given up; the session goes on. Not answered.
    Abort,
    /// The end. Not answered.
    Quit,
}

/// Where macros are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// With CONNECT.
    Connect,
    /// With HELO.
    Hello,
    /// With MAIL.
    Mail,
    /// With each RCPT.
    Recipient,
    /// With DATA.
    Data,
    /// With the end of the header.
    EndOfHeader,
    /// With the end of the body.
    EndOfBody,
    /// With an unknown command.
    Unknown,
}

impl Stage {
    /// By the number that a milter's wish for macros has (`SMFIM_*`).
    pub(super) fn of_number(number: u32) -> Option<Stage> {
        Some(match number {
            0 => Stage::Connect,
            1 => Stage::Hello,
            2 => Stage::Mail,
            3 => Stage::Recipient,
            4 => Stage::Data,
            5 => Stage::EndOfBody,
            6 => Stage::EndOfHeader,
            _ => return None,
        })
    }

    /// What Postfix sends where a milter has no wish of its own (`milter_connect_macros` and its kin).
    pub(super) fn usual_macros(self) -> &'static [&'static str] {
        match self {
            Stage::Connect => {
                &["j", "{daemon_name}", "{daemon_addr}", "{daemon_port}", "v", "_", "{client_addr}", "{client_name}", "{client_port}"]
            }
            Stage::Hello => &["{tls_version}", "{cipher}", "{cipher_bits}"],
            Stage::Mail => &["i", "{auth_type}", "{auth_authen}", "{auth_author}", "{mail_addr}", "{mail_host}", "{mail_mailer}"],
            Stage::Recipient => &["i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"],
            Stage::Data | Stage::EndOfHeader | Stage::EndOfBody => &["i"],
            Stage::Unknown => &[],
        }
    }
}

/// How a command is said under given terms.
pub(super) struct Manner {
    pub(super) letter: u8,
    pub(super) stage: Option<Stage>,
    /// It is not said at all.
    pub(super) skipped: bool,
    /// It is not answered.
    pub(super) quiet: bool,
}

impl Command<'_> {
    pub(super) fn manner(&self, terms: &Terms) -> Manner {
        let (letter, stage, no, quiet, since) = match self {
            Command::Connect { .. } => (b'C', Some(Stage::Connect), Steps::NO_CONNECT, Steps::QUIET_CONNECT, 2),
            Command::Hello(_) => (b'H', Some(Stage::Hello), Steps::NO_HELLO, Steps::QUIET_HELLO, 2),
            Command::Mail { .. } => (b'M', Some(Stage::Mail), Steps::NO_MAIL, Steps::QUIET_MAIL, 2),
            Command::Recipient { .. } => (b'R', Some(Stage::Recipient), Steps::NO_RECIPIENT, Steps::QUIET_RECIPIENT, 2),
            Command::Data => (b'T', Some(Stage::Data), Steps::NO_DATA, Steps::QUIET_DATA, 4),
            Command::Header { .. } => (b'L', None, Steps::NO_HEADER, Steps::QUIET_HEADER, 2),
            Command::EndOfHeader => (b'N', Some(Stage::EndOfHeader), Steps::NO_END_OF_HEADER, Steps::QUIET_END_OF_HEADER, 2),
            Command::Body(_) => (b'B', None, Steps::NO_BODY, Steps::QUIET_BODY, 2),
            Command::EndOfBody => (b'E', Some(Stage::EndOfBody), 0, 0, 2),
            Command::Unknown(_) => (b'U', Some(Stage::Unknown), Steps::NO_UNKNOWN, Steps::QUIET_UNKNOWN, 3),
            Command::Abort => (b'A', None, 0, u32::MAX, 2),
            Command::Quit => (b'Q', None, 0, u32::MAX, 2),
        };
        let quiet = quiet == u32::MAX || terms.steps.any(quiet);
        Manner { letter, stage, skipped: terms.steps.any(no) || terms.version < since, quiet }
    }

    /// Appends what stands behind the letter.
    pub(super) fn write(&self, terms: &Terms, out: &mut Vec<u8>) {
        match self {
            Command::Connect { name, address } => {
                text(out, name.as_bytes());
                connect_address(out, *address);
            }
            Command::Hello(name) | Command::Unknown(name) => text(out, name.as_bytes()),
            Command::Mail { path, parameters } | Command::Recipient { path, parameters } => {
                text(out, path.as_bytes());
                parameters.iter().for_each(|parameter| text(out, parameter.as_bytes()));
            }
            Command::Header { name, value } => {
                text(out, name);
                let leading = terms.steps.any(Steps::LEADING_SPACE);
                let value = if leading { value } else { value.strip_prefix(b" ").unwrap_or(value) };
                // Milters know a line end as LF.
                text(out, &value.iter().copied().filter(|octet| *octet != b'\r').collect::<Vec<u8>>());
            }
            Command::Body(octets) => out.extend_from_slice(octets),
            Command::Data | Command::EndOfHeader | Command::EndOfBody | Command::Abort | Command::Quit => {}
        }
    }
}

fn connect_address(out: &mut Vec<u8>, address: Option<SocketAddr>) {
    let Some(address) = address else { return out.push(b'U') };
    let (family, written) = match address.ip().to_canonical() {
        IpAddr::V4(v4) => (b'4', v4.to_string()),
        IpAddr::V6(v6) => (b'6', format!("IPv6:{v6}")),
    };
    out.push(family);
    out.extend_from_slice(&address.port().to_be_bytes());
    text(out, written.as_bytes());
}

/// A text ends with NUL, and so holds none.
pub(super) fn text(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend(octets.iter().map(|octet| if *octet == 0 { b'?' } else { *octet }));
    out.push(0);
}
