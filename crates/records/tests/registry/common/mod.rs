//! A registry on either engine.

pub mod postgres;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use postrider_model::Timestamp;
use postrider_model::doors::{Clock, Entropy};
use postrider_records::Book;
use postrider_records::db::{Database, Sqlite};
use postrider_records::seal::Seal;

pub const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// A clock that the test sets.
pub struct TestClock(pub AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Octets that differ each time.
pub struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(8) {
            let number = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

/// A directory that goes with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("postrider-records-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a test works with.
pub struct World {
    pub clock: Arc<TestClock>,
    pub entropy: Arc<Counting>,
}

impl World {
    pub fn new() -> Self {
        Self { clock: Arc::new(TestClock(AtomicU64::new(1_000_000_000_000))), entropy: Arc::new(Counting(AtomicU64::new(1))) }
    }

    pub fn passes(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    pub async fn book(&self, database: Arc<dyn Database>) -> Book {
        self.book_sealed_with(database, 7).await
    }

    pub async fn book_sealed_with(&self, database: Arc<dyn Database>, key: u8) -> Book {
        Book::open(database, Seal::new(&[key; 32]), self.clock.clone(), self.entropy.clone()).await.unwrap()
    }
}

/// The engines to test on, each with an empty database, and what keeps them alive.
pub fn sqlite(folder: &Folder) -> Arc<dyn Database> {
    Arc::new(Sqlite::open(&folder.0.join("registry.db")).unwrap())
}
