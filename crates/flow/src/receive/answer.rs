//! Answers to the machine's questions.

use std::net::{IpAddr, SocketAddr};

use postrider_core::admit;
use postrider_core::local::{self, Resolved};
use postrider_core::rewrite::Whose;
use postrider_core::route::table::{self, Way};
use postrider_model::doors::{Peer, Principal, Secret, SpoolTrouble};
use postrider_model::policy::Target;
use postrider_model::{Protocol, Recipient, Role};
use postrider_smtp::parameters::{MailParameters, RecipientParameters};
use postrider_smtp::sasl::Mechanism;
use postrider_smtp::server::{Question, Verdict};
use postrider_smtp::xclient::XClient;
use postrider_smtp::{ForwardPath, Mailbox, Reply, ReversePath};

use super::gate::network_of;
use super::judge::Conclusion;
use super::{Pace, Reception, Session, Transaction, reply};
use crate::checking::{Word, canonical};
use crate::preflight::Candidate;
use crate::submit::{Submission, find_room, push_once, take_custody, watch};
use crate::{allowed, owned, sign};

/// What a client hears of trouble in the spool: always "later", never "no" (RFC 5321 §4.2.1).
fn spool_reply(trouble: &SpoolTrouble) -> Reply {
    match trouble {
        SpoolTrouble::Full => reply(452, (4, 3, 1), "insufficient system storage, try again later"),
        SpoolTrouble::Closed => reply(421, (4, 3, 2), "service is shutting down, try again later"),
        SpoolTrouble::Poisoned(_) | SpoolTrouble::Corrupt(_) | SpoolTrouble::Unknown(_) | SpoolTrouble::Io(_) => {
            reply(451, (4, 3, 0), "local error in processing, try again later")
        }
        SpoolTrouble::IdTaken | SpoolTrouble::NoSuchMessage | SpoolTrouble::LoanEnded => {
            reply(451, (4, 3, 0), "local error in processing, try again later")
        }
    }
}

impl Session<'_> {
    pub(super) async fn answer(&mut self, question: Question) {
        let verdict = match question {
            Question::Connect => Verdict::Accept,
            Question::Hello { name, esmtp } => {
                self.hello = name.into();
                self.esmtp = esmtp;
                self.transaction = None;
                // A client that is another one now is another one to the judges, too.
                self.part().await;
                Verdict::Accept
            }
            Question::XClient(client) => {
                let verdict = self.proxied(client).await;
                let known = self.known.is_some();
                self.server.answer(verdict);
                if known {
                    self.server.trust();
                }
                return;
            }
            Question::Authenticate { mechanism, credentials } => {
                let verdict = match mechanism {
                    Mechanism::External => self.external(&credentials.authzid),
                    Mechanism::Plain | Mechanism::Login | Mechanism::CramMd5 => {
                        self.authenticate(&credentials.authcid, credentials.password.clone()).await
                    }
                };
                if matches!(verdict, Verdict::Accept) {
                    self.mechanism = Some(mechanism.as_str());
                }
                verdict
            }
            Question::Mail { reverse_path, parameters } => self.mail(reverse_path, parameters).await,
            Question::Recipient { forward_path, parameters } => self.recipient(&forward_path, parameters).await,
            Question::Data => self.data().await,
            // Whether a mailbox exists is nobody's business (RFC 5321 §7.3): the machine's 252 says so.
            Question::Verify { .. } => Verdict::Accept,
            Question::EndOfContent => self.end_of_content().await,
        };
        self.server.answer(verdict);
    }

    /// A proxy of ours says who the client is: the session is the client's from now on, as if it had come itself.
    async fn proxied(&mut self, client: XClient) -> Verdict {
        let dialled = |at: SocketAddr, address: Option<IpAddr>, port: Option<u16>| {
            SocketAddr::new(address.unwrap_or(at.ip()), port.unwrap_or(at.port()))
        };
        self.peer = Peer {
            remote: dialled(self.peer.remote, client.address, client.port),
            local: dialled(self.peer.local, client.destination, client.destination_port),
        };
        (self.hello, self.esmtp, self.transaction) = ("".into(), false, None);
        // A client whose address the proxy does not know is nobody: the proxy's own address may be one that we trust.
        self.known = match (self.reception.settings.role, client.address) {
            (Role::Submission, Some(address)) => self.reception.doors.registry.recognise(address).await,
            (Role::Submission, None) | (Role::Relay | Role::Report | Role::Local, _) => None,
        };
        (self.principal, self.shown) = (self.known.clone(), None);
        match self.pass.moves_to(self.peer.remote.ip(), self.reception.limits.sessions_per_network_max) {
            Ok(()) => Verdict::Accept,
            Err(turned) => Verdict::Close(reply(421, (4, 7, 0), turned.text())),
        }
    }

    pub(super) fn refuse(&self, what: &str, reply: Reply) -> Verdict {
        self.reception.doors.log.refused(self.peer.remote.ip(), what, &reply);
        Verdict::Refuse(reply)
    }

    /// Unknown user and wrong password get the same answer in the same time; who failed too often gets none (`core::lockout`).
    async fn authenticate(&mut self, user: &str, password: Vec<u8>) -> Verdict {
        let network = network_of(self.peer.remote.ip());
        let now = self.reception.doors.clock.now();
        if self.reception.gate.lockout().locked(network, user, now).is_some() {
            return self.refuse(&format!("AUTH {user}"), reply(454, (4, 7, 0), "too many failed attempts, try again later"));
        }
        let principal = match self.reception.doors.registry.authenticate(self.peer.remote.ip(), user, Secret(password)).await {
            Ok(principal) => principal,
            Err(trouble) => {
                self.reception.doors.log.alarm(None, &trouble.to_string());
                // RFC 4954 §6: nobody is told that a right password is wrong.
                return self.refuse(&format!("AUTH {user}"), reply(454, (4, 7, 0), "temporary authentication failure"));
            }
        };
        let mut lockout = self.reception.gate.lockout();
        match principal {
            Some(principal) => {
                lockout.succeeded(network, user);
                drop(lockout);
                self.principal = Some(principal);
                Verdict::Accept
            }
            None => {
                lockout.failed(network, user, now);
                drop(lockout);
                self.refuse(&format!("AUTH {user}"), reply(535, (5, 7, 8), "authentication credentials invalid"))
            }
        }
    }

    /// What was proven when the session began may not hold any more: a key is revoked, its limits are others.
    async fn renew(&mut self) -> Result<(), Reply> {
        let Some(principal) = &self.principal else { return Ok(()) };
        match self.reception.doors.registry.renew(principal).await {
            Ok(Some(renewed)) => {
                self.principal = Some(renewed);
                Ok(())
            }
            Ok(None) => {
                (self.principal, self.known) = (None, None);
                Err(reply(530, (5, 7, 0), "the credential is not good any more"))
            }
            Err(trouble) => {
                self.reception.doors.log.alarm(None, &trouble.to_string());
                Err(reply(451, (4, 3, 0), "cannot say whether the credential is still good, try again later"))
            }
        }
    }

    /// The certificate is the proof (RFC 4422 §A); it acts as nobody else.
    fn external(&mut self, acts_as: &str) -> Verdict {
        let itself =
            |principal: &&Principal| acts_as.is_empty() || principal.credential.as_ref().is_some_and(|name| name.as_str() == acts_as);
        match self.shown.as_ref().filter(itself).cloned() {
            Some(principal) => {
                self.principal = Some(principal);
                Verdict::Accept
            }
            None => self.refuse(&format!("AUTH EXTERNAL {acts_as}"), reply(535, (5, 7, 8), "the certificate does not stand for this user")),
        }
    }

    /// What is known of the client, for `core::admit`.
    fn client(&self) -> admit::Client<'_> {
        let reached = Some(self.peer.local.ip());
        admit::Client { principal: self.principal.as_ref(), trusted: false, tls: self.tls.is_some(), reached }
    }

    async fn mail(&mut self, reverse_path: ReversePath, parameters: MailParameters) -> Verdict {
        let said = |path: &ReversePath| format!("MAIL FROM:{path}");
        if let Err(reply) = self.renew().await {
            return self.refuse(&said(&reverse_path), reply);
        }
        let client = self.client();
        if let Err(refusal) = admit::mail(&self.reception.rules, &client, &reverse_path) {
            return self.refuse(&said(&reverse_path), refusal.reply());
        }
        if let (Some(principal), Some(octets)) = (&self.principal, parameters.size)
            && let Err(reply) = allowed::size(principal, octets)
        {
            return self.refuse(&said(&reverse_path), reply);
        }
        let bound = self.principal.as_ref().filter(|principal| principal.own_domains_only);
        if let Some(principal) = bound
            && let Err(reply) = owned::reverse_path(&self.reception.doors, principal, &reverse_path).await
        {
            return self.refuse(&said(&reverse_path), reply);
        }
        let watch = match watch(&self.reception.doors, self.reception.settings.role, self.principal.as_ref()).await {
            Ok(watch) => watch,
            Err(reply) => return self.refuse(&said(&reverse_path), reply),
        };
        match self.judged_mail(&reverse_path, &parameters).await {
            Word::Go => {
                self.transaction = Some(Transaction::new(reverse_path, parameters, watch));
                Verdict::Accept
            }
            Word::Refuse(reply) => self.refuse(&format!("milter: {}", said(&reverse_path)), reply),
        }
    }

    async fn recipient(&mut self, path: &ForwardPath, parameters: RecipientParameters) -> Verdict {
        let client = self.client();
        let mailbox = match admit::recipient(&self.reception.rules, &client, path) {
            Ok(mailbox) => mailbox,
            // Only what would be refused is asked about: other mail does not wait for the registry.
            Err(refusal @ admit::Refusal::RelayDenied) => {
                let returned = self.returned(path, &parameters).await;
                return returned.unwrap_or_else(|| self.refuse(&format!("RCPT TO:{path}"), refusal.reply()));
            }
            Err(refusal) => return self.refuse(&format!("RCPT TO:{path}"), refusal.reply()),
        };
        if let Some(reply) = self.rides_with_returned() {
            return self.refuse(&format!("RCPT TO:{path}"), reply);
        }
        let snapshot = &self.reception.snapshot;
        let other = canonical(&snapshot.checking.rewriting, &snapshot.routing, Whose::Recipient, &mailbox);
        let ends = match self.ends(other.unwrap_or_else(|| mailbox.clone())) {
            Ok(ends) => ends,
            Err(reply) => return self.refuse(&format!("RCPT TO:{path}"), reply),
        };
        if let Word::Refuse(reply) = self.judged_recipient(&mailbox, &parameters).await {
            return self.refuse(&format!("milter: RCPT TO:{path}"), reply);
        }
        match self.take_recipient(ends, parameters) {
            Ok(()) => Verdict::Accept,
            Err(reply) => self.refuse(&format!("RCPT TO:{path}"), reply),
        }
    }

    /// Whose mail it is in a domain of ours, and whether any rule refuses it.
    pub(super) fn ends(&self, mailbox: Mailbox) -> Result<Vec<Mailbox>, Reply> {
        let routing = &self.reception.snapshot.routing;
        let resolved = local::resolve(routing, &mailbox);
        let ends = match resolved {
            Resolved::Unknown => return Err(reply(550, (5, 1, 1), "no such user here")),
            Resolved::Foreign => vec![mailbox],
            Resolved::To(ends) => ends,
        };
        let Some(transaction) = &self.transaction else { return Err(reply(503, (5, 5, 1), "no transaction")) };
        let principal = self.principal.as_ref().unwrap_or(&self.reception.limits.relay_principal);
        let sender = Some(&transaction.reverse_path);
        for end in &ends {
            let mail = table::Mail { message: None, tenant: &principal.tenant, stream: &principal.stream, sender };
            if let Some(Way { target: Target::Reject(text), .. }) = table::by_mail(routing, end.host(), &mail) {
                return Err(reply(550, (5, 7, 1), text));
            }
        }
        Ok(ends)
    }

    pub(super) fn take_recipient(&mut self, ends: Vec<Mailbox>, parameters: RecipientParameters) -> Result<(), Reply> {
        let Some(transaction) = &mut self.transaction else { return Err(reply(503, (5, 5, 1), "no transaction")) };
        if let Some(principal) = &self.principal {
            allowed::recipient(principal, transaction.recipients.len())?;
        }
        let RecipientParameters { notify, orcpt } = parameters;
        let original = orcpt.map(Box::new);
        let recipient = |mailbox| Recipient { notify, original: original.clone(), ..Recipient::new(mailbox) };
        match ends.len() {
            1 => transaction.recipients.extend(ends.into_iter().map(recipient)),
            // RFC 5321 §4.5.3.1.10
            many if transaction.recipients.len() + many > self.reception.limits.recipients_max + local::MAILBOXES_MAX => {
                return Err(reply(452, (4, 5, 3), "too many recipients"));
            }
            _ => ends.into_iter().for_each(|end| push_once(&mut transaction.recipients, recipient(end))),
        }
        Ok(())
    }

    async fn data(&mut self) -> Verdict {
        if let Word::Refuse(reply) = self.judged_data().await {
            return self.refuse("milter: DATA", reply);
        }
        let Some(transaction) = &mut self.transaction else {
            return Verdict::Refuse(reply(503, (5, 5, 1), "no transaction"));
        };
        match self.reception.doors.spool.stage(transaction.parameters.size).await {
            Ok(staging) => {
                transaction.staging = Some(staging);
                transaction.pace = Pace::new();
                Verdict::Accept
            }
            Err(trouble) => self.refuse("DATA", spool_reply(&trouble)),
        }
    }

    /// Moves what memory should not hold to disk. Trouble is told at the end of data; the rest of the content is read and dropped.
    pub(super) async fn drain(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        let Some(staging) = &mut transaction.staging else { return };
        if let Err(trouble) = staging.drain().await {
            transaction.staging = None;
            transaction.trouble = Some(trouble);
        }
    }

    async fn end_of_content(&mut self) -> Verdict {
        let Some(mut transaction) = self.transaction.take() else {
            return Verdict::Refuse(reply(503, (5, 5, 1), "no transaction"));
        };
        if let Some(trouble) = &transaction.trouble {
            return self.refuse("end of data", spool_reply(trouble));
        }
        if let Err(refusal) = admit::hops(transaction.watch.facts().hops) {
            return self.refuse("end of data", refusal.reply());
        }
        let Some(staging) = transaction.staging.take() else {
            return Verdict::Refuse(reply(451, (4, 3, 0), "local error in processing, try again later"));
        };
        let staged = match staging.finish().await {
            Ok(staged) => staged,
            Err(trouble) => return self.refuse("end of data", spool_reply(&trouble)),
        };
        let returned = transaction.returned;
        let submission = self.submission(transaction);
        if let Err(reply) = owned::header(&self.reception.doors, &submission.principal, &submission.facts).await {
            return self.refuse("end of data", reply);
        }
        if let Err(reply) = sign::header(&self.reception.doors, submission.role, &submission.facts) {
            return self.refuse("end of data", reply);
        }
        if let Err(reply) = judged_by_rules(self.reception, &submission).await {
            return self.refuse("end of data", reply);
        }
        let (submission, staged) = match self.judged_content(submission, staged, returned).await {
            Ok(Conclusion::Take(submission, staged)) => (*submission, staged),
            Ok(Conclusion::Discard(id)) => return Verdict::AcceptWith(format!("Ok: queued as {id}").into()),
            Ok(Conclusion::Refuse(reply)) => return self.refuse("milter: end of data", reply),
            Err(trouble) => return self.refuse("end of data", spool_reply(&trouble)),
        };
        let mut submission = submission;
        if let Err(reply) = allowed::size(&submission.principal, staged.octets)
            .and_then(|()| find_room(&self.reception.doors, &self.reception.meters, &mut submission))
        {
            return self.refuse("end of data", reply);
        }
        match take_custody(&self.reception.doors, submission, staged).await {
            Ok(receipt) => Verdict::AcceptWith(format!("Ok: queued as {}", receipt.message).into()),
            Err(trouble) => self.refuse("end of data", spool_reply(&trouble)),
        }
    }

    fn submission(&self, transaction: Transaction) -> Submission {
        let principal = self.principal.clone().unwrap_or_else(|| self.reception.limits.relay_principal.clone());
        let role = if self.reception.settings.role == Role::Relay { Role::Relay } else { Role::Submission };
        Submission {
            id: None,
            held: None,
            principal,
            role,
            envelope: transaction.envelope(),
            hold: transaction.parameters.hold,
            waits_until: None,
            facts: transaction.watch.finish(),
            recipients: transaction.recipients,
            peer: Some(self.peer.remote.ip()),
            hello: self.hello.clone(),
            protocol: if self.esmtp { Protocol::Esmtp } else { Protocol::Smtp },
            tls: self.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher).into()),
        }
    }
}

/// What mailbox providers would say of it.
async fn judged_by_rules(reception: &Reception, submission: &Submission) -> Result<(), Reply> {
    let candidate = Candidate {
        principal: &submission.principal,
        role: submission.role,
        reverse_path: &submission.envelope.reverse_path,
        recipients: &submission.recipients,
        facts: &submission.facts,
        peer: submission.peer,
    };
    reception.preflight.judge(&reception.doors, &reception.snapshot, candidate).await
}
