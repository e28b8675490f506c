//! Whether mail is its tenant's: what it says is asked about, one domain after the other (`core::ownership`).
//!
//! **Promises.** The registry's silence is told as a temporary trouble of ours, never as a refusal for good, and nothing is taken meanwhile.

use postrider_core::ownership::{self, Claimed};
use postrider_mail::HeaderFacts;
use postrider_model::doors::Principal;
use postrider_smtp::{Reply, ReversePath};

use crate::Doors;
use crate::receive::reply;

/// Whether a tenant that is bound to its own domains may have failures reported there.
pub(crate) async fn reverse_path(doors: &Doors, principal: &Principal, path: &ReversePath) -> Result<(), Reply> {
    match ownership::of_reverse_path(path).map_err(|denial| denial.reply())? {
        Some(claimed) => ask(doors, principal, &claimed).await,
        None => Ok(()),
    }
}

/// Whether it may say what the header says. Whoever is not bound may.
pub(crate) async fn header(doors: &Doors, principal: &Principal, facts: &HeaderFacts) -> Result<(), Reply> {
    if !principal.own_domains_only {
        return Ok(());
    }
    for claimed in ownership::of_header(facts.header.as_deref()).map_err(|denial| denial.reply())? {
        ask(doors, principal, &claimed).await?;
    }
    Ok(())
}

async fn ask(doors: &Doors, principal: &Principal, claimed: &Claimed) -> Result<(), Reply> {
    let voice = doors.registry.voice(&principal.tenant, &claimed.domain).await.map_err(|trouble| {
        doors.log.alarm(None, &trouble.to_string());
        reply(451, (4, 3, 0), "cannot say whose domain this is now, try again later")
    })?;
    ownership::judge(claimed, &principal.tenant, voice).map(drop).map_err(|denial| denial.reply())
}
