//! Two credential slots: the URLs of a role's own database and broker are read again while it runs, and each may
//! have a second one, so that credentials are rotated without a restart.

use rpc::Bus;
use sql::Db;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::files::LOOK;
use crate::config::secret::Secret;
use crate::config::{self, Config, Database, Source, Transport};
use crate::exit::Failure;

/// A database and a broker, and the URLs by which they are reached: a second where the first is refused.
pub struct Slots<D> {
    db: Option<Db<D>>,
    bus: Option<Bus>,
    of: fn(&Config) -> Urls,
    now: Urls,
}

/// The URLs of a database and of a broker, the first first.
#[derive(Clone, PartialEq, Eq)]
pub struct Urls {
    database: Vec<String>,
    transport: Vec<String>,
}

impl Urls {
    /// Those of the cell that a conductor or an agent belongs to.
    pub fn of_cell(config: &Config) -> Self {
        Self::of(&config.cell.database, &config.cell.transport)
    }

    /// Those of the API level.
    pub fn of_level(config: &Config) -> Self {
        Self::of(&config.api_database, &config.api_transport)
    }

    fn of(database: &Database, transport: &Transport) -> Self {
        let both = |first: &Option<Secret>, second: &Option<Secret>| {
            let set = [first, second].into_iter().flatten().map(|url| url.reveal().to_owned());
            set.filter(|url| !url.is_empty()).collect()
        };
        Self {
            database: both(&database.url, &database.second_url),
            transport: both(&transport.url, &transport.second_url),
        }
    }
}

impl<D: 'static> Slots<D> {
    /// The slots of what was opened by the first URLs of a configuration; from now on the second serve too.
    ///
    /// # Errors
    /// A second URL that cannot be read.
    pub fn open(
        of: fn(&Config) -> Urls,
        config: &Config,
        db: Option<Db<D>>,
        bus: Option<Bus>,
    ) -> Result<Self, Failure> {
        let all = of(config);
        let mut now = all.clone();
        now.database.truncate(1);
        now.transport.truncate(1);
        let mut slots = Self { db, bus, of, now };
        slots.change(all).map_err(|why| Failure::usage(format!("second_url: {why}")))?;
        Ok(slots)
    }

    /// Reads the configuration and the files that it names again, each second and on SIGHUP, until `stop`. What
    /// cannot be used changes nothing and is complained of once.
    pub async fn follow(mut self, source: Option<Source>, stop: CancellationToken) {
        let Some(source) = source else { return };
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut complained = None;
        loop {
            let asked = async {
                match &mut hangup {
                    Some(signal) => drop(signal.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = asked => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            let read = config::load(&source).map_err(|failure| failure.message);
            let why = match read.and_then(|config| self.change((self.of)(&config))) {
                Ok(false) => None,
                Ok(true) => {
                    tracing::info!("credentials were read again; connections with the old ones drain");
                    None
                }
                Err(why) => Some(why),
            };
            if let (Some(why), true) = (&why, why != complained) {
                tracing::error!(why, "credentials were not read again; the old stay in force");
            }
            complained = why;
        }
    }

    /// Puts URLs to use; whether any is another. One that cannot be read changes nothing.
    fn change(&mut self, next: Urls) -> Result<bool, String> {
        let mut changed = false;
        if let Some(db) = self.db.as_ref().filter(|_| next.database != self.now.database) {
            db.change_credentials(&next.database).map_err(|why| why.to_string())?;
            (self.now.database, changed) = (next.database, true);
        }
        if let Some(bus) = self.bus.as_ref().filter(|_| next.transport != self.now.transport) {
            bus.change_credentials(&next.transport).map_err(|why| why.message)?;
            (self.now.transport, changed) = (next.transport, true);
        }
        Ok(changed)
    }
}
