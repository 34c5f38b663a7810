//! The summary: what the level above places by. Written on change, at most every 250 ms and at least
//! every 5 s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cell_db::summary;
use model::Summary;
use model::host::Host;
use rpc::Bell;
use scheduler::hosts::Snapshot;
use sql::{Error, Work};
use tokio_util::sync::CancellationToken;

use crate::Conductor;

/// Publishes until the token is cancelled.
pub(crate) async fn run(conductor: Arc<Conductor>, shutdown: CancellationToken) {
    let (mut hosts, mut again) = (0, false);
    while !shutdown.is_cancelled() {
        match publish(&conductor).await {
            // Hosts came or went: whoever places by the summary need not wait for its next look.
            Ok(now) if now != hosts => {
                hosts = now;
                conductor.bus.ring(Bell::Up);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the summary could not be published"),
        }
        let wait = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            // Who asked is answered by the publication after the next (`cell_db::summary::publish`).
            if !std::mem::take(&mut again) {
                let rung = tokio::time::timeout(Duration::from_millis(4_500), conductor.changed.notified());
                again = rung.await.is_ok();
            }
        };
        shutdown.run_until_cancelled(wait).await;
    }
}

/// Publishes, and says how many hosts may be placed on.
async fn publish(conductor: &Conductor) -> Result<i64, Error> {
    let now = conductor.env.now();
    let user = conductor.bus.connected_as();
    let sum = move |all: Vec<Host>, waiting: i64| {
        let (hosts, free, frontier) = Snapshot::new(all, BTreeSet::new()).frontier();
        let users = user.map(|user| (user, now)).into_iter().collect();
        Summary { hosts, free, frontier, waiting, users, ..Summary::default() }
    };
    conductor
        .db
        .write(move |tx| -> Work<'_, i64> {
            let sum = sum.clone();
            Box::pin(async move { Ok(summary::publish(tx, now, sum).await?.hosts) })
        })
        .await
}
