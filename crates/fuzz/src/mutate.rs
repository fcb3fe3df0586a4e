//! Makes inputs of seeds, always the same ones: a failure comes again.

use crate::Target;

/// Bytes of the longest input.
const LONGEST: usize = 4096;

/// Inputs without end.
#[derive(Debug)]
pub struct Mutations<'a> {
    target: &'a Target,
    state: u64,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl<'a> Mutations<'a> {
    /// The inputs of a seed.
    pub fn new(target: &'a Target, seed: u64) -> Self {
        Self { target, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// A number below `end`, which is not 0 (xorshift64*).
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let high = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or_default() % end.max(1)
    }

    fn seed(&mut self) -> &'a [u8] {
        let seeds = self.target.seeds;
        seeds[self.below(seeds.len())].as_bytes()
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let end = (at + 1 + self.below(16)).min(bytes.len());
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => drop(bytes.drain(at..end)),
            2 => bytes.insert(at, u8::try_from(self.below(256)).unwrap_or_default()),
            3 if at < bytes.len() => {
                let again: Vec<u8> = bytes[at..end].repeat(1 + self.below(32));
                bytes.splice(at..at, again);
            }
            4 => {
                let other = self.seed();
                let from = self.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let words = self.target.words;
                let word = words[self.below(words.len())].as_bytes();
                bytes.splice(at..at, word.iter().copied());
            }
        }
        bytes.truncate(LONGEST);
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.seed().to_vec();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes);
        }
        Some(bytes)
    }
}
