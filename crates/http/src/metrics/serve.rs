//! The private listener: `/metrics`, `/livez`, `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{MetricsDoors, state};
use crate::HEAD_TIMEOUT_MS;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 16;

/// How long the dispatcher may take to answer before it counts as dead. It answers between two pieces of work, each of them far below a second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may last: a scraper that says nothing more does not keep its seat.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(600);

/// Answers on the listener until this future is dropped.
pub async fn serve_metrics(listener: TcpListener, doors: MetricsDoors) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(async || plain(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz here\n"))
        .with_state(doors);
    let service = TowerToHyperService::new(routes);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(trouble) => {
                tracing::warn!(%trouble, "the metrics listener does not accept");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let service = service.clone();
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(HEAD_TIMEOUT_MS)).max_buf_size(16 * 1024);
            let serving = builder.serve_connection(TokioIo::new(stream), service);
            // A client that sends garbage, goes away or stays too long has ended its own connection.
            let _ = tokio::time::timeout(CONNECTION_TIME_MAX, serving).await;
            drop(seat);
        });
    }
}

async fn metrics(State(doors): State<MetricsDoors>) -> Response {
    match tokio::time::timeout(ANSWER_TIMEOUT, state::text(&doors)).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Ok(Err(trouble)) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics could not be written: {trouble}\n")),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the dispatcher does not answer\n"),
    }
}

async fn livez(State(doors): State<MetricsDoors>) -> Response {
    match tokio::time::timeout(ANSWER_TIMEOUT, doors.insight.connections_out()).await {
        Ok(Some(_)) => plain(StatusCode::OK, "alive\n"),
        // A relay that stops ends its dispatcher first, and is no case for a restart.
        Ok(None) if (doors.draining)() => plain(StatusCode::OK, "alive: the relay is stopping\n"),
        Ok(None) => plain(StatusCode::SERVICE_UNAVAILABLE, "the dispatcher has ended: restart the relay\n"),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the dispatcher does not answer: restart the relay\n"),
    }
}

async fn readyz(State(doors): State<MetricsDoors>) -> Response {
    let health = doors.desk.health();
    if (doors.draining)() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "draining: the relay is about to stop\n");
    }
    if let Some(why) = health.poisoned {
        return plain(StatusCode::SERVICE_UNAVAILABLE, format!("poisoned ({why}): nothing is taken until a restart; see the disk first\n"));
    }
    if health.full {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "full: new mail is answered 452 until there is room on the disk\n");
    }
    plain(StatusCode::OK, "ready\n")
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.into()).into_response()
}
