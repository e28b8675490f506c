//! The relay as a whole: status, health, Sites, reload.

use axum::Json;
use axum::extract::{Query, State};
use postrider_model::Timestamp;
use postrider_model::doors::SpoolHealth;
use serde::Deserialize;

use crate::doors::ControlDoors;
use crate::queue::waiting;
use crate::trouble::Refusal;
use crate::{PAGE_MAX, wire};

pub(crate) async fn status(State(doors): State<ControlDoors>) -> Json<wire::Status> {
    let (about, count) = (&doors.about, doors.desk.count());
    let started = Timestamp::from_millis(about.started_ms);
    Json(wire::Status {
        version: about.version.clone(),
        host_name: about.host_name.clone(),
        pid: about.pid,
        started_at: started.to_string(),
        uptime_seconds: doors.clock.now().since(started).as_secs(),
        mode: if about.capture { "capture" } else { "deliver" }.to_owned(),
        listeners: (doors.listeners)(),
        domains: (doors.domains)(),
        pools: (doors.pools)().await,
        messages: count.messages,
        deliveries: count.deliveries,
        lent: count.lent,
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64,
        health: health_of(doors.desk.health()),
    })
}

pub(crate) async fn health(State(doors): State<ControlDoors>) -> Json<wire::Health> {
    Json(health_of(doors.desk.health()))
}

/// The parameters of the list of Sites.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SitesQuery {
    max: Option<usize>,
}

pub(crate) async fn sites(State(doors): State<ControlDoors>, Query(query): Query<SitesQuery>) -> Json<wire::Sites> {
    let known = doors.insight.sites().await;
    let total = known.len();
    let shown = known.into_iter().take(query.max.unwrap_or(PAGE_MAX).min(PAGE_MAX)).map(|view| wire::Site {
        site: view.site.to_string(),
        provider: view.provider,
        connections: view.connections,
        window: view.window,
        waiting: view.waiting,
        held: view.held.map(waiting),
    });
    Json(wire::Sites { sites: shown.collect(), total })
}

pub(crate) async fn reload(State(doors): State<ControlDoors>) -> Result<Json<wire::Reloaded>, Refusal> {
    (doors.reload)().map(|said| Json(wire::Reloaded { said })).map_err(Refusal::unacceptable)
}

pub(crate) async fn look_again(State(doors): State<ControlDoors>) -> Result<Json<wire::Reloaded>, Refusal> {
    (doors.look_again)().await.map(|()| Json(wire::Reloaded { said: "looked".to_owned() })).map_err(Refusal::unacceptable)
}

fn health_of(health: SpoolHealth) -> wire::Health {
    wire::Health {
        syncs: health.syncs,
        accepted: health.accepted,
        settled: health.settled,
        segments: health.segments,
        segments_free: health.segments_free,
        disk_octets: health.disk_octets,
        live_octets: health.live_octets,
        full: health.full,
        poisoned: health.poisoned,
    }
}
