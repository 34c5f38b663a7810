//! What cells last published of themselves, as this superconductor read it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use model::{Cell, CellId, CellState, Summary};
use router::Router;
use scheduler::cells::{Candidate, Snapshot};

/// The newest summary of each cell; none while it does not answer.
#[derive(Debug, Default)]
pub(crate) struct Summaries {
    by_cell: Mutex<HashMap<CellId, Option<Summary>>>,
}

impl Summaries {
    pub(crate) fn put(&self, cell: CellId, summary: Option<Summary>) {
        self.by_cell.lock().unwrap_or_else(PoisonError::into_inner).insert(cell, summary);
    }

    /// The cells that may be picked, without what is unsettled: that is counted in the transaction.
    pub(crate) fn candidates(&self, router: &Router, cap: i64) -> Vec<Candidate> {
        let by_cell = self.by_cell.lock().unwrap_or_else(PoisonError::into_inner);
        let candidate = |cell: &Cell| Candidate {
            id: cell.id,
            region: cell.region.clone(),
            active: cell.state == CellState::Active,
            summary: by_cell.get(&cell.id).cloned().flatten(),
            unsettled: 0,
            cap,
        };
        let cells = router.cells();
        cells.iter().filter(|handle| !handle.cell.is_cell0()).map(|handle| candidate(&handle.cell)).collect()
    }
}

/// A snapshot of `candidates` with what is unsettled.
pub(crate) fn snapshot(candidates: &[Candidate], unsettled: &[(CellId, i64)]) -> Snapshot {
    let count = |cell: CellId| unsettled.iter().find(|(id, _)| *id == cell).map_or(0, |(_, n)| *n);
    Snapshot::new(candidates.iter().map(|c| Candidate { unsettled: count(c.id), ..c.clone() }).collect())
}
