//! The command line: what can be said, and who does it.

mod arguments;
mod backup;
mod capture;
mod check;
mod client;
mod compose;
pub mod dkim;
pub mod domain;
mod kept;
mod queue;
mod registry;
mod send;
pub mod sendmail;
mod smtp_session;
mod spool;
mod status;
mod suppression;
mod surroundings;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use arguments::Command;
pub use arguments::{Arguments, ServeArguments};
pub use client::Client;
use dkim::{DkimArguments, DkimCommand};
use registry::RegistryCommand;
use token::{TokenArguments, TokenCommand};

/// Does what was asked. An error is one sentence for the person at the terminal.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let data = arguments.data.clone().unwrap_or_else(|| PathBuf::from("data"));
    let data = data.as_path();
    match arguments.command {
        Command::Sendmail(sendmail) => return Ok(sendmail::run("sendmail", sendmail.words, arguments.data)),
        Command::Serve(serve) => return crate::serve::run(data, &serve).map(|()| ExitCode::SUCCESS),
        Command::Check(check) => return check::run(data, &check),
        Command::Backup(wanted) => return backup::backup(data, &wanted).map(|()| ExitCode::SUCCESS),
        Command::Restore(wanted) => return backup::restore(data, &wanted).map(|()| ExitCode::SUCCESS),
        Command::Dkim(DkimArguments { command: DkimCommand::New(wanted) }) => return dkim::new(data, &wanted).map(|()| ExitCode::SUCCESS),
        Command::Domain(domain) => return domain::run(data, &domain),
        Command::Token(TokenArguments { command: TokenCommand::Rotate }) => return token::rotate(data).map(|()| ExitCode::SUCCESS),
        Command::Spool(spool) => return spool::run(data, &spool),
        Command::Bench(bench) => return crate::own_relay::bench(bench).map(|()| ExitCode::SUCCESS),
        Command::Tenant(asked) => return in_registry(data, RegistryCommand::Tenant(asked.command)),
        Command::Stream(asked) => return in_registry(data, RegistryCommand::Stream(asked.command)),
        Command::Key(asked) => return in_registry(data, RegistryCommand::Key(asked.command)),
        Command::Limit(asked) => return in_registry(data, RegistryCommand::Limit(asked.command)),
        Command::Apply(asked) => return in_registry(data, RegistryCommand::Apply(asked)),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
            runtime.block_on(ask(data, command))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn in_registry(data: &std::path::Path, command: RegistryCommand) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(registry::run(data, command))
}

/// The commands that speak to a running relay.
async fn ask(data: &std::path::Path, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Send(send) => send::run(data, &send).await,
        Command::Queue(queue) => queue::run(data, queue).await,
        Command::Explain(explain) => queue::explain(data, &explain).await,
        Command::Capture(capture) => capture::run(data, &capture).await,
        Command::Kept(kept) => kept::run(data, &kept).await,
        Command::Suppression(suppression) => suppression::run(data, suppression).await,
        Command::Status(status) => status::run(data, &status).await,
        Command::Reload => status::reload(data).await,
        Command::Serve(_)
        | Command::Check(_)
        | Command::Dkim(_)
        | Command::Token(_)
        | Command::Tenant(_)
        | Command::Stream(_)
        | Command::Key(_)
        | Command::Limit(_)
        | Command::Apply(_)
        | Command::Domain(_)
        | Command::Spool(_)
        | Command::Bench(_)
        | Command::Sendmail(_)
        | Command::Backup(_)
        | Command::Restore(_) => {
            unreachable!("done without a relay")
        }
    }
}
