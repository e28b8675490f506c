use postrider_model::{DeliveryId, EventKind, MessageId, Outcome};
use postrider_smtp::Reply;

use super::*;
use crate::disk::RealDisk;

const DAY: u64 = 86_400_000;

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn folder(name: &str) -> (Folder, Arc<dyn Disk>) {
    let path = std::env::temp_dir().join(format!("postrider-journal-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    let disk = Arc::new(RealDisk::new(&path).unwrap());
    (Folder(path), disk)
}

fn open(disk: &Arc<dyn Disk>, limits: JournalLimits) -> Archive {
    Archive::open(disk.clone(), 7, limits).unwrap()
}

fn events(sequences: std::ops::Range<u64>, millis: u64) -> Vec<Event> {
    let kind = || EventKind::Settled {
        delivery: DeliveryId { message: MessageId(5), index: 1 },
        attempt: None,
        outcome: Outcome::Delivered { reply: Reply::new(250, None, "taken") },
    };
    sequences.map(|sequence| Event { sequence, at: Timestamp::from_millis(millis), kind: kind() }).collect()
}

fn sequences(archive: &mut Archive, from: u64, max: usize) -> Result<Vec<u64>, u64> {
    archive.read(from, max).unwrap().map(|events| events.iter().map(|event| event.sequence).collect())
}

#[test]
fn files_by_day_are_read_through_and_again_after_a_restart() {
    let (_folder, disk) = folder("days");
    let mut archive = open(&disk, JournalLimits::default());
    archive.begin_at(11);
    for day in 0..3 {
        assert!(archive.append(&events(11 + day * 10..21 + day * 10, day * DAY)).unwrap());
    }
    archive.sync().unwrap();
    assert_eq!(disk.list(FOLDER).unwrap(), ["1970-01-01.0001", "1970-01-02.0001", "1970-01-03.0001"]);
    for mut archive in [archive, open(&disk, JournalLimits::default())] {
        assert_eq!((archive.next(), archive.synced()), (41, 41));
        assert_eq!(sequences(&mut archive, 10, 5), Err(11));
        let mut from = 13;
        while from < 41 {
            let some = sequences(&mut archive, from, 4).unwrap();
            assert!(some.first() == Some(&from) && some.len() <= 4, "{from}: {some:?}");
            from = some.last().unwrap() + 1;
        }
        assert_eq!(sequences(&mut archive, 41, 4), Ok(vec![]));
    }
}

#[test]
fn history_beyond_its_limits_goes_and_readers_are_told_where_the_rest_begins() {
    let (_folder, disk) = folder("limits");
    let mut archive = open(&disk, JournalLimits { octets_max: u64::MAX, days_max: 2 });
    archive.begin_at(1);
    for day in 0..6 {
        archive.append(&events(1 + day * 10..11 + day * 10, day * DAY)).unwrap();
    }
    assert_eq!(sequences(&mut archive, 1, 9), Err(31));
    let mut archive = open(&disk, JournalLimits { octets_max: 1, days_max: 99 });
    archive.append(&events(61..62, 6 * DAY)).unwrap();
    assert_eq!((sequences(&mut archive, 1, 9), disk.list(FOLDER).unwrap().len()), (Err(61), 1));
}

#[test]
fn a_torn_end_is_cut_and_written_again() {
    let (_folder, disk) = folder("torn");
    let mut archive = open(&disk, JournalLimits::default());
    archive.begin_at(1);
    archive.append(&events(1..4, 0)).unwrap();
    let name = archive.files[0].name.clone();
    let octets = archive.files[0].octets;
    let file = disk.open(&name, Opening::Existing).unwrap();
    file.set_octets(octets - 3).unwrap();
    let mut archive = open(&disk, JournalLimits::default());
    assert_eq!(archive.next(), 3);
    archive.append(&events(3..6, 0)).unwrap();
    assert_eq!(sequences(&mut archive, 1, 99), Ok(vec![1, 2, 3, 4, 5]));
}

#[test]
fn a_gap_begins_a_file_and_is_told() {
    let (_folder, disk) = folder("gap");
    let mut archive = open(&disk, JournalLimits::default());
    archive.begin_at(1);
    archive.append(&events(1..4, 0)).unwrap();
    archive.begin_at(10);
    archive.append(&events(10..12, 0)).unwrap();
    assert_eq!(sequences(&mut archive, 2, 99), Ok(vec![2, 3]));
    assert_eq!(sequences(&mut archive, 4, 99), Err(10));
    assert_eq!(sequences(&mut archive, 10, 99), Ok(vec![10, 11]));
}

#[test]
fn a_journal_of_another_log_is_refused() {
    let (_folder, disk) = folder("other");
    let mut archive = open(&disk, JournalLimits::default());
    archive.begin_at(1);
    archive.append(&events(1..2, 0)).unwrap();
    assert!(matches!(Archive::open(disk, 8, JournalLimits::default()), Err(SpoolTrouble::Unknown(_))));
}

#[test]
fn events_that_were_appended_in_part_are_not_appended_twice() {
    let (_folder, disk) = folder("part");
    let mut archive = open(&disk, JournalLimits::default());
    archive.begin_at(1);
    let all = events(1..6, 0);
    archive.append(&all[..2]).unwrap();
    archive.append(&all).unwrap();
    assert_eq!(sequences(&mut archive, 1, 99), Ok(vec![1, 2, 3, 4, 5]));
}

#[test]
fn a_file_that_cannot_be_read_is_left_alone_and_in_nobodys_way() {
    let (_folder, disk) = folder("aside");
    let mut archive = open(&disk, JournalLimits::default());
    archive.begin_at(1);
    for day in 0..2 {
        archive.append(&events(1 + day * 10..11 + day * 10, day * DAY)).unwrap();
    }
    archive.sync().unwrap();
    let names = disk.list(FOLDER).unwrap();
    let damaged = disk.open(&format!("{FOLDER}/{}", names[0]), Opening::Existing).unwrap();
    damaged.write_at(&[IoSlice::new(b"????")], 0).unwrap();
    let mut archive = open(&disk, JournalLimits::default());
    assert_eq!((archive.next(), sequences(&mut archive, 1, 99)), (21, Err(11)));
    // Its name is not used again.
    archive.append(&events(21..23, DAY)).unwrap();
    assert_eq!(disk.list(FOLDER).unwrap(), names);
    assert_eq!(sequences(&mut archive, 20, 99), Ok(vec![20, 21, 22]));
}
