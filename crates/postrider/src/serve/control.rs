//! The relay as the control socket sees it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use postrider_flow::{Relay, SubmitTrouble};
use postrider_http::{Intake, IntakeTrouble, LocalMail};
use postrider_model::doors::{Allowances, Insight, Principal, Receipt, SiteView, SpoolDesk, SpoolTrouble, Waiting};
use postrider_model::{BoxFuture, CredentialName, MessageId};
use postrider_records::db::DatabaseTrouble;
use postrider_records::{SqlRegistry, StreamRecord, TenantState};
use tokio::net::UnixListener;

use crate::config::Tenant;
use crate::data::{DataDirectory, reachable};

/// Takes mail that is handed over on the socket.
pub struct RelayIntake {
    relay: Arc<Relay>,
    tenants: Arc<ArcSwap<Vec<Tenant>>>,
    records: Arc<SqlRegistry>,
}

impl RelayIntake {
    /// An intake for these tenants, and those of the registry.
    pub fn new(relay: Arc<Relay>, tenants: Arc<ArcSwap<Vec<Tenant>>>, records: Arc<SqlRegistry>) -> Self {
        Self { relay, tenants, records }
    }

    /// What the file names is as the file says; a tenant or a stream that it does not name is the registry's.
    async fn principal(&self, mail: &LocalMail) -> Result<Principal, IntakeTrouble> {
        let of_file = principal(&self.tenants.load(), mail);
        let (Err(_), Some(tenant)) = (&of_file, &mail.tenant) else { return of_file };
        let silent = |trouble: DatabaseTrouble| IntakeTrouble::NotNow(format!("the registry does not answer: {trouble}"));
        let book = self.records.book();
        let Some(known) = book.tenant(tenant).await.map_err(silent)? else { return of_file };
        if known.state == TenantState::Suspended {
            return Err(IntakeTrouble::Refused(format!(
                "the tenant {tenant} is suspended: postrider tenant activate {tenant} lets it send again"
            )));
        }
        let streams = book.streams(tenant).await.map_err(silent)?;
        // What holds for the tenant holds whichever way its mail comes; there is no credential here.
        let of_tenant = book.allowances(tenant).await.map_err(silent)?.into_iter().find(|(holder, _)| holder.is_none());
        let named = streams.into_iter().find(|one| mail.stream.as_ref().is_none_or(|name| one.name == *name));
        let Some(StreamRecord { name, stream }) = named else {
            return Err(IntakeTrouble::Refused("the tenant has no such stream".to_owned()));
        };
        Ok(Principal {
            tenant: tenant.clone(),
            stream: name,
            credential: of_user(mail),
            priority: stream.priority,
            own_domains_only: known.own_domains_only,
            give_up_after: stream.give_up_after,
            allowances: of_tenant.map(|(_, tenant)| Arc::new(Allowances { tenant, ..Allowances::default() })),
        })
    }
}

/// Who of the machine's users it was is told with the message, as the user of AUTH is.
fn of_user(mail: &LocalMail) -> Option<CredentialName> {
    mail.user.map(|user| CredentialName::new(&format!("uid-{user}")))
}

fn principal(tenants: &[Tenant], mail: &LocalMail) -> Result<Principal, IntakeTrouble> {
    let tenant = match &mail.tenant {
        Some(name) => tenants.iter().find(|tenant| tenant.name == *name),
        None => tenants.first(),
    };
    let tenant = tenant.ok_or_else(|| IntakeTrouble::Refused("there is no such tenant".to_owned()))?;
    let stream = match &mail.stream {
        Some(name) => tenant.streams.iter().find(|(stream, _)| stream == name),
        None => tenant.streams.first(),
    };
    let (name, stream) = stream.ok_or_else(|| IntakeTrouble::Refused("the tenant has no such stream".to_owned()))?;
    Ok(Principal {
        tenant: tenant.name.clone(),
        stream: name.clone(),
        credential: of_user(mail),
        priority: stream.priority,
        own_domains_only: tenant.own_domains_only,
        give_up_after: stream.give_up_after,
        allowances: None,
    })
}

impl Intake for RelayIntake {
    fn submit(&self, mail: LocalMail) -> BoxFuture<'_, Result<Receipt, IntakeTrouble>> {
        Box::pin(async move {
            let principal = self.principal(&mail).await?;
            let LocalMail { reverse_path, recipients, wishes, repeats, content, .. } = mail;
            let receipt = self.relay.submit(principal, reverse_path, recipients, wishes, content).await.map_err(refusal)?;
            if let Some(repeated) = repeats {
                tracing::info!("message {} is {repeated} sent again, which was kept", receipt.message);
            }
            Ok(receipt)
        })
    }
}

fn refusal(trouble: SubmitTrouble) -> IntakeTrouble {
    let sentence = trouble.to_string();
    match trouble {
        SubmitTrouble::Refused(reply) if reply.is_transient() => IntakeTrouble::NotNow(sentence),
        SubmitTrouble::Spool(spool) => match spool {
            SpoolTrouble::Full | SpoolTrouble::Poisoned(_) | SpoolTrouble::Closed | SpoolTrouble::IdTaken | SpoolTrouble::Io(_) => {
                IntakeTrouble::NotNow(sentence)
            }
            SpoolTrouble::Corrupt(_) | SpoolTrouble::Unknown(_) | SpoolTrouble::NoSuchMessage | SpoolTrouble::LoanEnded => {
                IntakeTrouble::Refused(sentence)
            }
        },
        _ => IntakeTrouble::Refused(sentence),
    }
}

/// What holds captured mail: nothing but our word.
pub struct CaptureInsight {
    desk: Arc<dyn SpoolDesk>,
}

impl CaptureInsight {
    /// An insight into a spool that is never lent from.
    pub fn new(desk: Arc<dyn SpoolDesk>) -> Self {
        Self { desk }
    }
}

impl Insight for CaptureInsight {
    fn explain(&self, message: MessageId) -> BoxFuture<'_, Vec<(u32, Waiting)>> {
        Box::pin(async move {
            let Ok((message, live)) = self.desk.show(message).await else { return Vec::new() };
            let reason = "captured: this relay was started with --capture, and this mail is never sent".to_owned();
            let kept = Waiting { reason, since: Some(message.arrival.at), until: None, ahead: None };
            live.iter().map(|(view, _)| (view.id.index, kept.clone())).collect()
        })
    }

    fn connections_out(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(std::future::ready(Some(0)))
    }

    fn sites(&self) -> BoxFuture<'_, Vec<SiteView>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// The socket, and its file, which goes when this is dropped.
pub struct ControlSocket {
    path: PathBuf,
}

impl ControlSocket {
    /// Listens on the control socket. The directory's lock is held, so a file that is there was left by a relay that was killed.
    pub fn bind(directory: &DataDirectory) -> anyhow::Result<(Self, UnixListener)> {
        let path = directory.control_socket();
        Self::bind_at(path.clone(), 0o600, || format!("cannot listen on the control socket {}", path.display()))
    }

    /// Listens where every user of the machine may come.
    pub fn bind_public(path: &Path) -> anyhow::Result<(Self, UnixListener)> {
        Self::bind_at(path.to_owned(), 0o666, || {
            format!(
                "cannot listen on {} (sendmail): its directory must be there, and be writable for the relay's user; or leave [sendmail] socket away",
                path.display()
            )
        })
    }

    fn bind_at(path: PathBuf, mode: u32, trouble: impl Fn() -> String) -> anyhow::Result<(Self, UnixListener)> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(&trouble),
            _ => {}
        }
        let (_held, short) = reachable(&path).with_context(&trouble)?;
        let listener = UnixListener::bind(short).with_context(&trouble)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).with_context(&trouble)?;
        Ok((Self { path }, listener))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // One that is left behind is removed by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use postrider_model::policy::Stream;
    use postrider_model::{Priority, ReportWishes};
    use postrider_smtp::ReversePath;

    use super::*;

    #[test]
    fn mail_gets_a_tenant_and_a_stream() {
        let tenant = |name: &str, streams: &[(&str, Priority)]| {
            let streams =
                streams.iter().map(|(name, priority)| ((*name).into(), Arc::new(Stream { priority: *priority, ..Stream::default() })));
            Tenant { name: name.into(), own_domains_only: false, streams: streams.collect() }
        };
        let tenants =
            [tenant("shop", &[("receipts", Priority::High), ("news", Priority::Low)]), tenant("club", &[("all", Priority::Normal)])];
        for (tenant, stream, found) in [
            (None, None, Some(("shop", "receipts", Priority::High))),
            (None, Some("news"), Some(("shop", "news", Priority::Low))),
            (Some("club"), None, Some(("club", "all", Priority::Normal))),
            (Some("club"), Some("news"), None),
            (Some("nobody"), None, None),
        ] {
            let (tenant, stream) = (tenant.map(Into::into), stream.map(Into::into));
            let (reverse_path, wishes) = (ReversePath::Null, ReportWishes::default());
            let mail =
                LocalMail { reverse_path, recipients: vec![], tenant, stream, user: None, wishes, repeats: None, content: Bytes::new() };
            let principal = principal(&tenants, &mail).ok();
            let expected = found.map(|(tenant, stream, priority)| Principal {
                tenant: tenant.into(),
                stream: stream.into(),
                credential: None,
                priority,
                own_domains_only: false,
                give_up_after: None,
                allowances: None,
            });
            assert_eq!(principal, expected, "{mail:?}");
        }
    }
}
