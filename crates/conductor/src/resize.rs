//! Changing sizes: what the API level has written as a wish is claimed, given back, or taken back here.

use std::sync::Arc;

use cell_db::resizes::{self, Done, Due};
use model::InstanceId;
use model::failpoint::RESIZE;
use rpc::Bell;
use sql::{Error, Work};

use crate::Conductor;

/// Most rows read at a time.
const BATCH: i64 = 64;

/// Does everything that is due, one row in one transaction.
///
/// # Errors
/// The first that keeps a row from being done; it is tried again with the next round.
pub(crate) async fn round(conductor: &Arc<Conductor>) -> Result<(), Error> {
    let mut after = InstanceId(uuid::Uuid::nil());
    let mut failed = None;
    loop {
        let read = conductor.db.read(move |tx| -> Work<'_, Vec<Due>> {
            Box::pin(async move { resizes::due(tx, after, BATCH).await })
        });
        let due = read.await?;
        for one in &due {
            let now = conductor.env.now();
            let write = || {
                let one = *one;
                conductor.db.write(move |tx| -> Work<'_, Done> {
                    Box::pin(async move { resizes::carry_out(tx, one, now).await })
                })
            };
            // One that cannot be done keeps no other from being done.
            let done = match conductor.env.step(RESIZE, write).await {
                Ok(done) => done,
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
            };
            if let Some(host) = done.host {
                conductor.bus.ring(Bell::Host(host));
            }
            if done.settled {
                conductor.bus.ring(Bell::Up);
            }
            conductor.changed.notify_one();
        }
        match due.last() {
            Some(last) if due.len() as i64 == BATCH => after = last.instance,
            _ => return failed.map_or(Ok(()), Err),
        }
    }
}
