//! Plays the receiver's driver, with a policy that every dialogue file can read off the addresses.

use std::sync::Arc;

use postrider_smtp::data::BareNewline;
use postrider_smtp::sasl::Mechanisms;
use postrider_smtp::server::{Config, Question, Server, Step, Verdict};
use postrider_smtp::{ForwardPath, Reply};

use super::{Cut, Dialogue, Doing, Heard, Turn, pieces};

pub struct Player {
    pub server: Server,
    content: Vec<u8>,
    sender: String,
    accepted: usize,
    closed: bool,
}

pub fn config(options: &[(String, String)]) -> (Config, bool) {
    let mut config = Config::new("mx.example");
    let mut tls = false;
    for (name, value) in options {
        let number = || value.parse().expect("a number");
        match name.as_str() {
            "tls" => tls = true,
            "starttls" => config.starttls = true,
            "tls_required" => config.tls_required = true,
            "auth" => config.mechanisms = Mechanisms::SERVED,
            "auth_in_clear" => config.auth_in_clear = true,
            "auth_required" => config.auth_required = true,
            "binary" => config.extensions.binary_mime = true,
            "dsn" => config.extensions.dsn = true,
            "deliver_by" => config.extensions.deliver_by = true,
            "priority" => config.extensions.priority = true,
            "hold_seconds_max" => config.extensions.hold_seconds_max = Some(number() as u32),
            // The driver's word, below.
            "xclient" | "external" => {}
            "no_limits" => config.extensions.limits = false,
            "no_pipelining" => config.extensions.pipelining = false,
            "no_chunking" => config.extensions.chunking = false,
            "normalise" => config.bare_newline = BareNewline::Normalise,
            "message_bytes_max" => config.message_bytes_max = number() as u64,
            "recipients_max" => config.recipients_max = number(),
            "text_line_octets_max" => config.text_line_octets_max = number(),
            "errors_max" => config.errors_max = number() as u32,
            "junk_commands_max" => config.junk_commands_max = number() as u32,
            _ => panic!("unknown option {name}"),
        }
    }
    (config, tls)
}

/// The policy of the dialogues.
fn reply(text: &str) -> Reply {
    let (code, text) = text.split_once(' ').expect("code and text");
    let (status, text) = postrider_smtp::EnhancedStatus::split_off(text).expect("a status");
    Reply::new(code.parse().expect("a code"), Some(status), text)
}

impl Player {
    pub fn new(dialogue: &Dialogue) -> Player {
        let (config, tls) = config(&dialogue.options);
        let mut player = Player::with(config, tls);
        if dialogue.options.iter().any(|(name, _)| name == "xclient") {
            player.server.allow_xclient();
        }
        if dialogue.options.iter().any(|(name, _)| name == "external") {
            player.server.allow_external();
        }
        player
    }

    pub fn with(config: Config, tls: bool) -> Player {
        Player { server: Server::new(Arc::new(config), tls), content: Vec::new(), sender: String::new(), accepted: 0, closed: false }
    }

    /// Plays one turn.
    pub fn turn(&mut self, turn: &Turn, cut: Cut) -> Heard {
        let mut heard = Heard::default();
        self.run(&mut heard);
        let mut octets = Vec::new();
        for doing in &turn.does {
            match doing {
                Doing::Octets(more) => octets.extend_from_slice(more),
                Doing::Action(action) => {
                    self.feed(&std::mem::take(&mut octets), cut, &mut heard);
                    match action.as_str() {
                        "eof" => self.server.end_of_input(),
                        "abort" => self.server.abort_content(reply("452 4.3.1 Spool full")),
                        "timeout" => self.server.close(reply("421 4.4.2 Timeout")),
                        other => panic!("unknown action {other}"),
                    }
                    self.run(&mut heard);
                }
            }
        }
        self.feed(&octets, cut, &mut heard);
        heard
    }

    pub fn feed(&mut self, octets: &[u8], cut: Cut, heard: &mut Heard) {
        for piece in pieces(octets, cut) {
            if !self.closed {
                self.server.feed(piece);
                self.run(heard);
            }
        }
    }

    /// Moves until more input is needed.
    pub fn run(&mut self, heard: &mut Heard) {
        while !self.closed {
            match self.server.next() {
                Step::Read => return,
                Step::Write(octets) => heard.octets.extend_from_slice(octets),
                Step::Content(octets) => self.content.extend_from_slice(octets),
                Step::Aborted => {
                    self.content.clear();
                    heard.notes.push("aborted".into());
                }
                Step::StartTls => {
                    heard.notes.push("tls".into());
                    self.server.secured();
                }
                Step::Close => {
                    self.closed = true;
                    heard.notes.push("close".into());
                }
                Step::Ask(question) => {
                    let verdict = self.judge(question, heard);
                    self.server.answer(verdict);
                }
            }
        }
    }

    fn judge(&mut self, question: Question, heard: &mut Heard) -> Verdict {
        match question {
            Question::Connect | Question::Verify { .. } | Question::XClient(_) => Verdict::Accept,
            Question::Hello { name, .. } if name == "evil.example" => Verdict::Refuse(reply("550 5.7.1 Go away")),
            Question::Hello { .. } => Verdict::Accept,
            Question::Authenticate { credentials, .. } => match credentials.password.as_slice() {
                b"secret" => Verdict::Accept,
                b"again" => Verdict::Refuse(reply("454 4.7.0 Too many failed attempts")),
                _ => Verdict::Refuse(reply("535 5.7.8 Authentication credentials invalid")),
            },
            Question::Mail { reverse_path, .. } => {
                self.sender = reverse_path.to_string();
                match self.sender.as_str() {
                    "<spam@b.example>" => Verdict::Refuse(reply("550 5.7.1 Sender refused")),
                    _ => Verdict::Accept,
                }
            }
            Question::Recipient { forward_path: ForwardPath::Mailbox(mailbox), .. } => match mailbox.local_part() {
                "nobody" => Verdict::Refuse(reply("550 5.1.1 No such user")),
                "later" => Verdict::Refuse(reply("450 4.2.0 Try later")),
                "enough" => Verdict::Close(reply("421 4.7.0 Enough")),
                _ => Verdict::Accept,
            },
            Question::Recipient { .. } => Verdict::Accept,
            Question::Data if self.sender == "<full@b.example>" => Verdict::Refuse(reply("452 4.3.1 Insufficient system storage")),
            Question::Data => Verdict::Accept,
            Question::EndOfContent => {
                let content = std::mem::take(&mut self.content);
                if content.starts_with(b"virus") {
                    return Verdict::Refuse(reply("550 5.7.1 Content refused"));
                }
                self.accepted += 1;
                heard.notes.push(format!("content {}", content.escape_ascii()));
                Verdict::AcceptWith(format!("Ok: queued as {}", self.accepted).into())
            }
        }
    }
}
