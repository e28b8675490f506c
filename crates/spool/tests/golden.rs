//! A spool as the release before this form wrote it: opened, and everything in it is there.

mod common;

use std::path::{Path, PathBuf};

use common::{accept, deferred, delivered, message, notice, room};
use postrider_model::doors::{Journal, LendLimit, Spool, SpoolDesk};
use postrider_model::{Event, EventKind, Notice, Outcome, Timestamp};
use postrider_spool::{EmbeddedSpool, Options};

const ALL: LendLimit = LendLimit { parcels: 9, recipients_per_parcel: 100 };

fn golden(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/version-{version}"))
}

fn small(folder: &Path) -> Options {
    Options {
        segment_octets: 64 * 1024,
        reserve_octets: 0,
        reserve_segments: 0,
        pool_segments: 0,
        zero_fill: false,
        new_log_id: Some(7),
        ..Options::new(folder)
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// An event in a word.
fn short(event: &Event) -> String {
    let what = match &event.kind {
        EventKind::Accepted { message, .. } => format!("accepted {}", message.recipients.len()),
        EventKind::Settled { delivery, outcome, .. } => {
            let word = match outcome {
                Outcome::Delivered { .. } => "delivered",
                Outcome::Deferred { .. } => "deferred",
                Outcome::Bounced { .. } => "bounced",
            };
            format!("{word} {}", delivery.index)
        }
        EventKind::Noted(Notice::Suppressed { suppression, .. }) => format!("suppressed {}", suppression.mailbox.as_str()),
    };
    format!("{} {} {what}", event.sequence, event.at.millis())
}

#[tokio::test]
async fn a_spool_of_version_2_is_opened_with_its_history() {
    let room = room("golden-2");
    copy(&golden(2), room.path());
    let octets = std::fs::read(room.path().join("journal/1970-01-01.0001")).unwrap();
    assert_eq!((&octets[..4], octets[4]), (&b"PRSJ"[..], 2));
    let spool = EmbeddedSpool::open(small(room.path())).unwrap();
    let history: Vec<String> = spool.read(1, 99).unwrap().iter().map(short).collect();
    assert_eq!(history, ["1 1000 accepted 1", "2 2000 accepted 2", "3 5000 delivered 0", "4 5000 deferred 0", "5 5000 deferred 1"]);
    assert_eq!(spool.count().deliveries, 2);
    let now = Timestamp::from_millis(9_000);
    let groups = spool.ready(now, 10);
    let parcel = spool.lend(&groups[0], now, ALL).parcels.remove(0);
    assert_eq!(&spool.open(parcel.message).await.unwrap().held().unwrap()[..], b"Subject: x\r\n\r\ntwo\r\n");
    spool.settle(delivered(&parcel, now)).unwrap();
    spool.note(notice("b@two.example", 9_500)).await.unwrap();
    spool.close();
    // What is written now stands behind it.
    let spool = EmbeddedSpool::open(small(room.path())).unwrap();
    let history: Vec<String> = spool.read(1, 99).unwrap().iter().map(short).collect();
    assert_eq!(&history[5..], ["6 9000 delivered 0", "7 9000 delivered 1", "8 9500 suppressed b@two.example"]);
}

#[tokio::test]
#[ignore = "writes the golden files of the version that this code writes"]
async fn write_golden_files() {
    let folder = golden(3);
    let spool = EmbeddedSpool::open(small(&folder)).unwrap();
    accept(spool.as_ref(), message(1, 1_000, &["a@one.example"]), b"Subject: x\r\n\r\none\r\n").await.unwrap();
    accept(spool.as_ref(), message(2, 2_000, &["b@two.example", "c@two.example"]), b"Subject: x\r\n\r\ntwo\r\n").await.unwrap();
    let now = Timestamp::from_millis(5_000);
    for group in spool.ready(now, 10) {
        for parcel in spool.lend(&group, now, ALL).parcels {
            let settlement =
                if parcel.deliveries.len() == 1 { delivered(&parcel, now) } else { deferred(&parcel, now, Timestamp::from_millis(8_000)) };
            spool.settle(settlement).unwrap();
            spool.flush().await.unwrap();
        }
    }
    spool.close();
}
