//! `domain`: what a domain has to publish, and whether it does.

use crate::harness::{Folder, Hop, Relay, Session, config};
use crate::names::Names;

/// A relay with one domain with keys and a return path, and a Source whose address strangers see.
fn set_up(names: &Names) -> Folder {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.data()).unwrap();
    let told = folder.said(&["dkim", "new", "brand.example", "--selector", "s"]);
    let section = told.split("[[domain]]").nth(1).unwrap().split("\n\n").next().unwrap();
    let source = "[[source]]\nname = \"first\"\naddress = \"192.0.2.25\"\nehlo_name = \"relay.test\"\n";
    let text = names.section(&config(25)).replace("[spool]", &format!("{source}[spool]"));
    folder.configure(&format!("{text}\n[[domain]]{section}\nreturn_path = \"bounce.brand.example\"\n"));
    folder
}

/// The records of `--json`, as lines for the DNS server of the test.
fn published(folder: &Folder) -> Vec<String> {
    lines_of(&serde_json::from_str(&folder.said(&["domain", "records", "brand.example", "--json"])).unwrap())
}

fn lines_of(view: &serde_json::Value) -> Vec<String> {
    let line = |record: &serde_json::Value| {
        let (name, kind, value) = (record["name"].as_str().unwrap(), record["type"].as_str().unwrap(), record["value"].as_str().unwrap());
        match record["priority"].as_u64() {
            Some(priority) => format!("{name} {kind} {priority} {value}"),
            None => format!("{name} {kind} {value}"),
        }
    };
    view["records"].as_array().unwrap().iter().map(line).collect()
}

const OWN_NAMES: &str = "relay.test A 192.0.2.25\n192.0.2.25 PTR relay.test\n";

#[test]
fn what_is_printed_is_what_is_checked() {
    let names = Names::serve(OWN_NAMES);
    let folder = set_up(&names);
    let (said, code) = folder.complained(&["domain", "check"]);
    assert_eq!(code, 1, "{said}");
    for part in [
        "MISSING   DKIM key s-rsa",
        "MISSING   DKIM key s-ed25519",
        "MISSING   Return path, MX",
        "MISSING   Return path, SPF",
        "MISSING   DMARC",
        "wanted  _dmarc.brand.example. 3600 IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@brand.example\"",
        "ok        Source first",
        "5 of 7 are wrong.",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let records = published(&folder);
    names.change(&format!("{OWN_NAMES}{}", records.join("\n")));
    let said = folder.said(&["domain", "check", "Brand.example"]);
    assert!(said.contains("All is well.") && !said.contains("MISSING"), "{said}");
    // In the form of a zone file it is the same.
    let zone = folder.said(&["domain", "records", "brand.example", "--zone"]);
    for record in &records {
        let (name, rest) = record.split_once(' ').unwrap();
        let value = rest.split_once(' ').unwrap().1;
        let line = zone.lines().find(|line| line.starts_with(&format!("{name}. ")) && line.replace("\" \"", "").contains(value));
        assert!(line.is_some(), "{record}: {zone}");
    }
    let table = folder.said(&["domain", "records", "brand.example"]);
    assert!(
        table.contains(
            "   type      MX\n   name      bounce\n   in full   bounce.brand.example\n   priority  10\n   value     relay.test\n"
        ),
        "{table}"
    );
}

#[test]
fn each_difference_is_told_and_silence_is_no_difference() {
    let names = Names::serve("");
    let folder = set_up(&names);
    let good = format!("{OWN_NAMES}{}", published(&folder).join("\n"));
    let changed = |from: &str, to: &str| {
        good.lines().map(|line| if line.starts_with(from) { to.to_owned() } else { line.to_owned() }).collect::<Vec<_>>().join("\n")
    };
    for (from, to, code, said) in [
        ("bounce.brand.example MX", "bounce.brand.example MX 10 mx.other.example", 1, "its mail goes to other servers"),
        (
            "bounce.brand.example TXT",
            "bounce.brand.example TXT v=spf1 ip4:198.51.100.1 -all",
            1,
            "change the record so that it reads: v=spf1 ip4:192.0.2.25 ip4:198.51.100.1 -all",
        ),
        ("s-rsa._domainkey", "s-rsa._domainkey.brand.example TXT v=DKIM1; p=", 1, "the key is revoked"),
        (
            "_dmarc",
            "_dmarc.brand.example TXT v=DMARC1; p=none\n_dmarc.brand.example TXT v=DMARC1; p=reject",
            1,
            "there are 2 DMARC records",
        ),
        ("192.0.2.25 PTR", "192.0.2.25 PTR other.test", 1, "does not lead back to it"),
        ("_dmarc", "! _dmarc.brand.example", 3, "unknown   DMARC"),
        ("s-rsa._domainkey", "! s-rsa._domainkey.brand.example", 3, "Nothing is wrong, as far as the DNS answered; 1 records are unknown."),
    ] {
        names.change(&changed(from, to));
        let (told, status) = folder.complained(&["domain", "check"]);
        assert!(told.contains(said), "{said}: {told}");
        assert_eq!(status, code, "{told}");
    }
    names.change(&good);
    let views = folder.said(&["domain", "check", "--json"]);
    for line in views.lines() {
        let view: serde_json::Value = serde_json::from_str(line).unwrap();
        for finding in view["findings"].as_array().unwrap() {
            assert_eq!(finding["state"], "ok", "{finding}");
        }
    }
}

#[test]
fn domains_that_nobody_knows_are_named() {
    let names = Names::serve("");
    let folder = set_up(&names);
    let (said, code) = folder.complained(&["domain", "records", "other.example"]);
    assert!(code == 1 && said.contains("other.example is no domain of this relay (there are brand.example)"), "{said}");
    let (said, _) = folder.complained(&["domain", "check", "a b"]);
    assert!(said.contains("is not a domain"), "{said}");
    let bare = Folder::new();
    let (said, _) = bare.complained(&["domain", "check"]);
    assert!(said.contains("there is no configuration"), "{said}");
}

#[test]
fn a_relay_that_runs_tells_what_drifts_and_stays_quiet_when_the_dns_is() {
    let names = Names::serve("");
    let folder = set_up(&names);
    let good = format!("{OWN_NAMES}{}", published(&folder).join("\n"));
    names.change(&good);
    let file = folder.data().join("postrider.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("[dns]\n", "[dns]\nwatch_every = \"200ms\"\n");
    // Nothing is sent; the address is one that this machine does not have.
    folder.configure(&format!("{text}[metrics]\nlisten = \"127.0.0.1:0\"\n"));
    let mut relay = Relay::start_in(folder, &[]);
    let domains = |relay: &Relay| relay.status()["domains"].clone();
    let wait = |relay: &Relay, wrong: u64, unknown: u64| {
        for _ in 0..2_000 {
            let found = domains(relay);
            if (found["wrong"].as_u64(), found["unknown"].as_u64()) == (Some(wrong), Some(unknown)) {
                return found;
            }
        }
        panic!("{}", domains(relay));
    };
    assert_eq!(wait(&relay, 0, 0)["watched"], 1);
    names.change(&good.replace("_dmarc.brand.example TXT", "elsewhere.brand.example TXT"));
    let line = relay.mail.wait("alarm text=");
    for part in ["domain brand.example: dmarc at _dmarc.brand.example: missing", "what to do: publish the wanted record", "(was ok)"] {
        assert!(line.contains(part), "{line}");
    }
    let fault = wait(&relay, 1, 0)["faults"][0].clone();
    assert_eq!(
        (fault["domain"].as_str(), fault["record"].as_str(), fault["state"].as_str()),
        (Some("brand.example"), Some("dmarc"), Some("missing"))
    );
    let said = relay.folder.said(&["status"]);
    assert!(
        said.contains("domains    1 watched, 1 records wrong") && said.contains("missing  brand.example dmarc at _dmarc.brand.example"),
        "{said}"
    );
    // Nobody answers for it: it is unknown now, and no other change is told.
    names.change(&format!("{good}\n! _dmarc.brand.example"));
    wait(&relay, 0, 1);
    names.change(&good);
    wait(&relay, 0, 0);
    relay.said.wait("dmarc at _dmarc.brand.example: ok");
    let at = relay.said.seen("metrics on http://");
    let address = at.split("http://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    let (_, text) = crate::metrics::get(address, "/metrics").unwrap();
    for line in [
        "postrider_domain_records{domain=\"brand.example\",record=\"key\",state=\"ok\"} 2",
        "postrider_domain_records{domain=\"brand.example\",record=\"dmarc\",state=\"ok\"} 1",
        "postrider_source_names{state=\"ok\"} 1",
        "postrider_alarms_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_domain_that_is_added_is_its_tenants_once_the_dns_proves_it() {
    let names = Names::serve(OWN_NAMES);
    let folder = Folder::new();
    folder.configure(&names.section(&config(25)));
    folder.said(&["tenant", "add", "shop"]);
    let view: serde_json::Value =
        serde_json::from_str(&folder.said(&["domain", "add", "brand.example", "--tenant", "shop", "--json"])).unwrap();
    let records: Vec<String> = lines_of(&view);
    let kinds: Vec<&str> = view["records"].as_array().unwrap().iter().map(|record| record["record"].as_str().unwrap()).collect();
    assert_eq!(kinds[0], "proof");
    for kind in ["return_path_mx", "return_path_spf", "spf", "dmarc"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert!(folder.said(&["domain", "list"]).contains("brand.example of shop: not proven yet"));
    // Silence proves nothing, and takes nothing away.
    let silent: String = records.iter().map(|line| format!("! {}\n", line.split(' ').next().unwrap())).collect();
    names.change(&format!("{OWN_NAMES}{silent}"));
    folder.complained(&["domain", "check"]);
    assert!(folder.said(&["domain", "list"]).contains("not proven yet"));
    names.change(&format!("{OWN_NAMES}{}", records.join("\n")));
    let said = folder.said(&["domain", "check", "brand.example"]);
    assert!(said.contains("ok        Ownership") && said.contains("brand.example (of shop)"), "{said}");
    let listed = folder.said(&["domain", "list"]);
    assert!(listed.contains(": proven 2") && listed.contains("bounce.brand.example ready") && listed.contains(" active"), "{listed}");
    let (said, _) = folder.complained(&["domain", "add", "brand.example", "--tenant", "shop"]);
    assert!(said.contains("has the domain brand.example already"), "{said}");
    let (said, _) = folder.complained(&["domain", "add", "co.uk", "--tenant", "shop"]);
    assert!(said.contains("co.uk is a public suffix") && said.contains("yours.co.uk"), "{said}");
    let rotated = folder.said(&["domain", "rotate", "brand.example", "--tenant", "shop"]);
    assert!(rotated.contains("a new pair of keys") && rotated.contains("._domainkey"), "{rotated}");
    folder.said(&["domain", "remove", "brand.example", "--tenant", "shop"]);
    assert_eq!(folder.said(&["domain", "list"]), "");
}

#[test]
fn who_reads_that_all_is_well_sends_and_hears_of_late_failures() {
    let names = Names::serve(OWN_NAMES);
    let hop = Hop::open(|_| None);
    let config = names.section(&config(hop.port));
    let relay = Relay::start(&format!("{config}[verify]\nstrangers = false\n{}", crate::preparing::to(hop.port)));
    let folder = &relay.folder;
    folder.said(&["tenant", "add", "shop"]);
    let view = serde_json::from_str(&folder.said(&["domain", "add", "brand.example", "--tenant", "shop", "--json"])).unwrap();
    let (_, proof) = crate::registry::key(folder, &["--tenant", "shop"]);
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say(&proof).starts_with("235"));
    let said = session.say("MAIL FROM:<a@brand.example>");
    assert!(said.starts_with("550 5.7.1") && said.contains("postrider domain check brand.example"), "{said}");
    names.change(&format!("{OWN_NAMES}{}", lines_of(&view).join("\n")));
    let said = folder.said(&["domain", "check", "brand.example"]);
    assert!(said.contains("All is well.") && said.contains("no relay listener is reached from elsewhere"), "{said}");
    assert!(session.send("a@brand.example", "b@there.example", "From: a@brand.example\r\n\r\nhello").starts_with("250"));
    let reverse_path = hop.hear("MAIL FROM:").split(['<', '>']).nth(1).unwrap().to_owned();
    assert!(reverse_path.ends_with("@bounce.brand.example"), "{reverse_path}");
    assert!(hop.take().contains("d=brand.example;"));
    for _ in 0..2_000 {
        if relay.waiting() == 0 {
            break;
        }
    }
    // The message is here no more, and nobody said who reads of it.
    let mut stranger = Session::open(relay.address("relay"));
    assert!(stranger.send("", &reverse_path, "From: MAILER-DAEMON@there.example\r\n\r\nThe mailbox is full.").starts_with("250"));
    while !hop.hear("RCPT TO:").starts_with("RCPT TO:<postmaster@brand.example>") {}
    let told = folder.said(&["key", "add", "--tenant", "shop", "--stream", "bulk"]);
    assert!(told.contains("until the configuration has [web] public_url"), "{told}");
}
