//! The load generator: persistent SMTP sessions that send marked messages as fast as the relay takes them, or at a given rate.
//!
//! Promises: with PIPELINING (RFC 2920) a message is two writes and two reads: MAIL, RCPT and DATA together, then the content with its end.
//! A message counts as accepted when its 250 was read, never before. A transient refusal is tried again; a permanent one is counted. A broken
//! session is opened again a bounded number of times, and its message in doubt is sent again.
//!
//! Never: keeps messages (see [`Content`]), or opens a session that its plan did not name.
//!
//! Does badly: `AUTH PLAIN` is sent in the clear where the plan has no TLS, and any certificate will do where it has: both ends are on this machine.

use std::io::{self, IoSlice, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::content::{Content, OWN_OCTETS};
use super::ledger::{Ledger, Token};
use super::tls::Tls;
use super::world::World;

/// How often one message is tried after transient refusals, and a session opened after it broke.
const TRIES_MAX: usize = 200;

/// The wait before a try again.
const PAUSE: Duration = Duration::from_millis(25);

/// No reply for this long breaks a session (RFC 5321 §4.5.3.2 allows 10 minutes after the end of data; a bench must end).
const REPLY_WAIT: Duration = Duration::from_secs(120);

/// What to send, and where.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Where session `i` connects: the `i mod len`-th.
    pub targets: Vec<SocketAddr>,
    /// Sessions in all.
    pub sessions: usize,
    /// Threads that share them.
    pub threads: usize,
    /// Recipients of each message.
    pub recipients: usize,
    /// The names to send to.
    pub world: World,
    /// Messages per second over all sessions; `None` is as fast as they are taken.
    pub rate: Option<f64>,
    /// Whether to wait, with one message at a time, until it reached its sink.
    pub one_at_a_time: bool,
    /// Whether to use PIPELINING where it is offered.
    pub pipelining: bool,
    /// The reverse-path.
    pub from: String,
    /// Whether sessions are secured with STARTTLS.
    pub tls: bool,
    /// User and password for AUTH PLAIN.
    pub login: Option<(String, String)>,
}

/// What the generator met.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Transient refusals (each is tried again).
    pub transient: AtomicU64,
    /// Messages refused for good.
    pub permanent: AtomicU64,
    /// Sessions that broke.
    pub broken: AtomicU64,
}

/// What the sessions of a run share.
#[derive(Debug)]
struct Work {
    plan: LoadPlan,
    tls: Option<Tls>,
    content: Content,
    ledger: Arc<Ledger>,
    next: AtomicUsize,
    first: usize,
    end: usize,
    start_ns: AtomicU64,
    opened: tokio::sync::Barrier,
    refusals: Arc<Refusals>,
}

/// Sends the messages `first..end` of the ledger; returns when every one was accepted or refused.
///
/// # Errors
/// When a session cannot be opened, or breaks too often.
pub fn generate(
    plan: &LoadPlan,
    octets: usize,
    ledger: &Arc<Ledger>,
    first: usize,
    end: usize,
    refusals: &Arc<Refusals>,
) -> anyhow::Result<()> {
    let threads = plan.threads.clamp(1, plan.sessions.max(1));
    let work = Arc::new(Work {
        plan: plan.clone(),
        tls: plan.tls.then(Tls::new).transpose()?,
        content: Content::new(octets),
        ledger: Arc::clone(ledger),
        next: AtomicUsize::new(first),
        first,
        end,
        start_ns: AtomicU64::new(0),
        opened: tokio::sync::Barrier::new(plan.sessions),
        refusals: Arc::clone(refusals),
    });
    let mut running = Vec::new();
    for thread in 0..threads {
        let work = Arc::clone(&work);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        running.push(std::thread::Builder::new().name("bench-generator".into()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, thread_sessions(work, thread, threads))
        })?);
    }
    for thread in running {
        thread.join().map_err(|_| anyhow::anyhow!("a generator thread panicked"))??;
    }
    Ok(())
}

async fn thread_sessions(work: Arc<Work>, thread: usize, threads: usize) -> anyhow::Result<()> {
    let work = Rc::new(work);
    let mut tasks = tokio::task::JoinSet::new();
    for index in (thread..work.plan.sessions).step_by(threads) {
        let work = Rc::clone(&work);
        tasks.spawn_local(async move { run_session(&work, index).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn run_session(work: &Work, index: usize) -> anyhow::Result<()> {
    let mut session = Session::open(work, index).await?;
    work.opened.wait().await;
    let _ = work.start_ns.compare_exchange(0, work.ledger.watch.now_ns(), Ordering::Relaxed, Ordering::Relaxed);
    let mut message = Message { own: Content::own_part(), commands: Vec::with_capacity(512), index };
    loop {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        if number >= work.end {
            session.quit().await;
            return Ok(());
        }
        pace(work, number).await;
        session = send(work, session, &mut message, number).await?;
        if work.plan.one_at_a_time {
            while work.ledger.complete_count() < work.ledger.accepted_count() {
                // A lost message must not hold the bench for ever.
                if tokio::time::timeout(REPLY_WAIT, work.ledger.next_arrival()).await.is_err() {
                    bail!("message {number} did not arrive within {} s", REPLY_WAIT.as_secs());
                }
            }
        }
    }
}

/// Waits until message `number` is due at the plan's rate.
async fn pace(work: &Work, number: usize) {
    let Some(rate) = work.plan.rate else { return };
    let due_ns = work.start_ns.load(Ordering::Relaxed) + ((number - work.first) as f64 / rate * 1e9) as u64;
    let wait_ns = due_ns.saturating_sub(work.ledger.watch.now_ns());
    if wait_ns > 0 {
        tokio::time::sleep(Duration::from_nanos(wait_ns)).await;
    }
}

/// Sends one message until it is accepted or refused for good; gives the session back, a new one if it broke.
async fn send<'a>(work: &'a Work, mut session: Session<'a>, message: &mut Message, number: usize) -> anyhow::Result<Session<'a>> {
    message.address(work, number);
    let mut last = String::new();
    for _ in 0..TRIES_MAX {
        match session.transact(message, number).await {
            Ok(250) => return Ok(session),
            Ok(code) if code >= 500 => {
                work.refusals.permanent.fetch_add(1, Ordering::Relaxed);
                return Ok(session);
            }
            Ok(code) => {
                last = format!("reply {code}");
                work.refusals.transient.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
                // RFC 5321 §3.8: after 421 the channel closes.
                if code == 421 {
                    session = Session::open(work, message.index).await?;
                }
            }
            Err(error) => {
                last = error.to_string();
                work.refusals.broken.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
                session = Session::open(work, message.index).await?;
            }
        }
    }
    bail!("message {number} was not taken in {TRIES_MAX} tries; the last: {last}")
}

/// What is formatted for each message, in buffers that are used again.
struct Message {
    own: [u8; OWN_OCTETS],
    commands: Vec<u8>,
    index: usize,
}

impl Message {
    fn address(&mut self, work: &Work, number: usize) {
        let token = Token { run: work.ledger.run, session: (self.index & 0xffff) as u16, number: number as u32 };
        Content::mark(&mut self.own, token);
        self.commands.clear();
        let to = &mut self.commands;
        // Writing into a Vec does not fail.
        let _ = write!(to, "MAIL FROM:<{}>\r\n", work.plan.from);
        for recipient in 0..work.plan.recipients {
            let domain = work.plan.world.domain_of(number, recipient);
            let _ = write!(to, "RCPT TO:<r{recipient}@d{domain}.{}>\r\n", super::world::ZONE);
        }
        let _ = write!(to, "DATA\r\n");
    }
}

/// What a session is spoken over.
enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Line {
    async fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Plain(stream) => stream.read(room).await,
            Line::Tls(stream) => stream.read(room).await,
        }
    }

    async fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Line::Plain(stream) => stream.write_all(octets).await,
            Line::Tls(stream) => stream.write_all(octets).await,
        }
    }

    /// What was written is on its way: TLS may have kept the last of it.
    async fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Plain(_) => Ok(()),
            Line::Tls(stream) => stream.flush().await,
        }
    }

    /// Writes two parts with one call where the socket takes them.
    async fn write_both(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        let written = match self {
            Line::Plain(stream) => stream.write_vectored(&parts).await?,
            Line::Tls(stream) => stream.write_vectored(&parts).await?,
        };
        if written < first.len() {
            self.write_all(&first[written..]).await?;
        }
        let second_written = written.saturating_sub(first.len());
        if second_written < second.len() { self.write_all(&second[second_written..]).await } else { Ok(()) }
    }
}

/// One open session.
struct Session<'a> {
    work: &'a Work,
    line: Line,
    replies: Replies,
    pipelining: bool,
}

impl<'a> Session<'a> {
    async fn open(work: &'a Work, index: usize) -> anyhow::Result<Self> {
        let target = work.plan.targets[index % work.plan.targets.len()];
        let mut last = None;
        for _ in 0..TRIES_MAX {
            match Self::try_open(work, target).await {
                Ok(session) => return Ok(session),
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(last.unwrap_or_else(|| io::Error::other("no try"))).with_context(|| format!("cannot open a session with {target}"))
    }

    async fn try_open(work: &'a Work, target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let mut session = Self { work, line: Line::Plain(stream), replies: Replies::default(), pipelining: false };
        session.expect(220).await?;
        let mut offered = session.say("EHLO generator.bench.test", 250).await?;
        if let Some(tls) = &work.tls {
            session.say("STARTTLS", 220).await?;
            session = session.secured(tls).await?;
            offered = session.say("EHLO generator.bench.test", 250).await?;
        }
        session.pipelining = work.plan.pipelining && offered;
        if let Some((user, password)) = &work.plan.login {
            let initial = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"));
            session.say(&format!("AUTH PLAIN {initial}"), 235).await?;
        }
        Ok(session)
    }

    async fn secured(self, tls: &Tls) -> io::Result<Self> {
        let line = match self.line {
            Line::Plain(stream) => Line::Tls(Box::new(tls.secure_async(stream).await?)),
            secured @ Line::Tls(_) => secured,
        };
        Ok(Self { line, ..self })
    }

    /// Says a command that must be answered so; tells whether PIPELINING was offered.
    async fn say(&mut self, command: &str, code: u16) -> io::Result<bool> {
        self.line.write_all(format!("{command}\r\n").as_bytes()).await?;
        self.expect(code).await
    }

    /// Reads one reply that must have this code; tells whether a line of it named PIPELINING.
    async fn expect(&mut self, code: u16) -> io::Result<bool> {
        let got = self.reply().await?;
        if got == code { Ok(self.replies.pipelining) } else { Err(io::Error::other(format!("expected {code}, got {got}"))) }
    }

    /// Reads one reply; gives its code.
    async fn reply(&mut self) -> io::Result<u16> {
        self.line.flush().await?;
        loop {
            if let Some(code) = self.replies.take()? {
                return Ok(code);
            }
            let room = self.replies.room();
            if room.is_empty() {
                return Err(io::Error::other("a reply line without end"));
            }
            let read = tokio::time::timeout(REPLY_WAIT, self.line.read(room)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.replies.filled += read;
        }
    }

    /// One transaction; gives the code that decided it.
    async fn transact(&mut self, message: &Message, number: usize) -> io::Result<u16> {
        let decided = self.envelope(&message.commands).await?;
        if decided != 354 {
            if decided != 421 {
                self.say("RSET", 250).await?;
            }
            return Ok(decided);
        }
        self.content(&message.own).await?;
        let end_of_data_ns = self.work.ledger.watch.now_ns();
        let code = self.reply().await?;
        if code == 250 {
            self.work.ledger.accepted(number as u32, end_of_data_ns, self.work.ledger.watch.now_ns());
        }
        Ok(code)
    }

    /// MAIL, RCPT and DATA; gives 354, or the first refusal.
    async fn envelope(&mut self, commands: &[u8]) -> io::Result<u16> {
        let mut refusal = None;
        let mut last = 0;
        if self.pipelining {
            self.line.write_all(commands).await?;
        }
        for command in commands.split_inclusive(|&octet| octet == b'\n') {
            // After a refusal the rest of a lockstep dialogue is not said.
            if !self.pipelining {
                if refusal.is_some() {
                    break;
                }
                self.line.write_all(command).await?;
            }
            last = self.reply().await?;
            if last >= 400 {
                refusal.get_or_insert(last);
            }
        }
        match refusal {
            // Some recipients were refused and DATA was taken: an empty message would be custody of the wrong thing, so break the session.
            Some(_) if last == 354 => Err(io::Error::other("only some recipients were taken")),
            Some(code) => Ok(code),
            None => Ok(last),
        }
    }

    async fn content(&mut self, own: &[u8]) -> io::Result<()> {
        let content = &self.work.content;
        self.line.write_both(own, &content.head).await?;
        for _ in 0..content.repeats {
            self.line.write_all(&content.block).await?;
        }
        self.line.write_all(&content.tail).await
    }

    async fn quit(&mut self) {
        // The work is done; how the relay says good-bye does not matter.
        if self.line.write_all(b"QUIT\r\n").await.is_ok() {
            let _ = self.reply().await;
        }
    }
}

/// Cuts what was read into replies (RFC 5321 §4.2.1).
#[derive(Debug)]
struct Replies {
    octets: [u8; 4096],
    taken: usize,
    filled: usize,
    /// Whether a line of the last reply named PIPELINING.
    pipelining: bool,
    continued: bool,
}

impl Default for Replies {
    fn default() -> Self {
        Self { octets: [0; 4096], taken: 0, filled: 0, pipelining: false, continued: false }
    }
}

impl Replies {
    /// Room for the next read.
    fn room(&mut self) -> &mut [u8] {
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = 0;
        } else if self.taken > 0 {
            self.octets.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        &mut self.octets[self.filled..]
    }

    /// The code of the next complete reply.
    fn take(&mut self) -> io::Result<Option<u16>> {
        while let Some(end) = memchr::memchr(b'\n', &self.octets[self.taken..self.filled]) {
            let line = &self.octets[self.taken..self.taken + end];
            self.taken += end + 1;
            if line.len() < 3 || !line[..3].iter().all(u8::is_ascii_digit) {
                return Err(io::Error::other("a line that is no reply"));
            }
            let code = line[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
            self.pipelining = (self.continued && self.pipelining)
                || line[3..].trim_ascii_end().eq_ignore_ascii_case(b"-PIPELINING")
                || line[3..].trim_ascii_end().eq_ignore_ascii_case(b" PIPELINING");
            self.continued = line.get(3) == Some(&b'-');
            if !self.continued {
                return Ok(Some(code));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&[u8]]) -> (Vec<u16>, bool) {
        let mut replies = Replies::default();
        let mut codes = Vec::new();
        let mut pipelining = false;
        for chunk in chunks {
            replies.room()[..chunk.len()].copy_from_slice(chunk);
            replies.filled += chunk.len();
            while let Some(code) = replies.take().expect("replies are legal") {
                codes.push(code);
                pipelining |= replies.pipelining;
            }
        }
        (codes, pipelining)
    }

    #[test]
    fn replies_are_cut_at_every_split() {
        let stream = b"250-x\r\n250-PIPELINING\r\n250 SIZE 1\r\n250 ok\r\n450 4.2.0 no\r\n354 go\r\n";
        for split in 0..=stream.len() {
            assert_eq!(check(&[&stream[..split], &stream[split..]]), (vec![250, 250, 450, 354], true), "split at {split}");
        }
        assert_eq!(check(&[b"250 x\r\n"]), (vec![250], false));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let mut replies = Replies::default();
        replies.room()[..5].copy_from_slice(b"2x0\r\n");
        replies.filled = 5;
        assert!(replies.take().is_err());
    }
}
