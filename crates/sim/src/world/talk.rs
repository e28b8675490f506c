//! One transaction of a client, as a pure machine: the sender's side of SMTP, as simple as it can be written.

use std::collections::VecDeque;

use super::book::Verdict;

use super::clients::Wish;

/// Where a client breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakAt {
    /// After MAIL was answered.
    Mail,
    /// After the last RCPT was answered.
    Recipients,
    /// In the middle of the content.
    Content,
    /// Right behind the final dot.
    FinalDot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Greeting,
    Hello,
    Auth,
    Mail,
    Recipient(usize),
    Data,
    EndOfData,
    Quit,
}

/// What to say.
pub(crate) struct Script {
    pub(crate) user: String,
    pub(crate) reverse_path: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) content: Vec<u8>,
    pub(crate) eight_bit: bool,
    pub(crate) pipelined: bool,
    pub(crate) break_at: Option<BreakAt>,
    pub(crate) wish: Wish,
}

/// A client's session with one transaction.
pub(crate) struct Talk {
    script: Script,
    expected: VecDeque<Expect>,
    buffer: Vec<u8>,
    pub(crate) accepted: Vec<usize>,
    refused: Option<u16>,
    data_granted: bool,
    dot_sent: bool,
    verdict: Option<Verdict>,
    /// Nothing more is said or heard.
    over: bool,
}

impl Talk {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            script,
            expected: VecDeque::from([Expect::Greeting]),
            buffer: Vec::new(),
            accepted: Vec::new(),
            refused: None,
            data_granted: false,
            dot_sent: false,
            verdict: None,
            over: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// What became of the transaction, if the session ended here.
    pub(crate) fn verdict(&self) -> Verdict {
        match (&self.verdict, self.dot_sent) {
            (Some(verdict), _) => verdict.clone(),
            (None, true) => Verdict::Unknown,
            (None, false) => Verdict::Broken,
        }
    }

    /// Octets came; gives octets to write.
    pub(crate) fn feed(&mut self, octets: &[u8]) -> Vec<u8> {
        self.buffer.extend_from_slice(octets);
        let mut out = Vec::new();
        while let Some((code, text)) = self.reply() {
            if self.over {
                break;
            }
            self.heard(code, &text, &mut out);
        }
        out
    }

    /// The next whole reply in the buffer: its code and its last line.
    fn reply(&mut self) -> Option<(u16, String)> {
        let mut from = 0;
        loop {
            let end = from + self.buffer[from..].iter().position(|octet| *octet == b'\n')?;
            let line = String::from_utf8_lossy(&self.buffer[from..end]).trim_end().to_owned();
            from = end + 1;
            if line.as_bytes().get(3) != Some(&b'-') {
                self.buffer.drain(..from);
                return Some((line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0), line));
            }
        }
    }

    fn heard(&mut self, code: u16, text: &str, out: &mut Vec<u8>) {
        let Some(expected) = self.expected.pop_front() else { return };
        let good = (200..400).contains(&code);
        if code == 421 {
            self.refused = Some(421);
            return self.end(Verdict::Refused(421));
        }
        match expected {
            Expect::Greeting if good => self.say(out, "EHLO client.example", Expect::Hello),
            // Without a name it is a stranger.
            Expect::Hello if good && self.script.user.is_empty() => self.begin(out),
            Expect::Hello if good => {
                let mut plain = vec![0];
                plain.extend_from_slice(self.script.user.as_bytes());
                plain.extend_from_slice(b"\0secret");
                self.say(out, &format!("AUTH PLAIN {}", base64(&plain)), Expect::Auth);
            }
            Expect::Auth if good => self.begin(out),
            Expect::Mail if good => {
                if self.script.break_at == Some(BreakAt::Mail) {
                    self.over = true;
                } else if !self.script.pipelined {
                    self.recipient(out, 0);
                }
            }
            Expect::Recipient(nth) => {
                if good {
                    self.accepted.push(nth);
                } else {
                    self.refused = Some(code);
                }
                self.after_recipient(out, nth);
            }
            Expect::Data if code == 354 => self.content(out),
            Expect::EndOfData => {
                let verdict = if good { Verdict::Positive(id_in(text)) } else { Verdict::Refused(code) };
                self.verdict = Some(verdict);
                self.say(out, "QUIT", Expect::Quit);
            }
            Expect::Quit => self.over = true,
            Expect::Greeting | Expect::Hello | Expect::Auth | Expect::Mail | Expect::Data => {
                self.end(Verdict::Refused(self.refused.unwrap_or(code)));
            }
        }
    }

    fn end(&mut self, verdict: Verdict) {
        // A word on the end of data stands, whatever follows.
        self.verdict.get_or_insert(verdict);
        self.over = true;
    }

    fn say(&mut self, out: &mut Vec<u8>, line: &str, expect: Expect) {
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.expected.push_back(expect);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        let body = if self.script.eight_bit { " BODY=8BITMIME" } else { "" };
        self.say(out, &format!("MAIL FROM:<{}>{body}{}", self.script.reverse_path, self.script.wish.parameters().0), Expect::Mail);
        if self.script.pipelined {
            for nth in 0..self.script.recipients.len() {
                self.recipient(out, nth);
            }
            self.say(out, "DATA", Expect::Data);
        }
    }

    fn recipient(&mut self, out: &mut Vec<u8>, nth: usize) {
        let line = format!("RCPT TO:<{}>{}", self.script.recipients[nth], self.script.wish.parameters().1);
        self.say(out, &line, Expect::Recipient(nth));
    }

    fn after_recipient(&mut self, out: &mut Vec<u8>, nth: usize) {
        let last = nth + 1 == self.script.recipients.len();
        if last && self.script.break_at == Some(BreakAt::Recipients) {
            self.over = true;
        } else if !self.script.pipelined {
            if last {
                self.say(out, "DATA", Expect::Data);
            } else {
                self.recipient(out, nth + 1);
            }
        }
    }

    fn content(&mut self, out: &mut Vec<u8>) {
        self.data_granted = true;
        let stuffed = stuffed(&self.script.content);
        if self.script.break_at == Some(BreakAt::Content) {
            out.extend_from_slice(&stuffed[..stuffed.len() / 2]);
            self.over = true;
            return;
        }
        out.extend_from_slice(&stuffed);
        out.extend_from_slice(b".\r\n");
        self.dot_sent = true;
        self.expected.push_back(Expect::EndOfData);
        self.over = self.script.break_at == Some(BreakAt::FinalDot);
    }
}

/// The id in "250 2.x.x Ok: queued as ID".
fn id_in(text: &str) -> Option<postrider_model::MessageId> {
    text.rsplit(' ').next().and_then(|word| word.parse().ok())
}

/// Dots doubled at the start of lines (RFC 5321 §4.5.2). The content ends in CR LF.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 16);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out
}

/// RFC 4648 §4.
fn base64(octets: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in octets.chunks(3) {
        let three = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        for nth in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * nth) & 63) as usize];
            out.push(if nth <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(pipelined: bool, break_at: Option<BreakAt>) -> Script {
        Script {
            user: "shop".into(),
            reverse_path: "a@b.example".into(),
            recipients: vec!["x@c.example".into(), "y@c.example".into()],
            content: b"X-Token: t\r\n\r\n.dot\r\n".to_vec(),
            eight_bit: false,
            pipelined,
            break_at,
            wish: Wish::None,
        }
    }

    #[test]
    fn a_transaction_from_greeting_to_its_verdict() {
        for pipelined in [false, true] {
            let mut talk = Talk::new(script(pipelined, None));
            let mut out = Vec::new();
            let replies = ["220 hi", "250-hi\r\n250 SIZE", "235 ok", "250 ok", "250 ok", "550 no", "354 go"];
            for reply in replies {
                out.extend(talk.feed(format!("{reply}\r\n").as_bytes()));
            }
            assert_eq!(talk.verdict(), Verdict::Unknown);
            out.extend(talk.feed(b"250 2.0.0 Ok: queued as 0193a0e0-0000-7000-8000-000000000001\r\n221 bye\r\n"));
            assert!(matches!(talk.verdict(), Verdict::Positive(Some(_))) && talk.is_over());
            assert_eq!(talk.accepted, [0]);
            let said = String::from_utf8(out).unwrap();
            assert!(said.contains("AUTH PLAIN AHNob3AAc2VjcmV0\r\n") && said.ends_with("\r\n..dot\r\n.\r\nQUIT\r\n"), "{said}");
        }
    }

    #[test]
    fn breaking_off_leaves_no_doubt_before_the_dot() {
        for (at, verdict) in [
            (BreakAt::Mail, Verdict::Broken),
            (BreakAt::Recipients, Verdict::Broken),
            (BreakAt::Content, Verdict::Broken),
            (BreakAt::FinalDot, Verdict::Unknown),
        ] {
            let mut talk = Talk::new(script(false, Some(at)));
            for reply in ["220 a", "250 a", "235 a", "250 a", "250 a", "250 a", "354 a"] {
                talk.feed(format!("{reply}\r\n").as_bytes());
            }
            assert_eq!((talk.verdict(), talk.is_over()), (verdict, true), "{at:?}");
        }
    }
}
