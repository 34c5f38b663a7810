//! Taking a binding back that its cell was never told of.
//!
//! After a binding only the cell's tombstone permits another one, because the insertion may have arrived. Who made the
//! binding knows better in one case: the first attempt to insert, its own, surely committed nothing
//! ([`sql::Error::Down`]). Then no row of this epoch is there, and none will be: whoever leases the build from now on
//! finds it without a cell. All of that holds only as long as the lease does, which is compared in the same write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api_db::mappings::{self, Unbind};
use api_db::state::{self, Build};
use model::bug::{Bug, planted};
use model::failpoint::RETARGET;
use model::{CellId, Fault, Timestamp};
use sql::{Error, Work};
use tasks::{Lease, store};

use crate::{Job, Step, Superconductor, settle, work};

/// Longest until what was taken back from a cell that answers is bound again.
const AGAIN: Duration = Duration::from_secs(1);

/// What may have reached the cell of a binding.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// It was bound with this lease, and nothing was tried since.
    untried: AtomicBool,
    /// The one attempt that there was surely committed nothing.
    nothing: AtomicBool,
}

impl Sent {
    /// Of a binding that was just made.
    pub(crate) fn untried() -> Self {
        Self { untried: AtomicBool::new(true), ..Self::default() }
    }

    /// An attempt begins. Gives whether it is the first one.
    pub(crate) fn attempt(&self) -> bool {
        self.nothing.store(false, Ordering::SeqCst);
        self.untried.swap(false, Ordering::SeqCst)
    }

    /// The first attempt surely committed nothing.
    pub(crate) fn nothing(&self) {
        self.nothing.store(true, Ordering::SeqCst);
    }

    fn is_nothing(&self) -> bool {
        self.nothing.load(Ordering::SeqCst) || planted(Bug::UnboundUnsure)
    }
}

/// An insertion failed: what surely did not reach the cell may go elsewhere at once; the rest is tried again.
pub(crate) async fn failed(shared: &Superconductor, cell: CellId, jobs: Vec<Arc<Job>>, fault: &Fault) {
    let (free, bound): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.sent.is_nothing());
    if !free.is_empty() {
        let silent = shared.router.cell(cell).is_ok_and(|handle| shared.summaries.failed(&handle));
        match shared.env.step(RETARGET, || unbind(shared, cell, (&free, silent), fault)).await {
            Ok(()) => {
                shared.let_go(free.len());
                shared.look.notify_one();
            }
            Err(error) => work::give_back(shared, cell, free, &error.into()).await,
        }
    }
    if !bound.is_empty() {
        work::give_back(shared, cell, bound, fault).await;
    }
}

/// Takes the bindings of these jobs back. While their cell is not silent they may be bound to it again, and are leased
/// after a while, so as not to ask it over and over.
async fn unbind(
    shared: &Superconductor,
    cell: CellId,
    (jobs, silent): (&[Arc<Job>], bool),
    why: &Fault,
) -> Result<(), Error> {
    let now = shared.env.now();
    let mut freed = Vec::new();
    for job in jobs {
        let Step::Insert { refused } = &job.step else { continue };
        let state = state::to_json(&Build::Pick { refused: refused.clone(), asked: Vec::new() })?;
        let unbind =
            Unbind { id: job.mapping.id, saga_token: job.mapping.saga_token, epoch: job.mapping.epoch };
        let wait = store::backoff(&shared.env, job.task.lease.attempt).min(AGAIN);
        let again = if silent { now } else { now.plus(wait) };
        freed.push((job.task.lease, state, again, unbind));
    }
    let (freed, why) = (Arc::new(freed), why.message.clone());
    let count = shared
        .db
        .write(move |tx| -> Work<'_, usize> {
            let (freed, why) = (freed.clone(), why.clone());
            Box::pin(async move {
                let states = freed.iter().map(|(lease, state, ..)| (*lease, state.clone())).collect();
                let held = store::advance(tx, states).await?;
                let ours = || freed.iter().filter(|(lease, ..)| held.contains(&lease.task));
                let free: Vec<(Lease, Timestamp, String)> =
                    ours().map(|(lease, _, again, _)| (*lease, *again, why.clone())).collect();
                store::release(tx, free).await?;
                let unbinds: Vec<Unbind> = ours().map(|(.., unbind)| *unbind).collect();
                if mappings::unbind(tx, &unbinds).await? < unbinds.len() as u64 {
                    return Err(Error::Stale);
                }
                settle::count_settled(tx, cell, unbinds.len()).await?;
                Ok(unbinds.len())
            })
        })
        .await?;
    metrics::counter!("skep_unbound_total").increment(count as u64);
    Ok(())
}
