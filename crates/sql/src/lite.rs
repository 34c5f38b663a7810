//! SQLite: one writer that commits for many, and a few readers (WAL).

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlitePool};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::Work;
use crate::db::Settings;
use crate::error::Error;
use crate::tx::{Conn, Tx};

/// Most closures that share one commit.
const GROUP: usize = 64;

pub(crate) struct Lite<D> {
    readers: SqlitePool,
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job<D>>>>>,
}

/// A closure that waits for the writer, with the way back to its caller.
trait Job<D>: Send {
    /// Whether the caller has given up, so that it must not run any more.
    fn is_abandoned(&self) -> bool;
    fn run<'t>(&'t mut self, tx: &'t mut Tx<D>) -> BoxFuture<'t, bool>;
    fn finish(self: Box<Self>, committed: Result<(), Error>);
}

struct Closure<T, F> {
    work: F,
    result: Option<Result<T, Error>>,
    back: oneshot::Sender<Result<T, Error>>,
}

impl<D, T, F> Job<D> for Closure<T, F>
where
    D: 'static,
    T: Send + 'static,
    F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T> + Send + Sync,
{
    fn is_abandoned(&self) -> bool {
        self.back.is_closed()
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx<D>) -> BoxFuture<'t, bool> {
        Box::pin(async move {
            let ran = AssertUnwindSafe((self.work)(tx)).catch_unwind().await;
            let result = ran.unwrap_or_else(|_| Err(Error::Statement("a closure panicked".into())));
            let good = result.is_ok();
            self.result = Some(result);
            good
        })
    }

    fn finish(self: Box<Self>, committed: Result<(), Error>) {
        let result = match (committed, self.result) {
            (Err(error), Some(Ok(_)) | None) => Err(error),
            (_, Some(result)) => result,
            (Ok(()), None) => Err(Error::Down("it was not run".into())),
        };
        let _ = self.back.send(result);
    }
}

impl<D: 'static> Lite<D> {
    pub(crate) fn open(options: SqliteConnectOptions, settings: &Settings) -> Self {
        let reading = options
            .create_if_missing(true)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .statement_cache_capacity(512)
            .disable_statement_logging();
        // The mode is the file's: only the writer sets it.
        let writing = reading.clone().journal_mode(SqliteJournalMode::Wal);
        let readers = SqlitePoolOptions::new()
            .max_connections(settings.connections.clamp(1, 8))
            .min_connections(0)
            .acquire_timeout(settings.deadline)
            .test_before_acquire(false)
            .connect_lazy_with(reading);
        let (jobs, queue) = mpsc::channel(1_024);
        tokio::spawn(writer(writing, queue));
        Self { readers, jobs: Mutex::new(Some(jobs)) }
    }

    pub(crate) async fn read<T, F>(&self, work: &F) -> Result<T, Error>
    where
        F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T>,
    {
        let mut tx = Tx::new(Conn::Reader(self.readers.acquire().await?));
        tx.open = true;
        let done = work(&mut tx).await;
        tx.open = false;
        done
    }

    pub(crate) async fn write<T, F>(&self, work: F, deadline: Duration) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T> + Send + Sync + 'static,
    {
        let (back, result) = oneshot::channel();
        let jobs = self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let Some(jobs) = jobs else { return Err(Error::Down("the database was closed".into())) };
        let job = Box::new(Closure { work, result: None, back });
        let wait = async move {
            if jobs.send(job).await.is_err() {
                return Err(Error::Down("the database was closed".into()));
            }
            result.await.unwrap_or_else(|_| Err(Error::Unknown("the writer ended".into())))
        };
        match timeout(deadline, wait).await {
            Ok(done) => done,
            Err(_) => Err(Error::Unknown(format!("not confirmed within {deadline:?}"))),
        }
    }

    pub(crate) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        self.readers.close().await;
    }
}

/// Takes what waits, runs it under savepoints in one transaction, commits once, answers all.
async fn writer<D: 'static>(options: SqliteConnectOptions, mut queue: mpsc::Receiver<Box<dyn Job<D>>>) {
    let mut tx: Option<Tx<D>> = None;
    while let Some(first) = queue.recv().await {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }
        group.retain(|job| !job.is_abandoned());
        if group.is_empty() {
            continue;
        }
        let connected = match tx.take() {
            Some(tx) => Ok(tx),
            None => connect(&options).await,
        };
        let committed = match connected {
            Ok(mut open) => {
                let committed = commit(&mut open, &mut group).await;
                // After a failure nobody knows what the connection holds; a new one is cheap.
                tx = committed.is_ok().then_some(open);
                committed
            }
            Err(error) => Err(error),
        };
        for job in group {
            job.finish(match &committed {
                Ok(()) => Ok(()),
                Err(error) => Err(copy(error)),
            });
        }
    }
}

/// Connects. Who changes a new file to WAL while another process does the same is told at once that it is locked:
/// SQLite does not wait there, whatever its busy timeout.
async fn connect<D>(options: &SqliteConnectOptions) -> Result<Tx<D>, Error> {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut tries = 0;
    loop {
        tries += 1;
        match options.connect().await.map_err(Error::from) {
            Ok(conn) => return Ok(Tx::new(Conn::Writer(conn))),
            Err(Error::Contended(_)) if tries < 250 => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

async fn commit<D>(tx: &mut Tx<D>, group: &mut [Box<dyn Job<D>>]) -> Result<(), Error> {
    let mut attempt = 0;
    while let Err(error) = tx.raw("BEGIN IMMEDIATE").await {
        attempt += 1;
        if attempt > 3 || !matches!(error, Error::Contended(_)) {
            return Err(Error::Down(error.to_string()));
        }
    }
    match group {
        [only] => {
            if !only.run(tx).await {
                return tx.raw("ROLLBACK").await;
            }
        }
        many => {
            for job in many {
                tx.raw("SAVEPOINT one").await?;
                if !job.run(tx).await {
                    tx.raw("ROLLBACK TO one").await?;
                }
                tx.raw("RELEASE one").await?;
            }
        }
    }
    match tx.raw("COMMIT").await {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = tx.raw("ROLLBACK").await;
            match error {
                // It waited for another process: nothing was written.
                Error::Contended(why) => Err(Error::Down(why)),
                // What could not be synced may still be found by the next process, if this one dies now.
                error => Err(Error::Unknown(error.to_string())),
            }
        }
    }
}

fn copy(error: &Error) -> Error {
    match error {
        Error::Unknown(why) => Error::Unknown(why.clone()),
        other => Error::Down(other.to_string()),
    }
}
