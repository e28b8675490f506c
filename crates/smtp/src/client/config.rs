//! The words between the sender's machine and its driver.

use thiserror::Error;

use crate::extension::Hello;
use crate::parameters::{Body, Notify, OriginalRecipient, Ret};
use crate::path::{ForwardPath, ReversePath};
use crate::reply::Reply;
use crate::wishes::{DeliverBy, MtPriority};

/// How a session begins.
#[derive(Clone, Debug)]
pub struct Config {
    /// What we call ourselves in EHLO: a domain, or an address literal in brackets. Octets that are not printable ASCII are dropped.
    pub name: String,
    /// Use PIPELINING where it is offered (RFC 2920). Off for servers that offer it and cannot do it.
    pub pipelining: bool,
    /// Use CHUNKING where it is offered (RFC 3030). Off for servers that offer it and cannot do it.
    pub chunking: bool,
    /// Octets from which on content is a chunk: it goes when more comes, so the last one may be larger or smaller.
    pub chunk_octets: usize,
    /// Speak LMTP (RFC 2033): LHLO, and after the end of data one reply for each recipient that was taken.
    pub lmtp: bool,
}

impl Config {
    /// The usual, under a name.
    pub fn new(name: impl Into<String>) -> Config {
        Config { name: name.into(), pipelining: true, chunking: true, chunk_octets: 64 * 1024, lmtp: false }
    }
}

/// What the driver does next.
#[derive(Debug)]
pub enum Step<'a> {
    /// Read into [`super::Client::space`] and say how much came, or call [`super::Client::end_of_input`].
    Read,
    /// Write all of it, then go on.
    Write(&'a [u8]),
    /// Nothing is in progress, and this is what the server offers. Begin something: a transaction, TLS, AUTH, RSET, QUIT.
    Ready(&'a Hello),
    /// STARTTLS was granted. Do the handshake, then call [`super::Client::secured`].
    TlsGranted,
    /// Call [`super::Client::content`] (any number of times, with a step between), then [`super::Client::end_of_content`].
    WantContent,
    /// The transaction is over.
    Report(Report),
    /// The server refused something other than a transaction.
    Refused(Refusal),
    /// The session cannot go on. [`super::Client::ambiguous`] and [`super::Client::refused_so_far`] tell what it means for a transaction.
    Trouble(ProtocolTrouble),
    /// Close the connection.
    Close,
}

/// One message to hand over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Who hears of failures.
    pub reverse_path: ReversePath,
    /// Octets of the content, told to a server that offers SIZE.
    pub size: u64,
    /// What the content is made of. 8BITMIME is told to a server that offers it; for one that does not, the driver encodes the content. BINARYMIME needs a
    /// server that offers it and CHUNKING, see [`super::Client::takes_binary`].
    pub body: Body,
    /// The content's header is UTF-8, so the server must offer SMTPUTF8 (RFC 6531 §3.2).
    pub smtputf8: bool,
    /// How much a DSN returns; told to a server that offers DSN, as is the next.
    pub ret: Option<Ret>,
    /// The sender's name for this envelope.
    pub envid: Option<String>,
    /// By when delivery is wanted, counted from now; told to a server that offers DELIVERBY.
    pub deliver_by: Option<DeliverBy>,
    /// Before or after others; told to a server that offers MT-PRIORITY.
    pub priority: Option<MtPriority>,
    /// At least one.
    pub recipients: Vec<Addressee>,
}

impl Transaction {
    /// A small ASCII message for these recipients, with no further wishes.
    pub fn new(reverse_path: ReversePath, recipients: Vec<Addressee>) -> Transaction {
        let (size, body, smtputf8) = (0, Body::SevenBit, false);
        Transaction { reverse_path, size, body, smtputf8, ret: None, envid: None, deliver_by: None, priority: None, recipients }
    }
}

/// One recipient of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The recipient.
    pub path: ForwardPath,
    /// When a DSN is wanted; told to a server that offers DSN, as is the next.
    pub notify: Option<Notify>,
    /// The address as the first sender wrote it.
    pub original: Option<OriginalRecipient>,
}

impl From<ForwardPath> for Addressee {
    fn from(path: ForwardPath) -> Addressee {
        Addressee { path, notify: None, original: None }
    }
}

/// Why a transaction cannot be said to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsendable {
    /// The content or a local part needs SMTPUTF8, and the server does not offer it (RFC 6531 §3.2). A status of 5.6.7 says so to people.
    #[error("the message needs SMTPUTF8, which the server does not offer")]
    NeedsSmtpUtf8,
    /// The content is binary, and the server does not take it in that form (RFC 3030 §3).
    #[error("the message needs BINARYMIME and CHUNKING, which the server does not offer")]
    NeedsBinaryMime,
    /// There is no recipient.
    #[error("the transaction has no recipient")]
    NoRecipients,
    /// The server said which size it takes at most, and this is more (RFC 1870 §6.2).
    #[error("the message has {octets} octets, and the server takes {limit}")]
    TooLarge {
        /// Those of the message.
        octets: u64,
        /// The server's limit.
        limit: u64,
    },
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The reply to MAIL, or the 421 that came in its place.
    pub mail: Reply,
    /// The last word on each recipient, in order: that of MAIL or RCPT where they refused, else that of DATA or of the end of data. Positive
    /// only where the server took the mail for this recipient.
    pub recipients: Vec<LastWord>,
    /// The reply to the end of data (of several, the last), or to DATA or a chunk when it was refused; none when it did not come so far.
    pub data: Option<Reply>,
    /// The server ends the session (421, RFC 5321 §3.8), or cannot be talked to any more.
    pub closing: bool,
}

/// The final reply about one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWord {
    /// In these words.
    pub reply: Reply,
    /// What it was a reply to: Mail, Recipient, DataInitiation, DataTermination; DataBlock when the server spoke in mid-content; Reset for a 421.
    pub stage: Wait,
}

/// A refusal outside a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was refused: Greeting, Hello, StartTls, Auth, Reset; Idle when the server said 421 on its own.
    pub stage: Wait,
    /// In these words.
    pub reply: Reply,
    /// The session goes on; else it is over.
    pub usable: bool,
}

/// What makes a session impossible to go on with. The peer, or what stands between, is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolTrouble {
    /// The connection ended while a reply was awaited.
    #[error("connection lost while waiting for {0}")]
    ConnectionLost(Wait),
    /// A line beyond [`super::REPLY_LINE_OCTETS_MAX`].
    #[error("reply line too long")]
    LineTooLong,
    /// A reply beyond [`super::REPLY_LINES_MAX`].
    #[error("reply has too many lines")]
    TooManyLines,
    /// A NUL in a reply.
    #[error("NUL in reply")]
    Nul,
    /// A line that does not begin with a code of 200 to 599 and a space, a hyphen or its end.
    #[error("malformed reply")]
    Malformed,
    /// The lines of one reply have different codes (RFC 5321 §4.2.1).
    #[error("reply lines have different codes")]
    CodesDiffer,
    /// Octets came that nothing had asked for; which reply belongs to which command is no longer certain.
    #[error("unsolicited reply")]
    Unsolicited,
    /// Octets came behind the reply to STARTTLS, in the clear (CVE-2021-38371).
    #[error("octets in the clear behind the reply to STARTTLS")]
    OctetsBeforeTls,
    /// A reply that makes no sense here, as 250 to DATA.
    #[error("unexpected reply: {0}")]
    Unexpected(Reply),
}

/// What the session waits for; the driver picks the timeout (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// The greeting.
    Greeting,
    /// The reply to EHLO or HELO.
    Hello,
    /// The reply to STARTTLS, and the handshake.
    StartTls,
    /// A reply to AUTH.
    Auth,
    /// The reply to MAIL.
    Mail,
    /// The reply to a RCPT.
    Recipient,
    /// The 354.
    DataInitiation,
    /// Content is being sent: room for more of it, or the reply to a chunk that is not the last.
    DataBlock,
    /// The reply to the end of data.
    DataTermination,
    /// The reply to RSET.
    Reset,
    /// The reply to QUIT.
    Quit,
    /// The driver's next wish.
    Idle,
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Wait::Greeting => "the greeting",
            Wait::Hello => "the reply to EHLO",
            Wait::StartTls => "the reply to STARTTLS",
            Wait::Auth => "the reply to AUTH",
            Wait::Mail => "the reply to MAIL",
            Wait::Recipient => "the reply to RCPT",
            Wait::DataInitiation => "the reply to DATA",
            Wait::DataBlock => "room for content",
            Wait::DataTermination => "the reply to the end of data",
            Wait::Reset => "the reply to RSET",
            Wait::Quit => "the reply to QUIT",
            Wait::Idle => "nothing",
        })
    }
}
