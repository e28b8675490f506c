//! `serve`: from a data directory to a running relay, and back to nothing running.
//!
//! **Promises.** What goes wrong before the first line "listening" ends the process with one sentence that names the remedy. Nothing is accepted
//! before everything stands. SIGTERM and SIGINT drain within `relay.drain_timeout`, and what is not done by then waits in the spool; a second
//! signal ends the process at once, which costs no mail either. SIGHUP reads the configuration again, whole or not at all.

pub mod certificate;
mod clock;
mod control;
mod drift;
mod first_start;
mod handed;
mod listeners;
mod logging;
mod manager;
mod metrics;
mod pools;
mod reload;
mod running;
mod web;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use postrider_model::Role;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::ServeArguments;
use crate::config::{Config, ListenerConfig};
use crate::data::DataDirectory;
use first_start::FirstStart;
use handed::Handed;

/// File descriptors below which the limits on sessions and connections mean little.
const DESCRIPTORS_FEW: u64 = 4_096;

/// `serve`
pub fn run(data: &Path, arguments: &ServeArguments) -> anyhow::Result<()> {
    let handed = Handed::take()?;
    let directory = DataDirectory::new(data);
    let guard = directory.take()?;
    let file = arguments.config.clone().unwrap_or_else(|| directory.config_file());
    let made = if arguments.config.is_none() && !file.exists() { Some(first_start::make_config(&file)?) } else { None };
    let ended = run_in(directory, file, arguments, made.as_ref(), handed);
    if let (Err(_), Some(first)) = (&ended, &made) {
        // The secret stands nowhere else: it is shown even when the start went no further.
        first.tell_secret(data);
    }
    drop(guard);
    ended
}

fn run_in(
    directory: DataDirectory,
    file: PathBuf,
    arguments: &ServeArguments,
    first: Option<&FirstStart>,
    handed: Handed,
) -> anyhow::Result<()> {
    let data = directory.root().to_owned();
    let config = Config::load(&file, &data)?;
    first_start::make_certificate(&config)?;
    let logs = logging::start(&config, arguments.mail_log.as_deref())?;
    raise_descriptors();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = config.workers {
        builder.worker_threads(workers);
    }
    let runtime = builder.enable_all().build().context("cannot start the runtime")?;
    let start = running::Start { directory, file, config, capture: arguments.capture, logs, first, handed };
    let ended = runtime.block_on(running::run(start));
    // Whatever a task still holds, the spool is closed: nothing of value is under way.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

/// One line that says what listens where, and for whom.
pub fn listener_line(listener: &ListenerConfig, address: SocketAddr, config: &Config) -> String {
    let settings = &listener.settings;
    let tls = match (settings.implicit_tls, settings.starttls) {
        (true, _) => "TLS from the first octet",
        (false, true) => "STARTTLS",
        (false, false) => "without TLS",
    };
    let whom = match settings.role {
        Role::Submission if settings.auth_in_clear => "submission, AUTH needed, also without TLS".to_owned(),
        Role::Submission => "submission, AUTH needed".to_owned(),
        Role::Relay | Role::Report | Role::Local => match config.receive.relay_domains.len() + config.snapshot.routing.local.len() {
            0 => "relay, for no domain yet (relay_domains is empty, and there is no [[local_domain]])".to_owned(),
            count => format!("relay, for {count} domains"),
        },
    };
    format!("{address} ({}): {whom}, {tls}", settings.name)
}

/// The remedy for a listener that cannot be bound.
pub fn bind_trouble(listener: &ListenerConfig, trouble: &std::io::Error) -> anyhow::Error {
    let (name, address) = (&listener.settings.name, listener.address);
    match trouble.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "cannot listen on {address} ({name}): another program listens there. Stop it (`ss -ltnp 'sport = :{}'` shows it), or change the \
             listener's address in the configuration",
            address.port()
        ),
        std::io::ErrorKind::PermissionDenied => anyhow!(
            "cannot listen on {address} ({name}): a port below 1024 needs a privilege. Give the program CAP_NET_BIND_SERVICE (in a systemd unit: \
             AmbientCapabilities=CAP_NET_BIND_SERVICE), or choose a higher port"
        ),
        std::io::ErrorKind::AddrNotAvailable => {
            anyhow!("cannot listen on {address} ({name}): this machine does not have that address; correct it in the configuration")
        }
        _ => anyhow!("cannot listen on {address} ({name}): {trouble}"),
    }
}

/// Each session and each connection out is a descriptor; the soft limit of a shell is far below what is allowed.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(trouble) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%trouble, "the number of file descriptors could not be raised");
    }
    if let Some(current) = getrlimit(Resource::Nofile).current
        && current < DESCRIPTORS_FEW
    {
        tracing::warn!(
            "only {current} file descriptors are allowed; raise the hard limit (LimitNOFILE= in a systemd unit) for a busy relay"
        );
    }
}
