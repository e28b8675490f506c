//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::dkim::DkimArguments;
use super::domain::DomainArguments;
use super::kept::KeptArguments;
use super::queue::QueueArguments;
use super::registry::arguments::{ApplyArguments, KeyArguments, LimitArguments, StreamArguments, TenantArguments};
use super::suppression::SuppressionArguments;
use super::token::TokenArguments;
use crate::bench::BenchArguments;

/// Postrider, an SMTP relay.
#[derive(Debug, Parser)]
#[command(
    name = "postrider",
    version,
    about = "Postrider relays mail: it takes custody of a message and hands it to the next server.",
    after_help = "The first start makes everything it needs:\n  postrider serve\n\nEach command explains itself: postrider help queue"
)]
pub struct Arguments {
    /// The data directory: configuration, certificate, spool, control socket [default: data, and /var/lib/postrider for sendmail].
    #[arg(long, global = true, value_name = "DIR", env = "POSTRIDER_DATA", hide_env_values = true)]
    pub data: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the relay.
    Serve(ServeArguments),
    /// Check the configuration, and whether port 25 is open outward.
    Check(CheckArguments),
    /// Hand a message to the running relay.
    Send(SendArguments),
    /// Look at the queue of the running relay; hold, release, retry, cancel or bounce mail; suspend and resume.
    Queue(QueueArguments),
    /// Say of each waiting delivery of a message what holds it.
    Explain(IdArguments),
    /// Who is not written to any more: list, add, remove.
    Suppression(SuppressionArguments),
    /// Messages that stay when they are done, as their streams ask: list, show, send again, remove.
    Kept(KeptArguments),
    /// Look at the mail that `serve --capture` keeps.
    Capture(CaptureArguments),
    /// Whose mail is sent: add, list, suspend, remove tenants.
    Tenant(TenantArguments),
    /// A tenant's classes of mail, and what is done to each message.
    Stream(StreamArguments),
    /// Credentials for a tenant's programs: make, list, revoke, release.
    Key(KeyArguments),
    /// How much a tenant or a key may send.
    Limit(LimitArguments),
    /// Make tenants, streams, domains, keys and limits as a file says; the difference is shown first.
    Apply(ApplyArguments),
    /// Keys that sign for a domain (DKIM), and the records that say so.
    Dkim(DkimArguments),
    /// What a domain has to publish, and whether it does.
    Domain(DomainArguments),
    /// Keys of return paths and links.
    Token(TokenArguments),
    /// Read the spool's files; the relay must not run.
    Spool(SpoolArguments),
    /// Copy queue, configuration and keys to a directory, while the relay runs.
    Backup(BackupArguments),
    /// Put a copy back into an empty data directory.
    Restore(RestoreArguments),
    /// Measure a relay over SMTP on loopback.
    Bench(BenchArguments),
    /// Hand over mail, or list the queue, as sendmail(1) does; also when called as sendmail, mailq or newaliases.
    Sendmail(SendmailArguments),
    /// How the running relay is.
    Status(JsonArguments),
    /// Make the running relay read its configuration again (as SIGHUP does).
    Reload,
}

/// `serve`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider serve                          start in ./data, making it at the first start
  postrider --data /var/lib/postrider serve
  postrider serve --capture                keep every mail and show it instead of delivering

In an empty data directory the first start makes a commented configuration (postrider.toml), a self-signed certificate, and one credential
that it shows once. SIGTERM and SIGINT drain: transactions under way end, nothing is lost; a second one ends the process at once.
SIGHUP reads the configuration again; when it is wrong, the old one stays.")]
pub struct ServeArguments {
    /// The configuration file [default: postrider.toml in the data directory].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep every mail and show it (`postrider capture`) instead of delivering. It stands in a spool of its own and is never sent.
    #[arg(long)]
    pub capture: bool,
    /// Where the mail log goes: a file, - for standard output, or none [default: the configuration's log.mail_log].
    #[arg(long, value_name = "FILE|-|none")]
    pub mail_log: Option<String>,
}

/// `check`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider check                          all that is wrong in the configuration and on this machine, and a try at port 25
  postrider check --offline                no network, and no try at the listeners' ports
  postrider check --reference              every key with its type, default and meaning
  postrider check --providers              the provider table in force

Exit status: 0 all is well, 1 the configuration is wrong, 3 only port 25 is blocked.")]
pub struct CheckArguments {
    /// The configuration file [default: postrider.toml in the data directory].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Do not try port 25.
    #[arg(long)]
    pub offline: bool,
    /// Print the provider table in force.
    #[arg(long)]
    pub providers: bool,
    /// Print the reference of every key (docs/configuration.md).
    #[arg(long)]
    pub reference: bool,
}

/// `send`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider send --to you@example.com
  postrider send --from shop@example.com --to a@example.net --to b@example.net --subject Receipt --body 'Thank you.'
  postrider send --to you@example.com --file message.eml      a whole message, header and body
  some-program | postrider send --to you@example.com --file -
  postrider send --to you@example.com --smtp 127.0.0.1:2587 --user app --secret-file secret.txt

Without --smtp the message goes over the control socket, and its id is printed once it is on stable storage.")]
pub struct SendArguments {
    /// A recipient; may be given more than once.
    #[arg(long, required = true, value_name = "MAILBOX")]
    pub to: Vec<String>,
    /// The reverse-path; '' is the null reverse-path [default: postmaster@ the relay's name].
    #[arg(long, value_name = "MAILBOX")]
    pub from: Option<String>,
    /// The subject of a message made here.
    #[arg(long, default_value = "A first mail through Postrider", conflicts_with = "file")]
    pub subject: String,
    /// The text of a message made here.
    #[arg(long, default_value = "It works.", conflicts_with = "file")]
    pub body: String,
    /// A whole message, header and body; - is standard input. Line ends of the system become CR LF.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Whose mail it is [default: the first tenant].
    #[arg(long, conflicts_with = "smtp")]
    pub tenant: Option<String>,
    /// Its class [default: the tenant's first stream].
    #[arg(long, requires = "tenant")]
    pub stream: Option<String>,
    /// Send by SMTP to this listener instead, with STARTTLS when it is offered (any certificate will do: meant for loopback).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub smtp: Option<SocketAddr>,
    /// The user for AUTH.
    #[arg(long, requires_all = ["smtp", "secret_file"])]
    pub user: Option<String>,
    /// A file with the secret for AUTH (a secret in an argument would show in the process list).
    #[arg(long, value_name = "FILE", requires = "user")]
    pub secret_file: Option<PathBuf>,
}

/// A message, by its id.
#[derive(Debug, Clone, Args)]
pub struct IdArguments {
    /// The message's id; a delivery's (ID/INDEX) will do.
    pub id: String,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// Nothing but the form.
#[derive(Debug, Clone, Args)]
pub struct JsonArguments {
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// `sendmail`
#[derive(Debug, Clone, Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  postrider sendmail -t -i < message.eml             recipients from To, Cc and Bcc; Bcc is removed
  postrider sendmail -f shop@example.com you@example.com < message.eml
  postrider sendmail -bs                             SMTP on standard input and output
  postrider sendmail -bp                             the queue (mailq)
  postrider sendmail -q                              all that waits is due now

Without -i a line with a dot alone ends the message. Exit status: 0 the relay took custody, 75 try again later, else as sysexits.h says."
)]
pub struct SendmailArguments {
    /// Options and recipients.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION|RECIPIENT")]
    pub words: Vec<String>,
}

/// `capture`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider serve --capture                in one terminal
  postrider capture list                   in another
  postrider capture read 019aa1b2-...      the message as it came

Captured mail stands in DATA/capture and is never sent. To forget it, stop the relay and remove that directory.")]
pub struct CaptureArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: CaptureCommand,
}

/// What to do with captured mail.
#[derive(Debug, Clone, Subcommand)]
pub enum CaptureCommand {
    /// List captured messages, in the order they came.
    List(CaptureListArguments),
    /// Print a captured message, header and body.
    Read {
        /// The message's id.
        id: String,
    },
}

/// `capture list`
#[derive(Debug, Clone, Args)]
pub struct CaptureListArguments {
    /// At most so many messages.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub max: u32,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// `backup`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider --data /var/lib/postrider backup /var/backups/postrider-2026-11-26
  tar -C /var/backups -cf postrider.tar postrider-2026-11-26

The copy has every message acknowledged before the backup began that had not ended by then. It holds mail and a private key: keep it closed.")]
pub struct BackupArguments {
    /// A directory that is not there yet, or is empty.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The configuration file, when no relay runs [default: postrider.toml in the data directory].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `restore`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider --data /var/lib/postrider restore /var/backups/postrider-2026-11-26

The data directory must hold neither queue nor configuration. Run it as the user who will run the relay, or give the files to that user afterwards.")]
pub struct RestoreArguments {
    /// A directory that `backup` made.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// `spool`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider spool inspect                  segments and their records
  postrider spool verify                   every checksum; exit status 1 when something is wrong
  postrider spool verify --capture")]
pub struct SpoolArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: SpoolCommand,
}

/// What to do with the spool's files. Neither changes anything.
#[derive(Debug, Clone, Subcommand)]
pub enum SpoolCommand {
    /// Print what the spool's files hold.
    Inspect(SpoolChoice),
    /// Check every checksum.
    Verify(SpoolChoice),
}

/// Which spool.
#[derive(Debug, Clone, Args)]
pub struct SpoolChoice {
    /// The spool of `serve --capture`.
    #[arg(long)]
    pub capture: bool,
}
