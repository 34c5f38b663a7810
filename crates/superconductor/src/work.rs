//! The steps that write in a cell: insert, bury, want gone. Each is idempotent under the fencing counter.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api_db::mappings;
use cell_db::instances::{self, New};
use futures::FutureExt;
use model::bug::{Bug, planted};
use model::failpoint::{ASK, BURY, CLOSE, GONE, INSERT, WISH};
use model::{CellId, Fault, HostId, InstanceId};
use rpc::Bell;
use sql::{Error, Work};
use tasks::{Lease, store};

use crate::{Job, Step, Superconductor, ask, resize, unbind};

/// Sends jobs on their way, one batch for each cell and step.
pub(crate) fn dispatch(shared: &Arc<Superconductor>, jobs: Vec<Job>) {
    let mut batches: BTreeMap<(u8, CellId), Vec<Arc<Job>>> = BTreeMap::new();
    for job in jobs {
        let (order, cell) = match (&job.step, job.mapping.cell) {
            (Step::Ask { .. }, _) => (4, CellId::ZERO),
            (Step::Insert { .. }, Some(cell)) => (0, cell),
            (Step::Bury(_), Some(cell)) => (1, cell),
            (Step::Gone, Some(cell)) => (2, cell),
            (Step::Resize(_), Some(cell)) => (5, cell),
            // Never bound: nothing of it is anywhere.
            (_, None) => (3, CellId::ZERO),
        };
        batches.entry((order, cell)).or_default().push(Arc::new(job));
    }
    for ((order, cell), jobs) in batches {
        let shared = shared.clone();
        tokio::spawn(async move {
            let count = jobs.len();
            let env = &shared.env;
            let step = async {
                match order {
                    0 => env.step(INSERT, || insert(&shared, cell, &jobs)).await,
                    1 => env.step(BURY, || bury(&shared, cell, &jobs)).await,
                    2 => env.step(GONE, || gone(&shared, cell, &jobs)).await,
                    4 => env.step(ASK, || ask::ask(&shared, &jobs)).await,
                    5 => env.step(WISH, || resize::wish(&shared, cell, &jobs)).await,
                    _ => env.step(CLOSE, || close(&shared, &jobs)).await,
                }
            };
            // What is held in memory must come out again, whatever happens.
            let done = AssertUnwindSafe(step).catch_unwind().await;
            let done = done.unwrap_or_else(|_| {
                tracing::error!(order, "a step panicked; its tasks are tried again");
                metrics::counter!("skep_step_panics_total").increment(1);
                Err(Fault::internal("a step panicked"))
            });
            match done {
                Err(_) if order == 2 && planted(Bug::SilenceIsConsent) => shared.wait(cell, jobs),
                Ok(true) => shared.wait(cell, jobs),
                Ok(false) => shared.let_go(count),
                Err(fault) if order == 0 => unbind::failed(&shared, cell, jobs, &fault).await,
                Err(fault) => give_back(&shared, cell, jobs, &fault).await,
            }
        });
    }
}

fn new(shared: &Superconductor, job: &Job) -> Result<New, Fault> {
    let spec = job.mapping.spec.clone().ok_or_else(|| Fault::internal("its request spec is gone"))?;
    Ok(New {
        id: job.mapping.id,
        epoch: job.mapping.epoch,
        saga_token: job.mapping.saga_token,
        spec,
        asked_by: job.task.request_id.clone(),
        bucket: shared.env.below(instances::BUCKETS) as i64,
        created: job.mapping.created,
    })
}

/// Inserts into the cell and rings its conductors. True: the outcome is to be waited for.
async fn insert(shared: &Superconductor, cell: CellId, jobs: &[Arc<Job>]) -> Result<bool, Fault> {
    let handle = shared.router.cell(cell)?;
    let rows = jobs.iter().map(|job| new(shared, job)).collect::<Result<Vec<_>, _>>()?;
    let (rows, now) = (Arc::new(rows), shared.env.now());
    let first: Vec<bool> = jobs.iter().map(|job| job.sent.attempt()).collect();
    let written = handle.write(move |tx| -> Work<'_, ()> {
        let rows = rows.clone();
        Box::pin(async move { instances::insert(tx, &rows, now).await })
    });
    let written = written.await;
    if matches!(written, Err(Error::Down(_) | Error::Fault(_))) {
        jobs.iter().zip(first).filter(|(_, first)| *first).for_each(|(job, _)| job.sent.nothing());
    }
    written?;
    handle.ring(Bell::Conductors);
    Ok(true)
}

/// Wants the instances gone in their cell and rings their hosts. True: the outcome is to be waited for.
async fn gone(shared: &Superconductor, cell: CellId, jobs: &[Arc<Job>]) -> Result<bool, Fault> {
    let handle = shared.router.cell(cell)?;
    let rows = jobs.iter().map(|job| new(shared, job)).collect::<Result<Vec<_>, _>>()?;
    let (rows, now) = (Arc::new(rows), shared.env.now());
    let hosts = handle
        .write(move |tx| -> Work<'_, Vec<HostId>> {
            let rows = rows.clone();
            Box::pin(async move { instances::want_gone(tx, &rows, now).await })
        })
        .await?;
    for host in hosts {
        handle.ring(Bell::Host(host));
    }
    Ok(true)
}

/// Buries in cell0 and finishes.
async fn bury(shared: &Superconductor, cell: CellId, jobs: &[Arc<Job>]) -> Result<bool, Fault> {
    let handle = shared.router.cell(cell)?;
    let mut rows = Vec::new();
    for job in jobs {
        if let Step::Bury(fault) = &job.step {
            rows.push((new(shared, job)?, fault.clone()));
        }
    }
    let (rows, now) = (Arc::new(rows), shared.env.now());
    handle
        .write(move |tx| -> Work<'_, ()> {
            let rows = rows.clone();
            Box::pin(async move { instances::bury(tx, &rows, now).await })
        })
        .await?;
    let leases: Vec<Lease> = jobs.iter().map(|job| job.task.lease).collect();
    shared
        .db
        .write(move |tx| -> Work<'_, ()> {
            let leases = leases.clone();
            Box::pin(async move { store::finish(tx, &leases).await.map(drop) })
        })
        .await?;
    metrics::counter!("skep_buried_total").increment(jobs.len() as u64);
    Ok(false)
}

/// Closes the mappings of instances that are gone, and finishes.
pub(crate) async fn close(shared: &Superconductor, jobs: &[Arc<Job>]) -> Result<bool, Fault> {
    let now = shared.env.now();
    let done: Arc<Vec<(Lease, InstanceId, i64)>> =
        Arc::new(jobs.iter().map(|job| (job.task.lease, job.mapping.id, job.mapping.saga_token)).collect());
    shared
        .db
        .write(move |tx| -> Work<'_, ()> {
            let done = done.clone();
            Box::pin(async move {
                // Only what is still held ends, and it ends together with its mapping or not at all.
                let leases: Vec<Lease> = done.iter().map(|(lease, ..)| *lease).collect();
                let held = store::finish(tx, &leases).await?;
                let gone: Vec<(InstanceId, i64)> = done
                    .iter()
                    .filter(|(lease, ..)| held.contains(&lease.task))
                    .map(|(_, id, token)| (*id, *token))
                    .collect();
                let closed = mappings::close(tx, &gone, now).await?;
                if closed.len() == gone.len() { Ok(()) } else { Err(Error::Stale) }
            })
        })
        .await?;
    metrics::counter!("skep_deleted_total").increment(jobs.len() as u64);
    Ok(false)
}

/// A step failed: its tasks are given back, to be leased again after a while.
pub(crate) async fn give_back(shared: &Superconductor, cell: CellId, jobs: Vec<Arc<Job>>, fault: &Fault) {
    let name = shared.router.cell(cell).map(|handle| handle.cell.name.clone()).unwrap_or_default();
    tracing::warn!(cell.name = name, tasks = jobs.len(), cause = %fault, "a step failed; it will be tried again");
    let (count, now) = (jobs.len(), shared.env.now());
    let later = jobs
        .iter()
        .map(|job| {
            let wait =
                store::backoff(&shared.env, job.task.lease.attempt).min(std::time::Duration::from_secs(5));
            (job.task.lease, now.plus(wait), fault.message.clone())
        })
        .collect::<Vec<_>>();
    // They stay ours by name until this is written, so it is tried until it is; if we die, the lease ends.
    loop {
        let later = later.clone();
        let given = shared
            .db
            .write(move |tx| -> Work<'_, ()> {
                let later = later.clone();
                Box::pin(async move { store::release(tx, later).await })
            })
            .await;
        match given {
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "tasks could not be given back yet");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            Err(error) => {
                tracing::error!(%error, "tasks could not be given back");
                break;
            }
            Ok(()) => break,
        }
    }
    shared.let_go(count);
}
