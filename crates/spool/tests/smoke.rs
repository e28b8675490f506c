//! A message's way through the engine on the real disk, restarts included.

mod common;

use common::{accept, delivered, message, options, room};
use postrider_model::doors::{Journal, Left, LendLimit, Spool, SpoolDesk};
use postrider_model::{Group, Timestamp};
use postrider_spool::{EmbeddedSpool, Options};

const ONE: LendLimit = LendLimit { parcels: 1, recipients_per_parcel: 100 };

#[tokio::test]
async fn accepted_lent_opened_settled_and_gone_after_a_restart() {
    let room = room("smoke");
    let now = Timestamp::from_millis(5_000);
    {
        let spool = EmbeddedSpool::open(options(&room)).unwrap();
        for nth in 0..3 {
            accept(spool.as_ref(), message(nth, 1_000 + nth, &["a@one.example", "b@one.example"]), b"Subject: x\r\n\r\nhello\r\n")
                .await
                .unwrap();
        }
        let groups = spool.ready(now, 10);
        assert_eq!(groups.len(), 1);
        let lent = spool.lend(&groups[0], now, ONE);
        assert_eq!((lent.parcels.len(), lent.parcels[0].deliveries.len(), lent.left), (1, 2, Left::Due));
        let opened = spool.open(lent.parcels[0].message).await.unwrap();
        assert_eq!(&opened.held().unwrap()[..], b"Subject: x\r\n\r\nhello\r\n");
        spool.settle(delivered(&lent.parcels[0], now)).unwrap();
        spool.flush().await.unwrap();
    }
    for round in 0..3 {
        let spool = EmbeddedSpool::open(options(&room)).unwrap();
        let groups = spool.ready(now, 10);
        assert_eq!(groups, [Group::Host(postrider_smtp::Host::parse("one.example").unwrap())], "round {round}");
        let lent = spool.lend(&groups[0], now, LendLimit { parcels: 9, recipients_per_parcel: 100 });
        assert_eq!((lent.parcels.len(), lent.left), (2, Left::Empty), "round {round}");
        let opened = spool.open(lent.parcels[1].message).await.unwrap();
        assert_eq!(&opened.held().unwrap()[..], b"Subject: x\r\n\r\nhello\r\n");
        if round == 1 {
            spool.close();
        }
    }
    assert!(EmbeddedSpool::open(options(&room)).is_ok());
}

#[tokio::test]
async fn a_large_content_is_streamed_from_its_file_and_the_file_goes_in_the_end() {
    let room = room("large");
    let now = Timestamp::from_millis(5_000);
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    {
        let spool = EmbeddedSpool::open(options(&room)).unwrap();
        accept(spool.as_ref(), message(1, 1_000, &["a@one.example"]), &content).await.unwrap();
    }
    let spool = EmbeddedSpool::open(options(&room)).unwrap();
    let groups = spool.ready(now, 10);
    let lent = spool.lend(&groups[0], now, ONE);
    let opened = spool.open(lent.parcels[0].message).await.unwrap();
    let postrider_model::Content::Streamed(mut source) = opened.content else { panic!("held") };
    let mut read = Vec::new();
    while let Some(chunk) = source.next().await.unwrap() {
        assert!(chunk.len() <= 256 * 1024);
        read.extend_from_slice(&chunk);
    }
    assert!(read == content);
    assert_eq!(std::fs::read_dir(room.path().join("contents")).unwrap().count(), 1);
    spool.settle(delivered(&lent.parcels[0], now)).unwrap();
    spool.flush().await.unwrap();
    spool.close();
    drop(spool);
    drop(EmbeddedSpool::open(options(&room)).unwrap());
    assert_eq!(std::fs::read_dir(room.path().join("contents")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_journal_that_falls_behind_reads_the_log_while_it_is_written() {
    let room = room("behind");
    let options = Options { events_in_memory: 4, ..options(&room) };
    let spool = EmbeddedSpool::open(options).unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|task| {
            let spool = spool.clone();
            tokio::spawn(async move {
                for nth in 0..50 {
                    accept(spool.as_ref(), message(task * 1_000 + nth, 1_000, &["a@one.example"]), b"x").await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(spool.health().poisoned, None);
    spool.close();
    let mut next = 1;
    while next <= 2_000 {
        let events = spool.read(next, 300).unwrap();
        for event in events {
            assert_eq!(event.sequence, next);
            next += 1;
        }
    }
}
