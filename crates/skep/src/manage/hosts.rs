//! The verbs of `skep-manage cell_v2` that are about hosts.

use clap::Args;
use verbs::admin::{CellScan, Found, Why};

use super::pretty::table;
use super::{CANNOT, Ground, refuse, say};
use crate::client::table::clean;
use crate::exit::{Failure, complain, print};

#[derive(Args, Debug)]
pub struct DiscoverHosts {
    /// Id or name of the one cell to read [default: all but cell0]
    #[arg(long = "cell_uuid", alias = "cell-uuid", value_name = "CELL")]
    cell_uuid: Option<String>,
    /// Tell what is done
    #[arg(long)]
    verbose: bool,
    /// End with 1 if no new host was found
    #[arg(long)]
    strict: bool,
    /// Nova's other way to find hosts; here both are the same
    #[arg(long, alias = "by_service")]
    by_service: bool,
}

#[derive(Args, Debug)]
pub struct ListHosts {
    /// Id or name of the one cell to list [default: all]
    #[arg(long = "cell_uuid", alias = "cell-uuid", value_name = "CELL")]
    cell_uuid: Option<String>,
}

#[derive(Args, Debug)]
pub struct DeleteHost {
    /// Id or name of the cell
    #[arg(long = "cell_uuid", alias = "cell-uuid", value_name = "CELL")]
    cell_uuid: String,
    /// Id or name of the host
    #[arg(long)]
    host: String,
    /// Delete the mapping although the cell does not answer
    #[arg(long)]
    force: bool,
}

impl DiscoverHosts {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let _ = self.by_service;
        let scan = match ground.admin.discover_hosts(&ground.by, self.cell_uuid.as_deref()).await {
            Ok(scan) => scan,
            Err(denied) => return refuse(&denied, &[]),
        };
        if self.verbose {
            match self.cell_uuid {
                // cell0 is counted and passed over.
                None => {
                    let mapped = ground.admin.mappings().await.map(|all| all.len()).unwrap_or_default();
                    say(&format!("Found {mapped} cell mappings."))?;
                    if mapped > scan.cells.len() {
                        say("Skipping cell0 since it does not contain hosts.")?;
                    }
                }
                Some(_) => say("Found 1 cell mappings.")?,
            }
            scan.cells.iter().try_for_each(tell)?;
        }
        for cell in &scan.cells {
            if let Some(why) = &cell.dark {
                complain(&format!("cell {} was left out: {why}", cell.name));
            }
            for (host, name, found) in &cell.hosts {
                if let Found::Elsewhere(other) = found {
                    let (name, at) = (clean(name), &cell.name);
                    say(&format!(
                        "ERROR: host '{name}' of cell {at} has the id {host}, which is mapped to cell {other}: \
                         two machines share one host id"
                    ))?;
                }
            }
        }
        Ok(if scan.is_partial() {
            CANNOT
        } else if scan.count(|found| matches!(found, Found::Elsewhere(_))) > 0 {
            2
        } else {
            u8::from(self.strict && scan.count(|found| *found == Found::New) == 0)
        })
    }
}

fn tell(cell: &CellScan) -> Result<(), Failure> {
    say(&format!("Getting computes from cell '{}': {}", cell.name, cell.id))?;
    for (id, name, found) in &cell.hosts {
        let name = clean(name);
        say(&format!("Checking host mapping for compute host '{name}': {id}"))?;
        if *found == Found::New {
            say(&format!("Creating host mapping for compute host '{name}': {id}"))?;
        }
    }
    let new = cell.hosts.iter().filter(|(_, _, found)| *found == Found::New).count();
    match cell.dark {
        None => say(&format!("Found {new} unmapped computes in cell: {}", cell.id)),
        Some(_) => Ok(()),
    }
}

impl ListHosts {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        match ground.admin.host_mappings(&ground.by, self.cell_uuid.as_deref()).await {
            Ok(hosts) => {
                let rows = hosts.into_iter().map(|(mapping, cell)| {
                    vec![clean(&cell), mapping.cell.to_string(), clean(&mapping.name)]
                });
                print(&table(&["Cell Name", "Cell UUID", "Hostname"], &rows.collect::<Vec<_>>()))?;
                Ok(0)
            }
            Err(denied) => refuse(&denied, &[(Why::NoCell, 1)]),
        }
    }
}

impl DeleteHost {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let codes = [
            (Why::NoCell, 1),
            (Why::NoHost, 2),
            (Why::Ambiguous, 2),
            (Why::OtherCell, 3),
            (Why::HasInstances, 4),
        ];
        // As in Nova a host that lives loses its mapping, and is mapped again when hosts are discovered.
        let how = (true, false, false);
        let (admin, by, cell) = (&ground.admin, &ground.by, Some(self.cell_uuid.as_str()));
        let deleted = match admin.delete_host(by, &self.host, cell, how).await {
            Err(denied) if denied.why == Why::Dark && self.force => {
                admin.delete_host(by, &self.host, cell, (true, true, false)).await
            }
            other => other,
        };
        match deleted {
            Ok(_) => Ok(0),
            Err(denied) => refuse(&denied, &codes),
        }
    }
}
