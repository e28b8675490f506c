//! The shipped table (`providers.toml`): that it says what its head says it may, and that it judges the replies providers really send.

use std::time::Duration;

use postrider_model::policy::{Provider, ProviderMatch, Rate, ReplyRule, RuleAction};
use postrider_model::{Phase, ProviderName, SiteName};
use postrider_smtp::{EnhancedStatus, Reply};
use serde::Deserialize;

use crate::classify::{Blame, Fate, classify_reply};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    provider: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    r#match: Vec<String>,
    #[serde(default)]
    shared: bool,
    connections: Option<u32>,
    messages_per_connection: Option<u32>,
    message_rate: Option<String>,
    recipients_per_message: Option<u32>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    code: u16,
    status: Option<String>,
    #[serde(default)]
    contains: String,
    action: String,
    r#for: Option<String>,
    rate: Option<String>,
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => panic!("{other}"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap() * seconds)
}

fn rate(text: &str) -> Rate {
    let (text, burst) = text.split_once('+').unwrap_or((text, "1"));
    let (count, per) = text.split_once('/').unwrap();
    Rate { count: count.parse().unwrap(), per: duration(per), burst: burst.parse().unwrap() }
}

fn rule(rule: Rule) -> ReplyRule {
    let pause = rule.r#for.as_deref().map(duration);
    let action = match (rule.action.as_str(), pause, rule.rate.as_deref().map(rate)) {
        ("rest", Some(pause), None) => RuleAction::Rest(pause),
        ("slow", Some(pause), Some(rate)) => RuleAction::Slow(rate, pause),
        ("one-connection", Some(pause), None) => RuleAction::OneConnection(pause),
        ("defer", None, None) => RuleAction::Defer,
        ("bounce", None, None) => RuleAction::Bounce,
        other => panic!("{other:?}"),
    };
    ReplyRule { code: rule.code, status: rule.status, contains: rule.contains, action }
}

fn table() -> Vec<Provider> {
    let fallback = Provider::fallback;
    let table: Table = toml::from_str(include_str!("../providers.toml")).expect("the shipped table is TOML of its schema");
    let provider = |entry: Entry| Provider {
        name: ProviderName::new(&entry.name),
        matches: ProviderMatch::HostSuffix(entry.r#match),
        shared: entry.shared,
        connections_max: entry.connections.unwrap_or(fallback().connections_max),
        messages_per_connection_max: entry.messages_per_connection.unwrap_or(fallback().messages_per_connection_max),
        message_rate: entry.message_rate.as_deref().map(rate),
        recipients_per_message_max: entry.recipients_per_message.unwrap_or(fallback().recipients_per_message_max),
        rules: entry.rules.into_iter().map(rule).collect(),
        ..fallback()
    };
    table.provider.into_iter().map(provider).chain([fallback()]).collect()
}

fn by_site<'a>(table: &'a [Provider], site: &str) -> &'a Provider {
    table.iter().find(|provider| provider.matches.matches_site(&SiteName::new(site))).unwrap()
}

#[test]
fn hosts_find_their_rule_set() {
    let table = table();
    for (site, name) in [
        ("alt1.gmail-smtp-in.l.google.com,gmail-smtp-in.l.google.com", "google"),
        ("aspmx.l.google.com,aspmx2.googlemail.com", "google"),
        ("smtp.google.com", "google"),
        ("mta5.am0.yahoodns.net,mta6.am0.yahoodns.net", "yahoo"),
        ("mx1.mail.yahoo.co.jp", "yahoo-japan"),
        ("outlook-com.olc.protection.outlook.com", "outlook"),
        ("contoso-com.mail.protection.outlook.com", "office365"),
        ("contoso-com.a-v1.mx.microsoft", "office365"),
        ("mx01.mail.icloud.com,mx02.mail.icloud.com", "apple"),
        ("mx1.comcast.net", "comcast"),
        ("smtp-in.orange.fr", "orange"),
        ("mx00.gmx.net,mx01.gmx.net", "gmx"),
        ("mx-ha02.web.de", "gmx"),
        ("eu-smtp-inbound-1.mimecast.com", "mimecast"),
        ("d1.a.ess.barracudanetworks.com", "barracuda"),
        ("mx1.qq.com,mx2.qq.com", "qq"),
        ("mx.example", "default"),
        ("google.com.example", "default"),
        ("notyahoodns.net", "default"),
    ] {
        assert_eq!(by_site(&table, site).name.as_str(), name, "{site}");
    }
}

#[test]
fn the_table_is_sound() {
    let table = table();
    for provider in &table {
        assert!(postrider_model::names::valid_name(provider.name.as_str()));
        assert_eq!(table.iter().filter(|other| other.name == provider.name).count(), 1);
        assert!(provider.connections_max > 0 && provider.messages_per_connection_max > 0 && provider.recipients_per_message_max > 0);
        for rule in &provider.rules {
            assert!(matches!(rule.code, 0 | 4 | 5 | 40..=59 | 400..=599), "{rule:?}");
            assert_eq!(rule.contains, rule.contains.to_lowercase(), "text is compared in lower case");
            assert!(rule.status.as_deref().is_none_or(|status| EnhancedStatus::parse(status).is_some()), "{rule:?}");
            assert!(rule.code != 0 || rule.status.is_some() || !rule.contains.is_empty(), "a rule for every reply is a mistake: {rule:?}");
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn slow(per_minute: u32, minutes: u32) -> Option<RuleAction> {
    Some(RuleAction::Slow(Rate { count: per_minute, per: MINUTE, burst: 1 }, MINUTE * minutes))
}

fn rest(minutes: u32) -> Option<RuleAction> {
    Some(RuleAction::Rest(MINUTE * minutes))
}

fn one(minutes: u32) -> Option<RuleAction> {
    Some(RuleAction::OneConnection(MINUTE * minutes))
}

/// Provider, phase, the reply as it is sent; fate, blame, advice.
type Row = (&'static str, Phase, &'static str, Fate, Blame, Option<RuleAction>);

/// What the providers' own pages say they send, with what we make of it.
fn replies() -> Vec<Row> {
    use Blame::{Connection, Host, Message, Recipient, Site};
    use Fate::{Bounce, Defer};
    use Phase::{EndOfData, Greeting, Mail, Recipient as Rcpt};
    let (again, never) = (Some(RuleAction::Defer), Some(RuleAction::Bounce));
    vec![
        (
            "google",
            EndOfData,
            "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.",
            Defer,
            Site,
            slow(10, 20),
        ),
        ("google", EndOfData, "421 4.7.28 unusual rate of mail originating from your IP Netblock", Defer, Site, slow(10, 20)),
        ("google", EndOfData, "421 4.7.28 unusual rate of mail originating from your DKIM domain [a.example]", Defer, Connection, again),
        ("google", EndOfData, "421 4.7.28 unusual rate of mail originating from your SPF domain [a.example]", Defer, Connection, again),
        ("google", EndOfData, "421 4.7.28 unusual rate of mail containing one of your URL domains", Defer, Connection, again),
        ("google", EndOfData, "421 4.7.28 this message exceeds the quota of the same Message-ID", Defer, Connection, again),
        ("google", EndOfData, "421 4.7.0 unsolicited mail from your IP, due to its very low reputation", Defer, Site, slow(10, 30)),
        ("google", EndOfData, "421 4.7.0 Try again later, closing connection.", Defer, Connection, None),
        ("google", EndOfData, "421 4.7.26 This mail is unauthenticated", Defer, Connection, None),
        ("google", Mail, "451 4.7.23 The sending IP has no PTR record", Defer, Message, None),
        ("google", Mail, "451 4.7.24 suspicious SPF", Defer, Message, None),
        ("google", EndOfData, "550 5.7.26 This mail is unauthenticated", Bounce, Message, None),
        ("google", EndOfData, "550 5.7.1 low domain reputation", Bounce, Message, None),
        ("google", EndOfData, "554 5.4.6 Message exceeded 50 hops", Bounce, Message, None),
        ("google", EndOfData, "552 5.3.4 Your message exceeded Google's message size limits", Bounce, Message, None),
        (
            "google",
            EndOfData,
            "552 5.7.0 This message was blocked because its content presents a potential security issue",
            Bounce,
            Message,
            None,
        ),
        ("google", Rcpt, "450 4.2.1 The user you are trying to contact is receiving mail too quickly", Defer, Recipient, None),
        ("google", Rcpt, "452 4.2.2 The recipient's inbox is out of storage", Defer, Recipient, None),
        ("google", Rcpt, "452 4.5.3 Your message has too many recipients", Defer, Recipient, None),
        ("google", Rcpt, "552 5.2.2 The recipient's inbox is out of storage space and inactive", Bounce, Recipient, never),
        ("google", Rcpt, "550 5.1.1 The email account that you tried to reach does not exist", Bounce, Recipient, None),
        ("google", Rcpt, "550 5.2.1 The email account that you tried to reach is disabled", Bounce, Recipient, None),
        ("yahoo", Mail, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume", Defer, Site, rest(30)),
        ("yahoo", Greeting, "421 4.7.0 [TSS05] permanently deferred", Defer, Site, rest(120)),
        ("yahoo", Greeting, "421 4.7.0 [IPTS05] deferred", Defer, Site, rest(120)),
        ("yahoo", Greeting, "421 4.7.0 [TS01] deferred", Defer, Site, slow(10, 20)),
        ("yahoo", Greeting, "421 4.7.1 [TS02] deferred", Defer, Site, slow(2, 20)),
        ("yahoo", Greeting, "421 4.7.1 [TS03] deferred", Defer, Site, slow(10, 20)),
        ("yahoo", Mail, "421 4.7.0 [IPTS04] deferred", Defer, Site, rest(30)),
        ("yahoo", Mail, "421 Max message per connection reached, closing transmission channel", Defer, Connection, None),
        ("yahoo", Mail, "451 Resources temporarily unavailable. Please try again later", Defer, Site, rest(2)),
        ("yahoo", Rcpt, "450 User is receiving mail too quickly", Defer, Recipient, None),
        ("yahoo", Mail, "553 5.7.1 [BL21] Connections will not be accepted", Bounce, Message, None),
        ("yahoo", EndOfData, "554 5.7.9 Message not accepted for policy reasons", Bounce, Message, None),
        ("yahoo", Rcpt, "554 delivery error: dd This user doesn't have an account", Bounce, Recipient, None),
        ("yahoo-japan", Mail, "421 4.7.0 [TSS04] deferred", Defer, Site, rest(30)),
        ("yahoo-japan", Mail, "421 4.7.0 [IPTS04] deferred", Defer, Site, rest(30)),
        ("yahoo-japan", Greeting, "421 VS98-IP0 deferred", Defer, Site, rest(30)),
        (
            "outlook",
            Mail,
            "451 4.7.650 The mail server has been temporarily rate limited due to IP reputation (S843)",
            Defer,
            Site,
            rest(20),
        ),
        ("outlook", Mail, "451 4.7.651 The mail server has been temporarily rate limited (S3114)", Defer, Site, rest(20)),
        ("outlook", Greeting, "421 RP-001 The mail server IP has exceeded the rate limit", Defer, Site, rest(20)),
        ("outlook", Mail, "451 4.7.500 Server busy. Please try again later from [192.0.2.1]", Defer, Site, rest(5)),
        ("outlook", Greeting, "421 4.3.2 exceed max concurrent connections", Defer, Site, one(30)),
        ("outlook", Greeting, "421 IB007", Defer, Site, one(30)),
        ("outlook", Mail, "550 5.7.1 messages weren't sent, part of their network is on our block list (S3150)", Bounce, Message, None),
        (
            "outlook",
            EndOfData,
            "550 5.7.515 Access denied, sending domain does not meet the required authentication level",
            Bounce,
            Message,
            None,
        ),
        ("outlook", Rcpt, "550 5.5.0 Requested action not taken: mailbox unavailable", Bounce, Recipient, None),
        ("office365", Mail, "451 4.7.500 Server busy", Defer, Site, rest(5)),
        ("office365", Mail, "451 4.7.650 rate limited", Defer, Site, rest(20)),
        ("office365", Rcpt, "450 4.7.3 organization queue quota exceeded", Defer, Site, rest(5)),
        ("office365", Mail, "452 4.3.1 Insufficient system resources", Defer, Site, rest(2)),
        ("office365", Rcpt, "550 5.4.1 Recipient address rejected: Access denied", Bounce, Recipient, None),
        ("apple", Mail, "421 4.7.1 Messages deferred due to excessive volume", Defer, Site, rest(15)),
        ("apple", Mail, "451 4.7.1 Service unavailable - try again later", Defer, Site, rest(15)),
        ("apple", EndOfData, "451 4.3.0 [HCM1] deferred", Defer, Site, rest(15)),
        ("apple", EndOfData, "450 4.3.0 [BS02] temporary", Defer, Site, rest(15)),
        ("apple", EndOfData, "550 5.7.1 [CS01] Message rejected due to local policy", Bounce, Message, None),
        ("comcast", Mail, "421 4.1.0 RL000010 Throttled", Defer, Site, rest(5)),
        ("comcast", Mail, "421 4.1.0 RL000001 Throttled", Defer, Site, slow(60, 30)),
        ("comcast", Mail, "554 5.7.1 BL000000 blocked", Bounce, Message, None),
        ("orange", Greeting, "421 OFR_104 [104]", Defer, Site, one(30)),
        ("orange", Greeting, "421 Trop de connexions, veuillez verifier votre configuration", Defer, Site, one(30)),
        ("orange", Greeting, "421 Service refuse OFR_105", Defer, Site, rest(30)),
        ("orange", Greeting, "550 OFR006_102 blocked", Defer, Host, None),
        ("orange", Rcpt, "550 5.1.1 OFR_416 invalid recipient", Bounce, Recipient, None),
        ("gmx", Mail, "450 Reject due to policy restrictions", Defer, Site, slow(2, 30)),
        ("gmx", Mail, "554 Reject due to policy violations", Bounce, Message, None),
        ("mimecast", Mail, "451 Resource temporarily unavailable", Defer, Site, rest(10)),
        ("qq", Mail, "550 Ip frequency limited", Defer, Site, rest(15)),
        ("qq", Mail, "550 Connection frequency is limited", Defer, Site, rest(15)),
        ("qq", Rcpt, "550 Mailbox not found", Bounce, Recipient, None),
    ]
}

fn reply(text: &str) -> Reply {
    let (code, rest) = text.split_once(' ').unwrap();
    let (status, rest) = EnhancedStatus::split_off(rest).map_or((None, rest), |(status, rest)| (Some(status), rest));
    Reply::new(code.parse().unwrap(), status, rest)
}

#[test]
fn replies_are_judged_as_the_providers_mean_them() {
    let table = table();
    for (name, phase, text, fate, blame, advice) in replies() {
        let provider = table.iter().find(|provider| provider.name.as_str() == name).unwrap();
        let judgement = classify_reply(provider, phase, &reply(text));
        assert_eq!((judgement.fate, judgement.blame, judgement.advice), (fate, blame, advice), "{name} {phase:?} {text}");
    }
}

#[test]
fn every_rule_is_needed_by_a_reply() {
    for provider in table() {
        for without in 0..provider.rules.len() {
            let mut poorer = provider.clone();
            let rule = poorer.rules.remove(without);
            let missed = replies().into_iter().any(|(name, phase, text, ..)| {
                let text = reply(text);
                name == provider.name.as_str() && classify_reply(&provider, phase, &text) != classify_reply(&poorer, phase, &text)
            });
            assert!(missed, "{}: no reply in the table needs {rule:?}", provider.name);
        }
    }
}
