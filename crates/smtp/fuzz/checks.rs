//! What must hold of each parser and machine for any octets. The fuzz targets and `tests/corpora.rs` call the same functions.

use std::sync::Arc;

use postrider_smtp::client::{self, Client, Transaction};
use postrider_smtp::command::Command;
use postrider_smtp::data::{BareNewline, Decoder, Encoder, Piece};
use postrider_smtp::parameters::Body;
use postrider_smtp::sasl::{Credentials, Mechanism, Mechanisms};
use postrider_smtp::server::{self, Config, Question, Server, Verdict};
use postrider_smtp::{Domain, EnhancedStatus, ForwardPath, Mailbox, Reply, ReversePath};

/// The first octet of an input steers the check; the rest is what is checked.
fn split(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (*first, rest))
}

fn is_clean(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}'))
}

/// Addresses: what parses prints, and what is printed parses to the same.
pub fn address(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(mailbox) = Mailbox::parse(text) {
        let printed = mailbox.to_string();
        assert!(is_clean(&printed) && printed.len() <= 254 + 2, "{printed:?}");
        assert_eq!(Mailbox::parse(&printed).as_ref(), Ok(&mailbox), "{printed:?}");
    }
    if let Ok(domain) = Domain::parse(text) {
        assert!(is_clean(domain.as_str()));
        assert!(domain.to_ascii().is_ascii());
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain));
    }
    if let Ok(path) = ReversePath::parse(text) {
        assert_eq!(ReversePath::parse(&path.to_string()).as_ref(), Ok(&path));
    }
    if let Ok(path) = ForwardPath::parse(text) {
        assert_eq!(ForwardPath::parse(&path.to_string()).as_ref(), Ok(&path));
    }
    if let Some(status) = EnhancedStatus::parse(text) {
        assert_eq!(status.to_string(), text);
    }
}

/// Commands: a parsed command holds nothing but clean text.
pub fn command(input: &[u8]) {
    match Command::parse(input) {
        Ok(Command::Hello { name, .. }) => assert!(name.bytes().all(|octet| octet.is_ascii_graphic())),
        Ok(Command::Mail(path, parameters)) => {
            assert!(is_clean(&path.to_string()));
            assert!(parameters.envid.is_none_or(|envid| is_clean(&envid)));
        }
        Ok(Command::Recipient(path, parameters)) => {
            assert!(is_clean(&path.to_string()));
            assert!(parameters.orcpt.is_none_or(|orcpt| is_clean(&orcpt.address) && is_clean(&orcpt.address_type)));
        }
        Ok(Command::Verify(argument)) => assert!(is_clean(&argument)),
        Ok(_) => {}
        Err(trouble) => assert!(is_clean(&trouble.to_string())),
    }
}

fn decode(octets: &[u8], cut: usize) -> (Vec<u8>, bool, bool) {
    let mut decoder = Decoder::for_data(100);
    let (mut content, cut) = (Vec::new(), cut.min(octets.len()));
    for part in [&octets[..cut], &octets[cut..]] {
        let mut rest = part;
        loop {
            let (used, piece) = decoder.next(rest);
            match piece {
                Piece::NeedMore => break,
                Piece::Run(range) => content.extend_from_slice(&rest[range]),
                Piece::Static(octets) => content.extend_from_slice(octets),
                Piece::End => return (content, true, decoder.trouble().is_some()),
            }
            rest = &rest[used..];
        }
    }
    (content, false, decoder.trouble().is_some())
}

fn is_mended(octets: &[u8]) -> bool {
    octets.iter().enumerate().all(|(at, octet)| match octet {
        b'\n' => at > 0 && octets[at - 1] == b'\r',
        b'\r' => octets.get(at + 1).is_none_or(|next| *next == b'\n'),
        octet => *octet != 0,
    })
}

/// Content: cuts change nothing, nothing bare comes out, and what we encode decodes to what it meant.
pub fn data(input: &[u8]) {
    let (cut, octets) = split(input);
    let whole = decode(octets, 0);
    assert_eq!(whole, decode(octets, usize::from(cut)));
    assert!(is_mended(&whole.0), "{}", whole.0.escape_ascii());
    let (mut encoder, mut wire) = (Encoder::new(), Vec::new());
    let cut = usize::from(cut).min(octets.len());
    encoder.encode(&octets[..cut], &mut wire);
    encoder.encode(&octets[cut..], &mut wire);
    encoder.finish(&mut wire);
    assert!(is_mended(&wire) && wire.ends_with(b".\r\n"), "{}", wire.escape_ascii());
    let false_ends = wire[..wire.len() - 3].windows(5).filter(|five| five == b"\r\n.\r\n").count();
    assert_eq!(false_ends, 0, "{}", wire.escape_ascii());
    let (content, ended, _) = decode(&wire, 0);
    assert!(ended);
    let (mut encoder, mut again) = (Encoder::new(), Vec::new());
    encoder.encode(&content, &mut again);
    encoder.finish(&mut again);
    assert_eq!(wire, again, "content that was mended once needs no mending");
}

/// What a session of the server came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    said: Vec<u8>,
    accepted: Vec<Vec<u8>>,
    aborted: usize,
    closed: bool,
}

struct ServerRun {
    server: Server,
    outcome: Outcome,
    in_transaction: bool,
    content: Vec<u8>,
}

impl ServerRun {
    fn step(&mut self) -> bool {
        match self.server.next() {
            server::Step::Read => return false,
            server::Step::Close => {
                self.outcome.closed = true;
                return false;
            }
            server::Step::Write(octets) => self.outcome.said.extend_from_slice(octets),
            server::Step::Content(octets) => {
                assert!(self.in_transaction, "content belongs to a transaction that lives");
                self.content.extend_from_slice(octets);
            }
            server::Step::Aborted => {
                assert!(std::mem::take(&mut self.in_transaction), "only a transaction that lives can be aborted");
                self.content.clear();
                self.outcome.aborted += 1;
            }
            server::Step::StartTls => self.server.secured(),
            server::Step::Ask(question) => {
                let verdict = self.judge(question);
                self.server.answer(verdict);
            }
        }
        true
    }

    fn judge(&mut self, question: Question) -> Verdict {
        match question {
            Question::Mail { .. } => assert!(!std::mem::replace(&mut self.in_transaction, true), "transactions do not nest"),
            Question::Recipient { forward_path, .. } => {
                assert!(self.in_transaction);
                if forward_path.to_string().starts_with("<no") {
                    return Verdict::Refuse(Reply::new(550, None, "no"));
                }
            }
            Question::Data => assert!(self.in_transaction),
            Question::EndOfContent => {
                assert!(std::mem::take(&mut self.in_transaction));
                assert!(is_mended(&self.content), "{}", self.content.escape_ascii());
                self.outcome.accepted.push(std::mem::take(&mut self.content));
            }
            Question::Connect | Question::Hello { .. } | Question::Authenticate { .. } | Question::Verify { .. } | Question::XClient(_) => {
            }
        }
        Verdict::Accept
    }
}

fn serve(steer: u8, octets: &[u8], piece_octets: usize) -> Outcome {
    let config = Config {
        starttls: steer & 1 != 0,
        tls_required: steer & 2 != 0,
        auth_in_clear: steer & 4 != 0,
        mechanisms: if steer & 8 != 0 { Mechanisms::SERVED } else { Mechanisms::default() },
        bare_newline: if steer & 16 != 0 { BareNewline::Normalise } else { BareNewline::Refuse },
        message_bytes_max: 2000,
        recipients_max: 3,
        command_line_octets_max: 300,
        auth_line_octets_max: 400,
        text_line_octets_max: 200,
        errors_max: 10,
        junk_commands_max: 10,
        ..Config::new("mx.example")
    };
    let server = Server::new(Arc::new(config), steer & 32 != 0);
    let mut run = ServerRun { server, outcome: Outcome::default(), in_transaction: false, content: Vec::new() };
    while run.step() {}
    for piece in octets.chunks(piece_octets.max(1)) {
        if run.outcome.closed {
            break;
        }
        run.server.feed(piece);
        while run.step() {}
    }
    run.server.end_of_input();
    while run.step() {}
    assert!(run.outcome.closed && !run.in_transaction, "the end of input ends everything");
    run.outcome
}

/// The receiver's machine: it keeps its word to the driver, and cuts change nothing but what comes too early.
pub fn server(input: &[u8]) {
    let (steer, octets) = split(input);
    let slow = serve(steer, octets, 1);
    let fast = serve(steer, octets, usize::from(steer) * 3 + 2);
    let says_early = |outcome: &Outcome| outcome.said.windows(9).any(|words| words == b"554 5.5.0");
    if !says_early(&fast) && !says_early(&slow) {
        assert_eq!(slow, fast);
    }
}

fn converse(steer: u8, octets: &[u8], piece_octets: usize) -> Vec<String> {
    let config = client::Config { pipelining: steer & 1 != 0, chunk_octets: 4, ..client::Config::new("relay.example") };
    let mut client = Client::new(config);
    let (mut notes, mut wishes, mut ends, mut secured) = (Vec::new(), 0, 0, false);
    let mut parts = 0;
    let mut pieces = octets.chunks(piece_octets.max(1));
    for _ in 0..100_000 {
        match client.next() {
            client::Step::Read => match pieces.next() {
                Some(piece) => client.feed(piece),
                None => client.end_of_input(),
            },
            client::Step::Write(octets) => assert!(is_mended(octets)),
            client::Step::Ready(hello) => {
                wishes += 1;
                match wishes {
                    1 if hello.starttls && !secured => client.start_tls(),
                    1 | 2 if hello.auth.login => {
                        let credentials = Credentials { authzid: String::new(), authcid: "u".into(), password: b"p".to_vec() };
                        client.authenticate(Mechanism::Login, &credentials);
                    }
                    1..6 => {
                        let recipients = ["<c@d.example>", "<e@f.example>"].map(|path| ForwardPath::parse(path).expect("a path"));
                        let reverse_path = ReversePath::Null;
                        let recipients = recipients.map(client::Addressee::from).into();
                        let transaction = Transaction { size: 9, body: Body::EightBitMime, ..Transaction::new(reverse_path, recipients) };
                        (ends, parts) = (0, 0);
                        client.begin(transaction).expect("sendable");
                    }
                    6 => client.reset(),
                    _ => client.quit(),
                }
            }
            client::Step::TlsGranted => {
                secured = true;
                client.secured();
            }
            client::Step::WantContent if parts < usize::from(steer >> 6) => {
                client.content(b"a\n.\nb");
                parts += 1;
            }
            client::Step::WantContent => {
                client.content(b"a\n.\nb");
                client.end_of_content();
                ends += 1;
            }
            client::Step::Report(report) => {
                assert_eq!(report.recipients.len(), 2);
                for client::LastWord { reply, stage } in &report.recipients {
                    assert!(!reply.is_positive_completion() || *stage == client::Wait::DataTermination, "taken by a reply to {stage}");
                    assert!(!reply.is_positive_completion() || ends == 1, "taken without an end of data");
                    assert!(!reply.is_positive_intermediate() && is_clean(&reply.to_string()));
                }
                notes.push(format!("{report:?}"));
            }
            client::Step::Refused(refusal) => {
                assert!(is_clean(&refusal.reply.to_string()));
                notes.push(format!("{refusal:?}"));
            }
            client::Step::Trouble(trouble) => {
                assert!(is_clean(&trouble.to_string()));
                notes.push(format!("{trouble:?}"));
            }
            client::Step::Close => return notes,
        }
    }
    panic!("the session does not end");
}

/// The sender's machine against any server: it ends, and never makes up a positive reply.
pub fn client(input: &[u8]) {
    let (steer, octets) = split(input);
    converse(steer, octets, usize::MAX);
    converse(steer, octets, usize::from(steer >> 1) + 1);
}

/// One reply: cuts change nothing, and what is kept is clean.
pub fn reply(input: &[u8]) {
    let (cut, octets) = split(input);
    let hear = |cut: usize| {
        let mut client = Client::new(client::Config::new("relay.example"));
        client.feed(b"220 mx\r\n");
        while !matches!(client.next(), client::Step::Read) {}
        client.feed(b"250 mx\r\n");
        while !matches!(client.next(), client::Step::Ready(_)) {}
        client.reset();
        let mut heard = Vec::new();
        for part in [&octets[..cut], &octets[cut..]] {
            client.feed(part);
            loop {
                match client.next() {
                    client::Step::Read | client::Step::Ready(_) | client::Step::Close => break,
                    client::Step::Refused(refusal) => {
                        assert!(is_clean(&refusal.reply.to_string()));
                        heard.push(format!("{refusal:?}"));
                    }
                    client::Step::Trouble(trouble) => heard.push(format!("{trouble:?}")),
                    _ => {}
                }
            }
        }
        heard
    };
    assert_eq!(hear(0).first(), hear(usize::from(cut).min(octets.len())).first());
}

/// A milter of any octets: in any split the same, nothing grows without bound, and what it wants in a header cannot end the header.
pub fn milter(input: &[u8]) {
    use postrider_smtp::milter::{Answer, Change, Command, PACKET_OCTETS_MAX, Said, Session, Verdict};
    let (steer, octets) = split(input);
    let converse = |slice_octets: usize| {
        let (mut session, mut heard) = (Session::new(), Vec::new());
        let commands = [Command::Hello("x"), Command::Data, Command::EndOfHeader, Command::Body(b"x"), Command::EndOfBody];
        let mut commands = commands.iter().cycle().skip(usize::from(steer)).take(64);
        let mut awaits = true;
        for slice in octets.chunks(slice_octets) {
            session.feed(slice);
            loop {
                while !awaits {
                    let Some(command) = commands.next() else { return heard };
                    awaits = session.say(*command, &|name| Some(name.to_owned())) == Said::Awaits;
                }
                session.outbox();
                match session.next() {
                    Ok(Some(answer)) => {
                        awaits = !matches!(answer, Answer::Agreed | Answer::Verdict(_));
                        heard.push(answer);
                    }
                    Ok(None) => break,
                    Err(_) => return heard,
                }
            }
        }
        heard
    };
    let heard = converse(octets.len().max(1));
    assert_eq!(converse(1), heard);
    for answer in heard {
        match answer {
            Answer::Change(Change::AddHeader(field) | Change::InsertHeader(_, field) | Change::ChangeHeader(_, field)) => {
                let text = format!("{}:{}", field.name, String::from_utf8_lossy(&field.value));
                assert!(text.len() <= 6 * PACKET_OCTETS_MAX);
                let mut lines = text.split('\n');
                let first = lines.next().unwrap_or_default();
                assert!(!first.starts_with([' ', '\t', ':', '\r']), "{text:?}");
                assert!(lines.all(|line| line.starts_with([' ', '\t']) && !line.trim_matches([' ', '\t', '\r']).is_empty()), "{text:?}");
                assert_eq!(text.matches('\r').count(), text.matches("\r\n").count(), "{text:?}");
            }
            Answer::Verdict(Verdict::Refuse(reply)) => {
                assert!((400..=599).contains(&reply.code()) && reply.lines().iter().all(|line| is_clean(line)));
            }
            Answer::Agreed | Answer::Verdict(_) | Answer::Change(_) | Answer::Progress => {}
        }
    }
}
