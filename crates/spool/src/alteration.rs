//! A person's change of live deliveries, as records and footers tell it.
//!
//! **Promises.** What a form of an earlier release can say is said in it, and only that way; the later form holds only what the earlier cannot.

use std::sync::Arc;

use postrider_model::doors::{OnHold, QueueFilter};
use postrider_model::{MessageId, StreamName, TenantName, Timestamp};

use crate::codec::{Damaged, Decoder, Encode};
use crate::stored::{put_option, take_option, take_time};

/// A change, and whom it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredAlteration {
    pub(crate) change: StoredChange,
    pub(crate) choice: Choice,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredChange {
    /// Every delivery whose last word stands before this record, that is chosen, and that is due later, is due then.
    Due(Timestamp),
    /// Every delivery whose message stands before this record, and that is chosen, is held.
    Held(OnHold),
    /// The same, and held no more.
    Released(Timestamp),
}

/// Which deliveries; what is empty chooses all.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choice {
    pub(crate) messages: Vec<MessageId>,
    pub(crate) tenant: Option<TenantName>,
    pub(crate) stream: Option<StreamName>,
    pub(crate) arrived_from: Option<Timestamp>,
    pub(crate) arrived_to: Option<Timestamp>,
    /// Recipient hosts, as their texts. A Site is told by its hosts, because where a host belongs is not kept.
    pub(crate) hosts: Vec<Box<str>>,
}

impl Choice {
    /// The choice of a filter; of a Site, the hosts that are given.
    pub(crate) fn of(filter: &QueueFilter, hosts: Vec<Box<str>>) -> Self {
        Self {
            messages: filter.messages.clone(),
            tenant: filter.tenant.clone(),
            stream: filter.stream.clone(),
            arrived_from: filter.arrived_from,
            arrived_to: filter.arrived_to,
            hosts: if filter.site.is_some() { hosts } else { filter.host.iter().map(|host| (**host).into()).collect() },
        }
    }
}

impl StoredAlteration {
    /// Whether the first form, a date for a message, a tenant or hosts, says it.
    pub(crate) fn is_plain(&self) -> bool {
        let Choice { messages, tenant: _, stream, arrived_from, arrived_to, hosts: _ } = &self.choice;
        let only_dated = matches!(self.change, StoredChange::Due(_));
        only_dated && messages.len() <= 1 && stream.is_none() && arrived_from.is_none() && arrived_to.is_none()
    }
}

/// Writes the form that [`StoredAlteration::is_plain`] tells.
pub(crate) fn put_alteration(out: &mut Vec<u8>, alteration: &StoredAlteration) {
    let choice = &alteration.choice;
    if alteration.is_plain()
        && let StoredChange::Due(due) = &alteration.change
    {
        out.number(due.millis());
        put_option(out, choice.messages.first(), |out, id| out.fixed128(id.0));
        put_option(out, choice.tenant.as_ref(), |out, tenant| out.text(tenant.as_str()));
        return put_hosts(out, &choice.hosts);
    }
    match &alteration.change {
        StoredChange::Due(due) => {
            out.octet(0);
            out.number(due.millis());
        }
        StoredChange::Held(hold) => {
            out.octet(1);
            put_hold(out, hold);
        }
        StoredChange::Released(at) => {
            out.octet(2);
            out.number(at.millis());
        }
    }
    out.number(choice.messages.len() as u64);
    choice.messages.iter().for_each(|id| out.fixed128(id.0));
    put_option(out, choice.tenant.as_ref(), |out, tenant| out.text(tenant.as_str()));
    put_option(out, choice.stream.as_ref(), |out, stream| out.text(stream.as_str()));
    put_option(out, choice.arrived_from.as_ref(), |out, at| out.number(at.millis()));
    put_option(out, choice.arrived_to.as_ref(), |out, at| out.number(at.millis()));
    put_hosts(out, &choice.hosts);
}

fn put_hosts(out: &mut Vec<u8>, hosts: &[Box<str>]) {
    out.number(hosts.len() as u64);
    hosts.iter().for_each(|host| out.text(host));
}

/// Reads the first form.
pub(crate) fn take_alteration(from: &mut Decoder<'_>) -> Result<StoredAlteration, Damaged> {
    let change = StoredChange::Due(take_time(from)?);
    let messages = take_option(from, take_id)?.into_iter().collect();
    let tenant = take_option(from, |from| Ok(TenantName::new(from.text()?)))?;
    let choice = Choice { messages, tenant, hosts: take_list(from, |from| Ok(from.text()?.into()))?, ..Choice::default() };
    Ok(StoredAlteration { change, choice })
}

/// Reads the later form.
pub(crate) fn take_change(from: &mut Decoder<'_>) -> Result<StoredAlteration, Damaged> {
    let change = match from.octet()? {
        0 => StoredChange::Due(take_time(from)?),
        1 => StoredChange::Held(take_hold(from)?),
        2 => StoredChange::Released(take_time(from)?),
        _ => return Err(Damaged),
    };
    let choice = Choice {
        messages: take_list(from, take_id)?,
        tenant: take_option(from, |from| Ok(TenantName::new(from.text()?)))?,
        stream: take_option(from, |from| Ok(StreamName::new(from.text()?)))?,
        arrived_from: take_option(from, take_time)?,
        arrived_to: take_option(from, take_time)?,
        hosts: take_list(from, |from| Ok(from.text()?.into()))?,
    };
    let alteration = StoredAlteration { change, choice };
    if alteration.is_plain() { Err(Damaged) } else { Ok(alteration) }
}

pub(crate) fn put_hold(out: &mut Vec<u8>, hold: &OnHold) {
    out.number(hold.since.millis());
    out.text(&hold.reason);
}

pub(crate) fn take_hold(from: &mut Decoder<'_>) -> Result<OnHold, Damaged> {
    Ok(OnHold { since: take_time(from)?, reason: Arc::from(from.text()?) })
}

fn take_id(from: &mut Decoder<'_>) -> Result<MessageId, Damaged> {
    Ok(MessageId(from.fixed128()?))
}

fn take_list<T>(from: &mut Decoder<'_>, take: impl Fn(&mut Decoder<'_>) -> Result<T, Damaged>) -> Result<Vec<T>, Damaged> {
    let count = from.count()?;
    let mut list = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        list.push(take(from)?);
    }
    Ok(list)
}
