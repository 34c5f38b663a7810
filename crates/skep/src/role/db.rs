//! `skep db sync`: bring databases to this release's schema.

use clap::Subcommand;
use model::{Cell, CellId, CellState, Env};
use router::Which;
use sql::Work;

use super::{RoleArgs, database, level};
use crate::config::{self, Config, Database, Source};
use crate::exit::{Code, Failure, print};

/// `skep db …`.
#[derive(Debug, Subcommand)]
pub enum Db {
    /// Bring every database that the configuration names to this release's schema
    Sync(RoleArgs),
}

impl Db {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self::Sync(args) = self;
        let config = config::load(&Source::new(args.config))?;
        print(&sync(&config, &Env::system()).await?)?;
        Ok(Code::Done)
    }
}

/// Migrates what `config` names, maps cell0 if it is among it, and tells in lines what was done.
pub async fn sync(config: &Config, env: &Env) -> Result<String, Failure> {
    let mut told = String::new();
    let is_set = |database: &Database| database.url.is_some();
    if is_set(&config.cell0.database) {
        told += &sync_cell(&config.cell0.database, "cell0.database", env).await?;
    }
    if is_set(&config.api_database) {
        let db: api_db::Db = database::open(&config.api_database, "api_database")?;
        let status = database::migrate(&db, &api_db::SCHEMA, env, "api_database").await?;
        told += &format!("api_database: version {}\n", status.version);
        if let Some(url) = &config.cell0.database.url {
            map_cell0(&db, url.reveal(), config, env).await?;
        }
        db.close().await;
    }
    if is_set(&config.cell.database) {
        told += &sync_cell(&config.cell.database, "cell.database", env).await?;
    }
    match told.is_empty() {
        true => Err(Failure::usage(
            "the configuration names no database: set api_database.url, cell0.database.url or cell.database.url",
        )),
        false => Ok(told),
    }
}

async fn sync_cell(database: &Database, key: &str, env: &Env) -> Result<String, Failure> {
    let db: cell_db::Db = database::open(database, key)?;
    let status = database::migrate(&db, &cell_db::SCHEMA, env, key).await?;
    db.close().await;
    Ok(format!("{key}: version {}\n", status.version))
}

async fn map_cell0(db: &api_db::Db, url: &str, config: &Config, env: &Env) -> Result<(), Failure> {
    let secrets = level::secrets(config);
    let cell0 = Cell {
        id: CellId::ZERO,
        name: "cell0".to_owned(),
        region: String::new(),
        database_url: secrets.seal(env, CellId::ZERO, Which::Database, url)?,
        transport_url: String::new(),
        second_database_url: String::new(),
        second_transport_url: String::new(),
        state: CellState::Active,
        version: 1,
    };
    let now = env.now();
    let mapped = db.write(move |tx| -> Work<'_, bool> {
        let cell0 = cell0.clone();
        Box::pin(async move { api_db::cells::create(tx, &cell0, now).await })
    });
    mapped.await.map(drop).map_err(|why| Failure::new(format!("api_database: cannot map cell0: {why}")))
}
