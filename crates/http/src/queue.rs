//! The queue: pages, counts, one message, what holds it, and "due now".

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use postrider_model::doors::{AGE_MINUTES, Ages, Alteration, DeliveryState, DeliveryView, ShapeBy, Waiting};
use postrider_model::{DeliveryId, Diagnosis, MessageId, Phase, Role, Timestamp};
use serde::Deserialize;

use crate::body::content_body;
use crate::doors::ControlDoors;
use crate::filter::filter;
use crate::trouble::Refusal;
use crate::{PAGE_MAX, wire};

/// The parameters of a page, or of a shape.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    message: Option<String>,
    tenant: Option<String>,
    stream: Option<String>,
    host: Option<String>,
    site: Option<String>,
    sender: Option<String>,
    state: Option<String>,
    older_than_s: Option<u64>,
    younger_than_s: Option<u64>,
    after: Option<String>,
    max: Option<usize>,
    unordered: Option<bool>,
    by: Option<String>,
}

impl PageQuery {
    fn which(&self) -> wire::Which {
        wire::Which {
            messages: self.message.iter().cloned().collect(),
            tenant: self.tenant.clone(),
            stream: self.stream.clone(),
            host: self.host.clone(),
            site: self.site.clone(),
            sender: self.sender.clone(),
            state: self.state.clone(),
            older_than_s: self.older_than_s,
            younger_than_s: self.younger_than_s,
        }
    }
}

pub(crate) async fn page(State(doors): State<ControlDoors>, Query(query): Query<PageQuery>) -> Result<Json<wire::QueuePage>, Refusal> {
    let filter = filter(&query.which(), doors.clock.now())?;
    let max = query.max.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    if filter.sender.is_some() || query.unordered == Some(true) {
        let place = |text: &str| {
            text.parse().map_err(|_| Refusal::bad(format!("{text:?} is not a place to go on from: give back what `next` said")))
        };
        let from = query.after.as_deref().map(place).transpose()?.unwrap_or(0);
        let walked = doors.desk.walk(&filter, from, max).await?;
        let deliveries = walked.found.into_iter().map(delivery).collect();
        return Ok(Json(wire::QueuePage { deliveries, next: walked.next.map(|next| next.to_string()) }));
    }
    let after = query.after.as_deref().map(delivery_id).transpose()?;
    let found = doors.desk.list(&filter, after, max);
    let next = if found.len() == max { found.last().map(|view| view.id.to_string()) } else { None };
    Ok(Json(wire::QueuePage { deliveries: found.into_iter().map(delivery).collect(), next }))
}

pub(crate) async fn shape(State(doors): State<ControlDoors>, Query(query): Query<PageQuery>) -> Result<Json<wire::Shape>, Refusal> {
    let now = doors.clock.now();
    let filter = filter(&query.which(), now)?;
    if filter.sender.is_some() {
        return Err(Refusal::bad("ages cannot be counted by sender: the messages would have to be read, one by one"));
    }
    let by = match query.by.as_deref() {
        None | Some("site") => ShapeBy::Site,
        Some("host") => ShapeBy::Host,
        Some("tenant") => ShapeBy::Tenant,
        Some(other) => return Err(Refusal::bad(format!("{other:?} has no rows: there are site, host and tenant"))),
    };
    let shape = doors.desk.shape(&filter, by, now, query.max.unwrap_or(PAGE_MAX).min(PAGE_MAX));
    let row = |name: &str, ages: &Ages| wire::ShapeRow { name: name.to_owned(), deliveries: ages.iter().sum(), ages: ages.to_vec() };
    Ok(Json(wire::Shape {
        minutes: AGE_MINUTES.to_vec(),
        total: row("TOTAL", &shape.total),
        rows: shape.rows.iter().map(|(name, ages)| row(name, ages)).collect(),
        rows_in_all: shape.rows_in_all,
        oldest: shape.oldest.map(|at| at.to_string()),
    }))
}

pub(crate) async fn count(State(doors): State<ControlDoors>) -> Json<wire::Count> {
    let count = doors.desk.count();
    let groups = count.groups.into_iter().map(|(group, deliveries)| wire::GroupCount { group, deliveries }).collect();
    Json(wire::Count { messages: count.messages, deliveries: count.deliveries, lent: count.lent, held: count.held, groups })
}

pub(crate) async fn show(State(doors): State<ControlDoors>, Path(id): Path<String>) -> Result<Json<wire::Message>, Refusal> {
    let id = message_id(&id)?;
    let mut shown = message(&doors, id).await?;
    shown.sources = doors.insight.sources(id).await;
    Ok(Json(shown))
}

pub(crate) async fn explain(State(doors): State<ControlDoors>, Path(id): Path<String>) -> Result<Json<wire::Message>, Refusal> {
    let id = message_id(&id)?;
    let mut shown = message(&doors, id).await?;
    for (index, held) in doors.insight.explain(id).await {
        let name = DeliveryId { message: id, index }.to_string();
        if let Some(recipient) = shown.deliveries.iter_mut().find(|r| r.delivery.id == name) {
            recipient.waiting.push(waiting(held));
        }
    }
    shown.prepared = doors.insight.prepared(id).await;
    shown.sources = doors.insight.sources(id).await;
    Ok(Json(shown))
}

pub(crate) async fn content(State(doors): State<ControlDoors>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let opened = doors.spool.open(message_id(&id)?).await?;
    let mut answer = Response::new(content_body(opened.content));
    let kind = axum::http::HeaderValue::from_static("message/rfc822");
    answer.headers_mut().insert(axum::http::header::CONTENT_TYPE, kind);
    Ok(answer)
}

pub(crate) async fn retry(State(doors): State<ControlDoors>, Json(which): Json<wire::Retry>) -> Result<Json<wire::Altered>, Refusal> {
    let wire::Retry { message, tenant, host, site } = which;
    let which = wire::Which { messages: message.into_iter().collect(), tenant, host, site, ..wire::Which::default() };
    let filter = filter(&which, doors.clock.now())?;
    let deliveries = doors.desk.alter(&filter, Alteration::RetryNow(doors.clock.now()))?;
    Ok(Json(wire::Altered { deliveries }))
}

async fn message(doors: &ControlDoors, id: MessageId) -> Result<wire::Message, Refusal> {
    let (message, live) = doors.desk.show(id).await?;
    let to = |index: u32| message.recipients.get(index as usize).map(|r| r.mailbox.to_string()).unwrap_or_default();
    let deliveries = live.into_iter().take(PAGE_MAX).map(|(view, diagnosis)| wire::Recipient {
        to: to(view.id.index),
        delivery: delivery(view),
        last: diagnosis.as_ref().map(last),
        waiting: Vec::new(),
    });
    Ok(wire::Message {
        id: message.id.to_string(),
        tenant: message.tenant.to_string(),
        stream: message.stream.to_string(),
        from: message.envelope.reverse_path.to_string(),
        arrived_at: message.arrival.at.to_string(),
        role: match message.arrival.role {
            Role::Submission => "submission",
            Role::Relay => "relay",
            Role::Report => "report",
            Role::Local => "local",
        }
        .to_owned(),
        client: message.arrival.peer.map(|peer| peer.to_string()),
        credential: message.arrival.credential.as_ref().map(ToString::to_string),
        tls: message.arrival.tls.as_deref().map(str::to_owned),
        recipients: message.recipients.len(),
        content_octets: message.content_octets,
        prepared: Vec::new(),
        sources: Vec::new(),
        deliveries: deliveries.collect(),
    })
}

/// A message's id; a delivery's id names its message, too, because that is what people copy from the log.
pub(crate) fn message_id(text: &str) -> Result<MessageId, Refusal> {
    let message = text.split_once('/').map_or(text, |(message, _)| message);
    message.parse().map_err(|trouble| Refusal::bad(format!("{text:?} is {trouble}")))
}

pub(crate) fn delivery_id(text: &str) -> Result<DeliveryId, Refusal> {
    let (message, index) = text.split_once('/').ok_or_else(|| Refusal::bad(format!("{text:?} is not a delivery: expected ID/INDEX")))?;
    let index = index.parse().map_err(|_| Refusal::bad(format!("{text:?} is not a delivery: expected a number behind the slash")))?;
    Ok(DeliveryId { message: message_id(message)?, index })
}

fn delivery(view: DeliveryView) -> wire::Delivery {
    wire::Delivery {
        id: view.id.to_string(),
        tenant: view.tenant.to_string(),
        stream: view.stream.to_string(),
        host: view.host.to_string(),
        site: view.site.map(|site| site.to_string()),
        arrived_at: view.arrived_at.to_string(),
        due: view.due.to_string(),
        attempts: view.attempts,
        state: match view.state {
            DeliveryState::Waiting => "waiting",
            DeliveryState::Lent => "lent",
            DeliveryState::Held => "held",
        }
        .to_owned(),
        held: view.held.map(|hold| wire::OnHold { since: hold.since.to_string(), reason: hold.reason.to_string() }),
        content_octets: view.content_octets,
        ahead: view.ahead,
    }
}

pub(crate) fn waiting(held: Waiting) -> wire::Waiting {
    let text = |at: Timestamp| at.to_string();
    wire::Waiting { reason: held.reason, since: held.since.map(text), until: held.until.map(text), ahead: held.ahead }
}

fn last(diagnosis: &Diagnosis) -> wire::LastAttempt {
    wire::LastAttempt {
        at: diagnosis.at.to_string(),
        phase: phase(diagnosis.phase).to_owned(),
        status: diagnosis.status().to_string(),
        diagnosis: diagnosis.describe(),
        remote: diagnosis.remote.as_deref().map(str::to_owned),
        address: diagnosis.address.map(|address| address.to_string()),
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Route => "looking the next hop up",
        Phase::Connect => "connecting",
        Phase::Greeting => "greeting",
        Phase::Hello => "EHLO",
        Phase::StartTls => "STARTTLS",
        Phase::Auth => "AUTH",
        Phase::Mail => "MAIL",
        Phase::Recipient => "RCPT",
        Phase::Data => "DATA",
        Phase::Content => "content",
        Phase::EndOfData => "end of data",
        Phase::Local => "here",
    }
}
