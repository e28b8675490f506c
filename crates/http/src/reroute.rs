//! Sending mail that waits another way than the rules would.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use postrider_model::Timestamp;
use postrider_model::doors::{QueueFilter, ShapeBy};
use postrider_smtp::Host;

use crate::change::reason;
use crate::doors::{ControlDoors, Reroute, RerouteBook};
use crate::filter::filter;
use crate::trouble::Refusal;
use crate::wire;

/// Hosts that one reroute may name.
const HOSTS_MAX: usize = 1_000;

pub(crate) async fn list(State(doors): State<ControlDoors>) -> Json<wire::Reroutes> {
    Json(shown(&doors))
}

pub(crate) async fn reroute(State(doors): State<ControlDoors>, Json(asked): Json<wire::Reroute>) -> Result<Json<wire::Reroutes>, Refusal> {
    let now = doors.clock.now();
    let wanted = wanted(&doors, &asked, now)?;
    change(&doors, move |book| book.reroute(wanted).map(|_| ())).await?;
    Ok(Json(shown(&doors)))
}

pub(crate) async fn end(State(doors): State<ControlDoors>, Json(asked): Json<wire::EndReroute>) -> Result<Json<wire::Reroutes>, Refusal> {
    change(&doors, move |book| book.end(asked.number)).await?;
    Ok(Json(shown(&doors)))
}

/// The book writes to the disk, and waits for it.
async fn change(doors: &ControlDoors, change: impl FnOnce(&dyn RerouteBook) -> Result<(), String> + Send + 'static) -> Result<(), Refusal> {
    let book: Arc<dyn RerouteBook> = doors.reroutes.clone();
    let changed = tokio::task::spawn_blocking(move || change(&*book)).await;
    changed.unwrap_or_else(|_| Err("a fault of ours".to_owned())).map_err(Refusal::unacceptable)
}

fn wanted(doors: &ControlDoors, asked: &wire::Reroute, now: Timestamp) -> Result<Reroute, Refusal> {
    let which = filter(&asked.which, now)?;
    if asked.seconds == Some(0) {
        return Err(Refusal::bad("for no time, nothing is sent another way"));
    }
    if which.state.is_some() || which.arrived_from.is_some() {
        return Err(Refusal::bad(
            "what is sent another way is chosen by whose mail it is and where to, not by its state or by how young it is",
        ));
    }
    if asked.which.messages.iter().any(|id| id.contains('/')) {
        return Err(Refusal::bad("a message is named without the index; choose one of its hosts with it"));
    }
    if asked.new_too && (which.arrived_to.is_some() || !which.messages.is_empty() || which.site.is_some()) {
        return Err(Refusal::bad("new mail has no id, no age and no next hop yet: choose it by tenant, stream, host or sender"));
    }
    let hosts = hosts(doors, &which, now)?;
    let accepted_to = (!asked.new_too).then(|| which.arrived_to.unwrap_or(now));
    let until = asked.seconds.map(|seconds| now.after(Duration::from_secs(seconds)));
    Ok(Reroute {
        number: 0,
        to: asked.to.clone(),
        messages: which.messages.into_iter().collect(),
        tenant: which.tenant,
        stream: which.stream,
        hosts,
        sender: which.sender,
        accepted_to,
        since: now,
        until,
        reason: reason(&asked.reason)?.into(),
    })
}

/// The hosts whose mail it is about, where that is known: then no other mail has to be asked about. A Site is told by the hosts that have mail for it now.
fn hosts(doors: &ControlDoors, which: &QueueFilter, now: Timestamp) -> Result<Vec<Host>, Refusal> {
    if which.site.is_none() && which.messages.is_empty() {
        return which.host.iter().map(|host| parsed(host)).collect();
    }
    let shape = doors.desk.shape(which, ShapeBy::Host, now, HOSTS_MAX);
    if shape.rows_in_all > HOSTS_MAX {
        let sentence =
            format!("mail for {} hosts is meant; at most {HOSTS_MAX} can be told from others: choose it another way", shape.rows_in_all);
        return Err(Refusal::bad(sentence));
    }
    if shape.rows.is_empty() {
        return Err(Refusal::bad("no mail that waits is meant"));
    }
    shape.rows.iter().map(|(host, _)| parsed(host)).collect()
}

fn parsed(host: &str) -> Result<Host, Refusal> {
    Host::parse(host).map_err(|trouble| Refusal::bad(format!("{host:?} is not a host: {trouble}")))
}

fn shown(doors: &ControlDoors) -> wire::Reroutes {
    let now = doors.clock.now();
    let in_force = doors.reroutes.list().into_iter().filter(|one| one.until.is_none_or(|until| until > now));
    wire::Reroutes { rerouted: in_force.map(view).collect() }
}

fn view(one: Reroute) -> wire::RerouteView {
    wire::RerouteView {
        number: one.number,
        to: one.to,
        messages: one.messages.iter().map(ToString::to_string).collect(),
        tenant: one.tenant.map(|tenant| tenant.to_string()),
        stream: one.stream.map(|stream| stream.to_string()),
        hosts: one.hosts.iter().map(ToString::to_string).collect(),
        sender: one.sender.map(|sender| sender.to_string()),
        accepted_to: one.accepted_to.map(|at| at.to_string()),
        since: one.since.to_string(),
        until: one.until.map(|until| until.to_string()),
        reason: one.reason.to_string(),
    }
}
