//! Connections to one PostgreSQL database, a bounded number of them, kept while they are good.
//!
//! sqlx's own pool pings every connection that is given back: one more round trip for each call. Here a
//! connection goes back as it is; whoever meets a dead one closes it, and all that were idle beside it, and
//! runs again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::Error;

/// A connection that nobody needed for so long is closed.
const IDLE: Duration = Duration::from_secs(300);

pub(crate) struct Pool {
    ways: Mutex<Ways>,
    permits: Arc<Semaphore>,
    /// The one that was used last is at the end, and is used next.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
}

/// How connections are made.
#[derive(Clone)]
struct Ways {
    /// With the same place and different credentials: tried in turn while the server refuses them.
    options: Vec<PgConnectOptions>,
    /// The one that worked last.
    good: usize,
    /// Grows with every change: what was made before is closed when it comes back.
    version: u64,
}

impl Pool {
    pub(crate) fn new(options: PgConnectOptions, connections: u32) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(connections.max(1) as usize));
        let ways = Mutex::new(Ways { options: vec![options], good: 0, version: 0 });
        Arc::new(Self { ways, permits, idle: Mutex::default() })
    }

    /// From now on connections are made in these ways, the first that the server does not refuse. Those that
    /// are there are used to the end of what they are used for.
    pub(crate) fn change(&self, options: Vec<PgConnectOptions>) {
        if options.is_empty() {
            return;
        }
        // Held over what follows, so that nobody takes an old connection for one of the new version.
        let mut ways = self.ways();
        *ways = Ways { options, good: 0, version: ways.version + 1 };
        self.clear();
    }

    /// A connection, an idle one if there is any. Waits for as long as all are in use.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Pooled, Error> {
        let closed = |_| Error::Down("the pool was closed".into());
        let permit = self.permits.clone().acquire_owned().await.map_err(closed)?;
        // Its own statement, so that the locks are not held while connecting.
        let idle = {
            let ways = self.ways();
            self.idle().pop().map(|(conn, _)| (conn, ways.version))
        };
        let (conn, version) = match idle {
            Some(idle) => idle,
            None => self.connect().await?,
        };
        Ok(Pooled { conn: Some(conn), version, pool: self.clone(), _permit: permit })
    }

    /// Connects by the first way that is not refused, beginning with the one that worked last; again if there
    /// are other ways meanwhile.
    async fn connect(&self) -> Result<(PgConnection, u64), Error> {
        loop {
            let Ways { options, good, version } = self.ways().clone();
            let mut refused = Error::Down("there is no way to connect".into());
            for at in (good..options.len()).chain(0..good) {
                match options[at].connect().await {
                    Ok(conn) => {
                        let mut ways = self.ways();
                        if at != ways.good && ways.version == version {
                            ways.good = at;
                            tracing::warn!(slot = at + 1, "the database refused the other credentials");
                        }
                        return Ok((conn, version));
                    }
                    Err(error) if is_refusal(&error) => refused = error.into(),
                    Err(error) => return Err(error.into()),
                }
            }
            if self.ways().version == version {
                return Err(refused);
            }
        }
    }

    /// Closes what is idle: one connection was found dead, so that the others may well be.
    pub(crate) fn clear(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }

    /// Nothing is given out any more; what is idle says good-bye.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for (conn, _) in idle {
            let _ = conn.close().await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, conn: PgConnection, version: u64) {
        // Locked over what follows, so that a change finds it among the idle or leaves it out.
        let ways = self.ways();
        if self.permits.is_closed() || ways.version != version {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "a deadline of tokio's own timer")]
        let now = Instant::now();
        let mut idle = self.idle();
        idle.push((conn, now));
        let old = idle.iter().take_while(|(_, since)| now.duration_since(*since) > IDLE).count();
        drop(idle.drain(..old));
    }
}

/// Whether the server refuses the user or the password (class 28, invalid authorization).
fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code.starts_with("28"))
}

/// A connection that goes back to its pool when it is dropped.
pub(crate) struct Pooled {
    conn: Option<PgConnection>,
    version: u64,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pooled {
    /// Closes it: its state is not known.
    pub(crate) fn discard(mut self) {
        self.conn = None;
    }
}

impl Deref for Pooled {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.conn.as_ref().expect("is there until it is dropped")
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.conn.as_mut().expect("is there until it is dropped")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.pool.give_back(conn, self.version);
        }
    }
}
