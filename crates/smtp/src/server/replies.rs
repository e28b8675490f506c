//! What the machine itself says: one line of the table for each refusal it knows.

use crate::command::CommandTrouble;
use crate::reply::Reply;
use crate::status::EnhancedStatus;

/// A reply known when this was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canned {
    pub(super) code: u16,
    pub(super) status: Option<EnhancedStatus>,
    pub(super) text: &'static str,
}

const fn canned(code: u16, class: u8, subject: u16, detail: u16, text: &'static str) -> Canned {
    Canned { code, status: Some(EnhancedStatus::new(class, subject, detail)), text }
}

impl From<Canned> for Reply {
    fn from(canned: Canned) -> Reply {
        Reply::new(canned.code, canned.status, canned.text)
    }
}

pub(super) const OK: Canned = canned(250, 2, 0, 0, "Ok");
pub(super) const SENDER_OK: Canned = canned(250, 2, 1, 0, "Ok");
pub(super) const RECIPIENT_OK: Canned = canned(250, 2, 1, 5, "Ok");
pub(super) const HELP: Canned = canned(214, 2, 0, 0, "EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT; see RFC 5321");
pub(super) const BYE: Canned = canned(221, 2, 0, 0, "Bye");
pub(super) const READY_FOR_TLS: Canned = canned(220, 2, 0, 0, "Ready to start TLS");
pub(super) const AUTHENTICATED: Canned = canned(235, 2, 7, 0, "Authentication successful");
pub(super) const CANNOT_VERIFY: Canned = canned(252, 2, 0, 0, "Cannot VRFY user, but will take mail and try to deliver it");
/// RFC 2034 §4: replies of class 3 carry no status.
pub(super) const GO_AHEAD: Canned = Canned { code: 354, status: None, text: "End data with <CR><LF>.<CR><LF>" };

pub(super) const TOO_MANY_ERRORS: Canned = canned(421, 4, 7, 0, "Too many errors");
pub(super) const TOO_MANY_RECIPIENTS: Canned = canned(452, 4, 5, 3, "Too many recipients");
pub(super) const LINE_TOO_LONG: Canned = canned(500, 5, 5, 2, "Line too long");
/// RFC 4954 §4: 500 with 5.5.6 for a line of AUTH.
pub(super) const AUTH_LINE_TOO_LONG: Canned = canned(500, 5, 5, 6, "Authentication exchange line is too long");
pub(super) const BARE_NEWLINE: Canned = canned(521, 5, 5, 2, "Bare <CR>, bare <LF> or NUL received");
pub(super) const FOREIGN: Canned = canned(521, 5, 5, 1, "This is an SMTP server; closing");
pub(super) const OUT_OF_STEP: Canned = canned(554, 5, 5, 0, "Input sent before it was asked for");
pub(super) const BEFORE_GREETING: Canned = canned(554, 5, 5, 1, "Input sent before the greeting");
pub(super) const NO_EXPN: Canned = canned(502, 5, 5, 1, "EXPN is not implemented");
pub(super) const NO_STARTTLS: Canned = canned(502, 5, 5, 1, "STARTTLS is not available");
pub(super) const TLS_ACTIVE: Canned = canned(503, 5, 5, 1, "TLS is active already");
pub(super) const TLS_FIRST: Canned = canned(530, 5, 7, 0, "Must issue a STARTTLS command first");
pub(super) const NO_AUTH: Canned = canned(502, 5, 5, 1, "AUTH is not available");
pub(super) const AUTH_NEEDS_TLS: Canned = canned(538, 5, 7, 11, "Encryption required for requested authentication mechanism");
pub(super) const AUTH_TWICE: Canned = canned(503, 5, 5, 1, "Already authenticated");
pub(super) const AUTH_IN_TRANSACTION: Canned = canned(503, 5, 5, 1, "AUTH is not permitted during a mail transaction");
pub(super) const XCLIENT_NOT_FOR_YOU: Canned = canned(550, 5, 7, 0, "XCLIENT is not for this client");
pub(super) const XCLIENT_IN_TRANSACTION: Canned = canned(503, 5, 5, 1, "XCLIENT is not permitted during a mail transaction");
pub(super) const AUTH_FIRST: Canned = canned(530, 5, 7, 0, "Authentication required");
pub(super) const UNKNOWN_MECHANISM: Canned = canned(504, 5, 5, 4, "Unrecognised authentication mechanism");
pub(super) const AUTH_CANCELLED: Canned = canned(501, 5, 7, 0, "Authentication cancelled");
pub(super) const AUTH_BASE64: Canned = canned(501, 5, 5, 2, "Cannot decode response");
pub(super) const AUTH_MALFORMED: Canned = canned(501, 5, 5, 2, "Malformed credentials");
pub(super) const HELLO_FIRST: Canned = canned(503, 5, 5, 1, "Send EHLO or HELO first");
pub(super) const NESTED_MAIL: Canned = canned(503, 5, 5, 1, "Nested MAIL command");
pub(super) const MAIL_FIRST: Canned = canned(503, 5, 5, 1, "Need MAIL command");
pub(super) const RECIPIENT_FIRST: Canned = canned(503, 5, 5, 1, "Need RCPT command");
pub(super) const NO_VALID_RECIPIENTS: Canned = canned(554, 5, 5, 1, "No valid recipients");
pub(super) const AFTER_CHUNK: Canned = canned(503, 5, 5, 1, "Only BDAT or RSET after BDAT");
pub(super) const BINARY_NEEDS_CHUNKS: Canned = canned(503, 5, 5, 1, "BINARYMIME needs BDAT");
pub(super) const FAILED_TRANSACTION: Canned = canned(503, 5, 5, 1, "The transaction has failed; send RSET");
pub(super) const NO_CHUNKING: Canned = canned(502, 5, 5, 1, "BDAT is not available");
pub(super) const TOO_LARGE: Canned = canned(552, 5, 3, 4, "Message size exceeds fixed limit");
/// RFC 4865 §4.
pub(super) const HOLD_TOO_LONG: Canned = canned(501, 5, 5, 4, "Held longer than this server offers");
pub(super) const NEEDS_SMTPUTF8: Canned = canned(553, 5, 6, 7, "Address needs SMTPUTF8");
pub(super) const UNKNOWN_PARAMETER: Canned = canned(555, 5, 5, 4, "Unsupported parameter");
pub(super) const CONTENT_STRAY: Canned = canned(554, 5, 6, 0, "Content holds a bare <CR>, a bare <LF> or a NUL");
pub(super) const CONTENT_LINE_TOO_LONG: Canned = canned(554, 5, 6, 0, "Content holds a line that is too long");

/// The reply to a line that is no command.
pub(super) fn to_trouble(trouble: CommandTrouble) -> Reply {
    let (code, subject, detail) = match trouble {
        CommandTrouble::Unknown | CommandTrouble::Characters => (500, 5, 2),
        CommandTrouble::Syntax(_) | CommandTrouble::Parameter | CommandTrouble::ChunkSize => (501, 5, 4),
        CommandTrouble::ReversePath(_) => (501, 1, 7),
        CommandTrouble::ForwardPath(_) => (501, 1, 3),
        CommandTrouble::UnknownParameter => return UNKNOWN_PARAMETER.into(),
    };
    let text = trouble.to_string();
    let mut letters = text.chars();
    let text: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    Reply::new(code, Some(EnhancedStatus::new(5, subject, detail)), text)
}
