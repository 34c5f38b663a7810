//! A database: opened by URL, lazily, and never waited for at start-up.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use model::drill::{Drill, Gate};
use sqlx::postgres::PgConnectOptions;
use tokio::time::timeout;

use crate::Work;
use crate::error::Error;
use crate::lite::Lite;
use crate::pg::Pg;
use crate::tx::Tx;

/// How to open a database.
#[derive(Clone)]
pub struct Settings {
    /// `sqlite:PATH` or `postgres://…`. Secret.
    pub url: String,
    /// Most connections at a time (PostgreSQL; SQLite has one writer and this many readers, at most 8).
    pub connections: u32,
    /// Longest that one call may take.
    pub deadline: Duration,
    /// The drill switch.
    pub gate: Gate,
}

impl Settings {
    /// The usual settings for `url`: 8 connections, a deadline of 5 s.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), connections: 8, deadline: Duration::from_secs(5), gate: Gate::default() }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// Which engine a database runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite, embedded.
    Sqlite,
    /// PostgreSQL 15 or later.
    Postgres,
}

enum Inner<D> {
    Lite(Lite<D>),
    Pg(Pg),
    #[cfg(feature = "testing")]
    Simulated(Arc<crate::simulated::Disk>),
}

/// A handle on a database; `D` names which (API or cell), so that they cannot be mixed up.
pub struct Db<D> {
    inner: Arc<Inner<D>>,
    deadline: Duration,
    gate: Gate,
    _database: PhantomData<fn() -> D>,
}

impl<D> Clone for Db<D> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            deadline: self.deadline,
            gate: self.gate.clone(),
            _database: PhantomData,
        }
    }
}

impl<D> fmt::Debug for Db<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Db({:?})",
            match &*self.inner {
                Inner::Lite(_) => Engine::Sqlite,
                Inner::Pg(_) => Engine::Postgres,
                #[cfg(feature = "testing")]
                Inner::Simulated(_) => Engine::Sqlite,
            }
        )
    }
}

impl<D: 'static> Db<D> {
    /// Opens lazily: nothing is connected before the first call. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// A URL that is neither SQLite's nor PostgreSQL's; the error does not repeat it, as it may be secret.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let bad = |why: String| Error::Statement(format!("database URL: {why}"));
        let inner = if settings.url.starts_with("sqlite:") {
            let options = sqlx::sqlite::SqliteConnectOptions::from_str(&settings.url)
                .map_err(|_| bad("not of the form sqlite:PATH".into()))?;
            Inner::Lite(Lite::open(options, settings))
        } else if settings.url.starts_with("postgres:") || settings.url.starts_with("postgresql:") {
            Inner::Pg(Pg::open(postgres(&settings.url)?, settings))
        } else {
            #[cfg(feature = "testing")]
            if let Some(disk) = settings.url.strip_prefix("simulated:").and_then(crate::simulated::Disk::find)
            {
                return Ok(Self::over(Inner::Simulated(disk), settings));
            }
            return Err(bad("must begin with sqlite: or postgres:".into()));
        };
        Ok(Self::over(inner, settings))
    }

    /// From now on connections are made by these URLs, which lead to the same database: by the first whose
    /// credentials the server does not refuse. Connections that are there are closed once they are not in use.
    /// SQLite has no credentials and goes on.
    ///
    /// # Errors
    /// A URL that is not PostgreSQL's, which the error does not repeat; nothing has changed then.
    pub fn change_credentials(&self, urls: &[String]) -> Result<(), Error> {
        if let Inner::Pg(pg) = &*self.inner {
            let options: Result<Vec<_>, Error> = urls.iter().map(|url| postgres(url)).collect();
            pg.change(options?);
        }
        Ok(())
    }

    fn over(inner: Inner<D>, settings: &Settings) -> Self {
        Self {
            inner: Arc::new(inner),
            deadline: settings.deadline,
            gate: settings.gate.clone(),
            _database: PhantomData,
        }
    }

    /// Which engine it runs on.
    pub fn engine(&self) -> Engine {
        match &*self.inner {
            Inner::Lite(_) => Engine::Sqlite,
            Inner::Pg(_) => Engine::Postgres,
            #[cfg(feature = "testing")]
            Inner::Simulated(_) => Engine::Sqlite,
        }
    }

    /// Runs `work` in one transaction and commits it, or nothing.
    ///
    /// `work` may be run several times and may share a commit with others, so it must own what it needs
    /// and await nothing but the transaction.
    ///
    /// # Errors
    /// [`Error::Unknown`] if nobody can tell whether it was committed; otherwise it was not.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T> + Send + Sync + 'static,
    {
        self.pass_gate().await?;
        match &*self.inner {
            Inner::Lite(lite) => lite.write(work, self.deadline).await,
            Inner::Pg(pg) => pg.write(&work, self.deadline).await,
            #[cfg(feature = "testing")]
            Inner::Simulated(disk) => disk.call(&work, true, self.deadline).await,
        }
    }

    /// Runs `work` on a connection without a transaction; it must only read.
    pub async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T> + Send + Sync + 'static,
    {
        self.pass_gate().await?;
        let run = async {
            match &*self.inner {
                Inner::Lite(lite) => lite.read(&work).await,
                Inner::Pg(pg) => pg.read(&work).await,
                #[cfg(feature = "testing")]
                Inner::Simulated(disk) => disk.call(&work, false, self.deadline).await,
            }
        };
        match timeout(self.deadline, run).await {
            Ok(done) => done,
            Err(_) => Err(Error::Down(format!("no answer within {:?}", self.deadline))),
        }
    }

    /// Closes all connections; calls made later fail.
    pub async fn close(&self) {
        let close = async {
            match &*self.inner {
                Inner::Lite(lite) => lite.close().await,
                Inner::Pg(pg) => pg.close().await,
                #[cfg(feature = "testing")]
                Inner::Simulated(_) => {}
            }
        };
        let _ = timeout(Duration::from_secs(2), close).await;
    }

    async fn pass_gate(&self) -> Result<(), Error> {
        match self.gate.get() {
            Drill::Off => Ok(()),
            Drill::Refuse => Err(Error::Down("connection refused (drill)".into())),
            Drill::Hang => {
                tokio::time::sleep(self.deadline).await;
                Err(Error::Down(format!("no answer within {:?} (drill)", self.deadline)))
            }
        }
    }
}

fn postgres(url: &str) -> Result<PgConnectOptions, Error> {
    const FORM: &str = "database URL: not of the form postgres://USER:PASSWORD@HOST:PORT/NAME";
    // The parser takes any scheme.
    let is_ours = url.starts_with("postgres:") || url.starts_with("postgresql:");
    PgConnectOptions::from_str(url).ok().filter(|_| is_ours).ok_or_else(|| Error::Statement(FORM.into()))
}
