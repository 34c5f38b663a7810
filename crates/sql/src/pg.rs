//! PostgreSQL: a pool, and transactions that never leave a connection in doubt behind.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::time::{Instant, timeout, timeout_at};

use crate::Work;
use crate::db::Settings;
use crate::error::Error;
use crate::pool::Pool;
use crate::tx::{Conn, Tx};

pub(crate) struct Pg {
    pool: Arc<Pool>,
}

/// How every connection of ours is called, for whoever looks who is connected.
pub(crate) const NAME: &str = "skep";

/// How often a transaction that lost against others, or met a dead pooled connection, is run again.
const ATTEMPTS: u32 = 8;

impl Pg {
    pub(crate) fn open(options: PgConnectOptions, settings: &Settings) -> Self {
        Self { pool: Pool::new(usual(options), settings.connections) }
    }

    /// From now on connections are made in these ways.
    pub(crate) fn change(&self, options: Vec<PgConnectOptions>) {
        self.pool.change(options.into_iter().map(usual).collect());
    }

    pub(crate) async fn read<D, T, F>(&self, work: &F) -> Result<T, Error>
    where
        F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T>,
    {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut tx = Tx::new(Conn::Pg(self.pool.acquire().await?));
            // A future that is dropped at its deadline takes the connection with it.
            tx.open = true;
            match work(&mut tx).await {
                Err(Error::Down(_)) if attempt < ATTEMPTS => self.dead(&mut tx),
                Err(error @ (Error::Down(_) | Error::Unknown(_))) => {
                    tx.discard();
                    return Err(error);
                }
                done => {
                    tx.open = false;
                    return done;
                }
            }
        }
    }

    pub(crate) async fn write<D, T, F>(&self, work: &F, deadline: Duration) -> Result<T, Error>
    where
        F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T>,
    {
        #[expect(clippy::disallowed_methods, reason = "a deadline of tokio's own timer")]
        let until = Instant::now() + deadline;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let conn = match timeout_at(until, self.pool.acquire()).await {
                Ok(conn) => conn?,
                Err(_) => return Err(Error::Down("no connection within the deadline".into())),
            };
            let mut tx = Tx::new(Conn::Pg(conn));
            tx.open = true;
            let ran = timeout_at(until, async {
                tx.raw("BEGIN").await?;
                work(&mut tx).await
            })
            .await;
            match ran {
                Err(_) => {
                    tx.discard();
                    return Err(Error::Down(format!("not done within {deadline:?}")));
                }
                Ok(Err(Error::Down(_))) if attempt < ATTEMPTS => self.dead(&mut tx),
                Ok(Err(Error::Contended(why))) if attempt < ATTEMPTS => {
                    tracing::debug!(cause = why, attempt, "transaction runs again");
                    roll_back(&mut tx).await;
                }
                Ok(Err(error)) => {
                    roll_back(&mut tx).await;
                    return Err(error);
                }
                Ok(Ok(value)) => match timeout_at(until, tx.raw("COMMIT")).await {
                    Ok(Ok(())) => {
                        tx.open = false;
                        return Ok(value);
                    }
                    Ok(Err(Error::Contended(_))) if attempt < ATTEMPTS => roll_back(&mut tx).await,
                    Ok(Err(error @ (Error::Statement(_) | Error::Contended(_)))) => {
                        roll_back(&mut tx).await;
                        return Err(error);
                    }
                    Ok(Err(error)) => {
                        tx.discard();
                        return Err(Error::Unknown(error.to_string()));
                    }
                    Err(_) => {
                        tx.discard();
                        return Err(Error::Unknown(format!("COMMIT not confirmed within {deadline:?}")));
                    }
                },
            }
        }
    }

    fn dead<D>(&self, tx: &mut Tx<D>) {
        tx.discard();
        self.pool.clear();
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// What every connection of ours is made with.
fn usual(options: PgConnectOptions) -> PgConnectOptions {
    let options = options.options([
        // A process that freezes inside a transaction would keep its locks for as long as it is frozen.
        ("idle_in_transaction_session_timeout", "10s"),
        // Every statement of ours has an index, and until a new database was analyzed for the first time (a
        // minute or more) the planner takes its tables for so small that it reads them whole, row by row of
        // a batch. JIT would be drawn in by the price that it then puts on what must be read whole.
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ]);
    options.statement_cache_capacity(512).application_name(NAME)
}

/// Ends the transaction without a trace, or closes its connection if that cannot be done promptly.
async fn roll_back<D>(tx: &mut Tx<D>) {
    match timeout(Duration::from_millis(500), tx.raw("ROLLBACK")).await {
        Ok(Ok(())) => tx.open = false,
        _ => tx.discard(),
    }
}
