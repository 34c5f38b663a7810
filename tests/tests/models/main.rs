//! Models of the durable lifecycle of one instance, checked exhaustively: every order of steps, crash,
//! takeover, and lost, doubled or late message within the stated bounds.
//!
//! They use the names of the code (`docs/guarantees.md` says which guarantee each one carries). Every
//! rule that safety hangs on has a [`mutant::Mutant`] without it, which the checker must catch. What does
//! not exist yet (moves, evacuation) is specified here first.

mod agree;
mod aside;
mod check;
mod create;
mod evacuate;
mod host;
mod lease;
mod mapping;
mod moves;
mod mutant;
mod retry;
mod row;
mod site;
