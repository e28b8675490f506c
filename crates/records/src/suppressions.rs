//! Who is not written to any more, in the registry's database.
//!
//! **Promises.** A word is on stable storage when it is told, and counts here at once; one that another relay took, whose database is the same, counts after the next
//! [`SqlSuppressions::refresh`], which the relay calls every second. Memory holds eight octets for each, a fingerprint, so the database is asked only about addresses that are
//! there, or look as if they were; its silence is trouble then, never "written to". Beyond [`FINGERPRINTS_MAX`] memory holds none of them, and the database is asked about everybody.
//!
//! **Does badly.** What was lifted keeps its fingerprint until a restart, and costs a question each time. A start reads all of it.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use postrider_model::doors::{
    SuppressedMailbox, Suppression, SuppressionCause, SuppressionFilter, SuppressionKey, SuppressionTrouble, Suppressions,
};
use postrider_model::{BoxFuture, StreamName, TenantName, Timestamp};
use postrider_smtp::Mailbox;

use crate::db::{Database, DatabaseTrouble, Row, Statement, Value};
use crate::{schema, sha256};

/// Fingerprints in memory: 64 MB of them.
pub const FINGERPRINTS_MAX: usize = 8_000_000;

/// Rows read at once, and suppressions taken over in one transaction: a server has ten seconds for each.
const PAGE: usize = 1_000;

/// Fingerprints that wait to be sorted in, beyond a sixteenth of those that are.
const LATELY_MAX: usize = 4_096;

/// The book of suppressions.
pub struct SqlSuppressions {
    database: Arc<dyn Database>,
    fingerprints_max: usize,
    memory: RwLock<Memory>,
}

/// What is known without asking.
struct Memory {
    /// `None`: there are too many.
    fingerprints: Option<Fingerprints>,
    /// The number of the last word that was read.
    seen: u64,
}

impl SqlSuppressions {
    /// Opens the book that a database holds, making its table where there is none, and reads it.
    ///
    /// # Errors
    /// When the database does not answer, or was made by something this version does not know.
    pub async fn open(database: Arc<dyn Database>) -> Result<Self, DatabaseTrouble> {
        Self::open_within(database, FINGERPRINTS_MAX).await
    }

    /// As [`SqlSuppressions::open`], with at most so many fingerprints in memory.
    ///
    /// # Errors
    /// As [`SqlSuppressions::open`].
    pub async fn open_within(database: Arc<dyn Database>, fingerprints_max: usize) -> Result<Self, DatabaseTrouble> {
        schema::prepare(&*database).await?;
        let memory = RwLock::new(Memory { fingerprints: Some(Fingerprints::default()), seen: 0 });
        let book = Self { database, fingerprints_max, memory };
        book.refresh().await?;
        Ok(book)
    }

    /// Reads what came since the last look, whoever wrote it.
    pub async fn refresh(&self) -> Result<(), DatabaseTrouble> {
        let rows = self.database.find("SELECT suppressions FROM registry WHERE one = 1", Vec::new()).await?;
        let newest = rows.first().ok_or_else(|| DatabaseTrouble::Unexpected("its table registry is empty".to_owned()))?.number(0)?;
        let mut seen = self.read(|memory| memory.seen);
        while seen < newest && self.read(|memory| memory.fingerprints.is_some()) {
            let sql = "SELECT tenant, stream, mailbox, number FROM suppression WHERE number > $1 ORDER BY number LIMIT $2";
            let rows = self.database.find(sql, vec![seen.into(), (PAGE as u64).into()]).await?;
            let mut found = Vec::with_capacity(rows.len());
            for row in &rows {
                found.push(fingerprint(row.text(0)?, row.text(1)?, row.text(2)?));
                seen = row.number(3)?;
            }
            self.remember(found);
            if rows.len() < PAGE {
                break;
            }
        }
        self.change(|memory| memory.seen = memory.seen.max(seen).max(newest));
        Ok(())
    }

    /// Takes over what another book knew, and had told of. What is here already stays as it is, so it may be done twice.
    pub async fn take_over(&self, suppressions: &[Suppression]) -> Result<(), SuppressionTrouble> {
        for page in suppressions.chunks(PAGE) {
            self.database.change(page.iter().flat_map(|one| written(one, true)).collect()).await.map_err(trouble)?;
            self.remember(page.iter().map(fingerprint_of).collect());
        }
        Ok(())
    }

    fn read<T>(&self, look: impl FnOnce(&Memory) -> T) -> T {
        look(&self.memory.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Memory)) {
        change(&mut self.memory.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn remember(&self, found: Vec<u64>) {
        self.change(|memory| {
            let Some(fingerprints) = &mut memory.fingerprints else { return };
            found.into_iter().for_each(|one| fingerprints.add(one));
            if fingerprints.len() > self.fingerprints_max {
                memory.fingerprints = None;
            }
        });
    }

    /// Whether the database has to be asked.
    fn may_know(&self, tenant: &TenantName, stream: &StreamName, mailbox: &SuppressedMailbox) -> bool {
        let wanted = fingerprint(tenant.as_str(), stream.as_str(), mailbox.as_str());
        self.read(|memory| memory.fingerprints.as_ref().is_none_or(|known| known.has(wanted)))
    }

    async fn look(
        &self,
        tenant: &TenantName,
        stream: &StreamName,
        mailbox: &SuppressedMailbox,
    ) -> Result<Option<Suppression>, DatabaseTrouble> {
        let sql = "SELECT tenant, stream, mailbox, since_ms, cause, message, reason FROM suppression \
                   WHERE tenant = $1 AND stream = $2 AND mailbox = $3";
        self.database.find(sql, named(tenant, stream, mailbox)).await?.first().map(suppression).transpose()
    }

    async fn add(&self, suppression: &Suppression) -> Result<bool, DatabaseTrouble> {
        // Who says it again, as mailbox providers do, costs no write.
        let Suppression { tenant, stream, mailbox, .. } = suppression;
        if self.may_know(tenant, stream, mailbox) && self.look(tenant, stream, mailbox).await?.is_some() {
            return Ok(false);
        }
        let changed = self.database.change(written(suppression, false).to_vec()).await?;
        self.remember(vec![fingerprint_of(suppression)]);
        Ok(changed.last() == Some(&1))
    }

    async fn page(
        &self,
        filter: &SuppressionFilter,
        after: Option<&SuppressionKey>,
        max: usize,
    ) -> Result<Vec<Arc<Suppression>>, DatabaseTrouble> {
        let stream = filter.stream.as_ref().map_or("", |stream| stream.as_str());
        let mut values = after.map_or_else(|| vec!["".into(), "".into(), "".into()], |(tenant, stream, to)| named(tenant, stream, to));
        values.extend([Value::from(stream), (max as u64).into()]);
        let rows = match &filter.tenant {
            None => {
                let sql = "SELECT tenant, stream, mailbox, since_ms, cause, message, reason FROM suppression \
                           WHERE (tenant, stream, mailbox) > ($1, $2, $3) AND ($4 = '' OR stream = $4) \
                           ORDER BY tenant, stream, mailbox LIMIT $5";
                self.database.find(sql, values).await?
            }
            Some(tenant) => {
                values.push(tenant.as_str().into());
                let sql = "SELECT tenant, stream, mailbox, since_ms, cause, message, reason FROM suppression \
                           WHERE tenant = $6 AND (tenant, stream, mailbox) > ($1, $2, $3) AND ($4 = '' OR stream = $4) \
                           ORDER BY tenant, stream, mailbox LIMIT $5";
                self.database.find(sql, values).await?
            }
        };
        rows.iter().map(|row| suppression(row).map(Arc::new)).collect()
    }
}

impl Suppressions for SqlSuppressions {
    fn suppress(&self, suppression: Suppression) -> BoxFuture<'_, Result<bool, SuppressionTrouble>> {
        Box::pin(async move { self.add(&suppression).await.map_err(trouble) })
    }

    fn suppressed<'a>(
        &'a self,
        tenant: &'a TenantName,
        stream: &'a StreamName,
        mailbox: &'a SuppressedMailbox,
    ) -> BoxFuture<'a, Result<Option<Arc<Suppression>>, SuppressionTrouble>> {
        if !self.may_know(tenant, stream, mailbox) {
            return Box::pin(std::future::ready(Ok(None)));
        }
        Box::pin(async move { self.look(tenant, stream, mailbox).await.map(|found| found.map(Arc::new)).map_err(trouble) })
    }

    fn are_none(&self) -> bool {
        self.read(|memory| memory.fingerprints.as_ref().is_some_and(|known| known.len() == 0))
    }

    fn list<'a>(
        &'a self,
        filter: &'a SuppressionFilter,
        after: Option<&'a SuppressionKey>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Suppression>>, SuppressionTrouble>> {
        Box::pin(async move { self.page(filter, after, max).await.map_err(trouble) })
    }

    fn lift<'a>(&'a self, key: &'a SuppressionKey) -> BoxFuture<'a, Result<bool, SuppressionTrouble>> {
        let (tenant, stream, mailbox) = key;
        let sql = "DELETE FROM suppression WHERE tenant = $1 AND stream = $2 AND mailbox = $3";
        let statement = Statement::new(sql, named(tenant, stream, mailbox));
        Box::pin(async move { Ok(self.database.change(vec![statement]).await.map_err(trouble)? == [1]) })
    }

    fn untold<'a>(
        &'a self,
        which: Option<&'a SuppressionKey>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Suppression>>, SuppressionTrouble>> {
        Box::pin(async move {
            let rows = match which {
                None => {
                    let sql = "SELECT tenant, stream, mailbox, since_ms, cause, message, reason FROM suppression \
                               WHERE told = 0 ORDER BY number LIMIT $1";
                    self.database.find(sql, vec![(max as u64).into()]).await
                }
                Some((tenant, stream, mailbox)) => {
                    let sql = "SELECT tenant, stream, mailbox, since_ms, cause, message, reason FROM suppression \
                               WHERE tenant = $1 AND stream = $2 AND mailbox = $3 AND told = 0";
                    self.database.find(sql, named(tenant, stream, mailbox)).await
                }
            };
            rows.and_then(|rows| rows.iter().map(|row| suppression(row).map(Arc::new)).collect()).map_err(trouble)
        })
    }

    fn told<'a>(&'a self, key: &'a SuppressionKey) -> BoxFuture<'a, Result<(), SuppressionTrouble>> {
        let (tenant, stream, mailbox) = key;
        let sql = "UPDATE suppression SET told = 1 WHERE tenant = $1 AND stream = $2 AND mailbox = $3";
        let statement = Statement::new(sql, named(tenant, stream, mailbox));
        Box::pin(async move { self.database.change(vec![statement]).await.map(drop).map_err(trouble) })
    }
}

/// What writes one down, under a number of its own that all who hold fingerprints look for. The row of the numbers is locked until the end of the transaction, so nobody
/// sees a number before every smaller one.
fn written(suppression: &Suppression, told: bool) -> [Statement; 2] {
    let Suppression { tenant, stream, mailbox, since, cause, message, reason } = suppression;
    let mut values = named(tenant, stream, mailbox);
    values.extend([since.millis().into(), cause.word().into(), message.map(|id| id.to_string()).into(), (&**reason).into(), told.into()]);
    let sql = "INSERT INTO suppression (tenant, stream, mailbox, since_ms, cause, message, reason, told, number) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, (SELECT suppressions FROM registry WHERE one = 1)) \
               ON CONFLICT (tenant, stream, mailbox) DO NOTHING";
    let counted = "UPDATE registry SET suppressions = suppressions + 1 WHERE one = 1";
    [Statement::new(counted, Vec::new()), Statement::new(sql, values)]
}

fn named(tenant: &TenantName, stream: &StreamName, mailbox: &SuppressedMailbox) -> Vec<Value> {
    vec![tenant.as_str().into(), stream.as_str().into(), mailbox.as_str().into()]
}

fn suppression(row: &Row) -> Result<Suppression, DatabaseTrouble> {
    let mailbox = Mailbox::parse(row.text(2)?).map_err(|_| row.unexpected(2))?;
    Ok(Suppression {
        tenant: TenantName::new(row.text(0)?),
        stream: StreamName::new(row.text(1)?),
        mailbox: SuppressedMailbox::of(&mailbox),
        since: Timestamp::from_millis(row.number(3)?),
        cause: SuppressionCause::of_word(row.text(4)?).ok_or_else(|| row.unexpected(4))?,
        message: row.optional_text(5)?.map(|id| id.parse().map_err(|_| row.unexpected(5))).transpose()?,
        reason: row.text(6)?.into(),
    })
}

fn trouble(trouble: DatabaseTrouble) -> SuppressionTrouble {
    match trouble {
        DatabaseTrouble::Full => SuppressionTrouble::Full(DatabaseTrouble::Full.to_string()),
        other => SuppressionTrouble::Io(other.to_string()),
    }
}

/// Two that have the same cost a question.
fn fingerprint(tenant: &str, stream: &str, mailbox: &str) -> u64 {
    let digest = sha256([tenant, stream, mailbox].join("\0").as_bytes());
    let (first, _) = digest.split_first_chunk().expect("a digest has 32 octets");
    u64::from_le_bytes(*first)
}

fn fingerprint_of(suppression: &Suppression) -> u64 {
    fingerprint(suppression.tenant.as_str(), suppression.stream.as_str(), suppression.mailbox.as_str())
}

/// A set of fingerprints that takes little more than eight octets for each.
#[derive(Default)]
struct Fingerprints {
    sorted: Vec<u64>,
    /// Those that came since.
    lately: BTreeSet<u64>,
}

impl Fingerprints {
    fn len(&self) -> usize {
        self.sorted.len() + self.lately.len()
    }

    fn has(&self, wanted: u64) -> bool {
        self.sorted.binary_search(&wanted).is_ok() || self.lately.contains(&wanted)
    }

    fn add(&mut self, one: u64) {
        if self.has(one) {
            return;
        }
        self.lately.insert(one);
        if self.lately.len() > LATELY_MAX + self.sorted.len() / 16 {
            let lately = std::mem::take(&mut self.lately);
            self.sorted.reserve_exact(lately.len());
            self.sorted.extend(lately);
            self.sorted.sort_unstable();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fingerprint_is_found_however_many_there_are() {
        let mut known = Fingerprints::default();
        let spread = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for number in 0..30_000 {
            assert!(!known.has(spread(number)), "{number}");
            known.add(spread(number));
            known.add(spread(number / 2));
        }
        assert_eq!(known.len(), 30_000);
        assert!((0..30_000).all(|number| known.has(spread(number))) && !known.has(spread(30_000)));
        assert!(known.sorted.len() > 20_000 && known.sorted.capacity() < 40_000, "{}", known.sorted.capacity());
    }

    #[test]
    fn what_is_told_apart_has_another_fingerprint() {
        let all = [("a", "b", "c@d"), ("a", "bc", "@d"), ("ab", "", "c@d"), ("", "ab", "c@d")];
        let distinct: BTreeSet<u64> = all.iter().map(|(tenant, stream, mailbox)| fingerprint(tenant, stream, mailbox)).collect();
        assert_eq!(distinct.len(), all.len());
    }
}
