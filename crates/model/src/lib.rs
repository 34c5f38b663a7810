//! The nouns of skep: typed ids, states and what is legal in them, faults, the clock and randomness.
//!
//! Everything else links this crate; it links nothing of ours and knows neither SQL, nor HTTP, nor
//! messages. Parsing and validation happen here, at the edge; the rest of the house trusts the types.

pub mod bug;
pub mod caller;
pub mod cell;
pub mod drill;
pub mod env;
pub mod extra;
pub mod failpoint;
pub mod fault;
pub mod flavor;
pub mod hash;
pub mod host;
pub mod ids;
pub mod image;
pub mod instance;
pub mod listing;
pub mod phase;
pub mod spec;
pub mod sync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;

pub use caller::{Caller, Context};
pub use cell::{Cell, CellState, Summary};
pub use env::Env;
pub use extra::Extra;
pub use fault::{Fault, FaultKind};
pub use flavor::{Flavor, Resources};
pub use ids::*;
pub use instance::{At, Instance, Intent, Power, Stage, Task};
pub use phase::{Phase, Size};
pub use spec::{ContainerSpec, RequestSpec, RestartPolicy};
pub use time::{Clock, Timestamp};
