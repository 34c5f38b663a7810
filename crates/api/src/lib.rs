//! The only crate that speaks HTTP to users: thin facades over the verbs.
//!
//! One port serves every face: compute (Nova's API at `/v2.1` and `/compute/v2.1`), image (Glance's), network
//! (Neutron's, read-only), identity (Keystone's) and our own administration at `/admin/v1`. Every
//! route comes from the tables in [`routes`], so every route passes the same seam: identity,
//! microversion, authorization, body, deadline. `docs/api.md` is the contract.

mod admin;
mod app;
mod compute;
mod edge;
mod image;
mod keystone;
mod network;
mod routes;
mod serve;
mod settings;
mod shares;
#[cfg(test)]
mod testing;
mod tls;

pub use app::{App, app};
pub use edge::policy::{InForce, Mistake, Policy, Shown, Target, Who};
pub use identity::StaticToken;
pub use routes::paths;
pub use serve::serve;
pub use settings::{REGION, Rate, Settings};
pub use tls::Tls;
