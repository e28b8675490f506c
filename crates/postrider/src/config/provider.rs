//! The provider table: the built-in one (`crates/core/providers.toml`, whose head tells the schema), and what the file changes in it or puts
//! before it.

use std::ops::RangeInclusive;
use std::time::Duration;

use postrider_model::ProviderName;
use postrider_model::policy::{Provider, ProviderMatch, Rate, ReplyRule, RuleAction};
use postrider_smtp::{Domain, EnhancedStatus};
use toml::de::{DeTable, DeValue};

use super::fault::{Collector, Faults};
use super::reader::Section;
use super::values::{self, Read};

const BUILT_IN: &str = include_str!("../../../core/providers.toml");

/// The rule sets in order; the last matches every Site.
pub fn table(top: &Section<'_>) -> Vec<Provider> {
    // A test reads the built-in table; a fault in it cannot reach a release.
    let mut table = built_in().unwrap_or_default();
    let mut own: Vec<Provider> = Vec::new();
    for section in top.sections("provider") {
        let name = section.optional("name", values::name);
        let known = name.as_deref().and_then(|name| table.iter_mut().find(|provider| provider.name.as_str() == name));
        match known {
            Some(provider) => *provider = provider_over(&section, provider.clone()),
            None => {
                let fresh = named(&section);
                if own.iter().any(|other| other.name == fresh.name) {
                    section.fault("name", format!("{} is taken by another provider", fresh.name));
                }
                own.push(fresh);
            }
        }
        section.finish();
    }
    own.append(&mut table);
    // Rule sets that match everything go behind those that do not, or they would hide them.
    own.sort_by_key(|provider| provider.matches == ProviderMatch::All);
    if own.last().is_none_or(|last| last.matches != ProviderMatch::All) {
        own.push(Provider::fallback());
    }
    own
}

/// The table that ships.
pub fn built_in() -> Result<Vec<Provider>, Faults> {
    let collector = Collector::new(BUILT_IN);
    let (table, troubles) = DeTable::parse_recoverable(BUILT_IN);
    for trouble in troubles {
        collector.add(trouble.span().unwrap_or_default(), trouble.message());
    }
    let top = Section::top(&table, &collector);
    let read = |section: Section<'_>| {
        let provider = named(&section);
        section.finish();
        provider
    };
    let providers = top.sections("provider").into_iter().map(read).collect();
    top.finish();
    collector.verdict("the built-in provider table").map(|()| providers)
}

fn named(section: &Section<'_>) -> Provider {
    let mut provider = provider_over(section, Provider::fallback());
    if let Some(name) = section.required("name", values::name) {
        provider.name = ProviderName::new(&name);
    }
    provider
}

/// The keys that are given, over what holds otherwise.
fn provider_over(section: &Section<'_>, base: Provider) -> Provider {
    const COUNT: RangeInclusive<u64> = 1..=1_000_000;
    let second = Duration::from_secs(1);
    let suffixes = section.list("match", suffix);
    if suffixes.as_ref().is_some_and(Vec::is_empty) {
        section.fault("match", "an empty list matches nothing; leave the key away to match every Site");
    }
    let provider = Provider {
        name: base.name,
        matches: suffixes.map_or(base.matches, ProviderMatch::HostSuffix),
        shared: section.or("shared", base.shared, values::flag),
        connections_max: section.or("connections", base.connections_max, |v| values::number(v, COUNT)),
        messages_per_connection_max: section.or("messages_per_connection", base.messages_per_connection_max, |v| values::number(v, COUNT)),
        message_rate: section.optional("message_rate", rate).or(base.message_rate),
        connection_rate: section.optional("connection_rate", rate).or(base.connection_rate),
        recipients_per_message_max: section.or("recipients_per_message", base.recipients_per_message_max, |v| values::number(v, COUNT)),
        window_initial: section.or("window_initial", base.window_initial, |v| values::number(v, COUNT)),
        failed_cohorts_max: section.or("failed_cohorts", base.failed_cohorts_max, |v| values::number(v, COUNT)),
        rest: section.or("rest", base.rest, |v| values::duration(v, second..=86_400 * second)),
        rest_max: section.or("rest_max", base.rest_max, |v| values::duration(v, second..=7 * 86_400 * second)),
        rules: if section.has("rules") { rules(section) } else { base.rules },
    };
    section.exists("rules");
    if provider.rest > provider.rest_max {
        section.fault("rest", "the first rest is longer than rest_max");
    }
    provider
}

fn suffix(value: &DeValue<'_>) -> Read<String> {
    let text = values::text(value)?;
    let whole = Domain::parse(text.strip_prefix('.').unwrap_or(&text)).is_ok() && !text.bytes().any(|octet| octet.is_ascii_uppercase());
    if whole {
        Ok(text)
    } else {
        Err(format!("{text:?} is neither a host (\"mx.example.com\") nor an ending of hosts (\".example.com\"), in lower case"))
    }
}

/// `10/1m`, or `10/1m+3` for a burst of three.
fn rate(value: &DeValue<'_>) -> Read<Rate> {
    let text = values::text(value)?;
    parse_rate(&text).ok_or_else(|| format!("{text:?} is not a rate such as \"10/1m\", or \"10/1m+3\" for three at once after a pause"))
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (rate, burst) = match text.split_once('+') {
        Some((rate, burst)) => (rate, burst.trim().parse().ok()?),
        None => (text, 1),
    };
    let (count, per) = rate.split_once('/')?;
    let (count, per) = (count.trim().parse().ok()?, values::parse_duration(per).ok()?);
    (count > 0 && burst > 0 && !per.is_zero()).then_some(Rate { count, per, burst })
}

fn rules(section: &Section<'_>) -> Vec<ReplyRule> {
    let read = |rule: Section<'_>| {
        let code = rule.or("code", 0, reply_code);
        let status = rule.optional("status", enhanced_status);
        let contains = rule.or("contains", String::new(), lower_case);
        let action = action(&rule);
        rule.finish();
        action.map(|action| ReplyRule { code, status, contains, action })
    };
    section.sections("rules").into_iter().filter_map(read).collect()
}

/// A reply's code or its first digits; only negative replies are looked at.
fn reply_code(value: &DeValue<'_>) -> Read<u16> {
    let code = values::number::<u16>(value, 4..=599)?;
    let negative = matches!(code, 4 | 5 | 40..=59 | 400..=599);
    if negative { Ok(code) } else { Err(format!("{code} does not begin a negative reply (4yz or 5yz)")) }
}

fn enhanced_status(value: &DeValue<'_>) -> Read<String> {
    let text = values::text(value)?;
    if EnhancedStatus::parse(&text).is_some() { Ok(text) } else { Err(format!("{text:?} is not an enhanced status such as \"4.7.28\"")) }
}

fn lower_case(value: &DeValue<'_>) -> Read<String> {
    let text = values::text(value)?;
    if text == text.to_lowercase() { Ok(text) } else { Err(format!("{text:?} is not in lower case, so it would never be found")) }
}

#[derive(Clone, Copy)]
enum Verb {
    Rest,
    Slow,
    OneConnection,
    Defer,
    Bounce,
}

fn action(rule: &Section<'_>) -> Option<RuleAction> {
    let words = [
        ("rest", Verb::Rest),
        ("slow", Verb::Slow),
        ("one-connection", Verb::OneConnection),
        ("defer", Verb::Defer),
        ("bounce", Verb::Bounce),
    ];
    let verb = rule.required("action", |v| values::one_of(v, &words));
    let pause = rule.optional("for", |v| values::duration(v, Duration::from_secs(1)..=Duration::from_secs(7 * 86_400)));
    let slowed = rule.optional("rate", rate);
    let verb = verb?;
    let timed = matches!(verb, Verb::Rest | Verb::Slow | Verb::OneConnection);
    if timed && !rule.has("for") {
        rule.fault("action", "needs `for`, such as for = \"20m\"");
    }
    if !timed && rule.has("for") {
        rule.fault("for", "has no meaning with this action");
    }
    if matches!(verb, Verb::Slow) != rule.has("rate") {
        rule.fault("rate", "belongs to \"slow\", and to nothing else");
    }
    match verb {
        Verb::Rest => pause.map(RuleAction::Rest),
        Verb::Slow => slowed.zip(pause).map(|(rate, pause)| RuleAction::Slow(rate, pause)),
        Verb::OneConnection => pause.map(RuleAction::OneConnection),
        Verb::Defer => Some(RuleAction::Defer),
        Verb::Bounce => Some(RuleAction::Bounce),
    }
}

/// A provider as the file would write it.
pub fn in_toml(provider: &Provider) -> String {
    let rate = |rate: &Rate| match rate.burst {
        1 => format!("\"{}/{}\"", rate.count, values::say_duration(rate.per)),
        burst => format!("\"{}/{}+{burst}\"", rate.count, values::say_duration(rate.per)),
    };
    let duration = |duration: Duration| format!("\"{}\"", values::say_duration(duration));
    let mut lines = vec!["[[provider]]".to_owned(), format!("name = \"{}\"", provider.name)];
    if let ProviderMatch::HostSuffix(suffixes) = &provider.matches {
        lines.push(format!("match = {suffixes:?}"));
    }
    lines.push(format!("shared = {}", provider.shared));
    lines.push(format!("connections = {}", provider.connections_max));
    lines.push(format!("messages_per_connection = {}", provider.messages_per_connection_max));
    lines.extend(provider.message_rate.iter().map(|r| format!("message_rate = {}", rate(r))));
    lines.extend(provider.connection_rate.iter().map(|r| format!("connection_rate = {}", rate(r))));
    lines.push(format!("recipients_per_message = {}", provider.recipients_per_message_max));
    lines.push(format!("window_initial = {}", provider.window_initial));
    lines.push(format!("failed_cohorts = {}", provider.failed_cohorts_max));
    lines.push(format!("rest = {}", duration(provider.rest)));
    lines.push(format!("rest_max = {}", duration(provider.rest_max)));
    lines.push("rules = [".to_owned());
    for rule in &provider.rules {
        let code = if rule.code == 0 { String::new() } else { format!("code = {}, ", rule.code) };
        let status = rule.status.as_ref().map(|status| format!("status = {status:?}, ")).unwrap_or_default();
        let contains = if rule.contains.is_empty() { String::new() } else { format!("contains = {:?}, ", rule.contains) };
        let action = match &rule.action {
            RuleAction::Rest(pause) => format!("action = \"rest\", for = {}", duration(*pause)),
            RuleAction::Slow(to, pause) => format!("action = \"slow\", rate = {}, for = {}", rate(to), duration(*pause)),
            RuleAction::OneConnection(pause) => format!("action = \"one-connection\", for = {}", duration(*pause)),
            RuleAction::Defer => "action = \"defer\"".to_owned(),
            RuleAction::Bounce => "action = \"bounce\"".to_owned(),
        };
        lines.push(format!("  {{ {code}{status}{contains}{action} }},"));
    }
    lines.push("]".to_owned());
    lines.join("\n")
}
