//! `key`

use anyhow::{anyhow, bail};
use postrider_edge::SystemClock;
use postrider_model::doors::Clock as _;
use postrider_model::{CredentialName, StreamName, TenantName};
use postrider_records::{CredentialRecord, CredentialState, NewCredential, Scope, Worded};
use serde::Serialize;

use super::Desk;
use super::arguments::{KeyAddArguments, KeyCommand};
use crate::config::Credential;
use crate::handing_in::WayIn;
use crate::shown::{Clean, json, say};

/// A key as it is shown.
#[derive(Debug, Serialize)]
pub struct KeyView {
    user: String,
    tenant: String,
    stream: String,
    state: &'static str,
    why: String,
    scopes: Vec<&'static str>,
    networks: Vec<String>,
    expires_at: Option<String>,
    /// Not known of one that stands in the configuration file.
    created_at: Option<String>,
    last_used_at: Option<String>,
    last_used_from: Option<String>,
}

#[derive(Serialize)]
struct MadeView<'a> {
    user: &'a str,
    secret: &'a str,
    tenant: &'a str,
    stream: &'a str,
    servers: &'a [WayIn],
}

impl KeyView {
    /// How a key is shown.
    pub fn of(record: &CredentialRecord) -> Self {
        Self {
            user: record.user.to_string(),
            tenant: record.tenant.to_string(),
            stream: record.stream.to_string(),
            state: record.state.word(),
            why: record.why.clone(),
            scopes: record.scopes.iter().map(|scope| scope.word()).collect(),
            networks: record.networks.iter().map(ToString::to_string).collect(),
            expires_at: record.expires_at.map(|at| at.to_string()),
            created_at: Some(record.created_at.to_string()),
            last_used_at: record.last_used_at.map(|at| at.to_string()),
            last_used_from: record.last_used_from.clone(),
        }
    }

    /// How a credential of the configuration file is shown.
    fn of_file(known: &Credential, braked: Option<&str>) -> Self {
        Self {
            user: known.user.to_string(),
            tenant: known.tenant.to_string(),
            stream: known.stream.to_string(),
            state: if braked.is_some() { CredentialState::Braked.word() } else { CredentialState::Active.word() },
            why: braked.unwrap_or_default().to_owned(),
            scopes: vec![Scope::Send.word()],
            networks: known.networks.iter().map(ToString::to_string).collect(),
            expires_at: None,
            created_at: None,
            last_used_at: None,
            last_used_from: None,
        }
    }

    /// On one line.
    pub fn line(&self) -> String {
        let mut parts = vec![format!("{}/{}, {}", self.tenant, self.stream, self.state)];
        if !self.why.is_empty() {
            parts.push(format!("({})", Clean(&self.why)));
        }
        if self.scopes != [Scope::Send.word()] {
            parts.push(format!("to {}", self.scopes.join(" and ")));
        }
        if !self.networks.is_empty() {
            parts.push(format!("from {}", self.networks.join(" ")));
        }
        parts.extend(self.expires_at.as_ref().map(|at| format!("until {at}")));
        parts.push(match (&self.last_used_at, &self.last_used_from) {
            (Some(at), Some(from)) => format!("last used {at} from {from}"),
            _ if self.created_at.is_none() => "of the configuration file".to_owned(),
            _ => "never used".to_owned(),
        });
        format!("{}  {}", self.user, parts.join(", "))
    }
}

pub async fn run(desk: &Desk, command: KeyCommand) -> anyhow::Result<()> {
    let state = |user: String, state: CredentialState, reason: String| async move {
        let name = CredentialName::new(&user);
        match (desk.config.credentials.iter().any(|known| known.user == name), state) {
            (false, state) => desk.book.set_credential(&name, state, &reason).await?,
            (true, CredentialState::Active) => desk.book.release_of_file(&name).await?,
            (true, CredentialState::Braked) => desk.book.brake_of_file(&name, &reason).await?,
            (true, CredentialState::Revoked) => {
                bail!("{user} stands in the configuration: take its [[credential]] out there, and run postrider reload")
            }
        }
        Ok(say(format_args!("{user} is {}", state.word()))?)
    };
    match command {
        KeyCommand::Add(wanted) => add(desk, &wanted).await,
        KeyCommand::List { tenant, json: as_json } => {
            let tenant = tenant.map(|name| TenantName::new(&name));
            let mut keys: Vec<KeyView> = desk.book.credentials(tenant.as_ref()).await?.iter().map(KeyView::of).collect();
            let braked = desk.book.brakes_of_file().await?;
            let of_file = desk.config.credentials.iter().filter(|known| tenant.as_ref().is_none_or(|tenant| known.tenant == *tenant));
            keys.extend(of_file.map(|known| KeyView::of_file(known, braked.get(&known.user).map(|why| &**why))));
            if keys.is_empty() && !as_json {
                say("there are no keys")?;
            }
            for key in keys {
                match as_json {
                    true => say(json(&key)?)?,
                    false => say(key.line())?,
                }
            }
            Ok(())
        }
        KeyCommand::Revoke { user, reason } => state(user, CredentialState::Revoked, reason).await,
        KeyCommand::Brake { user, reason } => state(user, CredentialState::Braked, reason).await,
        KeyCommand::Release { user } => state(user, CredentialState::Active, String::new()).await,
    }
}

/// An address that a tenant may send from: of its first domain that is proven, or of the first at all.
async fn first_sender(desk: &Desk, tenant: &TenantName) -> anyhow::Result<String> {
    let domains = desk.book.domains(Some(tenant)).await?;
    let first = domains.iter().find(|domain| domain.proven_at.is_some()).or(domains.first());
    Ok(first.map_or_else(|| "you@your-domain.example".to_owned(), |domain| format!("postmaster@{}", domain.name.to_ascii())))
}

async fn add(desk: &Desk, wanted: &KeyAddArguments) -> anyhow::Result<()> {
    let tenant = desk.tenant(wanted.tenant.as_deref()).await?;
    let stream = match &wanted.stream {
        Some(name) => StreamName::new(name),
        None => {
            let streams = desk.book.streams(&tenant).await?;
            let first = streams.first().ok_or_else(|| anyhow!("{tenant} has no stream: postrider stream set {tenant} NAME adds one"))?;
            first.name.clone()
        }
    };
    let new = NewCredential {
        tenant: tenant.clone(),
        stream: stream.clone(),
        scopes: if wanted.scope.is_empty() { vec![Scope::Send] } else { wanted.scope.clone() },
        networks: wanted.network.clone(),
        expires_at: wanted.expires.map(|time| SystemClock.now().after(time)),
        note: wanted.note.clone(),
    };
    let made = desk.book.add_credential(&new).await?;
    let servers = desk.ways_in().await;
    let user = made.user.as_str();
    if wanted.json {
        let view = MadeView { user, secret: &made.secret, tenant: tenant.as_str(), stream: stream.as_str(), servers: &servers };
        return Ok(say(json(&view)?)?);
    }
    for way in &servers {
        say(format_args!("server  {}", way.in_words()))?;
    }
    say(format_args!("user    {user}\nsecret  {}\n", made.secret))?;
    say(format_args!("It sends as {tenant}, stream {stream}. The secret is shown this once; only its SHA-256 is kept."))?;
    if let Some(way) = servers.first() {
        let from = first_sender(desk, &tenant).await?;
        say(format_args!("\nTry it (put your own address for you@example.com):\n\n  {}\n", way.swaks(user, &made.secret, &from)))?;
    }
    let asks = desk.book.stream(&tenant, &stream).await?.is_some_and(|record| record.stream.preparing.one_click);
    if asks && desk.config.snapshot.public_url.is_none() {
        say(
            "note: the stream asks for one-click unsubscribe, and its mail goes without until the configuration has [web] public_url (docs/preparing.md)",
        )?;
    }
    Ok(())
}
