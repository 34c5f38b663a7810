//! Picking a cell, from what cells publish of themselves.

use model::hash::fnv64;
use model::{CellId, InstanceId, RequestSpec, Resources, Summary};

use crate::explain::Explanation;

/// A cell as the API level sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The cell.
    pub id: CellId,
    /// Its region.
    pub region: String,
    /// Whether it takes new instances.
    pub active: bool,
    /// The projects whose instances it takes; absent: all.
    pub projects: Option<Vec<String>>,
    /// What it last published; absent if it does not answer or never published.
    pub summary: Option<Summary>,
    /// Bindings to it that have not settled and are not in its summary yet.
    pub unsettled: i64,
    /// How many may be unsettled at a time.
    pub cap: i64,
}

/// All cells, as read in one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    cells: Vec<Candidate>,
}

/// Why no cell was selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Some cell may take it later: it is at its cap, or dark.
    Wait(Explanation),
    /// Some cell has published that it is full, but perhaps of a time before the request.
    Ask(Explanation),
    /// Every eligible cell has said that it cannot.
    Never(Explanation),
}

impl Snapshot {
    /// A snapshot of `cells`.
    pub fn new(mut cells: Vec<Candidate>) -> Self {
        cells.sort_by_key(|cell| cell.id);
        Self { cells }
    }

    /// Picks a cell for `spec` that is not among those that `refused` it: weighted rendezvous hashing on
    /// how often the request still fits there, less what has not settled, so that several callers with
    /// the same snapshot spread without speaking to each other. That a cell is full counts from the version of
    /// its summary on that `since` has for it.
    pub fn select_destinations(
        &self,
        id: InstanceId,
        spec: &RequestSpec,
        since: &[(CellId, i64)],
        refused: &[CellId],
    ) -> Result<CellId, Refused> {
        let need = spec.resources();
        let mut explanation = Explanation::new("cell", self.cells.len());
        let (mut wait, mut ask) = (false, false);
        let mut best: Option<(f64, CellId)> = None;
        for cell in &self.cells {
            let filter = if !cell.active {
                Some(("not active", false))
            } else if cell.projects.as_ref().is_some_and(|chosen| !chosen.contains(&spec.project)) {
                Some(("tests with other projects", false))
            } else if !spec.region.is_empty() && spec.region != cell.region {
                Some(("region", false))
            } else if refused.contains(&cell.id) {
                Some(("has refused", false))
            } else {
                match &cell.summary {
                    None => Some(("does not answer", true)),
                    // A refusal counts only if it is newer than the request.
                    Some(summary) if fits(need, summary) == 0 => {
                        ask |= !since.iter().any(|(id, from)| *id == cell.id && summary.version >= *from);
                        Some(("capacity", false))
                    }
                    Some(_) if cell.unsettled >= cell.cap => Some(("at its cap", true)),
                    Some(_) => None,
                }
            };
            match (filter, &cell.summary) {
                (Some((filter, later)), _) => {
                    explanation.refuse(filter);
                    wait |= later;
                }
                (None, Some(summary)) => {
                    let weight = (fits(need, summary) - cell.unsettled).max(1) as f64;
                    let score = weight / -unit(id, cell.id).ln();
                    if best.is_none_or(|(most, _)| score > most) {
                        best = Some((score, cell.id));
                    }
                }
                (None, None) => {}
            }
        }
        match best {
            Some((_, cell)) => Ok(cell),
            None if ask => Err(Refused::Ask(explanation)),
            None if wait => Err(Refused::Wait(explanation)),
            None => Err(Refused::Never(explanation)),
        }
    }

    /// Counts one more unsettled binding to `cell`, so that the next selection of a batch sees it.
    pub fn update_resource_stats(&mut self, cell: CellId) {
        if let Some(cell) = self.cells.iter_mut().find(|candidate| candidate.id == cell) {
            cell.unsettled += 1;
        }
    }
}

/// How often `need` fits: bounded from above by the totals, zero if no single host can take it.
fn fits(need: Resources, summary: &Summary) -> i64 {
    if summary.frontier.iter().any(|shape| need.fits(*shape)) {
        need.times_in(summary.free).max(1)
    } else {
        0
    }
}

/// A number in (0, 1) made of both ids (64-bit FNV-1a, finished as in MurmurHash3).
fn unit(instance: InstanceId, cell: CellId) -> f64 {
    let mut hash = fnv64(instance.uuid().as_bytes().iter().chain(cell.uuid().as_bytes()));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}
