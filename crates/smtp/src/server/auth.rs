//! AUTH (RFC 4954).
//!
//! A failed exchange leaves the session as it was; each counts as an error, so guessing ends with 421.

use super::{Asked, Question, Server, State, Stride, replies};
use crate::line::Split;
use crate::reply;
use crate::sasl::{Exchange, Mechanism, Mechanisms, Progress, SaslTrouble};

impl Server {
    /// Whether AUTH may be used now.
    pub(super) fn auth_is_open(&self) -> bool {
        self.tls || self.config.auth_in_clear
    }

    /// Those that may be used now.
    pub(super) fn mechanisms(&self) -> Mechanisms {
        Mechanisms { external: self.external && !self.config.mechanisms.is_empty(), ..self.config.mechanisms }
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Option<Stride> {
        let config = &self.config;
        let refusal = if config.mechanisms.is_empty() {
            Some(replies::NO_AUTH)
        } else if self.esmtp != Some(true) {
            Some(replies::HELLO_FIRST)
        } else if self.authenticated {
            Some(replies::AUTH_TWICE)
        } else if self.transaction.is_some() {
            Some(replies::AUTH_IN_TRANSACTION)
        } else if !self.auth_is_open() {
            Some(replies::AUTH_NEEDS_TLS)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.refuse(refusal);
        }
        match Mechanism::parse(mechanism).filter(|mechanism| self.mechanisms().has(*mechanism)) {
            None => self.refuse(replies::UNKNOWN_MECHANISM),
            Some(mechanism) => {
                let (exchange, progress) = Exchange::start(mechanism, initial);
                self.progress(exchange, progress)
            }
        }
    }

    /// Takes one line of the exchange, when it is there.
    pub(super) fn auth_line(&mut self) -> Option<Stride> {
        match self.split(self.config.auth_line_octets_max) {
            Split::Partial => self.wait(),
            Split::TooLong => {
                self.state = State::LineEnd(replies::AUTH_LINE_TOO_LONG, 0);
                None
            }
            Split::Stray => self.expel(replies::BARE_NEWLINE),
            Split::Line { text, whole } => {
                let range = self.inbox.consume(whole);
                let State::AuthLine(mut exchange) = std::mem::replace(&mut self.state, State::Command) else { return None };
                let line = std::str::from_utf8(&self.inbox.consumed(range)[..text]).unwrap_or("?");
                let progress = exchange.take(line);
                if !self.inbox.is_empty() {
                    return self.expel(replies::OUT_OF_STEP);
                }
                self.progress(exchange, progress)
            }
        }
    }

    fn progress(&mut self, exchange: Exchange, progress: Progress) -> Option<Stride> {
        match progress {
            Progress::Challenge(text) => {
                reply::write_line(&mut self.outbox, 334, None, text, true);
                self.state = State::AuthLine(exchange);
                None
            }
            Progress::Done(credentials) => {
                self.ask(Asked::Authenticate, Question::Authenticate { mechanism: exchange.mechanism(), credentials })
            }
            Progress::Failed(SaslTrouble::Cancelled) => self.refuse(replies::AUTH_CANCELLED),
            Progress::Failed(SaslTrouble::Base64) => self.refuse(replies::AUTH_BASE64),
            Progress::Failed(SaslTrouble::Malformed) => self.refuse(replies::AUTH_MALFORMED),
        }
    }
}
