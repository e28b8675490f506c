//! What can be said behind `queue`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use postrider_http::wire;

use crate::cli::arguments::JsonArguments;
use crate::config::parse_duration;

/// `queue`
#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  postrider queue                                    list what waits
  postrider queue list --host example.com --json
  postrider queue count                              how much waits where, by age
  postrider queue show 019aa1b2-...                  one message, with its attempts
  postrider queue retry --site mx.example.com
  postrider queue hold --sender shop.example --reason 'to be looked at'
  postrider queue release --sender shop.example
  postrider queue bounce --tenant shop --older-than 2d --reason 'too late' --dry-run
  postrider queue suspend --site mx.example.com --for 2h --reason 'their maintenance'
  postrider queue reroute --site mx.example.com --to backup
  postrider queue watch                              a screen to leave open

docs/queue.md is the handbook."
)]
pub struct QueueArguments {
    /// What to do with it.
    #[command(subcommand)]
    pub command: Option<QueueCommand>,
    /// Without a word: list.
    #[command(flatten)]
    pub list: ListArguments,
}

/// What to do with the queue.
#[derive(Debug, Clone, Subcommand)]
pub enum QueueCommand {
    /// List live deliveries, in the order they came.
    List(ListArguments),
    /// How much waits where, by age: rows are next hops, columns minutes.
    Count(CountArguments),
    /// One message: its envelope, its live deliveries, and the attempts that the journal keeps.
    Show(ShowArguments),
    /// Keep mail from being sent until it is released, even beyond its give-up time.
    Hold(HoldArguments),
    /// Let held mail go on; it is due when it was due before.
    Release(AlterArguments),
    /// Make waiting mail due now.
    Retry(AlterArguments),
    /// End deliveries; the sender is told, as of any bounce.
    Bounce(EndArguments),
    /// End deliveries; nobody is told.
    Cancel(EndArguments),
    /// Send nothing to a Site, for a tenant, or from a Source.
    Suspend(SuspendArguments),
    /// End a suspension.
    Resume(ResumeArguments),
    /// List what is suspended.
    Suspended(JsonArguments),
    /// Send mail that waits another way: by a route or a smart host of the configuration, or by `mx`.
    Reroute(RerouteArguments),
    /// List what is sent another way.
    Rerouted(JsonArguments),
    /// The Sites that the schedule knows, and what holds them.
    Sites(JsonArguments),
    /// A screen that can be left open; lines where there is no terminal.
    Watch(WatchArguments),
}

/// Which deliveries. All that is said must be true of one.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// A tenant's.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Of a stream.
    #[arg(long)]
    pub stream: Option<String>,
    /// To a recipient domain (or address literal).
    #[arg(long, visible_alias = "domain")]
    pub host: Option<String>,
    /// To a Site, as `queue sites` names it.
    #[arg(long)]
    pub site: Option<String>,
    /// From a mailbox, from all of a domain, or from '<>'.
    #[arg(long, visible_alias = "from")]
    pub sender: Option<String>,
    /// Accepted at least so long ago (`90m`, `2d`).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub older_than: Option<Duration>,
    /// Accepted at most so long ago.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub younger_than: Option<Duration>,
}

impl Which {
    /// As it goes over the socket.
    pub fn wire(&self, ids: &[String], state: Option<State>) -> wire::Which {
        wire::Which {
            messages: ids.to_vec(),
            tenant: self.tenant.clone(),
            stream: self.stream.clone(),
            host: self.host.clone(),
            site: self.site.clone(),
            sender: self.sender.clone(),
            state: state.map(|state| state.word().to_owned()),
            older_than_s: self.older_than.map(|age| age.as_secs()),
            younger_than_s: self.younger_than.map(|age| age.as_secs()),
        }
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// In the spool.
    Waiting,
    /// Under way, or next in turn.
    Lent,
    /// Held by hand.
    Held,
}

impl State {
    /// The word on the socket.
    pub fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Lent => "lent",
            State::Held => "held",
        }
    }
}

/// `queue list`
#[derive(Debug, Clone, Args)]
pub struct ListArguments {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Standing there.
    #[arg(long)]
    pub state: Option<State>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub max: u32,
    /// All of them, in no order: the way to read a queue of a million.
    #[arg(long, conflicts_with = "max")]
    pub all: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// `queue count`
#[derive(Debug, Clone, Args)]
pub struct CountArguments {
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Standing there.
    #[arg(long)]
    pub state: Option<State>,
    /// What the rows are.
    #[arg(long, default_value = "site")]
    pub by: Rows,
    /// At most so many rows, the largest first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max: u32,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// What the rows of a count are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rows {
    /// Next hops; a domain whose hosts are not known yet stands for itself.
    Site,
    /// Recipient domains.
    Host,
    /// Tenants.
    Tenant,
}

impl Rows {
    /// The word on the socket, and the column's head.
    pub fn word(self) -> &'static str {
        match self {
            Rows::Site => "site",
            Rows::Host => "host",
            Rows::Tenant => "tenant",
        }
    }
}

/// `queue show`
#[derive(Debug, Clone, Args)]
pub struct ShowArguments {
    /// The message's id; a delivery's (ID/INDEX) will do.
    pub id: String,
    /// The message itself, header and body, and nothing else.
    #[arg(long, conflicts_with = "json")]
    pub content: bool,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// `queue release` and `queue retry`
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["ids", "tenant", "stream", "host", "site", "sender", "older_than", "younger_than", "all"]))]
pub struct AlterArguments {
    /// Messages.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Everything.
    #[arg(long, conflicts_with_all = ["ids", "tenant", "stream", "host", "site", "sender", "older_than", "younger_than"])]
    pub all: bool,
    /// Change nothing; say how many match.
    #[arg(long)]
    pub dry_run: bool,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// `queue hold`
#[derive(Debug, Clone, Args)]
pub struct HoldArguments {
    /// Which.
    #[command(flatten)]
    pub alter: AlterArguments,
    /// Why: one line, shown wherever the mail is shown.
    #[arg(long, default_value = "")]
    pub reason: String,
}

/// `queue bounce` and `queue cancel`
#[derive(Debug, Clone, Args)]
pub struct EndArguments {
    /// Which.
    #[command(flatten)]
    pub alter: AlterArguments,
    /// Standing there.
    #[arg(long)]
    pub state: Option<State>,
    /// Why: one line, in the mail log, the journal, and the report to the sender.
    #[arg(long, required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Do it, though it is more than one message.
    #[arg(long)]
    pub yes: bool,
}

/// What is suspended or resumed.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// A Site, as `queue sites` names it.
    #[arg(long)]
    pub site: Option<String>,
    /// A tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// A Source.
    #[arg(long)]
    pub source: Option<String>,
}

impl Target {
    /// As it goes over the socket.
    pub fn wire(&self) -> wire::Target {
        let named = [("site", &self.site), ("tenant", &self.tenant), ("source", &self.source)];
        let found = named.into_iter().find_map(|(kind, name)| name.as_ref().map(|name| (kind, name)));
        let (kind, name) = found.map_or(("", String::new()), |(kind, name)| (kind, name.clone()));
        wire::Target { kind: kind.to_owned(), name }
    }
}

/// `queue suspend`
#[derive(Debug, Clone, Args)]
pub struct SuspendArguments {
    /// What.
    #[command(flatten)]
    pub target: Target,
    /// For how long (`90m`, `2h`, `3d`); without it until it is resumed.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub time: Option<Duration>,
    /// Why: one line, shown wherever its mail is explained.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// `queue resume`
#[derive(Debug, Clone, Args)]
pub struct ResumeArguments {
    /// What.
    #[command(flatten)]
    pub target: Target,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// `queue reroute`
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["ids", "tenant", "stream", "host", "site", "sender", "older_than", "all", "end"]))]
pub struct RerouteArguments {
    /// Messages.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Which.
    #[command(flatten)]
    pub which: Which,
    /// Everything.
    #[arg(long, conflicts_with_all = ["ids", "tenant", "stream", "host", "site", "sender", "older_than", "younger_than"])]
    pub all: bool,
    /// Where to: the name of a [[route]] or a [[smart_host]], or `mx`.
    #[arg(long, value_name = "NAME", required_unless_present = "end")]
    pub to: Option<String>,
    /// Mail that comes later, too; without it what is accepted by now.
    #[arg(long)]
    pub new_too: bool,
    /// For how long (`90m`, `2h`, `3d`); without it until it is ended.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub time: Option<Duration>,
    /// Why: one line.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// End one, by its number: what is left of its mail goes as the rules say.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["ids", "tenant", "stream", "host", "site", "sender", "older_than", "younger_than", "all", "to", "new_too", "time", "reason"])]
    pub end: Option<u64>,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// `queue watch`
#[derive(Debug, Clone, Args)]
pub struct WatchArguments {
    /// How often.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub every: Duration,
    /// End after so many looks [default: when it is interrupted].
    #[arg(long, value_name = "COUNT")]
    pub times: Option<u32>,
    /// Rows of next hops.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rows: u32,
    /// One JSON object a look.
    #[arg(long)]
    pub json: bool,
}
