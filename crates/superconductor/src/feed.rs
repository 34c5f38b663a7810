//! Feeding the index from a cell's dirty set: read a batch joined to the rows as they are, apply what is
//! newer, forget what was applied. Repeats are harmless, order is irrelevant.

use std::sync::Arc;
use std::time::Duration;

use api_db::index::{self, Heard};
use api_db::mappings;
use cell_db::dirty::{self, Changed, Mark};
use model::bug::{Bug, planted};
use router::CellHandle;
use sql::{Error, Work};

use crate::Superconductor;

/// Shortest time between two rounds in one cell.
pub(crate) const PERIOD: Duration = Duration::from_millis(250);

/// Most changes applied at a time.
const BATCH: i64 = 256;

/// Applies what has changed in a cell; what fails is tried again in the next round. `heard` is when the cell
/// was last heard out, by our own clock.
pub(crate) async fn feed(shared: &Superconductor, handle: &CellHandle, heard: &mut Duration) {
    loop {
        let (more, lag) = match round(shared, handle).await {
            Ok(round) => {
                *heard = shared.env.monotonic();
                round
            }
            Err(error) => {
                tracing::debug!(cell.name = handle.cell.name, %error, "the index cannot be fed");
                (false, shared.env.monotonic().saturating_sub(*heard))
            }
        };
        metrics::gauge!("skep_index_lag_seconds", "cell" => handle.cell.name.clone()).set(lag.as_secs_f64());
        if !more {
            return;
        }
    }
}

/// Applies one batch. Gives whether there may be more, and for how long its oldest change had waited.
async fn round(shared: &Superconductor, handle: &CellHandle) -> Result<(bool, Duration), Error> {
    let cell = handle.cell.id;
    let changed = handle
        .read(move |tx| -> Work<'_, Vec<Changed>> {
            Box::pin(async move { dirty::read(tx, cell, BATCH).await })
        })
        .await?;
    let lag = changed.first().map_or(Duration::ZERO, |oldest| shared.env.now().since(oldest.mark.since));
    if changed.is_empty() {
        return Ok((false, lag));
    }
    let more = changed.len() as i64 == BATCH;
    let applied: Arc<Vec<Mark>> = Arc::new(changed.iter().map(|c| c.mark).collect());
    let heard: Arc<Vec<Heard>> =
        Arc::new(changed.into_iter().map(|c| Heard { instance: c.instance, version: c.version }).collect());
    let forget = || {
        let applied = applied.clone();
        handle.write(move |tx| -> Work<'_, ()> {
            let applied = applied.clone();
            Box::pin(async move { dirty::forget(tx, &applied).await })
        })
    };
    if planted(Bug::ForgottenFirst) {
        forget().await?;
    }
    shared
        .db
        .write(move |tx| -> Work<'_, u64> {
            let heard = heard.clone();
            Box::pin(async move {
                let applied = index::apply(tx, &heard).await?;
                mappings::amend(tx, &heard).await?;
                Ok(applied)
            })
        })
        .await?;
    forget().await?;
    Ok((more, lag))
}
