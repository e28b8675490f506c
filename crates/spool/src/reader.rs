//! Reading messages and diagnoses back.
//!
//! **Promises.** What is read is verified: meta part and body against the record's check, a file against its length (its hash is the business of
//! `verify`, because a stream is sent before its end is known). A record that compaction moved while it was read is looked up again.

use std::sync::Arc;

use bytes::Bytes;
use postrider_model::doors::{Opened, SpoolTrouble};
use postrider_model::{BoxFuture, Content, ContentSource, Diagnosis, Message, MessageId, Outcome};
use xxhash_rust::xxh3::xxh3_64;

use crate::core::Core;
use crate::disk::{DiskFile, Opening, read_exactly, read_into};
use crate::forms::{Body, FileName, Form, State, StoredMessage};
use crate::index::Place;
use crate::offload::{Offload, offload};
use crate::record::{HEADER_OCTETS, Header, Kind};
use crate::segment::{Slot, io_trouble};
use crate::slots::Slots;
use crate::sync::lock;

/// Octets of a streamed content read at once.
const CHUNK_OCTETS: u64 = 256 * 1024;
/// How often a message is looked up again because it moved.
const MOVES_MAX: usize = 8;

/// A record, read and verified.
pub(crate) struct ReadRecord {
    pub(crate) form: Form,
    pub(crate) body: Bytes,
}

/// Reads the record at a place. `with_body`: its body, too.
pub(crate) fn read_record(slot: &Slot, offset: u32, with_body: bool) -> Result<ReadRecord, SpoolTrouble> {
    let damaged = |what: &str| SpoolTrouble::Corrupt(format!("{}, offset {offset}: {what}", slot.name));
    let failed = |trouble: std::io::Error| io_trouble(&slot.name, &trouble);
    let head = read_exactly(slot.file.as_ref(), offset.into(), HEADER_OCTETS).map_err(failed)?;
    let header = Header::read(&head).ok_or_else(|| damaged("no record"))?;
    let (meta_octets, body_octets) = (header.meta_octets as usize, header.body_octets as usize);
    let end = u64::from(offset) + header.record_octets();
    if end > slot.file.octets().map_err(failed)? {
        return Err(damaged("the record is longer than its segment"));
    }
    let take = meta_octets + if with_body { body_octets } else { 0 };
    let payload = Bytes::from(read_exactly(slot.file.as_ref(), u64::from(offset) + HEADER_OCTETS as u64, take).map_err(failed)?);
    let meta = payload.slice(..meta_octets);
    if !header.is_bound(slot.binding(), offset, &meta) {
        return Err(damaged("the record's check fails"));
    }
    let body = payload.slice(meta_octets..);
    if with_body && !body.is_empty() && xxh3_64(&body) != header.body_hash {
        return Err(damaged("the content's hash fails"));
    }
    let kind = Kind::from_tag(header.tag)
        .ok_or_else(|| SpoolTrouble::Unknown(format!("{}, offset {offset}: record kind {}", slot.name, header.tag)))?;
    let form = Form::decode(kind, &meta).map_err(|_| damaged("the record cannot be decoded"))?;
    Ok(ReadRecord { form, body })
}

/// The message that a record holds, when it is `id`'s.
pub(crate) fn message_of(form: Form, id: MessageId) -> Option<StoredMessage> {
    let stored = match form {
        Form::Acceptance(stored) | Form::Checkpoint(stored, _) => stored,
        Form::Settlement(settlement) => settlement.report?,
        Form::Standing(..) | Form::Transferred(_) | Form::Alteration(_) | Form::Notice(_) => return None,
    };
    (stored.message.id == id).then_some(stored)
}

/// The diagnosis that a record holds for a delivery.
pub(crate) fn diagnosis_of(form: Form, id: MessageId, index: u32) -> Option<Diagnosis> {
    let from_states = |states: Vec<(u32, State)>| {
        states.into_iter().find(|(of, _)| *of == index).and_then(|(_, state)| match state {
            State::Live { diagnosis, .. } => diagnosis,
            State::Ended => None,
        })
    };
    match form {
        Form::Settlement(settlement) if settlement.message == id => {
            let told = settlement.outcomes.into_iter().find(|told| told.index == index)?;
            match told.outcome {
                Outcome::Deferred { diagnosis, .. } | Outcome::Bounced { diagnosis } => Some(diagnosis),
                Outcome::Delivered { .. } => None,
            }
        }
        Form::Checkpoint(stored, states) if stored.message.id == id => from_states(states),
        Form::Standing(of, states) if of == id => from_states(states),
        _ => None,
    }
}

impl Core {
    /// Reads a live message: facts and content.
    pub(crate) async fn open_message(&self, id: MessageId) -> Result<Opened, SpoolTrouble> {
        let mut last = SpoolTrouble::NoSuchMessage;
        for _ in 0..MOVES_MAX {
            let place = {
                let index = lock(&self.index);
                let entry = index.live_entry(id).ok_or(SpoolTrouble::NoSuchMessage)?;
                if let Some((message, content)) = entry.warm() {
                    return Ok(Opened { message: message.clone(), content: Content::Held(content.clone()) });
                }
                entry.place
            };
            let slots = self.slots.clone();
            match offload(self.offload.as_ref(), move || read_message(&slots, id, place, true)).await {
                Ok((message, body, content)) => return self.opened(message, body, content).await,
                Err(trouble) => last = trouble,
            }
            if lock(&self.index).entry(id).is_some_and(|entry| entry.place == place) {
                break;
            }
        }
        Err(last)
    }

    async fn opened(&self, message: Arc<Message>, body: Body, content: Bytes) -> Result<Opened, SpoolTrouble> {
        let Body::File(name, _) = body else { return Ok(Opened { message, content: Content::Held(content) }) };
        let octets = message.content_octets;
        Ok(Opened { message, content: self.in_file(name, octets).await? })
    }

    /// A content in a file of its own.
    pub(crate) async fn in_file(&self, name: FileName, octets: u64) -> Result<Content, SpoolTrouble> {
        let disk = self.slots.ground.disk.clone();
        let file = offload(self.offload.as_ref(), move || {
            let path = name.path();
            let file = disk.open(&path, Opening::Read).map_err(|trouble| io_trouble(&path, &trouble))?;
            if file.octets().map_err(|trouble| io_trouble(&path, &trouble))? != octets {
                return Err(SpoolTrouble::Corrupt(format!("{path}: the file has not the length its message says")));
            }
            Ok(file)
        });
        let source = FileSource { file: file.await?, offload: self.offload.clone(), at: 0, octets, last: Bytes::new() };
        Ok(Content::Streamed(Box::new(source)))
    }
}

/// Reads the message whose record stands at a place.
pub(crate) fn read_message(
    slots: &Slots,
    id: MessageId,
    place: Place,
    with_body: bool,
) -> Result<(Arc<Message>, Body, Bytes), SpoolTrouble> {
    let slot = slots.of_life(place.life).ok_or(SpoolTrouble::NoSuchMessage)?;
    let read = read_record(&slot, place.offset, with_body)?;
    let offset = place.offset;
    let stored = message_of(read.form, id)
        .ok_or_else(|| SpoolTrouble::Corrupt(format!("{}, offset {offset}: another message stands here", slot.name)))?;
    Ok((Arc::new(stored.message), stored.body, read.body))
}

/// Reads the last diagnosis of a delivery; life 0 is none.
pub(crate) fn read_diagnosis(slots: &Slots, id: MessageId, index: u32, life: u32, offset: u32) -> Result<Option<Diagnosis>, SpoolTrouble> {
    if life == 0 {
        return Ok(None);
    }
    let slot = slots.of_life(life).ok_or(SpoolTrouble::NoSuchMessage)?;
    Ok(diagnosis_of(read_record(&slot, offset, false)?.form, id, index))
}

/// A content read from its file, chunk by chunk.
struct FileSource {
    file: Arc<dyn DiskFile>,
    offload: Arc<dyn Offload>,
    at: u64,
    octets: u64,
    /// What was given last. Whoever has let go of it gets the next chunk in the same memory: blocks that one thread takes and another gives back stay with the
    /// allocator, one for each chunk of a large content.
    last: Bytes,
}

impl ContentSource for FileSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SpoolTrouble>> {
        Box::pin(async move {
            let count = (self.octets - self.at).min(CHUNK_OCTETS);
            if count == 0 {
                return Ok(None);
            }
            let (file, at) = (self.file.clone(), self.at);
            let mut chunk = std::mem::take(&mut self.last).try_into_mut().unwrap_or_default();
            chunk.resize(count as usize, 0);
            let chunk = offload(self.offload.as_ref(), move || {
                read_into(file.as_ref(), at, &mut chunk).map_err(|trouble| io_trouble("contents", &trouble))?;
                Ok(chunk.freeze())
            });
            self.last = chunk.await?;
            self.at += count;
            Ok(Some(self.last.clone()))
        })
    }
}
