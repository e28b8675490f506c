//! Tenants and their streams.

use std::time::Duration;

use postrider_model::policy::{Preparing, Stream, StreamClass, Strictness};
use postrider_model::{Priority, StreamName, TenantName, Timestamp};

use super::{Book, time, worded};
use crate::db::{DatabaseTrouble, Row, Statement, Value};
use crate::words::Worded;

/// Whose mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRecord {
    /// Its name.
    pub name: TenantName,
    /// It speaks for proven domains of its own alone.
    pub own_domains_only: bool,
    /// Whether it may send.
    pub state: TenantState,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Whether a tenant may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantState {
    /// It may.
    Active,
    /// Nobody gets in with its credentials; mail that was accepted goes on.
    Suspended,
}

impl Worded for TenantState {
    const WORDS: &'static [(&'static str, Self)] = &[("active", TenantState::Active), ("suspended", TenantState::Suspended)];
}

/// A stream, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its name.
    pub name: StreamName,
    /// What holds for it.
    pub stream: Stream,
}

impl StreamRecord {
    /// The two that every tenant begins with: what somebody waits for, and what many get.
    pub fn first_two() -> [StreamRecord; 2] {
        let preparing = Preparing { own_return_path: true, one_click: false, feedback_id: true, strips: Vec::new() };
        let transactional = Stream { preparing: preparing.clone(), strictness: Strictness::Warn, ..Stream::default() };
        let bulk = Stream {
            class: StreamClass::Bulk,
            priority: Priority::Low,
            preparing: Preparing { one_click: true, ..preparing },
            ..transactional.clone()
        };
        let named = |name: &str, stream| StreamRecord { name: StreamName::new(name), stream };
        [named("transactional", transactional), named("bulk", bulk)]
    }
}

impl Book {
    /// Adds a tenant with the two streams that each begins with.
    pub async fn add_tenant(&self, name: &TenantName, own_domains_only: bool) -> Result<(), DatabaseTrouble> {
        let sends_as = if own_domains_only { "own_domains" } else { "anybody" };
        let taken = format!("there is a tenant {name} already");
        let mut statements = vec![Statement::one(
            "INSERT INTO tenant (name, sends_as, state, created_ms) VALUES ($1, $2, 'active', $3)",
            vec![name.as_str().into(), sends_as.into(), self.now().millis().into()],
            taken,
        )];
        statements.extend(StreamRecord::first_two().iter().zip(0..).map(|(stream, place)| put_stream(name, stream, place)));
        self.change(statements).await
    }

    /// All tenants, by name.
    pub async fn tenants(&self) -> Result<Vec<TenantRecord>, DatabaseTrouble> {
        let rows = self.database.find("SELECT name, sends_as, state, created_ms FROM tenant ORDER BY name", Vec::new()).await?;
        rows.iter().map(tenant).collect()
    }

    /// One tenant.
    pub async fn tenant(&self, name: &TenantName) -> Result<Option<TenantRecord>, DatabaseTrouble> {
        let sql = "SELECT name, sends_as, state, created_ms FROM tenant WHERE name = $1";
        self.database.find(sql, vec![name.as_str().into()]).await?.first().map(tenant).transpose()
    }

    /// Lets a tenant send, or not; and as whom.
    pub async fn set_tenant(&self, name: &TenantName, state: TenantState, own_domains_only: bool) -> Result<(), DatabaseTrouble> {
        let sends_as = if own_domains_only { "own_domains" } else { "anybody" };
        let sql = "UPDATE tenant SET state = $2, sends_as = $3 WHERE name = $1";
        let values = vec![name.as_str().into(), state.word().into(), sends_as.into()];
        self.change(vec![Statement::one(sql, values, no_tenant(name))]).await
    }

    /// Removes a tenant that has neither credentials nor domains any more.
    pub async fn remove_tenant(&self, name: &TenantName) -> Result<(), DatabaseTrouble> {
        let held = format!("{name} still has credentials or domains: remove them first, or suspend the tenant");
        let values = || vec![name.as_str().into()];
        self.change(vec![
            Statement {
                expects: Some((0, held.clone())),
                ..Statement::new("UPDATE credential SET tenant = tenant WHERE tenant = $1", values())
            },
            Statement { expects: Some((0, held)), ..Statement::new("UPDATE domain SET tenant = tenant WHERE tenant = $1", values()) },
            Statement::new("DELETE FROM allowance WHERE tenant = $1", values()),
            Statement::new("DELETE FROM stream WHERE tenant = $1", values()),
            Statement::one("DELETE FROM tenant WHERE name = $1", values(), no_tenant(name)),
        ])
        .await
    }

    /// Adds a stream, or changes the one of that name.
    pub async fn put_stream(&self, tenant: &TenantName, stream: &StreamRecord) -> Result<(), DatabaseTrouble> {
        let known = self.streams(tenant).await?;
        if known.is_empty() && self.tenant(tenant).await?.is_none() {
            return Err(DatabaseTrouble::Conflict(no_tenant(tenant)));
        }
        let place = known.iter().position(|other| other.name == stream.name).unwrap_or(known.len());
        self.change(vec![put_stream(tenant, stream, place as u64)]).await
    }

    /// A tenant's streams; the first is what holds where none is named.
    pub async fn streams(&self, tenant: &TenantName) -> Result<Vec<StreamRecord>, DatabaseTrouble> {
        let sql = "SELECT class, priority, pool, give_up_after_s, retention_s, own_return_path, one_click, feedback_id, strips, rules, name \
                   FROM stream WHERE tenant = $1 ORDER BY place, name";
        let rows = self.database.find(sql, vec![tenant.as_str().into()]).await?;
        rows.iter().map(|row| stream(row, row.text(10)?)).collect()
    }

    /// The streams that name a pool, with its name, by tenant and stream.
    pub async fn pooled(&self) -> Result<Vec<(TenantName, StreamName, Box<str>)>, DatabaseTrouble> {
        let sql = "SELECT tenant, name, pool FROM stream WHERE pool IS NOT NULL ORDER BY tenant, name";
        let rows = self.database.find(sql, Vec::new()).await?;
        rows.iter().map(|row| Ok((TenantName::new(row.text(0)?), StreamName::new(row.text(1)?), row.text(2)?.into()))).collect()
    }

    /// Whether any stream keeps its mail when it is done.
    pub(crate) async fn retains(&self) -> Result<bool, DatabaseTrouble> {
        let rows = self.database.find("SELECT COUNT(*) FROM stream WHERE retention_s IS NOT NULL", Vec::new()).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.number(0))? > 0)
    }

    /// A number for what [`Book::pooled`] gives; zero for nothing.
    pub(crate) async fn pools(&self) -> Result<u64, DatabaseTrouble> {
        let pooled = self.pooled().await?;
        Ok(number_of_pools(pooled.iter().map(|(tenant, stream, pool)| (tenant, stream, &**pool))))
    }

    /// One stream.
    pub async fn stream(&self, tenant: &TenantName, name: &StreamName) -> Result<Option<StreamRecord>, DatabaseTrouble> {
        let sql = "SELECT class, priority, pool, give_up_after_s, retention_s, own_return_path, one_click, feedback_id, strips, rules \
                   FROM stream WHERE tenant = $1 AND name = $2";
        let rows = self.database.find(sql, vec![tenant.as_str().into(), name.as_str().into()]).await?;
        rows.first().map(|row| stream(row, name.as_str())).transpose()
    }

    /// Removes a stream that no credential uses. Mail that was accepted under its name goes on with the defaults.
    pub async fn remove_stream(&self, tenant: &TenantName, name: &StreamName) -> Result<(), DatabaseTrouble> {
        let values = || vec![Value::from(tenant.as_str()), name.as_str().into()];
        let used = Statement {
            expects: Some((0, format!("credentials still use the stream {name}: remove them first"))),
            ..Statement::new("UPDATE credential SET stream = stream WHERE tenant = $1 AND stream = $2", values())
        };
        let gone = Statement::one("DELETE FROM stream WHERE tenant = $1 AND name = $2", values(), format!("{tenant} has no stream {name}"));
        self.change(vec![used, gone]).await
    }
}

/// A number for these streams and the pools that they name, in this order: the same for the same; zero for none.
pub fn number_of_pools<'a>(pooled: impl Iterator<Item = (&'a TenantName, &'a StreamName, &'a str)>) -> u64 {
    let mut text = String::new();
    for (tenant, stream, pool) in pooled {
        // No name holds a space or a line's end.
        text.extend([tenant.as_str(), " ", stream.as_str(), " ", pool, "\n"]);
    }
    if text.is_empty() {
        return 0;
    }
    let [a, b, c, d, e, f, g, h, ..] = crate::sha256(text.as_bytes());
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1)
}

pub(super) fn no_tenant(name: &TenantName) -> String {
    format!("there is no tenant {name}; add it with: postrider tenant add {name}")
}

fn tenant(row: &Row) -> Result<TenantRecord, DatabaseTrouble> {
    let own_domains_only = match row.text(1)? {
        "own_domains" => true,
        "anybody" => false,
        _ => return Err(row.unexpected(1)),
    };
    let name = TenantName::new(row.text(0)?);
    Ok(TenantRecord { name, own_domains_only, state: worded(row, 2)?, created_at: time(row, 3)? })
}

fn stream(row: &Row, name: &str) -> Result<StreamRecord, DatabaseTrouble> {
    let seconds = |column| Ok::<_, DatabaseTrouble>(row.optional_number(column)?.map(Duration::from_secs));
    let flag = |column| Ok::<_, DatabaseTrouble>(row.number(column)? != 0);
    let stream = Stream {
        class: worded(row, 0)?,
        priority: worded(row, 1)?,
        pool: row.optional_text(2)?.map(Into::into),
        give_up_after: seconds(3)?,
        retention: seconds(4)?,
        preparing: Preparing {
            own_return_path: flag(5)?,
            one_click: flag(6)?,
            feedback_id: flag(7)?,
            strips: row.text(8)?.split_whitespace().map(Into::into).collect(),
        },
        strictness: worded(row, 9)?,
    };
    Ok(StreamRecord { name: StreamName::new(name), stream })
}

fn put_stream(tenant: &TenantName, record: &StreamRecord, place: u64) -> Statement {
    let Stream { class, priority, pool, give_up_after, retention, preparing, strictness } = &record.stream;
    let values = vec![
        tenant.as_str().into(),
        record.name.as_str().into(),
        place.into(),
        class.word().into(),
        priority.word().into(),
        pool.as_deref().into(),
        give_up_after.map(|time| time.as_secs()).into(),
        retention.map(|time| time.as_secs()).into(),
        preparing.own_return_path.into(),
        preparing.one_click.into(),
        preparing.feedback_id.into(),
        preparing.strips.join(" ").into(),
        strictness.word().into(),
    ];
    let sql = "INSERT INTO stream (tenant, name, place, class, priority, pool, give_up_after_s, retention_s, own_return_path, one_click, \
               feedback_id, strips, rules) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
               ON CONFLICT (tenant, name) DO UPDATE SET class = excluded.class, priority = excluded.priority, pool = excluded.pool, \
               give_up_after_s = excluded.give_up_after_s, retention_s = excluded.retention_s, own_return_path = excluded.own_return_path, \
               one_click = excluded.one_click, feedback_id = excluded.feedback_id, strips = excluded.strips, rules = excluded.rules";
    Statement::one(sql, values, no_tenant(tenant))
}
