//! The live registry of cells.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use api_db::cells;
use api_db::processes::Has;
use model::drill::{Drill, Gate};
use model::{Cell, CellId, Env, Fault};
use rpc::Connector;
use sql::{Db, Error, Work};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::breaker::{Breaker, Health};
use crate::handle::CellHandle;
use crate::secret::{Secrets, Urls, Which};

/// The longest that what leaves a mapping's former place may take, in deadlines of one call.
const DRAINS: usize = 30;

/// How cells are reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections to each cell's database.
    pub connections: u32,
    /// Longest that one call to a cell may take.
    pub deadline: Duration,
    /// Calls to one cell at a time; more wait.
    pub bulkhead: usize,
    /// How often the mappings are read again.
    pub refresh: Duration,
    /// What their URLs are opened and filled in with.
    pub secrets: Secrets,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 8,
            deadline: Duration::from_secs(2),
            bulkhead: 64,
            refresh: Duration::from_millis(500),
            secrets: Secrets::default(),
        }
    }
}

struct Inner {
    settings: Settings,
    env: Env,
    db: api_db::Db,
    connector: Connector,
    cells: RwLock<HashMap<CellId, Arc<CellHandle>>>,
    gates: Mutex<HashMap<String, Gate>>,
    /// Mappings that cannot be used, by cell: their version, and why.
    faults: Mutex<HashMap<CellId, (i64, String)>>,
}

/// The router. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.cells().iter().map(|handle| handle.cell.name.clone())).finish()
    }
}

impl Router {
    /// A router over the mappings in `db`. Reads them once if the database answers, and then until the
    /// token is cancelled.
    pub async fn start(
        settings: Settings,
        env: Env,
        db: api_db::Db,
        connector: Connector,
        shutdown: CancellationToken,
    ) -> Self {
        let refresh = settings.refresh;
        let (cells, gates, faults) = (RwLock::default(), Mutex::default(), Mutex::default());
        let router = Self { inner: Arc::new(Inner { settings, env, db, connector, cells, gates, faults }) };
        if let Err(error) = router.refresh().await {
            tracing::warn!(%error, "cell mappings cannot be read yet");
        }
        let looping = router.clone();
        tokio::spawn(async move {
            let period = || looping.inner.env.jitter(refresh * 2 / 3);
            while shutdown.run_until_cancelled(tokio::time::sleep(period())).await.is_some() {
                if let Err(error) = looping.refresh().await {
                    tracing::debug!(%error, "cell mappings could not be read");
                }
                looping.cells().iter().for_each(|handle| handle.look());
            }
        });
        router
    }

    /// Reads the mappings again now.
    ///
    /// # Errors
    /// If the API database does not answer; the cells known so far stay.
    pub async fn refresh(&self) -> Result<(), Error> {
        let db: &Db<api_db::Api> = &self.inner.db;
        let mappings =
            db.read(|tx| -> Work<'_, Vec<Cell>> { Box::pin(async move { cells::all(tx).await }) }).await?;
        let known = self.snapshot();
        let mut next = HashMap::new();
        let mut left = Vec::new();
        let mut faults = HashMap::new();
        for cell in mappings {
            // A secret may have changed while the mapping did not.
            let urls = self.inner.settings.secrets.urls(&cell);
            let same = |handle: &CellHandle| match &urls {
                Ok((urls, None)) => handle.urls == *urls,
                // What works is kept while a secret cannot be read.
                Ok((urls, Some(_))) => handle.urls == *urls || same_urls(&handle.cell, &cell),
                Err(_) => same_urls(&handle.cell, &cell),
            };
            if let Ok((_, Some(why))) | Err(why) = &urls {
                self.complain(&cell, why, &mut faults);
            }
            match known.get(&cell.id) {
                Some(handle) if handle.cell == cell && same(handle) => {
                    next.insert(cell.id, handle.clone());
                }
                Some(handle) if same(handle) => {
                    // Only its state or name changed: connections, breaker and calls under way go on.
                    next.insert(cell.id, Arc::new(self.renamed(handle, cell)));
                }
                other => {
                    left.extend(other.cloned());
                    let Ok((urls, _)) = urls else { continue };
                    match self.open(cell.clone(), urls) {
                        Ok(handle) => drop(next.insert(handle.cell.id, Arc::new(handle))),
                        Err(fault) => self.complain(&cell, &fault, &mut faults),
                    }
                }
            }
        }
        left.extend(known.iter().filter(|(id, _)| !next.contains_key(id)).map(|(_, handle)| handle.clone()));
        *self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        for handle in next.values() {
            let up = handle.health() != Health::Down;
            metrics::gauge!("skep_cell_up", "cell" => handle.cell.name.clone()).set(f64::from(u8::from(up)));
        }
        *self.inner.cells.write().unwrap_or_else(PoisonError::into_inner) = next;
        for handle in left {
            tracing::info!(cell.name = handle.cell.name, version = handle.cell.version, "cell mapping left");
            tokio::spawn(async move {
                // What is under way ends by its own deadline; who holds it may begin another call yet.
                for _ in 0..DRAINS {
                    tokio::time::sleep(handle.deadline).await;
                    if Arc::strong_count(&handle) == 1 {
                        break;
                    }
                }
                handle.db.close().await;
                if let Some(bus) = &handle.bus {
                    bus.close().await;
                }
            });
        }
        Ok(())
    }

    fn open(&self, cell: Cell, urls: Urls) -> Result<CellHandle, Fault> {
        let Settings { connections, deadline, bulkhead, .. } = self.inner.settings.clone();
        let gate = self.gate(&cell.name);
        let first = |urls: &[String]| urls.first().cloned().unwrap_or_default();
        let settings =
            sql::Settings { url: first(&urls.database), connections, deadline, gate: gate.clone() };
        let db = cell_db::Db::open(&settings)?;
        db.change_credentials(&urls.database)?;
        let bus = match cell.is_cell0() {
            true => None,
            false => Some(self.inner.connector.connect(&first(&urls.transport), gate)?),
        };
        if let Some(bus) = &bus {
            bus.change_credentials(&urls.transport)?;
        }
        tracing::info!(cell.name = cell.name, version = cell.version, "cell mapping opened");
        let (env, breaker) = (self.inner.env.clone(), Arc::new(Breaker::default()));
        let bulkhead = Arc::new(Semaphore::new(bulkhead));
        Ok(CellHandle { cell, db, bus, env, breaker, bulkhead, deadline, urls, asked: Arc::default() })
    }

    fn renamed(&self, handle: &CellHandle, cell: Cell) -> CellHandle {
        CellHandle {
            cell,
            db: handle.db.clone(),
            bus: handle.bus.clone(),
            env: handle.env.clone(),
            breaker: handle.breaker.clone(),
            bulkhead: handle.bulkhead.clone(),
            deadline: handle.deadline,
            urls: handle.urls.clone(),
            asked: handle.asked.clone(),
        }
    }

    /// Keeps why a mapping cannot be used, or not by both its slots; tells of it once for each reason, not twice a
    /// second.
    fn complain(&self, cell: &Cell, fault: &Fault, faults: &mut HashMap<CellId, (i64, String)>) {
        let known = self.faults();
        if known.get(&cell.id).is_none_or(|(_, why)| *why != fault.message) {
            tracing::error!(cell.name = cell.name, cause = %fault, "a cell's mapping cannot be used");
        }
        faults.insert(cell.id, (cell.version, fault.message.clone()));
    }

    fn faults(&self) -> HashMap<CellId, (i64, String)> {
        self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What this process has of each cell's mapping, by cell.
    pub(crate) fn has(&self) -> Vec<Has> {
        let faults = self.faults();
        // A cell may be open and have a fault: one of its slots cannot be used here.
        let open = self.snapshot().into_values().filter(|handle| !faults.contains_key(&handle.cell.id));
        let open = open.map(|handle| Has { cell: handle.cell.id, version: handle.cell.version, fault: None });
        let failed = faults.iter();
        let failed = failed.map(|(cell, (version, fault))| Has {
            cell: *cell,
            version: *version,
            fault: Some(fault.clone()),
        });
        let mut all: Vec<Has> = open.chain(failed).collect();
        all.sort_by_key(|has| has.cell);
        all
    }

    /// What this process opens and fills in cells' URLs with.
    pub fn secrets(&self) -> &Secrets {
        &self.inner.settings.secrets
    }

    /// What this process makes buses with.
    pub fn connector(&self) -> &Connector {
        &self.inner.connector
    }

    pub(crate) fn env(&self) -> &Env {
        &self.inner.env
    }

    pub(crate) fn db(&self) -> &api_db::Db {
        &self.inner.db
    }

    fn snapshot(&self) -> HashMap<CellId, Arc<CellHandle>> {
        self.inner.cells.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn gate(&self, name: &str) -> Gate {
        self.inner
            .gates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name.to_owned())
            .or_default()
            .clone()
    }

    /// All cells, cell0 included, by name.
    pub fn cells(&self) -> Vec<Arc<CellHandle>> {
        let mut cells: Vec<_> = self.snapshot().into_values().collect();
        cells.sort_by(|a, b| a.cell.name.cmp(&b.cell.name));
        cells
    }

    /// One cell.
    ///
    /// # Errors
    /// A cell that this process does not know (yet).
    pub fn cell(&self, id: CellId) -> Result<Arc<CellHandle>, Fault> {
        let cells = self.inner.cells.read().unwrap_or_else(PoisonError::into_inner);
        cells.get(&id).cloned().ok_or_else(|| Fault::unavailable("the instance's cell is not known here"))
    }

    /// Makes a cell dark for this process, or ends the drill. False if there is no cell of that name.
    pub fn drill(&self, name: &str, drill: Drill) -> bool {
        let known = self.cells().iter().any(|handle| handle.cell.name == name);
        if known {
            self.gate(name).set(drill);
        }
        known
    }
}

fn same_urls(a: &Cell, b: &Cell) -> bool {
    Which::ALL.into_iter().all(|which| which.of(a) == which.of(b))
}
