//! What a request can be answered when it fails: a status and one sentence.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use postrider_model::doors::SpoolTrouble;

use crate::doors::IntakeTrouble;
use crate::wire;

/// A refused request.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    sentence: String,
}

impl Refusal {
    /// The request itself is wrong.
    pub(crate) fn bad(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, sentence: sentence.into() }
    }

    /// The request is understood, and what it carries is not acceptable.
    pub(crate) fn unacceptable(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, sentence: sentence.into() }
    }

    /// The request took too long.
    pub(crate) fn too_slow() -> Self {
        Self { status: StatusCode::REQUEST_TIMEOUT, sentence: "the request took too long".into() }
    }

    /// It may be possible later.
    pub(crate) fn not_now(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, sentence: sentence.into() }
    }

    /// There is no such thing.
    pub(crate) fn nothing_here() -> Self {
        Self { status: StatusCode::NOT_FOUND, sentence: "no such resource".into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(wire::Refused { error: self.sentence })).into_response()
    }
}

impl From<SpoolTrouble> for Refusal {
    fn from(trouble: SpoolTrouble) -> Self {
        let status = match trouble {
            SpoolTrouble::NoSuchMessage => StatusCode::NOT_FOUND,
            SpoolTrouble::Full | SpoolTrouble::Poisoned(_) | SpoolTrouble::Closed | SpoolTrouble::IdTaken | SpoolTrouble::LoanEnded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            SpoolTrouble::Corrupt(_) | SpoolTrouble::Unknown(_) | SpoolTrouble::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let sentence = match trouble {
            SpoolTrouble::NoSuchMessage => {
                "no such message waits here: it was delivered, it bounced (the mail log tells), or it never came".to_owned()
            }
            other => other.to_string(),
        };
        Self { status, sentence }
    }
}

impl From<IntakeTrouble> for Refusal {
    fn from(trouble: IntakeTrouble) -> Self {
        match trouble {
            IntakeTrouble::Refused(sentence) => Self::unacceptable(sentence),
            IntakeTrouble::NotNow(sentence) => Self { status: StatusCode::SERVICE_UNAVAILABLE, sentence },
        }
    }
}
