//! `skep-manage db restored` and `api_db restored`: databases that were put back from a backup.

use clap::Args;
use model::Env;
use verbs::admin::{ConfirmedApi, ConfirmedCell, Why};

use super::{Ground, instances, refuse, say};
use crate::config::Config;
use crate::exit::Failure;
use crate::role::database;

/// Refusals that end with 1: nothing was changed, and the message says what is missing.
const REFUSED: &[(Why, u8)] = &[(Why::NoCell, 1), (Why::State, 1), (Why::NotReady, 1)];

#[derive(Args, Debug)]
pub struct RestoredApi {
    /// Compare it with all cells, and have tasks worked on again
    #[arg(long)]
    confirm: bool,
    /// Pass over cells that do not answer: what they have may be made a second time elsewhere
    #[arg(long, requires = "confirm")]
    force: bool,
}

#[derive(Args, Debug)]
pub struct RestoredCell {
    /// Id or name of the cell [default: the one whose database the configuration names]
    #[arg(long = "cell_uuid", alias = "cell-uuid", value_name = "CELL")]
    cell_uuid: Option<String>,
    /// Compare it with the API database and with what its hosts have, and let it work again
    #[arg(long)]
    confirm: bool,
    /// Pass over hosts that have not told what they have, because they are gone for good
    #[arg(long, requires = "confirm")]
    force: bool,
}

impl RestoredApi {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        if !self.confirm {
            return match ground.admin.restored_api(&ground.by).await {
                Err(denied) => refuse(&denied, REFUSED),
                Ok(()) => {
                    say(
                        "The API database waits: no task is worked on until 'skep-manage api_db restored --confirm'.",
                    )?;
                    Ok(0)
                }
            };
        }
        match ground.admin.confirm_api(&ground.by, self.force, instances::limits(ground)).await {
            Err(denied) => refuse(&denied, REFUSED),
            Ok(ConfirmedApi { mapped, moved, closed, lost, dark }) => {
                say(&format!(
                    "The API database works again. Instances: {mapped} mapped, {moved} bound to where they are, \
                     {closed} deleted, {lost} lost."
                ))?;
                tell("Cells that did not answer", &dark)?;
                Ok(0)
            }
        }
    }
}

impl RestoredCell {
    pub async fn run(self, config: Config) -> Result<u8, Failure> {
        let named = self.cell_uuid.clone();
        let url = config.cell.database.url.as_ref().map(|url| url.reveal().to_owned());
        if named.is_none() && url.is_none() {
            return Err(Failure::usage("name the cell with --cell_uuid, or set cell.database.url"));
        }
        if named.is_none() && config.api_database.url.is_none() {
            // On a cell's own machines the API level is not known.
            return match self.confirm {
                false => begin(&config).await,
                true => Err(Failure::usage("confirm where api_database.url is set: both are compared")),
            };
        }
        let ground = Ground::open(config)?;
        let cell = match (named, url) {
            (Some(named), _) => named,
            (None, url) => {
                let cells = match ground.admin.mappings().await {
                    Ok(cells) => cells,
                    Err(denied) => return refuse(&denied, REFUSED),
                };
                let url = url.unwrap_or_default();
                match cells.into_iter().find(|cell| ground.leads_to(cell, &url)) {
                    Some(cell) => cell.id.to_string(),
                    None => {
                        return Err(Failure::usage("no mapped cell has cell.database.url: use --cell_uuid"));
                    }
                }
            }
        };
        if !self.confirm {
            return match ground.admin.restored_cell(&ground.by, &cell).await {
                Err(denied) => refuse(&denied, REFUSED),
                Ok(()) => waits(),
            };
        }
        match ground.admin.confirm_cell(&ground.by, &cell, self.force).await {
            Err(denied) => refuse(&denied, REFUSED),
            Ok(ConfirmedCell { cell, gone, taken_back, lost, offered, unheard }) => {
                say(&format!(
                    "Cell {cell} works again. Instances: {gone} to go, {taken_back} taken back from hosts, {lost} \
                     lost, {offered} kept by hosts and not known ('skep doctor' lists them)."
                ))?;
                tell("Hosts that were not heard out", &unheard)?;
                Ok(0)
            }
        }
    }
}

/// Begins on the configured cell's database alone.
async fn begin(config: &Config) -> Result<u8, Failure> {
    let env = Env::system();
    let db: cell_db::Db = database::open(&config.cell.database, "cell.database")?;
    database::answers(&db).await.map_err(|why| Failure::new(format!("cell.database: {why}")))?;
    let (incarnation, now) = (env.id(), env.now());
    let written = db.write(move |tx| -> sql::Work<'_, ()> {
        Box::pin(async move { cell_db::restored::begin(tx, incarnation, now).await })
    });
    written.await.map_err(|why| Failure::new(format!("cell.database: {why}")))?;
    db.close().await;
    waits()
}

fn waits() -> Result<u8, Failure> {
    say(
        "The cell waits: nothing is placed, removed or changed there until 'skep-manage db restored --confirm'. \
         Start its conductors and agents; 'skep doctor' tells what they know.",
    )?;
    Ok(0)
}

fn tell(what: &str, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() { Ok(()) } else { say(&format!("{what}: {}", names.join(", "))) }
}
