//! Replays the fuzz corpora, and a few thousand seeded mutations of them, as ordinary tests.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::path::Path;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() >= 8, "a corpus worth its name in {}", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

/// A small generator of mutations; the seed makes every run the same (xorshift64).
struct Mutations(u64);

impl Mutations {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    fn apply(&mut self, octets: &mut Vec<u8>) {
        const PIECES: [&[u8]; 12] =
            [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"Received:", b"Subject: x", b"\r\n\r\n", b"\0", b"\xff", b"\xc3"];
        for _ in 0..=self.below(4) {
            let at = self.below(octets.len() + 1);
            match self.below(3) {
                0 => drop(octets.splice(at..at, PIECES[self.below(PIECES.len())].iter().copied())),
                1 if at < octets.len() => drop(octets.remove(at)),
                _ => octets.truncate(octets.len() - self.below(octets.len() / 4 + 1)),
            }
        }
    }
}

fn check(target: &str, judge: fn(&[u8])) {
    let mut mutations = Mutations(0x9e37_79b9_7f4a_7c15);
    for octets in corpus(target) {
        judge(&octets);
        for _ in 0..200 {
            let mut mutated = octets.clone();
            mutations.apply(&mut mutated);
            judge(&mutated);
        }
    }
}

#[test]
fn header_watch_corpus() {
    check("header_watch", checks::header_watch);
}

#[test]
fn mailboxes_corpus() {
    check("mailboxes", checks::mailboxes);
}

#[test]
fn claims_corpus() {
    check("claims", checks::claims);
}

#[test]
fn dsn_corpus() {
    check("dsn", checks::dsn);
}

#[test]
fn seven_bit_corpus() {
    check("seven_bit", checks::seven_bit);
}

#[test]
fn addresses_corpus() {
    check("addresses", checks::addresses);
}

#[test]
fn records_corpus() {
    check("records", checks::records);
}

#[test]
fn verdicts_corpus() {
    check("verdicts", checks::verdicts);
}

#[test]
fn spf_corpus() {
    check("spf", checks::spf);
}

#[test]
fn results_corpus() {
    check("results", checks::results);
}

#[test]
fn token_corpus() {
    check("token", checks::token);
}

#[test]
fn encoded_corpus() {
    check("encoded", checks::encoded);
}
