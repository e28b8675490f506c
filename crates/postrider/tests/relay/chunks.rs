//! CHUNKING and BINARYMIME through the real program: octets go as they came to who takes them, encoded to who does not, and never raw behind DATA.

use crate::harness::{Folder, Hop, Relay, Session, config};
use crate::hop::Conduct;
use crate::hops::explained;

const CHUNKS: &str = "250-8BITMIME\r\n250-CHUNKING\r\n";
const BINARY: &str = "250-8BITMIME\r\n250-CHUNKING\r\n250-BINARYMIME\r\n";

fn hop(offers: &'static str) -> Hop {
    Hop::with(Conduct { offers, ..Conduct::default() })
}

/// Sends a mail of any octets in one chunk; its id.
fn send_binary(relay: &Relay, to: &str, content: &[u8]) -> String {
    let mut session = Session::log_in(relay.address("submission"));
    for command in ["MAIL FROM:<s@[127.0.0.1]> BODY=BINARYMIME".to_owned(), format!("RCPT TO:<{to}>")] {
        let reply = session.say(&command);
        assert!(reply.starts_with("250"), "{command}: {reply}");
    }
    session.write(&[format!("BDAT {} LAST\r\n", content.len()).as_bytes(), content].concat());
    let reply = session.reply();
    assert!(reply.starts_with("250"), "{reply}");
    reply.trim_end().rsplit(' ').next().unwrap().to_owned()
}

fn image(encoding: &str, body: &str) -> String {
    format!(
        "From: s@a.example\r\nDate: now\r\nMessage-ID: <1@a>\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}"
    )
}

#[test]
fn content_goes_in_chunks_where_they_are_offered() {
    let hop = hop(CHUNKS);
    let mut relay = Relay::start(&config(hop.port));
    let text = format!("Subject: many\r\n\r\n.\r\n{}", "..a line of text\r\n".repeat(20_000));
    // The client stuffs its dots, and the hop sees none of that.
    let stuffed = text.replace("\r\n.", "\r\n..");
    let reply = Session::log_in(relay.address("submission")).send("s@a.example", "x@[127.0.0.1]", stuffed.trim_end());
    assert!(reply.starts_with("250"), "{reply}");
    assert!(hop.take().ends_with(&text));
    relay.mail.wait("delivered");
    let heard = hop.heard_so_far();
    assert!(!heard.contains("DATA"), "{heard}");
    assert!(heard.matches("BDAT").count() > 1 && heard.matches("LAST").count() == 1, "{heard}");
}

#[test]
fn chunks_are_switched_off_by_the_configuration() {
    let hop = hop(BINARY);
    let relay = Relay::start(&config(hop.port).replace("[delivery]\n", "[delivery]\nchunking = false\n"));
    Session::log_in(relay.address("submission")).send("s@a.example", "x@[127.0.0.1]", "Subject: x\r\n\r\ntext");
    assert!(hop.take().ends_with("\r\n.\r\n"));
    assert!(!hop.heard_so_far().contains("BDAT"));
}

#[test]
fn a_chunk_that_is_refused_defers_or_bounces_as_a_refusal_of_data_does() {
    let instead = |line: &str| line.starts_with("BDAT").then_some("452 4.3.1 no room");
    let busy = Hop::with(Conduct { offers: CHUNKS, instead, ..Conduct::default() });
    let mut relay = Relay::start(&config(busy.port));
    let large = format!("Subject: large\r\n\r\n{}", "a line of text\r\n".repeat(20_000));
    for content in ["Subject: small\r\n\r\nsmall", large.as_str()] {
        let reply = Session::log_in(relay.address("submission")).send("s@a.example", "x@[127.0.0.1]", content);
        let line = relay.mail.wait("deferred");
        assert!(line.contains("452 4.3.1 no room"), "{line}");
        explained(&relay.folder, reply.trim_end().rsplit(' ').next().unwrap(), "452 4.3.1 no room");
    }
    assert_eq!(relay.waiting(), 2);

    let instead = |line: &str| (line.starts_with("BDAT") && !line.contains("LAST")).then_some("552 5.3.4 too large");
    let narrow = Hop::with(Conduct { offers: CHUNKS, instead, ..Conduct::default() });
    let mut relay = Relay::start(&config(narrow.port));
    Session::log_in(relay.address("submission")).send("s@[127.0.0.1]", "x@[127.0.0.1]", &large);
    assert!(relay.mail.wait("bounced").contains("552 5.3.4 too large"));
    let report = narrow.take();
    assert!(report.contains("Status: 5.3.4"), "the report, on a session of its own: {report}");
}

#[test]
fn binary_content_goes_as_it_is_or_encoded_and_never_raw_behind_data() {
    let (raw, eight, seven) = (hop(BINARY), hop(CHUNKS), hop(""));
    let hosts = [("raw", raw.port), ("eight", eight.port), ("seven", seven.port)].map(|(name, port)| {
        format!(
            "[[smart_host]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n\
             [[route]]\nname = \"{name}\"\nrecipient_domain = [\"{name}.example\"]\nto = \"{name}\"\n"
        )
    });
    let folder = Folder::new();
    let local = "[[local_domain]]\nname = \"files.example\"\nmailboxes = [\"ann\", \"postmaster\"]\nto = \"maildir:mail/{user}\"\n";
    folder.configure(&format!("{}{}{local}", config(seven.port), hosts.concat()));
    let mut relay = Relay::start_in(folder, &[]);
    let body = "a\nb\0\r\n.\r\n\n.\nMAIL FROM:<evil@b.example>\r";
    let content = image("binary", body);

    send_binary(&relay, "x@raw.example", content.as_bytes());
    assert!(raw.take().ends_with(&content));
    let heard = raw.heard_so_far();
    assert!(heard.contains("BODY=BINARYMIME") && !heard.contains("DATA"), "{heard}");
    relay.mail.wait("delivered");

    let encoded = "YQpiAA0KLg0KCi4KTUFJTCBGUk9NOjxldmlsQGIuZXhhbXBsZT4N\r\n";
    for (name, hop, declared) in [("eight", &eight, "BODY=8BITMIME"), ("seven", &seven, "MAIL FROM:<s@[127.0.0.1]>")] {
        send_binary(&relay, &format!("x@{name}.example"), content.as_bytes());
        let taken = hop.take();
        assert!(taken.contains("Content-Transfer-Encoding: base64\r\n") && taken.contains(encoded), "{taken}");
        assert!(!taken.contains("binary") && !taken.contains("evil"), "{taken}");
        relay.mail.wait("delivered");
        let heard = hop.heard_so_far();
        assert!(heard.contains(declared) && !heard.contains("BINARYMIME"), "{heard}");
    }

    send_binary(&relay, "ann@files.example", content.as_bytes());
    relay.mail.wait("delivered");
    let new = relay.folder.data().join("mail/ann/new");
    let file = std::fs::read_dir(new).unwrap().next().unwrap().unwrap().path();
    assert!(std::fs::read_to_string(file).unwrap().contains(encoded.trim_end()));

    // What no encoding may touch is told to its sender, and nobody hears a word of it before.
    let cannot = image("8bit", body);
    for (name, hop) in [("eight", &eight), ("files", &seven)] {
        send_binary(&relay, &format!("ann@{name}.example"), cannot.as_bytes());
        assert!(relay.mail.wait("bounced").contains("5.6.1"));
        let report = seven.take();
        assert!(report.contains("Status: 5.6.1") && report.contains("cannot be encoded") && !report.contains("evil"), "{report}");
        assert!(name == "files" || !hop.heard_so_far().contains("MAIL"));
        relay.mail.wait("delivered");
    }
}

#[test]
fn what_is_declared_binary_and_is_not_goes_as_text() {
    let hop = hop(CHUNKS);
    let relay = Relay::start(&config(hop.port));
    let content = image("8bit", "plain\r\n.\r\ntext\r\n");
    send_binary(&relay, "x@[127.0.0.1]", content.as_bytes());
    assert!(hop.take().ends_with(&content), "nothing is encoded for nothing");
    assert!(!hop.heard_so_far().contains("BODY="));
}

#[test]
fn a_mailbox_server_is_given_chunks_and_answers_for_each_recipient() {
    let refuse = |line: &str| line.contains("nobody").then_some("550 5.1.1 nobody");
    let hop = Hop::with(Conduct { offers: CHUNKS, refuse, lmtp: true, ..Conduct::default() });
    let route = format!("[[route]]\nname = \"box\"\nto = \"lmtp://127.0.0.1:{}\"\n", hop.port);
    let mut relay = Relay::start(&format!("{}{route}", config(1)));
    let mut session = Session::log_in(relay.address("submission"));
    session.say("MAIL FROM:<>");
    for name in ["ann", "nobody", "bob"] {
        assert!(session.say(&format!("RCPT TO:<{name}@b.example>")).starts_with("250"));
    }
    session.say("DATA");
    assert!(session.say(&format!("Subject: box\r\n\r\n{}\r\n.", "line\r\n".repeat(40_000))).starts_with("250"));
    assert!(hop.take().contains("Subject: box"));
    for told in ["delivered", "bounced", "delivered"] {
        let line = relay.mail.wait("attempt_ms");
        assert!(line.contains(told), "{line}");
    }
    assert!(hop.heard_so_far().contains("LAST"));
}
