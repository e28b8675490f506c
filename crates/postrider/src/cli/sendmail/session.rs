//! SMTP on standard input and output (`-bs`): the same machine as on a listener, whose mail goes over the control socket.
//!
//! **Never** asks for AUTH: who may open the control socket may send.

use std::io::{self, Read, Write};
use std::sync::Arc;

use postrider_http::wire;
use postrider_smtp::data::BareNewline;
use postrider_smtp::extension::Extensions;
use postrider_smtp::server::{Config, Question, Server, Step, Verdict};
use postrider_smtp::{EnhancedStatus, ForwardPath, Reply, ReversePath};

use super::Handover;
use crate::cli::client::TroubleKind;

/// One transaction, as far as it came.
#[derive(Default)]
struct Transaction {
    from: String,
    to: Vec<String>,
    content: Vec<u8>,
}

/// Speaks until QUIT or the end of input.
pub fn run(handover: &Handover) -> anyhow::Result<()> {
    let about = handover.about()?;
    let mut config = Config::new(&about.host_name);
    config.message_bytes_max = about.message_octets_max;
    config.bare_newline = BareNewline::Normalise;
    // What cannot be carried over the socket is not offered.
    config.extensions = Extensions { dsn: false, deliver_by: false, hold_seconds_max: None, priority: false, ..Extensions::default() };
    let mut server = Server::new(Arc::new(config), false);
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut transaction = Transaction::default();
    let mut ends = LineEnds::default();
    loop {
        match server.next() {
            Step::Read => {
                let mut octets = [0; 16 * 1024];
                match input.read(&mut octets)? {
                    0 => server.end_of_input(),
                    count => server.feed(&ends.mended(&octets[..count])),
                }
            }
            Step::Write(octets) => {
                output.write_all(octets)?;
                output.flush()?;
            }
            Step::Ask(question) => {
                let verdict = answer(question, &mut transaction, handover, &about.host_name);
                server.answer(verdict);
            }
            Step::Content(octets) => transaction.content.extend_from_slice(octets),
            Step::Aborted => transaction = Transaction::default(),
            Step::StartTls | Step::Close => return Ok(()),
        }
    }
}

fn answer(question: Question, transaction: &mut Transaction, handover: &Handover, host_name: &str) -> Verdict {
    match question {
        Question::Connect | Question::XClient(_) | Question::Hello { .. } | Question::Data | Question::Verify { .. } => Verdict::Accept,
        Question::Authenticate { .. } => refused(503, (5, 5, 1), "no AUTH is needed here"),
        Question::Mail { reverse_path, .. } => {
            let from = match &reverse_path {
                ReversePath::Null => String::new(),
                ReversePath::Mailbox(mailbox) => mailbox.to_string(),
            };
            *transaction = Transaction { from, ..Transaction::default() };
            Verdict::Accept
        }
        Question::Recipient { forward_path, .. } => {
            transaction.to.push(match forward_path {
                ForwardPath::Postmaster => format!("postmaster@{host_name}"),
                ForwardPath::Mailbox(mailbox) => mailbox.to_string(),
            });
            Verdict::Accept
        }
        Question::EndOfContent => {
            let Transaction { from, to, content } = std::mem::take(transaction);
            let envelope = wire::Submission { from, to, ..wire::Submission::default() };
            match handover.submit(&envelope, &content) {
                Ok(id) => Verdict::AcceptWith(format!("Ok: queued as {id}").into()),
                Err(trouble) => match TroubleKind::of(&trouble) {
                    Some(TroubleKind::Refused) => refused(554, (5, 6, 0), &trouble.to_string()),
                    _ => refused(451, (4, 3, 0), &trouble.to_string()),
                },
            }
        }
    }
}

fn refused(code: u16, (class, subject, detail): (u8, u16, u16), text: &str) -> Verdict {
    let line: String = text.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { ' ' }).take(400).collect();
    Verdict::Refuse(Reply::new(code, Some(EnhancedStatus { class, subject, detail }), line))
}

/// A pipe of this system brings lines that end in LF alone; the machine wants CR LF (RFC 5321 §2.3.8). Nobody can be smuggled past here: who writes to
/// this pipe may send anyway.
#[derive(Default)]
struct LineEnds {
    after_cr: bool,
}

impl LineEnds {
    fn mended(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(octets.len() + 64);
        for octet in octets {
            if *octet == b'\n' && !self.after_cr {
                out.push(b'\r');
            }
            out.push(*octet);
            self.after_cr = *octet == b'\r';
        }
        out
    }
}
