//! A hold on the spool's files for whoever copies them: the answer's first line tells what to copy, and the hold lasts as long as the answer is read.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::body::Chunks;
use crate::doors::ControlDoors;
use crate::trouble::Refusal;
use crate::wire;

/// `GET /v1/backup`: one line of JSON ([`wire::Backup`]), then silence while the hold lasts. The answer ends by itself when the hold was broken.
pub(crate) async fn backup(State(doors): State<ControlDoors>) -> Result<Response, Refusal> {
    let hold = doors.desk.hold().await?;
    let files = hold.files().iter().map(|file| wire::HeldFile {
        name: file.name.clone(),
        octets: file.octets,
        octets_to_copy: file.octets_to_copy,
    });
    let told = wire::Backup { version: doors.about.version.clone(), places: (doors.places)(), files: files.collect() };
    let mut line = serde_json::to_vec(&told).map_err(|trouble| Refusal::bad(trouble.to_string()))?;
    line.push(b'\n');
    let (sender, chunks) = mpsc::channel(1);
    tokio::spawn(async move {
        if sender.send(Ok(Bytes::from(line))).await.is_err() {
            return;
        }
        tokio::select! { biased;
            () = sender.closed() => {}
            () = hold.broken() => {}
        }
        drop(hold);
    });
    Ok(Response::new(Body::new(Chunks { chunks })))
}
