//! `queue hold`, `release`, `retry`, `bounce` and `cancel`.

use std::path::Path;

use anyhow::bail;
use postrider_http::wire;
use serde::Serialize;

use super::arguments::{AlterArguments, EndArguments};
use crate::cli::client::Client;
use crate::shown::{json, say};

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct Done<'a> {
    action: &'a str,
    dry_run: bool,
    deliveries: u64,
    left: u64,
}

/// A change that can be taken back.
pub async fn alter(data: &Path, action: &str, arguments: &AlterArguments, reason: Option<&str>) -> anyhow::Result<()> {
    let change = wire::Change {
        action: action.to_owned(),
        reason: reason.map(str::to_owned),
        dry_run: arguments.dry_run,
        after: None,
        which: arguments.which.wire(&arguments.ids, None),
    };
    let mut client = Client::connect(data).await?;
    let changed = all_pages(&mut client, change).await?;
    tell(action, arguments, &changed)
}

/// An end of deliveries: of more than one message only with a clear word.
pub async fn end(data: &Path, action: &str, arguments: &EndArguments) -> anyhow::Result<()> {
    let alter = &arguments.alter;
    let change = wire::Change {
        action: action.to_owned(),
        reason: arguments.reason.clone(),
        dry_run: alter.dry_run,
        after: None,
        which: alter.which.wire(&alter.ids, arguments.state),
    };
    let mut client = Client::connect(data).await?;
    if alter.ids.len() != 1 && !alter.dry_run && !arguments.yes {
        let counted = all_pages(&mut client, wire::Change { dry_run: true, ..change }).await?;
        bail!(
            "this would {action} {} deliveries, for good: say --yes to do it (--dry-run, or `postrider queue list` with the same words, shows more)",
            counted.deliveries
        );
    }
    let changed = all_pages(&mut client, change).await?;
    tell(action, alter, &changed)
}

/// Asks until there is no more. Whoever interrupts this leaves the rest as it was.
async fn all_pages(client: &mut Client, mut change: wire::Change) -> anyhow::Result<wire::Changed> {
    let mut sum = wire::Changed::default();
    loop {
        let page: wire::Changed = client.post("/v1/queue/change", serde_json::to_vec(&change)?).await?;
        sum.deliveries += page.deliveries;
        sum.left += page.left;
        match page.next {
            Some(next) => change.after = Some(next),
            None => return Ok(sum),
        }
    }
}

fn tell(action: &str, arguments: &AlterArguments, changed: &wire::Changed) -> anyhow::Result<()> {
    let (deliveries, left, dry_run) = (changed.deliveries, changed.left, arguments.dry_run);
    if arguments.json {
        return Ok(say(json(&Done { action, dry_run, deliveries, left })?)?);
    }
    match (action, dry_run) {
        (_, true) => say(format_args!("{deliveries} deliveries match; nothing was changed"))?,
        ("hold", _) => say(format_args!("{deliveries} deliveries are held (what is under way is held when it comes back)"))?,
        ("release", _) => say(format_args!("{deliveries} deliveries are released"))?,
        ("retry", _) => say(format_args!("{deliveries} deliveries are due now"))?,
        ("bounce", _) => say(format_args!("{deliveries} deliveries bounced; their senders are told"))?,
        (_, _) => say(format_args!("{deliveries} deliveries are cancelled; nobody is told"))?,
    }
    if left > 0 {
        say(format_args!("{left} were left alone, because they are under way or ended by themselves: ask again to see which"))?;
    }
    Ok(())
}
