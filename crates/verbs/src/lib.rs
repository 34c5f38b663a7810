//! What a caller may do – boot, show, list, act, delete – without HTTP types.
//!
//! Used by the facades in `api`, by `--direct` commands and by tests. Each verb that changes something
//! commits its whole promise in one transaction before it answers, and then rings.

mod act;
mod actions;
pub mod admin;
mod aggregates;
mod amend;
mod boot;
mod catalog;
mod cells;
mod delete;
mod groups;
mod hosts;
mod images;
mod keypairs;
mod list;
mod once;
mod quotas;
mod rebuild;
mod resize;
mod show;
mod types;

use std::sync::Arc;
use std::time::Duration;

use api_db::quotas::Limits;
use model::image::ImageRef;
use model::{Env, Fault, FaultKind, InstanceId};
use moka::sync::Cache;
use router::{Locations, Router};
use rpc::Bus;

pub use actions::{Done, History};
pub use aggregates::AggregateChange;
pub use amend::{Amendment, MOST_TAGS, UNLOCK_ANYONES};
pub use api_db::aggregates::Aggregate;
pub use api_db::flavors::Offer;
pub use api_db::groups::ServerGroup;
pub use api_db::idempotency::{Answer, Known};
pub use api_db::images::{Image, Visibility};
pub use api_db::keypairs::KeyPair;
pub use api_db::limits::{CLASS, Effective, RESOURCES};
pub use api_db::resizes::{Among as ResizesAmong, Record as ResizeRecord};
pub use api_db::usage::Used;
pub use boot::{Accepted, Prepared};
pub use cell_db::roster::Detail as HostDetail;
pub use hosts::{ComputeHost, ComputeHosts};
pub use list::Field;
pub use once::{Hold, Key};
pub use quotas::Quota;
pub use rebuild::Rebuild;
pub use router::request;
pub use types::{Boot, CellStatus, Dark, HostStatus, Named, Names, Page, Query, Read, Seen};

/// How the verbs behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long an instance may take to be ACTIVE before it is in ERROR.
    pub build_deadline: Duration,
    /// Limits of projects that have none of their own.
    pub quota: Limits,
    /// Images that are shown to everybody.
    pub images: Vec<ImageRef>,
    /// How long the answer to a request with an idempotency key is kept.
    pub keep_answers: Duration,
    /// Most instances on one page of a list (Nova's `max_limit`).
    pub max_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            build_deadline: Duration::from_secs(600),
            quota: api_db::quotas::UNLIMITED,
            images: Vec::new(),
            keep_answers: Duration::from_secs(24 * 3600),
            max_limit: 1_000,
        }
    }
}

struct Inner {
    settings: Settings,
    env: Env,
    db: api_db::Db,
    router: Router,
    bus: Option<Bus>,
    locations: Locations,
    /// By project (empty for administrators) and id, with when each was read, by the clock of the seam.
    flavors: Cache<(String, String), (Offer, Duration)>,
}

/// The verbs of one cloud. Cheap to clone.
#[derive(Clone)]
pub struct Verbs {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Verbs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verbs").field("router", &self.inner.router).finish_non_exhaustive()
    }
}

impl Verbs {
    /// Verbs over the API database and the cells behind `router`. `bus` is the API level's own; without it
    /// superconductors find new work by looking.
    pub fn new(settings: Settings, env: Env, db: api_db::Db, router: Router, bus: Option<Bus>) -> Self {
        let flavors = Cache::new(1_000);
        let locations = Locations::new(env.clone());
        Self { inner: Arc::new(Inner { settings, env, db, router, bus, locations, flavors }) }
    }
}

/// Nova's text for an instance that does not exist or is not the caller's.
fn no_such_instance(id: InstanceId) -> Fault {
    Fault::new(FaultKind::NotFound, format!("Instance {id} could not be found."))
}
