//! Files and what is said of them.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn host() -> HostName {
    HostName { name: "mx.shop.example".to_owned(), guessed: false }
}

pub(super) fn parse(text: &str) -> Result<Config, Faults> {
    Config::parse(text, "postrider.toml", Path::new("/data"), &host())
}

/// The faults of a text, as they are printed.
pub(super) fn faults(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

/// The commented file with every commented default taken at its word.
fn uncommented(file: &str) -> String {
    let bare = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    file.lines().map(bare).collect::<Vec<_>>().join("\n")
}

fn first_file() -> String {
    let credential = FirstCredential { user: "app".to_owned(), secret_sha256: "5e".repeat(32) };
    commented_file(&host(), 7, Some(&credential))
}

#[test]
fn the_commented_file_says_the_defaults() {
    let absent =
        parse("[[credential]]\nuser = \"app\"\nsecret_sha256 = \"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e\"")
            .unwrap();
    let mut spelled = parse(&uncommented(&first_file())).unwrap_or_else(|faults| panic!("{faults}"));
    let as_it_stands = parse(&first_file()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(format!("{as_it_stands:#?}"), format!("{absent:#?}"));
    assert_eq!(spelled.workers.take(), Some(7));
    assert_eq!(format!("{spelled:#?}"), format!("{absent:#?}"));
}

#[test]
fn the_commented_file_names_every_key_and_no_other() {
    let example = |line: &str| line.strip_prefix("#   ").filter(|rest| rest.starts_with('[') || rest.contains(" = ")).map(str::to_owned);
    let spelled: Vec<String> = first_file().lines().map(|line| example(line).unwrap_or_else(|| line.to_owned())).collect();
    let text = uncommented(&spelled.join("\n"));
    let collector = Collector::new(&text);
    let folder = secrets("keys");
    read(&text, &folder, &host(), &collector);
    std::fs::remove_dir_all(&folder).unwrap();
    let known = collector.keys();
    collector.verdict("the commented file").unwrap_or_else(|faults| panic!("{faults}"));
    let mut written = BTreeSet::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(|c| c == '[' || c == ']').to_owned();
            let parts: Vec<&str> = section.split('.').collect();
            written.extend((1..=parts.len()).map(|n| parts[..n].join(".")));
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            written.insert(format!("{section}.{key}"));
            let members = value.split(['{', ',']).filter_map(|member| member.split_once(" = "));
            written.extend(members.map(|(member, _)| format!("{section}.{key}.{}", member.trim())));
        }
    }
    assert_eq!(written, known, "left: in the file; right: in the code");
}

/// A folder with the passwords and the keys that the examples name.
pub(super) fn secrets(name: &str) -> std::path::PathBuf {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let folder = std::env::temp_dir().join(format!("postrider-config-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["brevo.password", "proxy.password"] {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(folder.join(name)).unwrap();
        file.write_all(b"secret\n").unwrap();
    }
    let wanted = crate::cli::dkim::NewArguments { domain: "brand.example".to_owned(), selector: "postrider".to_owned(), json: true };
    crate::cli::dkim::make(&folder, &wanted).unwrap();
    folder
}

#[test]
fn each_fault_is_told_with_its_line() {
    for (text, said) in [
        ("[limits]\nrecipient_max = 5", "postrider.toml:2: unknown key `limits.recipient_max`; did you mean `recipients_max`?"),
        ("\n\n[lmits]\nx = 1", "postrider.toml:3: unknown key `lmits`; did you mean `limits`?"),
        ("[limits]\nrecipients_max = 0", "postrider.toml:2: limits.recipients_max: 0 is not between 1 and 100000"),
        ("[limits]\nrecipients_max = -1", "postrider.toml:2: limits.recipients_max: -1 is not between 1 and 100000"),
        ("[limits]\nrecipients_max = \"5\"", "postrider.toml:2: limits.recipients_max: expected a whole number, found a text"),
        ("limits = 1", "postrider.toml:1: limits: expected a section `[limits]`, found a number"),
        ("[retry]\nintervals = []", "postrider.toml:2: retry.intervals: at least one is needed"),
        ("[tenant]\nname = \"a\"", "postrider.toml:1: tenant: expected sections `[[tenant]]`, found a section"),
        ("[relay]\nhost_name = \"a b\"", "postrider.toml:2: relay.host_name: \"a b\" is not a domain: bad domain"),
        (
            "[[credential]]\nuser = \"a\"\nsecret_sha256 = \"abc\"",
            "postrider.toml:3: credential.secret_sha256: expected 64 hexadecimal digits (the SHA-256 of the secret), found 3 letters",
        ),
        ("[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:25\"", "postrider.toml:1: listener.role: the key is missing"),
        (
            "[[tenant]]\nname = \"a\"\n[[tenant.stream]]\nname = \"b\"\nstrips = [\"fro\"]",
            "postrider.toml:5: tenant.stream.strips: \"fro\" would take From away, and leave no message",
        ),
        (
            "[web]\npublic_url = \"http://a.example\"\nlisten = \"127.0.0.1:443\"",
            "postrider.toml:2: web.public_url: \"http://a.example\" is not the beginning of links, such as \"https://mail.example.com\"; RFC 8058 wants https",
        ),
        ("[web]\npublic_url = \"https://a.example\"", "postrider.toml:2: web.public_url: nobody would answer there: set listen, too"),
        ("listener = []", "postrider.toml:1: listener: at least one is needed"),
        (
            "[[source]]\nname = \"a\"\nproxy = \"socks5://proxy.example:1080\"",
            "postrider.toml:3: source.proxy: \"socks5://proxy.example:1080\" is not a proxy: write \"socks5://192.0.2.1:1080\", or \"proxy-v2://192.0.2.1:2525\" for one that reads a PROXY header",
        ),
        (
            "[[source]]\nname = \"a\"\nproxy = \"proxy-v1://192.0.2.1:25\"",
            "postrider.toml:3: source.proxy: needs an address: the one that the proxy is to send from, which stands in the PROXY header",
        ),
        (
            "[[source]]\nname = \"a\"\nproxy = \"socks5://192.0.2.1:25\"\nproxy_user = \"u\"",
            "postrider.toml:4: source.proxy_user: a proxy_user needs a proxy_password_file, and it needs a proxy_user",
        ),
        (
            "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:25\"\nrole = \"submission\"\ntls = \"none\"",
            "postrider.toml:5: listener.tls: a submission listener without TLS takes no AUTH, so nobody could send; set tls, or auth_in_clear = true",
        ),
    ] {
        assert_eq!(faults(text), said, "{text}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    for (text, line) in [("[relay]\nhost_name = \"open", 2), ("[relay\n", 1), ("a = 1\na = 2", 2), ("a = 1\n\u{1b}[2J", 2)] {
        let said = faults(text);
        assert!(said.starts_with(&format!("postrider.toml:{line}: not TOML: ")), "{text:?}: {said}");
    }
}

#[test]
fn all_faults_are_told_at_once_in_order() {
    let text = "[relay]\nworker = 1\n[retry]\nintervals = [\"1m\", \"soon\", \"never\"]\n[[credential]]\nuser = \"a\"\ntenant = \"x\"\n";
    let said = faults(text);
    let lines: Vec<&str> = said.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    let at = |line: usize| format!("postrider.toml:{line}");
    assert_eq!(lines, [at(2), at(4), at(4), at(5), at(7)], "{said}");
}

#[test]
fn names_are_given_once_and_found() {
    let credential = |tail: &str| format!("[[credential]]\nuser = \"a\"\nsecret_sha256 = \"{}\"\n{tail}", "00".repeat(32));
    let tenants =
        "[[tenant]]\nname = \"shop\"\n[[tenant.stream]]\nname = \"receipts\"\npriority = \"high\"\n[[tenant.stream]]\nname = \"news\"\n";
    let good = parse(&format!("{tenants}{}", credential("stream = \"news\""))).unwrap();
    assert_eq!((good.credentials[0].tenant.as_str(), good.credentials[0].stream.as_str()), ("shop", "news"));
    let first = parse(&format!("{tenants}{}", credential(""))).unwrap();
    assert_eq!(first.credentials[0].priority, Priority::High);
    for (text, said) in [
        (credential("tenant = \"x\""), "postrider.toml:4: credential.tenant: there is no [[tenant]] of the name \"x\""),
        (credential("stream = \"x\""), "postrider.toml:4: credential.stream: the tenant default has no stream of the name \"x\""),
        (credential("").repeat(2), "postrider.toml:5: credential.user: a is taken by another credential"),
        (tenants.repeat(2), "postrider.toml:9: tenant.name: shop is taken by another tenant"),
        ("[[source]]\nname = \"s\"\n".repeat(2), "postrider.toml:4: source.name: s is taken by another source"),
    ] {
        assert_eq!(faults(&text), said);
    }
}

#[test]
fn a_host_name_is_found_or_stood_in_for() {
    let hosts = "127.0.0.1 localhost.localdomain localhost\n192.0.2.1 mail mail.shop.example # mail x.example\n";
    for (node, name, guessed) in [
        ("mx1.shop.example", "mx1.shop.example", false),
        ("mail", "mail.shop.example", false),
        ("other", "localhost.localdomain", true),
        ("localhost", "localhost.localdomain", true),
        ("bad_.-name.", "localhost.localdomain", true),
    ] {
        assert_eq!(qualified(node, hosts), HostName { name: name.to_owned(), guessed }, "{node}");
    }
}

#[test]
fn the_built_in_providers_are_sound_and_can_be_changed() {
    let shipped = provider::built_in().unwrap_or_else(|faults| panic!("{faults}"));
    assert!(shipped.len() > 3);
    let as_shipped = parse("").unwrap().snapshot.providers;
    assert_eq!(as_shipped[..shipped.len()], shipped[..]);
    assert_eq!(as_shipped.last().unwrap().matches, postrider_model::policy::ProviderMatch::All);
    let printed: Vec<String> = as_shipped.iter().map(provider_in_toml).collect();
    assert_eq!(parse(&printed.join("\n")).unwrap_or_else(|faults| panic!("{faults}")).snapshot.providers, as_shipped);
    let changed = parse("[[provider]]\nname = \"google\"\nconnections = 3\n[[provider]]\nname = \"mine\"\nmatch = [\".google.com\"]\n");
    let changed = changed.unwrap().snapshot.providers;
    assert_eq!(changed[0].name.as_str(), "mine");
    let google = changed.iter().find(|provider| provider.name.as_str() == "google").unwrap();
    assert_eq!((google.connections_max, google.rules.is_empty()), (3, false));
}

#[test]
fn the_packaged_file_is_sound() {
    let packaged = include_str!("../../../../packaging/debian/postrider.toml");
    let config = parse(packaged).unwrap_or_else(|faults| panic!("{faults}"));
    let ports: Vec<u16> = config.listeners.iter().map(|listener| listener.address.port()).collect();
    assert_eq!(ports, [587, 465, 25]);
    assert!(config.listeners.iter().all(|listener| listener.address.ip().is_loopback()), "nothing is open to the world as it comes");
    let socket = config.sendmail_socket.unwrap();
    assert_eq!(socket, Path::new(crate::cli::sendmail::PACKAGED_SOCKET));
}

/// A page that shows a configuration which is refused would cost somebody an evening.
#[test]
fn the_configuration_of_the_production_page_is_sound() {
    let page = include_str!("../../../../docs/production.md");
    let text = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = parse(&text.replace("\"...\"", &format!("\"{}\"", "5e".repeat(32)))).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!((config.listeners.len(), config.credentials.len(), config.snapshot.sources.len()), (2, 1, 1));
}

#[test]
fn a_wrong_provider_is_told() {
    for (keys, said) in [
        ("match = []", "2: provider.match: an empty list matches nothing; leave the key away to match every Site"),
        (
            "message_rate = \"10\"",
            "2: provider.message_rate: \"10\" is not a rate such as \"10/1m\", or \"10/1m+3\" for three at once after a pause",
        ),
        (
            "message_rate = \"0/1m\"",
            "2: provider.message_rate: \"0/1m\" is not a rate such as \"10/1m\", or \"10/1m+3\" for three at once after a pause",
        ),
        ("rest = \"2h\"", "2: provider.rest: the first rest is longer than rest_max"),
        ("rules = [{ code = 250, action = \"defer\" }]", "2: provider.rules.code: 250 does not begin a negative reply (4yz or 5yz)"),
        ("rules = [{ action = \"rest\" }]", "2: provider.rules.action: needs `for`, such as for = \"20m\""),
        ("rules = [{ action = \"defer\", rate = \"1/1s\" }]", "2: provider.rules.rate: belongs to \"slow\", and to nothing else"),
        (
            "rules = [{ contains = \"Busy\", action = \"defer\" }]",
            "2: provider.rules.contains: \"Busy\" is not in lower case, so it would never be found",
        ),
        ("conections = 5", "2: unknown key `provider.conections`; did you mean `connections`?"),
    ] {
        let text = format!("[[provider]]\n{keys}\nname = \"p\"\n");
        assert_eq!(faults(&text), format!("postrider.toml:{said}"), "{text}");
    }
}

#[path = "../../fuzz/checks.rs"]
mod checks;

/// The fuzz corpus, each text as it stands, cut anywhere, and with odd octets.
#[test]
fn the_fuzz_corpus_passes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/config");
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let input = std::fs::read(entry.expect("readable").path()).expect("readable");
        checks::config(&input);
        for at in (0..input.len()).step_by(7) {
            checks::config(&input[..at]);
            for odd in *b"\"=[]\n#-9.\xff" {
                let mut damaged = input.clone();
                damaged[at] = odd;
                checks::config(&damaged);
            }
        }
        replayed += 1;
    }
    assert!(replayed >= 5, "{replayed}");
}
