//! What holds a delivery: the spool's view, the schedule's, and the Site's, put together by `core::explain`; and what its stream has done to a message.

use std::sync::{Arc, Mutex, PoisonError};

use postrider_core::explain;
use postrider_core::local::{self, Resolved};
use postrider_model::doors::{Clock, Insight, Opened, SiteView, SpoolDesk, Suspended, Waiting};
use postrider_model::policy::Snapshot;
use postrider_model::{BoxFuture, MessageId, Recipient, SiteName};
use tokio::sync::{mpsc, oneshot};

use crate::Doors;
use crate::dispatch::{Command, SiteFacts};
use crate::pools;
use crate::prepared::{Prepared, Way};
use crate::relay::Current;

/// Asks the dispatcher and the desk.
pub(crate) struct RelayInsight {
    commands: mpsc::UnboundedSender<Command>,
    desk: Arc<dyn SpoolDesk>,
    clock: Arc<dyn Clock>,
    doors: Doors,
    current: Arc<Mutex<Current>>,
}

impl RelayInsight {
    pub(crate) fn new(
        commands: mpsc::UnboundedSender<Command>,
        desk: Arc<dyn SpoolDesk>,
        doors: Doors,
        current: Arc<Mutex<Current>>,
    ) -> Self {
        Self { commands, desk, clock: doors.clock.clone(), doors, current }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).snapshot.clone()
    }

    async fn plan(&self, message: MessageId) -> Vec<String> {
        let Ok(Opened { message, content }) = self.doors.spool.open(message).await else { return Vec::new() };
        let snapshot = self.snapshot();
        let leaves = |recipient: &Recipient| matches!(local::resolve(&snapshot.routing, &recipient.mailbox), Resolved::Foreign);
        let way = if message.recipients.iter().any(leaves) { Way::Out } else { Way::InHouse };
        match Prepared::of(&self.doors, &snapshot, &message, content, way).await {
            Ok((prepared, _)) => prepared.map_or_else(Vec::new, |prepared| prepared.words(&message)),
            Err(trouble) => vec![trouble.to_string()],
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, received) = oneshot::channel();
        self.commands.send(command(answer)).ok()?;
        received.await.ok()
    }

    async fn site(&self, name: SiteName) -> Option<SiteFacts> {
        self.ask(|answer| Command::Sites(Some(name), answer)).await?.pop()
    }
}

impl Insight for RelayInsight {
    fn explain(&self, message: MessageId) -> BoxFuture<'_, Vec<(u32, Waiting)>> {
        Box::pin(async move {
            let Ok((_, deliveries)) = self.desk.show(message).await else { return Vec::new() };
            let ahead = self.ask(|answer| Command::Position(message, answer)).await.flatten();
            let suspensions = self.ask(Command::Suspended).await.unwrap_or_default();
            let mut explained = Vec::with_capacity(deliveries.len());
            for (view, diagnosis) in deliveries {
                let facts = match &view.site {
                    Some(site) => self.site(site.clone()).await,
                    None => None,
                };
                let now = self.clock.now();
                let suspended = [Some(Suspended::Tenant(view.tenant.clone())), view.site.clone().map(Suspended::Site)];
                let suspended = suspended.iter().flatten().find_map(|what| suspensions.hold(what, now));
                let hold = suspended.as_ref().or(facts.as_ref().and_then(|facts| facts.hold.as_ref()));
                let known = explain::Facts { view: &view, diagnosis: diagnosis.as_ref(), hold, ahead };
                explained.push((view.id.index, explain::waiting(&known, now)));
            }
            explained
        })
    }

    fn prepared(&self, message: MessageId) -> BoxFuture<'_, Vec<String>> {
        Box::pin(self.plan(message))
    }

    fn sources(&self, message: MessageId) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            let Ok(Opened { message, .. }) = self.doors.spool.open(message).await else { return Vec::new() };
            pools::words(&self.doors, &self.snapshot(), &message).await
        })
    }

    fn connections_out(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(self.ask(Command::Connections))
    }

    fn sites(&self) -> BoxFuture<'_, Vec<SiteView>> {
        Box::pin(async move {
            let facts = self.ask(|answer| Command::Sites(None, answer)).await.unwrap_or_default();
            facts.into_iter().map(|facts| facts.view).collect()
        })
    }
}
