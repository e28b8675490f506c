//! A next hop on loopback: takes everything but what it was told to refuse, in the clear or under TLS, and tells what it heard and took.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::PATIENCE;

/// How a hop behaves.
#[derive(Clone)]
pub struct Conduct {
    /// More lines in its answer to EHLO, each with its CR LF.
    pub offers: &'static str,
    /// The reply to a RCPT, unless it is taken.
    pub refuse: fn(&str) -> Option<&'static str>,
    /// The reply to any command, unless it is what it usually is. With a 421 it hangs up.
    pub instead: fn(&str) -> Option<&'static str>,
    /// Offers STARTTLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// TLS from the first octet.
    pub implicit: bool,
    /// One reply for each recipient after the end of data.
    pub lmtp: bool,
}

impl Default for Conduct {
    fn default() -> Self {
        Self { offers: "", refuse: |_| None, instead: |_| None, tls: None, implicit: false, lmtp: false }
    }
}

pub struct Hop {
    pub port: u16,
    /// Contents, as they came: with the end of data where DATA brought them.
    pub taken: Receiver<String>,
    /// Its commands, as they came, and lines of AUTH exchanges.
    pub heard: Receiver<String>,
}

impl Hop {
    /// `refuse` gives the reply to a RCPT, unless it is taken.
    pub fn open(refuse: fn(&str) -> Option<&'static str>) -> Self {
        Self::offering("", refuse)
    }

    /// As [`Hop::open`], with more lines in its answer to EHLO, each with its CR LF.
    pub fn offering(offers: &'static str, refuse: fn(&str) -> Option<&'static str>) -> Self {
        Self::with(Conduct { offers, refuse, ..Conduct::default() })
    }

    pub fn with(conduct: Conduct) -> Self {
        let (told, heard) = channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, taken) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let talk = Talk { conduct: conduct.clone(), taken: sender.clone(), told: told.clone(), recipients: 0, content: Vec::new() };
                // A client that went away has ended its own session.
                std::thread::spawn(move || drop(talk.begin(stream)));
            }
        });
        Self { port, taken, heard }
    }

    /// Waits for a command that begins so.
    pub fn hear(&self, verb: &str) -> String {
        loop {
            let line = self.heard.recv_timeout(PATIENCE).expect("no such command came");
            if line.starts_with(verb) {
                return line.trim_end().to_owned();
            }
        }
    }

    pub fn take(&self) -> String {
        self.taken.recv_timeout(PATIENCE).expect("nothing came")
    }

    /// All commands that came so far.
    pub fn heard_so_far(&self) -> String {
        self.heard.try_iter().collect()
    }
}

enum Wire {
    Clear(TcpStream),
    Secured(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Clear(stream) => stream.read(into),
            Wire::Secured(stream) => stream.read(into),
        }
    }
}

impl Wire {
    fn say(&mut self, text: &str) -> io::Result<()> {
        let whole = format!("{text}\r\n");
        match self {
            Wire::Clear(stream) => stream.write_all(whole.as_bytes()),
            Wire::Secured(stream) => stream.write_all(whole.as_bytes()).and_then(|()| stream.flush()),
        }
    }

    fn secured(stream: TcpStream, config: Arc<ServerConfig>) -> Self {
        Wire::Secured(Box::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream)))
    }
}

struct Talk {
    conduct: Conduct,
    taken: Sender<String>,
    told: Sender<String>,
    recipients: usize,
    content: Vec<u8>,
}

impl Talk {
    fn begin(mut self, stream: TcpStream) -> io::Result<()> {
        let wire = match self.conduct.tls.clone().filter(|_| self.conduct.implicit) {
            Some(tls) => Wire::secured(stream, tls),
            None => Wire::Clear(stream),
        };
        let mut wire = BufReader::new(wire);
        wire.get_mut().say("220 hop.test")?;
        loop {
            let Some(line) = self.line(&mut wire)? else { return Ok(()) };
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            let refusal = Some(&line).filter(|_| verb == "RCPT").and_then(|line| (self.conduct.refuse)(line));
            if let Some(refusal) = refusal.or_else(|| (self.conduct.instead)(&line)) {
                if verb == "BDAT" {
                    drop(self.chunk(&mut wire, &line)?);
                }
                wire.get_mut().say(refusal)?;
                if refusal.starts_with("421") {
                    return Ok(());
                }
                continue;
            }
            let reply = match verb.as_str() {
                "EHLO" | "LHLO" => self.hello(wire.get_ref()),
                "STAR" => {
                    wire.get_mut().say("220 2.0.0 go on")?;
                    let (Wire::Clear(stream), Some(tls)) = (wire.into_inner(), self.conduct.tls.clone()) else { return Ok(()) };
                    wire = BufReader::new(Wire::secured(stream, tls));
                    continue;
                }
                "AUTH" => self.auth(&mut wire, &line)?,
                "RCPT" => {
                    self.recipients += 1;
                    "250 2.1.5 ok".to_owned()
                }
                "DATA" if self.recipients == 0 => "503 5.5.1 no recipients".to_owned(),
                "DATA" => {
                    wire.get_mut().say("354 go on")?;
                    while !self.content.ends_with(b"\r\n.\r\n") {
                        if wire.read_until(b'\n', &mut self.content)? == 0 {
                            return Ok(());
                        }
                    }
                    self.took()
                }
                "BDAT" => {
                    let chunk = self.chunk(&mut wire, &line)?;
                    self.content.extend(chunk);
                    if line.to_ascii_uppercase().contains("LAST") { self.took() } else { "250 2.0.0 chunk".to_owned() }
                }
                "QUIT" => return wire.get_mut().say("221 2.0.0 bye"),
                _ => "250 2.0.0 ok".to_owned(),
            };
            wire.get_mut().say(&reply)?;
        }
    }

    fn line(&self, wire: &mut BufReader<Wire>) -> io::Result<Option<String>> {
        let mut line = String::new();
        if wire.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let _ = self.told.send(line.clone());
        Ok(Some(line))
    }

    fn hello(&self, wire: &Wire) -> String {
        let starttls = if self.conduct.tls.is_some() && matches!(wire, Wire::Clear(_)) { "250-STARTTLS\r\n" } else { "" };
        format!("250-hop.test\r\n{starttls}{}250-PIPELINING\r\n250 ENHANCEDSTATUSCODES", self.conduct.offers)
    }

    /// Believes everything; what it heard is the test's to judge. The challenge of CRAM-MD5 is that of RFC 2195 §2.
    fn auth(&self, wire: &mut BufReader<Wire>, line: &str) -> io::Result<String> {
        let challenges: &[&str] = match line.trim_end() {
            "AUTH LOGIN" => &["VXNlcm5hbWU6", "UGFzc3dvcmQ6"],
            "AUTH CRAM-MD5" => &["PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"],
            _ => &[],
        };
        for challenge in challenges {
            wire.get_mut().say(&format!("334 {challenge}"))?;
            self.line(wire)?;
        }
        Ok("235 2.7.0 welcome".to_owned())
    }

    /// The octets of a BDAT command.
    fn chunk(&self, wire: &mut BufReader<Wire>, line: &str) -> io::Result<Vec<u8>> {
        let octets = line.split_whitespace().nth(1).and_then(|octets| octets.parse().ok()).unwrap_or(0);
        let mut chunk = vec![0; octets];
        wire.read_exact(&mut chunk)?;
        Ok(chunk)
    }

    fn took(&mut self) -> String {
        let content = std::mem::take(&mut self.content);
        let _ = self.taken.send(String::from_utf8_lossy(&content).into_owned());
        let replies = if self.conduct.lmtp { std::mem::take(&mut self.recipients) } else { 1 };
        self.recipients = 0;
        vec!["250 2.0.0 taken"; replies].join("\r\n")
    }
}
