//! What a milter says to us.

use super::session::Rubbish;
use super::terms::{Actions, Steps, Terms};
use crate::reply::Reply;
use crate::status::EnhancedStatus;

/// One word of a milter's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The terms stand; CONNECT may follow.
    Agreed,
    /// The last command's verdict; nothing more comes for it.
    Verdict(Verdict),
    /// The message is to be changed; more will come.
    Change(Change),
    /// It is still at work: give it its time anew.
    Progress,
}

/// What becomes of the client's command, or of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Take the message (or, said of CONNECT and HELO, all of the session's), and ask no more about it.
    Accept,
    /// Take the message, and throw it away.
    Discard,
    /// Refuse for good.
    Reject,
    /// Refuse for now.
    TempFail,
    /// Refuse with these words; 4yz or 5yz.
    Refuse(Reply),
    /// Say 421 and hang up.
    Shutdown,
}

/// A change of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A field behind the last one.
    AddHeader(Field),
    /// A field before the one with this number; our own trace field is number 0.
    InsertHeader(u32, Field),
    /// The field of this name with this number, counted from 1: changed, or removed when there is no value.
    ChangeHeader(u32, Field),
    /// The next piece of a new body.
    ReplaceBody(Vec<u8>),
    /// Another reverse-path, as the milter wrote it.
    ChangeSender(String),
    /// One recipient more, as the milter wrote it, with its parameters.
    AddRecipient(String, String),
    /// One recipient less, as the milter wrote it.
    DeleteRecipient(String),
    /// The message is to be held, for this reason.
    Quarantine(String),
}

/// A header field of a milter's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, fit for a header.
    pub name: String,
    /// What stands behind the colon; line ends are CR LF, each with a blank behind it.
    pub value: Vec<u8>,
}

impl Answer {
    /// Reads a packet that came for a command; changes only `at_end`, behind the end of the body.
    pub(super) fn parse(letter: u8, payload: &[u8], terms: &Terms, at_end: bool) -> Result<Answer, Rubbish> {
        Ok(Answer::Verdict(match letter {
            b'c' => Verdict::Continue,
            // Where no more of the body is wanted; elsewhere Sendmail, too, takes it for a yes.
            b's' => Verdict::Continue,
            b'a' => Verdict::Accept,
            b'd' => Verdict::Discard,
            b'r' => Verdict::Reject,
            b't' => Verdict::TempFail,
            b'f' | b'4' => Verdict::Shutdown,
            b'y' => Verdict::Refuse(reply(payload).ok_or(Rubbish::Answer(letter, "it is no reply of 4yz or 5yz"))?),
            b'p' => return Ok(Answer::Progress),
            _ if at_end => return change(letter, payload, terms).map(Answer::Change),
            _ => return Err(Rubbish::Answer(letter, "it does not fit the command")),
        }))
    }
}

fn change(letter: u8, payload: &[u8], terms: &Terms) -> Result<Change, Rubbish> {
    let cut = Rubbish::Answer(letter, "it is cut short");
    let agreed = |bits| if terms.actions.any(bits) { Ok(()) } else { Err(Rubbish::Answer(letter, "it was not agreed")) };
    match letter {
        b'h' => {
            agreed(Actions::ADD_HEADER)?;
            Ok(Change::AddHeader(field(letter, payload, terms)?))
        }
        b'i' | b'm' => {
            agreed(Actions::CHANGE_HEADER | if letter == b'i' { Actions::ADD_HEADER } else { 0 })?;
            let (number, rest) = payload.split_first_chunk::<4>().ok_or(cut)?;
            let (number, field) = (u32::from_be_bytes(*number), field(letter, rest, terms)?);
            Ok(if letter == b'i' { Change::InsertHeader(number, field) } else { Change::ChangeHeader(number, field) })
        }
        b'b' => {
            agreed(Actions::CHANGE_BODY)?;
            Ok(Change::ReplaceBody(payload.to_vec()))
        }
        b'e' => {
            agreed(Actions::CHANGE_SENDER)?;
            Ok(Change::ChangeSender(text(payload).ok_or(cut)?.0))
        }
        b'+' => {
            agreed(Actions::ADD_RECIPIENT)?;
            Ok(Change::AddRecipient(text(payload).ok_or(cut)?.0, String::new()))
        }
        b'2' => {
            agreed(Actions::ADD_RECIPIENT_PARAMETERS)?;
            let (path, rest) = text(payload).ok_or(cut)?;
            Ok(Change::AddRecipient(path, text(rest).map(|(parameters, _)| parameters).unwrap_or_default()))
        }
        b'-' => {
            agreed(Actions::DELETE_RECIPIENT)?;
            Ok(Change::DeleteRecipient(text(payload).ok_or(cut)?.0))
        }
        b'q' => {
            agreed(Actions::QUARANTINE)?;
            Ok(Change::Quarantine(text(payload).ok_or(cut)?.0))
        }
        _ => Err(Rubbish::Answer(letter, "nobody knows it")),
    }
}

fn field(letter: u8, payload: &[u8], terms: &Terms) -> Result<Field, Rubbish> {
    let cut = Rubbish::Answer(letter, "it is cut short");
    let end = |octets: &[u8]| octets.iter().position(|octet| *octet == 0);
    let name_end = end(payload).ok_or(cut)?;
    let (name, rest) = (&payload[..name_end], &payload[name_end + 1..]);
    let value = &rest[..end(rest).ok_or(cut)?];
    if name.is_empty() || !name.iter().all(|octet| matches!(octet, 33..=57 | 59..=126)) {
        return Err(Rubbish::Answer(letter, "its field has no name that a header may hold"));
    }
    let mut clean = Vec::with_capacity(value.len() + 1);
    if !terms.steps.any(Steps::LEADING_SPACE) && !value.is_empty() && !value.starts_with(b" ") && !value.starts_with(b"\t") {
        clean.push(b' ');
    }
    let lines = value.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    for (nth, line) in lines.filter(|line| !line.iter().all(u8::is_ascii_whitespace) || line.is_empty() && value.is_empty()).enumerate() {
        if nth > 0 {
            clean.extend_from_slice(b"\r\n");
            if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                clean.push(b' ');
            }
        }
        clean.extend(line.iter().map(|octet| if *octet == b'\r' { b'?' } else { *octet }));
    }
    Ok(Field { name: String::from_utf8_lossy(name).into_owned(), value: clean })
}

/// A text up to its NUL, and what follows.
fn text(payload: &[u8]) -> Option<(String, &[u8])> {
    let end = payload.iter().position(|octet| *octet == 0)?;
    Some((String::from_utf8_lossy(&payload[..end]).into_owned(), &payload[end + 1..]))
}

/// `550 5.7.1 no`, perhaps of several lines; a percent sign is written twice, as for Sendmail's formats.
fn reply(payload: &[u8]) -> Option<Reply> {
    let (written, _) = text(payload)?;
    let written = written.replace("%%", "%");
    let (mut code, mut status, mut lines) = (None, None, Vec::new());
    for line in written.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty()) {
        let (digits, rest) = (line.get(..3)?, line.get(3..)?);
        let number: u16 = digits.parse().ok().filter(|number| (400..=599).contains(number))?;
        if *code.get_or_insert(number) != number || !(rest.is_empty() || rest.starts_with([' ', '-'])) {
            return None;
        }
        let rest = rest.get(1..).unwrap_or_default();
        let (said, rest) = EnhancedStatus::split_off(rest).map_or((None, rest), |(status, rest)| (Some(status), rest));
        // A status of another class than the code would contradict it (RFC 3463 §2).
        status = status.or(said.filter(|said| u16::from(said.class) == number / 100));
        lines.push(rest.to_owned());
    }
    Reply::from_parts(code?, status, lines)
}
