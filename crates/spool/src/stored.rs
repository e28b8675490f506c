//! The stored forms of the domain's words: messages, attempts, diagnoses, outcomes.
//!
//! **Promises.** What was encoded decodes to an equal value. Decoding is total (see [`crate::codec`]). A tag that is not known is damage here;
//! that a whole record is newer than we are is told by its kind and by the segment's version.
//!
//! **Never** changes the meaning of a tag: new forms get new tags.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use postrider_model::limits::REPLY_LINES_MAX;
use postrider_model::{
    Arrival, AttemptFacts, BodyType, CredentialName, Diagnosis, Envelope, Mend, Message, MessageId, Outcome, Phase, Priority, Protocol,
    Reason, Recipient, Role, SourceName, StreamName, TenantName, Timestamp, TlsFacts, Trouble,
};
use postrider_smtp::{EnhancedStatus, Mailbox, Reply, ReversePath};

use crate::alteration::{put_hold, take_hold};
use crate::codec::{Damaged, Decoder, Encode};
use crate::wishes::{WISHES_FOLLOW, has_wishes, put_wishes, take_wishes};

/// The bit in a message's flags that says that an octet follows in the end: what is added to the content.
const MEND_FOLLOWS: u8 = 4;
/// The bit that says that the hold it came with follows behind that.
const HELD_FOLLOWS: u8 = 8;
/// The bit that says that the hash of the body follows behind that.
const BODY_HASH_FOLLOWS: u8 = 16;

pub(crate) fn put_message(out: &mut Vec<u8>, message: &Message) {
    out.fixed128(message.id.0);
    out.text(message.tenant.as_str());
    out.text(message.stream.as_str());
    match message.envelope.reverse_path.mailbox() {
        None => out.octet(0),
        Some(mailbox) => {
            out.octet(1);
            out.text(&mailbox.to_string());
        }
    }
    out.octet(match message.envelope.body {
        BodyType::SevenBit => 0,
        BodyType::EightBitMime => 1,
        BodyType::BinaryMime => 2,
    });
    let wishes = has_wishes(message);
    out.octet(
        u8::from(message.envelope.smtputf8)
            | if wishes { WISHES_FOLLOW } else { 0 }
            | if message.mend == Mend::default() { 0 } else { MEND_FOLLOWS }
            | if message.held.is_none() { 0 } else { HELD_FOLLOWS }
            | if message.body_hash.is_none() { 0 } else { BODY_HASH_FOLLOWS },
    );
    put_arrival(out, &message.arrival);
    out.octet(match message.priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
    });
    put_option(out, message.deadline.as_ref(), |out, at| out.number(at.millis()));
    out.number(message.content_octets);
    out.number(message.recipients.len() as u64);
    for recipient in &message.recipients {
        out.text(&recipient.mailbox.to_string());
    }
    if wishes {
        put_wishes(out, message);
    }
    if message.mend != Mend::default() {
        let Mend { date, from, message_id, empty_line } = message.mend;
        out.octet(u8::from(date) | u8::from(from) << 1 | u8::from(message_id) << 2 | u8::from(empty_line) << 3);
    }
    if let Some(hold) = &message.held {
        put_hold(out, hold);
    }
    if let Some(hash) = &message.body_hash {
        out.extend_from_slice(hash);
    }
}

pub(crate) fn take_message(from: &mut Decoder<'_>) -> Result<Message, Damaged> {
    let id = MessageId(from.fixed128()?);
    let tenant = TenantName::new(from.text()?);
    let stream = StreamName::new(from.text()?);
    let reverse_path = match from.octet()? {
        0 => ReversePath::Null,
        1 => ReversePath::Mailbox(take_mailbox(from)?),
        _ => return Err(Damaged),
    };
    let body = match from.octet()? {
        0 => BodyType::SevenBit,
        1 => BodyType::EightBitMime,
        2 => BodyType::BinaryMime,
        _ => return Err(Damaged),
    };
    let flags = from.octet()?;
    if flags & !(1 | WISHES_FOLLOW | MEND_FOLLOWS | HELD_FOLLOWS | BODY_HASH_FOLLOWS) != 0 {
        return Err(Damaged);
    }
    let envelope = Envelope::new(reverse_path, body, flags & 1 != 0);
    let arrival = take_arrival(from)?;
    let priority = match from.octet()? {
        0 => Priority::Low,
        1 => Priority::Normal,
        2 => Priority::High,
        _ => return Err(Damaged),
    };
    let deadline = take_option(from, take_time)?;
    let content_octets = from.number()?;
    let count = from.count()?;
    let mut recipients = Vec::with_capacity(count);
    for _ in 0..count {
        recipients.push(Recipient::new(take_mailbox(from)?));
    }
    let mut message = Message {
        id,
        tenant,
        stream,
        envelope,
        arrival,
        priority,
        deadline,
        release_at: None,
        recipients,
        content_octets,
        mend: Mend::default(),
        body_hash: None,
        held: None,
    };
    if flags & WISHES_FOLLOW != 0 {
        take_wishes(from, &mut message)?;
    }
    if flags & MEND_FOLLOWS != 0 {
        let set = from.octet()?;
        if set == 0 || set > 15 {
            return Err(Damaged);
        }
        message.mend = Mend { date: set & 1 != 0, from: set & 2 != 0, message_id: set & 4 != 0, empty_line: set & 8 != 0 };
    }
    if flags & HELD_FOLLOWS != 0 {
        message.held = Some(take_hold(from)?);
    }
    if flags & BODY_HASH_FOLLOWS != 0 {
        message.body_hash = Some(from.array()?);
    }
    Ok(message)
}

fn put_arrival(out: &mut Vec<u8>, arrival: &Arrival) {
    out.number(arrival.at.millis());
    out.octet(match arrival.role {
        Role::Submission => 0,
        Role::Relay => 1,
        Role::Report => 2,
        Role::Local => 3,
    });
    put_option(out, arrival.peer.as_ref(), |out, peer| put_address(out, *peer));
    out.text(&arrival.hello);
    out.octet(match arrival.protocol {
        Protocol::Smtp => 0,
        Protocol::Esmtp => 1,
        Protocol::Local => 2,
    });
    put_option(out, arrival.tls.as_deref(), |out, tls| out.text(tls));
    put_option(out, arrival.credential.as_ref(), |out, name| out.text(name.as_str()));
}

fn take_arrival(from: &mut Decoder<'_>) -> Result<Arrival, Damaged> {
    Ok(Arrival {
        at: take_time(from)?,
        role: match from.octet()? {
            0 => Role::Submission,
            1 => Role::Relay,
            2 => Role::Report,
            3 => Role::Local,
            _ => return Err(Damaged),
        },
        peer: take_option(from, take_address)?,
        hello: from.text()?.into(),
        protocol: match from.octet()? {
            0 => Protocol::Smtp,
            1 => Protocol::Esmtp,
            2 => Protocol::Local,
            _ => return Err(Damaged),
        },
        tls: take_option(from, |from| Ok(from.text()?.into()))?,
        credential: take_option(from, |from| Ok(CredentialName::new(from.text()?)))?,
    })
}

pub(crate) fn put_attempt(out: &mut Vec<u8>, attempt: &AttemptFacts) {
    out.number(attempt.started_at.millis());
    out.number(attempt.duration_ms);
    out.text(attempt.source.as_str());
    put_option(out, attempt.host.as_deref(), |out, host| out.text(host));
    put_option(out, attempt.address.as_ref(), |out, address| put_socket(out, *address));
    put_option(out, attempt.tls.as_ref(), |out, tls| {
        out.text(&tls.version);
        out.text(&tls.cipher);
        out.octet(tls.trusted.into());
    });
}

pub(crate) fn take_attempt(from: &mut Decoder<'_>) -> Result<AttemptFacts, Damaged> {
    Ok(AttemptFacts {
        started_at: take_time(from)?,
        duration_ms: from.number()?,
        source: SourceName::new(from.text()?),
        host: take_option(from, take_arc)?,
        address: take_option(from, take_socket)?,
        tls: take_option(from, |from| Ok(TlsFacts { version: take_arc(from)?, cipher: take_arc(from)?, trusted: from.flag()? }))?,
    })
}

pub(crate) fn put_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Outcome::Delivered { reply } => {
            out.octet(0);
            put_reply(out, reply);
        }
        Outcome::Deferred { due, diagnosis, delay_told } => {
            out.octet(if *delay_told { 3 } else { 1 });
            out.number(due.millis());
            put_diagnosis(out, diagnosis);
        }
        Outcome::Bounced { diagnosis } => {
            out.octet(2);
            put_diagnosis(out, diagnosis);
        }
    }
}

pub(crate) fn take_outcome(from: &mut Decoder<'_>) -> Result<Outcome, Damaged> {
    Ok(match from.octet()? {
        0 => Outcome::Delivered { reply: take_reply(from)? },
        tag @ (1 | 3) => Outcome::Deferred { due: take_time(from)?, diagnosis: take_diagnosis(from)?, delay_told: tag == 3 },
        2 => Outcome::Bounced { diagnosis: take_diagnosis(from)? },
        _ => return Err(Damaged),
    })
}

pub(crate) fn put_diagnosis(out: &mut Vec<u8>, diagnosis: &Diagnosis) {
    out.number(diagnosis.at.millis());
    out.octet(PHASES.iter().position(|phase| *phase == diagnosis.phase).unwrap_or_default() as u8);
    match &diagnosis.reason {
        Reason::Reply(reply) => {
            out.octet(0);
            put_reply(out, reply);
        }
        Reason::Trouble(trouble) => {
            out.octet(1);
            put_trouble(out, trouble);
        }
    }
    put_option(out, diagnosis.remote.as_deref(), |out, remote| out.text(remote));
    put_option(out, diagnosis.address.as_ref(), |out, address| put_socket(out, *address));
}

pub(crate) fn take_diagnosis(from: &mut Decoder<'_>) -> Result<Diagnosis, Damaged> {
    Ok(Diagnosis {
        at: take_time(from)?,
        phase: *PHASES.get(usize::from(from.octet()?)).ok_or(Damaged)?,
        reason: match from.octet()? {
            0 => Reason::Reply(take_reply(from)?),
            1 => Reason::Trouble(take_trouble(from)?),
            _ => return Err(Damaged),
        },
        remote: take_option(from, take_arc)?,
        address: take_option(from, take_socket)?,
    })
}

/// The tag of a phase is its place here: append only.
const PHASES: [Phase; 12] = [
    Phase::Route,
    Phase::Connect,
    Phase::Greeting,
    Phase::Hello,
    Phase::StartTls,
    Phase::Auth,
    Phase::Mail,
    Phase::Recipient,
    Phase::Data,
    Phase::Content,
    Phase::EndOfData,
    Phase::Local,
];

fn put_trouble(out: &mut Vec<u8>, trouble: &Trouble) {
    let (tag, texts): (u8, &[&Arc<str>]) = match trouble {
        Trouble::NoSuchDomain(a) => (0, &[a]),
        Trouble::NullMx(a) => (1, &[a]),
        Trouble::NoMailHost(a) => (2, &[a]),
        Trouble::DnsFailed(a, b) => (3, &[a, b]),
        Trouble::ConnectFailed(a) => (4, &[a]),
        Trouble::Dropped(a) => (5, &[a]),
        Trouble::Silent(seconds) => {
            out.octet(6);
            return out.number(*seconds);
        }
        Trouble::Protocol(a) => (7, &[a]),
        Trouble::Tls(a) => (8, &[a]),
        Trouble::Ambiguous(a) => (9, &[a]),
        Trouble::Loop(a) => (10, &[a]),
        Trouble::Expired => (11, &[]),
        Trouble::Unsupported(a) => (12, &[a]),
        Trouble::Internal(a) => (13, &[a]),
        Trouble::Operator(a) => (14, &[a]),
        Trouble::TooLarge(a) => (15, &[a]),
        Trouble::Binary(a) => (16, &[a]),
        Trouble::Suppressed(a) => (17, &[a]),
        Trouble::Unsignable(a) => (18, &[a]),
    };
    out.octet(tag);
    texts.iter().for_each(|text| out.text(text));
}

fn take_trouble(from: &mut Decoder<'_>) -> Result<Trouble, Damaged> {
    Ok(match from.octet()? {
        0 => Trouble::NoSuchDomain(take_arc(from)?),
        1 => Trouble::NullMx(take_arc(from)?),
        2 => Trouble::NoMailHost(take_arc(from)?),
        3 => Trouble::DnsFailed(take_arc(from)?, take_arc(from)?),
        4 => Trouble::ConnectFailed(take_arc(from)?),
        5 => Trouble::Dropped(take_arc(from)?),
        6 => Trouble::Silent(from.number()?),
        7 => Trouble::Protocol(take_arc(from)?),
        8 => Trouble::Tls(take_arc(from)?),
        9 => Trouble::Ambiguous(take_arc(from)?),
        10 => Trouble::Loop(take_arc(from)?),
        11 => Trouble::Expired,
        12 => Trouble::Unsupported(take_arc(from)?),
        13 => Trouble::Internal(take_arc(from)?),
        14 => Trouble::Operator(take_arc(from)?),
        15 => Trouble::TooLarge(take_arc(from)?),
        16 => Trouble::Binary(take_arc(from)?),
        17 => Trouble::Suppressed(take_arc(from)?),
        18 => Trouble::Unsignable(take_arc(from)?),
        _ => return Err(Damaged),
    })
}

fn put_reply(out: &mut Vec<u8>, reply: &Reply) {
    out.number(reply.code().into());
    put_option(out, reply.status().as_ref(), |out, status| {
        out.octet(status.class);
        out.number(status.subject.into());
        out.number(status.detail.into());
    });
    let lines = reply.lines();
    if lines.len() <= REPLY_LINES_MAX {
        out.number(lines.len() as u64);
        lines.iter().for_each(|line| out.text(line));
    } else {
        out.number(REPLY_LINES_MAX as u64);
        lines[..REPLY_LINES_MAX - 1].iter().for_each(|line| out.text(line));
        out.text("...");
    }
}

fn take_reply(from: &mut Decoder<'_>) -> Result<Reply, Damaged> {
    let code = from.number16()?;
    let status =
        take_option(from, |from| Ok(EnhancedStatus { class: from.octet()?, subject: from.number16()?, detail: from.number16()? }))?;
    let count = from.count()?;
    if count > REPLY_LINES_MAX {
        return Err(Damaged);
    }
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        lines.push(from.text()?.to_owned());
    }
    Reply::from_parts(code, status, lines).ok_or(Damaged)
}

fn take_mailbox(from: &mut Decoder<'_>) -> Result<Mailbox, Damaged> {
    Mailbox::parse(from.text()?).map_err(|_| Damaged)
}

fn take_arc(from: &mut Decoder<'_>) -> Result<Arc<str>, Damaged> {
    Ok(from.text()?.into())
}

pub(crate) fn take_time(from: &mut Decoder<'_>) -> Result<Timestamp, Damaged> {
    Ok(Timestamp::from_millis(from.number()?))
}

pub(crate) fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.octet(4);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.octet(6);
            out.extend_from_slice(&v6.octets());
        }
    }
}

pub(crate) fn take_address(from: &mut Decoder<'_>) -> Result<IpAddr, Damaged> {
    Ok(match from.octet()? {
        4 => Ipv4Addr::from(from.array::<4>()?).into(),
        6 => Ipv6Addr::from(from.array::<16>()?).into(),
        _ => return Err(Damaged),
    })
}

fn put_socket(out: &mut Vec<u8>, address: SocketAddr) {
    put_address(out, address.ip());
    out.number(address.port().into());
}

fn take_socket(from: &mut Decoder<'_>) -> Result<SocketAddr, Damaged> {
    Ok(SocketAddr::new(take_address(from)?, from.number16()?))
}

pub(crate) fn put_option<T: ?Sized>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    match value {
        None => out.octet(0),
        Some(value) => {
            out.octet(1);
            put(out, value);
        }
    }
}

pub(crate) fn take_option<T>(
    from: &mut Decoder<'_>,
    take: impl FnOnce(&mut Decoder<'_>) -> Result<T, Damaged>,
) -> Result<Option<T>, Damaged> {
    if from.flag()? { take(from).map(Some) } else { Ok(None) }
}
