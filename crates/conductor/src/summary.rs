//! The summary: what the level above places by. Written on change, at most every 250 ms and at least
//! every 5 s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cell_db::{claims, hosts, summary};
use model::Summary;
use scheduler::hosts::Snapshot;
use sql::{Error, Work};
use tokio_util::sync::CancellationToken;

use crate::Conductor;

/// Publishes until the token is cancelled.
pub(crate) async fn run(conductor: Arc<Conductor>, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = publish(&conductor).await {
            tracing::debug!(%error, "the summary could not be published");
        }
        let wait = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let _ = tokio::time::timeout(Duration::from_millis(4_500), conductor.changed.notified()).await;
        };
        shutdown.run_until_cancelled(wait).await;
    }
}

async fn publish(conductor: &Conductor) -> Result<(), Error> {
    let now = conductor.env.now();
    conductor
        .db
        .write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                let snapshot = Snapshot::new(hosts::all(tx).await?, BTreeSet::new());
                let (hosts, free, frontier) = snapshot.frontier();
                let waiting = claims::count_waiting(tx).await?;
                let body = Summary { version: 0, at: now, hosts, free, frontier, waiting };
                summary::write(tx, &body, now).await
            })
        })
        .await
}
