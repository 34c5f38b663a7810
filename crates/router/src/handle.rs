//! One cell as the API level reaches it: its database behind a bulkhead and a breaker, and its bus.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cell_db::Tx;
use model::{Cell, Env, Fault};
use rpc::Bus;
use sql::{Error, Work};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::breaker::{Breaker, Health};
use crate::request;
use crate::secret::Urls;

/// How often a cell that does not answer is probed.
const PROBE: Duration = Duration::from_secs(1);

/// How long nobody may have asked a cell before this process asks whether it is there.
const QUIET: Duration = Duration::from_secs(3);

/// A cell, opened. Calls fail within the deadline, whatever the cell does.
pub struct CellHandle {
    /// Its mapping.
    pub cell: Cell,
    pub(crate) db: cell_db::Db,
    /// Its bus; cell0 has none.
    pub bus: Option<Bus>,
    pub(crate) env: Env,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) bulkhead: Arc<Semaphore>,
    pub(crate) deadline: Duration,
    pub(crate) urls: Urls,
    /// When the cell was asked last, in milliseconds of the monotonic clock.
    pub(crate) asked: Arc<AtomicU64>,
}

impl fmt::Debug for CellHandle {
    /// Without its URLs, which are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { id, name, version, .. } = &self.cell;
        f.debug_struct("CellHandle")
            .field("id", id)
            .field("name", name)
            .field("version", version)
            .finish_non_exhaustive()
    }
}

impl CellHandle {
    /// The cell's bus.
    ///
    /// # Errors
    /// cell0 has none.
    pub fn bus(&self) -> Result<&Bus, Fault> {
        self.bus.as_ref().ok_or_else(|| Fault::conflict("this instance has no host"))
    }

    /// Rings a bell in the cell, if it has a bus. Never waits, may be lost.
    pub fn ring(&self, bell: rpc::Bell) {
        if let Some(bus) = &self.bus {
            bus.ring(bell);
        }
    }

    /// Whether another handle leads to the same database and broker with the same credentials, and so shares
    /// pool and bus with this one.
    pub fn leads_where(&self, other: &Self) -> bool {
        self.urls == other.urls
    }

    /// How the cell has been answering.
    pub fn health(&self) -> Health {
        self.breaker.health()
    }

    /// Reads in the cell's database; see [`sql::Db::read`].
    pub async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> Work<'t, T> + Send + Sync + 'static,
    {
        self.guarded(self.db.read(work), Error::Down).await
    }

    /// Writes in the cell's database; see [`sql::Db::write`].
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> Work<'t, T> + Send + Sync + 'static,
    {
        self.guarded(self.db.write(work), Error::Unknown).await
    }

    /// Makes a call, if the breaker admits it, within what the request has left for this cell. `late` says
    /// what it means if the call is cut off.
    async fn guarded<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
        late: fn(String) -> Error,
    ) -> Result<T, Error> {
        let (cell, name) = (self.cell.id, &self.cell.name);
        if !self.breaker.admits() {
            return Err(Error::Down(format!("cell {name} does not answer (breaker open)")));
        }
        let left = request::left(cell, self.deadline);
        if left.is_zero() {
            return Err(Error::Down(format!("cell {name} did not answer this request before")));
        }
        let start = self.env.monotonic();
        self.asked.store(millis(start), Ordering::SeqCst);
        let took = || self.env.monotonic().saturating_sub(start);
        let Ok(Ok(_permit)) = timeout(left, self.bulkhead.acquire()).await else {
            request::spend(cell, took(), self.deadline);
            return Err(Error::Down(format!("too many calls wait for cell {name}")));
        };
        let answer = match left.saturating_sub(took()) {
            // The call's own deadline knows better what it means to miss it.
            whole if whole > self.deadline * 9 / 10 => call.await,
            rest => match timeout(rest, call).await {
                Ok(answer) => answer,
                // It had less than the whole deadline, which says nothing about the cell.
                Err(_) => {
                    request::spend(cell, took(), self.deadline);
                    return Err(late(format!("cut off after {rest:?}")));
                }
            },
        };
        request::spend(cell, took(), self.deadline);
        let answered = !matches!(answer, Err(Error::Down(_) | Error::Unknown(_)));
        if self.breaker.record(answered) {
            if answered {
                tracing::info!(cell.name = name, "cell answers again");
            } else {
                tracing::warn!(cell.name = name, "cell does not answer: it is probed once a second");
                self.probe();
            }
        }
        answer
    }

    /// Asks a cell that nobody has asked for a while whether it is there, until it answers or the breaker opens:
    /// a process that is asked only for what it need not ask cells for knows the dark ones too.
    pub(crate) fn look(self: &Arc<Self>) {
        let (now, asked) = (millis(self.env.monotonic()), self.asked.load(Ordering::SeqCst));
        if !self.breaker.admits() || now.saturating_sub(asked) < millis(QUIET) {
            return;
        }
        // Nobody looks a second time meanwhile, however long it takes.
        self.asked.store(now, Ordering::SeqCst);
        let handle = self.clone();
        tokio::spawn(async move {
            while handle.read(is_there).await.is_err() && handle.breaker.admits() {
                tokio::time::sleep(handle.env.jitter(PROBE * 2 / 3)).await;
            }
        });
    }

    /// Probes until the cell answers, or its mapping is gone.
    fn probe(&self) {
        let (db, env, name) = (self.db.clone(), self.env.clone(), self.cell.name.clone());
        let breaker = Arc::downgrade(&self.breaker);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(env.jitter(PROBE * 2 / 3)).await;
                if breaker.strong_count() == 0 {
                    return;
                }
                let answered = db.read(is_there).await.is_ok();
                let Some(breaker) = breaker.upgrade() else { return };
                if answered {
                    breaker.record(true);
                    tracing::info!(cell.name = name, "cell answers again");
                }
                if breaker.admits() {
                    return;
                }
            }
        });
    }
}

/// The least that a database can be asked.
fn is_there(tx: &mut Tx) -> Work<'_, Option<(i64,)>> {
    Box::pin(async move { tx.opt("SELECT CAST(1 AS BIGINT)", Vec::new()).await })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
