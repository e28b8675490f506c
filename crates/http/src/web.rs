//! The listener for recipients: where the link of List-Unsubscribe leads (RFC 8058), and nothing else.
//!
//! **Promises.** A POST that says `List-Unsubscribe=One-Click` ends a stream's mail to one address, and is answered when that, and the event that tells of it, are on stable
//! storage; said again it is answered the same. A GET shows a page with a button and changes nothing, so a scanner that follows links unsubscribes nobody (RFC 8058 §3.2 asks for a
//! POST without cookies, log-in or questions). A link that was not made here leads nowhere, in the same words for all. What a page shows was in the message; it is
//! escaped, runs no script, and is kept by no cache. Requests are bounded in octets and time, and for each network in a minute; connections in number, in all and for each network.
//!
//! **Never** looks anything up outside, follows a link, or sets a cookie.
//!
//! **Does badly.** Behind a proxy all clients come from the proxy, so the limits for a network are the proxy's part then. One request for each connection.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use postrider_mail::token::{Keys, Subscription};
use postrider_model::MessageId;
use postrider_model::doors::{
    Clock, Connection, Listener, Net, Peer, SuppressedMailbox, Suppressing, Suppression, SuppressionCause, Suppressions,
};
use postrider_smtp::Mailbox;
use tokio::sync::Semaphore;

use crate::pace::Pace;

/// Connections at once; more wait to be accepted.
pub const WEB_CONNECTIONS_MAX: usize = 512;

/// Connections of one network at once, when clients come themselves. A mailbox provider that unsubscribes for its users comes from few addresses.
pub const WEB_CONNECTIONS_PER_NETWORK_MAX: usize = 32;

/// Octets of a request's body; one that unsubscribes has 26.
const BODY_OCTETS_MAX: usize = 8 * 1024;

/// How long a client may take for its handshake, for its request's head, and for all of it until the answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// What the listener reaches the relay through.
#[derive(Clone)]
pub struct WebDoors {
    /// Which links are ours.
    pub tokens: Arc<Keys>,
    /// Where a word of silence is looked up.
    pub suppressions: Arc<dyn Suppressions>,
    /// Who takes one, and tells of it.
    pub suppressing: Arc<dyn Suppressing>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How many requests a network may make in a minute; `None`: as many as it likes.
    pub requests_per_minute: Option<u32>,
}

/// Who asks.
#[derive(Clone, Copy)]
struct Asker(IpAddr);

/// Answers until this future is dropped; under TLS with the relay's certificate when `tls` is there, else in the clear, for a proxy in front.
pub async fn serve_web(listener: Arc<dyn Listener>, tls: Option<Arc<dyn Net>>, doors: WebDoors) {
    let routes = web_routes(doors);
    let room = Arc::new(Semaphore::new(WEB_CONNECTIONS_MAX));
    let networks = Networks::default();
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let (connection, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(trouble) => {
                tracing::warn!(%trouble, "the web listener does not accept");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        // Who comes by a proxy is counted there.
        let seat = match tls.is_some() {
            true => networks.sit(peer.remote.ip()).map(Some),
            false => Some(None),
        };
        let Some(seat) = seat else { continue };
        let (routes, tls) = (routes.clone(), tls.clone());
        tokio::spawn(async move {
            // However it ends, the client has ended its own connection.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, answer(connection, peer, tls, routes)).await;
            drop((place, seat));
        });
    }
}

async fn answer(connection: Box<dyn Connection>, peer: Peer, tls: Option<Arc<dyn Net>>, routes: Router) {
    let connection = match tls {
        None => connection,
        Some(net) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, net.accept_secure(connection)).await {
            Ok(Ok(secured)) => secured.connection,
            Ok(Err(_)) | Err(_) => return,
        },
    };
    let service = TowerToHyperService::new(routes.layer(Extension(Asker(peer.remote.ip()))));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 * 1024).keep_alive(false);
    if let Err(trouble) = builder.serve_connection(TokioIo::new(connection), service).await {
        tracing::debug!(%trouble, "a connection to the web listener ended");
    }
}

/// All that there is.
pub(crate) fn web_routes(doors: WebDoors) -> Router {
    let pace = doors.requests_per_minute.map(|per_minute| Pace::new(per_minute, doors.clock.clone()));
    Router::new()
        .route("/u/{token}", get(page).post(unsubscribe).fallback(async || wrong_method()))
        .layer(DefaultBodyLimit::max(BODY_OCTETS_MAX))
        .with_state(doors)
        .fallback(async || nothing_here())
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(pace, at_pace))
}

/// RFC 6585 §4
async fn at_pace(State(pace): State<Option<Pace>>, request: Request, next: Next) -> Response {
    let asker = request.extensions().get::<Asker>().copied();
    let Some((pace, Asker(address))) = pace.zip(asker) else { return next.run(request).await };
    match pace.may_ask(address) {
        Ok(()) => next.run(request).await,
        Err(seconds) => {
            let text = "<p>Too much was asked from your network in this minute, so nothing was done. Please try again later.</p>";
            let mut response = shown(StatusCode::TOO_MANY_REQUESTS, "Too many requests", text);
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
            response
        }
    }
}

/// A client that begins a request and says no more does not keep its place.
async fn in_time(request: Request, next: Next) -> Response {
    let slow = || shown(StatusCode::REQUEST_TIMEOUT, "Too slow", "<p>The request took too long. Please try again.</p>");
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| slow())
}

/// What the link leads to in a browser. It changes nothing.
async fn page(State(doors): State<WebDoors>, Path(token): Path<String>) -> Response {
    let Some((subscription, mailbox)) = known(&doors, &token) else { return nothing_here() };
    let Subscription { tenant, stream, .. } = &subscription;
    let (to, from) = (escaped(&subscription.mailbox), sender(&subscription));
    match doors.suppressions.suppressed(&tenant.as_str().into(), &stream.as_str().into(), &mailbox).await {
        Ok(Some(_)) => shown(StatusCode::OK, "Unsubscribed", &format!("<p>{from} does not write to <b>{to}</b> any more.</p>")),
        Ok(None) => {
            let text = format!(
                "<p>Shall {from} write to <b>{to}</b> no more?</p><form method=\"post\">\
                 <button name=\"List-Unsubscribe\" value=\"One-Click\">Unsubscribe</button></form>"
            );
            shown(StatusCode::OK, "Unsubscribe", &text)
        }
        Err(trouble) => not_now(&trouble.to_string()),
    }
}

/// RFC 8058 §3.2
async fn unsubscribe(
    State(doors): State<WebDoors>,
    Extension(Asker(peer)): Extension<Asker>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((subscription, mailbox)) = known(&doors, &token) else { return nothing_here() };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !says_one_click(kind, &body) {
        let text = "<p>A POST to this address unsubscribes when it says <code>List-Unsubscribe=One-Click</code> (RFC 8058).</p>";
        return shown(StatusCode::BAD_REQUEST, "Not understood", text);
    }
    let suppression = Suppression {
        tenant: subscription.tenant.as_str().into(),
        stream: subscription.stream.as_str().into(),
        mailbox,
        since: doors.clock.now(),
        cause: SuppressionCause::OneClick,
        message: Some(MessageId(subscription.delivery.message)),
        reason: "".into(),
    };
    match doors.suppressing.suppress(suppression, Some(peer)).await {
        Ok(_) => {
            let (to, from) = (escaped(&subscription.mailbox), sender(&subscription));
            shown(StatusCode::OK, "Unsubscribed", &format!("<p>{from} does not write to <b>{to}</b> any more.</p>"))
        }
        Err(trouble) => not_now(&trouble.to_string()),
    }
}

/// What a token of ours says. One that cannot be read as an address was not made here.
fn known(doors: &WebDoors, token: &str) -> Option<(Subscription, SuppressedMailbox)> {
    let subscription = doors.tokens.unsubscribes(token)?;
    let mailbox = SuppressedMailbox::of(&Mailbox::parse(&subscription.mailbox).ok()?);
    Some((subscription, mailbox))
}

/// Whether a body says `List-Unsubscribe=One-Click`, in either of the forms that RFC 8058 §3.2 allows.
pub(crate) fn says_one_click(kind: &str, body: &[u8]) -> bool {
    let (kind, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let body = String::from_utf8_lossy(body);
    if kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        let boundary = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
        });
        let Some(boundary) = boundary.filter(|boundary| !boundary.is_empty()) else { return false };
        return body.split(&format!("--{boundary}")).any(is_the_part);
    }
    body.split('&').any(|pair| pair.trim() == "List-Unsubscribe=One-Click")
}

fn is_the_part(part: &str) -> bool {
    let Some((head, text)) = part.split_once("\r\n\r\n") else { return false };
    let named = head.lines().any(|line| {
        let (name, value) = line.split_once(':').unwrap_or_default();
        let is_name = |parameter: &str| matches!(parameter.trim(), "name=\"List-Unsubscribe\"" | "name=List-Unsubscribe");
        name.trim().eq_ignore_ascii_case("content-disposition") && value.split(';').any(is_name)
    });
    named && text.trim() == "One-Click"
}

fn sender(subscription: &Subscription) -> String {
    let Subscription { sender, stream, .. } = subscription;
    match sender.as_str() {
        "" => format!("the list <i>{}</i>", escaped(stream)),
        sender => format!("<b>{}</b> (<i>{}</i>)", escaped(sender), escaped(stream)),
    }
}

fn nothing_here() -> Response {
    shown(StatusCode::NOT_FOUND, "Nothing here", "<p>This link leads nowhere, or is no longer known.</p>")
}

fn wrong_method() -> Response {
    let mut response = shown(StatusCode::METHOD_NOT_ALLOWED, "Not like this", "<p>GET shows a page, POST unsubscribes.</p>");
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD, POST"));
    response
}

fn not_now(why: &str) -> Response {
    tracing::error!(why, "nobody can be unsubscribed now");
    let text = "<p>This could not be written down just now, so nothing has changed. Please try again later.</p>";
    let mut response = shown(StatusCode::SERVICE_UNAVAILABLE, "Not now", text);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("300"));
    response
}

fn shown(status: StatusCode, title: &str, text: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title}</title></head><body><h1>{title}</h1>{text}</body></html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, page).into_response()
}

/// Text that is no mark-up, whatever it holds.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter if letter.is_control() => out.push('?'),
            letter => out.push(letter),
        }
    }
    out
}

/// How many connections each network has: an IPv4 address, or the 64 bits that one IPv6 client has for itself.
#[derive(Clone, Default)]
struct Networks(Arc<Mutex<BTreeMap<u128, usize>>>);

/// One connection of a network; given back when dropped.
struct Seat {
    networks: Networks,
    network: u128,
}

impl Networks {
    fn sit(&self, address: IpAddr) -> Option<Seat> {
        let network = match address.to_canonical() {
            IpAddr::V4(four) => u128::from(four.to_ipv6_mapped()),
            IpAddr::V6(six) => u128::from(six) >> 64 << 64,
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_insert(0);
        if *count >= WEB_CONNECTIONS_PER_NETWORK_MAX {
            return None;
        }
        *count += 1;
        Some(Seat { networks: self.clone(), network })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.networks.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_body_are_understood_and_nothing_else_unsubscribes() {
        let form = "application/x-www-form-urlencoded";
        let multipart = "multipart/form-data; boundary=\"x--y\"";
        let part = |name: &str, value: &str| {
            format!("--x--y\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n--x--y--\r\n").into_bytes()
        };
        for (kind, body, understood) in [
            (form, b"List-Unsubscribe=One-Click".to_vec(), true),
            ("", b"List-Unsubscribe=One-Click\r\n".to_vec(), true),
            (form, b"a=b&List-Unsubscribe=One-Click&c=d".to_vec(), true),
            (form, b"List-Unsubscribe=one".to_vec(), false),
            (form, b"xList-Unsubscribe=One-Click".to_vec(), false),
            (form, b"".to_vec(), false),
            (form, vec![0xff; 100], false),
            (multipart, part("name=\"List-Unsubscribe\"", "One-Click"), true),
            ("Multipart/Form-Data;boundary=x--y", part("name=List-Unsubscribe", "One-Click"), true),
            (multipart, part("name=\"List-Unsubscribe\"", "No"), false),
            (multipart, part("name=\"Other\"", "One-Click"), false),
            (multipart, b"List-Unsubscribe=One-Click".to_vec(), false),
            ("multipart/form-data", part("name=\"List-Unsubscribe\"", "One-Click"), false),
            ("multipart/form-data; boundary=", part("name=\"List-Unsubscribe\"", "One-Click"), false),
        ] {
            assert_eq!(says_one_click(kind, &body), understood, "{kind} {:?}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn text_is_no_mark_up() {
        assert_eq!(escaped("<script>'\"&\r\n"), "&lt;script&gt;&#39;&quot;&amp;??");
    }

    #[test]
    fn a_network_has_so_many_places_and_leaves_the_others_theirs() {
        let networks = Networks::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let seats: Vec<_> = (0..WEB_CONNECTIONS_PER_NETWORK_MAX).map(|_| networks.sit(address("2001:db8::1")).unwrap()).collect();
        assert!(networks.sit(address("2001:db8::2:3")).is_none(), "its neighbour is the same client");
        assert!(networks.sit(address("2001:db8:0:1::1")).is_some() && networks.sit(address("192.0.2.1")).is_some());
        drop(seats);
        assert!(networks.0.lock().unwrap().is_empty());
    }
}
