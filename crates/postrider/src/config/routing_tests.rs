use std::path::Path;

use postrider_model::policy::{AuthInClear, DomainMatch, LmtpServer, ProviderMatch, Remote, Routing, RuleAction, Target, TlsLevel};

use super::tests::secrets;
use super::{Config, HostName};

fn parse_in(directory: &Path, text: &str) -> Result<Config, String> {
    let host = HostName { name: "mx.shop.example".to_owned(), guessed: false };
    Config::parse(text, "postrider.toml", directory, &host).map_err(|faults| faults.to_string())
}

fn routing(text: &str) -> Routing {
    parse_in(Path::new("/data"), text).unwrap_or_else(|faults| panic!("{faults}")).snapshot.routing
}

const SES: &str =
    "[[smart_host]]\nname = \"ses\"\nhost = \"smtp.ses.example\"\nuser = \"u\"\npassword = \"p\"\nper_day = 20\nconnections = 3\n";

fn route(keys: &str) -> String {
    format!("{SES}[[route]]\nname = \"r\"\n{keys}\n")
}

fn lmtp(address: &str, tls: TlsLevel, tls13_only: bool) -> Target {
    Target::Lmtp(LmtpServer::Tcp { host: Remote::Address(address.parse().unwrap()), port: 24, tls, tls13_only })
}

#[test]
fn next_hops_are_read() {
    for (to, expected) in [
        ("\"mx\"", Target::Mx),
        ("[\"mx\"]", Target::Mx),
        ("\"reject\"\ntext = \"no\"", Target::Reject("no".to_owned())),
        ("\"maildir:/var/mail/{domain}/{user}\"", Target::Maildir("/var/mail/{domain}/{user}".to_owned())),
        ("\"maildir:mail/{user}\"", Target::Maildir("/data/mail/{user}".to_owned())),
        ("\"lmtp:unix:/run/lmtp\"", Target::Lmtp(LmtpServer::Unix("/run/lmtp".into()))),
        ("\"lmtp://127.0.0.1:24\"", lmtp("127.0.0.1", TlsLevel::Opportunistic, false)),
        ("\"lmtp://[::1]:24\"", lmtp("::1", TlsLevel::Opportunistic, false)),
        ("\"lmtp://[::1]:24\"\ntls = \"verify\"\nminimum_tls = \"1.3\"", lmtp("::1", TlsLevel::Verified, true)),
        ("\"lmtp://127.0.0.1:24\"\ntls = \"implicit\"", lmtp("127.0.0.1", TlsLevel::Implicit, false)),
    ] {
        assert_eq!(routing(&route(&format!("to = {to}"))).rules[0].target, expected, "{to}");
    }
    let read = routing(&route("to = [\"ses\", \"mx.other.example:2525\"]"));
    let Target::SmartHosts(hosts) = &read.rules[0].target else { panic!("{read:?}") };
    let told: Vec<_> = hosts.iter().map(|host| (host.name.as_str(), host.host.to_string(), host.port, host.tls)).collect();
    assert_eq!(
        told,
        [
            ("ses", "smtp.ses.example".to_owned(), 587, TlsLevel::Verified),
            ("mx.other.example:2525", "mx.other.example".to_owned(), 2525, TlsLevel::Verified)
        ]
    );
    assert_eq!(read.rules[0].target.site().unwrap().as_str(), "smarthost:ses,mx.other.example:2525");
    assert!(!format!("{read:?}").contains("\"p\""), "a password is never printed");
}

#[test]
fn what_a_session_in_the_clear_may_hear_has_to_be_said() {
    for (word, expected) in [("cram-md5", AuthInClear::WithoutPassword), ("password", AuthInClear::WithPassword)] {
        let host = format!(
            "[[smart_host]]\nname = \"h\"\nhost = \"h.example\"\ntls = \"none\"\nuser = \"u\"\npassword = \"p\"\nauth_in_clear = \"{word}\"\n"
        );
        let read = routing(&format!("{host}[[route]]\nname = \"r\"\nto = \"h\""));
        let Target::SmartHosts(hosts) = &read.rules[0].target else { panic!("{read:?}") };
        assert_eq!(hosts[0].auth_in_clear, expected);
    }
}

#[test]
fn conditions_are_read() {
    let read = routing(&route(
        "recipient_domain = [\"*\", \".B\u{fc}cher.example\", \"A.example\"]\nsender = [\"<>\", \"a@b.example\", \".c.example\"]\nto = \"mx\"",
    ));
    let rule = &read.rules[0];
    assert_eq!(
        rule.recipients,
        [DomainMatch::Every, DomainMatch::Suffix(".xn--bcher-kva.example".to_owned()), DomainMatch::Exact("a.example".to_owned())]
    );
    assert_eq!(rule.senders.len(), 3);
}

#[test]
fn a_smart_host_has_rules_of_its_own() {
    let config = parse_in(Path::new("/data"), &route("to = \"ses\"")).unwrap();
    let site = "smarthost:ses".into();
    let provider = config.snapshot.provider_for(&site);
    assert_eq!((&provider.matches, provider.connections_max, provider.recipients_per_message_max), (&ProviderMatch::Site(site), 3, 20));
    assert!(provider.rules.iter().any(|rule| rule.code == 535 && rule.action == RuleAction::Defer));
    assert_eq!(config.snapshot.provider_for(&"mx.ses.example".into()).name.as_str(), "default");
}

/// What docs/routing.md shows works, with the smart hosts and tenants that one block takes from another.
#[test]
fn the_examples_of_the_document_are_right() {
    let folder = secrets("document");
    for name in ["ses", "gmail"] {
        std::fs::copy(folder.join("brevo.password"), folder.join(format!("{name}.password"))).unwrap();
    }
    let text = include_str!("../../../../docs/routing.md");
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6, "{}", blocks.len());
    for block in blocks {
        let mut whole = block.to_owned();
        for name in ["ses", "gmail", "brevo"] {
            if !block.contains(&format!("name = \"{name}\"")) {
                whole += &format!("\n[[smart_host]]\nname = \"{name}\"\nhost = \"{name}.example\"\n");
            }
        }
        whole += "\n[[tenant]]\nname = \"shop\"\n[[tenant.stream]]\nname = \"news\"\n";
        parse_in(&folder, &whole).unwrap_or_else(|faults| panic!("{whole}\n{faults}"));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_password_is_read_from_its_file() {
    let folder = secrets("routing");
    let text = "[[smart_host]]\nname = \"b\"\nhost = \"192.0.2.1\"\ntls = \"implicit\"\nuser = \"u\"\npassword_file = \"brevo.password\"\n[[route]]\nname = \"r\"\nto = \"b\"";
    let read = parse_in(&folder, text).unwrap().snapshot.routing;
    let Target::SmartHosts(hosts) = &read.rules[0].target else { panic!("{read:?}") };
    assert_eq!((hosts[0].port, hosts[0].credentials.as_ref().unwrap().password.as_slice()), (465, b"secret".as_slice()));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn local_domains_are_read() {
    let read = routing(
        "[[local_domain]]\nname = \"here.example\"\nmailboxes = [\"Ann\"]\naliases = [\"postmaster: ann\", \"All: ann, bob@far.example\"]\nto = \"maildir:mail\"",
    );
    let domain = &read.local["here.example"];
    assert!(domain.mailboxes.contains("ann") && domain.delimiter == Some('+'));
    let all: Vec<_> = domain.aliases["all"].iter().map(ToString::to_string).collect();
    assert_eq!(all, ["ann@here.example", "bob@far.example"]);
}

#[test]
fn mistakes_are_told_with_the_remedy() {
    let domain = |keys: &str| format!("[[local_domain]]\nname = \"here.example\"\nto = \"maildir:mail\"\n{keys}");
    let host = |keys: &str| format!("[[smart_host]]\nname = \"h\"\nhost = \"h.example\"\n{keys}");
    for (text, said) in [
        (
            route("to = \"nobody\""),
            ":10: route.to: \"nobody\" is no [[smart_host]], nor \"host:port\"; and \"mx\", \"reject\", \"maildir:PATH\" and \"lmtp:...\" stand alone",
        ),
        (route("to = [\"ses\", \"mx\"]"), ":10: route.to: \"mx\" is no [[smart_host]]"),
        (route("to = [\"ses\", \"ses\"]"), ":10: route.to: ses is there twice"),
        (route("to = []"), ":10: route.to: at least one next hop is needed"),
        (route("to = \"mx\"\ntext = \"x\""), ":11: route.text: belongs to \"reject\", and to nothing else"),
        (route("to = \"lmtp:/run/lmtp\""), ":10: route.to: \"lmtp:/run/lmtp\" is not an LMTP server: write"),
        (route("to = \"maildir:{home}\""), ":10: route.to: \"{home}\" holds braces around something else than user or domain"),
        (route("to = \"mx\"\ntenant = [\"x\"]"), ":11: route.tenant: there is no [[tenant]] of the name \"x\""),
        (route("to = \"mx\"\nstream = [\"x\"]"), ":11: route.stream: no tenant of this route has a stream of the name \"x\""),
        (
            route("to = \"mx\"\nrecipient_domain = []"),
            ":11: route.recipient_domain: an empty list matches nothing; leave the key away to match all",
        ),
        (route("to = \"mx\"\nrecipient_domain = [\"a b\"]"), ":11: route.recipient_domain: \"a b\" is neither a domain"),
        (route("to = \"mx\"\nrecipient = [\"a.example\"]"), ":11: unknown key `route.recipient`"),
        (route("to = \"ses\"\ntls = \"verify\""), ":11: route.tls: is for \"mx\" and \"lmtp://...\"; a smart host has a key"),
        (route("to = \"mx\"\ntls = \"implicit\""), ":11: route.tls: \"implicit\" is for smart hosts and LMTP servers"),
        (route("to = \"lmtp:unix:/l\"\ntls = \"require\""), ":11: route.tls: is for a server that is reached over a network"),
        (domain("mailboxes = [\"postmaster\"]\ntls = \"verify\""), ":5: local_domain.tls: is for \"lmtp://...\"; files need none"),
        (host("tls = \"opportunistic\"\nminimum_tls = \"1.3\""), ":5: smart_host.minimum_tls: means something only where TLS is required"),
        (host("auth_in_clear = \"password\""), ":4: smart_host.auth_in_clear: means something only where a session may be in the clear"),
        (route("to = \"mx\"\nminimum_tls = \"1.3\""), ":11: route.minimum_tls: means something only where TLS is required"),
        (route("to = \"mx\"\npool = \"p\""), ":11: route.pool: there is no [[pool]] of the name \"p\""),
        ("[[pool]]\nname = \"p\"\nsources = [\"s\"]".to_owned(), ":3: pool.sources: there is no [[source]] of the name \"s\""),
        (
            "[[pool]]\nname = \"p\"\nsources = [\"default\"]\nweights = [1, 2]".to_owned(),
            ":4: pool.weights: there is one weight for each source",
        ),
        (host("user = \"u\""), ":4: smart_host.user: a user needs a password or a password_file, and they need a user"),
        (host("user = \"u\"\npassword_file = \"none\""), ":5: smart_host.password_file: cannot read /data/none"),
        (host("user = \"u\"\npassword = \"p\"\ntls = \"opportunistic\""), ":6: smart_host.tls: would let the password pass without TLS"),
        (host("per_day = 0"), ":4: smart_host.per_day: 0 is not between"),
        (domain("mailboxes = [\"ann\"]"), ":4: local_domain.mailboxes: nobody has the name postmaster"),
        (domain("mailboxes = [\"postmaster\", \"a/b\"]"), ":4: local_domain.mailboxes: \"a/b\" is not the local part of a mailbox"),
        (
            domain("aliases = [\"postmaster ann\"]"),
            ":4: local_domain.aliases: \"postmaster ann\" is not an alias: write \"info: ann, boss@elsewhere.example\"",
        ),
        (
            domain("aliases = [\"postmaster: a\", \"a: postmaster\"]"),
            ":1: local_domain: the alias a@here.example goes round in a circle: a@here.example -> postmaster@here.example -> a@here.example",
        ),
        (
            domain("mailboxes = [\"postmaster\"]\naliases = [\"a: ann\"]"),
            ":1: local_domain: a@here.example leads to ann@here.example, and nobody has that name there",
        ),
        (domain("mailboxes = [\"postmaster\"]\ndelimiter = \"++\""), ":5: local_domain.delimiter: \"++\" is not one of"),
        (domain("mailboxes = [\"postmaster\"]\n").replace("maildir:mail", "mx"), ":3: local_domain.to: \"mx\" holds no mailboxes"),
    ] {
        let faults = parse_in(Path::new("/data"), &text).expect_err(&text);
        assert!(faults.contains(&format!("postrider.toml{said}")), "{text}\n{faults}\n{said}");
    }
}
