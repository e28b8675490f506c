//! The registry in a person's hands, and a relay that follows.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::{Folder, Hop, Relay, Session, config, mode};

fn shown(folder: &Folder, words: &[&str]) -> Value {
    serde_json::from_str(&folder.said(words)).unwrap()
}

/// A key for AUTH: its user, and what AUTH PLAIN says.
pub fn key(folder: &Folder, words: &[&str]) -> (String, String) {
    let made = shown(folder, &[&["key", "add", "--json"], words].concat());
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let proof = base64(format!("\0{}\0{}", text("user"), text("secret")).as_bytes());
    (text("user"), format!("AUTH PLAIN {proof}"))
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(octets)
}

/// Says a command; the reply begins so.
fn hears(session: &mut Session, command: &str, begins: &str) {
    let said = session.say(command);
    assert!(said.starts_with(begins), "{command}: {said}");
}

#[test]
fn a_key_is_told_with_its_server_and_a_line_to_try() {
    let relay = Relay::start(&config(1));
    let folder = &relay.folder;
    folder.said(&["tenant", "add", "shop", "--sends-as", "anybody"]);
    let port = relay.address("submission").port();
    let told = folder.said(&["key", "add", "--tenant", "shop"]);
    assert!(told.starts_with(&format!("server  127.0.0.1 port {port}, STARTTLS\nuser    pk-")), "{told}");
    let secret = told.split("secret  ").nth(1).unwrap().split('\n').next().unwrap();
    let line = told.lines().find(|line| line.trim_start().starts_with("swaks ")).unwrap();
    assert!(line.contains(&format!("--server 127.0.0.1 --port {port} --tls --auth PLAIN --auth-user pk-")), "{line}");
    assert!(line.contains(&format!("--auth-password {secret} --from you@your-domain.example --to you@example.com")), "{line}");
    let made = shown(folder, &["key", "add", "--tenant", "shop", "--json"]);
    assert_eq!((&made["servers"][0]["port"], &made["servers"][0]["tls"]), (&port.into(), &"starttls".into()));
    // At rest the system's own choice of a port is not known.
    relay.signal("TERM");
    let (_, _, folder) = relay.ended();
    assert!(folder.said(&["key", "add", "--tenant", "shop"]).starts_with("user    pk-"));
}

#[test]
fn a_tenant_is_added_sends_and_is_stopped_while_the_relay_runs() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    let folder = &relay.folder;
    assert!(folder.said(&["tenant", "add", "shop", "--sends-as", "anybody"]).contains("added, with the streams transactional and bulk"));
    let (user, proof) = key(folder, &["--tenant", "shop", "--note", "the web shop"]);
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say(&proof).starts_with("235"));
    assert!(session.send("a@b.example", "c@[127.0.0.1]", "From: a@b.example\r\n\r\nhello").starts_with("250"));
    assert!(hop.take().contains("hello"));
    // A tenant of the registry is suspended as one of the file is; one that nobody knows is not.
    assert!(folder.said(&["queue", "suspend", "--tenant", "shop", "--for", "1d"]).contains("shop"));
    assert!(folder.said(&["queue", "resume", "--tenant", "shop"]).contains("nothing is suspended"));
    let (unknown, _) = folder.complained(&["queue", "suspend", "--tenant", "shed", "--for", "1d"]);
    assert!(unknown.contains("there is no tenant shed"), "{unknown}");
    // Whoever is bound to own domains from now on sends as nobody.
    folder.said(&["tenant", "set", "shop", "--sends-as", "own_domains"]);
    hears(&mut session, "MAIL FROM:<a@b.example>", "550 5.7.1 MAIL FROM: b.example is no domain of shop");
    folder.said(&["tenant", "set", "shop", "--sends-as", "anybody"]);
    hears(&mut session, "MAIL FROM:<a@b.example>", "250");
    session.say("RSET");
    // A key that is revoked ends a session that is open, and opens no other.
    folder.said(&["key", "revoke", &user, "--reason", "it was found on a forum"]);
    hears(&mut session, "MAIL FROM:<a@b.example>", "530 5.7.0");
    let mut other = Session::open(relay.address("submission"));
    assert!(other.say(&proof).starts_with("535"));
    let (said, _) = folder.complained(&["key", "release", &user]);
    assert!(said.contains("it was revoked"), "{said}");
    let listed = shown(folder, &["key", "list", "--tenant", "shop", "--json"]);
    assert_eq!((&listed["state"], &listed["why"]), (&"revoked".into(), &"it was found on a forum".into()));
    assert_eq!(listed["last_used_from"], "127.0.0.1");
    let (_, second) = key(folder, &["--tenant", "shop", "--stream", "bulk", "--network", "10.0.0.0/8"]);
    let mut far = Session::open(relay.address("submission"));
    assert!(far.say(&second).starts_with("535"), "it is good from elsewhere only");
    let (reader, third) = key(folder, &["--tenant", "shop", "--scope", "read"]);
    assert!(Session::open(relay.address("submission")).say(&third).starts_with("535"), "it may not send");
    assert!(folder.said(&["key", "list"]).lines().any(|line| line.starts_with(&reader) && line.contains("to read")));
    // Not a trace of a secret, and nothing that others may read.
    for file in ["registry.db", "registry.key"] {
        assert_eq!(mode(&folder.data().join(file)), 0o600, "{file}");
    }
    let whole = folder.said(&["tenant", "show", "shop"]);
    assert!(whole.contains("stream  bulk: bulk, priority low") && whole.contains("key     pk-"), "{whole}");
}

#[test]
fn a_copy_holds_the_registry_and_what_opens_it() {
    let hop = Hop::open(|_| None);
    let relay = Relay::start(&config(hop.port));
    relay.folder.said(&["tenant", "add", "shop", "--sends-as", "anybody"]);
    relay.folder.said(&["domain", "add", "brand.example", "--tenant", "shop"]);
    let (user, proof) = key(&relay.folder, &["--tenant", "shop"]);
    let copy = relay.folder.0.join("copy").display().to_string();
    relay.folder.said(&["backup", &copy]);
    assert_eq!(mode(&relay.folder.0.join("copy/registry.db")), 0o600);
    let other = Folder::new();
    other.said(&["restore", &copy]);
    let relay = Relay::start_in(other, &[]);
    let mut session = Session::open(relay.address("submission"));
    assert!(session.say(&proof).starts_with("235"), "the key {user} is as good as before");
    assert!(relay.folder.said(&["domain", "list"]).contains("brand.example"));
}

#[test]
fn a_file_says_what_there_is_to_be() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.data()).unwrap();
    let file = folder.0.join("tenants.toml");
    let path = file.display().to_string();
    let text = "[[tenant]]\nname = \"shop\"\nlimits = { messages_per_hour = 100, beyond = \"refuse\" }\n\
                [[tenant.stream]]\nname = \"news\"\nclass = \"bulk\"\nstrips = [\"X-Internal-\"]\n[[tenant.key]]\nnote = \"web\"\nstream = \"news\"\n";
    std::fs::write(&file, text).unwrap();
    let (said, status) = folder.complained(&["apply", &path]);
    let lines = [
        "+ tenant shop",
        "+ stream shop/news: bulk",
        "~ limit shop, all keys together: 100 messages an hour",
        "+ key \"web\" of shop/news",
    ];
    assert!(lines.iter().all(|line| said.contains(line)) && said.contains("nothing was changed"), "{said}");
    assert_eq!(status, 2);
    assert!(folder.said(&["tenant", "list", "--json"]).is_empty());
    let said = folder.said(&["apply", &path, "--yes"]);
    assert!(said.contains("secret") && said.ends_with("done\n"), "{said}");
    assert!(folder.said(&["apply", &path]).starts_with("nothing to do"));
    let limits = shown(&folder, &["limit", "list", "--json"]);
    assert_eq!((&limits["messages_per_hour"], &limits["beyond"]), (&100.into(), &"refuse".into()));
    std::fs::write(&file, text.replace("100", "200").replace("\"bulk\"", "\"bulk\"\npriority = \"high\"")).unwrap();
    let said = folder.said(&["apply", &path, "--yes"]);
    assert!(said.contains("~ stream shop/news: bulk, priority high") && said.contains("200 messages an hour"), "{said}");
    for (wrong, told) in [
        ("tenants = 1", "unknown field `tenants`"),
        ("[[tenant]]\nname = \"a b\"", "a name is 1 to 64"),
        ("[[tenant]]\nname = \"shop\"\n[[tenant]]\nname = \"shop\"", "there twice"),
        ("[[tenant]]\nname = \"shop\"\n[[tenant.stream]]\nname = \"x\"\nclass = \"none\"", "\"none\" is none of transactional, bulk"),
        ("[[tenant]]\nname = \"shop\"\n[[tenant.key]]\nnote = \"x\"\nstream = \"none\"", "there is no stream none"),
    ] {
        std::fs::write(&file, wrong).unwrap();
        let (said, _) = folder.complained(&["apply", &path]);
        assert!(said.contains(told), "{wrong}: {said}");
    }
}

#[test]
fn what_cannot_be_done_is_said_with_its_remedy() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.data()).unwrap();
    for (words, told) in [
        (&["tenant", "show", "nobody"][..], "postrider tenant list"),
        (&["tenant", "add", "a b"], "1 to 64"),
        (&["key", "add", "--tenant", "nobody"], "postrider tenant add nobody"),
        (&["key", "revoke", "pk-none"], "there is no credential pk-none"),
        (&["limit", "set", "--tenant", "nobody", "--messages-per-hour", "1"], "postrider tenant add nobody"),
        (&["stream", "set", "nobody", "x"], "postrider tenant add nobody"),
        (&["stream", "set", "default", "x", "--priority", "urgent"], "none of low, normal, high"),
    ] {
        let (said, _) = folder.complained(words);
        assert!(said.contains(told), "{words:?}: {said}");
    }
    // The tenant of a configuration without any has a place in the registry when it is named.
    assert!(folder.said(&["limit", "set", "--messages-per-hour", "5"]).contains("default, all keys together: 5 messages an hour"));
    folder.said(&["tenant", "add", "shop"]);
    let (said, _) = folder.complained(&["key", "add"]);
    assert!(said.contains("whose? Name one with --tenant: default, shop"), "{said}");
    std::fs::write(folder.data().join("registry.key"), "nonsense").unwrap();
    let (said, _) = folder.complained(&["tenant", "list"]);
    assert!(said.contains("it holds 64 hexadecimal digits"), "{said}");
    std::fs::remove_file(folder.data().join("registry.key")).unwrap();
    std::fs::remove_file(folder.data().join("registry.db")).unwrap();
    std::fs::write(folder.data().join("registry.db"), "a text that somebody put here by mistake, and wants to have back").unwrap();
    std::fs::set_permissions(folder.data().join("registry.db"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let (said, _) = folder.complained(&["tenant", "list"]);
    assert!(said.contains("is corrupt") && said.contains("Remedy: nothing was changed; put it back from a backup"), "{said}");
}
