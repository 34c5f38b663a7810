//! The API level's worker: binds instances to cells, waits for outcomes, buries what no cell can take,
//! carries out deletions, and feeds the index.
//!
//! ```text
//!   bell, or half a second ──► lease: tasks, fencing counters, bindings (one transaction) ──┐
//!        ┌───────────────────────────────────────────────────────────────────────────────┘
//!        └─► work: insert / want gone / bury in the cell, under the counter ──► waiting
//!   the cell's bell `up`, or a second ──► settle: read outcomes in the cell, finish or retarget
//! ```
//!
//! Any number of superconductors share the work by leasing tasks. What one holds in memory (which tasks
//! wait for which cell) is only a shortcut: its death frees its tasks, and whoever leases them repeats
//! the last step, which is idempotent under the new counter.

mod ask;
mod enrol;
mod feed;
mod lease;
mod resize;
mod settle;
mod summaries;
mod sweep;
mod unbind;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use api_db::mappings::Mapping;
use model::failpoint::BEAT;
use model::{CellId, Env, Fault, InstanceId, WorkerId};
use router::Router;
use rpc::{Bell, Bus};
use tasks::{Leased, Worker};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How a superconductor behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, for operators.
    pub name: String,
    /// Most tasks leased in one transaction.
    pub batch: i64,
    /// Most tasks held at a time.
    pub in_flight: usize,
    /// Most unsettled bindings of one cell.
    pub cell_cap: i64,
    /// How long a worker's beat must stand still before its tasks are taken.
    pub lease: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { name: "superconductor".into(), batch: 64, in_flight: 512, cell_cap: 256, lease: tasks::LEASE }
    }
}

/// A task that this superconductor holds, with the mapping as it was when it was leased.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) task: Leased,
    pub(crate) mapping: Mapping,
    pub(crate) step: Step,
    /// What may have reached its cell.
    pub(crate) sent: unbind::Sent,
}

/// What has to be done next for a job.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Insert into the cell that it is bound to, and wait.
    Insert { refused: Vec<api_db::state::Refusal> },
    /// Ask cells whether they are full, and give it back.
    Ask { refused: Vec<api_db::state::Refusal>, asked: Vec<api_db::state::Asked>, why: String },
    /// Bury in cell0.
    Bury(Fault),
    /// Want it gone in its cell, and wait.
    Gone,
    /// Wish for another size in its cell, or for what follows upon that, and wait.
    Resize(api_db::state::Resize),
}

pub(crate) struct Superconductor {
    settings: Settings,
    env: Env,
    db: api_db::Db,
    router: Router,
    /// The current incarnation's lease name; changes when it was declared dead.
    worker: RwLock<WorkerId>,
    /// Jobs that wait for an outcome, by cell.
    waiting: Mutex<HashMap<CellId, BTreeMap<InstanceId, Arc<Job>>>>,
    held: AtomicUsize,
    summaries: summaries::Summaries,
    /// There may be tasks to lease.
    look: Notify,
    /// This incarnation does not know what it holds: it has to become another.
    renew: Notify,
    /// One for each cell that is followed: outcomes may be there.
    settle: Mutex<HashMap<CellId, Arc<Notify>>>,
}

/// A superconductor that runs until its token is cancelled.
#[derive(Debug)]
pub struct Running {
    loops: JoinSet<()>,
}

/// Starts a superconductor. `bus` is the API level's own; without it new tasks are found by looking.
///
/// # Errors
/// If the API database does not answer or has a schema that this release cannot work on; the caller may
/// try again. Cells are not waited for.
pub async fn start(
    settings: Settings,
    env: Env,
    db: api_db::Db,
    router: Router,
    bus: Option<Bus>,
    shutdown: CancellationToken,
) -> Result<Running, Fault> {
    api_db::SCHEMA.status(&db).await?;
    let worker = Worker::register(&db, &env, "superconductor", &settings.name, settings.lease).await?;
    let bell = bus.map(|bus| bus.listen(Bell::Superconductors, worker.id));
    let shared = Arc::new(Superconductor {
        settings,
        env,
        db,
        router,
        worker: RwLock::new(worker.id),
        waiting: Mutex::default(),
        held: AtomicUsize::new(0),
        summaries: Default::default(),
        look: Notify::new(),
        renew: Notify::new(),
        settle: Mutex::default(),
    });
    let mut loops = JoinSet::new();
    loops.spawn(beat(shared.clone(), worker, shutdown.clone()));
    loops.spawn(lease::run(shared.clone(), bell, shutdown.clone()));
    loops.spawn(sweep::run(shared.clone(), shutdown.clone()));
    loops.spawn(settle::follow_cells(shared, shutdown));
    Ok(Running { loops })
}

impl Running {
    /// Waits until all loops have ended, after the token was cancelled, at most `within`.
    pub async fn drain(mut self, within: Duration) {
        let ended = async { while self.loops.join_next().await.is_some() {} };
        if tokio::time::timeout(within, ended).await.is_err() {
            tracing::warn!("superconductor did not drain in time");
        }
    }

    /// Resolves, with the reason, when a loop has ended although the token was not cancelled: it panicked, or
    /// it returned. Either is a defect, and what is left does only a part of the work.
    pub async fn ended(&mut self) -> String {
        match self.loops.join_next().await {
            Some(Err(why)) => format!("a loop failed: {why}"),
            Some(Ok(())) | None => "a loop returned".to_owned(),
        }
    }
}

impl Superconductor {
    pub(crate) fn worker(&self) -> WorkerId {
        *self.worker.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more tasks may be leased.
    pub(crate) fn room(&self) -> usize {
        self.settings.in_flight.saturating_sub(self.held.load(Ordering::SeqCst))
    }

    pub(crate) fn hold(&self, count: usize) {
        self.held.fetch_add(count, Ordering::SeqCst);
    }

    /// Tasks have left our hands; if we were full, there may be more to lease.
    pub(crate) fn let_go(&self, count: usize) {
        let before = self.held.fetch_sub(count, Ordering::SeqCst);
        if before >= self.settings.in_flight {
            self.look.notify_one();
        }
    }

    /// Remembers jobs that wait for an outcome in `cell`.
    pub(crate) fn wait(&self, cell: CellId, jobs: Vec<Arc<Job>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let here = waiting.entry(cell).or_default();
        for job in jobs {
            // A step that took long may come late: what was leased after it stays.
            let newer = |held: &Arc<Job>| held.mapping.saga_token > job.mapping.saga_token;
            if here.get(&job.mapping.id).is_some_and(newer) || here.insert(job.mapping.id, job).is_some() {
                self.held.fetch_sub(1, Ordering::SeqCst);
            }
        }
        drop(waiting);
        self.notify(cell).notify_one();
    }

    pub(crate) fn notify(&self, cell: CellId) -> Arc<Notify> {
        self.settle.lock().unwrap_or_else(PoisonError::into_inner).entry(cell).or_default().clone()
    }

    /// Drops everything: this incarnation was declared dead.
    fn forget_all(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count: usize = waiting.values().map(BTreeMap::len).sum();
        waiting.clear();
        self.held.fetch_sub(count, Ordering::SeqCst);
    }
}

/// Beats, takes over from the dead, and becomes a new incarnation when it was itself declared dead.
async fn beat(shared: Arc<Superconductor>, mut worker: Worker, shutdown: CancellationToken) {
    let period = tasks::worker::BEAT.min(shared.settings.lease / 5);
    let mut renew = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = shared.renew.notified() => renew = true,
            () = tokio::time::sleep(period) => {}
        }
        // What it holds is freed for others at once; what it still does is fenced. It stays to be done until
        // it is: the database may be away just now.
        let retired = renew && worker.retire(&shared.db).await.is_ok();
        renew = renew && !retired;
        let alive = match retired {
            true => Ok(false),
            false => shared.env.step(BEAT, || async { Ok::<_, Fault>(()) }).await.map(|()| true),
        };
        let beaten = match alive {
            Ok(true) => worker.beat(&shared.db, &shared.env).await.map_err(Fault::from),
            other => other,
        };
        match beaten {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(worker = %worker.id, "this incarnation is given up: it begins anew");
                shared.forget_all();
                let (name, lease) = (&shared.settings.name, shared.settings.lease);
                match Worker::register(&shared.db, &shared.env, "superconductor", name, lease).await {
                    Ok(new) => {
                        worker = new;
                        *shared.worker.write().unwrap_or_else(PoisonError::into_inner) = worker.id;
                        shared.look.notify_one();
                    }
                    Err(error) => tracing::warn!(%error, "cannot register"),
                }
            }
            Err(fault) => tracing::warn!(cause = %fault, "cannot beat"),
        }
    }
    if let Err(error) = worker.retire(&shared.db).await {
        tracing::warn!(%error, "tasks could not be given back; they are taken when the lease has run out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_panics_ends_it() {
        let mut loops = JoinSet::new();
        loops.spawn(std::future::pending());
        loops.spawn(async { panic!("a defect, for the test") });
        let mut running = Running { loops };
        let why = tokio::time::timeout(Duration::from_secs(10), running.ended()).await.expect("is noticed");
        assert!(why.contains("panicked"), "{why}");
    }
}
