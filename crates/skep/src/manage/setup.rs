//! The verbs of `skep-manage cell_v2` that set a cloud up.

use clap::Args;
use model::{CellId, CellState, Env};
use router::Which;
use verbs::admin::{Denied, NewCell, Options, Why, url};

use super::{Ground, instances, refuse, say, schema};
use crate::exit::Failure;

#[derive(Args, Debug)]
pub struct SimpleCellSetup {
    /// How the API level reaches the cell's broker [default: the configured]
    #[arg(long, alias = "transport_url", value_name = "URL")]
    transport_url: Option<String>,
    /// The region that the cell lies in [default: the API's]
    #[arg(long)]
    region: Option<String>,
}

#[derive(Args, Debug)]
pub struct MapCell0 {
    /// URL of cell0's database [default: the configured, or that of the cell with _cell0 behind its name]
    #[arg(long = "database_connection", alias = "database-connection", value_name = "URL")]
    database_connection: Option<String>,
}

#[derive(Args, Debug)]
pub struct MapCellAndHosts {
    /// How the API level reaches the cell's broker [default: the configured]
    #[arg(long, alias = "transport_url", value_name = "URL")]
    transport_url: Option<String>,
    /// Name of a new cell, unique [default: the first of cell1, cell2, … that is free]
    #[arg(long)]
    name: Option<String>,
    /// The region that a new cell lies in [default: the API's]
    #[arg(long)]
    region: Option<String>,
    /// Tell what is done
    #[arg(long)]
    verbose: bool,
}

/// Codes of refusals while something is set up.
const CODES: &[(Why, u8)] = &[(Why::Bad, 1), (Why::UrlTaken, 1), (Why::NameTaken, 1), (Why::Dark, 1)];

impl MapCell0 {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        match map_cell0(ground, self.database_connection).await? {
            Ok(_) => Ok(0),
            Err(denied) => refuse(&denied, CODES),
        }
    }
}

/// Maps cell0; gives the URL of its database, filled in.
async fn map_cell0(ground: &Ground, given: Option<String>) -> Result<Result<String, Denied>, Failure> {
    let known = match ground.admin.mappings().await {
        Ok(all) => all.into_iter().find(|cell| cell.id == CellId::ZERO),
        Err(denied) => return Ok(Err(denied)),
    };
    if let Some(cell0) = known {
        say("Cell0 is already setup")?;
        return Ok(ground.admin.secrets().url(&cell0, Which::Database).map_err(Denied::from));
    }
    let config = &ground.config;
    let reveal =
        |database: &crate::config::Database| database.url.as_ref().map(|url| url.reveal().to_owned());
    let beside = || reveal(&config.cell.database).as_deref().and_then(url::beside);
    let Some(database_url) = given.or_else(|| reveal(&config.cell0.database)).or_else(beside) else {
        return Ok(Err(Denied::new(
            Why::Bad,
            "Must specify --database_connection if neither cell0.database.url nor cell.database.url is set in \
             the configuration file.",
        )));
    };
    let new = NewCell {
        name: "cell0".to_owned(),
        region: String::new(),
        database_url: database_url.clone(),
        transport_url: String::new(),
        state: CellState::Active,
    };
    let made = ground.admin.create_cell(&ground.by, new, Options::default()).await;
    let filled = || ground.admin.secrets().fill(Which::Database, &database_url);
    Ok(made.and_then(|_| filled().map_err(Denied::from)))
}

impl MapCellAndHosts {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let Some(transport) = ground.transport(self.transport_url)? else { return Ok(1) };
        let region = ground.region(self.region);
        match map_cell_and_hosts(ground, transport, self.name, region, self.verbose).await? {
            // Nova ends with 0 even if there are no hosts.
            Ok(_) => Ok(0),
            Err(denied) => refuse(&denied, CODES),
        }
    }
}

/// Maps the configured cell and its hosts; gives the cell's id, or nothing if it has no hosts.
async fn map_cell_and_hosts(
    ground: &Ground,
    transport_url: String,
    name: Option<String>,
    region: String,
    verbose: bool,
) -> Result<Result<Option<CellId>, Denied>, Failure> {
    let Some(database_url) = ground.database(None)? else {
        return Ok(Err(Denied::new(Why::Bad, "No cell was mapped.")));
    };
    let hosts = match ground.admin.hosts_at(&database_url).await {
        Ok(hosts) => hosts,
        Err(error) => return Ok(Err(Denied::new(Why::Dark, format!("cell.database: {error}")))),
    };
    if hosts.is_empty() {
        say("No hosts found to map to cell, exiting.")?;
        return Ok(Ok(None));
    }
    let known = async {
        let all = ground.admin.mappings().await?;
        let cell = all.into_iter().find(|cell| ground.leads_to(cell, &database_url));
        let mapped = ground.admin.host_mappings(&ground.by, None).await?;
        Ok::<_, Denied>((cell, mapped))
    };
    let (cell, mapped) = match known.await {
        Ok(known) => known,
        Err(denied) => return Ok(Err(denied)),
    };
    let mut missing = 0;
    for host in &hosts {
        match mapped.iter().find(|(mapping, _)| mapping.host == host.id) {
            Some((mapping, _)) if verbose => {
                say(&format!("Host {} is already mapped to cell {}", host.name, mapping.cell))?;
            }
            Some(_) => {}
            None => missing += 1,
        }
    }
    if let (0, Some(cell)) = (missing, &cell) {
        say("All hosts are already mapped to cell(s), exiting.")?;
        return Ok(Ok(Some(cell.id)));
    }
    let done = async {
        let id = match cell {
            Some(cell) => cell.id,
            None => {
                let name = match name {
                    Some(name) => name,
                    None => ground.free_name().await?,
                };
                let state = CellState::Active;
                let new = NewCell { name, region, database_url, transport_url, state };
                ground.admin.create_cell(&ground.by, new, Options::default()).await?.cell.id
            }
        };
        ground.admin.discover_hosts(&ground.by, Some(&id.to_string())).await?;
        Ok(id)
    };
    match done.await {
        Ok(id) => {
            if verbose {
                say(&id.to_string())?;
            }
            Ok(Ok(Some(id)))
        }
        Err(denied) => Ok(Err(denied)),
    }
}

impl SimpleCellSetup {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let Some(transport) = ground.transport(self.transport_url)? else { return Ok(1) };
        let cell0 = match map_cell0(ground, None).await? {
            Ok(url) => url,
            Err(denied) => return refuse(&denied, CODES),
        };
        if let Err(why) = schema::sync_cell(&cell0, &Env::system()).await {
            say(&format!("Unable to sync cell0 schema: {why}"))?;
        }
        let region = ground.region(self.region);
        match map_cell_and_hosts(ground, transport, None, region, false).await? {
            Ok(None) => Ok(1),
            Ok(Some(cell)) => instances::map_all(ground, &cell.to_string()).await,
            Err(denied) => refuse(&denied, CODES),
        }
    }
}
