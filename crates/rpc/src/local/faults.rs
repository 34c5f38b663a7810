//! What goes wrong on purpose, from a seed.

use std::time::Duration;

/// How a vhost mistreats messages: requests, replies and rings alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Where the dice start.
    pub seed: u64,
    /// Percent of messages that are accepted and lost.
    pub loss: u8,
    /// Percent of messages that are delivered twice.
    pub duplication: u8,
    /// Percent of messages that overtake others.
    pub reorder: u8,
    /// Every message is held back for a time up to this; most for a small part of it, some for most of it.
    pub delay: Duration,
}

/// How often a vhost has misbehaved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misdeeds {
    /// Messages that were lost.
    pub lost: u64,
    /// Messages that were delivered twice.
    pub doubled: u64,
    /// Messages that overtook others.
    pub overtook: u64,
    /// Messages that were held back.
    pub late: u64,
    /// Publishers that had to wait.
    pub blocked: u64,
}

/// A small deterministic generator (SplitMix64; Steele, Lea and Flood, 2014).
#[derive(Debug, Default)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether something of this percentage happens; draws nothing for zero.
    pub(super) fn roll(&mut self, percent: u8) -> bool {
        percent > 0 && self.next() % 100 < u64::from(percent)
    }

    /// A time up to `limit`, seldom a long one; draws nothing for zero.
    pub(super) fn time(&mut self, limit: Duration) -> Duration {
        if limit.is_zero() {
            return Duration::ZERO;
        }
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        limit.mul_f64(share.powi(4))
    }

    /// A place in a queue of `length` messages.
    pub(super) fn place(&mut self, length: usize) -> usize {
        (self.next() % (length as u64 + 1)) as usize
    }
}
