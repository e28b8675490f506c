//! Credentials: who may send as a tenant.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use postrider_model::{CredentialName, StreamName, TenantName, Timestamp};

use super::{Book, optional_time, time, worded};
use crate::db::{DatabaseTrouble, Row, Statement, Value};
use crate::sha256;
use crate::words::{Worded, read_word};

/// A credential, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRecord {
    /// The user of AUTH.
    pub user: CredentialName,
    /// Whose mail.
    pub tenant: TenantName,
    /// Which class.
    pub stream: StreamName,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// Where it is good; empty: anywhere.
    pub networks: Vec<IpNet>,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// Whether it is good at all.
    pub state: CredentialState,
    /// Why it is in this state; may be empty.
    pub why: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute or so.
    pub last_used_at: Option<Timestamp>,
    /// From where.
    pub last_used_from: Option<String>,
}

/// Whether a credential is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialState {
    /// It is.
    Active,
    /// It is, slowly: its use jumped far beyond what it was, and a person has to look.
    Braked,
    /// It is not, and never will be again.
    Revoked,
}

impl Worded for CredentialState {
    const WORDS: &'static [(&'static str, Self)] =
        &[("active", CredentialState::Active), ("braked", CredentialState::Braked), ("revoked", CredentialState::Revoked)];
}

/// What a credential is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Handing mail over.
    Send,
    /// Looking at what became of it; there is nobody to ask yet but the control socket, which asks for no credential.
    Read,
}

impl Worded for Scope {
    const WORDS: &'static [(&'static str, Self)] = &[("send", Scope::Send), ("read", Scope::Read)];
}

/// A credential to make.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// Whose mail.
    pub tenant: TenantName,
    /// Which class.
    pub stream: StreamName,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// Where it is good; empty: anywhere.
    pub networks: Vec<IpNet>,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// What people call it; may be empty.
    pub note: String,
}

/// A credential that was made. The secret is shown once.
#[derive(Debug, Clone)]
pub struct Made {
    /// The user of AUTH.
    pub user: CredentialName,
    /// The password of AUTH.
    pub secret: String,
}

/// A credential as a proof meets it.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub record: CredentialRecord,
    pub secret_sha256: [u8; 32],
}

impl CredentialRecord {
    /// Whether it is good for this now, from there.
    pub fn is_good(&self, scope: Scope, peer: IpAddr, now: Timestamp) -> bool {
        let here = self.networks.is_empty() || self.networks.iter().any(|network| network.contains(&peer.to_canonical()));
        here && self.scopes.contains(&scope) && self.state != CredentialState::Revoked && self.expires_at.is_none_or(|end| now < end)
    }
}

impl Book {
    /// Makes a credential with 260 random bits for its secret: letters and digits alone, so that no shell and no option parser takes it for something else.
    pub async fn add_credential(&self, new: &NewCredential) -> Result<Made, DatabaseTrouble> {
        let secret = self.letters(52);
        let user = format!("pk-{}", self.letters(20));
        let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.word()).collect();
        let networks: Vec<String> = new.networks.iter().map(ToString::to_string).collect();
        let values = vec![
            user.clone().into(),
            Value::Octets(sha256(secret.as_bytes()).to_vec()),
            new.tenant.as_str().into(),
            new.stream.as_str().into(),
            scopes.join(" ").into(),
            networks.join(" ").into(),
            new.expires_at.map(Timestamp::millis).into(),
            new.note.clone().into(),
            self.now().millis().into(),
        ];
        let sql = "INSERT INTO credential (user_name, secret_sha256, tenant, stream, scopes, networks, expires_ms, state, why, created_ms) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $9)";
        let absent = format!("there is no stream {} of a tenant {}; postrider tenant list shows them", new.stream, new.tenant);
        self.change(vec![Statement::one(sql, values, absent)]).await?;
        Ok(Made { user: CredentialName::new(&user), secret })
    }

    /// All credentials, or a tenant's.
    pub async fn credentials(&self, tenant: Option<&TenantName>) -> Result<Vec<CredentialRecord>, DatabaseTrouble> {
        let rows = match tenant {
            Some(tenant) => {
                let sql = "SELECT user_name, secret_sha256, tenant, stream, scopes, networks, expires_ms, state, why, created_ms, last_used_ms, \
                           last_used_from FROM credential WHERE tenant = $1 ORDER BY created_ms, user_name";
                self.database.find(sql, vec![tenant.as_str().into()]).await?
            }
            None => {
                let sql = "SELECT user_name, secret_sha256, tenant, stream, scopes, networks, expires_ms, state, why, created_ms, last_used_ms, \
                           last_used_from FROM credential ORDER BY tenant, created_ms, user_name";
                self.database.find(sql, Vec::new()).await?
            }
        };
        rows.iter().map(|row| credential(row).map(|found| found.record)).collect()
    }

    /// The credential of this user.
    pub(crate) async fn credential(&self, user: &str) -> Result<Option<Credential>, DatabaseTrouble> {
        let sql = "SELECT user_name, secret_sha256, tenant, stream, scopes, networks, expires_ms, state, why, created_ms, last_used_ms, \
                   last_used_from FROM credential WHERE user_name = $1";
        self.database.find(sql, vec![user.into()]).await?.first().map(credential).transpose()
    }

    /// Changes whether a credential is good. One that was revoked stays so.
    pub async fn set_credential(&self, user: &CredentialName, state: CredentialState, why: &str) -> Result<(), DatabaseTrouble> {
        let sql = "UPDATE credential SET state = $2, why = $3 WHERE user_name = $1 AND state <> 'revoked'";
        let absent = format!("there is no credential {user}, or it was revoked: postrider key list shows them");
        self.change(vec![Statement::one(sql, vec![user.as_str().into(), state.word().into(), why.into()], absent)]).await
    }

    /// Brakes a credential of the configuration file, or says anew why.
    pub async fn brake_of_file(&self, user: &CredentialName, why: &str) -> Result<(), DatabaseTrouble> {
        let sql =
            "INSERT INTO brake (user_name, why, braked_ms) VALUES ($1, $2, $3) ON CONFLICT (user_name) DO UPDATE SET why = excluded.why";
        let values = vec![user.as_str().into(), why.into(), self.clock.now().millis().into()];
        self.change(vec![Statement::new(sql, values)]).await
    }

    /// Lets a credential of the configuration file go on at its own pace.
    pub async fn release_of_file(&self, user: &CredentialName) -> Result<(), DatabaseTrouble> {
        let sql = "DELETE FROM brake WHERE user_name = $1";
        self.change(vec![Statement::one(sql, vec![user.as_str().into()], format!("the credential {user} is not braked"))]).await
    }

    /// The credentials of the configuration file that are braked, and why.
    pub async fn brakes_of_file(&self) -> Result<BTreeMap<CredentialName, Box<str>>, DatabaseTrouble> {
        let rows = self.database.find("SELECT user_name, why FROM brake", Vec::new()).await?;
        rows.iter().map(|row| Ok((CredentialName::new(row.text(0)?), row.text(1)?.into()))).collect()
    }

    /// Notes when and from where credentials were last used. That changes nothing that is held in memory, so it does not count.
    pub async fn note_use(&self, uses: &[(CredentialName, Timestamp, IpAddr)]) -> Result<(), DatabaseTrouble> {
        let sql = "UPDATE credential SET last_used_ms = $2, last_used_from = $3 WHERE user_name = $1";
        let statements = uses.iter().map(|(user, at, peer)| {
            Statement::new(sql, vec![user.as_str().into(), at.millis().into(), peer.to_canonical().to_string().into()])
        });
        self.database.change(statements.collect()).await.map(drop)
    }
}

fn credential(row: &Row) -> Result<Credential, DatabaseTrouble> {
    let words = |column| Ok::<_, DatabaseTrouble>(row.text(column)?.split_whitespace());
    let networks = words(5)?.map(|text| text.parse().map_err(|_| row.unexpected(5))).collect::<Result<_, _>>()?;
    let record = CredentialRecord {
        user: CredentialName::new(row.text(0)?),
        tenant: TenantName::new(row.text(2)?),
        stream: StreamName::new(row.text(3)?),
        scopes: words(4)?.map(|word| read_word(word).map_err(|_| row.unexpected(4))).collect::<Result<_, _>>()?,
        networks,
        expires_at: optional_time(row, 6)?,
        state: worded(row, 7)?,
        why: row.text(8)?.to_owned(),
        created_at: time(row, 9)?,
        last_used_at: optional_time(row, 10)?,
        last_used_from: row.optional_text(11)?.map(str::to_owned),
    };
    let secret_sha256 = row.octets(1)?.try_into().map_err(|_| row.unexpected(1))?;
    Ok(Credential { record, secret_sha256 })
}
