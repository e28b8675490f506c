//! Measures the spool on a directory of the real disk: `throughput DIRECTORY [entries]`.
//!
//! Accepts from 200 and from 20 producers, accepts with delivery, and the time and memory of a recovery with many waiting messages.

#![allow(clippy::print_stdout, reason = "it reports to whoever runs it")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postrider_model::doors::{Left, LendLimit, Spool, SpoolDesk};
use postrider_model::{
    Arrival, BodyType, Envelope, Message, MessageId, Outcome, Priority, Protocol, Recipient, Role, Settlement, StreamName, TenantName,
    Timestamp,
};
use postrider_smtp::{Mailbox, Reply, ReversePath};
use postrider_spool::{EmbeddedSpool, Options};

const CONTENT: usize = 10 * 1024;

/// Monotonic seconds; an example may look at the clock.
fn seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU seconds of the process.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn resident_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).map_or(0.0, |pages| pages * 4096.0 / 1048576.0)
}

fn message(number: u64, hosts: u64) -> Message {
    let at = Timestamp::from_millis(1_700_000_000_000 + number / 100);
    let mut entropy = [0; 10];
    entropy[2..].copy_from_slice(&number.to_be_bytes());
    Message {
        id: MessageId::new(at, entropy),
        tenant: TenantName::new("shop"),
        stream: StreamName::new("receipts"),
        envelope: Envelope::new(ReversePath::parse("<bounces@shop.example>").expect("a path"), BodyType::EightBitMime, false),
        arrival: Arrival {
            at,
            role: Role::Submission,
            peer: Some([192, 0, 2, 7].into()),
            hello: "client.shop.example".into(),
            protocol: Protocol::Esmtp,
            tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384".into()),
            credential: None,
        },
        priority: Priority::Normal,
        deadline: None,
        release_at: None,
        mend: Default::default(),
        body_hash: None,
        held: None,
        recipients: vec![Recipient::new(Mailbox::parse(&format!("user{number}@host{}.example", number % hosts)).expect("a mailbox"))],
        content_octets: CONTENT as u64,
    }
}

async fn accept(spool: &EmbeddedSpool, number: u64, hosts: u64, content: &[u8]) {
    let mut staging = spool.stage(Some(content.len() as u64)).await.expect("room");
    for chunk in content.chunks(16 * 1024) {
        if staging.append(chunk) {
            staging.drain().await.expect("room");
        }
    }
    let staged = staging.finish().await.expect("staged");
    let mut message = message(number, hosts);
    message.content_octets = staged.octets;
    spool.accept(Arc::new(message), staged).await.expect("custody");
}

async fn produce(spool: &Arc<EmbeddedSpool>, producers: u64, count: u64, first: u64, hosts: u64, octets: usize) {
    let next = Arc::new(AtomicU64::new(first));
    let content: Arc<[u8]> = (0..octets).map(|nth| b"0123456789abcdef"[nth % 16]).collect();
    let tasks: Vec<_> = (0..producers)
        .map(|_| {
            let (spool, next, content) = (spool.clone(), next.clone(), content.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + count {
                        return;
                    }
                    accept(&spool, number, hosts, &content).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a producer");
    }
}

/// Takes everything out, as workers would.
async fn deliver(spool: Arc<EmbeddedSpool>, count: u64) {
    let now = Timestamp::from_millis(1_800_000_000_000);
    let mut settled = 0;
    while settled < count {
        let groups = spool.ready(now, 64);
        if groups.is_empty() {
            let _ = tokio::time::timeout(Duration::from_millis(20), spool.wait()).await;
        }
        for group in groups {
            loop {
                let lent = spool.lend(&group, now, LendLimit { parcels: 64, recipients_per_parcel: 50 });
                for parcel in lent.parcels {
                    let opened = spool.open(parcel.message).await.expect("a message");
                    assert!(opened.held().is_some_and(|content| content.len() == CONTENT));
                    spool.settle_room().await.expect("a sound log");
                    let outcomes = vec![(0, Outcome::Delivered { reply: Reply::new(250, None, "ok") })];
                    let settlement =
                        Settlement { loan: parcel.loan, message: parcel.message, at: now, attempt: None, outcomes, report: None };
                    spool.settle(settlement).expect("a loan");
                    settled += 1;
                }
                if lent.left != Left::Due {
                    break;
                }
            }
        }
    }
    spool.flush().await.expect("a sound log");
}

fn report(what: &str, count: u64, began: (f64, f64, u64), spool: &EmbeddedSpool) {
    let (wall, cpu, syncs) = (seconds() - began.0, cpu_seconds() - began.1, spool.health().syncs - began.2);
    let per = count as f64;
    println!(
        "{what}: {:.0} msg/s, {:.4} CPU s per 1,000, {:.4} syncs per message, {:.0} MiB resident",
        per / wall,
        cpu / per * 1000.0,
        syncs as f64 / per,
        resident_mib()
    );
}

fn start(spool: &EmbeddedSpool) -> (f64, f64, u64) {
    (seconds(), cpu_seconds(), spool.health().syncs)
}

async fn measure(directory: &Path) {
    for (producers, count) in [(200, 100_000), (20, 30_000), (1, 2_000)] {
        let spool = EmbeddedSpool::open(Options::new(directory)).expect("a spool");
        let began = start(&spool);
        produce(&spool, producers, count, 1, 1000, CONTENT).await;
        report(&format!("accept, {producers} producers"), count, began, &spool);
        let began = start(&spool);
        deliver(spool.clone(), count).await;
        report("  deliver what waits, cold", count, began, &spool);
        spool.close();
    }
    for (producers, count) in [(200, 100_000), (20, 30_000)] {
        let spool = EmbeddedSpool::open(Options::new(directory)).expect("a spool");
        let began = start(&spool);
        let worker = tokio::spawn(deliver(spool.clone(), count));
        produce(&spool, producers, count, 1, 1000, CONTENT).await;
        worker.await.expect("a worker");
        report(&format!("accept and deliver, {producers} producers"), count, began, &spool);
        spool.close();
    }
}

async fn measure_memory(directory: &Path, entries: u64) {
    let before = resident_mib();
    {
        let spool = EmbeddedSpool::open(Options::new(directory)).expect("a spool");
        produce(&spool, 200, entries, 1, 10_000, 300).await;
        println!("{entries} accepted: {:.0} MiB more (with what is warm)", resident_mib() - before);
        spool.close();
    }
}

fn recovery(directory: &Path) {
    let (before, began, cpu) = (resident_mib(), seconds(), cpu_seconds());
    let spool = EmbeddedSpool::open(Options::new(directory)).expect("a spool");
    let (wall, cpu) = (seconds() - began, cpu_seconds() - cpu);
    println!("recovered {} messages in {wall:.2} s ({cpu:.2} CPU s), {:.0} MiB for all", spool.count().messages, resident_mib() - before);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().expect("a directory");
    let entries = arguments.next();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    match entries.as_deref() {
        None => runtime.block_on(measure(&Path::new(&directory).join("throughput"))),
        Some("recover") => recovery(&Path::new(&directory).join("memory")),
        Some(entries) => runtime.block_on(measure_memory(&Path::new(&directory).join("memory"), entries.parse().expect("a number"))),
    }
}
