//! A word of silence: into the book of suppressions, then into the journal, then to whoever said it.
//!
//! **Promises.** Order: the book, which counts from then on; the journal; the mark in the book that the journal has it; the answer. Trouble before the journal has it is told, and
//! whoever said the word comes again. A crash between leaves a word that counts and was not told: it is told when it is said again, or within a minute of the next start.
//! Only a crash between the journal and the mark tells it a second time, with the same instant. Said at once by many, it is told once.
//!
//! **Does badly.** Relays that share one book share what was not told: when one starts in the instant in which another tells, both do.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use postrider_model::doors::{MailLog, Spool, SpoolTrouble, Suppressing, Suppression, SuppressionKey, SuppressionTrouble, Suppressions};
use postrider_model::{BoxFuture, Notice};
use tokio::sync::{Mutex, MutexGuard};

/// Words at once that do not wait for each other, unless they are about one address.
const TURNS: usize = 64;

/// How often is looked for what was not told.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Of them at once.
const PAGE: usize = 100;

/// Takes words of silence.
pub struct Silence {
    book: Arc<dyn Suppressions>,
    spool: Arc<dyn Spool>,
    log: Arc<dyn MailLog>,
    turns: [Mutex<()>; TURNS],
    /// What the journal has, and the book has no mark of: it did not answer. Told again by the next life at most.
    unmarked: std::sync::Mutex<BTreeSet<SuppressionKey>>,
}

impl Silence {
    /// One that writes into this book and the journal of this spool.
    pub fn new(book: Arc<dyn Suppressions>, spool: Arc<dyn Spool>, log: Arc<dyn MailLog>) -> Self {
        Self { book, spool, log, turns: std::array::from_fn(|_| Mutex::default()), unmarked: std::sync::Mutex::default() }
    }

    /// Tells of what an earlier life, or trouble, left untold; for ever.
    pub async fn tell_the_rest(&self) {
        loop {
            // Trouble is told by whoever is asked for mail; here it only means later.
            let _ = self.tell_some().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn tell_some(&self) -> Result<(), SuppressionTrouble> {
        loop {
            let some = self.book.untold(None, PAGE).await?;
            for one in &some {
                let key = one.key();
                let _turn = self.turn(&key).await;
                self.tell_if_untold(&key, None).await?;
            }
            if some.len() < PAGE {
                return Ok(());
            }
        }
    }

    async fn turn(&self, key: &SuppressionKey) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.turns[(hasher.finish() % TURNS as u64) as usize].lock().await
    }

    async fn tell_if_untold(&self, key: &SuppressionKey, peer: Option<IpAddr>) -> Result<(), SuppressionTrouble> {
        match self.book.untold(Some(key), 1).await?.pop() {
            Some(_) if self.unmarked().contains(key) => {
                self.mark(key).await;
                Ok(())
            }
            Some(suppression) => self.tell(suppression, peer).await,
            None => Ok(()),
        }
    }

    async fn tell(&self, suppression: Arc<Suppression>, peer: Option<IpAddr>) -> Result<(), SuppressionTrouble> {
        let notice = Notice::Suppressed { suppression: suppression.clone(), peer };
        self.spool.note(notice).await.map_err(|trouble| match trouble {
            SpoolTrouble::Full => SuppressionTrouble::Full(trouble.to_string()),
            other => SuppressionTrouble::Io(other.to_string()),
        })?;
        self.log.suppressed(&suppression, peer);
        let key = suppression.key();
        self.unmarked().insert(key.clone());
        self.mark(&key).await;
        Ok(())
    }

    fn unmarked(&self) -> std::sync::MutexGuard<'_, BTreeSet<SuppressionKey>> {
        self.unmarked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks what the journal has. When the book does not answer, it is marked later; only a crash until then tells it again.
    async fn mark(&self, key: &SuppressionKey) {
        if self.book.told(key).await.is_ok() {
            self.unmarked().remove(key);
        }
    }

    async fn take(&self, suppression: Suppression, peer: Option<IpAddr>) -> Result<bool, SuppressionTrouble> {
        let key = suppression.key();
        let _turn = self.turn(&key).await;
        let is_fresh = self.book.suppress(suppression.clone()).await?;
        match is_fresh {
            true => self.tell(Arc::new(suppression), peer).await?,
            false => self.tell_if_untold(&key, peer).await?,
        }
        Ok(is_fresh)
    }
}

impl Suppressing for Silence {
    fn suppress(&self, suppression: Suppression, peer: Option<IpAddr>) -> BoxFuture<'_, Result<bool, SuppressionTrouble>> {
        Box::pin(self.take(suppression, peer))
    }
}
