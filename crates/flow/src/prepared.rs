//! A client's message as its stream wants it sent (`core::prepare`): planned from the stored header at each attempt, and made on the way.
//!
//! **Promises.** What is stored stays as it is, one body however many recipients; a retry makes the same of it. Mail of a stream that asks for nothing costs one look
//! at the stream, which the registry keeps at hand. When the registry does not answer the mail waits: nothing leaves half prepared. A header too long to be
//! looked through (1 MiB) is not sent with what should have gone from it: it bounces, and says why.

use bytes::{BufMut, Bytes, BytesMut};
use postrider_core::plan;
use postrider_core::prepare::{self, Preparation, Subject};
use postrider_mail::encode::{LongLines, Takes};
use postrider_mail::encoded::encoded;
use postrider_mail::fold::folded;
use postrider_mail::mend::Added;
use postrider_mail::token::{Delivery, Subscription};
use postrider_mail::{Fields, HeaderWatch, header};
use postrider_model::doors::SpoolTrouble;
use postrider_model::policy::Snapshot;
use postrider_model::{Content, Message, Trouble};
use postrider_smtp::{Domain, Host, Mailbox, ReversePath};

use crate::Doors;
use crate::parted::Begun;

/// Octets of a header that is looked through.
const HEADER_OCTETS_MAX: usize = 1024 * 1024;

/// Octets of the sender's domain in a token, where it is for people alone.
const SENDER_OCTETS_MAX: usize = 64;

/// Where mail is on its way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A server of somebody else's.
    Out,
    /// A mailbox of ours: failures are told by our own replies, so they need no return path.
    InHouse,
}

/// A message, planned.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    plan: Preparation,
    /// The author's domain.
    from: Option<Domain>,
}

impl Prepared {
    /// The plan, where the stream asks for one; and the content from its start again.
    pub(crate) async fn of(
        doors: &Doors,
        snapshot: &Snapshot,
        message: &Message,
        content: Content,
        way: Way,
    ) -> Result<(Option<Self>, Content), Trouble> {
        let role = message.arrival.role;
        if !prepare::is_ours(role) {
            return Ok((None, content));
        }
        let internal = |why: String| Trouble::Internal(why.into());
        let stream = doors.registry.stream(&message.tenant, &message.stream).await.map_err(|trouble| internal(trouble.to_string()))?;
        if !prepare::concerns(role, &stream) {
            return Ok((None, content));
        }
        let (begun, content) = begun(content).await.map_err(|trouble| internal(trouble.to_string()))?;
        let Some(header) = begun else {
            return Err(Trouble::TooLarge(format!("a header of more than {HEADER_OCTETS_MAX} octets cannot be prepared").into()));
        };
        let (has_long_lines, content) = match prepare::mends_lines(&stream, message.envelope.body) {
            true => looked_through(doors, message, content).await.map_err(|trouble| internal(trouble.to_string()))?,
            false => (false, content),
        };
        let from = plan::author_domain(&header).or_else(|| sender_domain(message));
        let voice = match &from {
            Some(from) => Some(doors.registry.voice(&message.tenant, from).await.map_err(|trouble| internal(trouble.to_string()))?),
            None => None,
        };
        let mut plan = prepare::preparation(&Subject {
            tenant: &message.tenant,
            stream_name: &message.stream,
            stream: &stream,
            domain: voice.as_ref().and_then(|voice| voice.domain()).map(|domain| &**domain),
            reverse_path: &message.envelope.reverse_path,
            header: &header,
            host_name: &snapshot.host_name,
            has_keys: doors.tokens.is_some(),
            has_web: snapshot.public_url.is_some(),
            smtputf8: message.envelope.smtputf8,
            has_long_lines,
        });
        if way == Way::InHouse {
            plan.return_path = None;
        }
        Ok((Some(Self { plan, from }), content))
    }

    /// Whether each recipient has a transaction of its own.
    pub(crate) fn is_for_one(&self) -> bool {
        self.plan.is_for_one()
    }

    /// How the content goes, when its lines are too long for anybody.
    pub(crate) fn encoded_for(&self) -> Option<Takes> {
        self.plan.short_lines.then_some(Takes::ShortLines)
    }

    /// What is done, in words.
    pub(crate) fn words(&self, message: &Message) -> Vec<String> {
        self.plan.words(message.mend)
    }

    /// The reverse-path for this recipient, where it is one of ours.
    pub(crate) fn sender(&self, doors: &Doors, message: &Message, index: u32) -> Option<ReversePath> {
        let (keys, domain) = (doors.tokens.as_ref()?, self.plan.return_path.as_ref()?);
        let domain = domain.to_ascii().to_ascii_lowercase();
        let token = keys.return_token(Delivery { message: message.id.0, index }, &domain);
        Mailbox::parse(&format!("{token}@{domain}")).ok().map(ReversePath::Mailbox)
    }

    /// The fields that stand in front, for this recipient.
    pub(crate) fn added(&self, doors: &Doors, snapshot: &Snapshot, message: &Message, index: u32) -> Vec<u8> {
        let link = self.plan.one_click.as_ref().and_then(|_| self.link(doors, snapshot, message, index));
        let unsubscribe = link.as_deref().zip(self.plan.one_click.as_ref()).map(|(link, one_click)| (link, &*one_click.mailto));
        let mut out = Vec::with_capacity(512);
        Added { mime_version: self.plan.mime_version, feedback_id: self.plan.feedback_id.as_deref(), unsubscribe }.write(&mut out);
        out
    }

    fn link(&self, doors: &Doors, snapshot: &Snapshot, message: &Message, index: u32) -> Option<String> {
        let recipient = message.recipients.get(usize::try_from(index).ok()?)?;
        let mut sender = self.from.as_ref().map_or_else(String::new, |from| from.as_str().to_owned());
        sender.truncate(sender.floor_char_boundary(SENDER_OCTETS_MAX));
        let token = doors.tokens.as_ref()?.unsubscribe_token(&Subscription {
            delivery: Delivery { message: message.id.0, index },
            tenant: message.tenant.as_str().to_owned(),
            stream: message.stream.as_str().to_owned(),
            sender,
            mailbox: recipient.mailbox.to_string(),
        })?;
        Some(format!("{}/u/{token}", snapshot.public_url.as_deref()?))
    }

    /// A content without the fields that go, and with those that are encoded or folded, and by how many octets it grew.
    pub(crate) async fn content(&self, content: Content) -> Result<(Content, i64), SpoolTrouble> {
        if self.plan.removed.is_empty() && self.plan.encoded.is_empty() && self.plan.folded.is_empty() {
            return Ok((content, 0));
        }
        match content {
            Content::Held(octets) => {
                let (new, by) = self.without(&octets);
                Ok((Content::Held(new), by))
            }
            Content::Streamed(source) => match begun(Content::Streamed(source)).await? {
                (Some(first), Content::Streamed(mut rest)) => {
                    // What was read is the first chunk; it is given out changed.
                    let _ = rest.next().await?;
                    let (new, by) = self.without(&first);
                    Ok((Content::Streamed(Box::new(Begun { first: Some(new), rest })), by))
                }
                (_, content) => Ok((content, 0)),
            },
        }
    }

    fn without(&self, octets: &Bytes) -> (Bytes, i64) {
        let mut out = BytesMut::with_capacity(octets.len());
        let (mut used, mut going) = (0, self.plan.removed.iter().map(|removed| removed.place).peekable());
        let (mut encoding, mut folding) = (self.plan.encoded.iter().peekable(), self.plan.folded.iter().peekable());
        for (place, field) in Fields::of(octets).enumerate() {
            used += field.whole.len();
            let gone = going.next_if_eq(&place).is_some();
            let value = encoding.next_if_eq(&&place).and_then(|_| encoded(field.name, field.value));
            let written = value.as_deref().unwrap_or(field.value);
            let value = folding.next_if_eq(&&place).and_then(|_| folded(field.name, written)).or(value);
            match value {
                _ if gone => {}
                None => out.put_slice(field.whole),
                Some(value) => {
                    out.put_slice(field.name);
                    out.put_slice(b":");
                    out.put_slice(&value);
                    out.put_slice(b"\r\n");
                }
            }
        }
        out.put_slice(&octets[used..]);
        let by = out.len() as i64 - octets.len() as i64;
        (out.freeze(), by)
    }
}

/// The domain of the From that is added where the message has none: the reverse-path's.
fn sender_domain(message: &Message) -> Option<Domain> {
    match message.envelope.reverse_path.mailbox().filter(|_| message.mend.from)?.host() {
        Host::Domain(domain) => Some(domain.clone()),
        Host::Literal(_) => None,
    }
}

/// Whether the body has a line that is too long; and the content from its start again.
async fn looked_through(doors: &Doors, message: &Message, content: Content) -> Result<(bool, Content), SpoolTrouble> {
    let mut lines = LongLines::default();
    match content {
        Content::Held(octets) => {
            lines.feed(header::split(&octets).1);
            Ok((lines.found(), Content::Held(octets)))
        }
        Content::Streamed(mut source) => {
            // The first chunk has the whole header, by the word of `begun`.
            if let Some(first) = source.next().await? {
                lines.feed(header::split(&first).1);
            }
            while !lines.found()
                && let Some(chunk) = source.next().await?
            {
                lines.feed(&chunk);
            }
            Ok((lines.found(), doors.spool.open(message.id).await?.content))
        }
    }
}

/// The beginning of a content with all of its header, `None` where that is too long; and the content from its start again.
async fn begun(content: Content) -> Result<(Option<Bytes>, Content), SpoolTrouble> {
    let mut source = match content {
        Content::Held(octets) => return Ok((Some(octets.clone()), Content::Held(octets))),
        Content::Streamed(source) => source,
    };
    let (mut first, mut watch) = (BytesMut::new(), HeaderWatch::new());
    let mut ended = false;
    while !watch.in_body() && !ended && first.len() <= HEADER_OCTETS_MAX {
        match source.next().await? {
            Some(chunk) => {
                watch.feed(&chunk);
                first.put(chunk);
            }
            None => ended = true,
        }
    }
    let first = first.freeze();
    let header = (watch.in_body() || ended).then(|| first.clone());
    Ok((header, Content::Streamed(Box::new(Begun { first: Some(first), rest: source }))))
}

#[cfg(test)]
#[path = "prepared_tests.rs"]
mod tests;
