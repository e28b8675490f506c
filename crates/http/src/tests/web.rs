//! The listener for recipients, over loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use postrider_mail::token::{Delivery, Keys, Subscription};
use postrider_model::BoxFuture;
use postrider_model::doors::{Connection, Listener, NetTrouble, Peer, SuppressedMailbox, SuppressionCause, Suppressions};
use postrider_smtp::Mailbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::played::Played;
use super::{Socket, played};
use crate::web::{WebDoors, serve_web};
use crate::wire;

struct Loopback(TcpListener);

impl Listener for Loopback {
    fn accept(&self) -> BoxFuture<'_, Result<(Box<dyn Connection>, Peer), NetTrouble>> {
        Box::pin(async {
            let (stream, remote) = self.0.accept().await.map_err(|trouble| NetTrouble::Other(trouble.to_string()))?;
            let local = stream.local_addr().map_err(|trouble| NetTrouble::Other(trouble.to_string()))?;
            Ok((Box::new(stream) as _, Peer { remote, local }))
        })
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

struct Web {
    address: SocketAddr,
    played: Arc<Played>,
    keys: Keys,
}

impl Web {
    async fn open() -> Self {
        Self::open_for(None).await
    }

    async fn open_for(requests_per_minute: Option<u32>) -> Self {
        let (played, keys) = (played(1), Keys::new(&[(1, [7; 32])]).unwrap());
        let listener = Arc::new(Loopback(TcpListener::bind("127.0.0.1:0").await.unwrap()));
        let address = listener.address();
        let (suppressions, suppressing, clock) = (played.clone(), played.clone(), played.clone());
        let doors = WebDoors { tokens: Arc::new(keys.clone()), suppressions, suppressing, clock, requests_per_minute };
        tokio::spawn(serve_web(listener, None, doors));
        Self { address, played, keys }
    }

    fn path(&self, mailbox: &str) -> String {
        let token = self.keys.unsubscribe_token(&Subscription {
            delivery: Delivery { message: 9, index: 1 },
            tenant: "shop".to_owned(),
            stream: "news".to_owned(),
            sender: "shop.example".to_owned(),
            mailbox: mailbox.to_owned(),
        });
        format!("/u/{}", token.unwrap())
    }

    async fn say(&self, octets: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(octets).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let answer = self.say(format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes()).await;
        (answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0), answer)
    }

    async fn is_suppressed(&self, mailbox: &str) -> bool {
        let mailbox = SuppressedMailbox::of(&Mailbox::parse(mailbox).unwrap());
        self.played.suppressed(&"shop".into(), &"news".into(), &mailbox).await.unwrap().is_some()
    }
}

const WORD: &str = "List-Unsubscribe=One-Click";

#[tokio::test]
async fn a_get_never_unsubscribes_and_a_post_does_once() {
    let web = Web::open().await;
    let path = web.path("bob@there.example");
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"] {
        let (status, text) = web.ask(method, &path, WORD).await;
        let allowed = matches!(method, "GET" | "HEAD");
        assert_eq!((status, text.contains("allow: GET, HEAD, POST")), if allowed { (200, false) } else { (405, true) }, "{text}");
        assert!(!web.is_suppressed("bob@there.example").await, "{method}");
    }
    for _ in 0..3 {
        assert_eq!(web.ask("POST", &path, WORD).await.0, 200);
        assert!(web.is_suppressed("BOB@there.example").await);
    }
    assert_eq!(web.played.asked(), ["suppressed bob@there.example Some(127.0.0.1)"]);
}

#[tokio::test]
async fn who_asks_too_much_is_told_when_to_come_again_and_nothing_is_done() {
    let web = Web::open_for(Some(3)).await;
    let path = web.path("bob@there.example");
    for _ in 0..3 {
        assert_eq!(web.ask("GET", &path, "").await.0, 200);
    }
    let (status, text) = web.ask("POST", &path, WORD).await;
    assert!(status == 429 && text.contains("retry-after: 60") && text.contains("nothing was done"), "{text}");
    assert!(!web.is_suppressed("bob@there.example").await);
}

#[tokio::test]
async fn a_page_escapes_what_it_shows_and_runs_nothing() {
    let web = Web::open().await;
    let (status, text) = web.ask("GET", &web.path("\"<script>alert(1)</script>\"@there.example"), "").await;
    assert!(status == 200 && !text.contains("<script") && text.contains("&lt;script&gt;alert(1)"), "{text}");
    let head = text.split("\r\n\r\n").next().unwrap().to_lowercase();
    for part in ["content-security-policy: default-src 'none'", "cache-control: no-store", "referrer-policy: no-referrer", "nosniff"] {
        assert!(head.contains(part), "{part} in {head}");
    }
    assert!(!head.contains("set-cookie") && text.contains("<b>shop.example</b> (<i>news</i>)"), "{text}");
}

#[tokio::test]
async fn a_word_that_could_not_be_kept_is_not_answered_as_if_it_were() {
    let web = Web::open().await;
    let (status, text) = web.ask("POST", &web.path("full@there.example"), WORD).await;
    assert!(status == 503 && text.contains("retry-after: 300") && text.contains("nothing has changed"), "{text}");
    assert!(!web.is_suppressed("full@there.example").await && web.played.asked().is_empty());
}

#[tokio::test]
async fn forged_links_lead_nowhere_and_garbage_never_ends_the_service() {
    let web = Web::open().await;
    let (path, other) = (web.path("bob@there.example"), Keys::new(&[(1, [8; 32])]).unwrap());
    let forged = other.unsubscribe_token(&web.keys.unsubscribes(path.trim_start_matches("/u/")).unwrap()).unwrap();
    for path in [format!("/u/{forged}"), format!("{path}x"), "/u/".to_owned(), "/u/%00".to_owned(), "/".to_owned(), "/v1/status".to_owned()]
    {
        assert_eq!(web.ask("POST", &path, WORD).await.0, 404, "{path}");
    }
    for garbage in [
        vec![0; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [b"GET /u/".to_vec(), b"a".repeat(1 << 20), b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551615\r\n\r\n{WORD}").into_bytes(),
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{WORD}").into_bytes(),
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 26\r\n\r\nList-Uns").into_bytes(),
    ] {
        web.say(&garbage).await;
    }
    assert!(!web.is_suppressed("bob@there.example").await);
    assert_eq!(web.ask("GET", &path, "").await.0, 200);
}

#[tokio::test]
async fn the_book_is_listed_by_pages_and_changed_by_a_person() {
    let played = played(1);
    let socket = Socket::open(&played);
    let mailboxes: Vec<String> = (0..5).map(|number| format!("m{number}@there.example")).collect();
    let asked = |mailboxes: &[String]| {
        let (tenant, stream, reason) = ("shop".to_owned(), "news".to_owned(), "they wrote".to_owned());
        serde_json::to_vec(&wire::Suppress { tenant, stream, mailboxes: mailboxes.to_vec(), reason }).unwrap()
    };
    for changed in [5, 0] {
        let (_, body) = socket.ask("POST", "/v1/suppressions/add", &asked(&mailboxes)).await;
        assert_eq!(serde_json::from_slice::<wire::Suppressed>(&body).unwrap().changed, changed);
    }
    let first: wire::Suppressions = socket.get("/v1/suppressions?tenant=shop&max=3").await;
    let second: wire::Suppressions = socket.get(&format!("/v1/suppressions?tenant=shop&max=3&after={}", first.next.unwrap())).await;
    assert_eq!((first.suppressions.len(), second.suppressions.len(), second.next), (3, 2, None));
    let one = &second.suppressions[1];
    assert_eq!(
        (one.mailbox.as_str(), one.cause.as_str(), one.reason.as_str()),
        ("m4@there.example", SuppressionCause::Operator.word(), "they wrote")
    );
    let (_, body) = socket.ask("POST", "/v1/suppressions/remove", &asked(&mailboxes[..2])).await;
    assert_eq!(serde_json::from_slice::<wire::Suppressed>(&body).unwrap().changed, 2);
    for (body, said) in [
        (asked(&[]), "an address is missing"),
        (asked(&["nobody".to_owned()]), "is not an address"),
        (br#"{"tenant":"a b","stream":"c","mailboxes":["a@b.example"]}"#.to_vec(), "is not the name of a tenant"),
    ] {
        let (status, refused) = socket.refused("POST", "/v1/suppressions/add", &body).await;
        assert!(status == 400 && refused.contains(said), "{refused}");
    }
}
