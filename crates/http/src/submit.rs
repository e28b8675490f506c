//! Mail handed over on the socket: one line of JSON (the envelope), a line feed, and the content as it is.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use postrider_model::{ReportWishes, StreamName, TenantName};
use postrider_smtp::parameters::{MailParameters, RecipientParameters, Xtext};
use postrider_smtp::{Mailbox, ReversePath};
use tokio::sync::Semaphore;

use crate::doors::{ControlDoors, LocalMail};
use crate::trouble::Refusal;
use crate::{SUBMITS_MAX, wire};

/// Octets of the envelope's line: room for 10,000 recipients.
pub(crate) const ENVELOPE_OCTETS_MAX: usize = 1024 * 1024;

/// The doors, and the turns that submissions take.
#[derive(Clone)]
pub(crate) struct SubmitDoors {
    doors: ControlDoors,
    turns: Arc<Semaphore>,
}

impl SubmitDoors {
    pub(crate) fn new(doors: ControlDoors) -> Self {
        Self { doors, turns: Arc::new(Semaphore::new(SUBMITS_MAX)) }
    }

    /// Waits for a turn; held until the submission is answered.
    pub(crate) async fn turn(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        self.turns.clone().acquire_owned().await.ok()
    }
}

/// The body of a submission, for clients.
pub fn encode_submission(envelope: &wire::Submission, content: &[u8]) -> serde_json::Result<Bytes> {
    let mut octets = serde_json::to_vec(envelope)?;
    octets.push(b'\n');
    octets.extend_from_slice(content);
    Ok(octets.into())
}

pub(crate) async fn intake(State(state): State<SubmitDoors>) -> Json<wire::Intake> {
    let about = &state.doors.about;
    Json(wire::Intake { host_name: about.host_name.clone(), message_octets_max: about.message_octets_max })
}

/// The user at the other end of a socket that is open to all.
#[derive(Clone, Copy)]
pub(crate) struct User(pub(crate) u32);

pub(crate) async fn submit(
    State(state): State<SubmitDoors>,
    user: Option<Extension<User>>,
    body: Bytes,
) -> Result<Json<wire::Accepted>, Refusal> {
    let mut mail = decode(&body)?;
    mail.user = user.map(|Extension(User(id))| id);
    let receipt = state.doors.intake.submit(mail).await?;
    Ok(Json(wire::Accepted { id: receipt.message.to_string(), at: receipt.at.to_string() }))
}

pub(crate) fn decode(body: &Bytes) -> Result<LocalMail, Refusal> {
    let end = body.iter().take(ENVELOPE_OCTETS_MAX).position(|octet| *octet == b'\n');
    let end = end.ok_or_else(|| Refusal::bad("the first line must be the envelope, as JSON, and end in a line feed"))?;
    let envelope: wire::Submission =
        serde_json::from_slice(&body[..end]).map_err(|trouble| Refusal::bad(format!("the envelope is not understood: {trouble}")))?;
    let mailbox = |text: &String| Mailbox::parse(text).map_err(|trouble| Refusal::unacceptable(format!("{text:?}: {trouble}")));
    let reverse_path = if envelope.from.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(mailbox(&envelope.from)?) };
    let recipients = envelope.to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
    if recipients.is_empty() {
        return Err(Refusal::unacceptable("a message needs a recipient"));
    }
    let wishes = wishes(&envelope)?;
    let content = body.slice(end + 1..);
    check_lines(&content)?;
    let (tenant, stream) = (envelope.tenant.as_deref().map(TenantName::new), envelope.stream.as_deref().map(StreamName::new));
    let repeats = envelope.repeats.as_deref().map(crate::queue::message_id).transpose()?;
    Ok(LocalMail { reverse_path, recipients, tenant, stream, user: None, wishes, repeats, content })
}

/// The words of MAIL and RCPT, by their own parser.
fn wishes(envelope: &wire::Submission) -> Result<ReportWishes, Refusal> {
    let mut mail = String::new();
    if let Some(ret) = &envelope.ret {
        mail.push_str(&format!("RET={} ", Xtext(ret)));
    }
    if let Some(envid) = &envelope.envid {
        mail.push_str(&format!("ENVID={}", Xtext(envid)));
    }
    let rcpt = envelope.notify.as_ref().map(|notify| format!("NOTIFY={}", Xtext(notify))).unwrap_or_default();
    let wrong = |what| Refusal::unacceptable(format!("{what} is not what RFC 3461 §4 knows"));
    let mail = MailParameters::parse(&mail).map_err(|_| wrong("ret or envid"))?;
    let rcpt = RecipientParameters::parse(&rcpt).map_err(|_| wrong("notify"))?;
    Ok(ReportWishes { notify: rcpt.notify, ret: mail.ret, envid: mail.envid.map(Into::into) })
}

/// The same law as for SMTP: a bare CR or LF, or a NUL, is how mail is smuggled, so it is refused here, too.
fn check_lines(content: &[u8]) -> Result<(), Refusal> {
    let mut before = 0;
    for (at, octet) in content.iter().enumerate() {
        let wrong = match octet {
            0 => Some("a NUL octet"),
            b'\n' if before != b'\r' => Some("a bare LF"),
            _ if before == b'\r' && *octet != b'\n' => Some("a bare CR"),
            _ => None,
        };
        if let Some(what) = wrong {
            return Err(Refusal::unacceptable(format!("the content has {what} at octet {at}; lines end in CR LF")));
        }
        before = *octet;
    }
    if before == b'\r' {
        return Err(Refusal::unacceptable("the content ends in a bare CR"));
    }
    Ok(())
}
