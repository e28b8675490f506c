//! Everything outside transactions: greeting, EHLO, STARTTLS, AUTH, RSET, QUIT, and idling between.

use super::config::{ProtocolTrouble, Refusal, Wait};
use super::{Client, Last, State, Stride};
use crate::extension::Hello;
use crate::reply::Reply;
use crate::sasl::{Credentials, Mechanism, Proof};

impl Client {
    /// Asks for TLS (RFC 3207). Only at [`super::Step::Ready`].
    pub fn start_tls(&mut self) {
        if self.leave_idle() {
            self.command(&["STARTTLS"]);
            self.state = State::StartTls;
        }
    }

    /// The handshake is done. What the server offered before is forgotten, and EHLO is said again (RFC 3207 §4.2).
    ///
    /// # Panics
    /// When no TLS was granted.
    pub fn secured(&mut self) {
        assert!(matches!(self.state, State::Handshake), "secured without TlsGranted");
        self.inbox.clear();
        self.say_ehlo();
    }

    /// Proves who we are (RFC 4954). Only at [`super::Step::Ready`]; when it is granted, Ready comes again.
    pub fn authenticate(&mut self, mechanism: Mechanism, credentials: &Credentials) {
        if self.leave_idle() {
            let (proof, initial) = Proof::start(mechanism, credentials.clone());
            match initial {
                Some(initial) => self.command(&["AUTH ", mechanism.as_str(), " ", &initial]),
                None => self.command(&["AUTH ", mechanism.as_str()]),
            }
            self.state = State::Auth(proof);
        }
    }

    /// RSET: also a way to learn whether the session still lives. Only at [`super::Step::Ready`].
    pub fn reset(&mut self) {
        if self.leave_idle() {
            self.command(&["RSET"]);
            self.state = State::Reset;
        }
    }

    /// Ends the session. While content is being sent there is no way to say so: then the connection is to be closed at once, and the
    /// server drops what it has (RFC 5321 §4.1.1.10).
    pub fn quit(&mut self) {
        let may_speak = matches!(self.state, State::Idle | State::Over(_)) && !self.ended;
        self.outbox.clear();
        self.handed = false;
        if may_speak {
            self.command(&["QUIT"]);
            self.state = State::Quit;
        } else {
            self.state = State::Over(None);
        }
    }

    /// Says whether the machine may speak. When something unsolicited waits, it may not: that is told first.
    ///
    /// # Panics
    /// When the machine is not idle: the driver has not waited for Ready.
    pub(super) fn leave_idle(&mut self) -> bool {
        assert!(matches!(self.state, State::Idle | State::Over(_)), "something else is in progress: {:?}", self.state);
        if self.has_unsolicited() {
            self.idle();
        }
        matches!(self.state, State::Idle) && !self.has_unsolicited()
    }

    /// Nothing is in progress. What comes now is a farewell, or confusion.
    pub(super) fn idle(&mut self) -> Option<Stride> {
        match self.reader.take(&mut self.inbox, true) {
            Ok(Some(reply)) if reply.code() == 421 => self.refused(Wait::Idle, reply),
            Ok(None) if !self.has_unsolicited() && self.ended => self.over(None),
            Ok(None) if !self.has_unsolicited() => Some(Stride::Ready),
            // It may become a 421: let it come.
            Ok(None) if !self.ended => Some(Stride::Read),
            Ok(_) => self.trouble(ProtocolTrouble::Unsolicited),
            Err(trouble) => self.trouble(trouble),
        }
    }

    pub(super) fn heard_of_session(&mut self, reply: Reply) -> Option<Stride> {
        let stage = self.waits_for();
        let yes = reply.is_positive_completion();
        let more_came = self.has_unsolicited();
        match &mut self.state {
            State::Greeting if reply.code() == 220 => self.greeted(),
            State::Ehlo if yes => self.welcome(&reply, true),
            State::Helo if yes => self.welcome(&reply, false),
            // RFC 5321 §3.2: a server that does not know EHLO is asked with HELO.
            State::Ehlo if reply.is_permanent() && !more_came && !self.config.lmtp => {
                let name = std::mem::take(&mut self.config.name);
                self.command(&["HELO ", &name]);
                self.config.name = name;
                self.state = State::Helo;
                None
            }
            State::StartTls if yes => {
                if more_came {
                    return self.trouble(ProtocolTrouble::OctetsBeforeTls);
                }
                self.state = State::Handshake;
                None
            }
            State::Auth(proof) if reply.code() == 334 => {
                // A question too many is answered by cancelling (RFC 4954 §4).
                let challenge = reply.lines().first().map_or("", String::as_str);
                let answer = proof.answer(challenge).unwrap_or_else(|| "*".to_owned());
                if more_came {
                    return self.trouble(ProtocolTrouble::Unsolicited);
                }
                self.command(&[&answer]);
                None
            }
            State::Auth(_) if yes => self.settle_down(),
            State::Reset if yes => {
                self.dangling = false;
                self.settle_down()
            }
            State::Quit => self.over(None),
            _ if reply.is_transient() || reply.is_permanent() => self.refused(stage, reply),
            _ => self.trouble(ProtocolTrouble::Unexpected(reply)),
        }
    }

    pub(super) fn settle_down(&mut self) -> Option<Stride> {
        self.state = State::Idle;
        None
    }

    fn greeted(&mut self) -> Option<Stride> {
        if self.has_unsolicited() {
            return self.trouble(ProtocolTrouble::Unsolicited);
        }
        self.say_ehlo();
        None
    }

    fn say_ehlo(&mut self) {
        self.hello = Hello::default();
        let name = std::mem::take(&mut self.config.name);
        // RFC 2033 §4.1: nobody takes the one protocol for the other.
        self.command(&[if self.config.lmtp { "LHLO " } else { "EHLO " }, &name]);
        self.config.name = name;
        self.state = State::Ehlo;
    }

    fn welcome(&mut self, reply: &Reply, esmtp: bool) -> Option<Stride> {
        self.hello = Hello::parse(reply, esmtp);
        self.settle_down()
    }

    /// STARTTLS and AUTH can be refused without ending the session; the rest cannot.
    fn refused(&mut self, stage: Wait, reply: Reply) -> Option<Stride> {
        let usable = matches!(stage, Wait::StartTls | Wait::Auth) && reply.code() != 421;
        let refusal = Refusal { stage, reply, usable };
        if usable {
            self.state = State::Idle;
            return Some(Stride::Refused(refusal));
        }
        self.over(Some(Last::Refused(refusal)))
    }
}
