//! Databases under simulation: SQLite in memory, driven on the caller's thread, so that a transaction is
//! one indivisible step and everything that happens follows from a seed.
//!
//! A [`Disk`] is a database server with its disk: it outlives the processes that use it. Its URL,
//! `simulated:NAME`, is known on the thread that made it. What it does wrong is drawn from its own dice:
//! calls that are slow, that are refused, that fail after their commit or before it with nobody to tell
//! which, and servers that freeze. A read is one step too, so that what can happen between two statements
//! is not shown here; `cell-db/interleavings` shows it on PostgreSQL.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::Work;
use crate::error::Error;
use crate::tx::{Conn, Tx};

thread_local! {
    static DISKS: RefCell<BTreeMap<String, Arc<Disk>>> = const { RefCell::new(BTreeMap::new()) };
}

/// How a database misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every call takes a time up to this, half of it before its effect.
    pub latency: Duration,
    /// Percent of calls that fail without effect, and say so.
    pub refused: u8,
    /// Percent of writes that are committed, and nobody is told.
    pub unknown: u8,
    /// Percent of writes that are not committed, and nobody is told.
    pub lost: u8,
    /// Percent of calls that take so much longer than their deadline that they fail.
    pub stalled: u8,
}

/// What became of one call.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The database's name.
    pub disk: &'a str,
    /// Whether it was a write.
    pub write: bool,
    /// `done`, `refused by the work`, `down`, `unknown, committed`, `unknown, lost`, `refuses`; and, before one of these,
    /// `waits, as it is frozen` and `stalls`.
    pub outcome: &'static str,
}

type Watcher = Box<dyn Fn(Step<'_>) + Send + Sync>;

/// One simulated database.
pub struct Disk {
    name: String,
    conn: Mutex<Option<SqliteConnection>>,
    faults: Mutex<(Faults, u64)>,
    frozen: AtomicBool,
    /// Wakes who waits for a frozen server, in the order in which they came.
    thawed: Notify,
    watcher: Watcher,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({})", self.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What will become of a call.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Done,
    Refused,
    Unknown,
    Lost,
    Stalled,
}

impl Disk {
    /// Makes an empty database that `simulated:NAME` opens on this thread. `watcher` is told of every call.
    ///
    /// # Errors
    /// If SQLite cannot be used.
    pub fn create(name: &str, seed: u64, watcher: Watcher) -> Result<Arc<Self>, Error> {
        let options = SqliteConnectOptions::from_str("sqlite::memory:")?
            .journal_mode(SqliteJournalMode::Memory)
            .synchronous(SqliteSynchronous::Off)
            .foreign_keys(true)
            .statement_cache_capacity(512)
            .disable_statement_logging();
        let conn = block_on(options.connect())?;
        let disk = Arc::new(Self {
            name: name.to_owned(),
            conn: Mutex::new(Some(conn)),
            faults: Mutex::new((Faults::default(), seed)),
            frozen: AtomicBool::new(false),
            thawed: Notify::new(),
            watcher,
        });
        DISKS.with_borrow_mut(|disks| disks.insert(name.to_owned(), disk.clone()));
        Ok(disk)
    }

    /// Forgets all databases of this thread.
    pub fn forget_all() {
        DISKS.with_borrow_mut(BTreeMap::clear);
    }

    pub(crate) fn find(name: &str) -> Option<Arc<Self>> {
        DISKS.with_borrow(|disks| disks.get(name).cloned())
    }

    /// From now on it misbehaves so; gives how it did before.
    pub fn set_faults(&self, faults: Faults) -> Faults {
        std::mem::replace(&mut lock(&self.faults).0, faults)
    }

    /// Freezes the server, or lets it go on; gives whether it was frozen.
    pub fn freeze(&self, frozen: bool) -> bool {
        let was = self.frozen.swap(frozen, Ordering::SeqCst);
        self.thawed.notify_waiters();
        was
    }

    /// A number below `limit` (Steele, Lea, Flood: SplitMix64).
    fn below(&self, limit: u64) -> u64 {
        let mut state = lock(&self.faults);
        state.1 = state.1.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state.1;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }

    fn fate(&self, write: bool) -> (Fate, Duration, Duration) {
        let faults = lock(&self.faults).0;
        if faults == Faults::default() {
            return (Fate::Done, Duration::ZERO, Duration::ZERO);
        }
        let micros = faults.latency.as_micros() as u64 / 2;
        let (before, after) = (self.below(micros + 1), self.below(micros + 1));
        let dice = self.below(100) as u8;
        let bounds = [
            (faults.refused, Fate::Refused),
            (faults.stalled, Fate::Stalled),
            (if write { faults.unknown } else { 0 }, Fate::Unknown),
            (if write { faults.lost } else { 0 }, Fate::Lost),
        ];
        let mut sum = 0;
        let fate = bounds.into_iter().find_map(|(percent, fate)| {
            sum += percent;
            (dice < sum).then_some(fate)
        });
        (fate.unwrap_or(Fate::Done), Duration::from_micros(before), Duration::from_micros(after))
    }

    fn tell(&self, write: bool, outcome: &'static str) {
        (self.watcher)(Step { disk: &self.name, write, outcome });
    }

    pub(crate) async fn call<D, T, F>(&self, work: &F, write: bool, deadline: Duration) -> Result<T, Error>
    where
        F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T>,
    {
        let (fate, before, after) = self.fate(write);
        let thawed = async {
            while self.frozen.load(Ordering::SeqCst) {
                self.thawed.notified().await;
            }
        };
        if self.frozen.load(Ordering::SeqCst) {
            self.tell(write, "waits, as it is frozen");
        }
        if timeout(deadline, thawed).await.is_err() {
            return Err(self.unanswered(write));
        }
        pause(before).await;
        let slow = deadline.mul_f64(self.below(100) as f64 / 100.0);
        match fate {
            Fate::Refused => {
                self.tell(write, "refuses");
                return Err(Error::Down("connection refused (simulated)".into()));
            }
            Fate::Stalled => {
                self.tell(write, "stalls");
                pause(deadline).await;
                return Err(self.unanswered(write));
            }
            Fate::Lost => {
                pause(slow).await;
                self.tell(write, "unknown, lost");
                return Err(Error::Unknown("the connection broke (simulated)".into()));
            }
            Fate::Done | Fate::Unknown => {}
        }
        let done = self.run(work, write);
        if fate == Fate::Unknown && done.is_ok() {
            self.tell(write, "unknown, committed");
            pause(slow).await;
            return Err(Error::Unknown("the connection broke (simulated)".into()));
        }
        self.tell(write, if done.is_ok() { "done" } else { "refused by the work" });
        pause(after).await;
        done
    }

    /// Nothing was committed; PostgreSQL's client knows that, SQLite's does not.
    fn unanswered(&self, write: bool) -> Error {
        if write && self.below(2) == 0 {
            self.tell(write, "unknown, lost");
            return Error::Unknown("not confirmed within the deadline (simulated)".into());
        }
        self.tell(write, "down");
        Error::Down("no answer within the deadline (simulated)".into())
    }

    /// The whole transaction, on this thread, with no time passing.
    fn run<D, T, F>(&self, work: &F, write: bool) -> Result<T, Error>
    where
        F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T>,
    {
        let Some(conn) = lock(&self.conn).take() else {
            return Err(Error::Statement("a transaction inside of a transaction".into()));
        };
        let mut tx = Tx::new(Conn::Writer(conn));
        let done = block_on(async {
            if write {
                tx.raw("BEGIN IMMEDIATE").await?;
            }
            let ran = AssertUnwindSafe(work(&mut tx)).catch_unwind().await;
            let done = ran.unwrap_or_else(|_| Err(Error::Statement("a closure panicked".into())));
            match (write, done.is_ok()) {
                (false, _) => {}
                (true, true) => tx.raw("COMMIT").await?,
                (true, false) => tx.raw("ROLLBACK").await?,
            }
            done
        });
        if let Conn::Writer(conn) = std::mem::replace(&mut tx.conn, Conn::Closed) {
            *lock(&self.conn) = Some(conn);
        }
        done
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}
