//! Where instances live, remembered for a moment.

use std::time::Duration;

use model::{CellId, InstanceId};
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

/// A bounded memory of locations. An entry lives for a second at most, and is forgotten at once when its
/// cell answers with a tombstone or another epoch.
#[derive(Clone, Debug)]
pub struct Locations {
    cache: Cache<InstanceId, Located>,
}

impl Default for Locations {
    fn default() -> Self {
        let cache = Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(1)).build();
        Self { cache }
    }
}

impl Locations {
    /// Where `id` lives, if that is remembered.
    pub fn get(&self, id: InstanceId) -> Option<Located> {
        self.cache.get(&id)
    }

    /// Remembers where `id` lives.
    pub fn put(&self, id: InstanceId, located: Located) {
        self.cache.insert(id, located);
    }

    /// Forgets where `id` lives.
    pub fn forget(&self, id: InstanceId) {
        self.cache.invalidate(&id);
    }
}
