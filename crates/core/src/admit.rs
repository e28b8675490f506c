//! May this client say this, here? (RFC 5321 §3.6, §4.5.1, §6.3, §7; RFC 6409 §4)
//!
//! **Promises.** Nothing is relayed for a stranger: a recipient is taken only when the client proved itself, is trusted by configuration,
//! or writes to a domain that is named in [`Rules`], of which there is none by default. A local part is never read as a way to another
//! host: `user%other.example@ours.example` is a mailbox at `ours.example` and nothing else, and on its way to a *relay* domain such a
//! local part is refused from strangers, because the next server might still read it the old way.
//!
//! **Never** asks who somebody is (`Registry` does), and never decides about content, nor whose domain a reverse-path names (`ownership`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use postrider_model::doors::Principal;
use postrider_model::limits::HOPS_MAX;
use postrider_smtp::{Domain, EnhancedStatus, ForwardPath, Host, Mailbox, Reply, ReversePath};

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerRole {
    /// Clients of ours hand mail in (RFC 6409).
    Submission,
    /// Servers hand over mail for domains of ours (RFC 5321 §3.6).
    Relay,
}

/// What policy says about one listener.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What it is for.
    pub role: ListenerRole,
    /// Whether MAIL is refused in clear text.
    pub tls_required: bool,
    /// Where mail to the bare `Postmaster` goes (RFC 5321 §4.5.1), and to postmaster and abuse at our own names; `None`: nobody is named, and it is refused.
    pub postmaster: Option<Mailbox>,
    /// The names that this relay gives itself.
    pub own_names: Domains,
    /// Domains whose mail ends here.
    pub local_domains: Domains,
    /// Domains whose mail we take to hand it on.
    pub relay_domains: Domains,
}

/// Domains by name, found in O(log n); U-labels and A-labels of a name are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Domains(BTreeSet<Box<str>>);

impl Domains {
    /// Whether it is one of them.
    pub fn contains(&self, domain: &Domain) -> bool {
        self.0.contains(&*domain.to_ascii())
    }
}

impl FromIterator<Domain> for Domains {
    fn from_iter<I: IntoIterator<Item = Domain>>(domains: I) -> Self {
        Self(domains.into_iter().map(|domain| domain.to_ascii().as_ref().into()).collect())
    }
}

/// What is known of the client.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Who it proved to be.
    pub principal: Option<&'a Principal>,
    /// Whether configuration trusts its address.
    pub trusted: bool,
    /// Whether the session is under TLS.
    pub tls: bool,
    /// The address at which it reached us.
    pub reached: Option<IpAddr>,
}

impl Client<'_> {
    fn may_relay(&self) -> bool {
        self.principal.is_some() || self.trusted
    }
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// STARTTLS comes first (RFC 3207 §4).
    #[error("Must issue a STARTTLS command first")]
    TlsRequired,
    /// AUTH comes first (RFC 4954 §6).
    #[error("Authentication required")]
    AuthenticationRequired,
    /// Neither the client nor the recipient's domain is ours.
    #[error("Relay access denied")]
    RelayDenied,
    /// Too many Received fields (RFC 5321 §6.3).
    #[error("Too many hops, this message is looping")]
    TooManyHops,
    /// Nobody is named the postmaster.
    #[error("No postmaster is named here")]
    NoPostmaster,
    /// A return path of ours, and no token that we made for it.
    #[error("No such address here")]
    NoSuchReturn,
    /// What comes back to a return path travels from nobody, and so by itself. The client tries the others again (RFC 5321 §4.5.3.1.10).
    #[error("Too many recipients: mail to a return path goes by itself")]
    OneKindAtATime,
}

impl Refusal {
    /// The reply that says it.
    pub fn reply(self) -> Reply {
        let (code, status) = match self {
            Refusal::TlsRequired => (530, EnhancedStatus::new(5, 7, 0)),
            Refusal::AuthenticationRequired => (530, EnhancedStatus::new(5, 7, 0)),
            Refusal::RelayDenied => (554, EnhancedStatus::new(5, 7, 1)),
            Refusal::TooManyHops => (554, EnhancedStatus::new(5, 4, 6)),
            Refusal::NoPostmaster | Refusal::NoSuchReturn => (550, EnhancedStatus::new(5, 1, 1)),
            Refusal::OneKindAtATime => (452, EnhancedStatus::new(4, 5, 3)),
        };
        Reply::new(code, Some(status), self.to_string())
    }
}

/// May the client begin a transaction with this reverse-path?
pub fn mail(rules: &Rules, client: &Client<'_>, _reverse_path: &ReversePath) -> Result<(), Refusal> {
    if rules.tls_required && !client.tls {
        return Err(Refusal::TlsRequired);
    }
    match rules.role {
        ListenerRole::Submission if !client.may_relay() => Err(Refusal::AuthenticationRequired),
        ListenerRole::Submission | ListenerRole::Relay => Ok(()),
    }
}

/// May the client name this recipient? Gives the mailbox the delivery is for: the postmaster's, for the bare `Postmaster`.
pub fn recipient(rules: &Rules, client: &Client<'_>, path: &ForwardPath) -> Result<Mailbox, Refusal> {
    if rules.role == ListenerRole::Submission && !client.may_relay() {
        return Err(Refusal::AuthenticationRequired);
    }
    let mailbox = match path {
        // RFC 5321 §4.5.1: every server takes mail for its postmaster, from anybody.
        ForwardPath::Postmaster => return postmaster(rules),
        ForwardPath::Mailbox(mailbox) => mailbox,
    };
    if is_role(mailbox) && is_own(rules, client, mailbox) {
        match postmaster(rules) {
            // Where nobody is named, the way of clients of ours is the DNS's affair, as for any other mailbox.
            Err(_) if client.may_relay() => {}
            answer => return answer,
        }
    }
    if client.may_relay() || is_for_us(rules, mailbox) { Ok(mailbox.clone()) } else { Err(Refusal::RelayDenied) }
}

/// Who has mail for the people whom every server must have; refused rather than taken and lost, where nobody is named.
pub fn postmaster(rules: &Rules) -> Result<Mailbox, Refusal> {
    rules.postmaster.clone().ok_or(Refusal::NoPostmaster)
}

/// Whether it names people whom every server must have, at whatever domain (RFC 5321 §4.5.1; RFC 2142 §4, §5).
pub fn is_role(mailbox: &Mailbox) -> bool {
    ["postmaster", "abuse"].iter().any(|name| mailbox.local_part().eq_ignore_ascii_case(name))
}

/// Whether a mailbox is at the relay itself: at a name it gives itself that is no domain of mail, or at the address that was reached.
fn is_own(rules: &Rules, client: &Client<'_>, mailbox: &Mailbox) -> bool {
    match mailbox.host() {
        Host::Domain(domain) => rules.own_names.contains(domain) && !is_for_us(rules, mailbox),
        Host::Literal(address) => client.reached.is_some_and(|reached| reached.to_canonical() == address.to_canonical()),
    }
}

/// May anybody write to a return path of ours? Gives what its token stands for; `others`: the transaction has recipients elsewhere already.
pub fn returned<T>(known: Option<T>, others: bool) -> Result<T, Refusal> {
    match known {
        None => Err(Refusal::NoSuchReturn),
        Some(_) if others => Err(Refusal::OneKindAtATime),
        Some(known) => Ok(known),
    }
}

/// May content with so many Received fields go on?
pub fn hops(received_fields: u32) -> Result<(), Refusal> {
    if received_fields > HOPS_MAX { Err(Refusal::TooManyHops) } else { Ok(()) }
}

/// Whether a stranger may write to this mailbox.
fn is_for_us(rules: &Rules, mailbox: &Mailbox) -> bool {
    // An address literal names an interface, not a domain that policy could list.
    let Host::Domain(domain) = mailbox.host() else { return false };
    if rules.local_domains.contains(domain) {
        return true;
    }
    rules.relay_domains.contains(domain) && !has_route_in_it(mailbox.local_part())
}

/// The percent-hack, a bang path, or a second `@` in quotes: what old mailers read as "send it on from there" (RFC 5321 appendix F.2).
fn has_route_in_it(local_part: &str) -> bool {
    local_part.contains(['@', '%', '!'])
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
