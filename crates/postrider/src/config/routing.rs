//! Next hops: `[[route]]` and `[[local_domain]]`, and what must agree between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postrider_core::local;
use postrider_model::policy::{
    AuthInClear, DomainMatch, LmtpServer, LocalDomain, Pool, Provider, ProviderMatch, QuotaLimits, Remote, ReplyRule, Routing, Rule,
    RuleAction, SenderMatch, SmartHost, Target, TlsLevel,
};
use postrider_model::{ProviderName, SourceName, StreamName, TenantName};
use postrider_smtp::{Domain, Mailbox};
use toml::de::DeValue;

use super::Tenant;
use super::reader::{Section, kind};
use super::smart_host;
use super::values::{self, Read};

/// All that decides about next hops. Relative paths start at `directory`.
pub fn routing(top: &Section<'_>, tenants: &[Tenant], pools: BTreeMap<String, Arc<Pool>>, directory: &Path) -> Routing {
    let known = Known { hosts: smart_host::all(top, directory), pools, tenants };
    let mut rules: Vec<Rule> = Vec::new();
    for section in top.sections("route") {
        if let Some(rule) = rule(&section, &known, directory) {
            if rules.iter().any(|other| other.name == rule.name) {
                section.fault("name", format!("{} is taken by another route", rule.name));
            }
            rules.push(rule);
        }
        section.finish();
    }
    let mut local = BTreeMap::new();
    for section in top.sections("local_domain") {
        if let Some(domain) = local_domain(&section, directory) {
            let name: Box<str> = domain.name.to_ascii().as_ref().into();
            if local.insert(name, Arc::new(domain)).is_some() {
                section.fault("name", "is named by another local_domain");
            }
        }
        section.finish();
    }
    let routing = Routing { rules, local, detours: Vec::new(), smart_hosts: known.hosts, pools: known.pools };
    for sentence in local::faults(&routing) {
        top.fault("local_domain", sentence);
    }
    routing
}

/// Rule sets for the Sites that policy names itself: what a smart host allows, and which of its refusals speak of us and not of the mail.
pub fn providers(routing: &Routing, usual: &Provider) -> Vec<Provider> {
    // A detour may go to any smart host alone, and all that rules say.
    let alone: Vec<Target> = routing.smart_hosts.values().map(|host| Target::SmartHosts(vec![host.clone()])).collect();
    let targets = routing.rules.iter().map(|rule| &rule.target).chain(routing.local.values().map(|domain| &domain.target)).chain(&alone);
    let mut providers: Vec<Provider> = Vec::new();
    for target in targets {
        let Some(site) = target.site() else { continue };
        let matches = ProviderMatch::Site(site.clone());
        if providers.iter().any(|other| other.matches == matches) {
            continue;
        }
        let mut provider = Provider { name: ProviderName::new(site.as_str()), matches, shared: false, ..usual.clone() };
        if let Target::SmartHosts(hosts) = target {
            provider.connections_max = hosts.iter().map(|host| host.connections_max).max().unwrap_or(smart_host::CONNECTIONS_DEFAULT);
            let at_once = hosts.iter().filter_map(|host| host.quota.at_once()).min();
            provider.recipients_per_message_max =
                at_once.map_or(usual.recipients_per_message_max, |most| most.min(usual.recipients_per_message_max));
            // A missing or wrong proof is our mistake, whatever command is refused for it (RFC 4954 §6).
            let ours =
                [530, 534, 535, 538].map(|code| ReplyRule { code, status: None, contains: String::new(), action: RuleAction::Defer });
            provider.rules = ours.into_iter().chain(usual.rules.clone()).collect();
        }
        providers.push(provider);
    }
    providers
}

/// What a route may name.
struct Known<'a> {
    hosts: BTreeMap<String, Arc<SmartHost>>,
    pools: BTreeMap<String, Arc<Pool>>,
    tenants: &'a [Tenant],
}

/// All pools, by their names.
pub fn pools(top: &Section<'_>) -> BTreeMap<String, Arc<Pool>> {
    let mut sources: Vec<String> = top.sections("source").iter().filter_map(|section| section.optional("name", values::name)).collect();
    if sources.is_empty() {
        sources.push("default".to_owned());
    }
    let mut pools = BTreeMap::new();
    for section in top.sections("pool") {
        let name = section.required("name", values::name);
        let members = section.required("sources", texts).unwrap_or_default();
        let weights = section.list("weights", |v| values::number::<u32>(v, 1..=1_000)).unwrap_or_else(|| vec![1; members.len()]);
        for member in members.iter().filter(|member| !sources.contains(member)) {
            section.fault("sources", format!("there is no [[source]] of the name {member:?}"));
        }
        if members.is_empty() {
            section.fault("sources", "at least one is needed");
        }
        if weights.len() != members.len() {
            section.fault("weights", "there is one weight for each source, in their order");
        }
        if let Some(name) = name {
            let sources = members.iter().map(|member| SourceName::new(member)).zip(weights).collect();
            if pools.insert(name.clone(), Arc::new(Pool { name: name.clone(), sources })).is_some() {
                section.fault("name", format!("{name} is taken by another pool"));
            }
        }
        section.finish();
    }
    pools
}

fn rule(section: &Section<'_>, known: &Known<'_>, directory: &Path) -> Option<Rule> {
    let name = section.required("name", values::name);
    let recipients = section.list("recipient_domain", domain_match).unwrap_or_default();
    let senders = section.list("sender", sender_match).unwrap_or_default();
    let of: Vec<TenantName> = section.list("tenant", |v| tenant(v, known.tenants)).unwrap_or_default();
    let streams = section.list("stream", |v| stream(v, &of, known.tenants)).unwrap_or_default();
    for key in ["recipient_domain", "sender", "tenant", "stream"] {
        if section.list_is_empty(key) {
            section.fault(key, "an empty list matches nothing; leave the key away to match all");
        }
    }
    let text = section.optional("text", values::text);
    let words = section.required("to", |v| texts(v));
    let (tls, tls13_only) = tls(section, TlsLevel::Opportunistic);
    let pool = section.optional("pool", |v| {
        let name = values::name(v)?;
        known.pools.get(&name).cloned().ok_or_else(|| format!("there is no [[pool]] of the name {name:?}"))
    });
    let target = target(section, words?, text, &known.hosts, directory)?;
    let rule =
        |target, tls, tls13_only| Some(Rule { name: name?, recipients, senders, tenants: of, streams, target, tls, tls13_only, pool });
    match target {
        Target::Mx if tls == TlsLevel::Implicit => section.fault("tls", "\"implicit\" is for smart hosts and LMTP servers"),
        Target::Mx => return rule(target, tls, tls13_only),
        Target::Lmtp(server) => return rule(secured(section, server, tls, tls13_only), TlsLevel::Opportunistic, false),
        Target::SmartHosts(_) | Target::Maildir(_) | Target::Reject(_) => {
            for key in TLS_KEYS.into_iter().filter(|key| section.has(key)) {
                section.fault(key, "is for \"mx\" and \"lmtp://...\"; a smart host has a key of its own for it");
            }
        }
    }
    rule(target, TlsLevel::Opportunistic, false)
}

const TLS_KEYS: [&str; 2] = ["tls", "minimum_tls"];

/// How sessions must be secured, and whether TLS 1.2 is too old.
pub(super) fn tls(section: &Section<'_>, default: TlsLevel) -> (TlsLevel, bool) {
    let words = [
        ("verify", TlsLevel::Verified),
        ("implicit", TlsLevel::Implicit),
        ("require", TlsLevel::Required),
        ("opportunistic", TlsLevel::Opportunistic),
        ("none", TlsLevel::None),
    ];
    let level = section.or("tls", default, |v| values::one_of(v, &words));
    let tls13_only = section.or("minimum_tls", false, |v| values::one_of(v, &[("1.2", false), ("1.3", true)]));
    // Else the session would go on in the clear, which is older still.
    if tls13_only && matches!(level, TlsLevel::Opportunistic | TlsLevel::None) {
        section.fault("minimum_tls", "means something only where TLS is required: set tls to \"require\", \"verify\" or \"implicit\"");
    }
    (level, tls13_only)
}

/// A mailbox server, met as the section says.
fn secured(section: &Section<'_>, server: LmtpServer, tls: TlsLevel, tls13_only: bool) -> Target {
    Target::Lmtp(match server {
        LmtpServer::Tcp { host, port, .. } => LmtpServer::Tcp { host, port, tls, tls13_only },
        LmtpServer::Unix(path) => {
            for key in TLS_KEYS.into_iter().filter(|key| section.has(key)) {
                section.fault(key, "is for a server that is reached over a network; nobody reads along on a socket of this machine");
            }
            LmtpServer::Unix(path)
        }
    })
}

fn target(
    section: &Section<'_>,
    words: Vec<String>,
    text: Option<String>,
    hosts: &BTreeMap<String, Arc<SmartHost>>,
    directory: &Path,
) -> Option<Target> {
    let alone = match words.as_slice() {
        [word] => single(word, text.as_deref(), directory),
        _ => None,
    };
    if text.is_some() && !matches!(alone, Some(Ok(Target::Reject(_)))) {
        section.fault("text", "belongs to \"reject\", and to nothing else");
    }
    match alone {
        Some(Ok(target)) => return Some(target),
        Some(Err(sentence)) => {
            section.fault("to", sentence);
            return None;
        }
        None => {}
    }
    let mut list: Vec<Arc<SmartHost>> = Vec::new();
    for word in &words {
        let found = hosts.get(word).cloned().map_or_else(|| anonymous(word), Ok);
        match found {
            Ok(host) if list.iter().any(|other| other.name == host.name) => section.fault("to", format!("{word} is there twice")),
            Ok(host) => list.push(host),
            Err(sentence) => section.fault("to", sentence),
        }
    }
    if words.is_empty() {
        section.fault("to", "at least one next hop is needed");
    }
    (!list.is_empty()).then_some(Target::SmartHosts(list))
}

/// A next hop that is no smart host.
fn single(word: &str, text: Option<&str>, directory: &Path) -> Option<Read<Target>> {
    match word {
        "mx" => return Some(Ok(Target::Mx)),
        "reject" => return Some(Ok(Target::Reject(text.unwrap_or("mail for this recipient is not taken").to_owned()))),
        _ => {}
    }
    if let Some(path) = word.strip_prefix("maildir:") {
        return Some(maildir(path, directory));
    }
    word.starts_with("lmtp:").then(|| lmtp(word))
}

fn maildir(path: &str, directory: &Path) -> Read<Target> {
    if path.is_empty() {
        return Err("\"maildir:\" needs a path, such as \"maildir:/var/mail/{domain}/{user}\"".to_owned());
    }
    let known = path.replace("{user}", "").replace("{domain}", "");
    if known.contains(['{', '}']) {
        return Err(format!("{path:?} holds braces around something else than user or domain"));
    }
    let whole: PathBuf = directory.join(path);
    whole.to_str().map(|path| Target::Maildir(path.to_owned())).ok_or_else(|| format!("{path:?} is no path of plain text"))
}

fn lmtp(word: &str) -> Read<Target> {
    let wrong = || format!("{word:?} is not an LMTP server: write \"lmtp:unix:/run/dovecot/lmtp\" or \"lmtp://127.0.0.1:24\"");
    if let Some(path) = word.strip_prefix("lmtp:unix:") {
        return if path.starts_with('/') { Ok(Target::Lmtp(LmtpServer::Unix(path.into()))) } else { Err(wrong()) };
    }
    let (host, port) = word.strip_prefix("lmtp://").and_then(host_and_port).ok_or_else(wrong)?;
    Ok(Target::Lmtp(LmtpServer::Tcp { host, port, tls: TlsLevel::Opportunistic, tls13_only: false }))
}

/// `host:port`: a smart host that asks for no proof.
fn anonymous(word: &str) -> Read<Arc<SmartHost>> {
    let Some((host, port)) = host_and_port(word) else {
        return Err(format!(
            "{word:?} is no [[smart_host]], nor \"host:port\"; and \"mx\", \"reject\", \"maildir:PATH\" and \"lmtp:...\" stand alone"
        ));
    };
    let quota = QuotaLimits::default();
    let name = word.to_owned();
    Ok(Arc::new(SmartHost {
        name,
        host,
        port,
        tls: TlsLevel::Verified,
        tls13_only: false,
        credentials: None,
        auth_in_clear: AuthInClear::Never,
        quota,
        connections_max: smart_host::CONNECTIONS_DEFAULT,
    }))
}

fn host_and_port(text: &str) -> Option<(Remote, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    parse_remote(host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)).map(|host| (host, port))
}

pub(super) fn remote(value: &DeValue<'_>) -> Read<Remote> {
    let text = values::text(value)?;
    parse_remote(&text).ok_or_else(|| format!("{text:?} is neither a host's name nor an IP address (its port has a key of its own)"))
}

/// A name, or an address without brackets.
pub fn parse_remote(text: &str) -> Option<Remote> {
    text.parse::<IpAddr>().map(Remote::Address).ok().or_else(|| Domain::parse(text).map(Remote::Name).ok())
}

/// One text, or a list of them.
fn texts(value: &DeValue<'_>) -> Read<Vec<String>> {
    match value {
        DeValue::String(text) => Ok(vec![text.to_string()]),
        DeValue::Array(items) => items.iter().map(|item| values::text(item.get_ref())).collect(),
        other => Err(format!("expected a next hop in quotes, or a list of them, found {}", kind(other))),
    }
}

fn domain_match(value: &DeValue<'_>) -> Read<DomainMatch> {
    let text = values::text(value)?;
    parse_domain_match(&text)
        .ok_or_else(|| format!("{text:?} is neither a domain (\"example.com\"), nor an ending of domains (\".example.com\"), nor \"*\""))
}

fn parse_domain_match(text: &str) -> Option<DomainMatch> {
    let ascii = |name: &str| Domain::parse(name).ok().map(|domain| domain.to_ascii().into_owned());
    match text.strip_prefix('.') {
        _ if text == "*" => Some(DomainMatch::Every),
        Some(under) => Some(DomainMatch::Suffix(format!(".{}", ascii(under)?))),
        None => Some(DomainMatch::Exact(ascii(text)?)),
    }
}

/// A mailbox, the mailboxes of domains, or `<>`.
pub fn sender_match(value: &DeValue<'_>) -> Read<SenderMatch> {
    let text = values::text(value)?;
    let known = match text.as_str() {
        "<>" => Some(SenderMatch::Null),
        mailbox if mailbox.contains('@') => Mailbox::parse(mailbox).ok().map(SenderMatch::Mailbox),
        domain => parse_domain_match(domain).map(SenderMatch::Domain),
    };
    known.ok_or_else(|| {
        format!("{text:?} is neither a mailbox, nor a domain, nor an ending of domains (\".example.com\"), nor \"*\" or \"<>\"")
    })
}

fn tenant(value: &DeValue<'_>, tenants: &[Tenant]) -> Read<TenantName> {
    let name = values::name(value)?;
    let known = tenants.iter().find(|tenant| tenant.name.as_str() == name);
    known.map(|tenant| tenant.name.clone()).ok_or_else(|| format!("there is no [[tenant]] of the name {name:?}"))
}

fn stream(value: &DeValue<'_>, of: &[TenantName], tenants: &[Tenant]) -> Read<StreamName> {
    let name = values::name(value)?;
    let asked = tenants.iter().filter(|tenant| of.is_empty() || of.contains(&tenant.name));
    let mut streams = asked.flat_map(|tenant| tenant.streams.iter().map(|(stream, _)| stream));
    // Mail of relay listeners has a stream that no tenant need name.
    let known = streams.any(|stream| stream.as_str() == name) || name == "relay";
    if known { Ok(StreamName::new(&name)) } else { Err(format!("no tenant of this route has a stream of the name {name:?}")) }
}

fn local_domain(section: &Section<'_>, directory: &Path) -> Option<LocalDomain> {
    let name = section.required("name", values::domain);
    let mailboxes: BTreeSet<Box<str>> = section.list("mailboxes", user).unwrap_or_default().into_iter().collect();
    let aliases = section.list("aliases", |v| alias(v, name.as_ref())).unwrap_or_default();
    let catch_all = section.optional("catch_all", |v| mailbox(&values::text(v)?, name.as_ref()));
    let delimiter = section.or("delimiter", Some('+'), delimiter);
    let target = section.required("to", |v| {
        let word = values::text(v)?;
        match single(&word, None, directory) {
            Some(Ok(target @ (Target::Maildir(_) | Target::Lmtp(_)))) => Ok(target),
            Some(Err(sentence)) => Err(sentence),
            Some(Ok(_)) | None => {
                Err(format!("{word:?} holds no mailboxes: write \"maildir:PATH\", \"lmtp:unix:PATH\" or \"lmtp://HOST:PORT\""))
            }
        }
    });
    let (level, tls13_only) = tls(section, TlsLevel::Opportunistic);
    let target = target.map(|target| match target {
        Target::Lmtp(server) => secured(section, server, level, tls13_only),
        other => other,
    });
    if let Some(Target::Maildir(_)) = target {
        TLS_KEYS.into_iter().filter(|key| section.has(key)).for_each(|key| section.fault(key, "is for \"lmtp://...\"; files need none"));
    }
    let mut by_name: BTreeMap<Box<str>, Vec<Mailbox>> = BTreeMap::new();
    for (alias, others) in aliases {
        if by_name.insert(alias.clone(), others).is_some() {
            section.fault("aliases", format!("{alias} is there twice"));
        }
    }
    let (name, target) = (name?, target?);
    let read = LocalDomain { name, mailboxes, aliases: by_name, catch_all, delimiter, target };
    let somebody = read.catch_all.is_some() || read.mailboxes.contains("postmaster") || read.aliases.contains_key("postmaster");
    if !somebody {
        section.fault(
            "mailboxes",
            "nobody has the name postmaster, which every domain must have (RFC 5321 §4.5.1): add a mailbox or an alias",
        );
    }
    Some(read)
}

fn user(value: &DeValue<'_>) -> Read<Box<str>> {
    let name = values::text(value)?;
    local_name(&name).ok_or_else(|| format!("{name:?} is not the local part of a mailbox"))
}

fn local_name(name: &str) -> Option<Box<str>> {
    let plain = !name.contains(['"', '/', '@']) && Mailbox::parse(&format!("{name}@localhost")).is_ok();
    plain.then(|| name.to_lowercase().into())
}

/// `"info: ann, boss@elsewhere.example"`, as a line of /etc/aliases.
fn alias(value: &DeValue<'_>, domain: Option<&Domain>) -> Read<(Box<str>, Vec<Mailbox>)> {
    let line = values::text(value)?;
    let wrong = || format!("{line:?} is not an alias: write \"info: ann, boss@elsewhere.example\"");
    let (name, others) = line.split_once(':').ok_or_else(wrong)?;
    let name = local_name(name.trim()).ok_or_else(wrong)?;
    let others: Vec<Mailbox> = others.split(',').map(|other| mailbox(other.trim(), domain)).collect::<Read<_>>()?;
    Ok((name, others))
}

/// A whole mailbox, or a name of this domain.
fn mailbox(text: &str, domain: Option<&Domain>) -> Read<Mailbox> {
    let wrong = || format!("{text:?} is not a mailbox");
    let whole = match domain {
        Some(domain) if !text.contains('@') => format!("{text}@{domain}"),
        _ => text.to_owned(),
    };
    Mailbox::parse(&whole).map_err(|_| wrong())
}

fn delimiter(value: &DeValue<'_>) -> Read<Option<char>> {
    let text = values::text(value)?;
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (None, _) => Ok(None),
        (Some(letter), None) if "+-_=#.".contains(letter) => Ok(Some(letter)),
        _ => Err(format!("{text:?} is not one of + - _ = # . (or empty for no sub-addressing)")),
    }
}
