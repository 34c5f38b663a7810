//! Cells and what they publish of themselves.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flavor::Resources;
use crate::ids::CellId;
use crate::time::Timestamp;

/// Where a cell stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellState {
    /// Registered, not yet used.
    New,
    /// Takes instances of chosen projects only.
    Testing,
    /// Takes new instances.
    Active,
    /// Keeps what it has, takes nothing new (Nova's `--disable`).
    Cordoned,
    /// Being emptied.
    Draining,
    /// Empty.
    Drained,
    /// Never used again.
    Retired,
}

impl CellState {
    /// The word stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Testing => "testing",
            Self::Active => "active",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Retired => "retired",
        }
    }

    /// Reads the word stored and shown.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::New, Self::Testing, Self::Active, Self::Cordoned, Self::Draining, Self::Drained, Self::Retired]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// A cell mapping: how the API level reaches a cell.
#[derive(Clone, PartialEq, Eq)]
pub struct Cell {
    /// The cell's id.
    pub id: CellId,
    /// The cell's name, unique.
    pub name: String,
    /// The region that it lies in; immutable.
    pub region: String,
    /// URL of its database. Secret.
    pub database_url: String,
    /// URL of its broker. Secret.
    pub transport_url: String,
    /// Where it stands in its life.
    pub state: CellState,
    /// Grows with every change of the mapping.
    pub version: i64,
}

impl fmt::Debug for Cell {
    /// Everything but the URLs, which hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, region, state, version, .. } = self;
        f.debug_struct("Cell")
            .field("id", id)
            .field("name", name)
            .field("region", region)
            .field("state", state)
            .field("version", version)
            .finish_non_exhaustive()
    }
}

impl Cell {
    /// Whether this is cell0, which has a database and nothing else.
    pub fn is_cell0(&self) -> bool {
        self.id == CellId::ZERO
    }
}

/// What a cell's conductors publish for placement on the level above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Grows with every publication.
    pub version: i64,
    /// When it was written.
    pub at: Timestamp,
    /// Hosts that may be placed on.
    pub hosts: i64,
    /// Free amounts over all those hosts.
    pub free: Resources,
    /// The largest free shapes of single hosts: none of them fits into another.
    pub frontier: Vec<Resources>,
    /// Instances that wait for a host.
    pub waiting: i64,
}
