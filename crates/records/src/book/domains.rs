//! Sending domains and the keys that sign for them.
//!
//! **Promises.** A new key signs nothing before the DNS was seen to serve it ([`Book::found`]); then it takes over, and the one before it retires. So no signature
//! names a record that is not there. Keys come in pairs (RSA and Ed25519) under one of two names, `a` and `b`, in turn.

use postrider_mail::dkim::{Algorithm, SigningKey};
use postrider_mail::suffix;
use postrider_model::{TenantName, Timestamp};
use postrider_smtp::Domain;

use super::tenants::no_tenant;
use super::{Book, optional_time, time, worded};
use crate::db::{DatabaseTrouble, Row, Statement, Value};
use crate::words::Worded;

/// How long a retired key's record stays in the DNS, and so its name is not given to another: mail under way was signed with it.
const RETIRED_KEPT_MS: u64 = 7 * 86_400_000;

/// A domain that a tenant sends from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRecord {
    /// Whose.
    pub tenant: TenantName,
    /// Itself.
    pub name: Domain,
    /// What its TXT record has to hold to prove that it is the tenant's.
    pub token: String,
    /// The domain below it whose mail comes back to us.
    pub return_path: Domain,
    /// When the proof was found.
    pub proven_at: Option<Timestamp>,
    /// When the records of the return path were found.
    pub return_path_ready_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Its keys, by selector.
    pub keys: Vec<KeyRecord>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its name in the DNS.
    pub selector: String,
    /// `rsa-sha256` or `ed25519-sha256`.
    pub algorithm: String,
    /// What the record has to say.
    pub record: String,
    /// What it is used for.
    pub state: KeyState,
    /// Since when.
    pub changed_at: Timestamp,
}

/// What a key is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It waits for the DNS to serve its record.
    Next,
    /// It signs.
    Active,
    /// It has signed; its record stays for mail under way.
    Retired,
}

impl Worded for KeyState {
    const WORDS: &'static [(&'static str, Self)] =
        &[("next", KeyState::Next), ("active", KeyState::Active), ("retired", KeyState::Retired)];
}

/// What the DNS was seen to serve for a domain. Only what was answered counts: a look-up that failed says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Its token (or a key of its own) was there.
    pub owned: bool,
    /// The return path's MX and SPF records were there; `None`: not known.
    pub return_path_ready: Option<bool>,
    /// Keys whose records are served as they should be.
    pub selectors_served: Vec<String>,
}

impl Book {
    /// Adds a domain with its first pair of keys, which wait for the DNS. A public suffix is nobody's. Takes a fifth of a second: an RSA key is made.
    pub async fn add_domain(&self, tenant: &TenantName, name: &Domain) -> Result<DomainRecord, DatabaseTrouble> {
        let ascii = name.to_ascii().to_string();
        if suffix::is_public(&ascii) {
            return Err(DatabaseTrouble::Conflict(format!(
                "{name} is a public suffix, below which everybody has a domain of his own; add the domain below it that is yours, such as yours.{name}"
            )));
        }
        if self.domain(tenant, name).await?.is_some() {
            return Err(DatabaseTrouble::Conflict(format!("{tenant} has the domain {name} already: postrider domain show {name}")));
        }
        if self.tenant(tenant).await?.is_none() {
            return Err(DatabaseTrouble::Conflict(no_tenant(tenant)));
        }
        let return_path = format!("bounce.{ascii}");
        if Domain::parse(&return_path).is_err() {
            return Err(DatabaseTrouble::Conflict(format!("{name} is too long to have a return path below it")));
        }
        let mut statements = vec![Statement::one(
            "INSERT INTO domain (tenant, name, token, return_path, created_ms) VALUES ($1, $2, $3, $4, $5)",
            vec![tenant.as_str().into(), ascii.into(), self.letters(32).into(), return_path.into(), self.now().millis().into()],
            format!("{tenant} has the domain {name} already"),
        )];
        statements.extend(self.new_pair(tenant, name, "a").await?);
        self.change(statements).await?;
        self.domain(tenant, name).await?.ok_or_else(|| DatabaseTrouble::Unexpected("what was added is not there".to_owned()))
    }

    /// All domains, or a tenant's, by name.
    pub async fn domains(&self, tenant: Option<&TenantName>) -> Result<Vec<DomainRecord>, DatabaseTrouble> {
        let rows = match tenant {
            Some(tenant) => {
                let sql = "SELECT tenant, name, token, return_path, proven_ms, return_path_ready_ms, created_ms FROM domain WHERE tenant = $1 ORDER BY name";
                self.database.find(sql, vec![tenant.as_str().into()]).await?
            }
            None => {
                let sql = "SELECT tenant, name, token, return_path, proven_ms, return_path_ready_ms, created_ms FROM domain ORDER BY name, tenant";
                self.database.find(sql, Vec::new()).await?
            }
        };
        let mut domains = rows.iter().map(domain).collect::<Result<Vec<_>, _>>()?;
        for domain in &mut domains {
            domain.keys = self.keys_of(&domain.tenant, &domain.name).await?;
        }
        Ok(domains)
    }

    /// One domain of a tenant.
    pub async fn domain(&self, tenant: &TenantName, name: &Domain) -> Result<Option<DomainRecord>, DatabaseTrouble> {
        let sql = "SELECT tenant, name, token, return_path, proven_ms, return_path_ready_ms, created_ms FROM domain WHERE tenant = $1 AND name = $2";
        let rows = self.database.find(sql, vec![tenant.as_str().into(), name.to_ascii().into_owned().into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut found = domain(row)?;
        found.keys = self.keys_of(tenant, name).await?;
        Ok(Some(found))
    }

    /// Whether some tenant's mail comes back to this domain.
    pub async fn is_return_path(&self, name: &Domain) -> Result<bool, DatabaseTrouble> {
        let sql = "SELECT COUNT(*) FROM domain WHERE return_path = $1 AND proven_ms IS NOT NULL";
        let rows = self.database.find(sql, vec![name.to_ascii().into_owned().into()]).await?;
        rows.first().map_or(Ok(false), |row| Ok(row.number(0)? > 0))
    }

    /// Removes a domain with its keys. Mail that waits is not signed by it any more, and is refused from now on.
    pub async fn remove_domain(&self, tenant: &TenantName, name: &Domain) -> Result<(), DatabaseTrouble> {
        let values = || vec![tenant.as_str().into(), name.to_ascii().into_owned().into()];
        self.change(vec![
            Statement::new("DELETE FROM dkim_key WHERE tenant = $1 AND domain = $2", values()),
            Statement::one("DELETE FROM domain WHERE tenant = $1 AND name = $2", values(), no_domain(tenant, name)),
        ])
        .await
    }

    /// Makes the next pair of keys. It takes over when the DNS serves it.
    pub async fn rotate_domain(&self, tenant: &TenantName, name: &Domain) -> Result<DomainRecord, DatabaseTrouble> {
        let found = self.domain(tenant, name).await?.ok_or_else(|| DatabaseTrouble::Conflict(no_domain(tenant, name)))?;
        if let Some(next) = found.keys.iter().find(|key| key.state == KeyState::Next) {
            let waits =
                format!("{} waits for the DNS already; publish its record, which this shows: postrider domain show {name}", next.selector);
            return Err(DatabaseTrouble::Conflict(waits));
        }
        let of = |letter: &'static str| found.keys.iter().filter(move |key| key.selector.starts_with(&format!("postrider-{letter}-")));
        let free = ["a", "b"].into_iter().find(|letter| {
            of(letter).all(|key| key.state == KeyState::Retired && key.changed_at.millis() + RETIRED_KEPT_MS <= self.now().millis())
        });
        let Some(letter) = free else {
            let soon = "the keys before these retired less than 7 days ago, and mail under way may need their records: try again later";
            return Err(DatabaseTrouble::Conflict(soon.to_owned()));
        };
        let like = format!("postrider-{letter}-%");
        let gone = "DELETE FROM dkim_key WHERE tenant = $1 AND domain = $2 AND selector LIKE $3 AND state = 'retired'";
        let mut statements = vec![Statement::new(gone, vec![tenant.as_str().into(), name.to_ascii().into_owned().into(), like.into()])];
        statements.extend(self.new_pair(tenant, name, letter).await?);
        self.change(statements).await?;
        self.domain(tenant, name).await?.ok_or_else(|| DatabaseTrouble::Conflict(no_domain(tenant, name)))
    }

    /// Notes what the DNS serves: a proof is found once and stays, the return path comes and goes, and a key whose record is served takes over. Gives whether
    /// anything changed.
    pub async fn found(&self, tenant: &TenantName, name: &Domain, found: &Found) -> Result<bool, DatabaseTrouble> {
        let Some(known) = self.domain(tenant, name).await? else { return Ok(false) };
        let now = self.now().millis();
        let key = || vec![Value::from(tenant.as_str()), name.to_ascii().into_owned().into()];
        let with = |more: Value| {
            let mut values = key();
            values.push(more);
            values
        };
        let mut statements = Vec::new();
        if found.owned && known.proven_at.is_none() {
            statements.push(Statement::new("UPDATE domain SET proven_ms = $3 WHERE tenant = $1 AND name = $2", with(now.into())));
        }
        if let Some(ready) = found.return_path_ready
            && ready != known.return_path_ready_at.is_some()
        {
            let sql = "UPDATE domain SET return_path_ready_ms = $3 WHERE tenant = $1 AND name = $2";
            statements.push(Statement::new(sql, with(ready.then_some(now).into())));
        }
        // A pair takes over together: both kinds of verifiers are served.
        let next: Vec<&KeyRecord> = known.keys.iter().filter(|key| key.state == KeyState::Next).collect();
        if !next.is_empty() && next.iter().all(|key| found.selectors_served.contains(&key.selector)) {
            let retire = "UPDATE dkim_key SET state = 'retired', changed_ms = $3 WHERE tenant = $1 AND domain = $2 AND state = 'active'";
            let enter = "UPDATE dkim_key SET state = 'active', changed_ms = $3 WHERE tenant = $1 AND domain = $2 AND state = 'next'";
            statements.extend([retire, enter].map(|sql| Statement::new(sql, with(now.into()))));
        }
        if statements.is_empty() {
            return Ok(false);
        }
        self.change(statements).await.map(|()| true)
    }

    /// The secrets of the keys that sign, with their selectors.
    pub(crate) async fn signing_keys(&self, tenant: &str, domain: &str) -> Result<Vec<(Box<str>, SigningKey)>, DatabaseTrouble> {
        let sql = "SELECT selector, sealed FROM dkim_key WHERE tenant = $1 AND domain = $2 AND state = 'active' ORDER BY algorithm DESC";
        let rows = self.database.find(sql, vec![tenant.into(), domain.into()]).await?;
        let opened = rows.iter().map(|row| {
            let selector = row.text(0)?;
            let der = self.seal.open(&purpose(tenant, domain, selector), row.octets(1)?);
            let der = der.map_err(|broken| DatabaseTrouble::Unexpected(broken.to_string()))?;
            let key = SigningKey::from_pkcs8(&der)
                .map_err(|trouble| DatabaseTrouble::Unexpected(format!("the key {selector} of {domain} {trouble}")))?;
            Ok((selector.into(), key))
        });
        opened.collect()
    }

    async fn keys_of(&self, tenant: &TenantName, name: &Domain) -> Result<Vec<KeyRecord>, DatabaseTrouble> {
        let sql =
            "SELECT selector, algorithm, record, state, changed_ms FROM dkim_key WHERE tenant = $1 AND domain = $2 ORDER BY selector DESC";
        let rows = self.database.find(sql, vec![tenant.as_str().into(), name.to_ascii().into_owned().into()]).await?;
        rows.iter().map(key).collect()
    }

    /// The statements that add a pair of keys under one of the two names.
    async fn new_pair(&self, tenant: &TenantName, name: &Domain, letter: &str) -> Result<Vec<Statement>, DatabaseTrouble> {
        let domain = name.to_ascii().into_owned();
        let mut statements = Vec::new();
        for (algorithm, end) in [(Algorithm::RsaSha256, "rsa"), (Algorithm::Ed25519Sha256, "ed25519")] {
            let made = tokio::task::spawn_blocking(move || {
                let der = SigningKey::generate(algorithm)?;
                SigningKey::from_pkcs8(&der).map(|key| (key.record(), der))
            });
            let failed = |why: String| DatabaseTrouble::Refused(format!("no key could be made: {why}"));
            let (record, der) =
                made.await.map_err(|trouble| failed(trouble.to_string()))?.map_err(|trouble| failed(trouble.to_string()))?;
            let selector = format!("postrider-{letter}-{end}");
            let sealed = self.seal.seal(&purpose(tenant.as_str(), &domain, &selector), &der);
            statements.push(Statement::one(
                "INSERT INTO dkim_key (tenant, domain, selector, algorithm, sealed, record, state, created_ms, changed_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, 'next', $7, $7)",
                vec![
                    tenant.as_str().into(),
                    domain.clone().into(),
                    selector.clone().into(),
                    algorithm.word().into(),
                    Value::Octets(sealed),
                    record.into(),
                    self.now().millis().into(),
                ],
                format!("{name} has a key {selector} already"),
            ));
        }
        Ok(statements)
    }
}

fn no_domain(tenant: &TenantName, name: &Domain) -> String {
    format!("{tenant} has no domain {name}; add it with: postrider domain add {name} --tenant {tenant}")
}

fn purpose(tenant: &str, domain: &str, selector: &str) -> String {
    format!("dkim {tenant} {domain} {selector}")
}

fn domain(row: &Row) -> Result<DomainRecord, DatabaseTrouble> {
    let name = |column| Domain::parse(row.text(column)?).map_err(|_| row.unexpected(column));
    Ok(DomainRecord {
        tenant: TenantName::new(row.text(0)?),
        name: name(1)?,
        token: row.text(2)?.to_owned(),
        return_path: name(3)?,
        proven_at: optional_time(row, 4)?,
        return_path_ready_at: optional_time(row, 5)?,
        created_at: time(row, 6)?,
        keys: Vec::new(),
    })
}

fn key(row: &Row) -> Result<KeyRecord, DatabaseTrouble> {
    let text = |column| Ok::<_, DatabaseTrouble>(row.text(column)?.to_owned());
    Ok(KeyRecord { selector: text(0)?, algorithm: text(1)?, record: text(2)?, state: worded(row, 3)?, changed_at: time(row, 4)? })
}
