//! The compute face: Nova's API over the verbs.

pub mod actions;
pub mod aggregates;
pub mod catalog;
pub mod container;
pub mod create;
pub mod extensions;
pub mod fields;
pub mod flavor_manage;
pub mod flavors;
pub mod groups;
pub mod hypervisors;
pub mod keypairs;
pub mod listing;
pub mod moment;
pub mod order;
pub mod quotas;
pub mod read;
pub mod servers;
pub mod split;
pub mod ssh;
pub mod usage;
pub mod versions;
pub mod view;

use crate::edge::call::{Answered, Call};
use crate::edge::refused::Refused;

/// Nova has the route; skep does not do it yet.
pub async fn not_yet(call: Call) -> Answered {
    let what = if call.path.contains("/metadata") { "changing metadata" } else { "changing a server" };
    Err(Refused::unsupported(what))
}
