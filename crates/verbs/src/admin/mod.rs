//! What operators may do with cells, hosts and mappings, without HTTP types.
//!
//! Works inside an API process and, where none runs, straight on the databases ([`Admin::new`] without a
//! router). Cells are asked in parallel, each within [`DEADLINE`]: a cell that does not answer is told of and
//! stops nothing else. Every change is audited in the transaction that makes it.

mod archive;
mod cells;
mod counted;
mod credentials;
mod denied;
mod differences;
mod discover;
mod doctor;
mod enrol;
mod entry;
mod hosts;
mod index;
mod instances;
mod keys;
mod life;
mod maintenance;
mod placed;
mod preflight;
mod probe;
mod processes;
mod remove;
mod restored;
mod restored_api;
mod rotate;
mod slots;
mod sync;
mod tasks;
pub mod url;
mod view;

use std::sync::Arc;
use std::time::Duration;

use cell_db::Tx as CellTx;
use futures::future::join_all;
use model::drill::Gate;
use model::{Caller, Cell, Context, Env, Fault, FaultKind};
use router::{CellHandle, Router, Secrets};
use sql::{Error, Work};
use uuid::Uuid;

pub use api_db::cells::Change;
pub use api_db::doctor::Task;
pub use archive::{Done, Orphans, Terms};
pub use cells::{Created, NewCell, Options};
pub use denied::{Denied, Why};
pub use discover::{CellScan, Found, Scan};
pub use doctor::{Diagnosis, Finding};
pub use enrol::JoinTokens;
pub use hosts::{HostView, HostsView};
pub use index::Rebuilt;
pub use instances::{Adopted, Verdict};
pub use keys::Resealed;
pub use placed::{InstanceView, InstancesView, MappingView, OfferView, OffersView, RowView};
pub use preflight::{Check, Preflight, within_one_release};
pub use processes::ProcessView;
pub use remove::Removed;
pub use restored::ConfirmedCell;
pub use restored_api::ConfirmedApi;
pub use rotate::{Rotated, Rotation, Step};
pub use sync::{Synced, SyncedPart};
pub use view::CellView;

use crate::Verbs;

/// Longest that one cell may take to answer.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// On whose behalf something is done.
#[derive(Clone, Debug)]
pub struct By {
    /// Who.
    pub caller: Caller,
    /// The request.
    pub context: Context,
}

/// The operator's verbs. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    env: Env,
    db: api_db::Db,
    router: Option<Router>,
    connector: rpc::Connector,
    secrets: Secrets,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("router", &self.router).finish_non_exhaustive()
    }
}

impl Verbs {
    /// The operator's verbs of the same cloud.
    pub fn admin(&self) -> Admin {
        let (env, db) = (self.inner.env.clone(), self.inner.db.clone());
        // Its own, in whose hub the buses within this process meet.
        let connector = self.inner.router.connector().clone();
        let (router, secrets) = (self.inner.router.clone(), self.inner.router.secrets().clone());
        Admin { env, db, router: Some(router), connector, secrets }
    }
}

impl Admin {
    /// The operator's verbs straight on the API database and on the databases of the cells mapped in it.
    pub fn new(env: Env, db: api_db::Db, secrets: Secrets) -> Self {
        Self { connector: rpc::Connector::new(env.clone()), env, db, router: None, secrets }
    }

    /// What cells' URLs are opened and filled in with here.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The mappings as they are stored: URLs are secret.
    ///
    /// # Errors
    /// If the API database does not answer.
    pub async fn mappings(&self) -> Result<Vec<Cell>, Denied> {
        let read = self
            .db
            .read(|tx| -> Work<'_, Vec<Cell>> { Box::pin(async move { api_db::cells::all(tx).await }) });
        Ok(read.await?)
    }

    /// The mapping of the cell with that id or name.
    ///
    /// # Errors
    /// [`Why::NoCell`].
    pub async fn mapping(&self, cell: &str) -> Result<Cell, Denied> {
        pick(self.mappings().await?, cell)
    }

    /// Asks these cells the same at the same time, each within [`DEADLINE`].
    pub(crate) async fn ask<T, F>(&self, cells: Vec<Cell>, work: F) -> Vec<(Cell, Result<T, Error>)>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut CellTx) -> Work<'t, T> + Clone + Send + Sync + 'static,
    {
        let asked = cells.into_iter().map(|cell| {
            let work = work.clone();
            async move {
                let answer = self.read(&cell, work).await;
                (cell, answer)
            }
        });
        join_all(asked).await
    }

    pub(crate) async fn read<T, F>(&self, cell: &Cell, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut CellTx) -> Work<'t, T> + Send + Sync + 'static,
    {
        match self.reach(cell)? {
            Reached::Handle(handle) => handle.read(work).await,
            Reached::Own(db) => {
                let answer = db.read(work).await;
                close(db);
                answer
            }
        }
    }

    pub(crate) async fn write<T, F>(&self, cell: &Cell, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut CellTx) -> Work<'t, T> + Send + Sync + 'static,
    {
        match self.reach(cell)? {
            Reached::Handle(handle) => handle.write(work).await,
            Reached::Own(db) => {
                let answer = db.write(work).await;
                close(db);
                answer
            }
        }
    }

    fn reach(&self, cell: &Cell) -> Result<Reached, Error> {
        // A handle of an older mapping would lead to where the cell was.
        let known = self.router.as_ref().and_then(|router| router.cell(cell.id).ok());
        match known.filter(|handle| handle.cell == *cell) {
            Some(handle) => Ok(Reached::Handle(handle)),
            None => self.open(cell).map(Reached::Own),
        }
    }

    /// Opens a cell's database for a few calls. A SQLite file is not made.
    pub(crate) fn open(&self, cell: &Cell) -> Result<cell_db::Db, Error> {
        self.open_within(cell, DEADLINE)
    }
}

enum Reached {
    Handle(Arc<CellHandle>),
    Own(cell_db::Db),
}

/// Opens a database of a cell. A SQLite file is only made where `make` says so.
pub(crate) fn open(url: String, make: bool, deadline: Duration) -> Result<cell_db::Db, Error> {
    if let Some(path) = url::sqlite_path(&url).filter(|path| !make && !std::path::Path::new(path).exists()) {
        return Err(Error::Down(format!("there is no file {path}")));
    }
    let settings = sql::Settings { url, connections: 1, deadline, gate: Gate::default() };
    cell_db::Db::open(&settings)
}

/// Closes a database behind the caller's back: one that hangs takes its time.
pub(crate) fn close(db: cell_db::Db) {
    tokio::spawn(async move { db.close().await });
}

/// The cell with that id or name.
pub(crate) fn pick(cells: Vec<Cell>, wanted: &str) -> Result<Cell, Denied> {
    let id = Uuid::parse_str(wanted).ok();
    let found = cells.into_iter().find(|cell| cell.name == wanted || id == Some(cell.id.uuid()));
    found.ok_or_else(|| Denied::new(Why::NoCell, format!("there is no cell '{wanted}'")))
}

pub(crate) fn only_admins(by: &By) -> Result<(), Denied> {
    match by.caller.is_admin() {
        true => Ok(()),
        false => Err(Fault::new(FaultKind::Forbidden, "only administrators do this").into()),
    }
}

/// Why a cell's database gave no answer, for operators: the engine's own words hold no password.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::Statement(_) => "its database has no schema of ours: run 'skep-manage db sync'".to_owned(),
        Error::Down(why) => format!("its database does not answer: {why}"),
        other => other.to_string(),
    }
}
