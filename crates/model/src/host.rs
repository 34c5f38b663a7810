//! Hosts: machines that run an agent and a container engine.

use serde::{Deserialize, Serialize};

use crate::flavor::Resources;
use crate::ids::HostId;

/// A host as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The host's id, from a file of its own.
    pub id: HostId,
    /// Its name; need not be unique across cells.
    pub name: String,
    /// Availability zone.
    pub zone: String,
    /// Names the container engine, so that hosts which share one share its ports.
    pub engine: String,
    /// Whether an operator lets it take new instances.
    pub enabled: bool,
    /// Whether it was heard of lately and its engine ran a probe container.
    pub healthy: bool,
    /// Declared amounts.
    pub capacity: Resources,
    /// Claimed amounts.
    pub used: Resources,
}

impl Host {
    /// What can still be claimed.
    pub fn free(&self) -> Resources {
        self.capacity.minus(self.used)
    }
}
