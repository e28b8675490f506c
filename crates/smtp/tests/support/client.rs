//! Plays the sender's driver: its actions are in the dialogue.

use postrider_smtp::client::{Client, Config, LastWord, ProtocolTrouble, Refusal, Report, Step, Transaction, Wait};
use postrider_smtp::parameters::{Body, MailParameters, RecipientParameters};
use postrider_smtp::sasl::{Credentials, Mechanism};
use postrider_smtp::{ForwardPath, ReversePath};

use super::{Cut, Dialogue, Doing, Heard, Turn, pieces, unescape};

pub struct Player {
    pub client: Client,
    closed: bool,
}

impl Player {
    pub fn new(dialogue: &Dialogue) -> Player {
        let mut config = Config::new("relay.example");
        for (name, value) in &dialogue.options {
            match (name.as_str(), value.as_str()) {
                ("no_pipelining", _) => config.pipelining = false,
                ("chunk_octets", octets) => config.chunk_octets = octets.parse().expect("a number"),
                ("no_chunking", _) => config.chunking = false,
                ("lmtp", _) => config.lmtp = true,
                ("name", name) => config.name = name.into(),
                _ => panic!("unknown option {name}"),
            }
        }
        Player { client: Client::new(config), closed: false }
    }

    /// Plays one turn.
    pub fn turn(&mut self, turn: &Turn, cut: Cut) -> Heard {
        let mut heard = Heard::default();
        for doing in &turn.does {
            match doing {
                Doing::Action(action) => {
                    self.act(action, &mut heard);
                    self.run(&mut heard);
                }
                Doing::Octets(octets) if !matches!(cut, Cut::Whole) => self.feed(octets, cut, &mut heard),
                Doing::Octets(octets) => self.client.feed(octets),
            }
        }
        self.run(&mut heard);
        heard
    }

    fn feed(&mut self, octets: &[u8], cut: Cut, heard: &mut Heard) {
        for piece in pieces(octets, cut) {
            self.client.feed(piece);
            self.run(heard);
        }
    }

    fn act(&mut self, action: &str, heard: &mut Heard) {
        let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
        match verb {
            "begin" => {
                if let Err(unsendable) = self.client.begin(transaction(rest)) {
                    heard.notes.push(unsendable.to_string());
                }
            }
            "content" => self.client.content(&unescape(rest)),
            "end" => self.client.end_of_content(),
            "quit" => self.client.quit(),
            "reset" => self.client.reset(),
            "starttls" => self.client.start_tls(),
            "secured" => self.client.secured(),
            "eof" => self.client.end_of_input(),
            "auth" => {
                let mut words = rest.split(' ');
                let mechanism = words.next().and_then(Mechanism::parse).expect("a mechanism");
                let mut word = || words.next().expect("a name and a password").to_owned();
                let (authcid, password) = (word(), word().into_bytes());
                self.client.authenticate(mechanism, &Credentials { authzid: String::new(), authcid, password });
            }
            other => panic!("unknown action {other}"),
        }
    }

    fn run(&mut self, heard: &mut Heard) {
        while !self.closed {
            match self.client.next() {
                Step::Read => return,
                Step::Write(octets) => heard.octets.extend_from_slice(octets),
                Step::Ready(_) => return note_once("ready", heard),
                Step::TlsGranted => return note_once("tls", heard),
                Step::WantContent => return note_once("content", heard),
                Step::Report(report) => note_report(&report, heard),
                Step::Refused(Refusal { stage, reply, usable }) => {
                    heard.notes.push(format!("refused {stage:?}, {}: {reply}", if usable { "usable" } else { "over" }));
                }
                Step::Trouble(trouble) => self.note_trouble(&trouble, heard),
                Step::Close => {
                    self.closed = true;
                    heard.notes.push("close".into());
                }
            }
        }
    }
}

/// A machine that waits says so at every look.
fn note_once(note: &str, heard: &mut Heard) {
    if heard.notes.last().is_none_or(|last| last != note) {
        heard.notes.push(note.into());
    }
}

/// What a refusal was a reply to, where it was not RCPT.
fn place(stage: Wait) -> &'static str {
    match stage {
        Wait::Recipient => "",
        Wait::Mail => " (MAIL)",
        Wait::DataInitiation => " (DATA)",
        Wait::DataBlock => " (in mid-content)",
        Wait::DataTermination => " (end of data)",
        other => panic!("no word on a recipient comes at {other}"),
    }
}

fn note_report(report: &Report, heard: &mut Heard) {
    heard.notes.push(format!("mail {}", report.mail));
    for LastWord { reply, stage } in &report.recipients {
        let place = if reply.is_positive_completion() { "" } else { place(*stage) };
        heard.notes.push(format!("rcpt {reply}{place}"));
    }
    if let Some(reply) = &report.data {
        heard.notes.push(format!("data {reply}"));
    }
    if report.closing {
        heard.notes.push("closing".into());
    }
}

impl Player {
    fn note_trouble(&self, trouble: &ProtocolTrouble, heard: &mut Heard) {
        heard.notes.push(format!("trouble {trouble}"));
        for (index, reply) in self.client.refused_so_far() {
            heard.notes.push(format!("rcpt {index} {reply}"));
        }
        for (index, reply) in self.client.ended_so_far() {
            heard.notes.push(format!("end {index} {reply}"));
        }
        if self.client.ambiguous() {
            heard.notes.push("ambiguous".into());
        }
    }
}

/// `<from> <to> NOTIFY=NEVER <to> size=1 8bit utf8 RET=FULL`
fn transaction(text: &str) -> Transaction {
    let mut words = text.split(' ');
    let reverse_path = ReversePath::parse(words.next().expect("a reverse-path")).expect("a reverse-path");
    let mut transaction = Transaction::new(reverse_path, Vec::new());
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("8bit", _) => transaction.body = Body::EightBitMime,
            ("binary", _) => transaction.body = Body::BinaryMime,
            ("utf8", _) => transaction.smtputf8 = true,
            ("size", size) => transaction.size = size.parse().expect("a number"),
            // These are written as their parameters are, so the parser of the other side may read them.
            ("NOTIFY" | "ORCPT", _) => {
                let wishes = RecipientParameters::parse(word).expect("a parameter of RCPT");
                let last = transaction.recipients.last_mut().expect("a recipient before its wishes");
                last.notify = wishes.notify.or(last.notify);
                last.original = wishes.orcpt.or(last.original.take());
            }
            ("RET" | "ENVID" | "BY" | "MT-PRIORITY", _) => {
                let wishes = MailParameters::parse(word).expect("a parameter of MAIL");
                transaction.ret = wishes.ret.or(transaction.ret);
                transaction.envid = wishes.envid.or(transaction.envid.take());
                transaction.deliver_by = wishes.deliver_by.or(transaction.deliver_by);
                transaction.priority = wishes.priority.or(transaction.priority);
            }
            _ => transaction.recipients.push(ForwardPath::parse(word).expect("a forward-path").into()),
        }
    }
    transaction
}
