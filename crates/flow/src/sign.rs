//! Signatures, made at the attempt: over what is really sent, by keys that are in force now.
//!
//! **Promises.** What should be signed and cannot be is not sent: the registry's silence and a key that does not sign are temporary troubles of ours. The work runs
//! beside the reactor, once for all signatures of a message. A body that is sent as it is stored was hashed while it arrived; one that is sent otherwise goes by in
//! pieces and is hashed as it is sent.
//!
//! A header that no verifier could read is refused before custody, and bounced where it was taken before anybody signed.
//!
//! **Does badly.** Mail whose From names no domain is not signed by the operator either.

use std::sync::Arc;

use postrider_core::plan;
use postrider_mail::HeaderFacts;
use postrider_mail::dkim::{HEADER_OCTETS_MAX, Signable, Signature, fields, is_signable};
use postrider_model::doors::Signer;
use postrider_model::{Message, Role, Trouble};
use postrider_smtp::Reply;
use tokio::sync::oneshot;

use crate::Doors;
use crate::receive::reply;

/// Octets of a header that is taken where somebody signs: what we put in front of it needs room, too.
const TAKEN_HEADER_OCTETS_MAX: u64 = HEADER_OCTETS_MAX as u64 - 64 * 1024;

/// Whether mail of this role may have to be signed.
pub(crate) fn concerns(doors: &Doors, role: Role) -> bool {
    doors.registry.signs() && plan::is_signed(role)
}

/// Whether the header can be signed when the message is sent: it is refused before custody, not bounced after it.
pub(crate) fn header(doors: &Doors, role: Role, facts: &HeaderFacts) -> Result<(), Reply> {
    match concerns(doors, role) && facts.header_octets > TAKEN_HEADER_OCTETS_MAX {
        true => Err(reply(552, (5, 3, 4), "the header is too long to be signed")),
        false => Ok(()),
    }
}

/// The signature fields for a message that has gone by as it is sent. Empty, when nobody signs.
pub(crate) async fn signatures(doors: &Doors, message: &Message, signable: Signable) -> Result<Vec<u8>, Trouble> {
    let internal = |why: String| Trouble::Internal(why.into());
    let Some((header, body_hash)) = signable.finish() else {
        return Err(Trouble::Unsignable(format!("its header has more than {HEADER_OCTETS_MAX} octets").into()));
    };
    let Some(from) = plan::author_domain(&header) else { return Ok(Vec::new()) };
    let signers = doors.registry.signers(&message.tenant, &from).await.map_err(|trouble| internal(trouble.to_string()))?;
    if signers.is_empty() {
        return Ok(Vec::new());
    }
    if !is_signable(&header) {
        return Err(Trouble::Unsignable("its header has lines that are no fields, so each reader would see another message".into()));
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
