//! No instance ever has two containers that run. Unlike the rest this holds at any moment.

use std::collections::BTreeSet;

use agent::engine::Container;
use model::{InstanceId, Power};

use super::Engines;

/// The instances that are among these more than once.
pub fn twice(running: impl Iterator<Item = InstanceId>) -> BTreeSet<InstanceId> {
    let mut seen = BTreeSet::new();
    running.filter(|id| !seen.insert(*id)).collect()
}

/// What of these containers must not be, at any moment.
pub fn copies(engines: &Engines) -> Vec<String> {
    // One that is frozen is a copy too.
    let runs = |container: &&Container| container.power != Power::Stopped && container.power != Power::None;
    let running = engines.values().flatten().filter(runs);
    let twice = twice(running.map(|container| container.name.instance));
    twice.into_iter().map(|id| format!("two containers of {id} run at the same time")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_copy_is_seen() {
        let id = |n: u128| InstanceId(uuid::Uuid::from_u128(n));
        assert!(twice([id(1), id(2)].into_iter()).is_empty());
        assert_eq!(twice([id(2), id(1), id(2)].into_iter()), [id(2)].into());
    }
}
