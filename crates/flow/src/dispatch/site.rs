//! What the dispatcher knows of a Site, a host, and a worker.

use std::collections::BTreeSet;
use std::sync::Arc;

use postrider_core::shape::{Hold, Permit, Route};
use postrider_model::policy::Provider;
use postrider_model::{Parcel, SiteName, Timestamp};
use tokio::sync::mpsc;

use crate::connect::Hop;
use crate::deliver::WorkerId;

/// Where a recipient host's mail goes (to several Sites when its rules ask for more than the host), and until when that may be believed.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    pub(crate) sites: Vec<SiteName>,
    pub(crate) expires: Timestamp,
}

/// A Site with mail, or with workers.
pub(crate) struct SiteState {
    pub(crate) hop: Hop,
    /// The rules for it, by the present Snapshot.
    pub(crate) provider: Arc<Provider>,
    /// Recipient hosts placed here. A Site is known as long as there is one.
    pub(crate) hosts: usize,
    /// The spool holds more for it that is due, and nobody else will tell us.
    pub(crate) claimed: bool,
    pub(crate) workers: BTreeSet<WorkerId>,
    /// What holds it, for `explain`.
    pub(crate) hold: Option<Hold>,
    /// Why its last failed attempt failed.
    pub(crate) last_trouble: Option<String>,
    /// Which Source is asked first for the next connection.
    pub(crate) turn: usize,
}

impl SiteState {
    pub(crate) fn new(hop: Hop, provider: Arc<Provider>) -> Self {
        Self { hop, provider, hosts: 0, claimed: false, workers: BTreeSet::new(), hold: None, last_trouble: None, turn: 0 }
    }
}

/// A worker, from outside.
pub(crate) struct WorkerState {
    pub(crate) route: Route,
    pub(crate) permit: Option<Permit>,
    /// Dropped to let it go.
    pub(crate) jobs: Option<mpsc::UnboundedSender<Parcel>>,
    /// Parcels sent to it and not settled.
    pub(crate) outstanding: u32,
}
