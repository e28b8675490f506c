//! What a stream has done to its messages, through the real program: return paths, one click, fields that go, and one body for all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{Folder, Hop, Relay, Session, config};
use crate::tls::Tls;

/// A relay whose one stream asks for these things, with the domain shop.example, and everything going to this port.
pub fn start(hop: u16, asks: &str, more: &str) -> Relay {
    let folder = Folder::new();
    folder.configure(&config(hop));
    let told = folder.said(&["dkim", "new", "shop.example", "--selector", "s"]);
    let section = told.split("[[domain]]").nth(1).unwrap().split("\n\n").next().unwrap();
    folder.configure(&format!(
        "{}{}\n[[domain]]{section}\nreturn_path = \"back.shop.example\"\n{more}\n\
         [[tenant]]\nname = \"shop\"\n[[tenant.stream]]\nname = \"news\"\nclass = \"bulk\"\n{asks}\n",
        config(hop),
        "[verify]\nstrangers = false\n[web]\nlisten = \"127.0.0.1:0\"\ntls = \"none\"\npublic_url = \"https://mail.test\"\n"
    ));
    Relay::start_in(folder, &[])
}

pub fn to(port: u16) -> String {
    format!(
        "[[smart_host]]\nname = \"hop\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n[[route]]\nname = \"all\"\nto = \"hop\"\n"
    )
}

/// The listener for recipients.
fn web(relay: &Relay) -> SocketAddr {
    let line = relay.said.seen("unsubscribing on http");
    line.split("://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap()
}

/// One request; the status and all that came.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let kind = "application/x-www-form-urlencoded";
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: mail.test\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    (text.split(' ').nth(1).unwrap_or_default().to_owned(), text)
}

/// One transaction to several recipients; the id.
pub fn send(relay: &Relay, from: &str, to: &[&str], content: &str) -> String {
    let mut session = Session::log_in(relay.address("submission"));
    assert!(session.say(&format!("MAIL FROM:<{from}>")).starts_with("250"));
    for to in to {
        assert!(session.say(&format!("RCPT TO:<{to}>")).starts_with("250"));
    }
    assert!(session.say("DATA").starts_with("354"));
    let reply = session.say(&format!("{content}\r\n."));
    assert!(reply.starts_with("250"), "{reply}");
    reply.trim_end().rsplit(' ').next().unwrap().to_owned()
}

/// The value of a field, unfolded.
fn field(taken: &str, name: &str) -> Option<String> {
    let header = taken.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ").replace("\r\n\t", " ");
    header.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(|value| value.trim().to_owned()))
}

/// The path of our link.
fn link(taken: &str) -> String {
    let value = field(taken, "List-Unsubscribe").unwrap();
    value.split("<https://mail.test").nth(1).unwrap().split('>').next().unwrap().to_owned()
}

pub const CONTENT: &str = "From: Shop <news@shop.example>\r\nTo: all@shop.example\r\nSubject: x\r\nBcc: secret@shop.example\r\nX-Internal-Id: 7\r\n\
    X-Keep: 8\r\nContent-Type: text/plain\r\n\r\nhello";

#[test]
fn each_recipient_has_a_return_path_and_a_link_and_what_is_nobodys_business_goes() {
    let hop = Hop::open(|_| None);
    let relay = start(hop.port, "own_return_path = true\none_click = true\nfeedback_id = true\nstrips = [\"X-Internal-\"]", &to(hop.port));
    let recipients = ["a@there.example", "b@there.example", "c@there.example"];
    send(&relay, "bounces@shop.example", &recipients, CONTENT);
    let (mut paths, mut links) = (Vec::new(), Vec::new());
    for _ in recipients {
        let from = hop.hear("MAIL FROM:");
        assert!(from.starts_with("MAIL FROM:<b-") && from.contains("@back.shop.example>"), "{from}");
        let taken = hop.take();
        assert_eq!(field(&taken, "List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
        assert!(field(&taken, "Feedback-ID").unwrap().starts_with("news:shop:bulk:"), "{taken}");
        assert_eq!((field(&taken, "MIME-Version").as_deref(), field(&taken, "X-Keep").as_deref()), (Some("1.0"), Some("8")));
        assert!(!taken.contains("Bcc:") && !taken.contains("X-Internal") && taken.contains("\r\n\r\nhello\r\n"), "{taken}");
        let signed = field(&taken, "DKIM-Signature").unwrap();
        assert!(signed.contains("list-unsubscribe:list-unsubscribe") && signed.contains("feedback-id"), "{signed}");
        paths.push(from);
        links.push(link(&taken));
    }
    paths.sort();
    paths.dedup();
    links.sort();
    links.dedup();
    assert_eq!((paths.len(), links.len()), (3, 3), "no two are alike");
}

#[test]
fn one_click_ends_one_streams_mail_and_a_look_ends_nothing() {
    let hop = Hop::open(|_| None);
    let mut relay = start(hop.port, "one_click = true\n[[tenant.stream]]\nname = \"receipts\"", &to(hop.port));
    let address = web(&relay);
    let (shown, changed) = ("<button name=\"List-Unsubscribe\" value=\"One-Click\">", "does not write to <b>a@there.example</b> any more");
    send(&relay, "news@shop.example", &["a@there.example"], CONTENT);
    let path = link(&hop.take());
    for (method, status, part) in
        [("GET", "200", shown), ("HEAD", "200", ""), ("PUT", "405", ""), ("DELETE", "405", ""), ("GET", "200", shown)]
    {
        let (code, text) = ask(address, method, &path, "");
        assert!(code == status && text.contains(part) && !text.to_lowercase().contains("set-cookie"), "{method} {text}");
    }
    for (path, body, status) in [
        (path.as_str(), "", "400"),
        (&path, "List-Unsubscribe=no", "400"),
        ("/u/AAAA", "List-Unsubscribe=One-Click", "404"),
        (&format!("{path}A"), "List-Unsubscribe=One-Click", "404"),
        ("/", "List-Unsubscribe=One-Click", "404"),
        (&format!("{path}?x=y"), &format!("List-Unsubscribe=One-Click&x={}", "y".repeat(10_000)), "413"),
    ] {
        assert_eq!(ask(address, "POST", path, body).0, status, "{path} {body}");
    }
    // Nothing of that has ended anything.
    send(&relay, "news@shop.example", &["a@there.example"], CONTENT);
    hop.take();
    for _ in 0..2 {
        let (code, text) = ask(address, "POST", &path, "List-Unsubscribe=One-Click");
        assert!(code == "200" && text.contains(changed) && text.contains("no-store"), "{text}");
    }
    assert!(ask(address, "GET", &path, "").1.contains(changed));
    let line = relay.mail.wait(" suppressed ");
    assert!(
        line.contains("to=a@there.example") && line.contains("stream=news") && line.contains("by=one_click client=127.0.0.1"),
        "{line}"
    );
    send(&relay, "news@shop.example", &["A@THERE.example", "b@there.example"], CONTENT);
    let ended = relay.mail.wait(" bounced ");
    assert!(ended.contains("5.7.1") && ended.contains("suppressed: unsubscribed from stream news at "), "{ended}");
    hop.take();
    // Another stream goes on, over a restart, too; and nobody is sent a report.
    relay.signal("TERM");
    let relay = Relay::start_in(relay.ended().2, &[]);
    relay.folder.said(&["send", "--from", "news@shop.example", "--to", "a@there.example", "--tenant", "shop", "--stream", "receipts"]);
    hop.take();
    send(&relay, "news@shop.example", &["a@there.example", "last@there.example"], CONTENT);
    assert!(hop.take().contains("Subject: x"));
    let recipients: Vec<String> = hop.heard.try_iter().filter(|line| line.starts_with("RCPT")).collect();
    assert_eq!(recipients.iter().filter(|line| line.to_lowercase().contains("<a@there.example>")).count(), 3, "{recipients:?}");
    assert!(recipients.iter().all(|line| !line.contains("<news@shop.example>")), "{recipients:?}");
}

#[test]
fn what_comes_back_to_a_token_goes_on_to_the_sender_and_nothing_else_comes_in() {
    // The first recipient is taken, the second waits, so the message is known.
    let hop = Hop::open(|rcpt| rcpt.contains("busy@").then_some("450 4.2.1 later"));
    let asks = "own_return_path = true";
    let relay = start(hop.port, asks, &format!("bounces_to = \"desk@else.example\"\n{}", to(hop.port)));
    send(&relay, "bounces@shop.example", &["a@there.example", "busy@there.example"], CONTENT);
    hop.take();
    let token = hop.hear("MAIL FROM:").split('<').nth(1).unwrap().split('@').next().unwrap().to_owned();
    let bounce = |session: &mut Session, from: &str, to: &str| {
        assert!(session.say(&format!("MAIL FROM:<{from}>")).starts_with("250"));
        session.say(&format!("RCPT TO:<{to}>"))
    };
    let content = "From: MAILER-DAEMON@there.example\r\nSubject: Undelivered\r\n\r\nno such user\r\n.";
    for (local_part, reply) in [
        (token.to_ascii_uppercase().as_str(), "250"),
        (&token.replace("b-", "c-"), "550 5.1.1"),
        (&token[..40], "550 5.1.1"),
        ("bounces", "550 5.1.1"),
        ("postmaster", "250"),
    ] {
        let mut session = Session::open(relay.address("relay"));
        let said = bounce(&mut session, "", &format!("{local_part}@back.shop.example"));
        assert!(said.starts_with(reply), "{local_part}: {said}");
    }
    // Another domain's token is none, and other mail does not ride along.
    let mut session = Session::open(relay.address("relay"));
    assert!(bounce(&mut session, "x@there.example", &format!("{token}@other.shop.example")).starts_with("554 5.7.1"));
    assert!(session.say(&format!("RCPT TO:<{token}@back.shop.example>")).starts_with("250"));
    assert!(session.say("RCPT TO:<postmaster>").starts_with("452 4.5.3"));
    assert!(session.say("DATA").starts_with("354") && session.say(content).starts_with("250"));
    while !hop.hear("MAIL FROM:").starts_with("MAIL FROM:<>") {}
    assert_eq!(hop.hear("RCPT TO:").split(' ').nth(1), Some("TO:<bounces@shop.example>"));
    assert!(hop.take().contains("Subject: Undelivered"));
    // When the message is here no more, the domain's own address has it.
    relay.folder.said(&["queue", "cancel", "--all", "--reason", "a test", "--yes"]);
    let mut session = Session::open(relay.address("relay"));
    assert!(bounce(&mut session, "", &format!("{token}@back.shop.example")).starts_with("250"));
    assert!(session.say("DATA").starts_with("354") && session.say(content).starts_with("250"));
    while !hop.hear("RCPT TO:").starts_with("RCPT TO:<desk@else.example>") {}
}

#[test]
fn what_is_done_is_told_before_and_the_book_is_in_a_persons_hands() {
    let hop = Hop::open(|rcpt| rcpt.contains("busy@").then_some("450 4.2.1 later"));
    let relay = start(hop.port, "own_return_path = true\nfeedback_id = true\nstrips = [\"X-Internal-\"]", &to(hop.port));
    let id = send(&relay, "bounces@shop.example", &["busy@there.example"], CONTENT);
    let told = crate::hops::explained(&relay.folder, &id, "450 4.2.1");
    for part in [
        "Date is added",
        "a token at back.shop.example",
        "Feedback-ID: news:shop:bulk:",
        "Bcc is taken away",
        "X-Internal-Id is taken away",
    ] {
        assert!(told.contains(&format!("prepared  {part}")) || told.contains(part), "{part} in {told}");
    }
    let change = |verb: &str| {
        relay.folder.said(&["suppression", verb, "--tenant", "shop", "--stream", "news", "--reason", "by phone", "Busy@There.example"])
    };
    assert_eq!(relay.folder.said(&["suppression", "list"]), "everybody is written to\n");
    assert!(change("add").starts_with("1 of 1 addresses are not written to any more"));
    let listed = relay.folder.said(&["suppression", "list", "--tenant", "shop"]);
    assert!(listed.contains("shop/news  <busy@there.example>  by the operator: by phone"), "{listed}");
    assert!(relay.folder.said(&["suppression", "list", "--json"]).contains("\"cause\":\"operator\""));
    // What waits ends at its next turn.
    relay.folder.said(&["queue", "retry", "--all"]);
    let mut relay = relay;
    assert!(relay.mail.wait(" bounced ").contains("by the operator's word"));
    let change = |verb: &str| relay.folder.said(&["suppression", verb, "--tenant", "shop", "--stream", "news", "busy@there.example"]);
    assert!(change("remove").starts_with("1 of 1") && change("remove").starts_with("0 of 1"));
    let (refused, _) = relay.folder.complained(&["suppression", "add", "--tenant", "shop", "--stream", "news", "nobody"]);
    assert!(refused.contains("\"nobody\" is not an address"), "{refused}");
}

#[test]
fn keys_and_the_book_outlive_a_kill_and_are_part_of_a_backup() {
    let hop = Hop::open(|_| None);
    let relay = start(hop.port, "one_click = true", &to(hop.port));
    send(&relay, "news@shop.example", &["a@there.example"], CONTENT);
    let path = link(&hop.take());
    assert_eq!(crate::harness::mode(&relay.folder.data().join("tokens")), 0o600);
    assert_eq!(ask(web(&relay), "POST", &path, "List-Unsubscribe=One-Click").0, "200");
    // It was answered, so it is known, whatever happens now.
    let relay = Relay::start_in(relay.kill(), &[]);
    assert!(ask(web(&relay), "GET", &path, "").1.contains("does not write to"));
    let copy = relay.folder.0.join("copy");
    relay.folder.said(&["backup", copy.to_str().unwrap()]);
    let other = Folder::new();
    other.said(&["restore", copy.to_str().unwrap()]);
    let tokens = |folder: &Folder| std::fs::read(folder.data().join("tokens")).unwrap();
    assert_eq!(tokens(&relay.folder), tokens(&other));
    assert_eq!(crate::harness::mode(&other.data().join("tokens")), 0o600);
    drop(relay);
    // What an earlier release kept in a file is taken over, or nothing starts.
    let old = other.data().join("suppressions");
    std::fs::write(&old, "nonsense\n").unwrap();
    let (said, _) = other.complained(&["serve"]);
    assert!(said.contains("who is not written to") && said.contains("backup"), "{said}");
    let line = "{\"on\":{\"tenant\":\"shop\",\"stream\":\"news\",\"mailbox\":\"old@there.example\",\"since_ms\":7,\"cause\":\"operator\",\
                \"message\":null,\"reason\":\"\"}}";
    std::fs::write(&old, format!("{{\"postrider_suppressions\":1}}\n{line}\n")).unwrap();
    let relay = Relay::start_in(other, &[]);
    assert!(ask(web(&relay), "GET", &path, "").1.contains("does not write to"), "the book came with the registry");
    let listed = relay.folder.said(&["suppression", "list"]);
    assert!(
        listed.contains("<a@there.example>") && listed.contains("1970-01-01T00:00:00.007Z  shop/news  <old@there.example>"),
        "{listed}"
    );
    assert!(!old.exists() && relay.folder.data().join("suppressions.imported").exists());
}

#[test]
fn the_link_is_answered_under_tls_with_the_relays_certificate_and_reloads_keep_it() {
    let hop = Hop::open(|_| None);
    let relay = start(hop.port, "one_click = true", &to(hop.port));
    send(&relay, "news@shop.example", &["a@there.example"], CONTENT);
    let path = link(&hop.take());
    relay.signal("TERM");
    let folder = relay.ended().2;
    let file = folder.data().join("postrider.toml");
    let secured = std::fs::read_to_string(&file).unwrap().replace("listen = \"127.0.0.1:0\"\ntls = \"none\"", "listen = \"127.0.0.1:0\"");
    std::fs::write(&file, &secured).unwrap();
    let relay = Relay::start_in(folder, &[]);
    assert!(relay.said.seen("unsubscribing on https://").contains("/u/"));
    let address = web(&relay);
    let certificate = relay.folder.data().join("tls/certificate.pem");
    let say = |text: String| Tls::trusting(TcpStream::connect(address).unwrap(), &certificate).exchange(&text);
    let before = relay.holds();
    // Who speaks no TLS, or breaks off, has ended its own connection.
    for odd in ["GET / HTTP/1.1\r\n\r\n", "", "\x16\x03\x01"] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(odd.as_bytes()).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(say(format!("GET {path} HTTP/1.1\r\nHost: mail.test\r\n\r\n")).contains("<button"));
    let word = "List-Unsubscribe=One-Click";
    let told = say(format!("POST {path} HTTP/1.1\r\nHost: mail.test\r\nContent-Length: {}\r\n\r\n{word}", word.len()));
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("does not write to"), "{told}");
    relay.await_holding(before);
    // The beginning of links follows a reload; the listener needs a restart, and says so.
    std::fs::write(&file, secured.replace("https://mail.test", "https://other.test:8443/mail/")).unwrap();
    relay.folder.said(&["reload"]);
    send(&relay, "news@shop.example", &["b@there.example"], CONTENT);
    assert!(field(&hop.take(), "List-Unsubscribe").unwrap().starts_with("<https://other.test:8443/mail/u/"));
    std::fs::write(&file, secured.replace("listen = \"127.0.0.1:0\"\n", "listen = \"127.0.0.1:0\"\ntls = \"none\"\n")).unwrap();
    assert!(relay.folder.said(&["reload"]).contains("takes effect at the next start: [web]"));
    for (wrong, said) in [
        ("http://mail.test", "RFC 8058 wants https"),
        ("https://", "is not the beginning of links"),
        ("https://a.test/u?x", "is not the beginning"),
    ] {
        std::fs::write(&file, secured.replace("https://mail.test", wrong)).unwrap();
        let (refused, _) = relay.folder.complained(&["reload"]);
        assert!(refused.contains(said) && refused.contains("stays in force"), "{refused}");
    }
}

#[test]
fn a_failure_in_the_session_is_told_to_the_reverse_path_that_the_client_gave() {
    let hop = Hop::open(|rcpt| rcpt.contains("nobody@").then_some("550 5.1.1 unknown"));
    let relay = start(hop.port, "own_return_path = true", &to(hop.port));
    send(&relay, "bounces@shop.example", &["nobody@there.example", "a@there.example"], CONTENT);
    let (mut heard, mut reports) = (Vec::new(), 0);
    while reports == 0 || heard.len() < 6 {
        let line = hop.heard.recv_timeout(crate::harness::PATIENCE).unwrap();
        if line.starts_with("MAIL") || line.starts_with("RCPT") {
            reports += usize::from(line.starts_with("RCPT TO:<bounces@shop.example>"));
            heard.push(line.trim_end().to_owned());
        }
    }
    assert_eq!((reports, heard.iter().filter(|line| line.starts_with("MAIL FROM:<b-")).count()), (1, 2), "{heard:?}");
    assert_eq!(heard.iter().filter(|line| line.starts_with("MAIL FROM:<>")).count(), 1, "{heard:?}");
}

#[test]
fn a_long_line_is_encoded_where_the_stream_mends_and_left_elsewhere() {
    let hop = Hop::open(|_| None);
    let relay = start(hop.port, "rules = \"mend\"\n[[tenant.stream]]\nname = \"plain\"", &to(hop.port));
    let long = "word ".repeat(300);
    let content = format!("From: a@shop.example\r\nSubject: x\r\nSubject: x\r\nKeywords: {long}end\r\n\r\n{long}\r\nshort");
    send(&relay, "a@shop.example", &["b@there.example"], &content);
    let taken = hop.take();
    assert!(taken.lines().all(|line| line.len() <= 998) && taken.contains("Content-Transfer-Encoding: quoted-printable\r\n"), "{taken}");
    assert!(taken.replace("\r\n ", " ").contains(&format!("Keywords: {long}end\r\n")), "folded, and nothing else: {taken}");
    assert_eq!(taken.matches("Subject: x").count(), 1, "one of two that say the same");
    assert!(taken.contains("MIME-Version: 1.0") && taken.replace("=\r\n", "").contains(long.trim_end()), "{taken}");
    assert!(taken.starts_with("DKIM-Signature:"));
    send(&relay, "a@shop.example", &["b@there.example"], "From: Jürgen <a@shop.example>\r\nSubject: Grüße\r\n\r\nx");
    let header = hop.take().split("\r\n\r\n").next().unwrap().to_owned();
    assert!(
        header.is_ascii() && header.contains("From: =?utf-8?B?SsO8cmdlbg==?= <a@shop.example>") && header.contains("Subject: =?utf-8?B?"),
        "{header}"
    );
    let file = relay.folder.0.join("mail.eml");
    std::fs::write(&file, content.replace("\r\n", "\n")).unwrap();
    relay.folder.said(&[
        "send",
        "--from",
        "a@shop.example",
        "--to",
        "b@there.example",
        "--tenant",
        "shop",
        "--stream",
        "plain",
        "--file",
        file.to_str().unwrap(),
    ]);
    let taken = hop.take();
    assert!(taken.contains(&long) && taken.matches("Subject: x").count() == 2, "a plain stream goes as it came");
}
