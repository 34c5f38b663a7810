//! `skep cell`: the administrator's cell mappings, written straight into the API database.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use model::{Cell, CellState, Env};
use serde_json::{Value, json};
use sql::Work;

use super::database;
use crate::client::{Output, table};
use crate::config::{self, Source, expand, outside};
use crate::exit::{Code, Failure, print};

/// `skep cell …`.
#[derive(Debug, Subcommand)]
pub enum CellCommand {
    /// Map a cell
    Create(Create),
    /// List mapped cells
    List(List),
}

/// Options of `skep cell create`.
#[derive(Args, Debug)]
pub struct Create {
    /// The API level's configuration, a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name, unique
    #[arg(long)]
    name: String,
    /// The region that it lies in; never changes
    #[arg(long)]
    region: String,
    /// How the API level reaches its database; may contain {file:PATH} and {env:NAME}
    #[arg(long, value_name = "URL")]
    database_url: String,
    /// How the API level reaches its broker; may contain {file:PATH} and {env:NAME}
    #[arg(long, value_name = "URL")]
    transport_url: String,
    /// Succeed if it is mapped already, in this region and with these URLs
    #[arg(long)]
    if_not_exists: bool,
}

/// Options of `skep cell list`.
#[derive(Args, Debug)]
pub struct List {
    /// The API level's configuration, a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to show them
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl CellCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
        }
    }
}

async fn api_database(config: Option<PathBuf>) -> Result<api_db::Db, Failure> {
    let config = config::load(&Source::new(config))?;
    let db = database::open(&config.api_database, "api_database")?;
    let usable = api_db::SCHEMA.status(&db).await;
    usable.map_err(|why| Failure::new(format!("api_database: {why}")))?;
    Ok(db)
}

impl Create {
    async fn run(self) -> Result<Code, Failure> {
        let url = |text: &str, option: &str| {
            expand(text, &outside).map_err(|why| Failure::usage(format!("{option}: {why}")))
        };
        let env = Env::system();
        let cell = Cell {
            id: env.id(),
            name: self.name,
            region: self.region,
            database_url: url(&self.database_url, "--database-url")?,
            transport_url: url(&self.transport_url, "--transport-url")?,
            state: CellState::Active,
            version: 1,
        };
        check(&cell, &env)?;
        let db = api_database(self.config).await?;
        let made = create(&db, &cell, &env).await?;
        db.close().await;
        let same = |other: &Cell| {
            let essence =
                |cell: &Cell| (cell.region.clone(), cell.database_url.clone(), cell.transport_url.clone());
            essence(other) == essence(&cell)
        };
        match made {
            None => print(&format!("{}\n", cell.id))?,
            Some(other) if self.if_not_exists && same(&other) => print(&format!("{}\n", other.id))?,
            Some(_) if self.if_not_exists => {
                return Err(Failure::new(format!(
                    "a cell '{}' is mapped already, in another region or with other URLs",
                    cell.name
                )));
            }
            Some(_) => return Err(Failure::new(format!("a cell '{}' is mapped already", cell.name))),
        }
        Ok(Code::Done)
    }
}

/// Refuses what could not be used, before it is stored. Nothing is connected.
fn check(cell: &Cell, env: &Env) -> Result<(), Failure> {
    let plain = |text: &str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if !plain(&cell.name) || !plain(&cell.region) {
        return Err(Failure::usage("a cell's name and region have 1 to 64 letters, digits, '-', '_' or '.'"));
    }
    let opened = sql::Db::<cell_db::Cell>::open(&sql::Settings::new(&cell.database_url));
    opened.map_err(|why| Failure::usage(format!("--database-url: {why}")))?;
    let connected = rpc::Connector::new(env.clone()).connect(&cell.transport_url, Default::default());
    connected.map_err(|why| Failure::usage(format!("--transport-url: {why}")))?;
    Ok(())
}

/// Maps a cell, or returns the one that is mapped under its name already.
pub async fn create(db: &api_db::Db, cell: &Cell, env: &Env) -> Result<Option<Cell>, Failure> {
    let (cell, now) = (cell.clone(), env.now());
    let mapped = db.write(move |tx| -> Work<'_, Option<Cell>> {
        let cell = cell.clone();
        Box::pin(async move {
            if api_db::cells::create(tx, &cell, now).await? {
                return Ok(None);
            }
            let all = api_db::cells::all(tx).await?;
            Ok(Some(all.into_iter().find(|known| known.name == cell.name).unwrap_or(cell)))
        })
    });
    mapped.await.map_err(|why| Failure::new(format!("api_database: {why}")))
}

impl List {
    async fn run(self) -> Result<Code, Failure> {
        let db = api_database(self.config).await?;
        let listed = db.read(|tx| -> Work<'_, Vec<Cell>> { Box::pin(api_db::cells::all(tx)) }).await;
        let cells = listed.map_err(|why| Failure::new(format!("api_database: {why}")))?;
        db.close().await;
        print(&match self.output {
            Output::Json => {
                let shown = cells.iter().map(|cell| {
                    json!({"id": cell.id, "name": cell.name, "region": cell.region, "state": cell.state})
                });
                format!("{:#}\n", shown.collect::<Value>())
            }
            Output::Table => {
                let row = |cell: &Cell| {
                    let words = [cell.name.as_str(), cell.region.as_str(), cell.state.as_str()];
                    words.iter().map(|word| table::clean(word)).chain([cell.id.to_string()]).collect()
                };
                let rows: Vec<Vec<String>> = cells.iter().map(row).collect();
                table::render(&["NAME", "REGION", "STATE", "ID"], &rows)
            }
        })?;
        Ok(Code::Done)
    }
}
