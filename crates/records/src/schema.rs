//! The tables, and how an older database becomes this one.
//!
//! Names are kept, never resolved settings. Times are milliseconds since the epoch. A word that this version does not know is trouble, not a default.

use crate::db::{Database, DatabaseTrouble};

/// The form of the tables that this version writes.
const FORMAT: u64 = 3;

/// What makes form 1 out of nothing. `{octets}` is what the engine calls octets, `{ordered}` what makes it compare texts by their octets.
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

/// What makes each later form out of the one before it.
const LATER: &[&str] = &[
    // Form 2: who is not written to. What holds fingerprints of them reads those whose number is new.
    "
ALTER TABLE registry ADD COLUMN suppressions BIGINT NOT NULL DEFAULT 0;
CREATE TABLE suppression (
    tenant TEXT {ordered} NOT NULL, stream TEXT {ordered} NOT NULL, mailbox TEXT {ordered} NOT NULL, since_ms BIGINT NOT NULL,
    cause TEXT NOT NULL, message TEXT, reason TEXT NOT NULL, number BIGINT NOT NULL, told BIGINT NOT NULL,
    PRIMARY KEY (tenant, stream, mailbox));
CREATE INDEX suppression_by_number ON suppression (number);
CREATE INDEX suppression_untold ON suppression (number) WHERE told = 0;
UPDATE registry SET format = 2;
",
    // Form 3: credentials of the configuration file that go slowly. Those of the registry say so themselves.
    "
CREATE TABLE brake (user_name TEXT PRIMARY KEY, why TEXT NOT NULL, braked_ms BIGINT NOT NULL);
UPDATE registry SET format = 3;
",
];

/// Whether the tables are there.
const IS_THERE_SQLITE: &str = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'registry'";
const IS_THERE_POSTGRES: &str =
    "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'registry'";

/// Makes the tables where there are none, brings older ones to the form of this version, and looks whether they are of a form that it knows.
pub(crate) async fn prepare(database: &dyn Database) -> Result<(), DatabaseTrouble> {
    let is_sqlite = database.octets_type() == "BLOB";
    let (question, ordered) = if is_sqlite { (IS_THERE_SQLITE, "") } else { (IS_THERE_POSTGRES, "COLLATE \"C\"") };
    let spelled = |script: &&str| script.replace("{octets}", database.octets_type()).replace("{ordered}", ordered);
    let is_there = |rows: Vec<crate::db::Row>| rows.first().map_or(Ok(0), |row| row.number(0));
    // Two programs may have begun at once: the second finds what the first made.
    if is_there(database.find(question, Vec::new()).await?)? == 0 {
        let made = database.define([FIRST].iter().chain(LATER).map(spelled).collect()).await;
        if made.is_err() && is_there(database.find(question, Vec::new()).await?)? == 0 {
            return made;
        }
    }
    let found = format(database).await?;
    if (1..FORMAT).contains(&found) {
        let brought = database.define(LATER.iter().skip(found as usize - 1).map(spelled).collect()).await;
        if brought.is_err() && format(database).await? != FORMAT {
            return brought;
        }
    }
    match format(database).await? {
        FORMAT => Ok(()),
        other => Err(DatabaseTrouble::Unexpected(format!(
            "its tables have form {other}, and this version knows form {FORMAT}; use the version that made them"
        ))),
    }
}

async fn format(database: &dyn Database) -> Result<u64, DatabaseTrouble> {
    let rows = database.find("SELECT format FROM registry WHERE one = 1", Vec::new()).await?;
    rows.first().ok_or_else(|| DatabaseTrouble::Unexpected("its table registry is empty".to_owned()))?.number(0)
}
