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
    options: PgConnectOptions,
    permits: Arc<Semaphore>,
    /// The one that was used last is at the end, and is used next.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
}

impl Pool {
    pub(crate) fn new(options: PgConnectOptions, connections: u32) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(connections.max(1) as usize));
        Arc::new(Self { options, permits, idle: Mutex::default() })
    }

    /// A connection, an idle one if there is any. Waits for as long as all are in use.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Pooled, Error> {
        let closed = |_| Error::Down("the pool was closed".into());
        let permit = self.permits.clone().acquire_owned().await.map_err(closed)?;
        // Its own statement, so that the lock is not held while connecting.
        let idle = self.idle().pop();
        let conn = match idle {
            Some((conn, _)) => conn,
            None => self.options.connect().await?,
        };
        Ok(Pooled { conn: Some(conn), pool: self.clone(), _permit: permit })
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

    fn give_back(&self, conn: PgConnection) {
        if self.permits.is_closed() {
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

/// A connection that goes back to its pool when it is dropped.
pub(crate) struct Pooled {
    conn: Option<PgConnection>,
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
            self.pool.give_back(conn);
        }
    }
}
