//! The book of suppressions in a person's hands.

use axum::Json;
use axum::extract::{Query, State};
use postrider_model::doors::{SuppressedMailbox, Suppression, SuppressionCause, SuppressionFilter, SuppressionKey, SuppressionTrouble};
use postrider_model::names::valid_name;
use postrider_model::{StreamName, TenantName};
use postrider_smtp::Mailbox;
use serde::Deserialize;

use crate::PAGE_MAX;
use crate::change::reason;
use crate::doors::ControlDoors;
use crate::trouble::Refusal;
use crate::wire;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    tenant: Option<String>,
    stream: Option<String>,
    after: Option<String>,
    max: Option<usize>,
}

pub(crate) async fn list(State(doors): State<ControlDoors>, Query(query): Query<ListQuery>) -> Result<Json<wire::Suppressions>, Refusal> {
    let filter =
        SuppressionFilter { tenant: query.tenant.map(|name| name.as_str().into()), stream: query.stream.map(|name| name.as_str().into()) };
    let after = query.after.as_deref().map(place).transpose()?;
    let max = query.max.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let found = doors.suppressions.list(&filter, after.as_ref(), max).await?;
    let next = if found.len() == max {
        found.last().map(|last| format!("{}/{}/{}", last.tenant, last.stream, last.mailbox.as_str()))
    } else {
        None
    };
    Ok(Json(wire::Suppressions { suppressions: found.iter().map(|one| shown(one)).collect(), next }))
}

/// `TENANT/STREAM/ADDRESS`: where a page ended.
fn place(text: &str) -> Result<SuppressionKey, Refusal> {
    let mut parts = text.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(tenant), Some(stream), Some(mailbox)) => key(tenant, stream, mailbox),
        _ => Err(Refusal::bad(format!("{text:?} is not where a page ended"))),
    }
}

fn key(tenant: &str, stream: &str, mailbox: &str) -> Result<SuppressionKey, Refusal> {
    for (what, name) in [("tenant", tenant), ("stream", stream)] {
        if !valid_name(name) {
            return Err(Refusal::bad(format!("{name:?} is not the name of a {what}")));
        }
    }
    let read = Mailbox::parse(mailbox).map_err(|_| Refusal::bad(format!("{mailbox:?} is not an address")))?;
    Ok((TenantName::new(tenant), StreamName::new(stream), SuppressedMailbox::of(&read)))
}

/// All addresses are read before any is written.
fn keys(asked: &wire::Suppress) -> Result<Vec<SuppressionKey>, Refusal> {
    if asked.mailboxes.is_empty() {
        return Err(Refusal::bad("an address is missing"));
    }
    asked.mailboxes.iter().map(|mailbox| key(&asked.tenant, &asked.stream, mailbox)).collect()
}

pub(crate) async fn add(State(doors): State<ControlDoors>, Json(asked): Json<wire::Suppress>) -> Result<Json<wire::Suppressed>, Refusal> {
    let (keys, reason) = (keys(&asked)?, reason(&asked.reason)?);
    let mut changed = 0;
    for (tenant, stream, mailbox) in keys {
        let (since, cause) = (doors.clock.now(), SuppressionCause::Operator);
        let suppression = Suppression { tenant, stream, mailbox, since, cause, message: None, reason: reason.into() };
        changed += u64::from(doors.suppressing.suppress(suppression, None).await?);
    }
    Ok(Json(wire::Suppressed { changed }))
}

pub(crate) async fn remove(
    State(doors): State<ControlDoors>,
    Json(asked): Json<wire::Suppress>,
) -> Result<Json<wire::Suppressed>, Refusal> {
    let mut changed = 0;
    for key in keys(&asked)? {
        changed += u64::from(doors.suppressions.lift(&key).await?);
    }
    Ok(Json(wire::Suppressed { changed }))
}

fn shown(one: &Suppression) -> wire::SuppressionView {
    wire::SuppressionView {
        tenant: one.tenant.to_string(),
        stream: one.stream.to_string(),
        mailbox: one.mailbox.as_str().to_owned(),
        since: one.since.to_string(),
        cause: one.cause.word().to_owned(),
        message: one.message.map(|id| id.to_string()),
        reason: one.reason.to_string(),
    }
}

impl From<SuppressionTrouble> for Refusal {
    fn from(trouble: SuppressionTrouble) -> Self {
        Refusal::not_now(trouble.to_string())
    }
}
