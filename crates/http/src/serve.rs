//! The accept loop of the control socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::doors::ControlDoors;
use crate::routes::routes;
use crate::{CONNECTIONS_MAX, HEAD_TIMEOUT_MS};

/// Answers on the socket until this future is dropped. `owner` is the user id that may talk besides root; `None` asks nobody.
pub async fn serve(listener: UnixListener, doors: ControlDoors, owner: Option<u32>) {
    let service = TowerToHyperService::new(routes(doors));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(trouble) => {
                tracing::warn!(%trouble, "the control socket does not accept");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        if let Err(why) = admit(&stream, owner) {
            tracing::warn!(%why, "a client of the control socket was turned away");
            continue;
        }
        let service = service.clone();
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(HEAD_TIMEOUT_MS)).max_buf_size(64 * 1024);
            // A client that sends garbage or goes away has ended its own connection; there is nobody to tell.
            if let Err(trouble) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%trouble, "a connection to the control socket ended");
            }
            drop(seat);
        });
    }
}

/// The socket's mode and its directory's keep others out already; this holds even where somebody loosened them.
fn admit(stream: &UnixStream, owner: Option<u32>) -> io::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let user = stream.peer_cred()?.uid();
    if may_talk(user, owner) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {user} is neither {owner} nor root")))
}

fn may_talk(user: u32, owner: u32) -> bool {
    user == owner || user == 0
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_owner_and_root_may_talk() {
        for (user, owner, may) in [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)] {
            assert_eq!(super::may_talk(user, owner), may, "{user} {owner}");
        }
    }
}
