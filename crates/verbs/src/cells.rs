//! What operators see of cells and hosts.

use cell_db::{hosts, instances};
use model::host::Host;
use model::{Caller, Fault, FaultKind};
use router::scatter;
use sql::Work;

use crate::Verbs;
use crate::types::{CellStatus, HostStatus};

impl Verbs {
    /// Every cell with its hosts; a dark one without them.
    ///
    /// # Errors
    /// For administrators only.
    pub async fn cells(&self, caller: &Caller) -> Result<Vec<CellStatus>, Fault> {
        if !caller.is_admin() {
            return Err(Fault::new(FaultKind::Forbidden, "only administrators see cells"));
        }
        let answers = scatter(self.inner.router.cells(), |cell| async move {
            cell.read(|tx| -> Work<'_, (Vec<Host>, i64)> {
                Box::pin(async move { Ok((hosts::all(tx).await?, instances::count(tx).await?)) })
            })
            .await
        });
        let status = |answer: router::Answer<(Vec<Host>, i64)>| {
            let up = answer.result.is_ok();
            let (hosts, instances) = answer.result.unwrap_or_default();
            let cell = &answer.cell.cell;
            CellStatus {
                id: cell.id,
                name: cell.name.clone(),
                region: cell.region.clone(),
                state: cell.state,
                up,
                hosts: hosts.into_iter().map(host).collect(),
                instances,
            }
        };
        Ok(answers.await.into_iter().map(status).collect())
    }

    /// Whether requests can be served: the API database answers. Cells may be dark.
    pub async fn ready(&self) -> Result<(), Fault> {
        api_db::SCHEMA.status(&self.inner.db).await?;
        Ok(())
    }
}

fn host(host: Host) -> HostStatus {
    let Host { id, name, zone, enabled, healthy, capacity, used, .. } = host;
    HostStatus { id, name, zone, enabled, healthy, capacity, used }
}
