//! Who looks at mail before it is taken: `[verify]`, `[[milter]]`, `[[header_rule]]`, `[[archive]]`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postrider_core::local::{self, Resolved};
use postrider_model::StreamName;
use postrider_model::policy::{
    Archive, Checking, HeaderAction, HeaderRule, LOCAL_LISTENER, Milter, MilterServer, OnFailure, Pattern, Routing, Scope, Verifying,
};
use postrider_smtp::Mailbox;
use toml::de::DeValue;

use super::reader::Section;
use super::rewriting;
use super::routing::{parse_remote, sender_match};
use super::values::{self, Read};
use super::{ListenerConfig, Tenant};

/// What becomes of mail that a milter could not judge, by its word.
const ON_FAILURE: [(&str, OnFailure); 4] =
    [("tempfail", OnFailure::TempFail), ("accept", OnFailure::Accept), ("reject", OnFailure::Reject), ("hold", OnFailure::Hold)];

/// What a scope may name.
pub struct Known<'a> {
    /// The listeners.
    pub listeners: &'a [ListenerConfig],
    /// The tenants, for their streams.
    pub tenants: &'a [Tenant],
    /// Which domains end here.
    pub routing: &'a Routing,
    /// Where relative paths start.
    pub directory: &'a Path,
    /// What we are known as.
    pub host_name: &'a str,
}

/// All that judges mail.
pub fn checking(top: &Section<'_>, known: &Known<'_>) -> Checking {
    let mut milters: Vec<Arc<Milter>> = Vec::new();
    for section in top.sections("milter") {
        if let Some(milter) = milter(&section, known) {
            if milters.iter().any(|other| other.name == milter.name) {
                section.fault("name", format!("{} is taken by another milter", milter.name));
            }
            milters.push(Arc::new(milter));
        }
        section.finish();
    }
    let mut header_rules: Vec<HeaderRule> = Vec::new();
    for section in top.sections("header_rule") {
        if let Some(rule) = header_rule(&section, known) {
            if header_rules.iter().any(|other| other.name == rule.name) {
                section.fault("name", format!("{} is taken by another header rule", rule.name));
            }
            header_rules.push(rule);
        }
        section.finish();
    }
    let mut archives = Vec::new();
    for section in top.sections("archive") {
        archives.extend(archive(&section, known));
        section.finish();
    }
    Checking { milters, header_rules, archives, rewriting: rewriting::rewriting(top, known), verifying: verifying(top) }
}

/// How mail of strangers is verified: `[verify]`.
fn verifying(top: &Section<'_>) -> Option<Verifying> {
    let section = top.section("verify");
    let default = Verifying::default();
    let strangers = section.or("strangers", true, values::flag);
    let words = [("tell", false), ("enforce", true)];
    let enforces = section.or("dmarc", default.enforces, |v| values::one_of(v, &words));
    let bounds = Duration::from_secs(1)..=Duration::from_secs(120);
    let timeout = section.or("timeout", default.timeout, |v| values::duration(v, bounds));
    if !strangers && section.has("dmarc") && enforces {
        section.fault("dmarc", "what is not verified cannot be enforced; set strangers = true, or take this away");
    }
    section.finish();
    strangers.then_some(Verifying { enforces, timeout })
}

fn header_rule(section: &Section<'_>, known: &Known<'_>) -> Option<HeaderRule> {
    let name = section.required("name", values::name);
    let scope = scope(section, known);
    let field = section.optional("field", field_name);
    let pattern = section.required("pattern", |v| {
        let text = values::text(v)?;
        Pattern::parse(&text).map_err(|why| format!("{text:?} is no regular expression: {why}"))
    });
    let decoded = section.or("decoded", true, values::flag);
    let words = ["reject", "hold", "discard", "remove", "replace", "prepend", "add", "warn"].map(|word| (word, word));
    let action = section.required("action", |v| values::one_of(v, &words))?;
    let text = section.optional("text", |v| values::text(v).and_then(one_line));
    let needs = matches!(action, "replace" | "prepend" | "add");
    if needs && text.is_none() && !section.has("text") {
        section.fault("action", format!("{action:?} needs a text, a whole field such as \"X-Note: yes\""));
    }
    if text.is_some() && matches!(action, "discard" | "remove" | "warn") {
        section.fault("text", format!("{action:?} has no use for a text"));
    }
    let or = |usual: &str| -> Box<str> { text.clone().unwrap_or_else(|| usual.to_owned()).into() };
    let field_of = || {
        let written = text.clone()?;
        let (name, value) = written.split_once(':')?;
        let named = !name.is_empty() && name.bytes().all(|octet| matches!(octet, 33..=57 | 59..=126));
        named.then(|| (name.into(), value.trim().into()))
    };
    if needs && text.is_some() && field_of().is_none() {
        section.fault("text", "expected a whole field such as \"X-Note: yes\"");
    }
    let action = match action {
        "reject" => HeaderAction::Reject(or("message content rejected")),
        "hold" => HeaderAction::Hold(or("its header is to be looked at")),
        "discard" => HeaderAction::Discard,
        "remove" => HeaderAction::Remove,
        "warn" => HeaderAction::Warn,
        action => {
            let (name, value) = field_of()?;
            match action {
                "replace" => HeaderAction::Replace(name, value),
                "prepend" => HeaderAction::Prepend(name, value),
                _ => HeaderAction::Add(name, value),
            }
        }
    };
    Some(HeaderRule { name: name?.into(), scope, field, pattern: pattern?, decoded, action })
}

fn archive(section: &Section<'_>, known: &Known<'_>) -> Option<Archive> {
    let to = section.required("to", |v| {
        let text = values::text(v)?;
        let mailbox = Mailbox::parse(&text).map_err(|_| format!("{text:?} is not a mailbox"))?;
        match local::resolve(known.routing, &mailbox) {
            Resolved::Unknown => Err(format!("the [[local_domain]] of {text} has no such user")),
            Resolved::To(_) | Resolved::Foreign => Ok(mailbox),
        }
    });
    let scope = scope(section, known);
    let senders = section.list("sender", sender_match).unwrap_or_default();
    let recipients = section.list("recipient", sender_match).unwrap_or_default();
    for key in ["sender", "recipient"] {
        if section.list_is_empty(key) {
            section.fault(key, "an empty list means no mail at all; leave the key away to mean all");
        }
    }
    Some(Archive { to: to?, scope, senders, recipients })
}

fn field_name(value: &DeValue<'_>) -> Read<Box<str>> {
    let name = values::text(value)?;
    let named = !name.is_empty() && name.bytes().all(|octet| matches!(octet, 33..=57 | 59..=126));
    if named { Ok(name.into()) } else { Err(format!("{name:?} is no name of a header field")) }
}

fn one_line(text: String) -> Read<String> {
    if text.chars().any(char::is_control) { Err(format!("{text:?} is not one line of text")) } else { Ok(text) }
}

fn milter(section: &Section<'_>, known: &Known<'_>) -> Option<Milter> {
    let name = section.required("name", values::name);
    let server = section.required("address", |v| server(v, known.directory));
    let scope = scope(section, known);
    let time = |key, seconds| {
        let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
        section.or(key, Duration::from_secs(seconds), |v| values::duration(v, bounds))
    };
    let (connect_timeout, command_timeout, content_timeout) =
        (time("connect_timeout", 30), time("command_timeout", 30), time("content_timeout", 300));
    let on_failure = section.or("on_failure", OnFailure::TempFail, |v| values::one_of(v, &ON_FAILURE));
    let mut on_failure_of: Vec<(StreamName, OnFailure)> = Vec::new();
    for own in section.sections("by_stream") {
        let stream = own.required("stream", |v| stream(v, known.tenants));
        let choice = own.required("on_failure", |v| values::one_of(v, &ON_FAILURE));
        if let (Some(stream), Some(choice)) = (stream, choice) {
            if on_failure_of.iter().any(|(other, _)| *other == stream) {
                own.fault("stream", format!("{stream} has a choice already"));
            }
            on_failure_of.push((stream, choice));
        }
        own.finish();
    }
    Some(Milter {
        name: name?.into(),
        server: server?,
        scope,
        connect_timeout,
        command_timeout,
        content_timeout,
        on_failure,
        on_failure_of,
    })
}

/// Which mail: the listeners it comes to, and its streams.
fn scope(section: &Section<'_>, known: &Known<'_>) -> Scope {
    let listeners = section.list("listener", |v| listener(v, known.listeners)).unwrap_or_default();
    let streams = section.list("stream", |v| stream(v, known.tenants)).unwrap_or_default();
    for key in ["listener", "stream"] {
        if section.list_is_empty(key) {
            section.fault(key, "an empty list means no mail at all; leave the key away to mean all");
        }
    }
    Scope { listeners, streams }
}

fn listener(value: &DeValue<'_>, listeners: &[ListenerConfig]) -> Read<Box<str>> {
    let name = values::text(value)?;
    if name == LOCAL_LISTENER || listeners.iter().any(|listener| listener.settings.name == name) {
        return Ok(name.into());
    }
    Err(format!("there is no [[listener]] of the name {name:?} (mail that is handed over on this machine has {LOCAL_LISTENER:?})"))
}

fn stream(value: &DeValue<'_>, tenants: &[Tenant]) -> Read<StreamName> {
    let name = values::text(value)?;
    let known = tenants.iter().flat_map(|tenant| &tenant.streams).any(|(stream, _)| stream.as_str() == name);
    if known { Ok(StreamName::new(&name)) } else { Err(format!("no [[tenant]] has a stream of the name {name:?}")) }
}

/// `unix:PATH`, `inet:HOST:PORT` (as Postfix writes it) or `inet:PORT@HOST` (as Sendmail and OpenDKIM do); also `local:PATH`.
fn server(value: &DeValue<'_>, directory: &Path) -> Read<MilterServer> {
    let text = values::text(value)?;
    let wrong = || {
        format!(
            "{text:?} is no milter's address: write \"unix:/run/opendkim/opendkim.sock\", \"inet:localhost:8891\" or \"inet:8891@localhost\""
        )
    };
    let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
    match kind {
        "unix" | "local" if !rest.is_empty() => Ok(MilterServer::Unix(directory.join(rest))),
        "inet" | "inet6" => {
            let (host, port) = match rest.split_once('@') {
                Some((port, host)) => (host, port),
                None => rest.rsplit_once(':').ok_or_else(wrong)?,
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
            Ok(MilterServer::Tcp(parse_remote(host).ok_or_else(wrong)?, port))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, parse};

    #[test]
    fn milters_are_read() {
        for (address, shown) in [
            ("unix:/run/m.sock", "unix:/run/m.sock"),
            ("unix:m.sock", "unix:/data/m.sock"),
            ("local:/run/m.sock", "unix:/run/m.sock"),
            ("inet:8891@localhost", "inet:8891@localhost"),
            ("inet:localhost:8891", "inet:8891@localhost"),
            ("inet:[::1]:8891", "inet:8891@[::1]"),
            ("inet6:8891@::1", "inet:8891@[::1]"),
        ] {
            let config = parse(&format!("[[milter]]\nname = \"m\"\naddress = \"{address}\"\n")).unwrap();
            assert_eq!(config.snapshot.checking.milters[0].server.to_string(), shown);
        }
        let config = parse(
            "[[tenant]]\nname = \"t\"\n[[tenant.stream]]\nname = \"bulk\"\n[[milter]]\nname = \"m\"\naddress = \"unix:/m\"\non_failure = \"reject\"\nlistener = \
             [\"relay\", \"local\"]\nby_stream = [{ stream = \"bulk\", on_failure = \"accept\" }]\n",
        )
        .unwrap();
        let milter = &config.snapshot.checking.milters[0];
        let choices = ["bulk", "other"].map(|stream| milter.on_failure_for(&super::StreamName::new(stream)));
        assert_eq!(choices, [super::OnFailure::Accept, super::OnFailure::Reject]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let milter = |keys: &str| format!("[[milter]]\nname = \"m\"\n{keys}\n");
        for (text, said) in [
            (milter(""), "milter.address: the key is missing"),
            (milter("address = \"8891\""), "is no milter's address"),
            (milter("address = \"inet:x:0\""), "is no milter's address"),
            (milter("address = \"tls:x:1\""), "is no milter's address"),
            (milter("address = \"unix:/m\"\nlistener = [\"nowhere\"]"), "there is no [[listener]] of the name \"nowhere\""),
            (milter("address = \"unix:/m\"\nstream = [\"nobody\"]"), "no [[tenant]] has a stream of the name \"nobody\""),
            (milter("address = \"unix:/m\"\nlistener = []"), "an empty list means no mail at all"),
            (
                milter("address = \"unix:/m\"\non_failure = \"maybe\""),
                "\"maybe\" is none of \"tempfail\", \"accept\", \"reject\", \"hold\"",
            ),
            (milter("address = \"unix:/m\"\nname = \"x\""), "not TOML"),
            ([milter("address = \"unix:/m\""), milter("address = \"unix:/n\"")].concat(), "m is taken by another milter"),
        ] {
            assert!(faults(&text).contains(said), "{text}: {}", faults(&text));
        }
    }
}
