//! The sections of the file, one function each, and what must agree between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::local::{self, Resolved};
use postrider_edge::tls::SYSTEM_ROOTS;
use postrider_flow::{ListenerSettings, ReceiveLimits};
use postrider_model::doors::Principal;
use postrider_model::policy::{Pool, Preparing, Routing, Snapshot, Stream, StreamClass, Strictness};
use postrider_model::{CredentialName, Priority, Role, StreamName, TenantName};
use postrider_smtp::Mailbox;

use super::reader::Section;
use super::values::{self, Read};
use super::{
    Config, Credential, HostName, ListenerConfig, LogConfig, LogFormat, MailLogTarget, RegistryConfig, Tenant, checking, domains, policy,
    routing, web,
};

/// The shortest time that a stream's mail is kept: shorter is a slip of the pen.
pub const RETENTION_MIN: Duration = Duration::from_secs(60);

/// The longest: somebody who wants more has an archive.
pub const RETENTION_MAX: Duration = Duration::from_secs(400 * 86_400);

/// The whole file.
pub fn config(top: &Section<'_>, directory: &Path, host_name: &HostName) -> Config {
    let relay = top.section("relay");
    let known_as = relay.or("host_name", host_name.name.clone(), |v| values::domain(v).map(|domain| domain.as_str().to_owned()));
    let postmaster = relay.optional("postmaster", person).filter(|named| !named.is_empty());
    let relay_domains = relay.list("relay_domains", values::domain).unwrap_or_default();
    let workers = relay.optional("workers", |v| values::number::<usize>(v, 1..=1024));
    let drain_timeout =
        relay.or("drain_timeout", Duration::from_secs(30), |v| values::duration(v, Duration::ZERO..=Duration::from_secs(3600)));
    let mut notes = Vec::new();
    if host_name.guessed && !relay.has("host_name") {
        notes.push(format!("host_name is not set and this system has no fully qualified name: calling ourselves {known_as}"));
    }
    let pools = routing::pools(top);
    let tenants = tenants(top, &pools);
    let relay_principal = relay_principal(&relay, &tenants);
    relay.finish();

    let tls = top.section("tls");
    let certificate = directory.join(tls.or("certificate", "tls/certificate.pem".to_owned(), values::text));
    let key = directory.join(tls.or("key", "tls/key.pem".to_owned(), values::text));
    let look_every =
        tls.or("look_every", Duration::from_secs(30), |v| values::duration(v, Duration::from_millis(100)..=Duration::from_secs(3600)));
    let roots = directory.join(tls.or("roots", SYSTEM_ROOTS.to_owned(), values::text));
    tls.finish();

    let limits = limits(top.section("limits"));
    let receive = ReceiveLimits { relay_domains: relay_domains.into_iter().collect(), relay_principal, ..limits };
    let listeners = listeners(top);
    let credentials = credentials(top, &tenants);
    let domains = domains::domains(top, &tenants, directory);
    let routing = routing::routing(top, &tenants, pools, directory);

    let checking = checking::checking(
        top,
        &checking::Known { listeners: &listeners, tenants: &tenants, routing: &routing, directory, host_name: &known_as },
    );

    let section = top.section("registry");
    let registry = RegistryConfig {
        file: section.or("file", "registry.db".to_owned(), values::text).into(),
        postgresql: section.optional("postgresql", values::text).filter(|url| !url.is_empty()),
        roots: roots.clone(),
        key: section.or("key", "registry.key".to_owned(), values::text).into(),
    };
    section.finish();

    let dns = top.section("dns");
    let dns_servers = dns.list("servers", values::dns_server).unwrap_or_default();
    let ipv6 = dns.or("ipv6", true, values::flag);
    let watch_every =
        dns.or("watch_every", Duration::from_secs(3_600), |v| values::duration(v, Duration::ZERO..=Duration::from_secs(30 * 86_400)));
    dns.finish();

    let spool = top.section("spool");
    let segment_octets = spool.or("segment_size", postrider_spool::SEGMENT_OCTETS, |v| {
        values::octets(v, 1 << 20..=1 << 30).map(|octets| u32::try_from(octets).unwrap_or(u32::MAX))
    });
    spool.finish();

    let kept = top.section("kept");
    let kept_octets_max = kept.or("size_max", 1 << 30, |v| values::octets(v, 1 << 20..=1 << 50));
    kept.finish();

    let metrics_section = top.section("metrics");
    let metrics = metrics_section.optional("listen", values::socket_address);
    metrics_section.finish();

    let (web, public_url) = web::web(top);
    if public_url.is_none()
        && let Some((tenant, stream)) = tenants
            .iter()
            .find_map(|tenant| tenant.streams.iter().find(|(_, stream)| stream.preparing.one_click).map(|(name, _)| (&tenant.name, name)))
    {
        notes.push(format!("the stream {stream} of {tenant} asks for one_click, and there is no [web] public_url: its mail goes without"));
    }

    let sendmail = top.section("sendmail");
    let sendmail_socket = sendmail.optional("socket", values::text).map(|path| directory.join(path));
    sendmail.finish();

    let check = top.section("check");
    let probe = check.or("probe", "gmail-smtp-in.l.google.com:25".to_owned(), host_and_port);
    check.finish();

    let postmaster = postmaster_of(postmaster, &known_as, &routing);
    // A listener that others cannot reach, and that takes mail for no domain, is there to be tried out: nobody looks for a postmaster behind it.
    let takes_mail = !receive.relay_domains.is_empty() || !routing.local.is_empty();
    let others_come = |listener: &ListenerConfig| takes_mail || !listener.address.ip().is_loopback();
    let relays = listeners.iter().any(|listener| listener.settings.role == Role::Relay && others_come(listener));
    notes.extend(postmaster_note(postmaster.as_ref(), &known_as, &routing).filter(|_| relays));
    let snapshot = policy::snapshot(top, known_as, routing, checking, directory);
    Config {
        snapshot: Snapshot { public_url, postmaster, ..snapshot },
        receive,
        listeners,
        certificate,
        key,
        look_every,
        roots,
        tenants,
        credentials,
        domains,
        registry,
        dns_servers,
        ipv6,
        watch_every,
        segment_octets,
        kept_octets_max,
        workers,
        drain_timeout,
        log: log(top.section("log"), directory),
        probe,
        metrics,
        web,
        sendmail_socket,
        notes,
    }
}

/// An address, or the local part of one.
fn person(value: &toml::de::DeValue<'_>) -> Read<String> {
    let text = values::text(value)?;
    let is_whole = Mailbox::parse(&text).is_ok();
    let is_name = || Mailbox::parse(&format!("{text}@localhost")).is_ok();
    if text.is_empty() || is_whole || is_name() {
        Ok(text)
    } else {
        Err(format!("{text:?} is neither an address nor the local part of one"))
    }
}

/// Who was named; or, where nobody was, who has that name in a domain of ours that is called as the relay is.
fn postmaster_of(named: Option<String>, known_as: &str, routing: &Routing) -> Option<Mailbox> {
    if let Some(named) = named {
        return Mailbox::parse(&named).or_else(|_| Mailbox::parse(&format!("{named}@{known_as}"))).ok();
    }
    let usual = Mailbox::parse(&format!("postmaster@{known_as}")).ok()?;
    matches!(local::resolve(routing, &usual), Resolved::To(_)).then_some(usual)
}

/// What is to be said of a postmaster whom nobody reaches.
fn postmaster_note(postmaster: Option<&Mailbox>, known_as: &str, routing: &Routing) -> Option<String> {
    let remedy = "name somebody's address under [relay] postmaster, as in \"you@example.com\"";
    let Some(postmaster) = postmaster else {
        return Some(format!(
            "nobody is the postmaster: mail for postmaster and abuse of {known_as} and of return paths is refused with 550, and RFC 5321 §4.5.1 wants somebody there; {remedy}"
        ));
    };
    let comes_back = postmaster.domain().is_some_and(|domain| domain.as_str().eq_ignore_ascii_case(known_as));
    let is_routed = !routing.rules.is_empty() || local::resolve(routing, postmaster) != Resolved::Foreign;
    (comes_back && !is_routed).then(|| {
        format!("mail for the postmaster goes to {postmaster}, which is this relay's own name: see that its MX leads to somebody else, or {remedy}")
    })
}

fn host_and_port(value: &toml::de::DeValue<'_>) -> Read<String> {
    let text = values::text(value)?;
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_some() { Ok(text) } else { Err(format!("{text:?} is not HOST:PORT")) }
}

fn limits(section: Section<'_>) -> ReceiveLimits {
    let default = ReceiveLimits::default();
    let second = Duration::from_secs(1);
    let read = ReceiveLimits {
        message_octets_max: section.or("message_size_max", default.message_octets_max, |v| values::octets(v, 1024..=1 << 40)),
        recipients_max: section.or("recipients_max", default.recipients_max, |v| values::number(v, 1..=100_000)),
        text_line_octets_max: section.or("text_line_size_max", default.text_line_octets_max, |v| {
            // RFC 5321 §4.5.3.1.6 obliges us to take 1,000 octets.
            values::octets(v, 1_000..=16 << 20).map(|octets| usize::try_from(octets).unwrap_or(usize::MAX))
        }),
        errors_per_session_max: section.or("errors_per_session_max", default.errors_per_session_max, |v| values::number(v, 1..=10_000)),
        sessions_max: section.or("sessions_max", default.sessions_max, |v| values::number(v, 1..=1_000_000)),
        sessions_per_network_max: section
            .or("sessions_per_network_max", default.sessions_per_network_max, |v| values::number(v, 1..=1_000_000)),
        idle_timeout: section.or("idle_timeout", default.idle_timeout, |v| values::duration(v, second..=86_400 * second)),
        session_time_max: section.or("session_time_max", default.session_time_max, |v| values::duration(v, second..=30 * 86_400 * second)),
        content_octets_per_second_min: section
            .or("content_rate_min", default.content_octets_per_second_min, |v| values::octets(v, 0..=1 << 30)),
        normalise_bare_newlines: section
            .or("bare_newlines", default.normalise_bare_newlines, |v| values::one_of(v, &[("refuse", false), ("mend", true)])),
        hold_max: section.or("future_release_max", default.hold_max, |v| values::duration(v, Duration::ZERO..=365 * 86_400 * second)),
        relay_domains: default.relay_domains,
        relay_principal: default.relay_principal,
    };
    section.finish();
    read
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    None,
    Upgrade,
    Implicit,
}

fn listeners(top: &Section<'_>) -> Vec<ListenerConfig> {
    let sections = top.sections("listener");
    if sections.is_empty() {
        if top.has("listener") {
            top.fault("listener", "at least one is needed");
        }
        return default_listeners();
    }
    let mut read: Vec<ListenerConfig> = Vec::new();
    for section in sections {
        let one = listener(&section);
        if let Some(one) = one {
            if read.iter().any(|other| other.settings.name == one.settings.name) {
                section.fault("name", format!("{:?} is taken by another listener", one.settings.name));
            }
            if one.address.port() != 0 && read.iter().any(|other| other.address == one.address) {
                section.fault("address", format!("{} is taken by another listener", one.address));
            }
            read.push(one);
        }
        section.finish();
    }
    read
}

fn listener(section: &Section<'_>) -> Option<ListenerConfig> {
    let name = section.required("name", values::name);
    let address = section.required("address", values::socket_address);
    let role = section.required("role", |v| values::one_of(v, &[("submission", Role::Submission), ("relay", Role::Relay)]));
    let words = [("none", Tls::None), ("starttls", Tls::Upgrade), ("implicit", Tls::Implicit)];
    let tls = section.or("tls", Tls::Upgrade, |v| values::one_of(v, &words));
    let auth_in_clear = section.or("auth_in_clear", false, values::flag);
    if role == Some(Role::Submission) && tls == Tls::None && !auth_in_clear {
        section.fault("tls", "a submission listener without TLS takes no AUTH, so nobody could send; set tls, or auth_in_clear = true");
    }
    if role == Some(Role::Relay) && auth_in_clear {
        section.fault("auth_in_clear", "a relay listener offers no AUTH");
    }
    let proxies = section.list("proxies", values::network).unwrap_or_default();
    let xclients = section.list("xclient", values::network).unwrap_or_default();
    let not_verified = section.list("not_verified", values::network).unwrap_or_default();
    if role == Some(Role::Submission) && section.has("not_verified") {
        section.fault("not_verified", "a submission listener verifies nothing: its clients have proven who they are");
    }
    let mut read = listener_config(name?, address?, role?, tls, auth_in_clear);
    (read.settings.proxies, read.settings.xclients, read.settings.not_verified) = (proxies, xclients, not_verified);
    Some(read)
}

fn listener_config(name: String, address: SocketAddr, role: Role, tls: Tls, auth_in_clear: bool) -> ListenerConfig {
    let settings = ListenerSettings {
        name,
        role,
        implicit_tls: tls == Tls::Implicit,
        starttls: tls == Tls::Upgrade,
        auth_in_clear,
        auth_required: role == Role::Submission,
        proxies: Vec::new(),
        xclients: Vec::new(),
        not_verified: Vec::new(),
    };
    ListenerConfig { address, settings }
}

/// What listens when the file names no listener.
fn default_listeners() -> Vec<ListenerConfig> {
    let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
    vec![
        listener_config("submission".to_owned(), here(2587), Role::Submission, Tls::Upgrade, false),
        listener_config("submissions".to_owned(), here(2465), Role::Submission, Tls::Implicit, false),
        listener_config("relay".to_owned(), here(2525), Role::Relay, Tls::Upgrade, false),
    ]
}

const PRIORITIES: [(&str, Priority); 3] = [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)];

fn tenants(top: &Section<'_>, pools: &BTreeMap<String, Arc<Pool>>) -> Vec<Tenant> {
    let mut tenants: Vec<Tenant> = Vec::new();
    for section in top.sections("tenant") {
        let name = section.required("name", values::name);
        let own_domains_only = section.or("sends_as", false, |v| values::one_of(v, &[("anybody", false), ("own_domains", true)]));
        let mut streams: Vec<(StreamName, Arc<Stream>)> = Vec::new();
        for stream in section.sections("stream") {
            let name = stream.required("name", values::name).map(|name| StreamName::new(&name));
            let read = read_stream(&stream, pools);
            if let Some(name) = name {
                if streams.iter().any(|(other, _)| *other == name) {
                    stream.fault("name", format!("{name} is taken by another stream of this tenant"));
                }
                streams.push((name, Arc::new(read)));
            }
            stream.finish();
        }
        if streams.is_empty() {
            streams.push((StreamName::new("default"), Arc::default()));
        }
        if let Some(name) = name.map(|name| TenantName::new(&name)) {
            if tenants.iter().any(|other| other.name == name) {
                section.fault("name", format!("{name} is taken by another tenant"));
            }
            tenants.push(Tenant { name, own_domains_only, streams });
        }
        section.finish();
    }
    if tenants.is_empty() {
        let streams = vec![(StreamName::new("default"), Arc::default())];
        tenants.push(Tenant { name: TenantName::new("default"), own_domains_only: false, streams });
    }
    tenants
}

fn read_stream(section: &Section<'_>, pools: &BTreeMap<String, Arc<Pool>>) -> Stream {
    let classes = [("transactional", StreamClass::Transactional), ("bulk", StreamClass::Bulk)];
    let strictness = [("off", Strictness::Off), ("warn", Strictness::Warn), ("mend", Strictness::Mend), ("refuse", Strictness::Refuse)];
    Stream {
        class: section.or("class", StreamClass::Transactional, |v| values::one_of(v, &classes)),
        priority: section.or("priority", Priority::Normal, |v| values::one_of(v, &PRIORITIES)),
        pool: section.optional("pool", |v| {
            let name = values::name(v)?;
            if pools.contains_key(&name) { Ok(name.into()) } else { Err(format!("there is no [[pool]] of the name {name:?}")) }
        }),
        retention: section.optional("retention", |v| values::duration(v, RETENTION_MIN..=RETENTION_MAX)),
        preparing: Preparing {
            own_return_path: section.or("own_return_path", false, values::flag),
            one_click: section.or("one_click", false, values::flag),
            feedback_id: section.or("feedback_id", false, values::flag),
            strips: section.list("strips", field_name).unwrap_or_default(),
        },
        strictness: section.or("rules", Strictness::Off, |v| values::one_of(v, &strictness)),
        ..Stream::default()
    }
}

/// The beginning of field names (RFC 5322 §3.6.8).
fn field_name(value: &toml::de::DeValue<'_>) -> Read<Box<str>> {
    let name = values::text(value)?;
    let plain = (1..=64).contains(&name.len()) && name.bytes().all(|octet| matches!(octet, 33..=57 | 59..=126));
    let begins = |kept: &&&str| kept.get(..name.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(&name));
    if let Some(kept) = postrider_core::prepare::KEPT.iter().find(begins) {
        return Err(format!("{name:?} would take {kept} away, and leave no message"));
    }
    if plain {
        Ok(name.to_ascii_lowercase().into())
    } else {
        Err(format!("{name:?} is not the beginning of a field's name, such as \"X-Internal-\""))
    }
}

fn credentials(top: &Section<'_>, tenants: &[Tenant]) -> Vec<Credential> {
    let mut credentials: Vec<Credential> = Vec::new();
    for section in top.sections("credential") {
        let read = credential(&section, tenants);
        if let Some(read) = read {
            if credentials.iter().any(|other| other.user == read.user) {
                section.fault("user", format!("{} is taken by another credential", read.user));
            }
            if credentials.iter().any(|other| other.certificates.iter().any(|certificate| read.certificates.contains(certificate))) {
                section.fault("certificates", "one of them stands for another credential already");
            }
            credentials.push(read);
        }
        section.finish();
    }
    credentials
}

fn credential(section: &Section<'_>, tenants: &[Tenant]) -> Option<Credential> {
    let user = section.required("user", user_name);
    let networks = section.list("networks", values::network).unwrap_or_default();
    let certificates = section.list("certificates", fingerprint).unwrap_or_default();
    let certificate_suffices = section.or("certificate_suffices", false, values::flag);
    if certificate_suffices && certificates.is_empty() {
        section.fault("certificate_suffices", "there are no certificates that could suffice");
    }
    // Without networks and certificates a credential has nothing but its secret.
    let needs_secret = networks.is_empty() && certificates.is_empty();
    let secret_sha256 =
        if needs_secret { Some(section.required("secret_sha256", sha256)?) } else { section.optional("secret_sha256", sha256) };
    if secret_sha256.is_none() && certificates.is_empty() && networks.iter().any(|network| network.prefix_len() == 0) {
        section.fault("networks", "everybody is in it, and without secret_sha256 nobody need prove anything: that would be an open relay");
    }
    let (tenant, stream, priority) = lane(section, "tenant", "stream", tenants)?;
    Some(Credential {
        user: CredentialName::new(&user?),
        secret_sha256,
        networks,
        certificates,
        certificate_suffices,
        tenant,
        stream,
        priority,
    })
}

/// Whose mail comes by a relay listener.
fn relay_principal(relay: &Section<'_>, tenants: &[Tenant]) -> Principal {
    let default = ReceiveLimits::default().relay_principal;
    match lane(relay, "relay_tenant", "relay_stream", tenants) {
        Some((tenant, stream, priority)) => Principal { tenant, stream, priority, ..default },
        None => default,
    }
}

/// A tenant and one of its streams, by the names under these keys; without a name the first one.
fn lane(
    section: &Section<'_>,
    tenant_key: &'static str,
    stream_key: &'static str,
    tenants: &[Tenant],
) -> Option<(TenantName, StreamName, Priority)> {
    let tenant = section.optional(tenant_key, values::name);
    let stream = section.optional(stream_key, values::name);
    let found = match &tenant {
        Some(name) => tenants.iter().find(|tenant| tenant.name.as_str() == name),
        None => tenants.first(),
    };
    let Some(found) = found else {
        section.fault(tenant_key, format!("there is no [[tenant]] of the name {:?}", tenant.unwrap_or_default()));
        return None;
    };
    let class = match &stream {
        Some(name) => found.streams.iter().find(|(known, _)| known.as_str() == name),
        None => found.streams.first(),
    };
    let Some((stream, class)) = class.cloned() else {
        section.fault(stream_key, format!("the tenant {} has no stream of the name {:?}", found.name, stream.unwrap_or_default()));
        return None;
    };
    Some((found.name.clone(), stream, class.priority))
}

/// User names may look like mailboxes; many clients insist on that.
fn user_name(value: &toml::de::DeValue<'_>) -> Read<String> {
    let name = values::text(value)?;
    let plain = (1..=128).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._-@+".contains(&octet));
    if plain { Ok(name) } else { Err(format!("{name:?} is not a user name: 1 to 128 of a-z A-Z 0-9 . _ - @ +")) }
}

/// As `openssl x509 -fingerprint -sha256` prints it, or without its colons.
fn fingerprint(value: &toml::de::DeValue<'_>) -> Read<[u8; 32]> {
    let text = values::text(value)?.replace(':', "");
    hexadecimal(&text).ok_or_else(|| {
        "expected the SHA-256 of a certificate or of its public key: 64 hexadecimal digits, with or without colons".to_owned()
    })
}

fn sha256(value: &toml::de::DeValue<'_>) -> Read<[u8; 32]> {
    let digits = values::text(value)?;
    let wrong = || format!("expected 64 hexadecimal digits (the SHA-256 of the secret), found {} letters", digits.chars().count());
    hexadecimal(&digits).ok_or_else(wrong)
}

fn hexadecimal(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return None;
    }
    let mut octets = [0; 32];
    for (octet, pair) in octets.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(octets)
}

fn log(section: Section<'_>, directory: &Path) -> LogConfig {
    let formats = [("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];
    let levels = [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
    ];
    let target = section.or("mail_log", "-".to_owned(), values::text);
    let read = LogConfig {
        format: section.or("format", LogFormat::Auto, |v| values::one_of(v, &formats)),
        level: section.or("level", tracing::Level::INFO, |v| values::one_of(v, &levels)),
        mail_log: MailLogTarget::parse(&target, directory),
    };
    section.finish();
    read
}
