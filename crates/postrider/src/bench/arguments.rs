//! The command line of `postrider bench`, and the work it describes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::generator::LoadPlan;
use super::load::Case;
use super::sink::Personality;
use super::world::{World, ZONE};

/// How all sinks behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SinkChoice {
    /// Take everything.
    Normal,
    /// Refuse connections.
    Down,
    /// Answer 450 to every RCPT.
    Tempfail,
    /// Answer 421 to every connection.
    Busy,
}

/// Measures an SMTP relay from outside, over real SMTP on loopback.
#[derive(Debug, Clone, Args)]
pub struct BenchArguments {
    /// Measure the tools alone: the generator straight to the sinks.
    #[arg(long, conflicts_with_all = ["relay", "start"])]
    pub direct: bool,
    /// Measure the relay that listens here. It must resolve names at --dns-port and deliver to --sink-port.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "start")]
    pub relay: Option<SocketAddr>,
    /// The process of that relay, for its CPU time and memory (with its descendants).
    #[arg(long, requires = "relay")]
    pub pid: Option<u32>,
    /// Start this relay on a fresh spool for each run, and stop it.
    #[arg(long)]
    pub start: bool,
    /// Runs; the report gives medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub runs: u16,
    /// Messages in a run.
    #[arg(long, default_value_t = 20_000)]
    pub messages: usize,
    /// Messages before them that are not counted.
    #[arg(long, default_value_t = 200)]
    pub warmup: usize,
    /// Sessions held open by the generator.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    pub sessions: u16,
    /// Octets of a message.
    #[arg(long, default_value_t = 10_240)]
    pub size: usize,
    /// Recipients of a message, at successive domains.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub recipients: u16,
    /// Recipient domains, d0.bench.test and on.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub domains: Option<u32>,
    /// Addresses with a sink, 127.0.0.2 and on.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub sinks: Option<u16>,
    /// Names of MX hosts over which the domains are spread [default: as many as sinks].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub mx_hosts: Option<u32>,
    /// The port of every sink.
    #[arg(long, default_value_t = 2525)]
    pub sink_port: u16,
    /// The UDP port of the DNS server on 127.0.0.1.
    #[arg(long, default_value_t = 5355)]
    pub dns_port: u16,
    /// How the sinks behave.
    #[arg(long, value_enum, default_value = "normal")]
    pub personality: SinkChoice,
    /// Messages per second [default: as fast as they are taken].
    #[arg(long)]
    pub rate: Option<f64>,
    /// Say each command alone, without PIPELINING.
    #[arg(long)]
    pub no_pipelining: bool,
    /// Connections out that the relay may hold.
    #[arg(long, default_value_t = 20)]
    pub connections_out: usize,
    /// The reverse-path of every message.
    #[arg(long, default_value_t = format!("bench@d0.{ZONE}"))]
    pub from: String,
    /// The user for AUTH PLAIN.
    #[arg(long, requires = "password")]
    pub user: Option<String>,
    /// The password for AUTH PLAIN.
    #[arg(long, requires = "user")]
    pub password: Option<String>,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    pub generator_threads: usize,
    /// Threads of the sinks.
    #[arg(long, default_value_t = 1)]
    pub sink_threads: usize,
    /// Seconds without an arrival after which the bench stops waiting.
    #[arg(long, default_value_t = 30)]
    pub patience: u64,
    /// Where run directories with spools are made; it should be on a journaled file system.
    #[arg(long, value_name = "DIR", default_value = "bench-work")]
    pub work: PathBuf,
    /// Report JSON.
    #[arg(long)]
    pub json: bool,
}

impl BenchArguments {
    /// The work of run `run`.
    pub fn case(&self, run: u16) -> Case {
        Case {
            name: None,
            run,
            plan: self.plan(),
            messages: self.messages,
            warmup: self.warmup,
            octets: self.size,
            personality: match self.personality {
                SinkChoice::Normal => Personality::Normal,
                SinkChoice::Down => Personality::Down,
                SinkChoice::Tempfail => Personality::Tempfail,
                SinkChoice::Busy => Personality::Busy,
            },
            last_sink: None,
            without_last_sink: false,
            patience: Duration::from_secs(self.patience),
            connections_out: self.connections_out,
            sink_threads: self.sink_threads,
            dns_port: self.dns_port,
            work_dir: self.work.clone(),
        }
    }

    fn plan(&self) -> LoadPlan {
        LoadPlan {
            targets: Vec::new(),
            sessions: usize::from(self.sessions),
            threads: self.generator_threads,
            recipients: usize::from(self.recipients),
            world: self.world(100, 10),
            rate: self.rate,
            one_at_a_time: false,
            pipelining: !self.no_pipelining,
            from: self.from.clone(),
            login: self.user.clone().zip(self.password.clone()),
        }
    }

    /// Names and addresses, where not given with these defaults.
    pub fn world(&self, domains: usize, sinks: usize) -> World {
        let sinks = self.sinks.map_or(sinks, usize::from);
        World {
            domains: self.domains.map_or(domains, |domains| domains as usize),
            mx_hosts: self.mx_hosts.map_or(sinks, |hosts| hosts as usize),
            sinks,
            sink_port: self.sink_port,
        }
    }

    /// The work, for the head of the report.
    pub fn in_words(&self) -> String {
        let case = self.case(1);
        let world = &case.plan.world;
        format!(
            "{} messages of {} octets, {} recipients each, {} domains on {} sinks, {} sessions, {} runs",
            case.messages, case.octets, case.plan.recipients, world.domains, world.sinks, case.plan.sessions, self.runs
        )
    }
}
