//! Forgetting what has expired in the API database, a little at a time.

use std::sync::Arc;
use std::time::Duration;

use api_db::idempotency;
use sql::Work;
use tokio_util::sync::CancellationToken;

use crate::Superconductor;

/// Time between two rounds.
const PERIOD: Duration = Duration::from_secs(60);
/// Most rows of one transaction.
const BATCH: i64 = 256;

/// Sweeps until the token is cancelled. Several superconductors may do so at once.
pub(crate) async fn run(shared: Arc<Superconductor>, shutdown: CancellationToken) {
    loop {
        // Not all at the same moment.
        let wait = PERIOD + Duration::from_millis(shared.env.below(10_000));
        if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
        while round(&shared).await == BATCH as u64 && !shutdown.is_cancelled() {}
    }
}

/// Sweeps once; gives how many rows went.
async fn round(shared: &Superconductor) -> u64 {
    let now = shared.env.now();
    let swept = shared.db.write(move |tx| -> Work<'_, u64> {
        Box::pin(async move { idempotency::sweep(tx, now, BATCH).await })
    });
    match swept.await {
        Ok(swept) => swept,
        Err(error) => {
            tracing::debug!(%error, "nothing is swept");
            0
        }
    }
}
