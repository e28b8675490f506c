//! Both machines of ours talk to each other, over a wire that cuts octets anywhere.

use std::sync::Arc;

use postrider_smtp::client::{self, Client, ProtocolTrouble, Report, Transaction};
use postrider_smtp::extension::Extensions;
use postrider_smtp::parameters::Body;
use postrider_smtp::sasl::{Credentials, Mechanism, Mechanisms};
use postrider_smtp::server::{self, Config, Question, Server, Verdict};
use postrider_smtp::{EnhancedStatus, ForwardPath, Reply, ReversePath};
use proptest::prelude::*;

/// A message as one side had it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    reverse_path: String,
    recipients: Vec<String>,
    content: Vec<u8>,
}

/// What the client's driver wants, in order.
#[derive(Clone, Debug)]
enum Wish {
    StartTls,
    Authenticate,
    Send(Message),
    Quit,
}

struct Pair {
    client: Client,
    server: Server,
    /// Octets under way, to the server and to the client.
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    wishes: Vec<Wish>,
    sending: Vec<u8>,
    reports: Vec<Report>,
    received: Vec<Message>,
    receiving: Message,
    troubles: Vec<ProtocolTrouble>,
    secured: bool,
    authenticated: bool,
    ended: bool,
    /// What the client declares.
    body: Body,
    /// Content handed to the client at a time, and octets that cross the wire at a time.
    content_octets: usize,
    wire_octets: usize,
}

impl Pair {
    fn new(config: Config, pipelining: bool, wishes: Vec<Wish>) -> Pair {
        Pair::over(config, client::Config { pipelining, ..client::Config::new("relay.example") }, wishes)
    }

    fn over(config: Config, client: client::Config, wishes: Vec<Wish>) -> Pair {
        let client = Client::new(client);
        let mut wishes = wishes;
        wishes.reverse();
        Pair {
            client,
            server: Server::new(Arc::new(config), false),
            to_server: Vec::new(),
            to_client: Vec::new(),
            wishes,
            sending: Vec::new(),
            reports: Vec::new(),
            received: Vec::new(),
            receiving: Message::default(),
            troubles: Vec::new(),
            secured: false,
            authenticated: false,
            ended: false,
            body: Body::EightBitMime,
            content_octets: 1000,
            wire_octets: usize::MAX,
        }
    }

    fn run(&mut self) {
        let mut idle_rounds = 0;
        while !self.ended {
            let moved = self.drive_server() | self.drive_client();
            idle_rounds = if moved { 0 } else { idle_rounds + 1 };
            assert!(idle_rounds < 3, "the pair is stuck: {:?} {:?}", self.client, self.server);
        }
    }

    fn drive_server(&mut self) -> bool {
        let mut moved = false;
        loop {
            match self.server.next() {
                server::Step::Read => {
                    let octets = self.to_server.len().min(self.wire_octets);
                    if octets == 0 {
                        return moved;
                    }
                    let space = self.server.space();
                    let octets = octets.min(space.len());
                    space[..octets].copy_from_slice(&self.to_server[..octets]);
                    self.server.filled(octets);
                    self.to_server.drain(..octets);
                }
                server::Step::Write(octets) => self.to_client.extend_from_slice(octets),
                server::Step::Content(octets) => self.receiving.content.extend_from_slice(octets),
                server::Step::Aborted => self.receiving = Message::default(),
                server::Step::StartTls => {
                    assert!(self.to_server.is_empty());
                    self.server.secured();
                }
                server::Step::Close => return moved,
                server::Step::Ask(question) => {
                    let verdict = self.judge(question);
                    self.server.answer(verdict);
                }
            }
            moved = true;
        }
    }

    fn judge(&mut self, question: Question) -> Verdict {
        match question {
            Question::Authenticate { credentials, .. } => {
                self.authenticated = credentials.password == b"secret";
            }
            Question::Mail { reverse_path, .. } => {
                self.receiving = Message { reverse_path: reverse_path.to_string(), ..Message::default() };
            }
            Question::Recipient { forward_path, .. } => {
                if forward_path.to_string().starts_with("<no") {
                    return Verdict::Refuse(Reply::new(
                        550,
                        Some(EnhancedStatus::new(5, 1, 1)),
                        format!("{forward_path} is unknown\nreally"),
                    ));
                }
                self.receiving.recipients.push(forward_path.to_string());
            }
            Question::EndOfContent => self.received.push(std::mem::take(&mut self.receiving)),
            Question::Connect | Question::Hello { .. } | Question::Data | Question::Verify { .. } | Question::XClient(_) => {}
        }
        Verdict::Accept
    }

    fn drive_client(&mut self) -> bool {
        let mut moved = false;
        loop {
            match self.client.next() {
                client::Step::Read => {
                    let octets = self.to_client.len().min(self.wire_octets);
                    if octets == 0 {
                        return moved;
                    }
                    let space = self.client.space();
                    let octets = octets.min(space.len());
                    space[..octets].copy_from_slice(&self.to_client[..octets]);
                    self.client.filled(octets);
                    self.to_client.drain(..octets);
                }
                client::Step::Write(octets) => self.to_server.extend_from_slice(octets),
                client::Step::Ready(_) => self.wish(),
                client::Step::TlsGranted => {
                    assert!(self.to_client.is_empty());
                    self.secured = true;
                    self.client.secured();
                }
                client::Step::WantContent if self.sending.is_empty() => self.client.end_of_content(),
                client::Step::WantContent => {
                    let octets = self.sending.len().min(self.content_octets);
                    self.client.content(&self.sending[..octets]);
                    self.sending.drain(..octets);
                }
                client::Step::Report(report) => self.reports.push(report),
                client::Step::Refused(refusal) => panic!("refused: {refusal:?}"),
                client::Step::Trouble(trouble) => self.troubles.push(trouble),
                client::Step::Close => {
                    self.ended = true;
                    return true;
                }
            }
            moved = true;
        }
    }

    fn wish(&mut self) {
        match self.wishes.pop().unwrap_or(Wish::Quit) {
            Wish::Quit => self.client.quit(),
            Wish::StartTls => self.client.start_tls(),
            Wish::Authenticate => {
                let credentials = Credentials { authzid: String::new(), authcid: "user".into(), password: b"secret".to_vec() };
                self.client.authenticate(Mechanism::Login, &credentials);
            }
            Wish::Send(message) => {
                let reverse_path = ReversePath::parse(&message.reverse_path).expect("a path");
                let recipients = message.recipients.iter().map(|path| ForwardPath::parse(path).expect("a path").into()).collect();
                let size = message.content.len() as u64;
                let transaction = Transaction { size, body: self.body, ..Transaction::new(reverse_path, recipients) };
                self.sending = message.content;
                self.client.begin(transaction).expect("sendable");
            }
        }
    }
}

fn message(recipients: &[&str], content: &[u8]) -> Message {
    Message {
        reverse_path: "<a@b.example>".into(),
        recipients: recipients.iter().map(|path| (*path).to_owned()).collect(),
        content: content.to_vec(),
    }
}

fn config() -> Config {
    Config { starttls: true, mechanisms: Mechanisms::SERVED, ..Config::new("mx.example") }
}

#[test]
fn a_session_with_everything() {
    let refused = message(&["<nobody@d.example>", "<none@d.example>"], b"never sent\r\n");
    let mixed = message(&["<c@d.example>", "<nobody@d.example>", "<Postmaster>"], b".\r\n..\r\nx");
    for (pipelining, wire_octets) in [(true, usize::MAX), (true, 1), (false, usize::MAX), (false, 7)] {
        let wishes = vec![
            Wish::StartTls,
            Wish::Authenticate,
            Wish::Send(refused.clone()),
            Wish::Send(mixed.clone()),
            Wish::Send(message(&["<e@f.example>"], b"")),
            Wish::Quit,
        ];
        let mut pair = Pair::new(config(), pipelining, wishes);
        pair.wire_octets = wire_octets;
        pair.run();
        assert!(pair.secured && pair.authenticated && pair.troubles.is_empty());
        let kept = Message {
            recipients: vec!["<c@d.example>".into(), "<Postmaster>".into()],
            content: b".\r\n..\r\nx\r\n".to_vec(),
            ..mixed.clone()
        };
        assert_eq!(pair.received, [kept, message(&["<e@f.example>"], b"")]);
        let outcomes: Vec<Vec<String>> =
            pair.reports.iter().map(|report| report.recipients.iter().map(|last| last.reply.to_string()).collect()).collect();
        let unknown = |name: &str| format!("550 5.1.1 <{name}@d.example> is unknown really");
        let ok = || "250 2.0.0 Ok".to_owned();
        assert_eq!(outcomes, [vec![unknown("nobody"), unknown("none")], vec![ok(), unknown("nobody"), ok()], vec![ok()]]);
    }
}

#[test]
fn a_thousand_recipients_in_bounded_groups() {
    let paths: Vec<String> = (0..1000).map(|nth| format!("<{}{nth}@d.example>", if nth % 3 == 0 { "no" } else { "r" })).collect();
    let many = message(&paths.iter().map(String::as_str).collect::<Vec<_>>(), b"x\r\n");
    for pipelining in [true, false] {
        let mut pair = Pair::new(Config { errors_max: 10_000, ..config() }, pipelining, vec![Wish::Send(many.clone())]);
        pair.run();
        assert_eq!(pair.received[0].recipients.len(), 666);
        let taken: Vec<bool> = pair.reports[0].recipients.iter().map(|last| last.reply.is_positive_completion()).collect();
        assert_eq!(taken, (0..1000).map(|nth| nth % 3 != 0).collect::<Vec<_>>());
    }
}

#[test]
fn a_large_content_goes_in_chunks_of_which_few_are_unanswered() {
    let large = message(&["<c@d.example>"], &b"0123456789\r\n".repeat(100_000));
    for pipelining in [true, false] {
        let mut pair = Pair::new(config(), pipelining, vec![Wish::Send(large.clone())]);
        pair.content_octets = 100_000;
        pair.run();
        assert_eq!(pair.received[0].content, large.content);
        assert_eq!(pair.client.replies_heard(), 1 + 1 + 3 + 11 + 1, "greeting, EHLO, envelope and end, chunks, QUIT");
    }
}

#[test]
fn too_many_recipients_come_back_one_by_one() {
    let paths: Vec<String> = (0..7).map(|nth| format!("<r{nth}@d.example>")).collect();
    let many = message(&paths.iter().map(String::as_str).collect::<Vec<_>>(), b"x\r\n");
    let mut pair = Pair::new(Config { recipients_max: 5, ..config() }, true, vec![Wish::Send(many)]);
    pair.run();
    let codes: Vec<u16> = pair.reports[0].recipients.iter().map(|last| last.reply.code()).collect();
    assert_eq!(codes, [250, 250, 250, 250, 250, 452, 452]);
}

#[test]
fn the_server_ends_it_and_the_client_says_so() {
    let mut pair = Pair::new(Config { errors_max: 3, ..config() }, true, vec![Wish::Send(message(&["<no1@d.example>"; 9], b"x"))]);
    pair.run();
    let report = &pair.reports[0];
    assert!(report.closing && pair.received.is_empty());
    let codes: Vec<u16> = report.recipients.iter().map(|last| last.reply.code()).collect();
    assert_eq!(codes, [550, 550, 550, 421, 421, 421, 421, 421, 421]);
}

#[test]
fn a_message_too_large_for_a_server_that_did_not_say_so_is_refused_in_the_end() {
    // One that says so is not asked: dialogue 47 of the client's.
    let extensions = Extensions { size: false, ..config().extensions };
    let narrow = Config { message_bytes_max: 10, extensions, ..config() };
    let mut pair = Pair::new(narrow, true, vec![Wish::Send(message(&["<c@d.example>"], &[b'x'; 11]))]);
    pair.run();
    assert_eq!(pair.reports[0].recipients[0].reply.to_string(), "552 5.3.4 Message size exceeds fixed limit");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever the content, it arrives as content: one message for one, with only its line ends mended, and not even these where it is declared binary.
    #[test]
    fn content_arrives(
        contents in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(0_u8), any::<u8>()], 0..200), 1..4),
        content_octets in 1..50_usize,
        wire_octets in 1..50_usize,
        pipelining in any::<bool>(),
        chunking in any::<bool>(),
        binary in any::<bool>(),
    ) {
        let wishes = contents.iter().map(|content| Wish::Send(message(&["<c@d.example>"], content))).collect();
        let binary = binary && chunking;
        let extensions = Extensions { binary_mime: binary, ..config().extensions };
        let client = client::Config { pipelining, chunking, chunk_octets: 16, ..client::Config::new("relay.example") };
        let mut pair = Pair::over(Config { extensions, ..config() }, client, wishes);
        (pair.content_octets, pair.wire_octets) = (content_octets, wire_octets);
        pair.body = if binary { Body::BinaryMime } else { Body::EightBitMime };
        pair.run();
        prop_assert_eq!(pair.received.len(), contents.len());
        for (received, sent) in pair.received.iter().zip(&contents) {
            prop_assert_eq!(&received.content, &if binary { sent.clone() } else { mended(sent) });
        }
        prop_assert!(pair.reports.iter().all(|report| report.recipients[0].reply.is_positive_completion()));
    }
}

/// What the encoder's contract says of line ends, written the slow way.
fn mended(content: &[u8]) -> Vec<u8> {
    let mut mended = Vec::new();
    for (at, octet) in content.iter().enumerate() {
        match octet {
            b'\r' if content.get(at + 1) == Some(&b'\n') => {}
            b'\n' => mended.extend_from_slice(b"\r\n"),
            b'\r' | 0 => mended.push(b' '),
            octet => mended.push(*octet),
        }
    }
    if !mended.is_empty() && !mended.ends_with(b"\r\n") {
        mended.extend_from_slice(b"\r\n");
    }
    mended
}
