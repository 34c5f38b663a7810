//! What a caller may do – boot, show, list, act, delete – without HTTP types.
//!
//! Used by the facades in `api`, by `--direct` commands and by tests. Each verb that changes something
//! commits its whole promise in one transaction before it answers, and then rings.

mod types;

pub use types::{Boot, CellStatus, Dark, HostStatus, Image, Page, Query, Seen};

use model::instance::Action;
use model::{Caller, Context, Fault, Flavor, InstanceId};

/// The verbs of one cloud. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verbs {}

#[expect(missing_docs, clippy::unused_async, reason = "signatures first")]
impl Verbs {
    /// Accepts instances: once this returns, each will end ACTIVE or in ERROR, whatever dies.
    pub async fn boot(&self, _: &Caller, _: &Context, _: Boot) -> Result<Vec<Instance>, Fault> { Err(Fault::internal("")) }
    pub async fn show(&self, _: &Caller, _: InstanceId) -> Result<Seen, Fault> { Err(Fault::internal("")) }
    pub async fn list(&self, _: &Caller, _: &Query) -> Result<Page, Fault> { Err(Fault::internal("")) }
    pub async fn delete(&self, _: &Caller, _: &Context, _: InstanceId) -> Result<(), Fault> { Err(Fault::internal("")) }
    pub async fn act(&self, _: &Caller, _: &Context, _: InstanceId, _: Action) -> Result<(), Fault> { Err(Fault::internal("")) }
    pub async fn console(&self, _: &Caller, _: &Context, _: InstanceId, _lines: Option<u32>) -> Result<String, Fault> { Err(Fault::internal("")) }
    pub async fn flavors(&self) -> Result<Vec<Flavor>, Fault> { Err(Fault::internal("")) }
    pub async fn flavor(&self, _id: &str) -> Result<Flavor, Fault> { Err(Fault::internal("")) }
    pub async fn images(&self, _: &Caller) -> Result<Vec<Image>, Fault> { Err(Fault::internal("")) }
    pub async fn image(&self, _: &Caller, _id_or_reference: &str) -> Result<Image, Fault> { Err(Fault::internal("")) }
    pub async fn cells(&self, _: &Caller) -> Result<Vec<CellStatus>, Fault> { Err(Fault::internal("")) }
    pub async fn ready(&self) -> Result<(), Fault> { Err(Fault::internal("")) }
}
use model::Instance;
