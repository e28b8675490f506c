//! From what a request says to the deliveries it means.

use postrider_model::doors::{DeliveryState, QueueFilter, SenderFilter};
use postrider_model::{SiteName, StreamName, TenantName, Timestamp};
use postrider_smtp::{Host, Mailbox};
use std::time::Duration;

use crate::queue::message_id;
use crate::trouble::Refusal;
use crate::{PAGE_MAX, wire};

/// The filter that is meant at `now`.
pub(crate) fn filter(which: &wire::Which, now: Timestamp) -> Result<QueueFilter, Refusal> {
    if which.messages.len() > PAGE_MAX {
        return Err(Refusal::bad(format!("{} messages are named; name at most {PAGE_MAX} at once", which.messages.len())));
    }
    let ago = |seconds: u64| Timestamp::from_millis(now.millis().saturating_sub(Duration::from_secs(seconds).as_millis() as u64));
    Ok(QueueFilter {
        messages: which.messages.iter().map(|id| message_id(id)).collect::<Result<_, _>>()?,
        tenant: which.tenant.as_deref().map(TenantName::new),
        stream: which.stream.as_deref().map(StreamName::new),
        host: which.host.as_deref().map(host).transpose()?.map(|host| host.to_string()),
        site: which.site.as_deref().map(SiteName::new),
        sender: which.sender.as_deref().map(sender).transpose()?,
        state: which.state.as_deref().map(state).transpose()?,
        arrived_from: which.younger_than_s.map(ago),
        arrived_to: which.older_than_s.map(ago),
    })
}

fn host(text: &str) -> Result<Host, Refusal> {
    Host::parse(text).map_err(|trouble| Refusal::bad(format!("{text:?} is not a host: {trouble}")))
}

/// `<>` (or nothing) is the null reverse-path, what has an `@` in its middle a mailbox, and anything else a host, with an `@` in front or without.
fn sender(text: &str) -> Result<SenderFilter, Refusal> {
    let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
    match bare.strip_prefix('@').unwrap_or(bare) {
        "" => Ok(SenderFilter::Null),
        mailbox if mailbox.contains('@') => {
            let parsed = Mailbox::parse(mailbox).map_err(|trouble| Refusal::bad(format!("{text:?} is not a sender: {trouble}")));
            parsed.map(SenderFilter::Mailbox)
        }
        name => host(name).map(SenderFilter::Host),
    }
}

fn state(text: &str) -> Result<DeliveryState, Refusal> {
    match text {
        "waiting" => Ok(DeliveryState::Waiting),
        "lent" => Ok(DeliveryState::Lent),
        "held" => Ok(DeliveryState::Held),
        other => Err(Refusal::bad(format!("{other:?} is not a state: it is waiting, lent or held"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_meant() {
        let now = Timestamp::from_millis(100_000);
        let said = wire::Which {
            host: Some("One.Example".into()),
            sender: Some("@Shop.Example".into()),
            state: Some("held".into()),
            older_than_s: Some(30),
            younger_than_s: Some(1_000),
            ..wire::Which::default()
        };
        let meant = filter(&said, now).unwrap();
        assert_eq!((meant.host.as_deref(), meant.state), (Some("one.example"), Some(DeliveryState::Held)));
        assert_eq!((meant.arrived_to, meant.arrived_from), (Some(Timestamp::from_millis(70_000)), Some(Timestamp::from_millis(0))));
        assert_eq!(meant.sender, Some(SenderFilter::Host(Host::parse("shop.example").unwrap())));
        let mailbox = SenderFilter::Mailbox(Mailbox::parse("a@shop.example").unwrap());
        for (text, expected) in [("<>", SenderFilter::Null), ("", SenderFilter::Null), ("<a@shop.example>", mailbox)] {
            assert_eq!(sender(text).ok(), Some(expected), "{text}");
        }
        for which in [
            wire::Which { host: Some("a b".into()), ..wire::Which::default() },
            wire::Which { sender: Some("a b@c".into()), ..wire::Which::default() },
            wire::Which { state: Some("asleep".into()), ..wire::Which::default() },
            wire::Which { messages: vec!["x".into()], ..wire::Which::default() },
        ] {
            assert!(filter(&which, now).is_err(), "{which:?}");
        }
    }
}
