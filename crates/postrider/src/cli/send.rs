//! `send`: hands one message over, on the control socket or by SMTP.

use std::path::Path;

use anyhow::{Context, bail};
use postrider_edge::{SystemClock, SystemEntropy};
use postrider_http::{encode_submission, wire};
use postrider_model::doors::{Clock, Entropy};
use postrider_smtp::Mailbox;

use super::arguments::SendArguments;
use super::client::{Client, read_input};
use super::compose::{Draft, compose, crlf};
use super::smtp_session::{Login, submit};
use crate::config::system_host_name;
use crate::shown::say;

/// Octets of a message that is handed over here. The relay has its own limit.
const MESSAGE_OCTETS_MAX: u64 = 1 << 30;

/// `send`
pub async fn run(data: &Path, arguments: &SendArguments) -> anyhow::Result<()> {
    for to in &arguments.to {
        mailbox(to)?;
    }
    match arguments.smtp {
        Some(address) => {
            let host_name = system_host_name().name;
            let (from, content) = message(arguments, &host_name)?;
            let login = match (&arguments.user, &arguments.secret_file) {
                (Some(user), Some(file)) => {
                    let secret = read_input(file, 4096)?;
                    let secret = String::from_utf8(secret).context("the secret is not text")?;
                    Some(Login { user: user.clone(), secret: secret.trim_end_matches(['\r', '\n']).to_owned() })
                }
                _ => None,
            };
            let reply = submit(address, &host_name, login.as_ref(), &from, &arguments.to, &content).await?;
            Ok(say(reply)?)
        }
        None => {
            let mut client = Client::connect(data).await?;
            let status: wire::Status = client.get("/v1/status").await?;
            let (from, content) = message(arguments, &status.host_name)?;
            let (tenant, stream) = (arguments.tenant.clone(), arguments.stream.clone());
            let envelope = wire::Submission { from, to: arguments.to.clone(), tenant, stream, ..wire::Submission::default() };
            let accepted: wire::Accepted = client.post("/v1/submit", encode_submission(&envelope, &content)?).await?;
            say(&accepted.id)?;
            if status.mode == "capture" {
                eprintln!("kept, not sent (capture): postrider --data {} capture read {}", data.display(), accepted.id);
            } else {
                eprintln!("accepted; what becomes of it: postrider --data {} explain {}", data.display(), accepted.id);
            }
            Ok(())
        }
    }
}

/// The reverse-path's mailbox, and the content.
fn message(arguments: &SendArguments, host_name: &str) -> anyhow::Result<(String, Vec<u8>)> {
    let from = arguments.from.clone().unwrap_or_else(|| format!("postmaster@{host_name}"));
    if !from.is_empty() {
        mailbox(&from)?;
    }
    if let Some(file) = &arguments.file {
        let content = crlf(&read_input(file, MESSAGE_OCTETS_MAX)?);
        return Ok((from, content));
    }
    let mut unique = [0; 16];
    SystemEntropy::new().fill(&mut unique);
    let (subject, body) = (arguments.subject.as_str(), arguments.body.as_str());
    let draft = Draft { from: &from, to: &arguments.to, subject, body, at: SystemClock.now(), unique, host_name };
    let content = compose(&draft)?;
    Ok((from, content))
}

fn mailbox(text: &str) -> anyhow::Result<Mailbox> {
    match Mailbox::parse(text) {
        Ok(mailbox) => Ok(mailbox),
        Err(trouble) => bail!("{text:?} is not a mailbox such as you@example.com: {trouble}"),
    }
}
