//! Which processes of the API level work with which version of a cell's mapping.

use std::time::Duration;

use api_db::processes::{self, Has, Process};
use serde::Serialize;
use sql::Work;
use uuid::Uuid;

use super::{Admin, By, Denied, only_admins};

/// Processes, and what each has.
type Told = (Vec<Process>, Vec<(Uuid, Has)>);

/// A process that was not heard of for so long is taken for dead. Its clock and ours are compared: this is for
/// people to see, nothing hangs on it.
const DEAD: Duration = Duration::from_secs(15);

/// A process, and what it has of one cell's mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessView {
    /// Names this run of it.
    pub id: Uuid,
    /// `api` or `superconductor`.
    pub kind: String,
    /// Where it runs.
    pub name: String,
    /// Its release.
    pub release: String,
    /// The version of the mapping that it works with; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has: Option<i64>,
    /// Why it cannot use it, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Whether that is the mapping as it is now.
    pub current: bool,
    /// Whether it was heard of lately.
    pub alive: bool,
}

impl Admin {
    /// The processes of the API level, with what they have of a cell's mapping.
    ///
    /// # Errors
    /// [`super::Why::NoCell`].
    pub async fn processes(&self, by: &By, cell: &str) -> Result<Vec<ProcessView>, Denied> {
        only_admins(by)?;
        let cell = self.mapping(cell).await?;
        let read = self.db.read(|tx| -> Work<'_, Told> {
            Box::pin(async move { Ok((processes::all(tx).await?, processes::have(tx).await?)) })
        });
        let (all, have) = read.await?;
        let now = self.env.now();
        let view = |process: Process| {
            let has = have.iter().find(|(id, has)| *id == process.id && has.cell == cell.id);
            let (version, fault) = match has {
                Some((_, has)) => (Some(has.version), has.fault.clone()),
                None => (None, None),
            };
            ProcessView {
                current: version == Some(cell.version) && fault.is_none(),
                alive: now.since(process.seen) < DEAD,
                has: version,
                fault,
                id: process.id,
                kind: process.kind,
                name: process.name,
                release: process.version,
            }
        };
        Ok(all.into_iter().map(view).collect())
    }
}
