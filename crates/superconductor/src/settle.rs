//! Following cells: outcomes of what was handed to them, their summaries, and what has changed there.
//!
//! A user sees an instance's state in its cell's row; what is settled here is bookkeeping, so it is
//! batched and need not hurry.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use api_db::state::{self, Build, Refusal};
use api_db::{Tx, cells};
use cell_db::instances::{self, Standing};
use model::bug::{Bug, planted};
use model::failpoint::{CLOSE, FINISH, RETARGET, SIZED};
use model::instance::Stage;
use model::{CellId, Fault, FaultKind, Incarnation, InstanceId};
use router::CellHandle;
use rpc::Bell;
use sql::{Error, Work};
use tasks::{Lease, store};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{Job, Step, Superconductor, enrol, feed, resize, work};

/// Shortest time between two looks at one cell.
const PAUSE: Duration = Duration::from_millis(40);

/// Most outcomes looked for at a time.
const CHUNK: usize = 256;

/// Follows every cell of the registry until the token is cancelled.
pub(crate) async fn follow_cells(shared: Arc<Superconductor>, shutdown: CancellationToken) {
    let mut followed: HashMap<CellId, (Arc<CellHandle>, CancellationToken)> = HashMap::new();
    let mut followers = JoinSet::new();
    loop {
        let cells = shared.router.cells();
        followed.retain(|id, (handle, token)| {
            let stays = cells.iter().any(|c| c.cell.id == *id && c.leads_where(handle));
            if !stays {
                token.cancel();
            }
            stays
        });
        for handle in cells {
            followed.entry(handle.cell.id).or_insert_with(|| {
                let token = shutdown.child_token();
                followers.spawn(follow(shared.clone(), handle.cell.id, token.clone()));
                (handle, token)
            });
        }
        let wait = tokio::time::sleep(Duration::from_millis(250));
        if shutdown.run_until_cancelled(wait).await.is_none() {
            break;
        }
        while let Some(ended) = followers.try_join_next() {
            loud(ended);
        }
    }
    while let Some(ended) = followers.join_next().await {
        loud(ended);
    }
}

/// Panics on if a follower did: a cell that nobody follows would go unnoticed.
fn loud(ended: Result<(), JoinError>) {
    if let Err(why) = ended
        && why.is_panic()
    {
        std::panic::resume_unwind(why.into_panic());
    }
}

async fn follow(shared: Arc<Superconductor>, cell: CellId, token: CancellationToken) {
    let Ok(handle) = shared.router.cell(cell) else { return };
    let mut bell = handle.bus.as_ref().map(|bus| bus.listen(Bell::Up, shared.worker()));
    let wake = shared.notify(cell);
    let (mut fed, mut enrolled, mut known) = (Duration::ZERO, Duration::ZERO, enrol::Known::new());
    let mut heard = shared.env.monotonic();
    let mut incarnation = None;
    while !token.is_cancelled() {
        if let Ok(handle) = shared.router.cell(cell) {
            if let Err(error) = settle(&shared, &handle).await {
                tracing::debug!(cell.name = handle.cell.name, %error, "outcomes cannot be read");
            }
            let now = shared.env.monotonic();
            if now.saturating_sub(fed) >= feed::PERIOD {
                fed = now;
                if !handle.cell.is_cell0() {
                    shared.summaries.read(&shared.env, &handle).await;
                }
                feed::feed(&shared, &handle, &mut heard).await;
                look_for_restore(&shared, &handle, &mut incarnation).await;
            }
            if !handle.cell.is_cell0() && now.saturating_sub(enrolled) >= enrol::PERIOD {
                enrolled = now;
                enrol::enrol(&shared, &handle, &mut known).await;
            }
        }
        let rung = async {
            match &mut bell {
                Some(bell) => bell.rung().await,
                None => futures::future::pending().await,
            }
        };
        let wait = async {
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                biased;
                () = rung => {}
                () = wake.notified() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        };
        token.run_until_cancelled(wait).await;
    }
}

/// Reads the outcomes of what waits for this cell and does what follows.
async fn settle(shared: &Arc<Superconductor>, handle: &CellHandle) -> Result<(), Error> {
    let cell = handle.cell.id;
    let jobs: Vec<Arc<Job>> = {
        let waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(&cell).map(|jobs| jobs.values().cloned().collect()).unwrap_or_default()
    };
    for chunk in jobs.chunks(CHUNK) {
        let ids: Arc<Vec<InstanceId>> = Arc::new(chunk.iter().map(|job| job.mapping.id).collect());
        let standings = handle
            .read(move |tx| -> Work<'_, Vec<Standing>> {
                let ids = ids.clone();
                Box::pin(async move { instances::standing(tx, &ids).await })
            })
            .await?;
        let standings: HashMap<InstanceId, Standing> = standings.into_iter().map(|s| (s.id, s)).collect();
        let (mut built, mut gone): (Vec<Arc<Job>>, Vec<Arc<Job>>) = Default::default();
        let mut refused: Vec<(Arc<Job>, Fault)> = Vec::new();
        for job in chunk {
            let Some(standing) = standings.get(&job.mapping.id) else { continue };
            match (&job.step, standing.stage) {
                // Another epoch: the mapping has moved on, and so will our next write's counter.
                _ if standing.epoch < job.mapping.epoch => {}
                (Step::Gone, Stage::Tombstone) => gone.push(job.clone()),
                (Step::Gone, _) if planted(Bug::DeleteUnseen) => gone.push(job.clone()),
                (Step::Insert { .. }, Stage::Settled | Stage::Error) => built.push(job.clone()),
                (Step::Insert { .. }, Stage::Tombstone) => {
                    let said = standing.fault.clone();
                    let fault =
                        said.unwrap_or_else(|| Fault::new(FaultKind::NoValidHost, "the cell refused"));
                    refused.push((job.clone(), fault));
                }
                _ => {}
            }
        }
        if !built.is_empty() {
            shared.env.step(FINISH, || finish(shared, cell, &built)).await?;
            leave(shared, cell, &built);
        }
        if !refused.is_empty() {
            let jobs: Vec<Arc<Job>> = refused.iter().map(|(job, _)| job.clone()).collect();
            shared.env.step(RETARGET, || retarget(shared, cell, &refused)).await?;
            leave(shared, cell, &jobs);
            shared.look.notify_one();
        }
        let sized = resize::ended(handle, chunk).await?;
        if !sized.is_empty() {
            let jobs: Vec<Arc<Job>> = sized.iter().map(|(job, _)| job.clone()).collect();
            shared.env.step(SIZED, || resize::sized(shared, &sized)).await?;
            leave(shared, cell, &jobs);
        }
        if !gone.is_empty() {
            shared.env.step(CLOSE, || work::close(shared, &gone)).await.map_err(Error::Fault)?;
            leave(shared, cell, &gone);
        }
    }
    Ok(())
}

/// Whether the cell's database was put back from a backup: then rows that are waited for may be gone, so that
/// whatever waits is given back, to be leased, fenced and written again.
async fn look_for_restore(
    shared: &Arc<Superconductor>,
    handle: &CellHandle,
    known: &mut Option<Incarnation>,
) {
    let read = handle.read(|tx| -> Work<'_, Incarnation> { Box::pin(sql::migrate::incarnation(tx)) });
    let Ok(now) = read.await else { return };
    let cell = handle.cell.id;
    if known.replace(now).is_some_and(|before| before != now) {
        tracing::warn!(cell.name = handle.cell.name, "the cell's database has another incarnation");
        let waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&cell);
        let jobs: Vec<Arc<Job>> = waiting.unwrap_or_default().into_values().collect();
        if !jobs.is_empty() {
            let why = Fault::unavailable("the cell's database was restored");
            work::give_back(shared, cell, jobs, &why).await;
        }
    }
}

/// Takes jobs out of those that wait.
fn leave(shared: &Superconductor, cell: CellId, jobs: &[Arc<Job>]) {
    let mut left = 0;
    if let Some(here) = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&cell) {
        for job in jobs {
            // A newer task on the same instance may wait here by now.
            if here.get(&job.mapping.id).is_some_and(|held| held.task.lease == job.task.lease) {
                here.remove(&job.mapping.id);
                left += 1;
            }
        }
    }
    shared.let_go(left);
}

/// The builds have their outcome: their tasks end, and they count as settled.
async fn finish(shared: &Superconductor, cell: CellId, jobs: &[Arc<Job>]) -> Result<(), Error> {
    let leases: Arc<Vec<Lease>> = Arc::new(jobs.iter().map(|job| job.task.lease).collect());
    shared
        .db
        .write(move |tx| -> Work<'_, ()> {
            let leases = leases.clone();
            Box::pin(async move {
                let finished = store::finish(tx, &leases).await?;
                let count = if planted(Bug::CountedTwice) { leases.len() } else { finished.len() };
                count_settled(tx, cell, count).await
            })
        })
        .await
}

/// The cell cannot take them: they go back to be bound elsewhere.
async fn retarget(shared: &Superconductor, cell: CellId, refused: &[(Arc<Job>, Fault)]) -> Result<(), Error> {
    let now = shared.env.now();
    let mut states = Vec::new();
    for (job, fault) in refused {
        let Step::Insert { refused: before } = &job.step else { continue };
        let mut before = before.clone();
        before.push(Refusal { cell, fault: fault.clone() });
        states.push((job.task.lease, state::to_json(&Build::Pick { refused: before, asked: Vec::new() })?));
    }
    shared
        .db
        .write(move |tx| -> Work<'_, ()> {
            let states = states.clone();
            Box::pin(async move {
                let leases: Vec<Lease> = states.iter().map(|(lease, _)| *lease).collect();
                let ours = store::advance(tx, states).await?;
                let free = leases.into_iter().filter(|lease| ours.contains(&lease.task));
                let free = free.map(|lease| (lease, now, "refused by a cell".to_owned())).collect();
                store::release(tx, free).await?;
                count_settled(tx, cell, ours.len()).await
            })
        })
        .await
}

/// Counts `n` bindings of a cell as settled.
pub(crate) async fn count_settled(tx: &mut Tx, cell: CellId, n: usize) -> Result<(), Error> {
    match n {
        0 => Ok(()),
        n => cells::settle(tx, cell, n as i64).await,
    }
}
