//! What can be said to `tenant`, `stream`, `key`, `limit` and `apply`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use postrider_model::Priority;
use postrider_model::policy::{Beyond, StreamClass, Strictness};
use postrider_model::valid_name;
use postrider_records::{Scope, read_word};

use crate::config::parse_duration;

/// `tenant`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider tenant add shop                    may send from domains that it has proven, with two streams: transactional and bulk
  postrider tenant add office --sends-as anybody
  postrider tenant list --json
  postrider tenant suspend shop                nobody gets in with its keys; mail that was accepted goes on

A relay that runs follows at once.")]
pub struct TenantArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: TenantCommand,
}

/// What to do about tenants.
#[derive(Debug, Clone, Subcommand)]
pub enum TenantCommand {
    /// Add a tenant with two streams, transactional and bulk.
    Add {
        /// Its name: 1 to 64 of a-z A-Z 0-9 . _ -
        #[arg(value_parser = name)]
        name: String,
        /// Whom it may send as: own_domains (those that it has proven) or anybody.
        #[arg(long, default_value = "own_domains", value_parser = sends_as)]
        sends_as: SendsAs,
        /// JSON.
        #[arg(long)]
        json: bool,
    },
    /// All tenants.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// A tenant with its streams, domains, keys and limits.
    Show {
        /// Its name.
        name: String,
        /// JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change whom it may send as.
    Set {
        /// Its name.
        name: String,
        /// own_domains or anybody.
        #[arg(long, value_parser = sends_as)]
        sends_as: SendsAs,
    },
    /// Let nobody in with its keys.
    Suspend {
        /// Its name.
        name: String,
    },
    /// Let it send again.
    Activate {
        /// Its name.
        name: String,
    },
    /// Remove a tenant that has neither keys nor domains any more.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Whom a tenant may send as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendsAs {
    /// Only its own domains.
    pub own_domains_only: bool,
}

/// `stream`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider stream set shop receipts --class transactional --priority high
  postrider stream set shop news --class bulk --one-click true --rules refuse
  postrider stream set shop receipts --pool dedicated --retention 72h
  postrider stream list shop

`set` adds a stream, or changes what is said and leaves the rest.")]
pub struct StreamArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: StreamCommand,
}

/// What to do about streams.
#[derive(Debug, Clone, Subcommand)]
pub enum StreamCommand {
    /// Add a stream, or change it.
    Set(Box<StreamSetArguments>),
    /// A tenant's streams; the first holds where none is named.
    List {
        /// The tenant.
        tenant: String,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Remove a stream that no key uses.
    Remove {
        /// The tenant.
        tenant: String,
        /// The stream.
        name: String,
    },
}

/// `stream set`
#[derive(Debug, Clone, Args)]
pub struct StreamSetArguments {
    /// The tenant.
    pub tenant: String,
    /// The stream's name.
    #[arg(value_parser = name)]
    pub name: String,
    /// transactional or bulk.
    #[arg(long, value_parser = read_word::<StreamClass>)]
    pub class: Option<StreamClass>,
    /// low, normal or high.
    #[arg(long, value_parser = read_word::<Priority>)]
    pub priority: Option<Priority>,
    /// How long it is tried, as in 4h; '' is as the retry policy says.
    #[arg(long, value_name = "TIME")]
    pub give_up_after: Option<String>,
    /// The pool of the configuration whose sources send it; '' is as the routes say.
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// For so long after its arrival a message stays to be looked at and sent again, as in 72h; '' is not at all.
    #[arg(long, value_name = "TIME")]
    pub retention: Option<String>,
    /// Failures come back to the domain's own return path.
    #[arg(long, value_name = "true|false")]
    pub own_return_path: Option<bool>,
    /// List-Unsubscribe with one click.
    #[arg(long, value_name = "true|false")]
    pub one_click: Option<bool>,
    /// Feedback-ID.
    #[arg(long, value_name = "true|false")]
    pub feedback_id: Option<bool>,
    /// Fields that go are those whose names begin so; may be given more than once; '' is none.
    #[arg(long, value_name = "NAME")]
    pub strip: Option<Vec<String>>,
    /// What becomes of mail that breaks a provider's rule: off, warn, mend or refuse.
    #[arg(long, value_parser = read_word::<Strictness>)]
    pub rules: Option<Strictness>,
}

/// `key`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider key add --tenant shop --note 'the web shop'
  postrider key add --tenant shop --stream bulk --network 10.0.0.0/8 --expires 90d
  postrider key list
  postrider key revoke pk-...                  it opens nothing from now on, and never again

The user and the secret are what AUTH takes. The secret is shown once; what is kept of it opens nothing.")]
pub struct KeyArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What to do about keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeyCommand {
    /// Make a key.
    Add(KeyAddArguments),
    /// All keys, without their secrets.
    List {
        /// A tenant's alone.
        #[arg(long)]
        tenant: Option<String>,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Make a key worthless, for good.
    Revoke {
        /// Its user.
        user: String,
        /// Why, for whoever asks later.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Send at most a message a second with a key, until it is released.
    Brake {
        /// Its user.
        user: String,
        /// Why, for whoever asks later.
        #[arg(long, default_value = "a person said so")]
        reason: String,
    },
    /// Let a key that was braked go at its own pace again.
    Release {
        /// Its user.
        user: String,
    },
}

/// `key add`
#[derive(Debug, Clone, Args)]
pub struct KeyAddArguments {
    /// Whose mail [default: the only tenant].
    #[arg(long)]
    pub tenant: Option<String>,
    /// Its class [default: the tenant's first stream].
    #[arg(long)]
    pub stream: Option<String>,
    /// What it is good for, `send` or `read`; may be given more than once [default: send]. A key that may not send opens no session.
    #[arg(long, value_parser = read_word::<Scope>)]
    pub scope: Vec<Scope>,
    /// Where it is good; may be given more than once [default: anywhere].
    #[arg(long, value_name = "NETWORK")]
    pub network: Vec<IpNet>,
    /// How long it is good, as in 90d [default: for ever].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub expires: Option<Duration>,
    /// What you call it.
    #[arg(long, default_value = "")]
    pub note: String,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// `limit`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider limit set --tenant shop --messages-per-hour 10000 --recipients-per-day 50000
  postrider limit set --tenant shop --key pk-... --messages-per-second 5 --beyond refuse
  postrider limit list --tenant shop
  postrider limit clear --tenant shop

A tenant's limit holds over all its keys. Mail beyond a rate waits until there is room (--beyond queue), or is refused for now with a 450 (--beyond refuse).")]
pub struct LimitArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: LimitCommand,
}

/// What to do about limits.
#[derive(Debug, Clone, Subcommand)]
pub enum LimitCommand {
    /// Set limits; what is not said stays as it is.
    Set(LimitSetArguments),
    /// A tenant's limits, and those of its keys.
    List {
        /// The tenant [default: the only one].
        #[arg(long)]
        tenant: Option<String>,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Forget the limits of a tenant, or of a key.
    Clear {
        /// The tenant [default: the only one].
        #[arg(long)]
        tenant: Option<String>,
        /// A key of it.
        #[arg(long)]
        key: Option<String>,
    },
}

/// `limit set`
#[derive(Debug, Clone, Args)]
pub struct LimitSetArguments {
    /// The tenant [default: the only one].
    #[arg(long)]
    pub tenant: Option<String>,
    /// A key of it; else the limit is the tenant's.
    #[arg(long)]
    pub key: Option<String>,
    /// Messages in a second; 0 is no limit, here and below.
    #[arg(long, value_name = "NUMBER")]
    pub messages_per_second: Option<u32>,
    /// Messages in any hour.
    #[arg(long, value_name = "NUMBER")]
    pub messages_per_hour: Option<u32>,
    /// Messages in any 24 hours.
    #[arg(long, value_name = "NUMBER")]
    pub messages_per_day: Option<u32>,
    /// Recipients in a second.
    #[arg(long, value_name = "NUMBER")]
    pub recipients_per_second: Option<u32>,
    /// Recipients in any hour.
    #[arg(long, value_name = "NUMBER")]
    pub recipients_per_hour: Option<u32>,
    /// Recipients in any 24 hours.
    #[arg(long, value_name = "NUMBER")]
    pub recipients_per_day: Option<u32>,
    /// Recipients of one message.
    #[arg(long, value_name = "NUMBER")]
    pub recipients_per_message: Option<u32>,
    /// Octets of one message.
    #[arg(long, value_name = "OCTETS")]
    pub message_size: Option<u64>,
    /// What becomes of mail beyond a rate: queue or refuse.
    #[arg(long, value_parser = read_word::<Beyond>)]
    pub beyond: Option<Beyond>,
}

/// `apply`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  postrider apply tenants.toml             show what would change, and ask
  postrider apply tenants.toml --yes       show it and do it
  postrider apply tenants.toml --dry-run   show it

The file:
  [[tenant]]
  name = \"shop\"
  sends_as = \"own_domains\"
  domains = [\"brand.example\"]
  limits = { messages_per_hour = 10000, beyond = \"queue\" }
  [[tenant.stream]]
  name = \"news\"
  class = \"bulk\"
  one_click = true
  pool = \"campaigns\"
  retention = \"72h\"
  [[tenant.key]]
  note = \"the web shop\"
  stream = \"news\"
  networks = [\"10.0.0.0/8\"]

What the file does not name stays as it is. A key is known by its note; its secret is shown when it is made.
Exit status: 0 done or nothing to do, 1 the file is wrong, 2 there are differences, and they were not applied.")]
pub struct ApplyArguments {
    /// The file.
    pub file: PathBuf,
    /// Do not ask.
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

fn name(text: &str) -> Result<String, String> {
    if valid_name(text) { Ok(text.to_owned()) } else { Err("1 to 64 of a-z A-Z 0-9 . _ -".to_owned()) }
}

fn sends_as(text: &str) -> Result<SendsAs, String> {
    match text {
        "own_domains" => Ok(SendsAs { own_domains_only: true }),
        "anybody" => Ok(SendsAs { own_domains_only: false }),
        _ => Err("own_domains or anybody".to_owned()),
    }
}
