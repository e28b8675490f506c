//! Speaks to the running relay over its control socket.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use postrider_http::wire;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::data::DataDirectory;
use crate::shown::Clean;

/// Octets of one JSON answer: a page of a thousand deliveries is half a megabyte.
const ANSWER_OCTETS_MAX: usize = 16 * 1024 * 1024;

/// Whose fault it is that a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// No relay runs there.
    NotThere,
    /// This user may not ask it.
    NotAllowed,
    /// The request is not acceptable, now or later.
    Refused,
    /// The relay cannot do it now.
    NotNow,
}

impl TroubleKind {
    /// What kind an error of a [`Client`] is; `None` for all that is neither the relay's word nor its absence.
    pub fn of(trouble: &anyhow::Error) -> Option<Self> {
        trouble.downcast_ref::<RelayTrouble>().map(|trouble| trouble.kind)
    }
}

/// The relay's word, or its absence, as one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
struct RelayTrouble {
    kind: TroubleKind,
    sentence: String,
}

/// A connection to the control socket.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to the relay that runs on this data directory.
    pub async fn connect(data: &Path) -> anyhow::Result<Self> {
        let socket = DataDirectory::new(data).control_socket();
        Self::connect_to(data, &socket).await
    }

    /// Connects to a socket of the relay that runs on this data directory.
    pub async fn connect_to(data: &Path, socket: &Path) -> anyhow::Result<Self> {
        let (_held, path) = crate::data::reachable(socket)?;
        let stream = UnixStream::connect(&path).await.map_err(|trouble| not_running(data, socket, &trouble))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("the control socket does not speak HTTP")?;
        // Its end is seen by the sender, too.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Asks, and reads the answer.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Hands over, and reads the answer.
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: impl Into<Bytes>) -> anyhow::Result<T> {
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<T> {
        let answer = self.request(method, path, body).await?;
        let octets = collect(answer).await?;
        serde_json::from_slice(&octets).context("the relay's answer is not understood: is it another version?")
    }

    /// Asks for a content, and gives it to `take` chunk by chunk until that says enough.
    pub async fn stream(&mut self, path: &str, mut take: impl FnMut(&[u8]) -> io::Result<bool>) -> anyhow::Result<()> {
        let mut body = self.request(Method::GET, path, Bytes::new()).await?.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the content broke off")?;
            if let Some(chunk) = frame.data_ref()
                && !take(chunk)?
            {
                break;
            }
        }
        Ok(())
    }

    /// Asks for an answer whose first line tells something, and which then lasts as long as it is held.
    pub async fn hold<T: DeserializeOwned>(mut self, path: &str) -> anyhow::Result<(T, Held)> {
        let mut body = self.request(Method::GET, path, Bytes::new()).await?.into_body();
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let frame = body.frame().await.context("the relay said nothing")?.context("the answer broke off")?;
            line.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            if line.len() > ANSWER_OCTETS_MAX {
                bail!("the relay's answer has no end");
            }
        }
        let told = serde_json::from_slice(&line).context("the relay's answer is not understood: is it another version?")?;
        Ok((told, Held { body, _client: self }))
    }

    async fn request(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        self.sender.ready().await.context("the relay closed the connection")?;
        let json = if path == "/v1/submit" { "application/octet-stream" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("host", "postrider").header("content-type", json);
        let answer = self.sender.send_request(request.body(Full::new(body))?).await.context("the relay did not answer")?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let octets = collect(answer).await.unwrap_or_default();
        let kind = if status.is_server_error() { TroubleKind::NotNow } else { TroubleKind::Refused };
        Err(RelayTrouble { kind, sentence: refusal(status, &octets) }.into())
    }
}

/// An answer that lasts.
pub struct Held {
    body: Incoming,
    _client: Client,
}

impl Held {
    /// Whether the relay ended it, or ends it within this time.
    pub async fn ends(mut self, within: std::time::Duration) -> bool {
        tokio::time::timeout(within, self.body.frame()).await.is_ok()
    }
}

async fn collect(answer: Response<Incoming>) -> anyhow::Result<Bytes> {
    let limited = Limited::new(answer.into_body(), ANSWER_OCTETS_MAX);
    let collected = limited.collect().await.map_err(|trouble| anyhow!("the relay's answer broke off: {trouble}"))?;
    Ok(collected.to_bytes())
}

/// The relay's own sentence, when it gave one.
fn refusal(status: StatusCode, octets: &[u8]) -> String {
    match serde_json::from_slice::<wire::Refused>(octets) {
        Ok(refused) => refused.error.lines().map(|line| Clean(line).to_string()).collect::<Vec<_>>().join("\n"),
        Err(_) => format!("the relay refused: {status} {}", Clean(&String::from_utf8_lossy(&octets[..octets.len().min(500)]))),
    }
}

fn not_running(data: &Path, socket: &Path, trouble: &io::Error) -> RelayTrouble {
    let data = data.display();
    let (kind, sentence) = match trouble.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => (
            TroubleKind::NotThere,
            format!(
                "no relay runs on the data directory {data} (nobody answers at {}); start one with: postrider --data {data} serve, \
                 or name its directory with --data",
                socket.display()
            ),
        ),
        io::ErrorKind::PermissionDenied => {
            (TroubleKind::NotAllowed, format!("not allowed to open {}: only the user who runs the relay, and root, may", socket.display()))
        }
        _ => (TroubleKind::NotThere, format!("cannot open {}: {trouble}", socket.display())),
    };
    RelayTrouble { kind, sentence }
}

/// A path with its parameters, each value escaped (RFC 3986 §2.1).
pub fn path_with(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut out = path.to_owned();
    let mut mark = '?';
    for (key, value) in parameters.iter().filter_map(|(key, value)| value.map(|value| (key, value))) {
        out.push(mark);
        out.push_str(key);
        out.push('=');
        escape(&mut out, value);
        mark = '&';
    }
    out
}

/// One segment of a path, escaped.
pub fn segment(value: &str) -> String {
    let mut out = String::new();
    escape(&mut out, value);
    out
}

fn escape(out: &mut String, value: &str) {
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
}

/// Reads a file, or standard input for `-`, up to a bound.
pub fn read_input(file: &PathBuf, octets_max: u64) -> anyhow::Result<Vec<u8>> {
    use io::Read;
    let mut octets = Vec::new();
    let reader: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?),
    };
    reader.take(octets_max + 1).read_to_end(&mut octets).with_context(|| format!("cannot read {}", file.display()))?;
    if octets.len() as u64 > octets_max {
        bail!("{} is longer than {octets_max} octets", file.display());
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    #[test]
    fn parameters_are_escaped() {
        let path = super::path_with("/v1/queue", &[("host", Some("[IPv6:::1]&x=ü")), ("site", None), ("max", Some("5"))]);
        assert_eq!(path, "/v1/queue?host=%5BIPv6%3A%3A%3A1%5D%26x%3D%C3%BC&max=5");
        assert_eq!(super::segment("a/0 ?"), "a%2F0%20%3F");
    }
}
