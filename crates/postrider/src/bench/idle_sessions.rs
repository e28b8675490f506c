//! Thousands of sessions that say nothing: what they cost the relay in memory, and whether a new session is still answered.
//!
//! Promises: each session has been greeted, has said EHLO and, where asked, stands under TLS, before memory is read. Sessions come from several
//! loopback networks, so that neither the ports of one address nor a limit per client network ends them early.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::dns::DnsServer;
use super::ledger::Watch;
use super::load::{Case, MEGABYTE, RunDir, pause};
use super::measure::{self, percentile};
use super::relay::{RelayUnderTest, RunningRelay};
use super::report::Row;
use super::tls::{Tls, TlsStream};

/// Sessions from one client address.
const SESSIONS_PER_SOURCE: usize = 1000;

/// New sessions that are timed while the others are idle.
const NEW_SESSIONS: usize = 100;

/// No answer for this long is a failure.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// The wait before memory is read: accepted sockets come to rest.
const SETTLE: Duration = Duration::from_secs(2);

/// An open session; it closes when dropped.
enum Idle {
    Plain { _stream: TcpStream },
    Tls { _stream: Box<TlsStream> },
}

/// Opens `sessions` sessions with a relay and measures.
///
/// # Errors
/// When the relay does not start, or refuses a session.
pub fn run(case: &Case, relay: &dyn RelayUnderTest, sessions: usize, tls: bool) -> anyhow::Result<Row> {
    let dir = RunDir::new(&case.work_dir, &format!("idle-{}", case.run))?;
    let dns = DnsServer::start(case.plan.world.clone(), case.dns_port)?;
    let mut plan = case.start_plan(dir.path(), &dns);
    plan.sessions = sessions + NEW_SESSIONS;
    plan.tls = tls;
    let running = relay.start(&plan).with_context(|| format!("{} did not start", relay.name()))?;
    let row = measured(case, &*running, sessions, tls, relay.name());
    let stopped = running.stop();
    let row = row?;
    stopped.with_context(|| format!("{} did not stop", relay.name()))?;
    Ok(row)
}

fn measured(case: &Case, running: &dyn RunningRelay, sessions: usize, tls: bool, name: String) -> anyhow::Result<Row> {
    let mut row = Row::new(name, case.run);
    let tls = tls.then(Tls::new).transpose()?;
    let watch = Watch::start();
    // The first session makes the relay build what it builds once.
    drop(open(running.address(), 0, tls.as_ref(), &watch)?);
    let before = running.pid().map(measure::usage).transpose()?;
    let start_ns = watch.now_ns();
    let mut open_sessions = Vec::with_capacity(sessions);
    for index in 0..sessions {
        let (session, _) =
            open(running.address(), index, tls.as_ref(), &watch).with_context(|| format!("idle session {index} was not opened"))?;
        open_sessions.push(session);
    }
    row.set("idle_opened_per_s", sessions as f64 / ((watch.now_ns() - start_ns) as f64 / 1e9));
    row.set("idle_sessions", sessions as f64);
    pause(SETTLE);
    if let (Some(pid), Some(before)) = (running.pid(), before) {
        let after = measure::usage(pid)?;
        row.set("relay_rss_before_mb", before.resident_bytes as f64 / MEGABYTE);
        row.set("relay_rss_mb", after.resident_bytes as f64 / MEGABYTE);
        row.set("relay_rss_more_mb", (after.resident_bytes as f64 - before.resident_bytes as f64) / MEGABYTE);
        row.set("relay_processes", after.processes as f64);
    }
    let mut answered_us = Vec::with_capacity(NEW_SESSIONS);
    for index in 0..NEW_SESSIONS {
        let (_session, answered_ns) = open(running.address(), sessions + index, tls.as_ref(), &watch)?;
        answered_us.push(u32::try_from(answered_ns / 1000).unwrap_or(u32::MAX));
    }
    answered_us.sort_unstable();
    let milliseconds = |percent| percentile(&answered_us, percent).map(|us| f64::from(us) / 1000.0);
    row.set("new_session_p50_ms", milliseconds(50.0));
    row.set("new_session_max_ms", milliseconds(100.0));
    Ok(row)
}

/// Opens one session; gives it and the time from connect to the 220.
fn open(address: SocketAddr, index: usize, tls: Option<&Tls>, watch: &Watch) -> anyhow::Result<(Idle, u64)> {
    let start_ns = watch.now_ns();
    let mut stream = connect(address, index)?;
    expect(&mut stream, "220")?;
    let answered_ns = watch.now_ns() - start_ns;
    say(&mut stream, "EHLO idle.bench.test", "250")?;
    let Some(tls) = tls else { return Ok((Idle::Plain { _stream: stream }, answered_ns)) };
    say(&mut stream, "STARTTLS", "220")?;
    let mut stream = tls.secure(stream)?;
    say(&mut stream, "EHLO idle.bench.test", "250")?;
    Ok((Idle::Tls { _stream: Box::new(stream) }, answered_ns))
}

fn connect(address: SocketAddr, index: usize) -> anyhow::Result<TcpStream> {
    if !address.ip().is_loopback() {
        bail!("{address} is not a loopback address");
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .context("no socket: is the limit of open files too low?")?;
    if address.is_ipv4() {
        let source = Ipv4Addr::new(127, 1, (index / SESSIONS_PER_SOURCE) as u8, 1);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    socket.connect_timeout(&address.into(), ANSWER_WAIT).with_context(|| format!("cannot connect to {address}"))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    Ok(stream)
}

fn say(stream: &mut (impl Read + Write), command: &str, code: &str) -> anyhow::Result<()> {
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    stream.flush()?;
    expect(stream, code).with_context(|| format!("after {command}"))
}

/// Reads one reply. Nothing is pipelined here, so that what a reader takes beyond it would be the relay's mistake.
fn expect(stream: &mut impl Read, code: &str) -> anyhow::Result<()> {
    let mut reader = BufReader::with_capacity(1024, stream);
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line).context("no reply")? > 0, "the relay hung up");
        ensure!(line.starts_with(code), "expected {code}, got {}", line.trim_end());
        if line.as_bytes().get(code.len()) != Some(&b'-') {
            ensure!(reader.buffer().is_empty(), "the relay spoke twice");
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_whole_and_judged() {
        for (octets, legal) in [
            (&b"220 x ESMTP\r\n"[..], true),
            (b"220-x\r\n220 y\r\n", true),
            (b"220-x\r\n", false),
            (b"", false),
            (b"421 busy\r\n", false),
            (b"220 x\r\n250 y\r\n", false),
        ] {
            let mut from = octets;
            assert_eq!(expect(&mut from, "220").is_ok(), legal, "{:?}", octets.escape_ascii().to_string());
        }
    }

    #[test]
    fn only_loopback_is_connected_to() {
        let address = "192.0.2.1:25".parse().expect("an address");
        assert!(connect(address, 0).is_err_and(|error| error.to_string().contains("not a loopback")));
    }
}
