//! Chance, from the system through aws-lc's generator.
//!
//! **Promises.** Octets nobody can guess. They are drawn a block at a time, because an id is needed for every message; octets given out are
//! erased from the block, so that a later look at our memory does not show them.
//!
//! **Panics** when the machine has no randomness to give: nothing that needs secrecy could go on, and nothing here may pretend.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use postrider_model::doors::Entropy;

/// Octets drawn at a time: some hundred ids, and less than a page of secrets in memory.
const BLOCK_OCTETS: usize = 2048;

/// The system's randomness.
#[derive(Debug)]
pub struct SystemEntropy {
    source: SystemRandom,
    block: Mutex<Block>,
}

#[derive(Debug)]
struct Block {
    octets: [u8; BLOCK_OCTETS],
    /// How many of the octets, from the start, are still fresh.
    fresh: usize,
}

impl SystemEntropy {
    /// Makes a source.
    pub fn new() -> Self {
        Self { source: SystemRandom::new(), block: Mutex::new(Block { octets: [0; BLOCK_OCTETS], fresh: 0 }) }
    }

    fn draw(&self, octets: &mut [u8]) {
        self.source.fill(octets).expect("the system gives randomness");
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, octets: &mut [u8]) {
        if octets.len() > BLOCK_OCTETS / 8 {
            return self.draw(octets);
        }
        // A panic while the lock was held leaves at worst a block that is drawn anew.
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.fresh < octets.len() {
            block.fresh = 0;
            self.draw(&mut block.octets);
            block.fresh = BLOCK_OCTETS;
        }
        let start = block.fresh - octets.len();
        let end = block.fresh;
        octets.copy_from_slice(&block.octets[start..end]);
        block.octets[start..end].fill(0);
        block.fresh = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_octets_are_given_twice() {
        let entropy = SystemEntropy::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            let mut octets = [0; 10];
            entropy.fill(&mut octets);
            assert!(seen.insert(octets));
        }
        let mut large = [0; BLOCK_OCTETS];
        entropy.fill(&mut large);
        assert!(large.windows(16).all(|window| window != [0; 16]));
        entropy.fill(&mut []);
    }

    #[test]
    fn given_octets_are_erased() {
        let entropy = SystemEntropy::new();
        entropy.fill(&mut [0; 100]);
        let block = entropy.block.lock().unwrap();
        assert_eq!(block.octets[BLOCK_OCTETS - 100..], [0; 100]);
        assert_ne!(block.octets[BLOCK_OCTETS - 200..BLOCK_OCTETS - 100], [0; 100], "the control: fresh ones stand");
    }
}
