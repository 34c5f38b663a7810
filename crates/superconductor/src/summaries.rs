//! What cells last published of themselves, as this superconductor read it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use api_db::state::Asked;
use model::{Cell, CellId, CellState, Env, Incarnation, Summary};
use router::{CellHandle, Health, Router, scatter};
use scheduler::cells::{Candidate, Snapshot};
use sql::Work;
use tokio::time::timeout;

/// How old a cell's last answer may be when something is bound to it: a cell is probed just before.
const FRESH: Duration = Duration::from_millis(100);

/// Longest that a probe before a binding may hold up all bindings.
const PROBE: Duration = Duration::from_millis(300);

/// What a cell said of itself.
#[derive(Clone, Debug)]
struct Answer {
    /// What it has published, if anything yet.
    published: Option<(Incarnation, Summary)>,
    /// When it was asked.
    at: Duration,
}

/// The newest answer of each cell; none while it does not answer.
#[derive(Debug, Default)]
pub(crate) struct Summaries {
    by_cell: Mutex<HashMap<CellId, Option<Answer>>>,
}

impl Summaries {
    /// Reads a cell's summary, and remembers that it did or did not answer. A cell that answered something else
    /// than what was asked for stays as it was last heard: what it has room for is decided by its claims.
    pub(crate) async fn read(&self, env: &Env, handle: &CellHandle) {
        let at = env.monotonic();
        let read = handle
            .read(|tx| -> Work<'_, Option<(Incarnation, Summary)>> {
                Box::pin(async move { cell_db::summary::read(tx).await })
            })
            .await;
        match read {
            Ok(published) => self.put(handle.cell.id, Some(Answer { published, at })),
            Err(error) => {
                if !self.failed(handle) {
                    tracing::debug!(cell.name = handle.cell.name, %error, "a summary cannot be read");
                }
            }
        }
    }

    /// After a call to a cell that failed: whether the cell is silent, which is remembered until it is heard again.
    /// A refusal is an answer, and so is what another call was told meanwhile; that too many of our own calls wait
    /// says nothing. But one call that nobody answered is enough, long before the breaker opens: what is bound to a
    /// cell that does not answer may have to stay bound to it.
    pub(crate) fn failed(&self, handle: &CellHandle) -> bool {
        let silent = handle.health() != Health::Up;
        if silent {
            self.silent(handle.cell.id);
        }
        silent
    }

    /// Remembers that a cell does not answer, until it is heard again.
    fn silent(&self, cell: CellId) {
        self.put(cell, None);
    }

    fn put(&self, cell: CellId, answer: Option<Answer>) {
        self.by_cell.lock().unwrap_or_else(PoisonError::into_inner).insert(cell, answer);
    }

    /// Probes the cells that may be bound to and whose last answer is not fresh.
    pub(crate) async fn refresh(&self, env: &Env, router: &Router) {
        self.ask_since(env, router, env.monotonic().saturating_sub(FRESH)).await;
    }

    /// Probes the cells that were last asked before `since`. Those that did not answer then are left to whoever
    /// follows them, so that a frozen cell holds bindings up but once.
    pub(crate) async fn ask_since(&self, env: &Env, router: &Router, since: Duration) {
        let stale = |cell: CellId| {
            let by_cell = self.by_cell.lock().unwrap_or_else(PoisonError::into_inner);
            by_cell.get(&cell).and_then(Option::as_ref).is_some_and(|answer| answer.at < since)
        };
        let cells = router.cells().into_iter().filter(|handle| stale(handle.cell.id)).collect();
        let probe = |handle: std::sync::Arc<CellHandle>| async move {
            if timeout(PROBE, self.read(env, &handle)).await.is_err() {
                self.silent(handle.cell.id);
            }
            Ok(())
        };
        scatter(cells, probe).await;
    }

    /// The versions that cells which answer have published, as far as they were asked after `since`.
    pub(crate) fn versions(&self, since: Duration) -> Vec<Asked> {
        versions(&self.by_cell.lock().unwrap_or_else(PoisonError::into_inner), since)
    }

    /// The cells that may be picked, without what is unsettled: that is counted in the transaction. And the
    /// versions of their summaries.
    pub(crate) fn candidates(&self, router: &Router, cap: i64) -> (Vec<Candidate>, Vec<Asked>) {
        let by_cell = self.by_cell.lock().unwrap_or_else(PoisonError::into_inner);
        let published = |cell| by_cell.get(&cell).and_then(Option::as_ref)?.published.as_ref();
        let candidate = |cell: &Cell| Candidate {
            id: cell.id,
            region: cell.region.clone(),
            active: cell.state.takes_new(),
            // Which ones is read in the transaction that binds.
            projects: (cell.state == CellState::Testing).then(Vec::new),
            summary: published(cell.id).map(|(_, summary)| summary.clone()),
            unsettled: 0,
            cap,
        };
        let cells = router.cells();
        let cells = cells.iter().filter(|handle| !handle.cell.is_cell0());
        (cells.map(|handle| candidate(&handle.cell)).collect(), versions(&by_cell, Duration::ZERO))
    }
}

fn versions(by_cell: &HashMap<CellId, Option<Answer>>, since: Duration) -> Vec<Asked> {
    let version = |(cell, answer): (&CellId, &Option<Answer>)| {
        let answer = answer.as_ref().filter(|answer| answer.at >= since)?;
        let (incarnation, summary) = answer.published.as_ref()?;
        Some(Asked { cell: *cell, incarnation: *incarnation, version: summary.version })
    };
    let mut versions: Vec<Asked> = by_cell.iter().filter_map(version).collect();
    versions.sort_by_key(|asked| asked.cell);
    versions
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
