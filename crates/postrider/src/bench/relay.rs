//! The doors to a relay under test: how the bench starts one, asks it, and stops it. The bench knows nothing else of a relay.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::world::World;

/// Whom a started relay knows, for sessions that prove themselves. It listens on loopback, for the time of a run.
pub const OWN_USER: &str = "bench";

/// What that user proves itself with.
pub const OWN_PASSWORD: &str = "on loopback only";

/// What a relay needs to know to take its place between generator and sinks.
#[derive(Debug, Clone)]
pub struct StartPlan {
    /// A directory of its own: configuration, spool, log. It exists; the bench removes it after the run.
    pub dir: PathBuf,
    /// The DNS server (UDP) that knows the world's names.
    pub dns: SocketAddr,
    /// Names, addresses and the sinks' port; the relay must connect to this port instead of 25.
    pub world: World,
    /// Sessions that will be opened at once.
    pub sessions: usize,
    /// Connections out that the relay may hold in all.
    pub connections_out: usize,
    /// The largest message that will come, in octets.
    pub message_bytes_max: u64,
    /// Whether STARTTLS must be offered (any certificate will do).
    pub tls: bool,
    /// Whether sessions prove themselves as [`OWN_USER`].
    pub login: bool,
    /// Whether it signs what it takes, with an RSA and an Ed25519 key.
    pub signed: bool,
    /// Whether its stream asks for all that can be done, and judges.
    pub prepared: bool,
}

/// A kind of relay that can be started.
pub trait RelayUnderTest {
    /// Its name in the report.
    fn name(&self) -> String;

    /// Starts it and returns when it answers with 220. With a directory that holds the spool of an earlier start, it goes on with that spool.
    ///
    /// # Errors
    /// When it cannot be started, in words for the person at the terminal.
    fn start(&self, plan: &StartPlan) -> anyhow::Result<Box<dyn RunningRelay>>;
}

/// A relay that runs. Dropping one that the bench started must end it: that is what happens when the bench itself fails.
pub trait RunningRelay {
    /// Where it takes mail.
    fn address(&self) -> SocketAddr;

    /// The root of its processes; `None` when it is not known, then its cost is not reported.
    fn pid(&self) -> Option<u32>;

    /// What it tells about itself.
    fn probe(&self) -> Option<&dyn RelayProbe> {
        None
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it does not stop.
    fn stop(self: Box<Self>) -> anyhow::Result<()>;

    /// Ends it with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// When this kind of relay must not be killed.
    fn kill(self: Box<Self>) -> anyhow::Result<()>;
}

/// What only the relay knows. Counts are since its start.
pub trait RelayProbe {
    /// Asks the relay.
    ///
    /// # Errors
    /// When it does not answer.
    fn counts(&self) -> anyhow::Result<RelayCounts>;
}

/// A relay's own counts; `None` is what it does not tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct RelayCounts {
    /// Calls of fsync and fdatasync.
    pub fsyncs: Option<u64>,
    /// Deliveries in the queue.
    pub queued: Option<u64>,
    /// Outcomes of attempts, or of decisions without one.
    pub settled: Option<u64>,
}

/// A relay that somebody else started and keeps: `--relay HOST:PORT --pid PID`.
#[derive(Debug, Clone)]
pub struct External {
    /// Where it takes mail.
    pub address: SocketAddr,
    /// The root of its processes.
    pub pid: Option<u32>,
}

impl RelayUnderTest for External {
    fn name(&self) -> String {
        self.address.to_string()
    }

    fn start(&self, _plan: &StartPlan) -> anyhow::Result<Box<dyn RunningRelay>> {
        Ok(Box::new(self.clone()))
    }
}

impl RunningRelay for External {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> Option<u32> {
        self.pid
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }

    fn kill(self: Box<Self>) -> anyhow::Result<()> {
        anyhow::bail!("the relay at {} was not started by the bench, so the bench does not kill it", self.address)
    }
}
