//! Suspending and resuming Sites, tenants and Sources.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use postrider_model::doors::{Suspended, Suspension};
use postrider_model::{SiteName, SourceName, TenantName};

use crate::change::reason;
use crate::doors::ControlDoors;
use crate::trouble::Refusal;
use crate::wire;

pub(crate) async fn list(State(doors): State<ControlDoors>) -> Json<wire::Suspensions> {
    Json(shown(&doors))
}

pub(crate) async fn suspend(
    State(doors): State<ControlDoors>,
    Json(asked): Json<wire::Suspend>,
) -> Result<Json<wire::Suspensions>, Refusal> {
    let now = doors.clock.now();
    if asked.seconds == Some(0) {
        return Err(Refusal::bad("a suspension of no time suspends nothing"));
    }
    let until = asked.seconds.map(|seconds| now.after(Duration::from_secs(seconds)));
    let suspension = Suspension { what: target(&asked.target)?, since: now, until, reason: reason(&asked.reason)?.into() };
    change(&doors, move |book| book.suspend(suspension)).await?;
    Ok(Json(shown(&doors)))
}

pub(crate) async fn resume(State(doors): State<ControlDoors>, Json(asked): Json<wire::Target>) -> Result<Json<wire::Suspensions>, Refusal> {
    let what = target(&asked)?;
    change(&doors, move |book| book.resume(&what)).await?;
    Ok(Json(shown(&doors)))
}

/// The book writes to the disk, and waits for it.
async fn change(
    doors: &ControlDoors,
    change: impl FnOnce(&dyn crate::SuspensionBook) -> Result<(), String> + Send + 'static,
) -> Result<(), Refusal> {
    let book: Arc<dyn crate::SuspensionBook> = doors.suspensions.clone();
    let changed = tokio::task::spawn_blocking(move || change(&*book)).await;
    changed.unwrap_or_else(|_| Err("a fault of ours".to_owned())).map_err(Refusal::unacceptable)
}

fn target(target: &wire::Target) -> Result<Suspended, Refusal> {
    if target.name.is_empty() {
        return Err(Refusal::bad("a name is missing"));
    }
    match target.kind.as_str() {
        "site" => Ok(Suspended::Site(SiteName::new(&target.name))),
        "tenant" => Ok(Suspended::Tenant(TenantName::new(&target.name))),
        "source" => Ok(Suspended::Source(SourceName::new(&target.name))),
        other => Err(Refusal::bad(format!("{other:?} cannot be suspended: a site, a tenant or a source can"))),
    }
}

fn shown(doors: &ControlDoors) -> wire::Suspensions {
    let now = doors.clock.now();
    let in_force = doors.suspensions.list().into_iter().filter(|suspension| suspension.until.is_none_or(|until| until > now));
    let suspended = in_force.map(|Suspension { what, since, until, reason }| {
        let (kind, name) = match what {
            Suspended::Site(name) => ("site", name.to_string()),
            Suspended::Tenant(name) => ("tenant", name.to_string()),
            Suspended::Source(name) => ("source", name.to_string()),
        };
        let until = until.map(|until| until.to_string());
        wire::Suspension { kind: kind.to_owned(), name, since: since.to_string(), until, reason: reason.to_string() }
    });
    wire::Suspensions { suspended: suspended.collect() }
}
