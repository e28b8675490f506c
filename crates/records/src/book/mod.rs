//! The registry, read and written by people and programs that run the relay.

mod allowances;
mod credentials;
mod domains;
mod tenants;

pub(crate) use credentials::Credential;
pub use credentials::{CredentialRecord, CredentialState, Made, NewCredential, Scope};
pub use domains::{DomainRecord, Found, KeyRecord, KeyState};
pub use tenants::{StreamRecord, TenantRecord, TenantState, number_of_pools};

use std::sync::Arc;

use postrider_model::Timestamp;
use postrider_model::doors::{Clock, Entropy};

use crate::db::{Database, DatabaseTrouble, Row, Statement};
use crate::schema;
use crate::seal::Seal;
use crate::words::{Worded, read_word};

/// Counts a change, so that those who hold things in memory look again.
const COUNTED: &str = "UPDATE registry SET version = version + 1 WHERE one = 1";

/// The registry.
pub struct Book {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) seal: Seal,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Book {
    /// Opens the registry that a database holds, making its tables where there are none.
    ///
    /// # Errors
    /// When the database does not answer, or was made by something this version does not know.
    pub async fn open(
        database: Arc<dyn Database>,
        seal: Seal,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, DatabaseTrouble> {
        schema::prepare(&*database).await?;
        Ok(Self { database, seal, clock, entropy })
    }

    /// The database, for what stands beside the registry in it.
    pub fn database(&self) -> &Arc<dyn Database> {
        &self.database
    }

    /// How often the registry was changed. What was read before stays true while this stays the same.
    pub async fn version(&self) -> Result<u64, DatabaseTrouble> {
        let rows = self.database.find("SELECT version FROM registry WHERE one = 1", Vec::new()).await?;
        rows.first().ok_or_else(|| DatabaseTrouble::Unexpected("its table registry is empty".to_owned()))?.number(0)
    }

    /// Whether no private key is kept.
    pub async fn has_no_keys(&self) -> Result<bool, DatabaseTrouble> {
        let rows = self.database.find("SELECT COUNT(*) FROM dkim_key", Vec::new()).await?;
        rows.first().map_or(Ok(true), |row| Ok(row.number(0)? == 0))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Changes the registry, and counts it.
    async fn change(&self, mut statements: Vec<Statement>) -> Result<(), DatabaseTrouble> {
        statements.push(Statement::new(COUNTED, Vec::new()));
        self.database.change(statements).await.map(drop)
    }

    /// Letters that nobody can guess, of `a-z2-7`, five bits each.
    fn letters(&self, count: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut octets = vec![0; count];
        self.entropy.fill(&mut octets);
        octets.into_iter().map(|octet| char::from(ALPHABET[usize::from(octet & 31)])).collect()
    }
}

/// A word of a column.
pub(crate) fn worded<T: Worded>(row: &Row, column: usize) -> Result<T, DatabaseTrouble> {
    read_word(row.text(column)?).map_err(DatabaseTrouble::Unexpected)
}

pub(crate) fn time(row: &Row, column: usize) -> Result<Timestamp, DatabaseTrouble> {
    row.number(column).map(Timestamp::from_millis)
}

pub(crate) fn optional_time(row: &Row, column: usize) -> Result<Option<Timestamp>, DatabaseTrouble> {
    Ok(row.optional_number(column)?.map(Timestamp::from_millis))
}
