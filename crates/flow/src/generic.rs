//! Other addresses for mail that leaves by SMTP (Postfix's `smtp_generic_maps`): in the envelope, and in the header on its way.
//!
//! **Promises.** What is stored stays as it is; retries give the same. A field that is no list of addresses, and a header beyond [`HEADER_OCTETS_MAX`], leave as they stand.

use bytes::{BufMut, Bytes, BytesMut};
use postrider_core::rewrite;
use postrider_mail::{Fields, HeaderWatch, addresses};
use postrider_model::Content;
use postrider_model::doors::SpoolTrouble;
use postrider_model::policy::Snapshot;
use postrider_smtp::{ForwardPath, Mailbox, ReversePath};

use crate::checking::{OF_RECIPIENTS, OF_SENDERS, is_ours};
use crate::parted::Begun;

/// Octets of a header that is rewritten.
const HEADER_OCTETS_MAX: usize = 1024 * 1024;

/// The map, as policy has it.
#[derive(Clone, Copy)]
pub(crate) struct Generic<'a>(&'a Snapshot);

impl<'a> Generic<'a> {
    /// The map, where there is one.
    pub(crate) fn of(snapshot: &'a Snapshot) -> Option<Self> {
        (!snapshot.checking.rewriting.generic.0.is_empty()).then_some(Self(snapshot))
    }

    fn other(self, mailbox: &Mailbox) -> Option<Mailbox> {
        let (rewriting, routing) = (&self.0.checking.rewriting, &self.0.routing);
        rewrite::generic(rewriting, mailbox, is_ours(rewriting, routing, mailbox.host()))
    }

    /// The reverse-path to be said.
    pub(crate) fn sender(self, path: &ReversePath) -> ReversePath {
        path.mailbox().and_then(|mailbox| self.other(mailbox)).map_or_else(|| path.clone(), ReversePath::Mailbox)
    }

    /// The forward-path to be said.
    pub(crate) fn recipient(self, path: ForwardPath) -> ForwardPath {
        path.mailbox().and_then(|mailbox| self.other(mailbox)).map_or(path, ForwardPath::Mailbox)
    }

    /// Octets that begin with a header, with other addresses in it.
    pub(crate) fn header(self, octets: &[u8]) -> Option<Vec<u8>> {
        let (mut out, mut used, mut changed) = (Vec::with_capacity(octets.len() + 64), 0, false);
        for field in Fields::of(octets) {
            used += field.whole.len();
            let listed = OF_SENDERS.iter().chain(&OF_RECIPIENTS).any(|name| field.is(name));
            let other = |text: &str| self.other(&Mailbox::parse(text).ok()?).map(|other| other.to_string());
            match listed.then(|| addresses::replace(field.value, other)).flatten() {
                Some(value) => {
                    // The name with its colon, the new value, and the line end that was there.
                    let before = field.whole.len() - field.value.len() - line_end(field.whole);
                    out.extend_from_slice(&field.whole[..before]);
                    out.extend_from_slice(&value);
                    out.extend_from_slice(&field.whole[field.whole.len() - line_end(field.whole)..]);
                    changed = true;
                }
                None => out.extend_from_slice(field.whole),
            }
        }
        out.extend_from_slice(&octets[used..]);
        changed.then_some(out)
    }

    /// A content with other addresses in its header, and by how many octets it grew (or shrank).
    pub(crate) async fn content(self, content: Content) -> Result<(Content, i64), SpoolTrouble> {
        let grown = |new: &[u8], old: &[u8]| new.len() as i64 - old.len() as i64;
        match content {
            Content::Held(octets) => Ok(match self.header(&octets) {
                Some(new) => {
                    let by = grown(&new, &octets);
                    (Content::Held(new.into()), by)
                }
                None => (Content::Held(octets), 0),
            }),
            Content::Streamed(mut source) => {
                let (mut first, mut watch) = (BytesMut::new(), HeaderWatch::new());
                while !watch.in_body()
                    && first.len() < HEADER_OCTETS_MAX
                    && let Some(chunk) = source.next().await?
                {
                    watch.feed(&chunk);
                    first.put(chunk);
                }
                let new = if watch.in_body() { self.header(&first) } else { None };
                let by = new.as_ref().map_or(0, |new| grown(new, &first));
                let first = Some(new.map_or_else(|| first.freeze(), Bytes::from));
                Ok((Content::Streamed(Box::new(Begun { first, rest: source })), by))
            }
        }
    }
}

fn line_end(whole: &[u8]) -> usize {
    if whole.ends_with(b"\r\n") { 2 } else { usize::from(whole.ends_with(b"\n")) }
}
