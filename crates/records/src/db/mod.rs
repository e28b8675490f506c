//! The thin facade over the two engines: statements with `$1`, `$2`, ... and the common subset of their SQL.
//!
//! **Promises.** [`Database::change`] is one transaction: all of it is on stable storage when it returns `Ok`, or nothing of it happened. A statement that says how many
//! rows it changes and changes another number undoes the whole ([`DatabaseTrouble::Conflict`]). Trouble is sorted by what mends it.
//!
//! **Never** has a statement made of text from outside: all values go as parameters.

mod postgres;
mod sqlite;

pub use postgres::Postgres;
pub use sqlite::Sqlite;

use postrider_model::BoxFuture;

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// BIGINT.
    Integer(i64),
    /// TEXT.
    Text(String),
    /// BLOB, BYTEA.
    Octets(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Integer(i64::from(flag))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// With `$1`, `$2`, ...
    pub sql: &'static str,
    /// In their order.
    pub values: Vec<Value>,
    /// How many rows it has to change, and what is told when it does not.
    pub expects: Option<(u64, String)>,
}

impl Statement {
    /// A statement that may change any number of rows.
    pub fn new(sql: &'static str, values: Vec<Value>) -> Self {
        Self { sql, values, expects: None }
    }

    /// It has to change one row; `otherwise` is told when it does not.
    pub fn one(sql: &'static str, values: Vec<Value>, otherwise: impl Into<String>) -> Self {
        Self { sql, values, expects: Some((1, otherwise.into())) }
    }
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// A text that is there.
    pub fn text(&self, column: usize) -> Result<&str, DatabaseTrouble> {
        self.optional_text(column)?.ok_or_else(|| self.unexpected(column))
    }

    /// A text, or NULL.
    pub fn optional_text(&self, column: usize) -> Result<Option<&str>, DatabaseTrouble> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(self.unexpected(column)),
        }
    }

    /// A number that is there.
    pub fn number(&self, column: usize) -> Result<u64, DatabaseTrouble> {
        self.optional_number(column)?.ok_or_else(|| self.unexpected(column))
    }

    /// A number, or NULL.
    pub fn optional_number(&self, column: usize) -> Result<Option<u64>, DatabaseTrouble> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Ok(Some(u64::try_from(*number).map_err(|_| self.unexpected(column))?)),
            Some(Value::Null) => Ok(None),
            _ => Err(self.unexpected(column)),
        }
    }

    /// Octets that are there.
    pub fn octets(&self, column: usize) -> Result<&[u8], DatabaseTrouble> {
        match self.0.get(column) {
            Some(Value::Octets(octets)) => Ok(octets),
            _ => Err(self.unexpected(column)),
        }
    }

    /// What stands there is not what this version writes.
    pub fn unexpected(&self, column: usize) -> DatabaseTrouble {
        DatabaseTrouble::Unexpected(format!("column {column} of a row holds something that this version does not write"))
    }
}

/// Why the database did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseTrouble {
    /// Somebody else writes, and does not end.
    #[error("the database is locked by another program")]
    Locked,
    /// No room.
    #[error("the disk that holds the database is full")]
    Full,
    /// It may be read only.
    #[error("the database may only be read: {0}")]
    ReadOnly(String),
    /// It is no database, or a broken one.
    #[error("the database is corrupt: {0}")]
    Corrupt(String),
    /// It cannot be reached.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// What was asked contradicts what is there; the sentence says how.
    #[error("{0}")]
    Conflict(String),
    /// It holds what this version does not write.
    #[error("the database holds something unknown: {0}")]
    Unexpected(String),
    /// Anything else.
    #[error("the database refuses: {0}")]
    Refused(String),
}

/// An engine.
pub trait Database: Send + Sync {
    /// The rows that a statement finds.
    fn find(&self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, DatabaseTrouble>>;

    /// Does all of it or nothing. Gives the rows that each statement changed.
    fn change(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<u64>, DatabaseTrouble>>;

    /// Makes tables; each text may hold several statements. Done in one transaction.
    fn define(&self, scripts: Vec<String>) -> BoxFuture<'_, Result<(), DatabaseTrouble>>;

    /// How this engine calls octets.
    fn octets_type(&self) -> &'static str;

    /// Copies the database to a file that is not there yet, while it is used; `None` where an engine has ways of its own for that.
    fn copy_to(&self, _file: &std::path::Path) -> Option<BoxFuture<'_, Result<(), DatabaseTrouble>>> {
        None
    }
}
