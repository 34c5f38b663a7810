//! What must hold of an estate: at rest, and at any moment.

use std::collections::BTreeMap;
use std::time::Duration;

use agent::engine::Engine as _;

use super::containers::Containers;
use super::{Estate, user};
use crate::check::{self, Engines};
use crate::eventually;

/// The longest that a cloud may take to be at rest after what a story did to it: the lease of a worker
/// that died, and the work.
const REST: Duration = Duration::from_secs(90);

impl Estate {
    /// Containers of every host, as the engine has them; none if they are pretended.
    ///
    /// # Panics
    /// If the engine does not answer.
    pub async fn engines(&self) -> Option<Engines> {
        let Containers { docker, hosts } = self.containers.as_ref()?;
        let engine = agent::engine::docker::Docker::new(docker.url()).expect("is a URL");
        let mut found = Engines::new();
        for host in hosts {
            found.insert(*host, engine.list(*host).await.expect("the engine answers"));
        }
        Some(found)
    }

    /// Waits until the cloud is at rest and no invariant is violated; returns how many containers
    /// there are.
    ///
    /// # Panics
    /// At the deadline, with what is violated; at once if something is that may never be, at rest or not: two copies
    /// of an instance that run, a panic, or a secret in a log.
    pub async fn at_rest(&self) -> usize {
        let rest = eventually(REST, "the cloud is at rest and nothing is violated", async || {
            if let Some(ledger) = &self.ledger {
                ledger.listen();
            }
            let engines = self.engines().await;
            let never: Vec<String> = engines.as_ref().map(check::copies).unwrap_or_default();
            assert!(never.is_empty(), "{}", never.join("\n"));
            let mut violations = self.books.check(engines.as_ref()).await.0;
            if let (Some(ledger), Some(engines)) = (&self.ledger, &engines) {
                violations.extend(ledger.missed(engines));
            }
            let count = engines.iter().flat_map(BTreeMap::values).map(Vec::len).sum();
            if violations.is_empty() { Ok(count) } else { Err(violations.join("; ")) }
        })
        .await;
        let mut never = self.wrong_lines();
        if let (Some(ledger), Some(containers)) = (&self.ledger, &self.containers) {
            never.extend(ledger.doubled(&containers.hosts));
        }
        assert!(never.is_empty(), "{}", never.join("\n"));
        rest
    }

    /// Deletes what these users have, and waits until nothing of it is left anywhere.
    ///
    /// # Panics
    /// If something is.
    pub async fn clear(&self, users: &[&str]) {
        for name in users {
            let user = self.user(name);
            let ids: Vec<String> = user.list().await.iter().map(user::id).collect();
            for id in &ids {
                user.delete_again(id).await;
            }
            for id in &ids {
                user.gone(id).await;
            }
        }
        let left = self.at_rest().await;
        assert_eq!(left, 0, "no container is left");
    }
}
