//! Tasks of the API level: looking at them, and having them tried again.

use api_db::doctor::{self, Task};
use model::{Fault, TaskId};
use serde_json::json;
use sql::Work;
use tasks::store::{self, Retried};

use super::{Admin, By, Denied, only_admins};

impl Admin {
    /// Tasks of the API level, oldest first: all, or those that were set aside.
    ///
    /// # Errors
    /// If the API database does not answer.
    pub async fn tasks(&self, by: &By, parked: bool, limit: i64) -> Result<Vec<Task>, Denied> {
        only_admins(by)?;
        let read = self.db.read(move |tx| -> Work<'_, Vec<Task>> {
            Box::pin(async move { doctor::tasks(tx, parked, limit).await })
        });
        Ok(read.await?)
    }

    /// One task.
    ///
    /// # Errors
    /// `NotFound`: it has ended, or there never was one.
    pub async fn task(&self, by: &By, id: TaskId) -> Result<Task, Denied> {
        only_admins(by)?;
        let read = self.db.read(move |tx| -> Work<'_, Option<Task>> {
            Box::pin(async move { doctor::task(tx, id).await })
        });
        read.await?.ok_or_else(|| gone(id))
    }

    /// Has a task leased again at once, also one that was set aside. Whoever leases it raises the instance's fencing
    /// counter, as always: so this does no harm at any time.
    ///
    /// # Errors
    /// `NotFound` if it has ended; `Conflict` while a worker holds it.
    pub async fn retry_task(&self, by: &By, id: TaskId, dry_run: bool) -> Result<Task, Denied> {
        let entry = self.entry(by, "task.retry")?;
        let found = self.task(by, id).await?;
        if found.held {
            return Err(held(id));
        }
        if dry_run {
            return Ok(found);
        }
        let (kind, parked) = (found.kind.clone(), found.parked);
        let retried = self.db.write(move |tx| -> Work<'_, Retried> {
            let (entry, kind) = (entry.clone(), kind.clone());
            Box::pin(async move {
                let retried = store::retry(tx, id, entry.at).await?;
                if let Retried::Due(subject) = retried {
                    let detail = json!({"task": id, "kind": kind, "parked": parked});
                    entry.record(tx, subject, detail).await?;
                }
                Ok(retried)
            })
        });
        match retried.await? {
            Retried::Due(_) => Ok(Task { parked: false, ..found }),
            Retried::Held => Err(held(id)),
            Retried::Gone => Err(gone(id)),
        }
    }
}

fn gone(id: TaskId) -> Denied {
    Fault::not_found(format!("there is no task {id}: it has ended, or never was")).into()
}

fn held(id: TaskId) -> Denied {
    Fault::conflict(format!("task {id} is being worked on now")).into()
}
