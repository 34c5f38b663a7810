//! Placement as a pure function: snapshot + request → selection or explanation.
//!
//! Gantt's heir, on two levels: cells are picked from their summaries, hosts from a cell's own rows. The
//! seam is Gantt's two calls, `select_destinations` and `update_resource_stats`, on either snapshot. No
//! clock, no randomness, no I/O; the same input gives the same answer, whatever the order of the input.

pub mod cells;
mod explain;
pub mod hosts;

pub use explain::Explanation;
