//! What holds a delivery: the spool's view, the schedule's, and the Site's, put together by `core::explain`.

use std::sync::Arc;

use postrider_core::explain;
use postrider_model::doors::{Clock, Insight, SiteView, SpoolDesk, Waiting};
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
