//! SQLite, on a thread of its own.
//!
//! **Promises.** A change is synced before it is told (`synchronous=FULL`, write-ahead log). Another program that writes is waited for, for [`LOCK_TIME`].

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use postrider_model::BoxFuture;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{Database, DatabaseTrouble, Row, Statement, Value};

/// How long another program's transaction is waited for.
const LOCK_TIME: Duration = Duration::from_secs(5);

/// Questions that may wait for the thread; more wait before they are put.
const WAITING_MAX: usize = 1_024;

/// Statements that stay compiled.
const STATEMENTS_KEPT: usize = 64;

type Answer<T> = oneshot::Sender<Result<T, DatabaseTrouble>>;

enum Job {
    Find(&'static str, Vec<Value>, Answer<Vec<Row>>),
    Change(Vec<Statement>, Answer<Vec<u64>>),
    Define(Vec<String>, Answer<()>),
    Copy(PathBuf, Answer<()>),
}

/// A database in a file.
pub struct Sqlite {
    /// Until the database is closed.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Sqlite {
    /// Waits for what was asked: the last to close the file puts its write-ahead log into it.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Sqlite {
    /// Opens the file, making it for its owner alone when it is not there. Blocks.
    ///
    /// # Errors
    /// When it cannot be opened, is no database, or may only be read.
    pub fn open(file: &Path) -> Result<Self, DatabaseTrouble> {
        Self::open_within(file, LOCK_TIME)
    }

    /// As [`Sqlite::open`]; another program's transaction is waited for so long.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub fn open_within(file: &Path, lock_time: Duration) -> Result<Self, DatabaseTrouble> {
        let connection = connect(file, lock_time).map_err(trouble)?;
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let started = std::thread::Builder::new().name("records".to_owned()).spawn(move || serve(connection, waiting));
        let thread = started.map_err(|trouble| DatabaseTrouble::Unreachable(trouble.to_string()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, DatabaseTrouble> {
        let gone = || DatabaseTrouble::Unreachable("its thread has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        self.jobs.as_ref().ok_or_else(gone)?.send(job(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Database for Sqlite {
    fn find(&self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, DatabaseTrouble>> {
        Box::pin(self.ask(move |answer| Job::Find(sql, values, answer)))
    }

    fn change(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<u64>, DatabaseTrouble>> {
        Box::pin(self.ask(move |answer| Job::Change(statements, answer)))
    }

    fn define(&self, scripts: Vec<String>) -> BoxFuture<'_, Result<(), DatabaseTrouble>> {
        Box::pin(self.ask(move |answer| Job::Define(scripts, answer)))
    }

    fn octets_type(&self) -> &'static str {
        "BLOB"
    }

    fn copy_to(&self, file: &Path) -> Option<BoxFuture<'_, Result<(), DatabaseTrouble>>> {
        let file = file.to_owned();
        Some(Box::pin(self.ask(move |answer| Job::Copy(file, answer))))
    }
}

fn connect(file: &Path, lock_time: Duration) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(lock_time)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // A file that may only be read is found out now, not when a key is to be revoked.
    connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
    Ok(connection)
}

/// Does one job after the other, until nobody can ask any more. Whoever no longer waits gets no answer.
fn serve(mut connection: Connection, mut waiting: mpsc::Receiver<Job>) {
    while let Some(job) = waiting.blocking_recv() {
        match job {
            Job::Find(sql, values, answer) => drop(answer.send(find(&connection, sql, &values).map_err(trouble))),
            Job::Change(statements, answer) => drop(answer.send(change(&mut connection, &statements))),
            Job::Define(scripts, answer) => drop(answer.send(define(&mut connection, &scripts).map_err(trouble))),
            Job::Copy(file, answer) => {
                let copied = connection.execute("VACUUM INTO ?1", [file.to_string_lossy()]).map(drop);
                drop(answer.send(copied.map_err(trouble)));
            }
        }
    }
}

fn find(connection: &Connection, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(&numbered(sql))?;
    let columns = statement.column_count();
    let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
        (0..columns).map(|column| Ok(value(row.get_ref(column)?))).collect::<rusqlite::Result<Vec<Value>>>().map(Row)
    })?;
    rows.collect()
}

fn change(connection: &mut Connection, statements: &[Statement]) -> Result<Vec<u64>, DatabaseTrouble> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(trouble)?;
    let mut changed = Vec::with_capacity(statements.len());
    for Statement { sql, values, expects } in statements {
        let rows = transaction
            .prepare_cached(&numbered(sql))
            .and_then(|mut statement| statement.execute(rusqlite::params_from_iter(values)))
            .map_err(|error| told(trouble(error), expects.as_ref()))?;
        let rows = rows as u64;
        if let Some((wanted, otherwise)) = expects
            && rows != *wanted
        {
            return Err(DatabaseTrouble::Conflict(otherwise.clone()));
        }
        changed.push(rows);
    }
    transaction.commit().map_err(trouble)?;
    Ok(changed)
}

/// A constraint that the statement expected to hold is told in the statement's words.
pub(super) fn told(trouble: DatabaseTrouble, expects: Option<&(u64, String)>) -> DatabaseTrouble {
    match (trouble, expects) {
        (DatabaseTrouble::Conflict(_), Some((_, otherwise))) => DatabaseTrouble::Conflict(otherwise.clone()),
        (other, _) => other,
    }
}

fn define(connection: &mut Connection, scripts: &[String]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    scripts.iter().try_for_each(|script| transaction.execute_batch(script))?;
    transaction.commit()
}

/// SQLite numbers its parameters with a question mark.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        // No column of ours holds one; whoever reads the row says so.
        ValueRef::Real(number) => Value::Text(number.to_string()),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(octets) => Value::Octets(octets.to_vec()),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Octets(octets) => ValueRef::Blob(octets),
        }))
    }
}

fn trouble(error: rusqlite::Error) -> DatabaseTrouble {
    let said = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseTrouble::Locked,
        Some(ErrorCode::DiskFull) => DatabaseTrouble::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => DatabaseTrouble::ReadOnly(said),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => DatabaseTrouble::Corrupt(said),
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => DatabaseTrouble::Unreachable(said),
        Some(ErrorCode::ConstraintViolation) => DatabaseTrouble::Conflict(said),
        _ => DatabaseTrouble::Refused(said),
    }
}
