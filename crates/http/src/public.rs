//! The socket where every user of the machine may hand mail over (`[sendmail] socket`), and do nothing else.
//!
//! **Promises.** The system tells who is at the other end, and the message keeps it. One user has at most [`USER_CONNECTIONS_MAX`] connections, so that
//! nobody keeps the others out; the control socket has places of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::doors::ControlDoors;
use crate::routes::public_routes;
use crate::submit::User;
use crate::{CONNECTIONS_MAX, HEAD_TIMEOUT_MS};

/// Connections of one user at once; more are closed, and the client tries again later.
pub const USER_CONNECTIONS_MAX: usize = 2;

/// Answers on the socket until this future is dropped.
pub async fn serve_public(listener: UnixListener, doors: ControlDoors) {
    let routes = public_routes(doors);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let users = Users::default();
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(trouble) => {
                tracing::warn!(%trouble, "the socket for sendmail does not accept");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        // A client that is gone already has no user.
        let Ok(user) = stream.peer_cred().map(|facts| facts.uid()) else { continue };
        let Some(seat) = users.sit(user) else {
            tracing::warn!(user, "a user has {USER_CONNECTIONS_MAX} connections to the socket for sendmail; one more was closed");
            continue;
        };
        let service = TowerToHyperService::new(routes.clone().layer(Extension(User(user))));
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(HEAD_TIMEOUT_MS)).max_buf_size(64 * 1024);
            // One request for one connection: a seat is for handing over, not for staying.
            builder.keep_alive(false);
            if let Err(trouble) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%trouble, "a connection to the socket for sendmail ended");
            }
            drop((place, seat));
        });
    }
}

/// How many connections each user has.
#[derive(Clone, Default)]
struct Users(Arc<Mutex<BTreeMap<u32, usize>>>);

/// One connection of a user; given back when dropped.
struct Seat {
    users: Users,
    user: u32,
}

impl Users {
    fn sit(&self, user: u32) -> Option<Seat> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(user).or_insert(0);
        if *count >= USER_CONNECTIONS_MAX {
            return None;
        }
        *count += 1;
        Some(Seat { users: self.clone(), user })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.users.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_places_and_leaves_the_others_theirs() {
        let users = Users::default();
        let seats: Vec<_> = (0..USER_CONNECTIONS_MAX).map(|_| users.sit(1000).unwrap()).collect();
        assert!(users.sit(1000).is_none());
        assert!(users.sit(1001).is_some());
        drop(seats);
        assert!(users.sit(1000).is_some());
        assert!(users.0.lock().unwrap().is_empty());
    }
}
