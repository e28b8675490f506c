//! `limit`

use postrider_model::policy::Allowance;
use postrider_model::{CredentialName, TenantName};
use postrider_records::Worded;
use serde::Serialize;

use super::Desk;
use super::arguments::{LimitCommand, LimitSetArguments};
use crate::shown::{json, say};

/// Limits as they are shown.
#[derive(Debug, Serialize)]
pub struct LimitView {
    tenant: String,
    key: Option<String>,
    messages_per_second: Option<u32>,
    messages_per_hour: Option<u32>,
    messages_per_day: Option<u32>,
    recipients_per_second: Option<u32>,
    recipients_per_hour: Option<u32>,
    recipients_per_day: Option<u32>,
    recipients_per_message: Option<u32>,
    message_size: Option<u64>,
    beyond: &'static str,
}

impl LimitView {
    /// How limits are shown.
    pub fn of(tenant: &TenantName, key: Option<&CredentialName>, allowance: &Allowance) -> Self {
        let (messages, recipients) = (&allowance.messages, &allowance.recipients);
        Self {
            tenant: tenant.to_string(),
            key: key.map(ToString::to_string),
            messages_per_second: messages.per_second,
            messages_per_hour: messages.per_hour,
            messages_per_day: messages.per_day,
            recipients_per_second: recipients.per_second,
            recipients_per_hour: recipients.per_hour,
            recipients_per_day: recipients.per_day,
            recipients_per_message: allowance.recipients_per_message,
            message_size: allowance.message_octets,
            beyond: allowance.beyond.word(),
        }
    }
}

/// On one line.
pub fn in_words(limit: &LimitView) -> String {
    let bounds = [
        (limit.messages_per_second.map(u64::from), "messages a second"),
        (limit.messages_per_hour.map(u64::from), "messages an hour"),
        (limit.messages_per_day.map(u64::from), "messages a day"),
        (limit.recipients_per_second.map(u64::from), "recipients a second"),
        (limit.recipients_per_hour.map(u64::from), "recipients an hour"),
        (limit.recipients_per_day.map(u64::from), "recipients a day"),
        (limit.recipients_per_message.map(u64::from), "recipients a message"),
        (limit.message_size, "octets a message"),
    ];
    let bounds: Vec<String> = bounds.into_iter().filter_map(|(max, what)| Some(format!("{} {what}", max?))).collect();
    let holder = limit.key.as_ref().map_or_else(|| "all keys together".to_owned(), |key| format!("key {key}"));
    let beyond = if limit.beyond == "refuse" { "is refused" } else { "waits" };
    format!("{}, {holder}: {}; what is beyond a rate {beyond}", limit.tenant, bounds.join(", "))
}

pub async fn run(desk: &Desk, command: LimitCommand) -> anyhow::Result<()> {
    match command {
        LimitCommand::Set(wanted) => set(desk, &wanted).await,
        LimitCommand::List { tenant, json: as_json } => {
            let tenant = desk.tenant(tenant.as_deref()).await?;
            let limits = desk.book.allowances(&tenant).await?;
            if limits.is_empty() && !as_json {
                return Ok(say(format_args!("{tenant} has no limits"))?);
            }
            for (key, allowance) in &limits {
                let view = LimitView::of(&tenant, key.as_ref(), allowance);
                match as_json {
                    true => say(json(&view)?)?,
                    false => say(in_words(&view))?,
                }
            }
            Ok(())
        }
        LimitCommand::Clear { tenant, key } => {
            let tenant = desk.tenant(tenant.as_deref()).await?;
            let key = key.map(|user| CredentialName::new(&user));
            desk.book.set_allowance(&tenant, key.as_ref(), &Allowance::default()).await?;
            let whose = key.map_or_else(|| tenant.to_string(), |key| key.to_string());
            Ok(say(format_args!("{whose} has no limits"))?)
        }
    }
}

async fn set(desk: &Desk, wanted: &LimitSetArguments) -> anyhow::Result<()> {
    let tenant = desk.tenant(wanted.tenant.as_deref()).await?;
    let key = wanted.key.as_deref().map(CredentialName::new);
    let known = desk.book.allowances(&tenant).await?.into_iter().find(|(holder, _)| *holder == key);
    let mut allowance = known.map(|(_, allowance)| allowance).unwrap_or_default();
    let put = |place: &mut Option<u32>, said: Option<u32>| {
        if let Some(number) = said {
            *place = (number > 0).then_some(number);
        }
    };
    put(&mut allowance.messages.per_second, wanted.messages_per_second);
    put(&mut allowance.messages.per_hour, wanted.messages_per_hour);
    put(&mut allowance.messages.per_day, wanted.messages_per_day);
    put(&mut allowance.recipients.per_second, wanted.recipients_per_second);
    put(&mut allowance.recipients.per_hour, wanted.recipients_per_hour);
    put(&mut allowance.recipients.per_day, wanted.recipients_per_day);
    put(&mut allowance.recipients_per_message, wanted.recipients_per_message);
    if let Some(octets) = wanted.message_size {
        allowance.message_octets = (octets > 0).then_some(octets);
    }
    allowance.beyond = wanted.beyond.unwrap_or(allowance.beyond);
    desk.book.set_allowance(&tenant, key.as_ref(), &allowance).await?;
    Ok(say(in_words(&LimitView::of(&tenant, key.as_ref(), &allowance)))?)
}
