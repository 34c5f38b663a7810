//! Asking cells whether they are full. That a cell has published so counts against a build only if what it read of
//! its hosts was read after the question, which no clock can tell: the question is the version that a cell had
//! published, and the version after the next answers it (`cell_db::summary::publish`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_db::state::{self, Asked, Build};
use model::{CellId, Fault};
use rpc::Bell;
use sql::Work;
use tasks::{Lease, store};

use crate::{Job, Step, Superconductor};

/// Longest until it is looked again whether a cell has answered.
const AGAIN: Duration = Duration::from_secs(1);

/// From which version on cells' summaries answer what was asked of them, as far as those `known` now are of the same
/// incarnation.
pub(crate) fn since(known: &[Asked], asked: &[Asked]) -> Vec<(CellId, i64)> {
    let same = |a: &&Asked| known.iter().any(|k| k.cell == a.cell && k.incarnation == a.incarnation);
    asked.iter().filter(same).map(|asked| (asked.cell, asked.version + 2)).collect()
}

/// Remembers what cells had published after these builds were leased, rings those that have not answered yet, and
/// gives the builds back. False: nothing is to be waited for here.
pub(crate) async fn ask(shared: &Superconductor, jobs: &[Arc<Job>]) -> Result<bool, Fault> {
    let leased = shared.env.monotonic();
    shared.summaries.ask_since(&shared.env, &shared.router, leased).await;
    let known = shared.summaries.versions(leased);
    let now = shared.env.now();
    let (mut states, mut later, mut ring) = (Vec::new(), Vec::new(), BTreeSet::new());
    for job in jobs {
        let Step::Ask { refused, asked, why } = &job.step else { continue };
        let asked = merge(asked, &known);
        for one in &known {
            let answered = |a: &Asked| a.cell == one.cell && one.version >= a.version + 2;
            if !asked.iter().any(answered) {
                ring.insert(one.cell);
            }
        }
        let lease = job.task.lease;
        states.push((lease, state::to_json(&Build::Pick { refused: refused.clone(), asked })?));
        let wait = store::backoff(&shared.env, lease.attempt).min(AGAIN);
        later.push((lease, now.plus(wait), why.clone()));
    }
    // A cell publishes at once, and again after a quarter of a second, if it is rung.
    for handle in shared.router.cells().iter().filter(|handle| ring.contains(&handle.cell.id)) {
        handle.ring(Bell::Conductors);
    }
    shared
        .db
        .write(move |tx| -> Work<'_, ()> {
            let (states, later): (Vec<_>, Vec<(Lease, _, String)>) = (states.clone(), later.clone());
            Box::pin(async move {
                let held = store::advance(tx, states).await?;
                let ours = later.into_iter().filter(|(lease, ..)| held.contains(&lease.task)).collect();
                store::release(tx, ours).await
            })
        })
        .await?;
    Ok(false)
}

/// What was asked before, where it was asked of the same incarnation, and what is asked now of all others.
fn merge(before: &[Asked], known: &[Asked]) -> Vec<Asked> {
    let stays = |a: &&Asked| !known.iter().any(|k| k.cell == a.cell && k.incarnation != a.incarnation);
    let mut asked: Vec<Asked> = before.iter().filter(stays).copied().collect();
    let new = known.iter().filter(|k| !asked.iter().any(|a| a.cell == k.cell)).copied().collect::<Vec<_>>();
    asked.extend(new);
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Incarnation;
    use uuid::Uuid;

    fn asked(cell: u128, incarnation: u128, version: i64) -> Asked {
        let (cell, incarnation) = (CellId(Uuid::from_u128(cell)), Incarnation(Uuid::from_u128(incarnation)));
        Asked { cell, incarnation, version }
    }

    #[test]
    fn the_first_question_stands_unless_the_database_is_another() {
        let before = [asked(1, 1, 5), asked(2, 1, 5), asked(3, 1, 5)];
        let known = [asked(1, 1, 7), asked(2, 9, 3), asked(4, 1, 1)];
        let merged = merge(&before, &known);
        // The third is dark just now: what it was asked is not forgotten.
        for expected in [asked(1, 1, 5), asked(2, 9, 3), asked(3, 1, 5), asked(4, 1, 1)] {
            assert!(merged.contains(&expected), "{expected:?} in {merged:?}");
        }
        assert_eq!(merged.len(), 4);
    }

    #[test]
    fn only_the_version_after_the_next_of_the_same_incarnation_answers() {
        let known = [asked(1, 1, 9), asked(2, 9, 9)];
        let since = since(&known, &[asked(1, 1, 5), asked(2, 1, 5)]);
        assert_eq!(since, [(CellId(Uuid::from_u128(1)), 7)]);
    }
}
