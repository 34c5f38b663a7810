//! One cell as the API level reaches it: its database behind a bulkhead and a breaker, and its bus.

use std::fmt;
use std::time::Duration;

use cell_db::Tx;
use model::{Cell, Env, Fault};
use rpc::Bus;
use sql::{Error, Work};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::breaker::{Breaker, Health};
use crate::secret::Urls;

/// A cell, opened. Calls fail within the deadline, whatever the cell does.
pub struct CellHandle {
    /// Its mapping.
    pub cell: Cell,
    pub(crate) db: cell_db::Db,
    /// Its bus; cell0 has none.
    pub bus: Option<Bus>,
    pub(crate) env: Env,
    pub(crate) breaker: Breaker,
    pub(crate) bulkhead: Semaphore,
    pub(crate) deadline: Duration,
    pub(crate) urls: Urls,
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
        self.guarded(self.db.read(work)).await
    }

    /// Writes in the cell's database; see [`sql::Db::write`].
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> Work<'t, T> + Send + Sync + 'static,
    {
        self.guarded(self.db.write(work)).await
    }

    async fn guarded<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let name = &self.cell.name;
        if !self.breaker.admits(&self.env) {
            return Err(Error::Down(format!("cell {name} does not answer (breaker open)")));
        }
        let permit = timeout(self.deadline, self.bulkhead.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(Error::Down(format!("too many calls wait for cell {name}")));
        };
        let answer = call.await;
        let answered = !matches!(answer, Err(Error::Down(_) | Error::Unknown(_)));
        if self.breaker.record(&self.env, answered) {
            metrics::gauge!("skep_cell_up", "cell" => name.clone()).set(f64::from(u8::from(answered)));
            if answered {
                tracing::info!(cell.name = name, "cell answers again");
            } else {
                tracing::warn!(cell.name = name, "cell does not answer: it is asked once a second");
            }
        }
        answer
    }
}
