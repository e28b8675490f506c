//! One command line (RFC 5321 §4.1.1; RFC 3030, 3207, 4954).
//!
//! **Promises.** A [`Command`] is well formed, its addresses and parameters parsed. What cannot be parsed is a [`CommandTrouble`] that names the
//! reply a server gives. The verbs of HTTP and its like are known as such, so that a server can hang up on a browser (ALPACA, CVE-2021-3618).
//!
//! **Bends.** Harmless habits are taken: spaces behind the colon of `MAIL FROM:`, spaces at the end of a line, any case of verbs and keywords.
//! A path without brackets is not.
//!
//! **Never** knows whether a command is allowed now; that is the server's machine.

use thiserror::Error;

use crate::address::{AddressTrouble, deceives, looks_like_line_break};
use crate::parameters::{MailParameters, RecipientParameters};
use crate::path::{ForwardPath, ReversePath};
use crate::xclient::XClient;

/// Octets of the name in EHLO or HELO that we take.
const HELLO_NAME_OCTETS_MAX: usize = 255;

/// A parsed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// EHLO (`esmtp`) or HELO. The name is printable ASCII without `()<>@,;"\`, fit for a Received field; it need not be a domain.
    Hello {
        /// EHLO.
        esmtp: bool,
        /// How the client calls itself.
        name: String,
    },
    /// MAIL FROM.
    Mail(ReversePath, MailParameters),
    /// RCPT TO.
    Recipient(ForwardPath, RecipientParameters),
    /// DATA.
    Data,
    /// BDAT (RFC 3030 §2).
    Chunk {
        /// Octets that follow.
        octets: u64,
        /// It is the last.
        last: bool,
    },
    /// RSET.
    Reset,
    /// NOOP, its argument dropped.
    Noop,
    /// QUIT.
    Quit,
    /// HELP, its argument dropped.
    Help,
    /// VRFY with its argument.
    Verify(String),
    /// EXPN, its argument dropped.
    Expand,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth {
        /// The mechanism as written.
        mechanism: String,
        /// The initial response as written, `=` for an empty one.
        initial: Option<String>,
    },
    /// XCLIENT.
    XClient(XClient),
    /// A verb of another protocol that carries text of an attacker's choice.
    Foreign,
}

/// Why a line is no command. Its sender is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CommandTrouble {
    /// 500 5.5.2: no such verb.
    #[error("command not recognised")]
    Unknown,
    /// 500 5.5.2: not UTF-8, or with control characters.
    #[error("invalid characters in command")]
    Characters,
    /// 501 5.5.4: the verb is known, the rest is not as it should be; with the form it should have.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// 501 5.1.7: bad reverse-path.
    #[error("bad sender address: {0}")]
    ReversePath(AddressTrouble),
    /// 501 5.1.3: bad forward-path.
    #[error("bad recipient address: {0}")]
    ForwardPath(AddressTrouble),
    /// 501 5.5.4: a parameter that is malformed, or there twice.
    #[error("bad parameter")]
    Parameter,
    /// 555 5.5.4: a parameter we do not know.
    #[error("unsupported parameter")]
    UnknownParameter,
    /// 501 5.5.4: BDAT that does not tell where its chunk ends, whatever is wrong with it, so that nothing behind it can be trusted.
    #[error("bad chunk size")]
    ChunkSize,
}

/// Verbs of HTTP, and of SIP, that a browser or a router can be made to send.
const FOREIGN_VERBS: [&str; 13] =
    ["GET", "POST", "PUT", "HEAD", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI", "INVITE", "REGISTER", "PROPFIND"];

impl Command {
    /// Parses a line without its CR LF.
    pub fn parse(line: &[u8]) -> Result<Command, CommandTrouble> {
        let unreadable = if announces_chunk(line) { CommandTrouble::ChunkSize } else { CommandTrouble::Characters };
        let text = std::str::from_utf8(line).map_err(|_| unreadable)?;
        if text.chars().any(deceives) {
            return Err(unreadable);
        }
        let text = text.trim_end_matches(' ');
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim_start_matches(' ');
        let mut upper = [0; 8];
        let upper = upper_case(verb, &mut upper).ok_or(CommandTrouble::Unknown)?;
        match upper {
            "MAIL" => mail(rest),
            "RCPT" => recipient(rest),
            "DATA" => bare(rest, Command::Data, "DATA"),
            "BDAT" => chunk(rest),
            "EHLO" => hello(rest, true),
            "XCLIENT" => XClient::parse(rest).map(Command::XClient).ok_or(CommandTrouble::Syntax("XCLIENT attribute=value ...")),
            "HELO" => hello(rest, false),
            "RSET" => bare(rest, Command::Reset, "RSET"),
            "NOOP" => Ok(Command::Noop),
            "QUIT" => bare(rest, Command::Quit, "QUIT"),
            "HELP" => Ok(Command::Help),
            "VRFY" if rest.is_empty() => Err(CommandTrouble::Syntax("VRFY address")),
            "VRFY" => Ok(Command::Verify(rest.to_owned())),
            "EXPN" => Ok(Command::Expand),
            "STARTTLS" => bare(rest, Command::StartTls, "STARTTLS"),
            "AUTH" => auth(rest),
            foreign if FOREIGN_VERBS.contains(&foreign) => Ok(Command::Foreign),
            _ => Err(CommandTrouble::Unknown),
        }
    }
}

/// No verb of ours is longer than eight letters.
fn upper_case<'b>(verb: &str, room: &'b mut [u8; 8]) -> Option<&'b str> {
    let room = room.get_mut(..verb.len())?;
    room.copy_from_slice(verb.as_bytes());
    room.make_ascii_uppercase();
    std::str::from_utf8(room).ok()
}

fn bare(rest: &str, command: Command, form: &'static str) -> Result<Command, CommandTrouble> {
    if rest.is_empty() { Ok(command) } else { Err(CommandTrouble::Syntax(form)) }
}

fn hello(name: &str, esmtp: bool) -> Result<Command, CommandTrouble> {
    let fit = |octet: u8| octet.is_ascii_graphic() && !b"()<>@,;\"\\".contains(&octet);
    if name.is_empty() || name.len() > HELLO_NAME_OCTETS_MAX || !name.bytes().all(fit) || looks_like_line_break(name) {
        return Err(CommandTrouble::Syntax(if esmtp { "EHLO hostname" } else { "HELO hostname" }));
    }
    Ok(Command::Hello { esmtp, name: name.to_owned() })
}

/// Whether the beginning of a line says BDAT: octets that are no commands follow it, even when the line cannot be read.
pub(crate) fn announces_chunk(line: &[u8]) -> bool {
    let (verb, rest) = line.split_at(line.len().min(4));
    verb.eq_ignore_ascii_case(b"BDAT") && !rest.first().is_some_and(u8::is_ascii_alphanumeric)
}

fn mail(rest: &str) -> Result<Command, CommandTrouble> {
    let form = CommandTrouble::Syntax("MAIL FROM:<address>");
    let (path, parameters) = path_and_parameters(rest, "FROM:").ok_or(form)?;
    let path = ReversePath::parse(path).map_err(CommandTrouble::ReversePath)?;
    Ok(Command::Mail(path, MailParameters::parse(parameters)?))
}

fn recipient(rest: &str) -> Result<Command, CommandTrouble> {
    let form = CommandTrouble::Syntax("RCPT TO:<address>");
    let (path, parameters) = path_and_parameters(rest, "TO:").ok_or(form)?;
    let path = ForwardPath::parse(path).map_err(CommandTrouble::ForwardPath)?;
    Ok(Command::Recipient(path, RecipientParameters::parse(parameters)?))
}

/// Splits `FROM:<path> parameters`. A `>` within quotes does not end the path.
fn path_and_parameters<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (said, rest) = rest.split_at_checked(keyword.len())?;
    if !said.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let rest = rest.trim_start_matches(' ');
    if !rest.starts_with('<') {
        return None;
    }
    let (mut quoted, mut escaped) = (false, false);
    let end = rest.bytes().position(|octet| {
        let ends = octet == b'>' && !quoted;
        quoted ^= octet == b'"' && !escaped;
        escaped = octet == b'\\' && quoted && !escaped;
        ends
    })?;
    let (path, parameters) = rest.split_at(end + 1);
    (parameters.is_empty() || parameters.starts_with(' ')).then_some((path, parameters))
}

/// `BDAT size [LAST]` (RFC 3030 §2).
fn chunk(rest: &str) -> Result<Command, CommandTrouble> {
    let (size, last) = rest.split_once(' ').unwrap_or((rest, ""));
    let last = match last.trim_start_matches(' ') {
        "" => false,
        last if last.eq_ignore_ascii_case("LAST") => true,
        _ => return Err(CommandTrouble::ChunkSize),
    };
    if size.is_empty() || !size.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(CommandTrouble::ChunkSize);
    }
    size.parse().map(|octets| Command::Chunk { octets, last }).map_err(|_| CommandTrouble::ChunkSize)
}

/// `AUTH mechanism [initial-response]` (RFC 4954 §4).
fn auth(rest: &str) -> Result<Command, CommandTrouble> {
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial, None) => Ok(Command::Auth { mechanism: mechanism.to_owned(), initial: initial.map(str::to_owned) }),
        _ => Err(CommandTrouble::Syntax("AUTH mechanism")),
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
