//! What the api and the superconductor have in common: the API level's database and bus, and the way
//! down to the cells.

use std::time::Duration;

use model::drill::Gate;
use router::{Router, Secrets};
use rpc::Bus;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::slots::{Slots, Urls};
use super::{Ground, database};
use crate::config::Config;
use crate::config::secret::Secret;
use crate::exit::Failure;

/// The API level, opened. Nothing waits for a cell.
pub struct Level {
    /// Its database.
    pub db: api_db::Db,
    /// Its bus, if it has one.
    pub bus: Option<Bus>,
    /// The way to the cells.
    pub router: Router,
    /// Ends what was started here, and whoever shares it.
    pub shutdown: CancellationToken,
    announced: JoinHandle<()>,
}

/// Which process of the API level opens it.
pub struct Process {
    /// Its role, as it is told to administrators.
    pub kind: &'static str,
    /// Its name among those of its kind.
    pub name: String,
    /// How many times as long as a user's call one of its own to a cell may take: work that nobody waits for gets
    /// done in a cell that is slow.
    pub patience: u32,
}

/// What a process of the API level opens and fills in mappings' URLs with.
pub fn secrets(config: &Config) -> Secrets {
    let section = &config.router;
    let base = |own: &Option<Secret>, level: &Option<Secret>| {
        own.as_ref().or(level.as_ref()).map(|url| url.reveal().to_owned())
    };
    Secrets {
        keys_file: section.keys_file.clone(),
        database: base(&section.base_database_url, &config.api_database.url),
        transport: base(&section.base_transport_url, &config.api_transport.url),
    }
}

impl Level {
    /// Opens what the configuration names, for that process.
    pub async fn open(config: &Config, ground: &Ground, process: Process) -> Result<Self, Failure> {
        let db: api_db::Db = database::open(&config.api_database, "api_database")?;
        let bus = match &config.api_transport.url {
            Some(url) => Some(ground.connector.connect(url.reveal(), Gate::default())?),
            None => None,
        };
        let slots = Slots::open(Urls::of_level, config, Some(db.clone()), bus.clone())?;
        database::check(&db, &api_db::SCHEMA, "api_database").await?;
        let section = &config.router;
        let settings = router::Settings {
            connections: section.connections.max(1),
            deadline: Duration::from_millis(section.deadline_ms.max(1)) * process.patience,
            bulkhead: section.bulkhead.max(1),
            refresh: Duration::from_millis(section.refresh_ms.max(50)),
            secrets: secrets(config),
        };
        if section.keys_file.is_none() {
            tracing::info!(
                "router.keys_file is not set: the API database keeps mappings' URLs as they were written"
            );
        }
        let shutdown = CancellationToken::new();
        tokio::spawn(slots.follow(ground.source.clone(), shutdown.clone()));
        let (env, connector) = (ground.env.clone(), ground.connector.clone());
        let router = Router::start(settings, env, db.clone(), connector, shutdown.clone()).await;
        let announced = router.announce(process.kind, process.name, shutdown.clone());
        Ok(Self { db, bus, router, shutdown, announced })
    }

    /// Closes everything.
    pub async fn close(self) {
        self.shutdown.cancel();
        // It tells that this process has ended, unless the database is away.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.announced).await;
        if let Some(bus) = &self.bus {
            bus.close().await;
        }
        self.db.close().await;
    }
}
