//! The sections of the superconductor, of the conductor, and of the way from the API level to cells.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::number::whole;
use super::secret::Secret;

/// How the API level reaches cells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Router {
    /// Connections to each cell's database.
    #[serde(deserialize_with = "whole")]
    pub connections: u32,
    /// Longest that one call to a cell may take, in milliseconds.
    #[serde(deserialize_with = "whole")]
    pub deadline_ms: u64,
    /// Calls to one cell at a time; more wait.
    #[serde(deserialize_with = "whole")]
    pub bulkhead: usize,
    /// How often the mappings are read again, in milliseconds.
    #[serde(deserialize_with = "whole")]
    pub refresh_ms: u64,
    /// The file of keys that the mappings' URLs are sealed with in the API database.
    pub keys_file: Option<PathBuf>,
    /// The URL whose parts stand for Nova's words in database URLs of mappings; the API database's if absent.
    pub base_database_url: Option<Secret>,
    /// The same in transport URLs; the API level's if absent.
    pub base_transport_url: Option<Secret>,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            connections: 8,
            deadline_ms: 2_000,
            bulkhead: 64,
            refresh_ms: 500,
            keys_file: None,
            base_database_url: None,
            base_transport_url: None,
        }
    }
}

/// The superconductor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Superconductor {
    /// Its name, for operators.
    pub name: String,
    /// Most tasks taken in one transaction.
    #[serde(deserialize_with = "whole")]
    pub batch: i64,
    /// Most tasks held at a time.
    #[serde(deserialize_with = "whole")]
    pub in_flight: usize,
    /// Most unsettled bindings of one cell.
    #[serde(deserialize_with = "whole")]
    pub cell_cap: i64,
}

impl Default for Superconductor {
    fn default() -> Self {
        Self { name: "superconductor".into(), batch: 64, in_flight: 512, cell_cap: 256 }
    }
}

/// The conductor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conductor {
    /// Most instances placed in one transaction.
    #[serde(deserialize_with = "whole")]
    pub batch: i64,
    /// Most calls of agents answered at a time.
    #[serde(deserialize_with = "whole")]
    pub concurrency: usize,
    /// How often agents are to sync at least, in milliseconds.
    #[serde(deserialize_with = "whole")]
    pub heartbeat_ms: u64,
    /// How long a host may be silent before it gets nothing new, in milliseconds.
    #[serde(deserialize_with = "whole")]
    pub silence_ms: u64,
    /// What a host needs to enrol.
    pub join: Join,
    /// The management API of the cell's broker, as `http://USER:PASSWORD@HOST:15672`: hosts get users of their own.
    pub broker_admin: Option<Secret>,
}

/// What a host needs to enrol in a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// A join token.
    #[default]
    Token,
    /// A way to the cell's broker.
    Open,
}

impl Default for Conductor {
    fn default() -> Self {
        Self {
            batch: 64,
            concurrency: 32,
            heartbeat_ms: 5_000,
            silence_ms: 30_000,
            join: Join::default(),
            broker_admin: None,
        }
    }
}
