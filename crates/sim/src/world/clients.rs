//! Clients of the relay: each hands its mails in one after the other, again when it heard no positive reply, and notes what it heard.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_lab::Chance;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::book::{Fact, Offered, Verdict};
use super::pipe::{End, Link};
use super::strangers::{self, Guise};
use super::talk::{BreakAt, Script, Talk};
use super::{World, lock};

/// A client in a scenario.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    /// Its user name: a tenant, perhaps with `/stream`; empty for a stranger.
    pub user: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether it pipelines.
    pub pipelined: bool,
    /// How often it tries a mail.
    pub tries_max: u32,
    /// The pause before it tries again.
    pub pause: Duration,
    /// What it sends, in this order.
    pub mails: Vec<MailPlan>,
}

/// A mail in a scenario.
#[derive(Debug, Clone)]
pub struct MailPlan {
    /// Not before this, in milliseconds since the beginning.
    pub not_before_ms: u64,
    /// The reverse-path; empty when null.
    pub reverse_path: String,
    /// The recipients.
    pub recipients: Vec<String>,
    /// About how many octets the body has.
    pub body_octets: usize,
    /// Whether it holds octets above 127.
    pub eight_bit: bool,
    /// Where the client breaks off in its first try.
    pub break_at: Option<BreakAt>,
    /// What its sender asks for beyond delivery.
    pub wish: Wish,
    /// What it says of whom it is from.
    pub guise: Guise,
}

/// What a sender asks for beyond delivery (RFC 3461, RFC 4865).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: failures are told.
    #[default]
    None,
    /// `NOTIFY=NEVER`.
    Silence,
    /// `NOTIFY=SUCCESS,FAILURE,DELAY`.
    AllNews,
    /// `HOLDFOR`, in seconds.
    Hold(u32),
}

impl Wish {
    /// The parameters of MAIL and of RCPT.
    pub(crate) fn parameters(self) -> (String, &'static str) {
        match self {
            Wish::None => (String::new(), ""),
            Wish::Silence => (String::new(), " NOTIFY=NEVER"),
            Wish::AllNews => (" ENVID=e".into(), " NOTIFY=SUCCESS,FAILURE,DELAY"),
            Wish::Hold(seconds) => (format!(" HOLDFOR={seconds}"), ""),
        }
    }

    /// How long it is held.
    pub fn hold_ms(self) -> u64 {
        if let Wish::Hold(seconds) = self { u64::from(seconds) * 1000 } else { 0 }
    }
}

/// A client in the world.
pub struct Client {
    pub(crate) plan: ClientPlan,
    next: usize,
    tries: u32,
    not_before_ms: u64,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    token: String,
    talk: Talk,
    link: Arc<Link>,
}

impl Client {
    pub(crate) fn new(plan: ClientPlan) -> Self {
        Self { plan, next: 0, tries: 0, not_before_ms: 0, under_way: None }
    }

    /// Whether it has nothing more to send.
    pub fn is_done(&self) -> bool {
        self.next >= self.plan.mails.len()
    }
}

/// The token of a try.
pub fn token(client: usize, mail: usize, attempt: u32) -> String {
    format!("c{client}m{mail}t{attempt}")
}

/// The content of a try as it is to arrive, without what is forged; the same for the same token.
pub fn content(plan: &MailPlan, token: &str) -> Vec<u8> {
    strangers::signed(plan.guise, plain(plan, token))
}

fn plain(plan: &MailPlan, token: &str) -> Vec<u8> {
    let to = plan.recipients.first().map_or("undisclosed", String::as_str);
    let mut out = format!(
        "From: <{}>\r\nTo: <{to}>\r\nSubject: {token}\r\nMessage-ID: <{token}@client.example>\r\n\
         Date: Mon, 23 Nov 2026 20:37:00 +0000\r\nX-Token: {token}\r\n\r\n",
        plan.reverse_path
    )
    .into_bytes();
    let mut chance = Chance::new(token.bytes().fold(7, |sum, octet| sum * 31 + u64::from(octet)));
    let end = out.len() + plan.body_octets;
    while out.len() < end {
        match chance.below(8) {
            0 => out.extend_from_slice(b".\r\n"),
            1 => out.extend_from_slice(b"..leading dots\r\n"),
            2 if plan.eight_bit => out.extend_from_slice("gr\u{fc}\u{df}e \u{20ac}\r\n".as_bytes()),
            3 => out.extend_from_slice(b"\r\n"),
            _ => {
                let letters = chance.between(1, 900).min((end - out.len()) as u64 + 1) as usize;
                out.resize(out.len() + letters, b'a' + chance.below(26) as u8);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    out
}

/// Hands in what a client has, until it has nothing more.
pub(crate) async fn run(world: Arc<World>, number: usize) {
    loop {
        let wait_ms = {
            let client = &lock(&world.clients)[number];
            let Some(mail) = client.plan.mails.get(client.next) else { return };
            mail.not_before_ms.max(client.not_before_ms).saturating_sub(world.elapsed_ms())
        };
        if wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            continue;
        }
        let end = begin(&world, number);
        converse(&world, number, end).await;
        conclude(&world, number);
    }
}

fn begin(world: &Arc<World>, number: usize) -> End {
    let address = lock(&world.clients)[number].plan.address;
    let end = world.dial_relay(address);
    let client = &mut lock(&world.clients)[number];
    let mail = &client.plan.mails[client.next];
    let token = token(number, client.next, client.tries);
    let script = Script {
        user: client.plan.user.clone(),
        reverse_path: mail.reverse_path.clone(),
        recipients: mail.recipients.clone(),
        content: [mail.guise.forged().as_bytes(), &content(mail, &token)].concat(),
        eight_bit: mail.eight_bit,
        pipelined: client.plan.pipelined,
        break_at: mail.break_at.filter(|_| client.tries == 0),
        wish: mail.wish,
    };
    client.under_way = Some(UnderWay { token, talk: Talk::new(script), link: end.link() });
    end
}

async fn converse(world: &World, number: usize, mut end: End) {
    let mut buffer = vec![0; 4096];
    loop {
        let read = tokio::time::timeout(Duration::from_secs(600), end.read(&mut buffer)).await;
        let Ok(Ok(octets @ 1..)) = read else { return };
        let (out, over) = {
            let mut clients = lock(&world.clients);
            let Some(under_way) = &mut clients[number].under_way else { return };
            let out = under_way.talk.feed(&buffer[..octets]);
            (out, under_way.talk.is_over())
        };
        if !out.is_empty() && end.write_all(&out).await.is_err() {
            return;
        }
        if over {
            return;
        }
    }
}

/// Notes what became of the try, and decides what follows.
fn conclude(world: &World, number: usize) {
    let now_ms = world.elapsed_ms();
    let mut clients = lock(&world.clients);
    let client = &mut clients[number];
    let Some(under_way) = client.under_way.take() else { return };
    let mail = &client.plan.mails[client.next];
    let verdict = under_way.talk.verdict();
    let offered = Offered {
        token: under_way.token,
        mail: (number, client.next),
        tenant: client.plan.user.split('/').next().unwrap_or_default().to_owned(),
        reverse_path: mail.reverse_path.clone(),
        recipients: under_way.talk.accepted.iter().map(|nth| mail.recipients[*nth].clone()).collect(),
        verdict: verdict.clone(),
    };
    client.tries += 1;
    let again = match verdict {
        Verdict::Positive(_) => false,
        Verdict::Refused(code) => code < 500 && client.tries < client.plan.tries_max,
        Verdict::Unknown | Verdict::Broken => client.tries < client.plan.tries_max,
    };
    if again {
        client.not_before_ms = now_ms + client.plan.pause.as_millis() as u64;
    } else {
        (client.next, client.tries) = (client.next + 1, 0);
    }
    drop(clients);
    world.note(Fact::Offered(Box::new(offered)));
}

impl World {
    /// The relay is gone: what it had written to a client may still arrive, and then counts.
    pub(crate) fn cut_clients(&self) {
        let count = lock(&self.clients).len();
        for number in 0..count {
            let arrives = lock(&self.chance).percent(70);
            {
                let mut clients = lock(&self.clients);
                let Some(under_way) = &mut clients[number].under_way else { continue };
                let octets = under_way.link.on_the_way(false);
                if arrives {
                    under_way.talk.feed(&octets);
                }
            }
            conclude(self, number);
        }
    }

    /// Whether every client has sent what it had, and all these have the silence that they asked for.
    pub fn clients_done(&self, unsubscribers: usize) -> bool {
        lock(&self.clients).iter().all(Client::is_done) && lock(&self.records).answered_all(unsubscribers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_for_the_same_token_and_has_clean_lines() {
        let plan = MailPlan {
            not_before_ms: 0,
            reverse_path: "a@b.example".into(),
            recipients: vec!["c@d.example".into()],
            body_octets: 5_000,
            eight_bit: true,
            break_at: None,
            wish: Wish::None,
            guise: Guise::Plain,
        };
        let text = content(&plan, "c1m2t3");
        assert_eq!(text, content(&plan, "c1m2t3"));
        assert_ne!(text, content(&plan, "c1m2t4"));
        assert!(text.ends_with(b"\r\n") && text.len() >= 5_000 && !text.is_ascii());
        assert!(text.split(|octet| *octet == b'\n').all(|line| line.is_empty() || line.ends_with(b"\r")));
    }
}
