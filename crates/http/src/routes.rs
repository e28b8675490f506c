//! Which path means what.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::doors::ControlDoors;
use crate::submit::{ENVELOPE_OCTETS_MAX, SubmitDoors};
use crate::trouble::Refusal;
use crate::{JSON_OCTETS_MAX, REQUEST_TIMEOUT_MS, attempts, backup, change, queue, relay, reroute, submit, suppress, suspend};

/// All routes over the doors.
pub(crate) fn routes(doors: ControlDoors) -> Router {
    Router::new()
        .route("/v1/status", get(relay::status))
        .route("/v1/health", get(relay::health))
        .route("/v1/sites", get(relay::sites))
        .route("/v1/reload", post(relay::reload))
        .route("/v1/registry/look", post(relay::look_again))
        .route("/v1/backup", get(backup::backup))
        .route("/v1/queue", get(queue::page))
        .route("/v1/queue/count", get(queue::count))
        .route("/v1/queue/shape", get(queue::shape))
        .route("/v1/queue/change", post(change::change))
        .route("/v1/queue/{id}", get(queue::show))
        .route("/v1/queue/{id}/attempts", get(attempts::attempts))
        .route("/v1/suspended", get(suspend::list))
        .route("/v1/suspend", post(suspend::suspend))
        .route("/v1/resume", post(suspend::resume))
        .route("/v1/suppressions", get(suppress::list))
        .route("/v1/suppressions/add", post(suppress::add))
        .route("/v1/suppressions/remove", post(suppress::remove))
        .route("/v1/rerouted", get(reroute::list))
        .route("/v1/reroute", post(reroute::reroute))
        .route("/v1/reroute/end", post(reroute::end))
        .route("/v1/explain/{id}", get(queue::explain))
        .route("/v1/message/{id}/content", get(queue::content))
        .route("/v1/retry", post(queue::retry))
        .layer(DefaultBodyLimit::max(JSON_OCTETS_MAX))
        .with_state(doors.clone())
        .merge(submission(doors))
        .fallback(async || Refusal::nothing_here())
        .layer(middleware::from_fn(in_time))
}

/// What every user of the machine may do: hand mail over.
pub(crate) fn public_routes(doors: ControlDoors) -> Router {
    submission(doors).fallback(async || Refusal::nothing_here()).layer(middleware::from_fn(in_time))
}

fn submission(doors: ControlDoors) -> Router {
    let submit_max = usize::try_from(doors.about.message_octets_max).unwrap_or(usize::MAX).saturating_add(ENVELOPE_OCTETS_MAX);
    let state = SubmitDoors::new(doors);
    Router::new()
        .route("/v1/submit", post(submit::submit))
        .layer(DefaultBodyLimit::max(submit_max))
        .layer(middleware::from_fn_with_state(state.clone(), in_turn))
        .route("/v1/intake", get(submit::intake))
        .with_state(state)
}

/// A client that begins a request and says no more does not keep its seat.
async fn in_time(request: Request, next: Next) -> Response {
    let limit = Duration::from_millis(REQUEST_TIMEOUT_MS);
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| Refusal::too_slow().into_response())
}

/// Takes a turn before the body is read, so that waiting submissions hold no memory.
async fn in_turn(State(state): State<SubmitDoors>, request: Request, next: Next) -> Response {
    let Some(_turn) = state.turn().await else {
        return Refusal::nothing_here().into_response();
    };
    next.run(request).await
}
