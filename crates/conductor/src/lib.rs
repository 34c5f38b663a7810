//! One cell's brain: places instances on hosts, answers agents, records what was observed.
//!
//! A conductor knows its own cell's database and bus and nothing else: no other cell, and nothing above
//! (no upcalls). Any number of conductors share a cell: whatever one does is a compare-and-swap that
//! another may have won. None of them holds state that matters; a killed one costs latency only.
//!
//! ```text
//!   bell, or a second ──► place ──► claim (one transaction) ──► ring the hosts
//!   agent: SyncHost   ──► apply what it saw, answer what it should run ──► ring up
//!   5 s               ──► liveness: hosts whose beat stands still get nothing new
//!   2 s               ──► users: of the broker, of hosts that have lost their keys, are removed
//!   250 ms, on change ──► summary, for placement on the level above
//! ```

mod enrol;
mod liveness;
mod place;
mod resize;
mod service;
mod summary;
mod users;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cell_db::Db;
use model::{Env, Fault, HostId, WorkerId};
use rpc::{Address, Bell, Bus};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use enrol::Join;

/// How a conductor behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Most instances placed in one transaction.
    pub batch: i64,
    /// Most calls of agents answered at a time.
    pub concurrency: usize,
    /// How often agents are to sync at least.
    pub heartbeat: Duration,
    /// How long a host may be silent before it gets nothing new.
    pub silence: Duration,
    /// What a host needs to enrol.
    pub join: Join,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch: 64,
            concurrency: 32,
            heartbeat: Duration::from_secs(5),
            silence: Duration::from_secs(30),
            join: Join::default(),
        }
    }
}

/// What every part of a conductor works with.
pub(crate) struct Conductor {
    settings: Settings,
    env: Env,
    db: Db,
    bus: Bus,
    /// There is something to place.
    place: Notify,
    /// What the summary says has changed.
    changed: Notify,
    /// Each host's beat, and when it was first seen, by our own monotonic clock.
    beats: Mutex<HashMap<HostId, (i64, Duration)>>,
}

impl Conductor {
    /// How long a host's beat has stood at this number, as far as this process has seen.
    fn still_for(&self, host: HostId, beat: i64) -> Duration {
        let now = self.env.monotonic();
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = beats.entry(host).or_insert((beat, now));
        if seen.0 != beat {
            *seen = (beat, now);
        }
        now.saturating_sub(seen.1)
    }
}

/// A conductor that runs until its token is cancelled.
#[derive(Debug)]
pub struct Running {
    loops: JoinSet<()>,
    serving: rpc::Serving,
}

/// Starts a conductor of the cell whose database and bus these are.
///
/// # Errors
/// If the database does not answer or has a schema that this release cannot work on; the caller may try
/// again.
pub async fn start(
    settings: Settings,
    env: Env,
    db: Db,
    bus: Bus,
    shutdown: CancellationToken,
) -> Result<Running, Fault> {
    cell_db::SCHEMA.status(&db).await?;
    let worker: WorkerId = env.id();
    let conductor = Arc::new(Conductor {
        settings,
        env,
        db,
        bus: bus.clone(),
        place: Notify::new(),
        changed: Notify::new(),
        beats: Mutex::default(),
    });
    let serving = bus.serve(Address::Conductors, service::service(&conductor), settings.concurrency);
    let bell = bus.listen(Bell::Conductors, worker);
    let mut loops = JoinSet::new();
    loops.spawn(place::run(conductor.clone(), bell, shutdown.clone()));
    loops.spawn(liveness::run(conductor.clone(), shutdown.clone()));
    loops.spawn(users::run(conductor.clone(), shutdown.clone()));
    loops.spawn(summary::run(conductor, shutdown));
    Ok(Running { loops, serving })
}

impl Running {
    /// Waits until all loops have ended, after the token was cancelled, at most `within`.
    pub async fn drain(mut self, within: Duration) {
        self.serving.stop(within).await;
        let ended = async { while self.loops.join_next().await.is_some() {} };
        if tokio::time::timeout(within, ended).await.is_err() {
            tracing::warn!("conductor did not drain in time");
        }
    }

    /// Resolves, with the reason, when a loop has ended although the token was not cancelled: it panicked, or
    /// it returned. Either is a defect, and what is left does only a part of the work.
    pub async fn ended(&mut self) -> String {
        match self.loops.join_next().await {
            Some(Err(why)) => format!("a loop failed: {why}"),
            Some(Ok(())) | None => "a loop returned".to_owned(),
        }
    }
}
