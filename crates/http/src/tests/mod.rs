//! Requests over a real socket to doors that are played.

mod hand;
mod metrics;
mod played;
mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use postrider_model::doors::SpoolTrouble;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::{IntakeTrouble, JSON_OCTETS_MAX, PAGE_MAX, encode_submission, serve, wire};
use played::{MESSAGE, Played};

struct Socket {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Socket {
    fn open(played: &Arc<Played>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("postrider-http-{}-{number}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let task = tokio::spawn(serve(listener, played.doors(), None));
        Self { path, task }
    }

    /// Sends octets and gives all that comes back.
    async fn say(&self, octets: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        // A server that hung up early is one of the things tested.
        let _ = stream.write_all(octets).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    /// One request; the status and the body.
    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let kind = if path == "/v1/submit" { "application/octet-stream" } else { "application/json" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = self.say(&[head.as_bytes(), body].concat()).await;
        let text = String::from_utf8_lossy(&answer);
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let start = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        (status, answer[start..].to_vec())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.ask("GET", path, b"").await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap_or_else(|trouble| panic!("{path}: {trouble}"))
    }

    async fn refused(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let (status, body) = self.ask(method, path, body).await;
        let said = serde_json::from_slice::<wire::Refused>(&body).map(|refused| refused.error);
        (status, said.unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

fn played(deliveries: u32) -> Arc<Played> {
    Arc::new(Played { deliveries, ..Played::default() })
}

#[tokio::test]
async fn a_queue_is_read_page_by_page() {
    let socket = Socket::open(&played(2_500));
    let mut seen = 0;
    let mut path = "/v1/queue".to_owned();
    loop {
        let page: wire::QueuePage = socket.get(&path).await;
        assert!(page.deliveries.len() <= PAGE_MAX);
        seen += page.deliveries.len();
        let Some(next) = page.next else { break };
        path = format!("/v1/queue?after={next}&max=999999");
    }
    assert_eq!(seen, 2_500);
    let page: wire::QueuePage = socket.get("/v1/queue?max=1").await;
    assert_eq!((page.deliveries.len(), page.deliveries[0].id.as_str()), (1, format!("{MESSAGE}/0").as_str()));
}

#[tokio::test]
async fn a_filter_reaches_the_desk_and_the_clock_dates_a_retry() {
    let played = played(1);
    let socket = Socket::open(&played);
    let _: wire::QueuePage = socket.get("/v1/queue?tenant=shop&host=c.example&site=mx").await;
    let retry = serde_json::to_vec(&wire::Retry { site: Some("mx.c.example".to_owned()), ..wire::Retry::default() }).unwrap();
    let (status, body) = socket.ask("POST", "/v1/retry", &retry).await;
    assert_eq!((status, serde_json::from_slice::<wire::Altered>(&body).unwrap().deliveries), (200, 7));
    let asked = played.asked();
    assert!(asked[0].contains("tenant: Some(\"shop\")") && asked[0].contains("site: Some(\"mx\")"), "{asked:?}");
    assert!(asked[1].contains("mx.c.example") && asked[1].contains("RetryNow(2026-11-23T20:37:00.000Z)"), "{asked:?}");
}

#[tokio::test]
async fn a_message_is_shown_and_explained() {
    let socket = Socket::open(&played(1));
    let shown: wire::Message = socket.get(&format!("/v1/queue/{MESSAGE}")).await;
    assert_eq!((shown.from.as_str(), shown.deliveries[0].to.as_str()), ("<>", "b@c.example"));
    assert_eq!(shown.deliveries[0].last.as_ref().unwrap().diagnosis, "no reply within 300 s");
    assert!(shown.deliveries[0].waiting.is_empty());
    let explained: wire::Message = socket.get(&format!("/v1/explain/{MESSAGE}%2F0")).await;
    assert_eq!(explained.deliveries[0].waiting[0].reason, "the Site rests");
    let status: wire::Status = socket.get("/v1/status").await;
    assert_eq!((status.uptime_seconds, status.health.poisoned.as_deref()), (5, Some("EIO")));
    let sites: wire::Sites = socket.get("/v1/sites").await;
    assert_eq!((sites.sites.len(), sites.total), (PAGE_MAX, 1500));
}

#[tokio::test]
async fn a_hold_tells_what_to_copy_and_ends_with_the_answer() {
    let played = played(1);
    let socket = Socket::open(&played);
    let (status, body) = socket.ask("GET", "/v1/backup", b"").await;
    // The answer has no length beforehand, so it comes in chunks; the line is one of them.
    let text = String::from_utf8(body).unwrap();
    let line = text.lines().find(|line| line.starts_with('{')).unwrap();
    let backup: wire::Backup = serde_json::from_str(line).unwrap();
    assert_eq!(status, 200);
    assert_eq!((backup.files[0].name.as_str(), backup.files[0].octets, backup.files[0].octets_to_copy), ("log/seg-00001", 9, 5));
    assert_eq!(played.asked(), ["hold"]);
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_a_sentence() {
    let socket = Socket::open(&played(0));
    let unknown = "00000000-0000-7000-8000-000000000000";
    let large = vec![b' '; JSON_OCTETS_MAX + 1];
    for (method, path, body, status, said) in [
        ("GET", "/v1/queue/zz".to_owned(), &b""[..], 400, "\"zz\" is not an id"),
        ("GET", format!("/v1/queue/{unknown}"), b"", 404, "no such message waits here"),
        ("GET", format!("/v1/explain/{unknown}"), b"", 404, "no such message waits here"),
        ("GET", format!("/v1/message/{unknown}/content"), b"", 404, "no such message waits here"),
        ("GET", "/v1/queue?after=5".to_owned(), b"", 400, "is not a delivery"),
        ("GET", "/v1/queue?colour=red".to_owned(), b"", 400, "colour"),
        ("GET", "/v1/nothing".to_owned(), b"", 404, "no such resource"),
        ("POST", "/v1/retry".to_owned(), b"{\"all\":true}", 422, "unknown field"),
        ("POST", "/v1/retry".to_owned(), b"[[[[", 422, ""),
        ("POST", "/v1/retry".to_owned(), &large, 413, ""),
        ("POST", "/v1/reload".to_owned(), b"", 422, "line 3 is wrong"),
        ("POST", "/v1/registry/look".to_owned(), b"", 200, "looked"),
    ] {
        let (found, sentence) = socket.refused(method, &path, body).await;
        assert_eq!(found, status, "{path}: {sentence}");
        assert!(sentence.contains(said), "{path}: {sentence}");
    }
}

fn submission(to: &[&str]) -> wire::Submission {
    let to = to.iter().map(|to| (*to).to_owned()).collect();
    wire::Submission { from: "a@shop.example".to_owned(), to, ..wire::Submission::default() }
}

#[tokio::test]
async fn mail_is_handed_over_as_it_is() {
    let played = played(1);
    let socket = Socket::open(&played);
    let body = encode_submission(&submission(&["b@c.example"]), b"A: b\r\n\r\nc\n".strip_suffix(b"c\n").unwrap()).unwrap();
    let (status, answer) = socket.ask("POST", "/v1/submit", &body).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    assert_eq!(serde_json::from_slice::<wire::Accepted>(&answer).unwrap().id, MESSAGE.to_string());
    assert_eq!(played.asked(), ["submit <a@shop.example> [Mailbox(b@c.example)] None \"A: b\\r\\n\\r\\n\""]);
}

#[tokio::test]
async fn mail_that_could_smuggle_or_is_wrong_is_not_handed_over() {
    let played = played(1);
    let socket = Socket::open(&played);
    let good = submission(&["b@c.example"]);
    let mail = |envelope: &wire::Submission, content: &[u8]| encode_submission(envelope, content).unwrap();
    for (body, status, said) in [
        (mail(&good, b"a\nb\r\n"), 422, "a bare LF at octet 1"),
        (mail(&good, b"a\rb\r\n"), 422, "a bare CR at octet 2"),
        (mail(&good, b"a\r\n.\n.\r\n"), 422, "a bare LF at octet 4"),
        (mail(&good, b"a\0\r\n"), 422, "a NUL octet at octet 1"),
        (mail(&good, b"a\r"), 422, "ends in a bare CR"),
        (mail(&submission(&[]), b""), 422, "needs a recipient"),
        (mail(&submission(&["b@c.example\r\nRCPT TO:<x@y.example>"]), b""), 422, "bad "),
        (mail(&submission(&["b@c.example", "nobody"]), b""), 422, "\"nobody\""),
        (Bytes::from_static(b"{}"), 400, "the first line"),
        (Bytes::from_static(b"{\"from\":1}\n"), 400, "is not understood"),
        (Bytes::from_static(b"{\"from\":\"\",\"to\":[],\"bcc\":[]}\n"), 400, "unknown field"),
        (mail(&good, &[b'x'; 2 << 20]), 413, ""),
    ] {
        let (found, sentence) = socket.refused("POST", "/v1/submit", &body).await;
        assert_eq!(found, status, "{sentence}");
        assert!(sentence.contains(said), "{sentence}");
    }
    assert_eq!(played.asked(), [""; 0], "nothing was handed over");
}

#[tokio::test]
async fn the_relays_own_refusal_is_passed_on() {
    for (trouble, status) in
        [(IntakeTrouble::NotNow("the disk is full".to_owned()), 503), (IntakeTrouble::Refused("it loops".to_owned()), 422)]
    {
        let played = Arc::new(Played { intake: Some(trouble.clone()), ..Played::default() });
        let body = encode_submission(&submission(&["b@c.example"]), b"").unwrap();
        let refused = Socket::open(&played).refused("POST", "/v1/submit", &body).await;
        assert_eq!(refused, (status, trouble.to_string()));
    }
}

#[tokio::test]
async fn a_content_is_streamed_whole_or_broken_off() {
    let chunk = Bytes::from(vec![b'x'; 256 * 1024]);
    let whole: Vec<_> = (0..40).map(|_| Ok(chunk.clone())).collect();
    let mut broken = whole.clone();
    broken[20] = Err(SpoolTrouble::Corrupt("a checksum".to_owned()));
    for (chunks, complete) in [(whole, true), (broken, false)] {
        let played = Arc::new(Played { contents: [(MESSAGE, chunks)].into(), ..Played::default() });
        let socket = Socket::open(&played);
        let (status, body) = socket.ask("GET", &format!("/v1/message/{MESSAGE}/content"), b"").await;
        assert_eq!(status, 200);
        assert_eq!(body.ends_with(b"\r\n0\r\n\r\n"), complete, "a broken content has no last chunk");
        let octets = body.iter().filter(|octet| **octet == b'x').count();
        assert_eq!(octets == 40 * chunk.len(), complete);
    }
}

/// The class of OpenSMTPD CVE-2025-62875: whatever comes, the next client is served.
#[tokio::test]
async fn garbage_never_ends_the_service() {
    let socket = Socket::open(&played(1));
    let long_head = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat();
    let many_heads = [b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(10_000)].concat();
    let garbage: Vec<Vec<u8>> = vec![
        vec![],
        b"\0".repeat(100_000),
        vec![0xff; 100_000],
        b"EHLO x\r\nMAIL FROM:<>\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET /v1/status HTTP/9.9\r\n\r\n".to_vec(),
        b"GET \xff\xfe HTTP/1.1\r\n\r\n".to_vec(),
        b"POST /v1/retry HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n".to_vec(),
        b"POST /v1/retry HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /v1/retry HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nzz\r\n".to_vec(),
        b"POST /v1/submit HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
        long_head,
        many_heads,
    ];
    for octets in garbage {
        let mut stream = UnixStream::connect(&socket.path).await.unwrap();
        let _ = stream.write_all(&octets).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let count: wire::Count = socket.get("/v1/queue/count").await;
        assert_eq!(count.deliveries, 1);
    }
    let deep = [b"[".repeat(60_000)].concat();
    assert_eq!(socket.ask("POST", "/v1/retry", &deep).await.0, 422, "refused at its first bracket");
    let members = [b"{\"message\":".to_vec(), b"[".repeat(60_000)].concat();
    assert_eq!(socket.ask("POST", "/v1/retry", &members).await.0, 422);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_let_go() {
    let socket = Socket::open(&played(1));
    let head_max = 2 * crate::HEAD_TIMEOUT_MS;
    let body = "POST /v1/submit HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{";
    for (begun, millis_max) in [("", head_max), ("GET /v1/status HTTP/1.1\r\nhost", head_max), (body, 2 * crate::REQUEST_TIMEOUT_MS)] {
        let before = tokio::time::Instant::now();
        assert!(socket.say(begun.as_bytes()).await.len() < 500);
        assert!(before.elapsed() < std::time::Duration::from_millis(millis_max), "{begun:?}");
    }
    let count: wire::Count = socket.get("/v1/queue/count").await;
    assert_eq!(count.deliveries, 1);
}
