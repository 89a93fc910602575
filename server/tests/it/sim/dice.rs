//! Chance: every choice of a run comes from here, so that a seed is the whole run, or the bytes of a script and a seed.

use std::collections::VecDeque;
use std::time::Duration;

use oorandom::Rand64;

pub(super) struct Dice {
    /// Choices that were made already, by whoever wrote the script.
    script: VecDeque<u8>,
    rest: Rand64,
}

impl Dice {
    pub(super) fn new(script: &[u8], seed: u64) -> Self {
        Self { script: script.iter().copied().collect(), rest: Rand64::new(seed.into()) }
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        if self.script.is_empty() {
            return self.rest.rand_range(0..end);
        }
        // No more bytes than the choice needs, so that a byte that is changed changes one choice.
        let bytes = (u64::BITS - (end - 1).leading_zeros()).div_ceil(u8::BITS) as usize;
        let bytes = self.script.drain(..bytes.min(self.script.len()));
        bytes.fold(0, |number, byte| number << u8::BITS | u64::from(byte)) % end
    }

    /// A number from `first` to `last`, both included.
    pub(super) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last + 1 - first)
    }

    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Milliseconds from 1 to `max`, small ones as often as large ones, and never round.
    pub(super) fn span(&mut self, max: u64) -> Duration {
        let octaves = u64::from(max.max(1).ilog2()) + 1;
        let most = max.min(1 << self.between(1, octaves));
        Duration::from_nanos(self.between(1_000_000, most.max(1) * 1_000_000))
    }

    /// Microseconds below `end`.
    pub(super) fn moment(&mut self, end: u64) -> Duration {
        Duration::from_micros(self.below(end))
    }

    pub(super) fn shuffle<T>(&mut self, of: &mut [T]) {
        for last in (1..of.len()).rev() {
            of.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}
