//! One session of a provider: the receiver's side of SMTP, as simple as it can be written.
//!
//! Commands are parsed by hand here and not by `smtp::command`, so that a mistake there is not shared. Recipients are judged by their local part:
//! `unknown…` hears 550 5.1.1, `full…` 452 4.2.2, `over…` 552 5.2.2, `later…` 451 4.2.0 always; mail that holds `spam…` among its recipients is refused
//! with 554 5.7.1 after the final dot.

use std::net::IpAddr;

use postrider_model::Timestamp;

use crate::ledger::{Refused, Taken, field};
use crate::personality::{FaultKind, Hostile, Moment, Pace, Space};
use crate::provider::{Action, Provider, SessionId};
use crate::reply::{hostile, say, wire};
use crate::throttle::Manner;

/// Octets of a command line we read (RFC 5321 §4.5.3.1.4 asks for 512; extensions add to it).
const LINE_OCTETS_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Commands,
    Content,
    /// Nothing is heard and nothing said any more.
    Deaf,
}

#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    pub(crate) peer: IpAddr,
    state: State,
    buffer: Vec<u8>,
    hello: bool,
    esmtp: bool,
    mail: Option<Transaction>,
    /// How much of the content was searched for its end.
    searched: usize,
    /// No reply was sent that nobody asked for: the client can know which reply is for what.
    in_step: bool,
    /// Whether the middle of this content has had its moment.
    middle: bool,
}

#[derive(Debug)]
struct Transaction {
    reverse_path: String,
    recipients: Vec<String>,
    eight_bit: bool,
}

/// What became of a moment.
enum Went {
    On,
    Wrong,
}

impl Session {
    pub(crate) fn new(id: SessionId, peer: IpAddr) -> Self {
        Self {
            id,
            peer,
            state: State::Commands,
            buffer: Vec::new(),
            hello: false,
            esmtp: false,
            mail: None,
            searched: 0,
            in_step: true,
            middle: false,
        }
    }

    pub(crate) fn greet(&mut self, provider: &mut Provider, lets: bool, actions: &mut Vec<Action>) {
        if !lets {
            provider.ledger.throttled += 1;
            provider.ledger.feel("throttles");
            self.say(provider, actions, "421 4.7.28 too many connections from your address");
            return self.close(actions);
        }
        if let Went::Wrong = self.moment(provider, Moment::Connect, actions) {
            return;
        }
        let text = format!("220 {} ESMTP", provider.personality.host_name);
        self.say(provider, actions, &text);
    }

    pub(crate) fn feed(&mut self, provider: &mut Provider, octets: &[u8], now: Timestamp, actions: &mut Vec<Action>) {
        self.buffer.extend_from_slice(octets);
        loop {
            let went_on = match self.state {
                State::Deaf => return self.buffer.clear(),
                State::Commands => self.command(provider, now, actions),
                State::Content => self.content(provider, now, actions),
            };
            if !went_on {
                return;
            }
        }
    }

    /// Takes one line out of the buffer and obeys it. False when there is none.
    fn command(&mut self, provider: &mut Provider, now: Timestamp, actions: &mut Vec<Action>) -> bool {
        let Some(end) = self.buffer.iter().position(|octet| *octet == b'\n') else {
            if self.buffer.len() > LINE_OCTETS_MAX {
                self.complain(provider, "a command line without an end".into());
                self.close(actions);
            }
            return false;
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let Some(line) = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).map(str::to_owned) else {
            self.complain(provider, format!("a command that is no line: {:?}", String::from_utf8_lossy(&line)));
            self.say(provider, actions, "500 5.5.2 no");
            return true;
        };
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let may_pipeline = self.esmtp && provider.personality.offers.pipelining;
        if !self.buffer.is_empty() && !may_pipeline {
            self.complain(provider, format!("octets behind {verb} although PIPELINING was not offered"));
        }
        match verb.as_str() {
            "EHLO" | "HELO" => self.hello(provider, &verb, actions),
            "MAIL" => self.mail(provider, &line, now, actions),
            "RCPT" => self.recipient(provider, &line, now, actions),
            "DATA" => self.data(provider, actions),
            "RSET" => {
                self.mail = None;
                self.say(provider, actions, "250 2.0.0 forgotten");
            }
            "NOOP" => self.say(provider, actions, "250 2.0.0 yes"),
            "STARTTLS" => self.start_tls(provider, actions),
            "QUIT" => {
                if let Went::On = self.moment(provider, Moment::Quit, actions) {
                    self.say(provider, actions, "221 2.0.0 bye");
                    self.close(actions);
                }
            }
            _ => {
                self.complain(provider, format!("an unknown command: {line:?}"));
                self.say(provider, actions, "500 5.5.1 what?");
            }
        }
        true
    }

    fn hello(&mut self, provider: &mut Provider, verb: &str, actions: &mut Vec<Action>) {
        let offers = provider.personality.offers;
        self.mail = None;
        if verb == "EHLO" && !offers.esmtp {
            return self.say(provider, actions, "502 5.5.1 not here");
        }
        if let Went::Wrong = self.moment(provider, Moment::Hello, actions) {
            return;
        }
        self.hello = true;
        self.esmtp = verb == "EHLO";
        let mut text = format!("250 {}", provider.personality.host_name);
        if self.esmtp {
            let size = offers.size.map(|size| format!("SIZE {size}"));
            let offered = [
                offers.pipelining.then_some("PIPELINING"),
                size.as_deref(),
                offers.eight_bit_mime.then_some("8BITMIME"),
                offers.smtputf8.then_some("SMTPUTF8"),
                offers.starttls.then_some("STARTTLS"),
                offers.enhanced_status.then_some("ENHANCEDSTATUSCODES"),
            ];
            for keyword in offered.into_iter().flatten() {
                text.push('\n');
                text.push_str(keyword);
            }
        }
        self.say(provider, actions, &text);
    }

    fn start_tls(&mut self, provider: &mut Provider, actions: &mut Vec<Action>) {
        if !provider.personality.offers.starttls || !self.hello {
            self.complain(provider, "STARTTLS that was not offered".into());
            return self.say(provider, actions, "502 5.5.1 no TLS here");
        }
        self.say(provider, actions, "220 2.0.0 go ahead");
        actions.push(Action::Secure);
        // RFC 3207 §4.2: nothing was heard before TLS.
        (self.hello, self.esmtp, self.mail) = (false, false, None);
        if !self.buffer.is_empty() {
            self.complain(provider, "octets behind STARTTLS".into());
            self.buffer.clear();
        }
    }

    fn mail(&mut self, provider: &mut Provider, line: &str, now: Timestamp, actions: &mut Vec<Action>) {
        if !self.hello || self.mail.is_some() {
            self.complain(provider, format!("MAIL out of order: {line:?}"));
            return self.say(provider, actions, "503 5.5.1 not now");
        }
        let Some((path, parameters)) = path_of(line, "MAIL FROM:") else {
            self.complain(provider, format!("bad MAIL: {line:?}"));
            return self.say(provider, actions, "501 5.5.4 what?");
        };
        if let Went::Wrong = self.moment(provider, Moment::Mail, actions) {
            return;
        }
        self.check_parameters(provider, &parameters);
        if provider.personality.space == Space::DiskFull {
            provider.ledger.feel("its disk is full");
            return self.say(provider, actions, "452 4.3.1 insufficient system storage");
        }
        let throttle = provider.personality.throttle;
        if !provider.counts.message(self.peer, throttle.as_ref(), now) {
            provider.ledger.throttled += 1;
            provider.ledger.feel("throttles");
            return match throttle.map(|t| t.manner) {
                Some(Manner::Close) => {
                    self.say(provider, actions, "421 4.7.28 our system has detected an unusual rate of mail from your address");
                    self.close(actions);
                }
                Some(Manner::Permanent) => self.say(provider, actions, "550 5.7.1 sending rate exceeded, rate limited"),
                Some(Manner::Transient) | None => self.say(provider, actions, "451 4.7.1 try again later"),
            };
        }
        provider.ledger.transactions.push((now, self.peer, self.id));
        let eight_bit = parameters.iter().any(|p| p.eq_ignore_ascii_case("BODY=8BITMIME"));
        self.mail = Some(Transaction { reverse_path: path, recipients: Vec::new(), eight_bit });
        self.say(provider, actions, "250 2.1.0 sender ok");
    }

    fn check_parameters(&self, provider: &mut Provider, parameters: &[String]) {
        let offers = provider.personality.offers;
        for parameter in parameters {
            let name = parameter.split('=').next().unwrap_or_default().to_ascii_uppercase();
            let offered = match name.as_str() {
                "SIZE" => offers.size.is_some(),
                "BODY" => offers.eight_bit_mime,
                "SMTPUTF8" => offers.smtputf8,
                _ => false,
            };
            if !(offered && self.esmtp) {
                self.complain(provider, format!("MAIL parameter {parameter} that was not offered"));
            }
        }
    }

    fn recipient(&mut self, provider: &mut Provider, line: &str, now: Timestamp, actions: &mut Vec<Action>) {
        let path = path_of(line, "RCPT TO:");
        let (Some(transaction), Some((path, _))) = (&self.mail, path) else {
            // Pipelined behind a refused MAIL this is as it should be (RFC 2920 §3.1).
            return self.say(provider, actions, "503 5.5.1 not now");
        };
        let (reverse_path, count) = (transaction.reverse_path.clone(), transaction.recipients.len());
        if let Went::Wrong = self.moment(provider, Moment::Recipient, actions) {
            return;
        }
        let verdict = self.judge(provider, &reverse_path, &path, count, now);
        match verdict {
            None => {
                if let Some(transaction) = &mut self.mail {
                    transaction.recipients.push(path);
                }
                self.say(provider, actions, "250 2.1.5 recipient ok");
            }
            Some(text) => {
                let code = text[..3].parse().unwrap_or(0);
                provider.ledger.refused.push(Refused { at: now, peer: self.peer, reverse_path, recipient: path, code });
                self.say(provider, actions, text);
            }
        }
    }

    /// Why a recipient is not taken, if it is not.
    fn judge(&self, provider: &mut Provider, reverse_path: &str, path: &str, count: usize, now: Timestamp) -> Option<&'static str> {
        let local = path.split('@').next().unwrap_or_default();
        let by_name = [
            ("unknown", "550 5.1.1 no such user"),
            ("full", "452 4.2.2 mailbox full"),
            ("over", "552 5.2.2 mailbox full"),
            ("later", "451 4.2.0 not today"),
        ];
        if let Some((_, text)) = by_name.iter().find(|(prefix, _)| local.starts_with(prefix)) {
            return Some(text);
        }
        match provider.personality.space {
            Space::MailboxFull => {
                provider.ledger.feel("its mailboxes are full");
                return Some("452 4.2.2 mailbox full");
            }
            Space::MailboxOver => {
                provider.ledger.feel("its mailboxes are full, said as 552");
                return Some("552 5.2.2 mailbox full");
            }
            Space::Enough | Space::DiskFull => {}
        }
        if count >= provider.personality.recipients_max {
            return Some("452 4.5.3 too many recipients");
        }
        if let Some(pause) = provider.personality.greylist {
            let key = (self.peer, reverse_path.to_owned(), path.to_owned());
            let first = *provider.greylist.entry(key).or_insert(now);
            if now.since(first) < pause {
                provider.ledger.feel("greylists");
                return Some("450 4.7.1 greylisted, try again later");
            }
        }
        None
    }

    fn data(&mut self, provider: &mut Provider, actions: &mut Vec<Action>) {
        let Some(transaction) = &self.mail else {
            return self.say(provider, actions, "503 5.5.1 not now");
        };
        if transaction.recipients.is_empty() {
            // RFC 2920 §3.1: a pipelining client may say DATA although all its recipients were refused.
            return self.say(provider, actions, "554 5.5.1 no valid recipients");
        }
        if let Went::Wrong = self.moment(provider, Moment::Data, actions) {
            return;
        }
        self.state = State::Content;
        (self.searched, self.middle) = (0, false);
        self.say(provider, actions, "354 go ahead");
    }

    /// Looks for the end of the content. False when it has not come.
    fn content(&mut self, provider: &mut Provider, now: Timestamp, actions: &mut Vec<Action>) -> bool {
        const END: &[u8] = b"\r\n.\r\n";
        if !self.middle && !self.buffer.is_empty() {
            self.middle = true;
            if let Went::Wrong = self.moment(provider, Moment::Content, actions) {
                return self.state != State::Deaf;
            }
        }
        // An empty content is a dot at once.
        let (content, whole) = if self.buffer.starts_with(&END[2..]) {
            (0, END.len() - 2)
        } else {
            let from = self.searched.saturating_sub(END.len());
            match end_of_data(&self.buffer[from..]) {
                Some(at) => (from + at + 2, from + at + END.len()),
                None => {
                    self.searched = self.buffer.len();
                    return false;
                }
            }
        };
        let mut raw: Vec<u8> = self.buffer.drain(..whole).collect();
        raw.truncate(content);
        self.state = State::Commands;
        self.end_of_data(provider, unstuff(&raw), now, actions);
        true
    }

    fn end_of_data(&mut self, provider: &mut Provider, content: Vec<u8>, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(transaction) = self.mail.take() else { return };
        if strays(&content) {
            self.complain(provider, "content with a bare CR, a bare LF or a NUL".into());
        }
        // Who did not offer 8BITMIME is sent 8-bit content by most of the world; who did may expect to be told.
        let could_say = self.esmtp && provider.personality.offers.eight_bit_mime;
        if !content.is_ascii() && !transaction.eight_bit && could_say {
            self.complain(provider, "8-bit content without BODY=8BITMIME".into());
        }
        let mut taken = Taken {
            at: now,
            session: self.id,
            peer: self.peer,
            reverse_path: transaction.reverse_path,
            recipients: transaction.recipients,
            token: field(&content, "X-Token").map(str::to_owned),
            content,
            said: true,
        };
        if let Some(fault) = provider.fault(Moment::EndOfData) {
            if matches!(fault.kind, FaultKind::TakeAndDrop | FaultKind::TakeAndSilence) {
                taken.said = false;
                provider.ledger.taken.push(taken);
            }
            return self.go_wrong(provider, &fault.kind, actions);
        }
        if taken.recipients.iter().any(|r| r.starts_with("spam")) {
            return self.say(provider, actions, "554 5.7.1 we do not want this");
        }
        provider.ledger.taken.push(taken);
        self.say(provider, actions, "250 2.0.0 taken");
        actions.push(Action::Confirmed(provider.ledger.taken.len() - 1));
    }

    /// Lets a fault strike, if one does.
    fn moment(&mut self, provider: &mut Provider, at: Moment, actions: &mut Vec<Action>) -> Went {
        match provider.fault(at) {
            None => Went::On,
            Some(fault) => {
                self.go_wrong(provider, &fault.kind, actions);
                Went::Wrong
            }
        }
    }

    fn go_wrong(&mut self, provider: &mut Provider, kind: &FaultKind, actions: &mut Vec<Action>) {
        match kind {
            FaultKind::Drop | FaultKind::TakeAndDrop => self.close(actions),
            FaultKind::Silence | FaultKind::TakeAndSilence => self.state = State::Deaf,
            FaultKind::Reply(text) => self.say(provider, actions, text),
            FaultKind::ReplyAndDrop(text) => {
                self.say(provider, actions, text);
                self.close(actions);
            }
            FaultKind::Hostile(kind) => {
                self.in_step &= *kind != Hostile::Double;
                hostile(actions, *kind);
            }
        }
    }

    /// Notes what the client did wrong, unless we have put it out of step ourselves.
    fn complain(&self, provider: &mut Provider, what: String) {
        if self.in_step {
            provider.ledger.complaints.push(what);
        }
    }

    fn say(&self, provider: &mut Provider, actions: &mut Vec<Action>, text: &str) {
        let text = if provider.personality.offers.enhanced_status { text.to_owned() } else { without_status(text) };
        let Pace { reply, octet } = provider.personality.pace;
        for (pause, manner) in [(reply, "tarpits"), (octet, "drips")] {
            if !pause.is_zero() {
                provider.ledger.feel(manner);
            }
        }
        say(actions, provider.personality.pace, wire(&text));
    }

    fn close(&mut self, actions: &mut Vec<Action>) {
        self.state = State::Deaf;
        actions.push(Action::Close);
    }
}

/// `250 2.0.0 ok` becomes `250 ok`.
fn without_status(text: &str) -> String {
    let mut words = text.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(code), Some(status), Some(rest)) if status.split('.').count() == 3 => format!("{code} {rest}"),
        _ => text.to_owned(),
    }
}

/// The path between its brackets, and the parameters behind it.
fn path_of(line: &str, command: &str) -> Option<(String, Vec<String>)> {
    let (said, rest) = line.split_at_checked(command.len())?;
    let rest = said.eq_ignore_ascii_case(command).then_some(rest)?.strip_prefix('<')?;
    // Quoted local parts do not occur in the scenarios with a bracket inside.
    let (path, rest) = rest.split_once('>')?;
    Some((path.to_owned(), rest.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()))
}

/// Where CR LF dot CR LF begins; looked for by its dot, of which there are few.
fn end_of_data(octets: &[u8]) -> Option<usize> {
    let mut from = 2;
    loop {
        let dot = from + octets.get(from..)?.iter().position(|octet| *octet == b'.')?;
        if &octets[dot - 2..dot] == b"\r\n" && octets.get(dot + 1..dot + 3) == Some(b"\r\n") {
            return Some(dot - 2);
        }
        from = dot + 1;
    }
}

/// Takes the dots off (RFC 5321 §4.5.2).
fn unstuff(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    for line in raw.split_inclusive(|octet| *octet == b'\n') {
        out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    out
}

fn strays(content: &[u8]) -> bool {
    let mut before = 0;
    for octet in content {
        if *octet == 0 || (*octet == b'\n') != (before == b'\r') {
            return true;
        }
        before = *octet;
    }
    before == b'\r'
}
