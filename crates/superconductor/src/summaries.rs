//! What cells last published of themselves, as this superconductor read it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::{Cell, CellId, CellState, Env, Summary};
use router::{CellHandle, Router, scatter};
use scheduler::cells::{Candidate, Snapshot};
use sql::Work;
use tokio::time::timeout;

/// How old a cell's last answer may be when something is bound to it. A binding is for good, so a cell
/// is probed just before.
const FRESH: Duration = Duration::from_millis(100);

/// Longest that a probe before a binding may hold up all bindings.
const PROBE: Duration = Duration::from_millis(300);

/// What a cell said of itself, if it had published anything yet, and when that was read.
type Answer = (Option<Summary>, Duration);

/// The newest answer of each cell; none while it does not answer.
#[derive(Debug, Default)]
pub(crate) struct Summaries {
    by_cell: Mutex<HashMap<CellId, Option<Answer>>>,
}

impl Summaries {
    /// Reads a cell's summary, and remembers that it did or did not answer.
    pub(crate) async fn read(&self, env: &Env, handle: &CellHandle) {
        let read = handle
            .read(|tx| -> Work<'_, Option<Summary>> {
                Box::pin(async move { cell_db::summary::read(tx).await })
            })
            .await;
        self.put(handle.cell.id, read.ok().map(|summary| (summary, env.monotonic())));
    }

    fn put(&self, cell: CellId, answer: Option<Answer>) {
        self.by_cell.lock().unwrap_or_else(PoisonError::into_inner).insert(cell, answer);
    }

    /// Probes the cells that may be bound to and whose last answer is not fresh. Those that did not answer
    /// last time are left to whoever follows them, so that a frozen cell holds bindings up but once.
    pub(crate) async fn refresh(&self, env: &Env, router: &Router) {
        let now = env.monotonic();
        let stale = |cell: CellId| {
            let by_cell = self.by_cell.lock().unwrap_or_else(PoisonError::into_inner);
            by_cell.get(&cell).and_then(Option::as_ref).is_some_and(|(_, at)| now.saturating_sub(*at) > FRESH)
        };
        let cells = router.cells().into_iter().filter(|handle| stale(handle.cell.id)).collect();
        let probe = |handle: std::sync::Arc<CellHandle>| async move {
            if timeout(PROBE, self.read(env, &handle)).await.is_err() {
                self.put(handle.cell.id, None);
            }
            Ok(())
        };
        scatter(cells, probe).await;
    }

    /// The cells that may be picked, without what is unsettled: that is counted in the transaction.
    pub(crate) fn candidates(&self, router: &Router, cap: i64) -> Vec<Candidate> {
        let by_cell = self.by_cell.lock().unwrap_or_else(PoisonError::into_inner);
        let candidate = |cell: &Cell| Candidate {
            id: cell.id,
            region: cell.region.clone(),
            active: cell.state.takes_new(),
            // Which ones is read in the transaction that binds.
            projects: (cell.state == CellState::Testing).then(Vec::new),
            summary: by_cell.get(&cell.id).and_then(Option::as_ref).and_then(|(summary, _)| summary.clone()),
            unsettled: 0,
            cap,
        };
        let cells = router.cells();
        cells.iter().filter(|handle| !handle.cell.is_cell0()).map(|handle| candidate(&handle.cell)).collect()
    }
}

/// A snapshot of `candidates` with what is unsettled, and with the `projects` of those under test.
pub(crate) fn snapshot(
    candidates: &[Candidate],
    unsettled: &[(CellId, i64)],
    projects: &[(CellId, String)],
) -> Snapshot {
    let count = |cell: CellId| unsettled.iter().find(|(id, _)| *id == cell).map_or(0, |(_, n)| *n);
    let chosen = |cell: CellId| {
        projects.iter().filter(|(id, _)| *id == cell).map(|(_, project)| project.clone()).collect()
    };
    let full = |c: &Candidate| Candidate {
        unsettled: count(c.id),
        projects: c.projects.as_ref().map(|_| chosen(c.id)),
        ..c.clone()
    };
    Snapshot::new(candidates.iter().map(full).collect())
}
