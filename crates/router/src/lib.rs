//! The API-cell router: from an instance to its cell, and to all cells at once.
//!
//! The registry of cells is live: every process that looks down holds one, refreshed from the API
//! database each half second. A cell is opened lazily and has its own pool, bulkhead, deadline and
//! breaker, so that a dark cell costs its own users an answer and everybody else nothing. Start-up waits
//! for no cell.

mod announce;
mod breaker;
mod handle;
mod keys;
mod locate;
mod registry;
mod request;
mod scatter;
mod secret;
mod template;

pub use breaker::Health;
pub use handle::CellHandle;
pub use keys::key_of as sealed_with;
pub use locate::{Located, Locations};
pub use registry::{Router, Settings};
pub use request::request;
pub use scatter::{Answer, scatter};
pub use secret::{Secrets, Which};
