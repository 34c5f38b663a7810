//! Where instances live, remembered for a moment.

use std::time::Duration;

use model::{CellId, Env, InstanceId};
use moka::sync::Cache;

/// Where an instance lives and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The project that owns it.
    pub project: String,
    /// Its cell.
    pub cell: CellId,
    /// The epoch of that binding.
    pub epoch: i64,
}

/// How long a location is remembered, by the clock of the seam.
const LIFE: Duration = Duration::from_secs(1);

/// A bounded memory of locations. An entry lives for a second at most, and is forgotten at once when its
/// cell answers with a tombstone or another epoch.
#[derive(Clone, Debug)]
pub struct Locations {
    env: Env,
    cache: Cache<InstanceId, (Located, Duration)>,
}

impl Locations {
    /// A memory without locations.
    pub fn new(env: Env) -> Self {
        Self { env, cache: Cache::new(100_000) }
    }

    /// Where `id` lives, if that is remembered.
    pub fn get(&self, id: InstanceId) -> Option<Located> {
        let (located, at) = self.cache.get(&id)?;
        (self.env.monotonic().saturating_sub(at) < LIFE).then_some(located)
    }

    /// Remembers where `id` lives, as it was at `since` by the monotonic clock: when it began to be read.
    pub fn put(&self, id: InstanceId, located: Located, since: Duration) {
        self.cache.insert(id, (located, since));
    }

    /// Forgets where `id` lives.
    pub fn forget(&self, id: InstanceId) {
        self.cache.invalidate(&id);
    }
}
