//! The tables, and how an older database becomes this one.
//!
//! Names are kept, never resolved settings. Times are milliseconds since the epoch. A word that this version does not know is trouble, not a default.

use crate::db::{Database, DatabaseTrouble};

/// The form of the tables that this version writes.
const FORMAT: u64 = 1;

/// What makes form 1 out of nothing. `{octets}` is what the engine calls octets.
const FIRST: &str = "
CREATE TABLE registry (one BIGINT PRIMARY KEY, format BIGINT NOT NULL, version BIGINT NOT NULL);
CREATE TABLE tenant (
    name TEXT PRIMARY KEY, sends_as TEXT NOT NULL, state TEXT NOT NULL, created_ms BIGINT NOT NULL);
CREATE TABLE stream (
    tenant TEXT NOT NULL REFERENCES tenant (name), name TEXT NOT NULL, place BIGINT NOT NULL, class TEXT NOT NULL, priority TEXT NOT NULL,
    pool TEXT, give_up_after_s BIGINT, retention_s BIGINT, own_return_path BIGINT NOT NULL, one_click BIGINT NOT NULL,
    feedback_id BIGINT NOT NULL, strips TEXT NOT NULL, rules TEXT NOT NULL, PRIMARY KEY (tenant, name));
CREATE TABLE domain (
    tenant TEXT NOT NULL REFERENCES tenant (name), name TEXT NOT NULL, token TEXT NOT NULL, return_path TEXT NOT NULL,
    proven_ms BIGINT, return_path_ready_ms BIGINT, created_ms BIGINT NOT NULL, PRIMARY KEY (tenant, name));
CREATE INDEX domain_by_name ON domain (name);
CREATE INDEX domain_by_return_path ON domain (return_path);
CREATE TABLE dkim_key (
    tenant TEXT NOT NULL, domain TEXT NOT NULL, selector TEXT NOT NULL, algorithm TEXT NOT NULL, sealed {octets} NOT NULL,
    record TEXT NOT NULL, state TEXT NOT NULL, created_ms BIGINT NOT NULL, changed_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, domain, selector), FOREIGN KEY (tenant, domain) REFERENCES domain (tenant, name));
CREATE TABLE credential (
    user_name TEXT PRIMARY KEY, secret_sha256 {octets} NOT NULL, tenant TEXT NOT NULL, stream TEXT NOT NULL, scopes TEXT NOT NULL,
    networks TEXT NOT NULL, expires_ms BIGINT, state TEXT NOT NULL, why TEXT NOT NULL, created_ms BIGINT NOT NULL,
    last_used_ms BIGINT, last_used_from TEXT, FOREIGN KEY (tenant, stream) REFERENCES stream (tenant, name));
CREATE INDEX credential_by_tenant ON credential (tenant);
CREATE TABLE allowance (
    tenant TEXT NOT NULL REFERENCES tenant (name), credential TEXT NOT NULL, messages_per_second BIGINT, messages_per_hour BIGINT,
    messages_per_day BIGINT, recipients_per_second BIGINT, recipients_per_hour BIGINT, recipients_per_day BIGINT,
    recipients_per_message BIGINT, message_octets BIGINT, beyond TEXT NOT NULL, PRIMARY KEY (tenant, credential));
CREATE TABLE meter (holder TEXT PRIMARY KEY, counts TEXT NOT NULL);
INSERT INTO registry (one, format, version) VALUES (1, 1, 1);
";

/// Whether the tables are there.
const IS_THERE_SQLITE: &str = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'registry'";
const IS_THERE_POSTGRES: &str =
    "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'registry'";

/// Makes the tables where there are none, and looks whether they are of a form that this version knows.
pub(crate) async fn prepare(database: &dyn Database) -> Result<(), DatabaseTrouble> {
    let octets = database.octets_type();
    let question = if octets == "BLOB" { IS_THERE_SQLITE } else { IS_THERE_POSTGRES };
    let is_there = |rows: Vec<crate::db::Row>| rows.first().map_or(Ok(0), |row| row.number(0));
    if is_there(database.find(question, Vec::new()).await?)? == 0 {
        let made = database.define(vec![FIRST.replace("{octets}", octets)]).await;
        // Two programs may have begun at once: the second finds what the first made.
        if made.is_err() && is_there(database.find(question, Vec::new()).await?)? == 0 {
            return made;
        }
    }
    let rows = database.find("SELECT format FROM registry WHERE one = 1", Vec::new()).await?;
    match rows.first().map(|row| row.number(0)).transpose()? {
        Some(FORMAT) => Ok(()),
        Some(other) => Err(DatabaseTrouble::Unexpected(format!(
            "its tables have form {other}, and this version knows form {FORMAT}; use the version that made them"
        ))),
        None => Err(DatabaseTrouble::Unexpected("its table registry is empty".to_owned())),
    }
}
