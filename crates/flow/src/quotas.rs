//! The counts of smart hosts' limits, for all who send, and on stable storage before they are used (`core::quota`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postrider_core::quota::{self, Full, Quota, Taken};
use postrider_core::shape::{Hold, HoldReason};
use postrider_model::Timestamp;
use postrider_model::doors::Notebook;
use postrider_model::policy::{QuotaLimits, SmartHost};

/// The counts, by smart host.
pub(crate) struct Quotas {
    counts: Mutex<BTreeMap<String, Quota>>,
    notebook: Option<Arc<dyn Notebook>>,
    /// Who takes; a reservation is kept before the next asks.
    turn: tokio::sync::Mutex<()>,
}

/// Why nothing was taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// The limit is reached.
    Full(Full),
    /// The count could not be kept.
    NotKept(String),
}

impl Quotas {
    /// The counts as the notebook has them. What cannot be read is said; it was judged at the start already.
    pub(crate) fn new(notebook: Option<Arc<dyn Notebook>>) -> Self {
        let kept = notebook.as_ref().map(|notebook| quota::parse(notebook.text())).and_then(Result::ok);
        Self { counts: Mutex::new(kept.unwrap_or_default()), notebook, turn: tokio::sync::Mutex::default() }
    }

    /// Whether the limits of an hour and a day let so many through now. The limit of a second only slows down, and is met when something is taken.
    pub(crate) fn check(&self, host: &SmartHost, recipients: u32, now: Timestamp) -> Result<(), Full> {
        let limits = QuotaLimits { per_second: None, ..host.quota };
        self.counts().get(&host.name).map_or(Ok(()), |quota| quota.check(&limits, recipients, now))
    }

    /// What holds mail when none of the smart hosts takes any; `None` while one does.
    pub(crate) fn hold(&self, hosts: &[Arc<SmartHost>], recipients: u32, now: Timestamp) -> Option<Hold> {
        let mut first: Option<(Full, &str)> = None;
        for host in hosts {
            let full = self.check(host, recipients, now).err()?;
            if first.is_none_or(|(before, _)| full.until < before.until) {
                first = Some((full, &host.name));
            }
        }
        first.map(|(full, name)| hold(&full, name, now))
    }

    /// Takes so many from a smart host's limits. When it returns `Ok`, they are counted whatever crashes.
    pub(crate) async fn take(&self, host: &SmartHost, recipients: u32, now: Timestamp) -> Result<(), NotTaken> {
        if host.quota == QuotaLimits::default() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let (text, before) = {
            let mut counts = self.counts();
            let quota = counts.entry(host.name.clone()).or_default();
            let before = quota.clone();
            match quota.take(&host.quota, recipients, now).map_err(NotTaken::Full)? {
                Taken::Go => return Ok(()),
                Taken::Keep => (text(&counts), before),
            }
        };
        let Some(notebook) = &self.notebook else { return Ok(()) };
        match notebook.write(text).await {
            Ok(()) => Ok(()),
            Err(why) => {
                self.counts().insert(host.name.clone(), before);
                Err(NotTaken::NotKept(why))
            }
        }
    }

    /// The relay ends in good order: what was reserved and not used is free.
    pub(crate) async fn close(&self) {
        let _turn = self.turn.lock().await;
        let text = {
            let mut counts = self.counts();
            counts.values_mut().for_each(Quota::give_back);
            text(&counts)
        };
        if let Some(notebook) = self.notebook.as_ref().filter(|notebook| notebook.text() != text) {
            // When it is not kept, what stands there counts more than was sent, never less.
            let _ = notebook.write(text).await;
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, Quota>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(counts: &BTreeMap<String, Quota>) -> String {
    counts.iter().map(|(name, quota)| quota.text(name)).collect()
}

fn hold(full: &Full, name: &str, now: Timestamp) -> Hold {
    Hold { reason: HoldReason::Quota { host: name.to_owned(), span: full.span.word(), max: full.max }, since: now, until: Some(full.until) }
}
