//! One host's hands: makes, stops and removes containers as its cell wishes, and tells what it saw.
//!
//! The agent pulls wishes and pushes observations over its cell's bus; a doorbell only makes it look.
//! Everything it has accepted is in its journal before an engine hears of it, so that it can go on
//! without the cell, and so that it can refuse what is not above its journal. `bollard` is used in
//! [`engine::docker`] and nowhere else.

pub mod agent;
pub mod config;
mod drive;
pub mod engine;
mod health;
mod identity;
pub mod journal;
mod recover;
mod slot;
mod supervise;
mod sync;
mod table;

pub use agent::{Agent, Status};
pub use config::{Config, boot_id};
pub use identity::{host_id, host_key};
