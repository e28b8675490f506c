//! The stored form of what is about no message: in a record of the log, and in the journal's event.

use std::sync::Arc;

use postrider_model::doors::{SuppressedMailbox, Suppression, SuppressionCause};
use postrider_model::{MessageId, Notice, StreamName, TenantName};
use postrider_smtp::Mailbox;

use crate::codec::{Damaged, Decoder, Encode};
use crate::stored::{put_address, put_option, take_address, take_option, take_time};

pub(crate) fn put_notice(out: &mut Vec<u8>, notice: &Notice) {
    match notice {
        Notice::Suppressed { suppression, peer } => {
            let Suppression { tenant, stream, mailbox, since, cause, message, reason } = &**suppression;
            out.octet(0);
            out.text(tenant.as_str());
            out.text(stream.as_str());
            out.text(mailbox.as_str());
            out.number(since.millis());
            out.octet(match cause {
                SuppressionCause::OneClick => 0,
                SuppressionCause::Operator => 1,
            });
            put_option(out, message.as_ref(), |out, id| out.fixed128(id.0));
            out.text(reason);
            put_option(out, peer.as_ref(), |out, peer| put_address(out, *peer));
        }
    }
}

pub(crate) fn take_notice(from: &mut Decoder<'_>) -> Result<Notice, Damaged> {
    match from.octet()? {
        0 => {
            let suppression = Suppression {
                tenant: TenantName::new(from.text()?),
                stream: StreamName::new(from.text()?),
                mailbox: SuppressedMailbox::of(&Mailbox::parse(from.text()?).map_err(|_| Damaged)?),
                since: take_time(from)?,
                cause: match from.octet()? {
                    0 => SuppressionCause::OneClick,
                    1 => SuppressionCause::Operator,
                    _ => return Err(Damaged),
                },
                message: take_option(from, |from| Ok(MessageId(from.fixed128()?)))?,
                reason: from.text()?.into(),
            };
            Ok(Notice::Suppressed { suppression: Arc::new(suppression), peer: take_option(from, take_address)? })
        }
        _ => Err(Damaged),
    }
}
