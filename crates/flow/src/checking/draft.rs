//! A content that is judged: its header in memory, its body where it is staged.
//!
//! **Promises.** What nobody changed is accepted as it was staged; what was changed is staged anew, once. A header beyond [`HEADER_OCTETS_MAX`] is not
//! judged, so memory is bounded.

use bytes::Bytes;
use postrider_mail::edit::Header;
use postrider_mail::{HeaderFacts, HeaderWatch};
use postrider_model::doors::{Spool, SpoolTrouble, Staged, Staging};
use postrider_model::{BoxFuture, Content};

use super::conversation::{Failure, NewBody};

/// Octets of a header that is judged. Real ones have a few KiB; Postfix's `header_size_limit` is 100 KiB for one field.
pub(crate) const HEADER_OCTETS_MAX: u64 = 1024 * 1024;

/// Octets of a body that go to the spool at once.
const PIECE_OCTETS: usize = 64 * 1024;

/// A content under judgement.
pub(crate) struct Draft {
    pub(crate) header: Header,
    staged: Staged,
    facts: HeaderFacts,
    /// Octets of what is staged that stand before the body: header and empty line.
    before_body: u64,
    empty_line: bool,
    /// Another body, instead of what is staged.
    new_body: Option<Staged>,
}

impl Draft {
    /// Reads the header of a staged content.
    pub(crate) async fn open(spool: &dyn Spool, staged: Staged, facts: HeaderFacts) -> Result<Self, SpoolTrouble> {
        let reading = spool.read_staged(&staged);
        let wanted = usize::try_from(facts.header_octets).unwrap_or(usize::MAX).saturating_add(2);
        let mut reader = Reader { content: Some(reading.await?), skip: 0 };
        let mut head = Vec::new();
        while head.len() < wanted
            && let Some(chunk) = reader.next().await?
        {
            head.extend_from_slice(&chunk[..chunk.len().min(wanted - head.len())]);
        }
        let (header, rest) = head.split_at(head.len().min(facts.header_octets as usize));
        let line = if rest.starts_with(b"\r\n") { 2 } else { u64::from(rest.starts_with(b"\n")) };
        Ok(Self {
            header: Header::of(header),
            staged,
            before_body: facts.header_octets + line,
            empty_line: line > 0,
            facts,
            new_body: None,
        })
    }

    /// The body from its start.
    pub(crate) async fn body(&self, spool: &dyn Spool) -> Result<Reader, SpoolTrouble> {
        let (staged, skip) = self.new_body.as_ref().map_or((&self.staged, self.before_body), |body| (body, 0));
        let reading = spool.read_staged(staged);
        Ok(Reader { content: Some(reading.await?), skip })
    }

    /// Another body from now on.
    pub(crate) fn replace_body(&mut self, body: Staged) {
        self.new_body = Some(body);
    }

    /// Whether it is not what the client sent any more.
    pub(crate) fn is_changed(&self) -> bool {
        self.header.is_changed() || self.new_body.is_some()
    }

    /// The content as it is now, staged, and what it was found to be.
    pub(crate) async fn finish(self, spool: &dyn Spool) -> Result<(Staged, HeaderFacts), SpoolTrouble> {
        if !self.is_changed() {
            return Ok((self.staged, self.facts));
        }
        let mut head = Vec::with_capacity(self.header.octets() + 2);
        self.header.write(self.empty_line, &mut head);
        let mut watch = match self.facts.body_hash {
            Some(_) => HeaderWatch::new().hashing_body(),
            None => HeaderWatch::new(),
        };
        let mut staging = spool.stage(Some(self.staged.octets + 4096)).await?;
        put(&mut *staging, &mut watch, &head).await?;
        let mut body = self.body(spool).await?;
        while let Some(chunk) = body.next().await? {
            put(&mut *staging, &mut watch, &chunk).await?;
        }
        Ok((staging.finish().await?, watch.finish()))
    }
}

async fn put(staging: &mut dyn Staging, watch: &mut HeaderWatch, octets: &[u8]) -> Result<(), SpoolTrouble> {
    for piece in octets.chunks(PIECE_OCTETS) {
        watch.feed(piece);
        if staging.append(piece) {
            staging.drain().await?;
        }
    }
    Ok(())
}

/// Reads a content from some octet on.
pub(crate) struct Reader {
    content: Option<Content>,
    skip: u64,
}

impl Reader {
    /// The next octets; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, SpoolTrouble> {
        loop {
            let chunk = match &mut self.content {
                None => return Ok(None),
                Some(Content::Held(octets)) => {
                    let octets = std::mem::take(octets);
                    self.content = None;
                    octets
                }
                Some(Content::Streamed(source)) => match source.next().await? {
                    Some(chunk) => chunk,
                    None => return Ok(None),
                },
            };
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            if skipped < chunk.len() as u64 {
                return Ok(Some(chunk.slice(skipped as usize..)));
            }
        }
    }
}

/// A new body in the making, no longer than a message may be, of lines that end in CR LF: a milter may write them otherwise, and a bare LF is how mail is smuggled.
pub(crate) struct Replacing<'a> {
    pub(crate) spool: &'a dyn Spool,
    pub(crate) octets_max: u64,
    pub(crate) octets: u64,
    /// The last octet so far was CR.
    pub(crate) after_cr: bool,
    pub(crate) staging: Option<Box<dyn Staging>>,
    /// The spool's own trouble, which is no fault of the milter's.
    pub(crate) trouble: Option<SpoolTrouble>,
}

impl Replacing<'_> {
    async fn put(&mut self, piece: &[u8]) -> Result<(), SpoolTrouble> {
        if self.staging.is_none() {
            self.staging = Some(self.spool.stage(None).await?);
        }
        let Some(staging) = &mut self.staging else { return Ok(()) };
        if staging.append(piece) {
            staging.drain().await?;
        }
        Ok(())
    }
}

impl Replacing<'_> {
    /// The new body, when there is one.
    pub(crate) async fn finish(mut self) -> Result<Option<Staged>, SpoolTrouble> {
        if self.after_cr && self.trouble.is_none() {
            self.trouble = self.put(b"\n").await.err();
        }
        match (self.trouble, self.staging) {
            (Some(trouble), _) => Err(trouble),
            (None, Some(staging)) => Ok(Some(staging.finish().await?)),
            (None, None) => Ok(None),
        }
    }
}

impl NewBody for Replacing<'_> {
    fn take(&mut self, piece: Vec<u8>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.octets += piece.len() as u64;
            if self.octets > self.octets_max {
                return Err(Failure::Impossible(format!("a body of more than {} octets", self.octets_max)));
            }
            let mut lines = Vec::with_capacity(piece.len() + piece.len() / 64);
            for octet in piece {
                // A CR that no LF follows is one, too, and so is a NUL.
                if self.after_cr != (octet == b'\n') {
                    lines.push(if self.after_cr { b'\n' } else { b'\r' });
                }
                self.after_cr = octet == b'\r';
                lines.push(if octet == 0 { b'?' } else { octet });
            }
            if self.trouble.is_none() {
                self.trouble = self.put(&lines).await.err();
            }
            Ok(())
        })
    }
}
