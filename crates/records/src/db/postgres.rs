//! PostgreSQL, for relays that share one registry.
//!
//! **Promises.** One connection, made anew when it was lost; what was under way then is told as unreachable, and never done twice in silence. Every question has
//! [`ANSWER_TIME`].
//!
//! Over a network it speaks under TLS, with a server that proves its name (`sslmode=require`), or in the clear where somebody said so (`sslmode=disable`); a unix
//! socket and loopback need neither.
//!
//! **Does badly.** A client certificate is not shown: users prove themselves by their password (SCRAM), which TLS covers and binds to its channel.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_model::BoxFuture;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Mutex;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::sqlite::told;
use super::{Database, DatabaseTrouble, Row, Statement, Value};

/// How long a question may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A database on a server.
pub struct Postgres {
    config: Config,
    /// How its lines are secured; `None`: they are not.
    tls: Option<MakeRustlsConnect>,
    client: Mutex<Option<Arc<Client>>>,
}

impl Postgres {
    /// Names a server that needs no TLS: `host=/run/postgresql dbname=postrider`. Asks nothing yet.
    ///
    /// # Errors
    /// As [`Self::trusting`].
    pub fn new(url: &str) -> Result<Self, DatabaseTrouble> {
        Self::trusting(url, RootCertStore::empty())
    }

    /// Names the server: `postgresql://user:secret@host/database?sslmode=require`, for one whose certificate leads to one of these roots. Asks nothing yet.
    ///
    /// # Errors
    /// When the text names no server, or one beyond this machine and not whether TLS is to be used.
    pub fn trusting(url: &str, roots: RootCertStore) -> Result<Self, DatabaseTrouble> {
        let mut config: Config =
            url.parse().map_err(|trouble| DatabaseTrouble::Refused(format!("this names no PostgreSQL server: {trouble}")))?;
        config.connect_timeout(ANSWER_TIME).application_name("postrider");
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Some(secured(roots)?),
            SslMode::Disable => None,
            // What is not said is not guessed: an attempt at TLS that falls back is no protection.
            _ => {
                if let Some(host) = config.get_hosts().iter().find_map(beyond_this_machine) {
                    return Err(DatabaseTrouble::Refused(format!(
                        "{host} is reached over a network: say sslmode=require (TLS, and the server proves its name), or sslmode=disable where nobody else is on it"
                    )));
                }
                config.ssl_mode(SslMode::Disable);
                None
            }
        };
        Ok(Self { config, tls, client: Mutex::new(None) })
    }

    /// A line of its own to the server. It ends with the client; what went wrong is told to those who ask.
    async fn connect(&self) -> Result<Client, DatabaseTrouble> {
        match self.tls.clone() {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls).await.map_err(|error| unreachable(&error))?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(|error| unreachable(&error))?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
        }
    }

    async fn client(&self) -> Result<Arc<Client>, DatabaseTrouble> {
        let mut held = self.client.lock().await;
        if let Some(client) = held.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let client = Arc::new(self.connect().await?);
        *held = Some(client.clone());
        Ok(client)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, DatabaseTrouble>>) -> Result<T, DatabaseTrouble> {
        match tokio::time::timeout(ANSWER_TIME, work).await {
            Ok(done) => done,
            Err(_) => {
                // A transaction may be open on this connection: nobody goes on with it.
                *self.client.lock().await = None;
                Err(DatabaseTrouble::Unreachable(format!("no answer within {} s", ANSWER_TIME.as_secs())))
            }
        }
    }

    async fn find_rows(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseTrouble> {
        let client = self.client().await?;
        let rows = client.query(sql, &parameters(values)).await.map_err(|error| trouble(&error))?;
        rows.iter().map(row).collect()
    }

    async fn change_all(&self, statements: &[Statement]) -> Result<Vec<u64>, DatabaseTrouble> {
        // A transaction has its connection for itself: another task's statement must not slip in.
        let mut client = self.connect().await?;
        let transaction = client.transaction().await.map_err(|error| trouble(&error))?;
        let mut changed = Vec::with_capacity(statements.len());
        for Statement { sql, values, expects } in statements {
            let rows = transaction.execute(*sql, &parameters(values)).await.map_err(|error| told(trouble(&error), expects.as_ref()))?;
            if let Some((wanted, otherwise)) = expects
                && rows != *wanted
            {
                return Err(DatabaseTrouble::Conflict(otherwise.clone()));
            }
            changed.push(rows);
        }
        transaction.commit().await.map_err(|error| trouble(&error))?;
        Ok(changed)
    }
}

impl Database for Postgres {
    fn find(&self, sql: &'static str, values: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, DatabaseTrouble>> {
        Box::pin(async move { self.in_time(self.find_rows(sql, &values)).await })
    }

    fn change(&self, statements: Vec<Statement>) -> BoxFuture<'_, Result<Vec<u64>, DatabaseTrouble>> {
        Box::pin(async move { self.in_time(self.change_all(&statements)).await })
    }

    fn define(&self, scripts: Vec<String>) -> BoxFuture<'_, Result<(), DatabaseTrouble>> {
        Box::pin(async move {
            let whole = format!("BEGIN; {} COMMIT", scripts.concat());
            self.in_time(async {
                let client = self.connect().await?;
                client.batch_execute(&whole).await.map_err(|error| trouble(&error))
            })
            .await
        })
    }

    fn octets_type(&self) -> &'static str {
        "BYTEA"
    }
}

/// Lines under TLS, to servers whose certificate leads to one of these roots.
fn secured(roots: RootCertStore) -> Result<MakeRustlsConnect, DatabaseTrouble> {
    if roots.is_empty() {
        return Err(DatabaseTrouble::Refused(
            "sslmode=require needs root certificates: install ca-certificates, or set tls.roots".to_owned(),
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| DatabaseTrouble::Refused(error.to_string()))?;
    Ok(MakeRustlsConnect::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// The name of a host that others than this machine's programs can hear.
fn beyond_this_machine(host: &Host) -> Option<&str> {
    match host {
        Host::Unix(_) => None,
        Host::Tcp(name) if name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) => None,
        Host::Tcp(name) => Some(name),
    }
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn row(found: &tokio_postgres::Row) -> Result<Row, DatabaseTrouble> {
    let columns = found.columns().iter().enumerate().map(|(at, column)| {
        let read = match *column.type_() {
            Type::INT8 => found.try_get::<_, Option<i64>>(at).map(|number| number.map(Value::Integer)),
            Type::BYTEA => found.try_get::<_, Option<Vec<u8>>>(at).map(|octets| octets.map(Value::Octets)),
            _ => found.try_get::<_, Option<String>>(at).map(|text| text.map(Value::Text)),
        };
        read.map(|value| value.unwrap_or(Value::Null)).map_err(|error| DatabaseTrouble::Unexpected(error.to_string()))
    });
    columns.collect::<Result<Vec<Value>, DatabaseTrouble>>().map(Row)
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(number) => number.to_sql_checked(kind, out),
            Value::Text(text) => text.to_sql_checked(kind, out),
            Value::Octets(octets) => octets.to_sql_checked(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn unreachable(error: &tokio_postgres::Error) -> DatabaseTrouble {
    match trouble(error) {
        DatabaseTrouble::Refused(said) => DatabaseTrouble::Unreachable(said),
        other => other,
    }
}

fn trouble(error: &tokio_postgres::Error) -> DatabaseTrouble {
    let Some(said) = error.as_db_error() else { return DatabaseTrouble::Unreachable(whole(error)) };
    let (code, text) = (said.code(), said.message().to_owned());
    match *code {
        SqlState::LOCK_NOT_AVAILABLE | SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE => DatabaseTrouble::Locked,
        SqlState::DISK_FULL => DatabaseTrouble::Full,
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::INSUFFICIENT_PRIVILEGE => DatabaseTrouble::ReadOnly(text),
        SqlState::UNIQUE_VIOLATION | SqlState::FOREIGN_KEY_VIOLATION | SqlState::CHECK_VIOLATION | SqlState::NOT_NULL_VIOLATION => {
            DatabaseTrouble::Conflict(text)
        }
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => DatabaseTrouble::Corrupt(text),
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW | SqlState::TOO_MANY_CONNECTIONS => {
            DatabaseTrouble::Unreachable(text)
        }
        _ => DatabaseTrouble::Refused(format!("{text} ({})", code.code())),
    }
}

/// An error with what caused it.
fn whole(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
