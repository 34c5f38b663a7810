//! What operators see of cells and hosts.

use std::time::Duration;

use cell_db::{dirty, hosts, instances};
use model::host::Host;
use model::{Caller, Fault, FaultKind, Timestamp};
use router::{Health, scatter};
use sql::Work;

use crate::Verbs;
use crate::types::{CellStatus, HostStatus};

/// What a cell tells of itself: its hosts, how many instances, and what the index has not seen yet.
type Told = (Vec<Host>, i64, (i64, Option<Timestamp>));

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
            cell.read(|tx| -> Work<'_, Told> {
                Box::pin(async move {
                    let (hosts, instances) = (hosts::all(tx).await?, instances::count(tx).await?);
                    Ok((hosts, instances, dirty::waiting(tx).await?))
                })
            })
            .await
        })
        .await;
        let now = self.inner.env.now();
        let status = |answer: router::Answer<Told>| {
            let told = answer.result.ok();
            let behind = told.as_ref().map(|(_, _, (count, _))| *count);
            let since = told.as_ref().map(|(_, _, (_, since))| *since);
            let up = told.is_some();
            let (hosts, instances, _) = told.unwrap_or_default();
            let breaker_open = answer.cell.health() == Health::Down;
            let cell = &answer.cell.cell;
            CellStatus {
                id: cell.id,
                name: cell.name.clone(),
                region: cell.region.clone(),
                state: cell.state,
                up,
                breaker_open,
                behind,
                lag: since.map(|since| since.map_or(Duration::ZERO, |since| now.since(since))),
                hosts: hosts.into_iter().map(host).collect(),
                instances,
            }
        };
        Ok(answers.into_iter().map(status).collect())
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
