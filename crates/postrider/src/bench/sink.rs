//! SMTP sinks: small ESMTP servers on loopback that count what arrives and cost little.
//!
//! Promises: RFC 5321 replies for the commands a relay sends, PIPELINING (RFC 2920) answered with one write per group, the end of data found
//! wherever it is split, and an arrival written to the [`Ledger`] before its 250 is sent. A [`Personality`] makes a sink misbehave on purpose.
//!
//! Never: keeps content, parses addresses, or listens beyond loopback.
//!
//! Cost: one read and one write per step of a transaction, one shared read buffer per thread, nothing allocated per message.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::ready;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::ledger::Ledger;
use super::scan::{EndOfData, Finders, Head};
use super::world::World;

/// Octets read at once, per thread.
const READ_OCTETS: usize = 256 * 1024;

/// A command line longer than this ends the session (RFC 5321 §4.5.3.1.4 asks for 512).
const LINE_OCTETS_MAX: usize = 4096;

/// How a sink behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personality {
    /// Takes everything.
    Normal,
    /// Does not listen: connections are refused.
    Down,
    /// Greets, and answers every RCPT with 450.
    Tempfail,
    /// Answers the connection with 421.
    Busy,
    /// Takes everything, each reply this late.
    Tarpit(Duration),
}

/// Running sinks; they end when this is dropped or stopped.
#[derive(Debug)]
pub struct Sinks {
    threads: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Sinks {
    /// Starts a sink at each address of `world`, over `threads` threads.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn start(world: &World, personality: impl Fn(usize) -> Personality, ledger: &Arc<Ledger>, threads: usize) -> anyhow::Result<Self> {
        let mut shares: Vec<Vec<(TcpListener, Personality)>> = (0..threads.max(1)).map(|_| Vec::new()).collect();
        for sink in 0..world.sinks {
            let personality = personality(sink);
            if personality == Personality::Down {
                continue;
            }
            let address = world.sink_address(sink);
            let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address} for a sink"))?;
            listener.set_nonblocking(true)?;
            let share = sink % shares.len();
            shares[share].push((listener, personality));
        }
        let mut started = Self { threads: Vec::new() };
        for share in shares {
            let (stop, stopped) = oneshot::channel();
            let ledger = Arc::clone(ledger);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new().name("bench-sink".into()).spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, serve(share, ledger, stopped));
            })?;
            started.threads.push((stop, thread));
        }
        Ok(started)
    }

    /// Closes every listener and session, and waits for the threads.
    pub fn stop(self) {
        for (stop, thread) in self.threads {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// What the sessions of one thread share.
struct Shared {
    ledger: Arc<Ledger>,
    finders: Finders,
    octets: RefCell<Vec<u8>>,
}

async fn serve(listeners: Vec<(TcpListener, Personality)>, ledger: Arc<Ledger>, stopped: oneshot::Receiver<()>) {
    let shared = Rc::new(Shared { ledger, finders: Finders::new(), octets: RefCell::new(vec![0; READ_OCTETS]) });
    for (listener, personality) in listeners {
        let shared = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        shared.ledger.attempted();
                        let shared = Rc::clone(&shared);
                        // A session that breaks is the relay's to report; the ledger shows what is missing.
                        tokio::task::spawn_local(async move { session(stream, personality, &shared).await });
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
    }
    let _ = stopped.await;
}

async fn session(mut stream: TcpStream, personality: Personality, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let delay = match personality {
        Personality::Tarpit(delay) => Some(delay),
        _ => None,
    };
    let mut dialogue = Dialogue::new(personality);
    dialogue.greet();
    loop {
        if !dialogue.out.is_empty() {
            if let Some(delay) = delay {
                tokio::time::sleep(delay * dialogue.replies).await;
            }
            stream.write_all(&dialogue.out).await?;
            dialogue.out.clear();
            dialogue.replies = 0;
        }
        if dialogue.closing {
            return stream.shutdown().await;
        }
        let read = poll_fn(|context| {
            let mut octets = shared.octets.borrow_mut();
            let mut buffer = ReadBuf::new(&mut octets);
            ready!(Pin::new(&mut stream).poll_read(context, &mut buffer))?;
            let filled = buffer.filled();
            dialogue.feed(filled, shared);
            std::task::Poll::Ready(io::Result::Ok(filled.len()))
        })
        .await?;
        if read == 0 {
            return Ok(());
        }
    }
}

/// One session's state.
struct Dialogue {
    personality: Personality,
    in_content: bool,
    /// The beginning of a command line whose end has not come.
    line: Vec<u8>,
    out: Vec<u8>,
    replies: u32,
    closing: bool,
    mail_given: bool,
    recipients: u32,
    end_of_data: EndOfData,
    head: Head,
    content_octets: u64,
}

impl Dialogue {
    fn new(personality: Personality) -> Self {
        Self {
            personality,
            in_content: false,
            line: Vec::new(),
            out: Vec::with_capacity(256),
            replies: 0,
            closing: false,
            mail_given: false,
            recipients: 0,
            end_of_data: EndOfData::start(),
            head: Head::default(),
            content_octets: 0,
        }
    }

    fn greet(&mut self) {
        if self.personality == Personality::Busy {
            self.reply(b"421 4.3.2 sink.bench.test busy\r\n");
            self.closing = true;
        } else {
            self.reply(b"220 sink.bench.test ESMTP\r\n");
        }
    }

    fn reply(&mut self, reply: &[u8]) {
        self.out.extend_from_slice(reply);
        self.replies += 1;
    }

    fn feed(&mut self, mut octets: &[u8], shared: &Shared) {
        while !octets.is_empty() && !self.closing {
            octets = if self.in_content { self.feed_content(octets, shared) } else { self.feed_line(octets) };
        }
    }

    /// Takes content up to its end; gives back what follows.
    fn feed_content<'a>(&mut self, octets: &'a [u8], shared: &Shared) -> &'a [u8] {
        let end = self.end_of_data.find(octets, &shared.finders);
        let content = &octets[..end.unwrap_or(octets.len())];
        self.head.feed(content, &shared.finders);
        self.content_octets += content.len() as u64;
        if end.is_some() {
            let now_ns = shared.ledger.watch.now_ns();
            shared.ledger.arrived(self.head.token(), self.recipients, self.content_octets, now_ns);
            self.reset();
            self.in_content = false;
            self.reply(b"250 2.0.0 taken\r\n");
        }
        &octets[content.len()..]
    }

    /// Takes one command line, or the part of it that is there; gives back what follows.
    fn feed_line<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr::memchr(b'\n', octets) else {
            self.line.extend_from_slice(octets);
            if self.line.len() > LINE_OCTETS_MAX {
                self.reply(b"500 5.5.2 line too long\r\n");
                self.closing = true;
            }
            return &[];
        };
        let (line, rest) = octets.split_at(end + 1);
        if self.line.is_empty() {
            self.command(line);
        } else {
            let mut whole = std::mem::take(&mut self.line);
            whole.extend_from_slice(line);
            self.command(&whole);
            whole.clear();
            self.line = whole;
        }
        rest
    }

    fn command(&mut self, line: &[u8]) {
        let verb = line.get(..4).unwrap_or(line);
        if verb.eq_ignore_ascii_case(b"MAIL") {
            self.reset();
            self.mail_given = true;
            self.reply(b"250 2.1.0 ok\r\n");
        } else if verb.eq_ignore_ascii_case(b"RCPT") {
            if !self.mail_given {
                self.reply(b"503 5.5.1 MAIL first\r\n");
            } else if self.personality == Personality::Tempfail {
                self.reply(b"450 4.2.0 temporarily failed\r\n");
            } else {
                self.recipients += 1;
                self.reply(b"250 2.1.5 ok\r\n");
            }
        } else if verb.eq_ignore_ascii_case(b"DATA") {
            if self.recipients == 0 {
                self.reply(b"554 5.5.1 no valid recipients\r\n");
            } else {
                self.in_content = true;
                self.reply(b"354 go on\r\n");
            }
        } else if verb.eq_ignore_ascii_case(b"EHLO") {
            self.reset();
            self.reply(b"250-sink.bench.test\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n");
        } else if verb.eq_ignore_ascii_case(b"HELO") {
            self.reset();
            self.reply(b"250 sink.bench.test\r\n");
        } else if verb.eq_ignore_ascii_case(b"RSET") {
            self.reset();
            self.reply(b"250 2.0.0 ok\r\n");
        } else if verb.eq_ignore_ascii_case(b"NOOP") {
            self.reply(b"250 2.0.0 ok\r\n");
        } else if verb.eq_ignore_ascii_case(b"QUIT") {
            self.reply(b"221 2.0.0 bye\r\n");
            self.closing = true;
        } else {
            self.reply(b"502 5.5.1 not here\r\n");
        }
    }

    fn reset(&mut self) {
        self.mail_given = false;
        self.recipients = 0;
        self.end_of_data = EndOfData::start();
        self.head.clear();
        self.content_octets = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@d0.bench.test>\r\nRCPT TO:<b@d0.bench.test>\r\nDATA\r\n\
        X-Bench: 00010000-00000000\r\n\r\nbody\r\n.\r\nQUIT\r\n";

    fn shared(messages: usize) -> Shared {
        let ledger = Arc::new(Ledger::new(1, messages, 2, 10));
        Shared { ledger, finders: Finders::new(), octets: RefCell::new(Vec::new()) }
    }

    /// Says `stream` in two chunks to a sink; gives the reply codes.
    fn check(personality: Personality, stream: &[u8], split: usize, shared: &Shared) -> String {
        let mut dialogue = Dialogue::new(personality);
        dialogue.greet();
        let (first, second) = stream.split_at(split);
        dialogue.feed(first, shared);
        dialogue.feed(second, shared);
        let replies = String::from_utf8(dialogue.out).expect("replies are ASCII");
        let codes: Vec<&str> = replies.lines().filter(|line| line.as_bytes()[3] == b' ').map(|line| &line[..3]).collect();
        assert_eq!(codes.len(), dialogue.replies as usize);
        codes.join(" ")
    }

    #[test]
    fn a_pipelined_session_is_counted_at_every_split() {
        for split in 0..MESSAGE.len() {
            let shared = shared(1);
            assert_eq!(check(Personality::Normal, MESSAGE, split, &shared), "220 250 250 250 250 354 250 221", "split at {split}");
            shared.ledger.accepted(0, 1, 2);
            let tally = shared.ledger.tally(0, |_| true);
            assert_eq!((tally.lost, tally.duplicates, tally.strays, tally.truncated), (0, 0, 0, 0));
        }
    }

    #[test]
    fn personalities_answer_as_named() {
        let refused = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@d0.bench.test>\r\nDATA\r\nRSET\r\nQUIT\r\n";
        let shared = shared(1);
        assert_eq!(check(Personality::Tempfail, refused, 3, &shared), "220 250 250 450 554 250 221");
        assert_eq!(check(Personality::Busy, refused, 3, &shared), "421");
        assert_eq!(check(Personality::Normal, b"RCPT TO:<a@b>\r\nBDAT 3\r\n", 3, &shared), "220 503 502");
        assert_eq!(shared.ledger.complete_count(), 0);
    }

    #[test]
    fn an_endless_line_ends_the_session() {
        let long = vec![b'a'; LINE_OCTETS_MAX + 1];
        assert_eq!(check(Personality::Normal, &long, 10, &shared(1)), "220 500");
    }
}
