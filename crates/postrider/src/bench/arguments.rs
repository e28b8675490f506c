//! The command line of `postrider bench`, and the work it describes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::generator::LoadPlan;
use super::load::Case;
use super::relay::{OWN_PASSWORD, OWN_USER};
use super::sink::Personality;
use super::world::{World, ZONE};

/// Messages per second with --idle: between two there is time for the relay to come to rest.
const IDLE_RATE: f64 = 200.0;

/// Messages per second with --tarpit: the relay must have room, or its own queue hides what the tarpit does.
const TARPIT_RATE: f64 = 1000.0;

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

/// What is done to mail that is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignedChoice {
    /// Signatures.
    Bare,
    /// Signatures, and all that a stream can ask for.
    Prepared,
    /// The same, from sessions under TLS with AUTH.
    Whole,
}

/// Another relay for the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rival {
    /// Postfix from the distribution's package, as a private instance.
    Postfix,
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
    /// With --start: sessions come under STARTTLS and prove themselves with AUTH PLAIN.
    #[arg(long, requires = "start", conflicts_with = "user")]
    pub secured: bool,
    /// With --start: all that a trusted sender's mail gets: --secured sessions, an RSA and an Ed25519 signature, a return path, a link and a Feedback-ID
    /// for each recipient, and the rules of providers looked at. `--signed=bare`: the two signatures alone, `--signed=prepared`: all but --secured.
    #[arg(long, value_enum, requires = "start", num_args = 0..=1, require_equals = true, default_missing_value = "whole")]
    pub signed: Option<SignedChoice>,
    /// Put another relay through the same work in the same call, run by run in turn. Alone, only that one is measured.
    #[arg(long, value_enum, conflicts_with = "direct")]
    pub against: Option<Rival>,
    /// Run Postfix without a log (it writes one otherwise, as in service).
    #[arg(long, requires = "against")]
    pub postfix_without_log: bool,
    /// A line for Postfix's main.cf, after the bench's own; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", requires = "against")]
    pub postfix_setting: Vec<String>,
    /// Runs; the report gives medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub runs: u16,
    /// One message at a time: each waits until the last reached its sink. Measures the way through an idle relay.
    #[arg(long, group = "mode")]
    pub idle: bool,
    /// Open this many sessions, say nothing on them, and measure the relay's memory and how fast a new session is answered.
    #[arg(long, value_name = "N", group = "mode", conflicts_with = "direct")]
    pub idle_sessions: Option<usize>,
    /// With --idle-sessions: each session does STARTTLS (any certificate will do).
    #[arg(long, requires = "idle_sessions")]
    pub tls: bool,
    /// Send this many messages of --large-bytes at once, and measure the peak of the relay's memory.
    #[arg(long, value_name = "N", group = "mode", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub large: Option<u16>,
    /// Octets of a message of --large; k, MB and GB are understood.
    #[arg(long, default_value = "50MB", value_parser = parse_octets)]
    pub large_bytes: usize,
    /// Each run twice, the second time with one destination whose replies come this many seconds late; measures what the others notice.
    /// Gives each domain a sink of its own, and has a --rate of 1,000 unless given.
    #[arg(long, value_name = "SECONDS", group = "mode", conflicts_with = "direct")]
    pub tarpit: Option<u64>,
    /// Queue this many messages over 10,000 domains that are down, measure memory and acceptance, then kill -9, drop the page cache and start again.
    #[arg(long, value_name = "N", group = "mode", conflicts_with = "direct")]
    pub queue: Option<usize>,
    /// With --queue: wait at most this many seconds until each message failed once.
    #[arg(long, default_value_t = 600)]
    pub queue_wait: u64,
    /// Messages in a run [default: 20000; with --idle 1000].
    #[arg(long)]
    pub messages: Option<usize>,
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
        let mut case = Case {
            name: None,
            run,
            plan: self.plan(),
            messages: self.messages.unwrap_or(20_000),
            warmup: self.warmup,
            octets: self.size,
            warmup_octets: self.size,
            signed: self.signed.is_some(),
            prepared: self.signed.is_some_and(|choice| choice != SignedChoice::Bare),
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
        };
        if !matches!(case.personality, Personality::Normal) {
            // Nothing arrives, so there is nothing to warm up but the way in.
            case.warmup = 0;
        }
        if self.idle {
            case.messages = self.messages.unwrap_or(1000);
            case.plan.sessions = 1;
            case.plan.one_at_a_time = true;
            case.plan.rate = Some(self.rate.unwrap_or(IDLE_RATE));
        }
        if let Some(large) = self.large {
            case.messages = usize::from(large);
            case.plan.sessions = usize::from(large);
            case.octets = self.large_bytes;
        }
        if self.tarpit.is_some() {
            case.plan.world = self.world(50, self.domains.map_or(50, |domains| domains as usize));
            case.plan.rate = Some(self.rate.unwrap_or(TARPIT_RATE));
            case.without_last_sink = true;
        }
        if self.queue.is_some() {
            let domains = self.domains.map_or(10_000, |domains| domains as usize);
            case.plan.world = World { domains, mx_hosts: self.mx_hosts.map_or(domains, |hosts| hosts as usize), ..self.world(domains, 10) };
            if case.personality == Personality::Normal {
                case.personality = Personality::Down;
            }
        }
        case
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
            tls: self.secured(),
            login: match self.secured() {
                true => Some((OWN_USER.to_owned(), OWN_PASSWORD.to_owned())),
                false => self.user.clone().zip(self.password.clone()),
            },
        }
    }

    fn secured(&self) -> bool {
        self.secured || self.signed == Some(SignedChoice::Whole)
    }

    /// Names and addresses, where not given with these defaults.
    fn world(&self, domains: usize, sinks: usize) -> World {
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
        if let Some(sessions) = self.idle_sessions {
            return format!("{sessions} idle sessions{}, {} runs", if self.tls { " under TLS" } else { "" }, self.runs);
        }
        let case = self.case(1);
        let world = &case.plan.world;
        let kind = match (self.idle, self.tarpit, self.queue) {
            (true, ..) => ", one at a time".to_owned(),
            (_, Some(seconds), _) => format!(", of which one destination answers {seconds} s late"),
            (.., Some(_)) => ", all of them down".to_owned(),
            _ => String::new(),
        };
        let rate = case.plan.rate.map(|rate| format!(", {rate} messages per second")).unwrap_or_default();
        format!(
            "{} messages of {} octets, {} recipients each, {} domains on {} sinks{kind}{rate}, {} sessions{}{}{}, {} runs",
            self.queue.unwrap_or(case.messages),
            case.octets,
            case.plan.recipients,
            world.domains,
            world.sinks,
            case.plan.sessions,
            if case.plan.pipelining { "" } else { " without PIPELINING" },
            if case.plan.tls { " under TLS with AUTH" } else { "" },
            match (case.signed, case.prepared) {
                (false, _) => "",
                (true, false) => ", signed twice",
                (true, true) => ", signed twice and prepared",
            },
            self.runs
        )
    }
}

/// Reads a count of octets with an optional k, MB or GB (powers of ten).
fn parse_octets(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        other => return Err(format!("{other} is no unit: k, MB or GB")),
    };
    let count: usize = digits.parse().map_err(|_| format!("{text} is no count of octets"))?;
    count.checked_mul(unit).ok_or_else(|| format!("{text} is too much"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        arguments: BenchArguments,
    }

    fn parse(line: &str) -> Result<BenchArguments, clap::Error> {
        Cli::try_parse_from(["bench"].into_iter().chain(line.split_ascii_whitespace())).map(|cli| cli.arguments)
    }

    #[test]
    fn the_work_follows_the_mode() {
        let case = parse("--start").expect("legal").case(1);
        assert_eq!((case.messages, case.octets, case.plan.sessions), (20_000, 10_240, 20));
        assert_eq!((case.plan.world.domains, case.plan.world.mx_hosts, case.plan.world.sinks), (100, 10, 10));
        let case = parse("--start --idle").expect("legal").case(1);
        assert_eq!((case.messages, case.plan.sessions, case.plan.one_at_a_time), (1000, 1, true));
        let case = parse("--start --large 20 --large-bytes 50MB").expect("legal").case(1);
        assert_eq!((case.messages, case.octets, case.warmup_octets), (20, 50_000_000, 10_240));
        let case = parse("--start --tarpit 5").expect("legal").case(1);
        assert_eq!((case.plan.world.domains, case.plan.world.mx_hosts, case.plan.world.sinks), (50, 50, 50));
        let case = parse("--start --queue 1000000").expect("legal").case(1);
        assert_eq!((case.plan.world.domains, case.plan.world.mx_hosts, case.plan.world.sinks), (10_000, 10_000, 10));
        assert_eq!(case.personality, Personality::Down);
        let case = parse("--start --queue 1000000 --personality tempfail").expect("legal").case(1);
        assert_eq!(case.personality, Personality::Tempfail);
    }

    #[test]
    fn arguments_that_contradict_are_refused() {
        for line in [
            "--direct --start",
            "--pid 3",
            "--start --idle --large 3",
            "--direct --queue 5",
            "--start --tls",
            "--start --user x",
            "--signed",
            "--start --signed=loud",
            "--start --secured --user x --password y",
            "--runs 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn signed_is_the_whole_way_unless_it_says_less() {
        for (line, tls, signed, prepared) in [
            ("--start", false, false, false),
            ("--start --secured", true, false, false),
            ("--start --signed=bare", false, true, false),
            ("--start --signed=bare --secured", true, true, false),
            ("--start --signed=prepared", false, true, true),
            ("--start --signed", true, true, true),
        ] {
            let case = parse(line).expect("legal").case(1);
            assert_eq!((case.plan.tls, case.signed, case.prepared), (tls, signed, prepared), "{line}");
            assert_eq!(case.plan.login.is_some(), tls, "{line}");
        }
    }

    #[test]
    fn octets_have_units() {
        for (text, expected) in
            [("10240", Some(10_240)), ("50MB", Some(50_000_000)), ("10k", Some(10_000)), ("5 MB", None), ("MB", None), ("5x", None)]
        {
            assert_eq!(parse_octets(text).ok(), expected, "{text}");
        }
    }
}
