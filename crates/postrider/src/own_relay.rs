//! This relay, as `postrider bench` sees it: a process of its own, started from the same program on a directory of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use postrider_http::wire;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use crate::bench::relay::{OWN_PASSWORD, OWN_USER, RelayCounts, RelayProbe, RelayUnderTest, RunningRelay, StartPlan};
use crate::bench::world::ZONE;
use crate::bench::{BenchArguments, run_with};
use crate::cli::Client;
use crate::cli::dkim::{self, NewArguments};
use crate::registry::{hex, sha256};

/// How long a start may take; a large spool is recovered in it.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// `bench`
pub fn bench(arguments: BenchArguments) -> anyhow::Result<()> {
    run_with(arguments, Some(&OwnRelay))
}

/// Starts this program's `serve`.
struct OwnRelay;

impl RelayUnderTest for OwnRelay {
    fn name(&self) -> String {
        "postrider".to_owned()
    }

    fn start(&self, plan: &StartPlan) -> anyhow::Result<Box<dyn RunningRelay>> {
        let data = plan.dir.join("data");
        let file = plan.dir.join("postrider.toml");
        let mut text = config(plan);
        if plan.signed || plan.login {
            text += &client(plan.login);
        }
        if plan.signed {
            text += &signing(&data, plan.prepared)?;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let said = plan.dir.join("serve.log");
        let log = File::options().create(true).append(true).open(&said)?;
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.arg("--data").arg(&data).arg("serve").arg("--config").arg(&file);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot start this program again")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut relay = RunningSelf { child, data, address: SocketAddr::from(([127, 0, 0, 1], 0)), runtime };
        relay.address =
            relay.await_ready().with_context(|| format!("the relay did not start; {} says: {}", said.display(), last_words(&said)))?;
        Ok(Box::new(relay))
    }
}

/// A configuration for the bench: one listener that takes the world's domains, and strangers who are not verified; everything else as it comes.
fn config(plan: &StartPlan) -> String {
    let domains: Vec<String> = (0..plan.world.domains).map(|number| format!("\"d{number}.{ZONE}\"")).collect();
    let sessions = plan.sessions + 100;
    // What is relayed is not signed, and nobody proves itself there.
    let role = if plan.signed || plan.login { "submission" } else { "relay" };
    format!(
        "[relay]\nhost_name = \"relay.{ZONE}\"\nrelay_domains = [{}]\n\n\
         [[listener]]\nname = \"bench\"\naddress = \"127.0.0.1:0\"\nrole = \"{role}\"\ntls = \"{}\"\n\n\
         [limits]\nmessage_size_max = {}\nsessions_max = {sessions}\nsessions_per_network_max = {sessions}\n\n\
         [delivery]\nsmtp_port = {}\nconnections_out_max = {}\n\n[dns]\nservers = [\"{}\"]\nipv6 = false\n\n\
         [log]\nformat = \"json\"\nmail_log = \"mail.log\"\n\n[verify]\nstrangers = false\n",
        domains.join(", "),
        if plan.tls || plan.signed { "starttls" } else { "none" },
        plan.message_bytes_max.max(1 << 20),
        plan.world.sink_port,
        plan.connections_out.max(1),
        plan.dns,
    )
}

/// The client of a listener for submission: known by its password, or by its address alone.
fn client(login: bool) -> String {
    let proof = match login {
        true => format!("secret_sha256 = \"{}\"", hex(&sha256(OWN_PASSWORD.as_bytes()))),
        false => "networks = [\"127.0.0.0/8\"]".to_owned(),
    };
    format!("[[credential]]\nuser = \"{OWN_USER}\"\n{proof}\n\n")
}

/// Keys for the world's domains, once.
fn signing(data: &Path, prepared: bool) -> anyhow::Result<String> {
    let arguments = NewArguments { domain: ZONE.to_owned(), selector: "bench".to_owned(), json: false };
    let files = if data.join("dkim").join(ZONE).exists() {
        ["rsa", "ed25519"].map(|end| format!("bench-{end}: dkim/{ZONE}/bench-{end}.pem")).to_vec()
    } else {
        fs::DirBuilder::new().mode(0o700).create(data)?;
        dkim::make(data, &arguments)?.into_iter().map(|key| format!("{}: {}", key.selector, key.file)).collect()
    };
    let (return_path, stream) = match prepared {
        false => (String::new(), String::new()),
        true => (
            format!("return_path = \"back.{ZONE}\"\n"),
            format!(
                "[web]\nlisten = \"127.0.0.1:0\"\ntls = \"none\"\npublic_url = \"https://mail.{ZONE}\"\n\n[[tenant]]\nname = \"bench\"\n[[tenant.stream]]\n\
                 name = \"bulk\"\nclass = \"bulk\"\nown_return_path = true\none_click = true\nfeedback_id = true\nrules = \"warn\"\n"
            ),
        ),
    };
    Ok(format!("[[domain]]\nname = \"{ZONE}\"\nkeys = {files:?}\n{return_path}\n{stream}"))
}

/// The end of what a child said, for an error.
fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// A child that runs `serve`; killed when this is dropped.
struct RunningSelf {
    child: Child,
    data: PathBuf,
    address: SocketAddr,
    runtime: Runtime,
}

impl RunningSelf {
    fn ask<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.runtime.block_on(async { Client::connect(&self.data).await?.get(path).await })
    }

    fn pause(&self) {
        self.runtime.block_on(async { tokio::time::sleep(LOOK).await });
    }

    fn await_ready(&mut self) -> anyhow::Result<SocketAddr> {
        let mut looked = Duration::ZERO;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            match self.ask::<wire::Status>("/v1/status") {
                Ok(status) => {
                    let listener = status.listeners.first().context("it listens nowhere")?;
                    return listener.address.parse().context("it listens at no address");
                }
                Err(trouble) if looked >= START_TIMEOUT => return Err(trouble),
                Err(_) => self.pause(),
            }
            looked += LOOK;
        }
    }

    fn await_end(&mut self) -> anyhow::Result<()> {
        let mut looked = Duration::ZERO;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the relay ended with {status}"),
                None if looked >= STOP_TIMEOUT => bail!("the relay did not stop within {} s", STOP_TIMEOUT.as_secs()),
                None => self.pause(),
            }
            looked += LOOK;
        }
    }
}

impl RunningRelay for RunningSelf {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn probe(&self) -> Option<&dyn RelayProbe> {
        Some(self)
    }

    fn stop(mut self: Box<Self>) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the relay has no process id")?;
        kill_process(pid, Signal::TERM).context("cannot stop the relay")?;
        self.await_end()
    }

    fn kill(mut self: Box<Self>) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill the relay")?;
        self.child.wait().context("cannot wait for the relay")?;
        Ok(())
    }
}

impl RelayProbe for RunningSelf {
    fn counts(&self) -> anyhow::Result<RelayCounts> {
        let status: wire::Status = self.ask("/v1/status")?;
        Ok(RelayCounts { fsyncs: Some(status.health.syncs), queued: Some(status.deliveries), settled: Some(status.health.settled) })
    }
}

impl Drop for RunningSelf {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
