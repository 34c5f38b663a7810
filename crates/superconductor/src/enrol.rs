//! Mapping hosts: the API level learns of them by reading the cells, so a host that registers with its cell
//! needs no administrator and no credential of the API level.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_db::hosts::{Mapped, Mapping};
use model::HostId;
use model::host::Host;
use router::CellHandle;
use sql::{Error, Work};

use crate::Superconductor;

/// How often a cell's hosts are looked at.
pub(crate) const PERIOD: Duration = Duration::from_secs(2);

/// Copies down what aggregates say of the zones of a cell's hosts, where the cell has it otherwise.
async fn copy_zones(shared: &Superconductor, handle: &CellHandle, known: &Known) -> Result<(), Error> {
    type Zones = BTreeMap<HostId, String>;
    let by_name = shared
        .db
        .read(|tx| -> Work<'_, BTreeMap<String, String>> {
            Box::pin(async move { api_db::aggregates::zones(tx).await })
        })
        .await?;
    let zone = |(host, name): (&HostId, &String)| Some((*host, by_name.get(name)?.clone()));
    let wanted: Arc<Zones> = Arc::new(known.iter().filter_map(zone).collect());
    let has = handle
        .read(|tx| -> Work<'_, Zones> { Box::pin(async move { cell_db::hosts::zones(tx).await }) })
        .await?;
    if has == *wanted {
        return Ok(());
    }
    handle
        .write(move |tx| -> Work<'_, ()> {
            let wanted = wanted.clone();
            Box::pin(async move { cell_db::hosts::set_zones(tx, &wanted).await })
        })
        .await
}

/// The hosts of a cell that were mapped already, with their names.
pub(crate) type Known = BTreeMap<HostId, String>;

/// Maps the hosts of a cell that are not known to be mapped, and then sees to their zones; what fails is tried
/// again in the next round.
pub(crate) async fn enrol(shared: &Superconductor, handle: &CellHandle, known: &mut Known) {
    if let Err(error) = round(shared, handle, known).await {
        tracing::debug!(cell.name = handle.cell.name, %error, "hosts cannot be mapped");
        // Hosts that are not known would lose their zones.
        return;
    }
    if let Err(error) = copy_zones(shared, handle, known).await {
        tracing::debug!(cell.name = handle.cell.name, %error, "zones cannot be copied down");
    }
}

async fn round(shared: &Superconductor, handle: &CellHandle, known: &mut Known) -> Result<(), Error> {
    let hosts = handle
        .read(|tx| -> Work<'_, Vec<Host>> { Box::pin(async move { cell_db::hosts::all(tx).await }) })
        .await?;
    let now: Known = hosts.into_iter().map(|host| (host.id, host.name)).collect();
    if now == *known {
        return Ok(());
    }
    let cell = handle.cell.id;
    let mapping = |(host, name): (&HostId, &String)| Mapping { host: *host, cell, name: name.clone() };
    let mappings: Arc<Vec<Mapping>> = Arc::new(now.iter().map(mapping).collect());
    let mapped = shared
        .db
        .write(move |tx| -> Work<'_, Mapped> {
            let mappings = mappings.clone();
            Box::pin(async move { api_db::hosts::map(tx, &mappings).await })
        })
        .await?;
    for host in mapped.new {
        tracing::info!(host.id = %host, cell.name = handle.cell.name, "host mapped");
    }
    for (host, other) in mapped.elsewhere {
        tracing::error!(
            host.id = %host, cell.name = handle.cell.name, other.cell.id = %other,
            "a host with this id is mapped to another cell: two machines share one host id"
        );
    }
    *known = now;
    Ok(())
}
