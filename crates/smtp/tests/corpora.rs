//! Replays the committed fuzz corpora, each input as it stands and in a few thousand damaged forms.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::fs;
use std::path::Path;

/// Damaged copies of each input.
const DAMAGED: u64 = 200;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&folder).expect("the corpus is there").map(|entry| entry.expect("readable").path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 5, "{target} has a corpus");
    for (nth, path) in inputs.iter().enumerate() {
        let input = fs::read(path).expect("readable");
        check(&input);
        for seed in 0..DAMAGED {
            check(&damage(&input, seed.wrapping_add(nth as u64 * DAMAGED)));
        }
    }
}

/// Changes, drops, repeats or swaps a few octets; the same for the same seed.
fn damage(input: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below.max(1)
    };
    let mut octets = input.to_vec();
    for _ in 0..=random(4) {
        let at = random(octets.len());
        let odd = b"\r\n.\0 <>:\xff@\"\\-+=9"[random(16)];
        match random(6) {
            _ if octets.is_empty() => octets.push(odd),
            0 => octets[at] = odd,
            1 => octets.insert(at, odd),
            2 => drop(octets.remove(at)),
            3 => octets.truncate(at),
            4 => octets.extend_from_within(at..),
            _ => octets[at] ^= 1 << random(8),
        }
    }
    octets
}

#[test]
fn addresses() {
    replay("address", checks::address);
}

#[test]
fn commands() {
    replay("command", checks::command);
}

#[test]
fn content() {
    replay("data", checks::data);
}

#[test]
fn replies() {
    replay("reply", checks::reply);
}

#[test]
fn server_sessions() {
    replay("server", checks::server);
}

#[test]
fn client_sessions() {
    replay("client", checks::client);
}

#[test]
fn milters() {
    replay("milter", checks::milter);
}
