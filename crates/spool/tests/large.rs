//! A large content costs the memory of a part of it, and that once: what goes to a file and comes back goes through the same blocks.

mod common;

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use common::disk::MemoryDisk;
use common::{drive, tiny};
use postrider_model::Content;
use postrider_model::doors::{Spool, Staging};
use postrider_spool::EmbeddedSpool;
use postrider_spool::disk::{Disk, DiskFile, Opening};

const OCTETS: usize = 9_000_000;

/// A disk that notes by which blocks of memory large pieces come and go.
struct Noting {
    disk: MemoryDisk,
    blocks: Arc<Mutex<BTreeSet<usize>>>,
}

struct NotingFile {
    file: Arc<dyn DiskFile>,
    blocks: Arc<Mutex<BTreeSet<usize>>>,
}

impl NotingFile {
    fn note(&self, piece: &[u8]) {
        if piece.len() >= 16 * 1024 {
            self.blocks.lock().unwrap().insert(piece.as_ptr() as usize);
        }
    }
}

impl Disk for Noting {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.make_folder(folder)
    }

    fn open(&self, name: &str, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(name, how)?;
        Ok(if name.starts_with("contents") { Arc::new(NotingFile { file, blocks: self.blocks.clone() }) } else { file })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }

    fn free_octets(&self) -> io::Result<u64> {
        self.disk.free_octets()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(name)
    }
}

impl DiskFile for NotingFile {
    fn octets(&self) -> io::Result<u64> {
        self.file.octets()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.note(buffer);
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        slices.iter().for_each(|slice| self.note(slice));
        self.file.write_at(slices, offset)
    }

    fn allocate(&self, octets: u64) -> io::Result<()> {
        self.file.allocate(octets)
    }

    fn set_octets(&self, octets: u64) -> io::Result<()> {
        self.file.set_octets(octets)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

async fn put(staging: &mut dyn Staging, octets: &[u8]) {
    if staging.append(octets) {
        staging.drain().await.unwrap();
    }
}

#[test]
fn a_large_content_goes_through_the_same_blocks() {
    let blocks = Arc::new(Mutex::new(BTreeSet::new()));
    let disk = Noting { disk: MemoryDisk::new(64 * 1024 * 1024), blocks: blocks.clone() };
    let spool = EmbeddedSpool::open_manual(&tiny(), Arc::new(disk)).unwrap();
    let counted = || std::mem::take(&mut *blocks.lock().unwrap()).len();
    // Blocks that are given back could be given out again by chance; these lie in their way.
    let mut in_the_way: Vec<Vec<u8>> = Vec::new();
    let staged = drive(&spool, async {
        let mut staging = spool.stage(Some(OCTETS as u64)).await.unwrap();
        for _ in 0..OCTETS / 10_000 {
            put(&mut *staging, &[b'x'; 10_000]).await;
            in_the_way.push(vec![1; 32 * 1024]);
        }
        staging.finish().await.unwrap()
    })
    .unwrap();
    // The first part grows to its size.
    let written = counted();
    assert!((1..=2).contains(&written), "{written} blocks");
    let read = drive(&spool, async {
        let Content::Streamed(mut source) = spool.read_staged(&staged).await.unwrap() else { panic!("it is too large to be held") };
        let mut octets = 0;
        while let Some(chunk) = source.next().await.unwrap() {
            assert!(chunk.iter().all(|octet| *octet == b'x'));
            octets += chunk.len();
            drop(chunk);
            in_the_way.push(vec![1; 256 * 1024]);
        }
        octets
    });
    assert_eq!((read, counted()), (Some(OCTETS), 1));
    // Who keeps what was read keeps it as it was.
    let kept = drive(&spool, async {
        let Content::Streamed(mut source) = spool.read_staged(&staged).await.unwrap() else { panic!("it is too large to be held") };
        let mut kept = Vec::new();
        while let Some(chunk) = source.next().await.unwrap() {
            kept.push(chunk);
        }
        kept
    });
    let kept = kept.unwrap();
    assert!(kept.iter().map(|chunk| chunk.len()).sum::<usize>() == OCTETS && counted() > 30);
    assert!(kept.iter().flat_map(|chunk| chunk.iter()).all(|octet| *octet == b'x'));
}
