//! Liveness: hosts whose beat stands still get nothing new, and what was not built in time says so.
//!
//! Silence proves nothing about containers: what such a host runs is left as it is.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cell_db::{hosts, instances};
use model::HostId;
use rpc::Bell;
use sql::{Error, Work};
use tokio_util::sync::CancellationToken;

use crate::Conductor;

/// Watches until the token is cancelled.
pub(crate) async fn run(conductor: Arc<Conductor>, shutdown: CancellationToken) {
    let period = Duration::from_secs(5);
    while shutdown.run_until_cancelled(tokio::time::sleep(conductor.env.jitter(period / 2))).await.is_some() {
        if let Err(error) = look(&conductor).await {
            tracing::debug!(%error, "liveness could not be looked at");
        }
    }
}

async fn look(conductor: &Conductor) -> Result<(), Error> {
    let now = conductor.env.now();
    let expired = conductor
        .db
        .write(move |tx| -> Work<'_, u64> {
            Box::pin(async move {
                hosts::take_over_switches(tx).await?;
                instances::expire(tx, now).await
            })
        })
        .await?;
    if expired > 0 {
        tracing::warn!(expired, "instances were not built in time");
        conductor.bus.ring(Bell::Up);
    }
    let beats = conductor
        .db
        .read(|tx| -> Work<'_, Vec<(HostId, i64, bool)>> { Box::pin(async move { hosts::beats(tx).await }) })
        .await?;
    let is_known = |host: &HostId| beats.iter().any(|(id, ..)| id == host);
    conductor.beats.lock().unwrap_or_else(PoisonError::into_inner).retain(|host, _| is_known(host));
    for (host, beat, silent) in beats {
        if conductor.still_for(host, beat) >= conductor.settings.silence && !silent {
            let marked = conductor
                .db
                .write(move |tx| -> Work<'_, bool> {
                    Box::pin(async move { hosts::mark_silent(tx, host, beat).await })
                })
                .await?;
            if marked {
                tracing::warn!(host.id = %host, "host is silent: it gets nothing new");
                conductor.changed.notify_one();
            }
        }
    }
    Ok(())
}
