//! Postfix from the distribution's package as a relay under test: a private instance in the run's directory, on loopback.
//!
//! Promises: its own configuration, queue and log; the system's Postfix and its files are not touched; the instance is stopped by
//! `postfix -c DIR stop` however the run ends. Mail goes to the sinks by a transport map, without DNS.
//!
//! The tuning is meant to be fair: no chroot, no TLS, no DNS look-ups, no limits per client, processes for every session in and connection out,
//! `in_flow_delay = 0`, connections out are reused, processes live long. What makes its queue durable is left as it is.
//!
//! Does badly: needs root, as Postfix's master does.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::load::pause;
use super::relay::{RelayUnderTest, RunningRelay, StartPlan};
use super::world::{World, ZONE};

/// Where packages put the administrator's command.
const COMMAND: &str = "/usr/sbin/postfix";

/// How often the new instance is asked for its 220, and the stopped one for its end.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS_MAX: usize = 400;

/// Postfix as installed.
#[derive(Debug, Clone)]
pub struct Postfix {
    /// Whether it writes its log (through postlogd, into the run's directory), as it would in service.
    pub log: bool,
    /// Lines that follow the bench's own in main.cf, and so override them.
    pub settings: Vec<String>,
}

impl RelayUnderTest for Postfix {
    fn name(&self) -> String {
        let version = Command::new("/usr/sbin/postconf").args(["-d", "-h", "mail_version"]).output().ok();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        format!("postfix {version}").trim_end().to_owned()
    }

    fn start(&self, plan: &StartPlan) -> anyhow::Result<Box<dyn RunningRelay>> {
        ensure!(Path::new(COMMAND).exists(), "there is no {COMMAND}: install the package postfix (and leave its own instance stopped)");
        ensure!(rustix::process::geteuid().is_root(), "a Postfix instance needs root: its master changes users");
        let address = free_address()?;
        let dir = fs::canonicalize(&plan.dir).with_context(|| format!("no directory {}", plan.dir.display()))?;
        make_directories(&dir)?;
        let mut main = main_cf(&dir, plan, self.log);
        if plan.tls {
            make_certificate(&dir)?;
            main.push_str(&format!("smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {}/tls.pem\n", dir.display()));
        }
        for setting in &self.settings {
            main.push_str(setting);
            main.push('\n');
        }
        fs::write(dir.join("main.cf"), main)?;
        fs::write(dir.join("master.cf"), master_cf(address, plan))?;
        fs::write(dir.join("transport"), transport(&plan.world))?;
        let mut instance = Instance { dir, address, pid: None };
        instance.command("start")?;
        let pid_file = instance.dir.join("spool/pid/master.pid");
        let pid = fs::read_to_string(&pid_file).with_context(|| format!("Postfix wrote no {}", pid_file.display()))?;
        instance.pid = Some(pid.trim().parse().context("Postfix's master.pid holds no number")?);
        instance.await_greeting()?;
        Ok(Box::new(instance))
    }
}

/// A running instance, stopped when this is dropped.
#[derive(Debug)]
struct Instance {
    dir: PathBuf,
    address: SocketAddr,
    pid: Option<u32>,
}

impl Instance {
    fn command(&self, verb: &str) -> anyhow::Result<()> {
        let mut command = Command::new(COMMAND);
        command.arg("-c").arg(&self.dir).arg(verb).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command.output().with_context(|| format!("cannot run {COMMAND}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            // What went wrong stands on the terminal or, once Postfix has read its configuration, in its log.
            let log = fs::read_to_string(self.dir.join("maillog")).unwrap_or_default();
            let last = log.lines().rev().find(|line| line.contains("fatal")).unwrap_or_default();
            bail!("postfix {verb} failed: {} {last}", said.trim());
        }
        Ok(())
    }

    fn await_greeting(&self) -> anyhow::Result<()> {
        for _ in 0..LOOKS_MAX {
            if let Ok(stream) = TcpStream::connect(self.address) {
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).context("Postfix does not greet")?;
                ensure!(line.starts_with("220"), "Postfix greets with: {}", line.trim());
                return Ok(());
            }
            pause(LOOK);
        }
        bail!("Postfix does not listen on {}", self.address)
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let Some(pid) = self.pid.take() else { return Ok(()) };
        self.command("stop")?;
        let proc = PathBuf::from(format!("/proc/{pid}"));
        for _ in 0..LOOKS_MAX {
            if !proc.exists() {
                return Ok(());
            }
            pause(LOOK);
        }
        bail!("Postfix's master {pid} did not end")
    }
}

impl RunningRelay for Instance {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> Option<u32> {
        self.pid
    }

    fn stop(mut self: Box<Self>) -> anyhow::Result<()> {
        self.end()
    }

    fn kill(self: Box<Self>) -> anyhow::Result<()> {
        bail!("the bench does not kill Postfix: its processes would outlive their master")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Only a failed start comes here with a process; that failure is what is reported.
        let _ = self.end();
    }
}

/// A loopback address whose port was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The queue belongs to root and the data to Postfix's user; what lies between comes from `postfix start`.
fn make_directories(dir: &Path) -> anyhow::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    fs::create_dir_all(dir.join("spool"))?;
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let user = user_id(&passwd, "postfix").context("there is no user postfix: is the package installed?")?;
    std::os::unix::fs::chown(&data, Some(user), None)?;
    Ok(())
}

/// A key and a certificate that nobody vouches for, in one file.
fn make_certificate(dir: &Path) -> anyhow::Result<()> {
    let file = dir.join("tls.pem");
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=relay.bench.test";
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).arg("-keyout").arg(&file).arg("-out").arg(dir.join("certificate.pem"));
    let output = command.output().context("cannot run openssl, which makes Postfix's certificate")?;
    ensure!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let chain = [fs::read(&file)?, fs::read(dir.join("certificate.pem"))?].concat();
    Ok(fs::write(&file, chain)?)
}

fn user_id(passwd: &str, name: &str) -> Option<u32> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

fn main_cf(dir: &Path, plan: &StartPlan, log: bool) -> String {
    let dir = dir.display();
    let mut text = format!(
        "compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
myhostname = postfix.{ZONE}
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_event_limit_exceptions = 127.0.0.0/8
smtp_tls_security_level = none
smtputf8_enable = no
transport_maps = texthash:{dir}/transport
smtp_dns_support_level = disabled
smtp_host_lookup = native
in_flow_delay = 0
initial_destination_concurrency = {out}
default_destination_concurrency_limit = {out}
default_process_limit = {processes}
max_use = 10000
qmgr_message_active_limit = 20000
qmgr_message_recipient_limit = 40000
smtp_connection_cache_on_demand = yes
message_size_limit = {size}
mailbox_size_limit = 0
fast_flush_domains =
",
        out = plan.connections_out,
        processes = plan.sessions + plan.connections_out + 50,
        size = plan.message_bytes_max,
    );
    if log {
        // Writing into a String does not fail.
        let _ = writeln!(text, "maillog_file_prefixes = {dir}\nmaillog_file = {dir}/maillog");
    }
    text
}

fn master_cf(address: SocketAddr, plan: &StartPlan) -> String {
    let out = plan.connections_out;
    let sessions = plan.sessions + 10;
    format!(
        "{address} inet n - n - {sessions} smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - {out} smtp
relay unix - - n - {out} smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}

fn transport(world: &World) -> String {
    let mut text = String::new();
    for domain in 0..world.domains {
        let sink = world.sink_ip(world.sink_of_domain(domain));
        // Writing into a String does not fail.
        let _ = writeln!(text, "d{domain}.{ZONE} smtp:[{sink}]:{}", world.sink_port);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transport_map_leads_every_domain_to_its_sink() {
        let world = World { domains: 3, mx_hosts: 2, sinks: 2, sink_port: 2525 };
        assert_eq!(
            transport(&world),
            "d0.bench.test smtp:[127.0.0.2]:2525\nd1.bench.test smtp:[127.0.0.3]:2525\nd2.bench.test smtp:[127.0.0.2]:2525\n"
        );
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostfixer:x:7:7::/:/bin/false\npostfix:x:102:105::/:/bin/false\n";
        assert_eq!(user_id(passwd, "postfix"), Some(102));
        assert_eq!(user_id(passwd, "post"), None);
    }
}
