//! The small doors: time, chance, DNS, the mail log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postrider_mail::token::Keys;
use postrider_model::doors::{
    AddressAnswer, AliasAnswer, Clock, DnsTrouble, Entropy, Judged, MailLog, MxAnswer, PointerAnswer, Resolver, TextAnswer,
};
use postrider_model::{AttemptFacts, BoxFuture, Diagnosis, Message, MessageId, Outcome, Phase, Reason, Role, Timestamp, Trouble};
use postrider_smtp::{Domain, Reply};

use super::book::{self, Cause, Fact};
use super::{World, lock};

/// The world's clock.
pub struct SimClock(pub Arc<World>);

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// Seeded chance for the relay.
pub struct SimEntropy(pub Arc<World>);

impl Entropy for SimEntropy {
    fn fill(&self, octets: &mut [u8]) {
        let mut entropy = lock(&self.0.entropy);
        for chunk in octets.chunks_mut(8) {
            let number = entropy.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

/// The zones as a resolver without a cache.
pub struct SimResolver(pub Arc<World>);

impl Resolver for SimResolver {
    fn mx(&self, domain: &Domain) -> BoxFuture<'_, Result<MxAnswer, DnsTrouble>> {
        let (pause, answer) = lock(&self.0.zones).mx(domain);
        Box::pin(after(pause, answer))
    }

    fn addresses(&self, host: &Domain) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
        let (pause, answer) = lock(&self.0.zones).addresses(host);
        Box::pin(after(pause, answer))
    }

    fn family(&self, host: &Domain, ipv6: bool) -> BoxFuture<'_, Result<AddressAnswer, DnsTrouble>> {
        let (pause, answer) = lock(&self.0.zones).addresses(host);
        let answer = answer.and_then(|mut answer| {
            answer.addresses.retain(|address| address.is_ipv6() == ipv6);
            if answer.addresses.is_empty() { Err(DnsTrouble::NoData { ttl: answer.ttl }) } else { Ok(answer) }
        });
        Box::pin(after(pause, answer))
    }

    fn text(&self, name: &Domain) -> BoxFuture<'_, Result<TextAnswer, DnsTrouble>> {
        let (pause, answer) = lock(&self.0.zones).text(name);
        Box::pin(after(pause, answer))
    }

    fn pointers(&self, address: IpAddr) -> BoxFuture<'_, Result<PointerAnswer, DnsTrouble>> {
        let (pause, answer) = lock(&self.0.zones).pointers(address);
        Box::pin(after(pause, answer))
    }

    fn alias(&self, name: &Domain) -> BoxFuture<'_, Result<AliasAnswer, DnsTrouble>> {
        let (pause, answer) = lock(&self.0.zones).alias(name);
        Box::pin(after(pause, answer))
    }
}

async fn after<T>(pause: Duration, value: T) -> T {
    tokio::time::sleep(pause).await;
    value
}

/// The keys of tokens.
pub fn token_keys() -> Keys {
    Keys::new(&[(1, [7; 32])]).expect("a ring of one")
}

/// The mail log, written into the book.
pub struct SimLog(pub Arc<World>);

impl MailLog for SimLog {
    fn accepted(&self, message: &Message) {
        self.0.note_relay(|| Fact::Accepted(message.id));
    }

    fn attempted(&self, message: &Message, index: u32, attempt: Option<&AttemptFacts>, outcome: &Outcome) {
        self.0.note_relay(|| {
            let (outcome, why, cause) = match outcome {
                Outcome::Delivered { reply } => (book::Outcome::Delivered, reply.to_string(), Cause::None),
                Outcome::Deferred { due, diagnosis, .. } => (book::Outcome::Deferred(*due), diagnosis.describe(), cause(diagnosis)),
                Outcome::Bounced { diagnosis } => (book::Outcome::Bounced, diagnosis.describe(), cause(diagnosis)),
            };
            let recipient = message.recipients.get(index as usize).map(|r| r.mailbox.to_string());
            Fact::Attempted {
                message: message.id,
                index,
                report: message.arrival.role == Role::Report,
                reverse_path: message.envelope.reverse_path.mailbox().map(ToString::to_string).unwrap_or_default(),
                recipient: recipient.unwrap_or_default(),
                outcome,
                why,
                cause,
                began: attempt.map(|attempt| attempt.started_at),
            }
        });
    }

    fn refused(&self, _peer: IpAddr, what: &str, reply: &Reply) {
        self.0.note_relay(|| Fact::RefusedClient(format!("{what}: {reply}")));
    }

    fn judged(&self, judged: &Judged<'_>) {
        self.0.note_relay(|| Fact::RefusedClient(format!("{}: {}", judged.judge, judged.judgement.word())));
    }

    fn alarm(&self, message: Option<MessageId>, text: &str) {
        self.0.note_relay(|| Fact::Alarm(format!("{message:?} {text}")));
    }
}

/// What a failure goes back to, as the judge sorts it: apart from `core::classify`, so that a mistake there shows.
fn cause(diagnosis: &Diagnosis) -> Cause {
    match &diagnosis.reason {
        Reason::Reply(reply) => Cause::Reply { code: reply.code(), before_mail: diagnosis.phase < Phase::Mail },
        Reason::Trouble(Trouble::NoSuchDomain(_) | Trouble::NullMx(_) | Trouble::NoMailHost(_)) => Cause::Absent,
        Reason::Trouble(Trouble::Expired) => Cause::Late,
        Reason::Trouble(Trouble::Suppressed(_)) => Cause::Silence,
        Reason::Trouble(_) => Cause::Trouble,
    }
}
