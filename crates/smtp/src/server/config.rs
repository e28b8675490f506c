//! What a listener allows, and the words between the machine and its driver.

use std::borrow::Cow;

use crate::data::BareNewline;
use crate::extension::Extensions;
use crate::parameters::{MailParameters, RecipientParameters};
use crate::path::{ForwardPath, ReversePath};
use crate::reply::Reply;
use crate::sasl::{Credentials, Mechanism, Mechanisms};
use crate::xclient::XClient;

/// How a listener behaves. One value serves all its sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name, in the greeting and in the answer to EHLO. Printable ASCII without spaces.
    pub name: String,
    /// What EHLO offers.
    pub extensions: Extensions,
    /// STARTTLS is offered while the session is in the clear.
    pub starttls: bool,
    /// Nothing but EHLO, NOOP, STARTTLS and QUIT before TLS (RFC 3207 §4).
    pub tls_required: bool,
    /// The mechanisms AUTH offers; none: no AUTH.
    pub mechanisms: Mechanisms,
    /// AUTH is offered without TLS, too. Passwords then cross the wire for everybody to read.
    pub auth_in_clear: bool,
    /// MAIL needs AUTH first (RFC 6409 §4.3).
    pub auth_required: bool,
    /// The largest content taken, in octets after dot-unstuffing. Also said in SIZE.
    pub message_bytes_max: u64,
    /// Recipients of one transaction. RFC 5321 §4.5.3.1.8 asks for at least 100.
    pub recipients_max: usize,
    /// A command line with its CR LF. RFC 5321 §4.5.3.1.4 asks for 512 and more with extensions.
    pub command_line_octets_max: usize,
    /// An AUTH command, or a line of its exchange (RFC 4954 §4).
    pub auth_line_octets_max: usize,
    /// A line of content without its CR LF. RFC 5321 §4.5.3.1.6 says 998; much mail in the world is longer, and what the next hop bears is
    /// decided when content is sent, so the default is generous.
    pub text_line_octets_max: usize,
    /// Errors after which a session ends with 421. A message taken sets the count back.
    pub errors_max: u32,
    /// Commands that bring no mail (NOOP, RSET, VRFY, EXPN, HELP, HELO, EHLO) before each further one counts as an error.
    pub junk_commands_max: u32,
    /// What is done with bare CR, bare LF and NUL.
    pub bare_newline: BareNewline,
}

impl Config {
    /// The defaults, under a name.
    pub fn new(name: impl Into<String>) -> Config {
        Config {
            name: name.into(),
            extensions: Extensions::default(),
            starttls: false,
            tls_required: false,
            mechanisms: Mechanisms::default(),
            auth_in_clear: false,
            auth_required: false,
            message_bytes_max: 50 * 1024 * 1024,
            recipients_max: 1000,
            command_line_octets_max: 2048,
            auth_line_octets_max: 12_288,
            text_line_octets_max: 65_536,
            errors_max: 20,
            junk_commands_max: 100,
            bare_newline: BareNewline::Refuse,
        }
    }
}

/// What the driver does next.
#[derive(Debug)]
pub enum Step<'a> {
    /// Read into [`super::Server::space`] and say how much came, or call [`super::Server::end_of_input`].
    Read,
    /// Write all of it, then go on.
    Write(&'a [u8]),
    /// Decide, and call [`super::Server::answer`].
    Ask(Question),
    /// Content of the message, dot-unstuffed. Good until the next call.
    Content(&'a [u8]),
    /// The transaction the driver has gathered is void (RSET, EHLO, a refused content, the end of the session): forget the envelope,
    /// release what was staged. Comes for every transaction whose MAIL was accepted and whose end of content was not asked about,
    /// except where the driver ended it itself with [`super::Server::abort_content`].
    Aborted,
    /// Do the TLS handshake, then call [`super::Server::secured`].
    StartTls,
    /// Everything is written; close the connection.
    Close,
}

/// Where policy speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A client is there. A refusal is the greeting, and ends the session (RFC 5321 §3.1).
    Connect,
    /// It says who it is.
    Hello {
        /// Its word; printable, fit for a Received field, proven by nothing.
        name: String,
        /// EHLO rather than HELO.
        esmtp: bool,
    },
    /// A proxy that was allowed to says who the client is. With a yes the session begins anew, with a greeting.
    XClient(XClient),
    /// Are these credentials good?
    Authenticate {
        /// By which mechanism they came.
        mechanism: Mechanism,
        /// The credentials.
        credentials: Credentials,
    },
    /// A transaction begins.
    Mail {
        /// Who hears of failures.
        reverse_path: ReversePath,
        /// What was declared.
        parameters: MailParameters,
    },
    /// One more recipient.
    Recipient {
        /// The recipient.
        forward_path: ForwardPath,
        /// What was asked for it.
        parameters: RecipientParameters,
    },
    /// Content is about to come. A refusal here costs the client nothing.
    Data,
    /// VRFY.
    Verify {
        /// The argument, printable.
        argument: String,
    },
    /// All content was handed out. A positive answer takes custody: give it after stable storage.
    EndOfContent,
}

/// The driver's answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, with the usual text.
    Accept,
    /// Yes, with this text, in one line.
    AcceptWith(Cow<'static, str>),
    /// No. A reply of code 421 or 521 also ends the session (RFC 5321 §3.8, RFC 7504).
    Refuse(Reply),
    /// No, and the session ends, whatever the code.
    Close(Reply),
}

/// What a session waits for; the driver picks the timeout (RFC 5321 §4.5.3.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A command.
    Command,
    /// Content of DATA or BDAT.
    Content,
    /// A line of an AUTH exchange.
    Auth,
}
