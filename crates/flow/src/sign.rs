//! Signatures, made at the attempt: over what is really sent, by keys that are in force now.
//!
//! **Promises.** What should be signed and cannot be is not sent: the registry's silence and a key that does not sign are temporary troubles of ours. The work runs
//! beside the reactor, once for all signatures of a message, and the body goes by in pieces.
//!
//! **Does badly.** A header beyond `dkim`'s limit of 1 MiB goes unsigned, with an alarm; and mail whose From names no domain is not signed by the operator either.

use std::sync::Arc;

use postrider_core::plan;
use postrider_mail::dkim::{Signable, Signature, fields};
use postrider_model::doors::Signer;
use postrider_model::{Message, Trouble};
use tokio::sync::oneshot;

use crate::Doors;

/// Whether mail like this may have to be signed.
pub(crate) fn concerns(doors: &Doors, message: &Message) -> bool {
    doors.registry.signs() && plan::is_signed(message.arrival.role)
}

/// The signature fields for a message that has gone by as it is sent. Empty, when nobody signs.
pub(crate) async fn signatures(doors: &Doors, message: &Message, signable: Signable) -> Result<Vec<u8>, Trouble> {
    let internal = |why: String| Trouble::Internal(why.into());
    let Some((header, body_hash)) = signable.finish() else {
        doors.log.alarm(Some(message.id), "not signed: its header cannot be read by a verifier (it has no From, or is too long)");
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
