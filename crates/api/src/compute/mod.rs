//! The compute face: Nova's API over the verbs.

pub mod actions;
pub mod catalog;
pub mod container;
pub mod create;
pub mod fields;
pub mod flavors;
pub mod listing;
pub mod servers;
pub mod split;
pub mod versions;
pub mod view;

use crate::edge::call::{Answered, Call};
use crate::edge::refused::Refused;

/// Nova has the route; skep does not do it yet.
pub async fn not_yet(call: Call) -> Answered {
    let what = if call.path.contains("/metadata") { "changing metadata" } else { "changing a server" };
    Err(Refused::unsupported(what))
}
