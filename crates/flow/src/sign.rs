//! Signatures, made at the attempt: over what is really sent, by keys that are in force now.
//!
//! **Promises.** What should be signed and cannot be is not sent: the registry's silence and a key that does not sign are temporary troubles of ours. The work runs
//! beside the reactor, once for all signatures of a message, and the body goes by in pieces.

use std::sync::Arc;

use bytes::Bytes;
use postrider_core::plan;
use postrider_mail::dkim::{Signable, Signature, fields};
use postrider_mail::encode::SevenBit;
use postrider_model::doors::Signer;
use postrider_model::{Content, Message, Trouble};
use tokio::sync::oneshot;

use crate::Doors;

/// The signature fields for a message that is sent as `head` and its content, in another encoding if `recode` says so; `held` is the content where it is in memory.
/// Empty, when nobody signs.
pub(crate) async fn signatures(
    doors: &Doors,
    message: &Message,
    head: &[u8],
    held: Option<&Bytes>,
    recode: bool,
) -> Result<Vec<u8>, Trouble> {
    if !doors.registry.signs() || !plan::is_signed(message.arrival.role) {
        return Ok(Vec::new());
    }
    let internal = |why: String| Trouble::Internal(why.into());
    let mut passing = Passing { signable: Signable::new(), seven: recode.then(SevenBit::new), recoded: Vec::new() };
    passing.feed(head);
    match held {
        Some(octets) => passing.feed(octets),
        None => {
            // The source that was opened is read when it is sent.
            let opened = doors.spool.open(message.id).await.map_err(|trouble| internal(trouble.to_string()))?;
            match opened.content {
                Content::Held(octets) => passing.feed(&octets),
                Content::Streamed(mut source) => {
                    while let Some(chunk) = source.next().await.map_err(|trouble| internal(trouble.to_string()))? {
                        passing.feed(&chunk);
                    }
                }
            }
        }
    }
    let Some((header, body_hash)) = passing.finish() else {
        doors.log.alarm(Some(message.id), "not signed: its header holds a line that is no field, so no verifier could read it");
        return Ok(Vec::new());
    };
    let Some(from) = plan::author_domain(&header) else { return Ok(Vec::new()) };
    let signers = doors.registry.signers(&message.tenant, &from).await.map_err(|trouble| internal(trouble.to_string()))?;
    if signers.is_empty() {
        return Ok(Vec::new());
    }
    let at = doors.clock.now().seconds();
    let (answer, answered) = oneshot::channel();
    doors.offload.run(Box::new(move || {
        let _ = answer.send(written(&signers, &header, &body_hash, at));
    }));
    let written = answered.await.map_err(|_| internal("signing did not end".to_owned()))?;
    written.map_err(internal)
}

fn written(signers: &[Arc<Signer>], header: &[u8], body_hash: &[u8; 32], at: u64) -> Result<Vec<u8>, String> {
    let names = fields(header);
    let mut out = Vec::with_capacity(1_600);
    for signer in signers {
        for (selector, key) in &signer.keys {
            let signature = Signature { domain: &signer.domain, selector, key, at };
            signature
                .write(header, &names, body_hash, &mut out)
                .map_err(|trouble| format!("the key {selector} of {}: {trouble}", signer.domain))?;
        }
    }
    Ok(out)
}

/// A message on its way into its hash, as it will be sent.
struct Passing {
    signable: Signable,
    seven: Option<SevenBit>,
    recoded: Vec<u8>,
}

impl Passing {
    fn feed(&mut self, octets: &[u8]) {
        let Some(seven) = &mut self.seven else {
            self.signable.feed(octets);
            return;
        };
        self.recoded.clear();
        seven.feed(octets, &mut self.recoded);
        self.signable.feed(&self.recoded);
    }

    fn finish(mut self) -> Option<(Vec<u8>, [u8; 32])> {
        if let Some(seven) = self.seven.take() {
            self.recoded.clear();
            seven.finish(&mut self.recoded);
            self.signable.feed(&self.recoded);
        }
        self.signable.finish()
    }
}
