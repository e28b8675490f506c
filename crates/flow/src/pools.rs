//! From which Sources a stream's mail is sent: its pool, where no route has a word in it.
//!
//! **Promises.** Mail of a stream that names a pool leaves by that pool's Sources or not at all: a pool that is not there, and a registry that does not answer, make it
//! wait. Where no stream names a pool nobody asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use postrider_core::route::table::{self, Sending, Way};
use postrider_model::policy::{LmtpServer, Pool, Snapshot, Target};
use postrider_model::{Message, StreamName, TenantName, Trouble};

use crate::Doors;

/// Why nobody can say from where mail is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanting {
    /// The stream names a pool that the configuration has not.
    Pool { tenant: TenantName, stream: StreamName, pool: Box<str> },
    /// The registry does not answer.
    Registry(Arc<str>),
}

impl Wanting {
    /// As a diagnosis tells it. Both end by themselves or by a person's hand, so mail waits.
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Wanting::Pool { tenant, stream, pool } => Trouble::ConnectFailed(
                format!("the stream {stream} of {tenant} is sent by the pool {pool}, which is not in the configuration").into(),
            ),
            Wanting::Registry(why) => Trouble::Internal(why.clone()),
        }
    }

    /// The pool that is missing, and what to do about it.
    pub(crate) fn remedy(&self) -> Option<(Box<str>, String)> {
        let Wanting::Pool { tenant, stream, pool } = self else { return None };
        let remedy = format!(
            "the stream {stream} of {tenant} is sent by the pool {pool}, which is not in the configuration; its mail waits. Add a [[pool]] of this name and reload, \
             or name another: postrider stream set {tenant} {stream} --pool NAME (an empty NAME is none)"
        );
        Some((pool.clone(), remedy))
    }
}

/// The pool of a stream for mail that goes this way; `None`, where the routes decide. `pools` is what [`Registry::pools`](postrider_model::doors::Registry::pools) said.
pub(crate) async fn of(
    doors: &Doors,
    snapshot: &Snapshot,
    pools: u64,
    way: &Way<'_>,
    (tenant, stream): (&TenantName, &StreamName),
) -> Result<Option<Arc<Pool>>, Wanting> {
    if pools == 0 || !way.is_open_to_pools() {
        return Ok(None);
    }
    let known = doors.registry.stream(tenant, stream).await.map_err(|silent| Wanting::Registry(silent.to_string().into()))?;
    match table::sending(&snapshot.routing, way, known.pool.as_deref()) {
        Sending::Any | Sending::ByRule(_) => Ok(None),
        Sending::ByStream(pool) => Ok(Some(pool.clone())),
        Sending::Missing(pool) => Err(Wanting::Pool { tenant: tenant.clone(), stream: stream.clone(), pool: pool.into() }),
    }
}

/// The Sources of a message, in words: a line for each way that its recipients go.
pub(crate) async fn words(doors: &Doors, snapshot: &Snapshot, message: &Message) -> Vec<String> {
    let stream = match doors.registry.stream(&message.tenant, &message.stream).await {
        Ok(stream) => stream,
        Err(trouble) => return vec![trouble.to_string()],
    };
    let mail = table::Mail {
        message: Some(message.id),
        tenant: &message.tenant,
        stream: &message.stream,
        sender: Some(&message.envelope.reverse_path),
    };
    let mut lines = BTreeSet::new();
    for recipient in &message.recipients {
        let Some(way) = table::by_mail(&snapshot.routing, recipient.mailbox.host(), &mail) else { continue };
        let weights = |pool: &Pool| {
            let sources =
                pool.sources.iter().map(|(name, weight)| if *weight == 1 { name.to_string() } else { format!("{name} (weight {weight})") });
            sources.collect::<Vec<_>>().join(", ")
        };
        let line = match (way.target, table::sending(&snapshot.routing, &way, stream.pool.as_deref())) {
            // Nothing is dialled for these.
            (Target::Maildir(_) | Target::Reject(_) | Target::Lmtp(LmtpServer::Unix(_)), _) => continue,
            // There is no other.
            (_, Sending::Any) if snapshot.sources.len() < 2 => continue,
            (_, Sending::Any) => {
                let all: Vec<&str> = snapshot.sources.iter().map(|source| source.name.as_str()).collect();
                format!("{}: nobody names a pool", all.join(", "))
            }
            (_, Sending::ByRule(pool)) => {
                format!("{}: pool {} of the route {}", weights(pool), pool.name, way.rule.map_or("", |rule| rule.name.as_str()))
            }
            (_, Sending::ByStream(pool)) => format!("{}: pool {} of the stream {}", weights(pool), pool.name, message.stream),
            (_, Sending::Missing(pool)) => {
                format!("none: the stream {} names the pool {pool}, which is not in the configuration", message.stream)
            }
        };
        lines.insert(line);
    }
    lines.into_iter().collect()
}
