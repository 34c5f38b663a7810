//! Accepting deletions.

use std::sync::Arc;

use api_db::state::{self, Delete};
use api_db::{Tx, audit, cells, mappings};
use model::bug::{Bug, planted};
use model::failpoint::DELETE;
use model::{Caller, Context, Fault, InstanceId, TaskId, Timestamp};
use rpc::Bell;
use serde_json::json;
use sql::{Error, Work};
use tasks::{NewTask, store};
use uuid::Uuid;

use crate::Verbs;
use crate::amend::check_lock;

/// How long a deletion may take before an operator hears of it. It is never given up.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// What is chosen before the transaction.
#[derive(Clone, Copy)]
struct Ids {
    instance: InstanceId,
    task: TaskId,
    audit: Uuid,
    bucket: i64,
    now: Timestamp,
}

impl Verbs {
    /// Accepts a deletion, in any state and with any cell dark: it will be gone, whatever dies. A second
    /// deletion of the same instance changes nothing.
    pub async fn delete(&self, caller: &Caller, context: &Context, id: InstanceId) -> Result<(), Fault> {
        if let Some(spec) = &self.mapping(caller, id).await?.spec {
            check_lock(caller, id, spec)?;
        }
        let env = &self.inner.env;
        let ids = Ids {
            instance: id,
            task: env.id(),
            audit: env.uuid(),
            bucket: env.below(store::BUCKETS) as i64,
            now: env.now(),
        };
        let who = Arc::new((caller.clone(), context.clone()));
        let write = || {
            let who = who.clone();
            self.inner.db.write(move |tx| -> Work<'_, ()> {
                let who = who.clone();
                Box::pin(async move { accept(tx, ids, &who).await })
            })
        };
        match env.step(DELETE, write).await {
            // Whether it was committed or not, the second time finds out: it is idempotent.
            Err(Error::Unknown(_)) if planted(Bug::UnknownIsDone) => {}
            Err(Error::Unknown(_)) => write().await?,
            done => done?,
        }
        self.inner.locations.forget(id);
        if let Some(bus) = &self.inner.bus {
            bus.ring(Bell::Superconductors);
        }
        Ok(())
    }
}

async fn accept(tx: &mut Tx, ids: Ids, who: &(Caller, Context)) -> Result<(), Error> {
    if !mappings::request_delete(tx, ids.instance).await? {
        return Ok(());
    }
    // A build under way is replaced; its worker was fenced by the counter just bumped.
    let subject = ids.instance.uuid();
    if let Some((kind, old)) = store::supersede(tx, subject).await?
        && let Some(cell) = state::unsettled_in(&kind, &old)
    {
        cells::settle(tx, cell, 1).await?;
    }
    let task = NewTask {
        id: ids.task,
        kind: state::DELETE,
        subject,
        state: state::to_json(&Delete::Cell {})?,
        bucket: ids.bucket,
        deadline: ids.now.plus(PATIENCE),
        request_id: who.1.request_id.clone(),
        created: ids.now,
    };
    store::enqueue(tx, &task).await?;
    audit::record(tx, ids.audit, ids.now, (&who.0, &who.1), "delete", Some(subject), json!({})).await
}
