//! `skep-manage api_db` and `skep-manage db`: schemas.

use clap::{Args, Subcommand};
use model::{CellId, Env};
use router::Which;
use sql::migrate::Schema;
use sql::{Settings, Work};

use super::{Ground, archive, refuse, restored, say};
use crate::config::{Config, Database};
use crate::exit::Failure;
use crate::role::{database, level};

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum ApiDb {
    /// Bring the API database to this release's schema
    Sync(Version),
    /// Print the API database's schema version
    Version,
    /// Seal every cell mapping with the first key of router.keys_file
    #[command(alias = "rotate-keys")]
    RotateKeys(RotateKeys),
    /// Say that the API database was put back from a backup, or, with --confirm, have it work again
    Restored(restored::RestoredApi),
}

#[derive(Args, Debug)]
pub struct RotateKeys {
    /// Tell what would be done, change nothing
    #[arg(long, alias = "dry_run")]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum Db {
    /// Bring cell0's and the configured cell's database to this release's schema
    Sync(Sync),
    /// Print the configured cell's schema version
    Version,
    /// Archive what is left of instances that are gone
    ArchiveDeletedRows(archive::Archive),
    /// Delete what was archived
    Purge(archive::Purge),
    /// Say that a cell's database was put back from a backup, or, with --confirm, have it work again
    Restored(restored::RestoredCell),
}

#[derive(Args, Debug)]
pub struct Version {
    /// The version to go to; only the newest is possible
    #[arg(value_name = "VERSION")]
    to: Option<i64>,
}

#[derive(Args, Debug)]
pub struct Sync {
    /// Leave cell0 alone
    #[arg(long = "local_cell", alias = "local-cell")]
    local_cell: bool,
    #[command(flatten)]
    version: Version,
}

impl Version {
    /// Refuses a version that one cannot go to.
    fn check(&self, schema: &Schema) -> Result<(), Failure> {
        let newest = schema.newest();
        match self.to {
            Some(version) if version != newest => Err(Failure::new(format!(
                "this release migrates to version {newest} and to no other: leave the version out"
            ))),
            _ => Ok(()),
        }
    }
}

impl ApiDb {
    pub async fn run(self, config: Config) -> Result<u8, Failure> {
        let db: api_db::Db = database::open(&config.api_database, "api_database")?;
        match self {
            Self::RotateKeys(it) => return it.run(&Ground::open(config)?).await,
            Self::Restored(it) => return it.run(&Ground::open(config)?).await,
            Self::Sync(version) => {
                version.check(&api_db::SCHEMA)?;
                database::migrate(&db, &api_db::SCHEMA, &Env::system(), "api_database").await?;
            }
            Self::Version => tell(&db, &api_db::SCHEMA, "api_database").await?,
        }
        db.close().await;
        Ok(0)
    }
}

impl RotateKeys {
    /// 0 if every mapping is sealed with the first key, 1 if one is not.
    async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let cells = match ground.admin.rotate_keys(&ground.by, self.dry_run).await {
            Ok(cells) => cells,
            Err(denied) => return refuse(&denied, &[]),
        };
        for cell in &cells {
            let what = match (&cell.why, cell.changed, self.dry_run) {
                (Some(why), ..) => why.clone(),
                (None, false, _) => format!("cell {}: sealed with the first key already", cell.name),
                (None, true, true) => format!("cell {}: would be sealed", cell.name),
                (None, true, false) => format!("cell {}: sealed", cell.name),
            };
            say(&what)?;
        }
        Ok(u8::from(cells.iter().any(|cell| cell.why.is_some())))
    }
}

impl Db {
    pub async fn run(self, config: Config) -> Result<u8, Failure> {
        let local = &config.cell.database;
        match self {
            Self::ArchiveDeletedRows(it) => return it.run(&Ground::open(config)?).await,
            Self::Purge(it) => return it.run(&Ground::open(config)?).await,
            Self::Restored(it) => return it.run(config).await,
            Self::Sync(sync) => {
                sync.version.check(&cell_db::SCHEMA)?;
                if !sync.local_cell && !sync_cell0(&config).await? {
                    return Ok(1);
                }
                if local.url.is_some() {
                    let db: cell_db::Db = database::open(local, "cell.database")?;
                    database::migrate(&db, &cell_db::SCHEMA, &Env::system(), "cell.database").await?;
                    db.close().await;
                } else if sync.local_cell {
                    return Err(Failure::usage("cell.database.url is not set in the configuration file"));
                }
            }
            Self::Version => {
                let (database, key) = match local.url.is_some() {
                    true => (local, "cell.database"),
                    false => (&config.cell0.database, "cell0.database"),
                };
                let db: cell_db::Db = database::open(database, key)?;
                tell(&db, &cell_db::SCHEMA, key).await?;
                db.close().await;
            }
        }
        Ok(0)
    }
}

/// Syncs cell0 where the configuration leads to it; a cell's own does not. False, and told, if it failed.
async fn sync_cell0(config: &Config) -> Result<bool, Failure> {
    let is_set = |database: &Database| database.url.is_some();
    if !is_set(&config.api_database) && !is_set(&config.cell0.database) {
        return Ok(true);
    }
    let secrets = level::secrets(config);
    let mut url = config.cell0.database.url.as_ref().map(|url| Ok(url.reveal().to_owned()));
    let mut why = "it is not mapped".to_owned();
    if is_set(&config.api_database) {
        let db: api_db::Db = database::open(&config.api_database, "api_database")?;
        let all = db.read(|tx| -> Work<'_, Vec<model::Cell>> { Box::pin(api_db::cells::all(tx)) }).await;
        match all {
            Ok(all) => {
                let mapped = all.into_iter().find(|cell| cell.id == CellId::ZERO);
                url = mapped.map(|cell0| secrets.url(&cell0, Which::Database)).or(url);
            }
            Err(error) => why = format!("API database: {error}"),
        }
    }
    if let Some(url) = url {
        let synced = match url {
            Ok(url) => sync_cell(&url, &Env::system()).await,
            Err(fault) => Err(fault.message),
        };
        match synced {
            Ok(()) => return Ok(true),
            Err(error) => why = error,
        }
    }
    say(&format!(
        "ERROR: Could not access cell0.\n\
         Has the API database been created and \"skep-manage api_db sync\" been run?\n\
         Has cell0's database been created and \"skep-manage cell_v2 map_cell0\" been run?\n\
         Error: {why}"
    ))?;
    Ok(false)
}

/// Brings a cell's database to this release's schema.
pub async fn sync_cell(url: &str, env: &Env) -> Result<(), String> {
    let db = cell_db::Db::open(&Settings::new(url)).map_err(|error| error.to_string())?;
    database::answers(&db).await.map_err(|error| error.to_string())?;
    cell_db::SCHEMA.migrate(&db, env).await.map_err(|error| error.to_string())?;
    db.close().await;
    Ok(())
}

async fn tell<D: 'static>(db: &sql::Db<D>, schema: &'static Schema, key: &str) -> Result<(), Failure> {
    let status = schema.status(db).await.map_err(|why| Failure::new(format!("{key}: {why}")))?;
    say(&status.version.to_string())
}
