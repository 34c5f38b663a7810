//! Cells and what they publish of themselves.

use std::collections::BTreeMap;
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

    /// Whether a cell may go from this state to `next` in one move; it may always stay.
    ///
    /// new → testing → active → cordoned → draining → drained → retired; testing may be left out, a cell that
    /// takes nothing new may take some again, and what was retired stays so.
    pub fn may_become(self, next: Self) -> bool {
        let moves: &[Self] = match self {
            Self::New => &[Self::Testing, Self::Active, Self::Cordoned, Self::Retired],
            Self::Testing => &[Self::Active, Self::Cordoned, Self::Draining],
            Self::Active => &[Self::Cordoned, Self::Draining],
            Self::Cordoned => &[Self::Testing, Self::Active, Self::Draining],
            Self::Draining => &[Self::Cordoned, Self::Drained],
            Self::Drained => &[Self::Cordoned, Self::Retired],
            Self::Retired => &[],
        };
        self == next || moves.contains(&next)
    }

    /// Whether it takes new instances, be it of some projects only.
    pub fn takes_new(self) -> bool {
        matches!(self, Self::Testing | Self::Active)
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
    /// URL of the same database with other credentials, for while the server refuses the first; empty: none. Secret.
    pub second_database_url: String,
    /// The same of its broker. Secret.
    pub second_transport_url: String,
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
    /// The releases of the conductors that publish, and when each last did.
    pub releases: BTreeMap<String, Timestamp>,
    /// The users by which conductors are connected to the broker, and when each was last told of.
    pub users: BTreeMap<String, Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::CellState::{self, Active, Cordoned, Drained, Draining, New, Retired, Testing};

    const ALL: [CellState; 7] = [New, Testing, Active, Cordoned, Draining, Drained, Retired];

    #[test]
    fn a_life_goes_forward_and_nothing_skips_draining() {
        for (from, to) in ALL.windows(2).map(|pair| (pair[0], pair[1])) {
            assert!(from.may_become(to), "{from:?} to {to:?}");
        }
        for state in ALL {
            assert!(state.may_become(state));
            assert_eq!(state.may_become(Retired), matches!(state, New | Drained | Retired), "{state:?}");
            assert_eq!(state.may_become(Drained), matches!(state, Draining | Drained), "{state:?}");
            assert!(!Retired.may_become(state) || state == Retired, "{state:?}");
            assert!(!state.may_become(New) || state == New, "{state:?}");
        }
    }
}
