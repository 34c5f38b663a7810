//! `skep-manage cell_v2`: the verbs, and those that are about cells.

use clap::{Args, Subcommand};
use model::CellState;
use verbs::admin::{Change, NewCell, Options, Why};

use super::pretty::table;
use super::{Ground, hosts, instances, is_disabled, refuse, say, setup};
use crate::exit::{Failure, print};

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum CellV2 {
    /// Map cell0, the configured cell, its hosts and its instances
    SimpleCellSetup(setup::SimpleCellSetup),
    /// Map cell0
    #[command(name = "map_cell0")]
    MapCell0(setup::MapCell0),
    /// Map the configured cell and its hosts
    MapCellAndHosts(setup::MapCellAndHosts),
    /// Map the instances that a cell holds and the API level does not know
    MapInstances(instances::MapInstances),
    /// Check where an instance is
    VerifyInstance(instances::VerifyInstance),
    /// Map a cell
    CreateCell(CreateCell),
    /// Map the hosts that cells hold
    DiscoverHosts(hosts::DiscoverHosts),
    /// List cell mappings
    ListCells(ListCells),
    /// List host mappings
    ListHosts(hosts::ListHosts),
    /// Change a cell mapping
    UpdateCell(UpdateCell),
    /// Delete a cell mapping
    DeleteCell(DeleteCell),
    /// Delete a host mapping
    DeleteHost(hosts::DeleteHost),
}

#[derive(Args, Debug)]
pub struct CreateCell {
    /// Name, unique [default: the first of cell1, cell2, … that is free]
    #[arg(long)]
    name: Option<String>,
    /// How the API level reaches its broker; may contain {file:PATH} and {env:NAME} [default: the configured]
    #[arg(long, alias = "transport_url", value_name = "URL")]
    transport_url: Option<String>,
    /// How the API level reaches its database; may contain {file:PATH} and {env:NAME} [default: the configured]
    #[arg(long = "database_connection", alias = "database-connection", value_name = "URL")]
    database_connection: Option<String>,
    /// The region that it lies in [default: the API's]
    #[arg(long)]
    region: Option<String>,
    /// Print the new cell's id
    #[arg(long)]
    verbose: bool,
    /// Map it so that it takes no instances yet
    #[arg(long)]
    disabled: bool,
}

#[derive(Args, Debug)]
pub struct ListCells {
    /// Show URLs whole, with their passwords; this is audited
    #[arg(long)]
    verbose: bool,
}

#[derive(Args, Debug)]
pub struct UpdateCell {
    /// Id or name of the cell
    #[arg(long = "cell_uuid", alias = "cell-uuid", value_name = "CELL")]
    cell_uuid: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// A new URL of its broker
    #[arg(long, alias = "transport_url", value_name = "URL")]
    transport_url: Option<String>,
    /// A new URL of its database
    #[arg(long = "database_connection", alias = "database-connection", alias = "db", value_name = "URL")]
    database_connection: Option<String>,
    /// Let it take new instances
    #[arg(long)]
    enable: bool,
    /// Keep it from taking new instances
    #[arg(long)]
    disable: bool,
}

#[derive(Args, Debug)]
pub struct DeleteCell {
    /// Id or name of the cell
    #[arg(long = "cell_uuid", alias = "cell-uuid", value_name = "CELL")]
    cell_uuid: String,
    /// Also the mappings of its hosts and of instances that are gone; of a disabled cell that does not
    /// answer also those of living ones
    #[arg(long)]
    force: bool,
}

impl CellV2 {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        match self {
            Self::SimpleCellSetup(it) => it.run(ground).await,
            Self::MapCell0(it) => it.run(ground).await,
            Self::MapCellAndHosts(it) => it.run(ground).await,
            Self::MapInstances(it) => it.run(ground).await,
            Self::VerifyInstance(it) => it.run(ground).await,
            Self::CreateCell(it) => it.run(ground).await,
            Self::DiscoverHosts(it) => it.run(ground).await,
            Self::ListCells(it) => it.run(ground).await,
            Self::ListHosts(it) => it.run(ground).await,
            Self::UpdateCell(it) => it.run(ground).await,
            Self::DeleteCell(it) => it.run(ground).await,
            Self::DeleteHost(it) => it.run(ground).await,
        }
    }
}

impl CreateCell {
    async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let Some(transport_url) = ground.transport(self.transport_url)? else { return Ok(1) };
        let Some(database_url) = ground.database(self.database_connection)? else { return Ok(1) };
        let codes = [(Why::Bad, 1), (Why::UrlTaken, 2), (Why::NameTaken, 2)];
        let name = match self.name {
            Some(name) => name,
            None => match ground.free_name().await {
                Ok(name) => name,
                Err(denied) => return refuse(&denied, &codes),
            },
        };
        let state = if self.disabled { CellState::Cordoned } else { CellState::Active };
        let region = ground.region(self.region);
        let new = NewCell { name, region, database_url, transport_url, state };
        match ground.admin.create_cell(&ground.by, new, Options::default()).await {
            Ok(created) if self.verbose => say(&created.cell.id.to_string())?,
            Ok(_) => {}
            Err(denied) => return refuse(&denied, &codes),
        }
        Ok(0)
    }
}

impl ListCells {
    async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let cells = match ground.admin.cells_view(&ground.by, false, self.verbose).await {
            Ok(cells) => cells,
            Err(denied) => return refuse(&denied, &[]),
        };
        let row = |cell: &verbs::admin::CellView| {
            let transport = if cell.transport_url.is_empty() { "none:///" } else { &cell.transport_url };
            let disabled = if is_disabled(cell.state) { "True" } else { "False" };
            let id = cell.id.to_string();
            [&cell.name, &id, transport, &cell.database_url, disabled].map(str::to_owned).to_vec()
        };
        let rows: Vec<Vec<String>> = cells.iter().map(row).collect();
        print(&table(&["Name", "UUID", "Transport URL", "Database Connection", "Disabled"], &rows))?;
        Ok(0)
    }
}

impl UpdateCell {
    async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        const CODES: &[(Why, u8)] = &[
            (Why::NoCell, 1),
            (Why::Bad, 2),
            (Why::NameTaken, 2),
            (Why::State, 2),
            (Why::UrlTaken, 3),
            (Why::Cell0, 5),
        ];
        let known = match ground.admin.mapping(&self.cell_uuid).await {
            Ok(cell) => cell,
            Err(denied) => return refuse(&denied, CODES),
        };
        if self.enable && self.disable {
            say("Cell cannot be disabled and enabled at the same time.")?;
            return Ok(4);
        }
        let wanted = match (self.enable, self.disable) {
            (true, _) => Some(CellState::Active),
            (_, true) => Some(CellState::Cordoned),
            _ => None,
        };
        if wanted == Some(known.state) {
            let word = if self.enable { "enabled" } else { "disabled" };
            say(&format!("Cell {} is already {word}", known.id))?;
        }
        let change = Change {
            name: self.name,
            database_url: self.database_connection,
            transport_url: self.transport_url,
            state: wanted,
            ..Change::default()
        };
        let (admin, by) = (&ground.admin, &ground.by);
        match admin.change_cell(by, &known.id.to_string(), change, false).await {
            Ok(_) => Ok(0),
            Err(denied) => refuse(&denied, CODES),
        }
    }
}

impl DeleteCell {
    async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let codes = [(Why::NoCell, 1), (Why::HasHosts, 2), (Why::HasInstances, 3), (Why::HasDead, 4)];
        match ground.admin.delete_cell(&ground.by, &self.cell_uuid, self.force, false).await {
            Ok(removed) if removed.lost > 0 => {
                let (cell, lost) = (&removed.cell, removed.lost);
                say(&format!("Cell {cell} was lost: {lost} instances that were mapped to it are forgotten"))?;
                Ok(0)
            }
            Ok(_) => Ok(0),
            Err(denied) => refuse(&denied, &codes),
        }
    }
}
