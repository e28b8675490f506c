//! Mail under judgement before it is taken: milters at each command of a transaction, and at its content.
//!
//! Milters are asked in their order, from MAIL on; each sees what the one before changed. What one says to CONNECT or HELO the client hears at MAIL, as
//! with Postfix's `smtpd_delay_reject`: so a silent session costs no milter anything, and what AUTH, a proxy or TLS said is known by then.
//! The content is judged when it is complete and staged (ADR 12), before custody and before the 250. Mail of strangers is verified first (ADR 17), so that milters
//! see what was found out, and nothing that a stranger forged.
//!
//! **Promises.** A milter that is away, slow, dead in the midst, or speaks rubbish leads to the choice that policy made for the stream, and to nothing else: its
//! changes are taken whole, with its verdict, or not at all. It is told to the operator once, until it works again.
//!
//! **Never** is a report of ours judged (Postfix's `internal_mail_filter_classes` is empty, too): it is written with the settlement that causes it.

mod apply;
mod asking;
mod content;
mod conversation;
mod draft;
mod rules;
mod verify;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use postrider_model::MessageId;
use postrider_model::StreamName;
use postrider_model::doors::{Judged, Judgement};
use postrider_model::policy::{Milter, OnFailure, Snapshot};
use postrider_smtp::milter::{Command, Verdict};
use postrider_smtp::{Host, Mailbox, Reply, ReversePath};

use crate::Doors;
use crate::receive::reply;
pub(crate) use content::{Checked, Judging, Papers};
use conversation::{Conversation, Failure, Values};
pub(crate) use rules::{OF_RECIPIENTS, OF_SENDERS, canonical, is_ours};
pub(crate) use watch::Watch;

/// The client, as judges see it.
pub(crate) struct Client<'a> {
    /// Which listener took it.
    pub(crate) listener: &'a str,
    /// Its address; `None` for mail handed over on this machine.
    pub(crate) address: Option<SocketAddr>,
    /// Where it dialled.
    pub(crate) dialled: Option<SocketAddr>,
    /// Its word of HELO or EHLO.
    pub(crate) hello: &'a str,
    /// TLS version and cipher suite.
    pub(crate) tls: Option<(&'a str, &'a str)>,
    /// By which mechanism it proved itself, and as whom.
    pub(crate) proof: Option<(&'static str, &'a str)>,
    /// It is nobody of ours, and its mail is verified.
    pub(crate) is_stranger: bool,
}

/// What the client is to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing stands against it.
    Go,
    /// No.
    Refuse(Reply),
}

/// The judges of one session.
pub(crate) struct Judges {
    doors: Doors,
    watch: Arc<Watch>,
    snapshot: Arc<Snapshot>,
    list: Vec<Judge>,
    values: Values,
    hello: String,
    address: Option<SocketAddr>,
    is_stranger: bool,
    /// The reverse-path as the client said it.
    said: ReversePath,
    listener: Box<str>,
    stream: StreamName,
    /// The message is to be thrown away; by whom.
    discard: Option<String>,
    /// It is to be held; why.
    hold: Option<String>,
}

/// One milter, and how far we are with it.
struct Judge {
    milter: Arc<Milter>,
    conversation: Option<Conversation>,
    /// It judges the transaction under way.
    asked: bool,
}

impl Judges {
    /// The judges that a listener's mail has; `None` when there are none.
    pub(crate) fn of(doors: &Doors, watch: &Arc<Watch>, snapshot: &Arc<Snapshot>, listener: &str, takes_strangers: bool) -> Option<Self> {
        let here =
            |milter: &&Arc<Milter>| milter.scope.listeners.is_empty() || milter.scope.listeners.iter().any(|name| **name == *listener);
        let list: Vec<Judge> = snapshot
            .checking
            .milters
            .iter()
            .filter(here)
            .map(|milter| Judge { milter: milter.clone(), conversation: None, asked: false })
            .collect();
        let verifies = takes_strangers && snapshot.checking.verifying.is_some();
        if list.is_empty() && !verifies && !rules::concern(&snapshot.checking, listener) {
            return None;
        }
        Some(Self {
            doors: doors.clone(),
            watch: watch.clone(),
            snapshot: snapshot.clone(),
            list,
            values: Values::default(),
            hello: String::new(),
            address: None,
            is_stranger: false,
            said: ReversePath::Null,
            listener: listener.into(),
            stream: StreamName::new(""),
            discard: None,
            hold: None,
        })
    }

    /// The policy they follow.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// A transaction begins.
    pub(crate) async fn mail(&mut self, client: &Client<'_>, stream: &StreamName, path: &ReversePath, parameters: &[String]) -> Word {
        (self.discard, self.hold) = (None, None);
        self.stream = stream.clone();
        self.said = path.clone();
        self.know(client);
        let said = path.to_string();
        self.know_path(["mail_addr", "mail_host", "mail_mailer"], path.mailbox());
        for nth in 0..self.list.len() {
            let judge = &mut self.list[nth];
            judge.asked = judge.milter.scope.covers(client.listener, stream);
            if !judge.asked {
                continue;
            }
            let command = Command::Mail { path: &said, parameters };
            let verdict = self.opening(nth, command).await;
            if let Some(word) = self.heard(nth, verdict, "MAIL") {
                return word;
            }
        }
        Word::Go
    }

    /// One more recipient.
    pub(crate) async fn recipient(&mut self, path: &str, mailbox: &Mailbox, parameters: &[String]) -> Word {
        self.know_path(["rcpt_addr", "rcpt_host", "rcpt_mailer"], Some(mailbox));
        self.each(Command::Recipient { path, parameters }, "RCPT").await
    }

    /// Content is about to come.
    pub(crate) async fn data(&mut self) -> Word {
        self.each(Command::Data, "DATA").await
    }

    /// The transaction is void.
    pub(crate) async fn abort(&mut self) {
        for judge in &mut self.list {
            judge.asked = false;
            if let Some(conversation) = &mut judge.conversation
                && conversation.ask(Command::Abort, &self.values, judge.milter.command_timeout).await.is_err()
            {
                judge.conversation = None;
            }
        }
    }

    /// The session is over, or the client is another one from now on.
    pub(crate) async fn part(&mut self) {
        for judge in &mut self.list {
            judge.asked = false;
            if let Some(conversation) = judge.conversation.take() {
                conversation.quit().await;
            }
        }
    }

    async fn each(&mut self, command: Command<'_>, what: &str) -> Word {
        for nth in 0..self.list.len() {
            let judge = &mut self.list[nth];
            let Some(conversation) = judge.conversation.as_mut().filter(|_| judge.asked) else { continue };
            let verdict = conversation.ask(command, &self.values, judge.milter.command_timeout).await;
            if let Some(word) = self.heard(nth, verdict, what) {
                return word;
            }
        }
        Word::Go
    }

    /// MAIL, and before it whatever the milter has not heard yet. A connection that ended while nothing was said is made anew, once.
    async fn opening(&mut self, nth: usize, mail: Command<'_>) -> Result<Verdict, Failure> {
        let judge = &mut self.list[nth];
        let limit = judge.milter.command_timeout;
        if let Some(conversation) = &mut judge.conversation {
            // Whatever was left open of the transaction before is void.
            let again = match conversation.ask(Command::Abort, &self.values, limit).await {
                Ok(_) => conversation.ask(mail, &self.values, limit).await,
                Err(failure) => Err(failure),
            };
            match again {
                Err(Failure::Dropped) => {}
                verdict => return verdict,
            }
        }
        judge.conversation = None;
        let mut conversation = Conversation::open(&self.doors, &judge.milter).await?;
        let name = self.address.map_or_else(|| "localhost".to_owned(), |address| format!("[{}]", address.ip().to_canonical()));
        let address = self.address.or(Some(SocketAddr::from(([127, 0, 0, 1], 0))));
        for command in [Command::Connect { name: &name, address }, Command::Hello(&self.hello), mail] {
            match conversation.ask(command, &self.values, limit).await? {
                Verdict::Continue => {}
                verdict => {
                    judge.conversation = Some(conversation);
                    return Ok(verdict);
                }
            }
        }
        judge.conversation = Some(conversation);
        Ok(Verdict::Continue)
    }

    /// What follows from a verdict, or from its absence; `None`: go on.
    fn heard(&mut self, nth: usize, verdict: Result<Verdict, Failure>, what: &str) -> Option<Word> {
        let milter = self.list[nth].milter.clone();
        let verdict = match verdict {
            Ok(verdict) => {
                self.watch.works(&self.doors, &milter);
                verdict
            }
            Err(failure) => return self.failed(nth, &failure),
        };
        let refusal = match verdict {
            Verdict::Continue | Verdict::Accept => return None,
            Verdict::Discard => {
                self.discard.get_or_insert_with(|| format!("milter:{}", milter.name));
                self.list[nth].asked = false;
                return None;
            }
            Verdict::Reject => reply(550, (5, 7, 1), "refused by policy"),
            Verdict::TempFail => reply(451, (4, 7, 1), "service unavailable, try again later"),
            Verdict::Refuse(reply) => reply,
            Verdict::Shutdown => {
                self.list[nth].conversation = None;
                reply(421, (4, 7, 0), "service unavailable, closing")
            }
        };
        let judgement = if refusal.is_permanent() { Judgement::Rejected } else { Judgement::TempFailed };
        self.say(&milter, judgement, None, &format!("{what}: {refusal}"));
        Some(Word::Refuse(refusal))
    }

    /// A milter gave no judgement: policy's choice for the stream.
    fn failed(&mut self, nth: usize, failure: &Failure) -> Option<Word> {
        let judge = &mut self.list[nth];
        (judge.conversation, judge.asked) = (None, false);
        let milter = judge.milter.clone();
        let choice = milter.on_failure_for(&self.stream);
        self.watch.fails(&self.doors, &milter, failure, choice);
        self.say(&milter, Judgement::Failed, None, &failure.to_string());
        match choice {
            OnFailure::Accept => None,
            OnFailure::TempFail => Some(Word::Refuse(reply(451, (4, 7, 1), "service unavailable, try again later"))),
            OnFailure::Reject => Some(Word::Refuse(reply(550, (5, 7, 1), "refused: the message could not be checked"))),
            OnFailure::Hold => {
                self.hold.get_or_insert_with(|| format!("milter {} gave no judgement: {failure}", milter.name));
                None
            }
        }
    }

    fn say(&self, milter: &Milter, judgement: Judgement, message: Option<MessageId>, text: &str) {
        let peer = self.address.map(|address| address.ip());
        self.doors.log.judged(&Judged { judge: &format!("milter:{}", milter.name), judgement, peer, message, text });
    }

    fn know(&mut self, client: &Client<'_>) {
        (self.address, self.is_stranger) = (client.address, client.is_stranger);
        client.hello.clone_into(&mut self.hello);
        let values = &mut self.values;
        values.set("j", &*self.snapshot.host_name);
        values.set("v", "Postrider");
        values.set("daemon_name", client.listener);
        if let Some(dialled) = client.dialled {
            values.set("daemon_addr", dialled.ip().to_canonical().to_string());
            values.set("daemon_port", dialled.port().to_string());
        }
        let address = client.address.map_or_else(|| "127.0.0.1".to_owned(), |address| address.ip().to_canonical().to_string());
        let name = if client.address.is_some() { "unknown" } else { "localhost" };
        values.set("_", format!("{name} [{address}]"));
        values.set("client_name", name);
        values.set("client_addr", address);
        values.set("client_port", client.address.map_or(0, |address| address.port()).to_string());
        values.forget("i");
        let optional = [
            ("tls_version", client.tls.map(|(version, _)| version)),
            ("cipher", client.tls.map(|(_, cipher)| cipher)),
            ("auth_type", client.proof.map(|(mechanism, _)| mechanism)),
            ("auth_authen", client.proof.map(|(_, user)| user)),
        ];
        for (name, value) in optional {
            match value {
                Some(value) => values.set(name, value),
                None => values.forget(name),
            }
        }
    }

    fn know_path(&mut self, [address, host, mailer]: [&'static str; 3], mailbox: Option<&Mailbox>) {
        self.values.set(address, mailbox.map(ToString::to_string).unwrap_or_default());
        let name = mailbox.map(|mailbox| match mailbox.host() {
            Host::Domain(domain) => domain.to_ascii().into_owned(),
            literal @ Host::Literal(_) => literal.to_string(),
        });
        self.values.set(host, name.unwrap_or_default());
        self.values.set(mailer, "smtp");
    }
}
