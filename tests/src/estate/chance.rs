//! Chance that a failed story can be repeated with.

use std::time::Duration;

use model::Env;

/// Chance that can be repeated: the same seed gives the same numbers (Steele, Lea, Flood: SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// Begins at `SKEP_TEST_SEED`, or anywhere, and says where.
    pub fn new() -> Self {
        let given = crate::place::environment("SKEP_TEST_SEED").and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| Env::system().random());
        eprintln!("SKEP_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }

    /// Waits for a moment within `limit`: the one place where a story sleeps, because the moment is what
    /// it tries.
    pub async fn moment(&mut self, limit: Duration) {
        tokio::time::sleep(Duration::from_millis(self.below(limit.as_millis() as u64))).await;
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}
