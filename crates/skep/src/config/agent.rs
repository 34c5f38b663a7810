//! The section of the agent.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::number::{maybe, whole};

/// The agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agent {
    /// The host's name; the machine's own if absent.
    pub host_name: Option<String>,
    /// Availability zone.
    pub zone: String,
    /// The address where published ports are reached.
    pub address: String,
    /// What runs containers.
    pub engine: Engine,
    /// Where the engine listens; its usual socket if absent.
    pub engine_url: Option<String>,
    /// Names the engine: hosts that share one must share this name. The host's name if absent.
    pub engine_name: Option<String>,
    /// What may be claimed on this host.
    pub capacity: Capacity,
    /// Where the journal and the host's id lie.
    pub state_dir: PathBuf,
    /// A file with the join token that the host enrols with; not needed after that.
    pub join_token_file: Option<PathBuf>,
    /// Creates and starts at the same time; twice the cores if absent.
    #[serde(deserialize_with = "maybe")]
    pub parallel_starts: Option<usize>,
    /// How often to sync at least, in milliseconds.
    #[serde(deserialize_with = "whole")]
    pub heartbeat_ms: u64,
    /// How long a container may take to end after TERM before it is killed, in milliseconds.
    #[serde(deserialize_with = "whole")]
    pub stop_grace_ms: u64,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            host_name: None,
            zone: "default".into(),
            address: "127.0.0.1".into(),
            engine: Engine::Docker,
            engine_url: None,
            engine_name: None,
            capacity: Capacity::default(),
            state_dir: PathBuf::from("/var/lib/skep/agent"),
            join_token_file: None,
            parallel_starts: None,
            heartbeat_ms: 2_000,
            stop_grace_ms: 10_000,
        }
    }
}

/// What runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Docker Engine.
    Docker,
    /// No containers at all, only their bookkeeping: for tests.
    Scripted,
}

/// Declared amounts; never probed. Zero is not usable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capacity {
    /// Virtual CPUs.
    #[serde(deserialize_with = "whole")]
    pub vcpus: i64,
    /// Memory in MiB.
    #[serde(deserialize_with = "whole")]
    pub memory_mib: i64,
    /// Instances.
    #[serde(deserialize_with = "whole")]
    pub instances: i64,
}
