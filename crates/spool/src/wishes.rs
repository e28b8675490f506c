//! The stored form of what senders ask for beyond delivery: reports (RFC 3461), times (RFC 2852, RFC 4865), urgency (RFC 6710).
//!
//! **Promises.** Most messages have no such wishes and cost nothing here: a bit in the message's flags says that this part follows. Decoding is total.

use postrider_model::Message;
use postrider_smtp::parameters::{Notify, OriginalRecipient, Ret};
use postrider_smtp::wishes::{ByMode, DeliverBy, MtPriority};

use crate::codec::{Damaged, Decoder, Encode};
use crate::stored::{put_option, take_option, take_time};

/// The bit in a message's flags that says that its wishes follow behind its recipients.
pub(crate) const WISHES_FOLLOW: u8 = 2;

pub(crate) fn has_wishes(message: &Message) -> bool {
    let envelope = &message.envelope;
    let whole = envelope.ret.is_some() || envelope.envid.is_some() || envelope.deliver_by.is_some() || envelope.mt_priority.is_some();
    whole
        || message.release_at.is_some()
        || message.recipients.iter().any(|recipient| recipient.notify.is_some() || recipient.original.is_some())
}

pub(crate) fn put_wishes(out: &mut Vec<u8>, message: &Message) {
    let envelope = &message.envelope;
    out.octet(match envelope.ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Headers) => 2,
    });
    put_option(out, envelope.envid.as_deref(), |out, envid| out.text(envid));
    put_option(out, envelope.deliver_by.as_ref(), |out, by| {
        out.octet(u8::from(by.seconds < 0) | u8::from(by.mode == ByMode::Notify) << 1 | u8::from(by.trace) << 2);
        out.number(by.seconds.unsigned_abs());
    });
    put_option(out, envelope.mt_priority.as_ref(), |out, priority| out.octet((priority.level() + 9) as u8));
    put_option(out, message.release_at.as_ref(), |out, at| out.number(at.millis()));
    for recipient in &message.recipients {
        out.octet(
            recipient
                .notify
                .map_or(0, |notify| 1 | u8::from(notify.success) << 1 | u8::from(notify.failure) << 2 | u8::from(notify.delay) << 3),
        );
        put_option(out, recipient.original.as_deref(), |out, original| {
            out.text(&original.address_type);
            out.text(&original.address);
        });
    }
}

/// Reads the wishes of a message whose recipients were read.
pub(crate) fn take_wishes(from: &mut Decoder<'_>, message: &mut Message) -> Result<(), Damaged> {
    message.envelope.ret = match from.octet()? {
        0 => None,
        1 => Some(Ret::Full),
        2 => Some(Ret::Headers),
        _ => return Err(Damaged),
    };
    message.envelope.envid = take_option(from, |from| Ok(from.text()?.into()))?;
    message.envelope.deliver_by = take_option(from, take_deliver_by)?;
    message.envelope.mt_priority = take_option(from, |from| {
        let level = from.octet()?;
        if level > 18 { Err(Damaged) } else { Ok(MtPriority::new(level as i8 - 9)) }
    })?;
    message.release_at = take_option(from, take_time)?;
    for recipient in &mut message.recipients {
        recipient.notify = take_notify(from)?;
        recipient.original = take_option(from, |from| {
            let (address_type, address) = (from.text()?.to_owned(), from.text()?.to_owned());
            Ok(Box::new(OriginalRecipient { address_type, address }))
        })?;
    }
    if has_wishes(message) { Ok(()) } else { Err(Damaged) }
}

fn take_deliver_by(from: &mut Decoder<'_>) -> Result<DeliverBy, Damaged> {
    let flags = from.octet()?;
    let seconds = i64::try_from(from.number()?).map_err(|_| Damaged)?;
    if flags > 7 || flags & 1 != 0 && seconds == 0 {
        return Err(Damaged);
    }
    let mode = if flags & 2 != 0 { ByMode::Notify } else { ByMode::Return };
    Ok(DeliverBy { seconds: if flags & 1 != 0 { -seconds } else { seconds }, mode, trace: flags & 4 != 0 })
}

fn take_notify(from: &mut Decoder<'_>) -> Result<Option<Notify>, Damaged> {
    match from.octet()? {
        0 => Ok(None),
        flags if flags & 1 != 0 && flags < 16 => {
            Ok(Some(Notify { success: flags & 2 != 0, failure: flags & 4 != 0, delay: flags & 8 != 0 }))
        }
        _ => Err(Damaged),
    }
}
