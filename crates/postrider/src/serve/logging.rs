//! The two logs: what the program says (standard error), and what it does with mail.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use postrider_edge::SystemClock;
use postrider_model::doors::{Judged, MailLog};
use postrider_model::{AttemptFacts, Message, MessageId, Outcome};
use postrider_smtp::Reply;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, LogFormat, MailLogTarget};
use crate::mail_log::{LineLog, Sink, Writer};
use crate::shown::Clean;

/// The mail log's door, and its writer when there is one.
pub struct Logs {
    /// For the relay.
    pub door: Arc<dyn MailLog>,
    /// To flush and to open anew.
    pub writer: Option<Arc<Writer>>,
}

/// Starts both. `mail_log` is what the command line says over the configuration.
pub fn start(config: &Config, mail_log: Option<&str>) -> anyhow::Result<Logs> {
    program_log(config);
    log_panics();
    // A path on the command line starts where the person stands; one in the file, in the data directory.
    let target = mail_log.map_or_else(|| config.log.mail_log.clone(), |text| MailLogTarget::parse(text, Path::new("")));
    let (sink, terminal) = match &target {
        MailLogTarget::None => return Ok(Logs { door: Arc::new(AlarmsOnly), writer: None }),
        MailLogTarget::StandardOutput => (Sink::StandardOutput, io::stdout().is_terminal()),
        MailLogTarget::File(path) => (Sink::File(path.clone()), false),
    };
    let json = as_json(config.log.format, terminal);
    let writer = Writer::start(sink, json).with_context(|| format!("cannot open the mail log {target:?}"))?;
    Ok(Logs { door: Arc::new(LineLog::new(writer.clone(), Arc::new(SystemClock), json)), writer: Some(writer) })
}

fn as_json(format: LogFormat, terminal: bool) -> bool {
    match format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    }
}

fn program_log(config: &Config) {
    let terminal = io::stderr().is_terminal();
    let level = LevelFilter::from_level(config.log.level);
    let registry = tracing_subscriber::registry().with(level);
    // A second relay in the process keeps the first one's subscriber.
    let _ = if as_json(config.log.format, terminal) {
        registry.with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false).with_writer(io::stderr)).try_init()
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_ansi(terminal).with_target(false).with_writer(io::stderr)).try_init()
    };
}

/// A panic ends its task, not the relay; it is told in the form of the log, on one line.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let said = panic.payload_as_str().unwrap_or("no words");
        tracing::error!("alarm: a fault of ours at {place}: {}", Clean(said));
    }));
}

/// No mail log; alarms are said all the same.
struct AlarmsOnly;

impl MailLog for AlarmsOnly {
    fn accepted(&self, _: &Message) {}

    fn attempted(&self, _: &Message, _: u32, _: Option<&AttemptFacts>, _: &Outcome) {}

    fn refused(&self, _: std::net::IpAddr, _: &str, _: &Reply) {}

    fn judged(&self, _: &Judged<'_>) {}

    fn alarm(&self, message: Option<MessageId>, text: &str) {
        crate::mail_log::say_alarm(message, text);
    }
}
