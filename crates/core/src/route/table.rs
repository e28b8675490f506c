//! Which rule says where a mail goes.
//!
//! **Promises.** Rules are asked in order, and the first of which all is true counts; a domain whose mail ends here is asked before any rule, then what a
//! person sends another way, and mail that no rule takes goes to the hosts of its domain. [`by_host`] tells when the recipient's domain alone decides, so that mail of such a domain is placed once, however
//! much of it there is; otherwise each mail is asked about by [`by_mail`]. Both give the same answer where both have one.
//!
//! [`sending`] says from which Sources it goes.
//!
//! **Never** looks at the content, and never keeps an answer: after a reload the same mail may go elsewhere.

use std::sync::Arc;

use postrider_model::policy::{Detour, Pool, Routing, Rule, Target};
use postrider_model::{MessageId, StreamName, TenantName};
use postrider_smtp::{Host, ReversePath};

/// Where mail goes, and the rule that says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Way<'a> {
    /// The next hop.
    pub target: &'a Target,
    /// The rule; none for local domains, and for mail that no rule takes.
    pub rule: Option<&'a Rule>,
}

impl Way<'_> {
    /// Whether the pool of a stream decides from where such mail is sent: it leaves for a server of somebody else's, and no rule has named a pool. A rule's pool is the
    /// operator's word about this next hop, which may know us by it alone; a stream's is a wish about everybody else.
    pub fn is_open_to_pools(&self) -> bool {
        matches!(self.target, Target::Mx | Target::SmartHosts(_)) && self.rule.is_none_or(|rule| rule.pool.is_none())
    }
}

/// From which Sources mail is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sending<'a> {
    /// From any: nobody names a pool.
    Any,
    /// From those of the rule's pool.
    ByRule(&'a Arc<Pool>),
    /// From those of its stream's pool.
    ByStream(&'a Arc<Pool>),
    /// From none: its stream names a pool that is not there, and asked for no other.
    Missing(&'a str),
}

/// From which Sources mail is sent that goes this way, of a stream that names this pool.
pub fn sending<'a>(routing: &'a Routing, way: &Way<'a>, stream_pool: Option<&'a str>) -> Sending<'a> {
    match (way.rule.and_then(|rule| rule.pool.as_ref()), stream_pool.filter(|_| way.is_open_to_pools())) {
        (Some(pool), _) => Sending::ByRule(pool),
        (None, None) => Sending::Any,
        (None, Some(name)) => routing.pools.get(name).map_or(Sending::Missing(name), Sending::ByStream),
    }
}

const TO_MX: Way<'static> = Way { target: &Target::Mx, rule: None };

/// What the recipient's host alone decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ByHost<'a> {
    /// All mail for it goes there.
    All(Way<'a>),
    /// It depends on whose mail it is.
    Depends,
}

/// What is known of a mail.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// Which; none while it is not accepted.
    pub message: Option<MessageId>,
    /// Whose.
    pub tenant: &'a TenantName,
    /// Which class.
    pub stream: &'a StreamName,
    /// Its reverse-path, once somebody has looked.
    pub sender: Option<&'a ReversePath>,
}

/// Where all mail for this host goes, if that is one place.
pub fn by_host<'a>(routing: &'a Routing, host: &Host) -> ByHost<'a> {
    if let Some(target) = local(routing, host) {
        return ByHost::All(Way { target, rule: None });
    }
    if routing.detours.iter().any(|detour| is_for(&detour.rule, host)) {
        return ByHost::Depends;
    }
    match routing.rules.iter().find(|rule| is_for(rule, host)) {
        None => ByHost::All(TO_MX),
        Some(rule) if rule.senders.is_empty() && rule.tenants.is_empty() && rule.streams.is_empty() => ByHost::All(way(rule)),
        Some(_) => ByHost::Depends,
    }
}

/// Where this mail goes; `None` when that depends on its sender, and nobody has looked.
pub fn by_mail<'a>(routing: &'a Routing, host: &Host, mail: &Mail<'_>) -> Option<Way<'a>> {
    if let Some(target) = local(routing, host) {
        return Some(Way { target, rule: None });
    }
    let detours = routing.detours.iter().filter(|detour| reaches(detour, mail)).map(|detour| &detour.rule);
    for rule in detours.chain(&routing.rules).filter(|rule| is_for(rule, host)) {
        let asked_of = (rule.tenants.is_empty() || rule.tenants.contains(mail.tenant))
            && (rule.streams.is_empty() || rule.streams.contains(mail.stream));
        if !asked_of {
            continue;
        }
        if rule.senders.is_empty() {
            return Some(way(rule));
        }
        let sender = mail.sender?;
        if rule.senders.iter().any(|set| set.has(sender)) {
            return Some(way(rule));
        }
    }
    Some(TO_MX)
}

/// Whether a detour is of this message, and not of later mail only.
fn reaches(detour: &Detour, mail: &Mail<'_>) -> bool {
    let any = detour.messages.is_empty() && detour.accepted_to.is_none();
    let Some(id) = mail.message else { return any };
    (detour.messages.is_empty() || detour.messages.contains(&id)) && detour.accepted_to.is_none_or(|to| id.accepted_at() <= to)
}

fn way(rule: &Rule) -> Way<'_> {
    Way { target: &rule.target, rule: Some(rule) }
}

fn local<'a>(routing: &'a Routing, host: &Host) -> Option<&'a Target> {
    let Host::Domain(domain) = host else { return None };
    routing.local.get(&*domain.to_ascii()).map(|local| &local.target)
}

fn is_for(rule: &Rule, host: &Host) -> bool {
    rule.recipients.is_empty() || rule.recipients.iter().any(|set| set.has(host))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
