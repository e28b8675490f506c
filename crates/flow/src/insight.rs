//! What holds a delivery: the spool's view, the schedule's, and the Site's, put together by `core::explain`.

use std::sync::Arc;

use postrider_core::explain;
use postrider_model::doors::{Clock, Insight, SiteView, SpoolDesk, Suspended, Waiting};
use postrider_model::{BoxFuture, MessageId, SiteName};
use tokio::sync::{mpsc, oneshot};

use crate::dispatch::{Command, SiteFacts};

/// Asks the dispatcher and the desk.
pub(crate) struct RelayInsight {
    commands: mpsc::UnboundedSender<Command>,
    desk: Arc<dyn SpoolDesk>,
    clock: Arc<dyn Clock>,
}

impl RelayInsight {
    pub(crate) fn new(commands: mpsc::UnboundedSender<Command>, desk: Arc<dyn SpoolDesk>, clock: Arc<dyn Clock>) -> Self {
        Self { commands, desk, clock }
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
