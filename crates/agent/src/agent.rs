//! The agent as a whole: its start, its state for people and probes, its end.

use std::sync::Arc;
use std::time::Duration;

use model::{Env, Fault, InstanceId};
use rpc::contract::{ConsoleTail, Tail};
use rpc::{Address, Bus, Service};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Config;
use crate::drive::Driver;
use crate::engine::{Bounded, Engine, Name};
use crate::health::Health;
use crate::identity::broker_user;
use crate::journal::{Journal, Loaded, Memory};
use crate::sync::Sync;
use crate::table::Table;
use crate::{recover, supervise};

/// How long an agent that ends waits for what it has begun.
const DRAIN: Duration = Duration::from_secs(10);
/// How many console tails are answered at a time.
const TAILS: usize = 8;

/// A running agent. Clones share it; it runs on when all are dropped, until its shutdown.
#[derive(Clone)]
pub struct Agent {
    driver: Arc<Driver>,
    health: Arc<Health>,
    ended: CancellationToken,
}

/// How an agent is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// The cell has registered it.
    pub registered: bool,
    /// A probe container ran, and the engine has answered since.
    pub engine_healthy: bool,
    /// Why the engine is not healthy, in its own words.
    pub engine_fault: Option<Fault>,
    /// How long ago the cell was last synced with.
    pub synced_ago: Option<Duration>,
    /// Why the last sync failed, if it did.
    pub sync_fault: Option<Fault>,
    /// A full sync has to be finished before anything is started.
    pub held: bool,
    /// Instances that exist here or are wished.
    pub instances: usize,
    /// Containers that run.
    pub running: usize,
    /// Containers that the cell does not know; they are kept.
    pub quarantined: usize,
    /// Instances that are worked on at the moment.
    pub busy: usize,
    /// Instances of which the cell has not acknowledged the newest observation.
    pub unreported: usize,
}

impl Status {
    /// Whether new containers can be placed here, or why not.
    pub fn ready(&self) -> Result<(), String> {
        match (self.engine_healthy, &self.engine_fault) {
            (false, Some(fault)) => return Err(format!("the engine is not ready: {fault}")),
            (false, None) => return Err("no probe container ran yet".to_owned()),
            (true, _) => {}
        }
        match (self.registered, &self.sync_fault) {
            (false, Some(fault)) => Err(format!("not registered with the cell: {fault}")),
            (false, None) => Err("not registered with the cell yet".to_owned()),
            (true, _) if self.held => Err("the first full sync is not finished".to_owned()),
            (true, _) => Ok(()),
        }
    }
}

impl Agent {
    /// Starts an agent. It neither waits for its cell nor for its engine; [`Status`] tells how it is
    /// doing. Fails if the journal cannot be used, or the file of the host's own user of the broker.
    ///
    /// When `shutdown` is cancelled it begins nothing new, finishes what it has begun within 10 s, tells
    /// the cell, and ends; containers run on.
    pub async fn start(
        config: Config,
        env: Env,
        bus: Bus,
        engine: Arc<dyn Engine>,
        shutdown: CancellationToken,
    ) -> Result<Self, Fault> {
        if let Some(user) = broker_user(&config.state_dir)? {
            bus.enter_as(user);
        }
        let (journal, loaded) = Journal::open(&config.state_dir.join("journal.redb"), config.host).await?;
        Ok(Self::begin(config, env, bus, engine, (journal, loaded), shutdown))
    }

    /// The same on a journal in memory, which outlives the agent. Needs a tokio runtime.
    pub fn start_in_memory(
        config: Config,
        env: Env,
        bus: Bus,
        engine: Arc<dyn Engine>,
        memory: &Memory,
        shutdown: CancellationToken,
    ) -> Result<Self, Fault> {
        let journal = Journal::in_memory(memory, config.host)?;
        Ok(Self::begin(config, env, bus, engine, journal, shutdown))
    }

    fn begin(
        config: Config,
        env: Env,
        bus: Bus,
        engine: Arc<dyn Engine>,
        (journal, loaded): (Journal, Loaded),
        shutdown: CancellationToken,
    ) -> Self {
        let incarnation = loaded.incarnation;
        let table = Table::new(env);
        let driver = Driver::new(config, table, Bounded::new(engine), journal);
        recover::load(&driver, loaded);
        let agent = Self { driver, health: Arc::default(), ended: CancellationToken::new() };
        let (running, ended) = (agent.clone(), agent.ended.clone().drop_guard());
        tokio::spawn(async move {
            running.run(bus, incarnation, shutdown).await;
            drop(ended);
        });
        agent
    }

    /// How it is doing. Cheap enough for every health check.
    pub fn status(&self) -> Status {
        let counts = self.driver.table.counts();
        let known = self.health.known();
        let now = self.driver.table.env.monotonic();
        Status {
            registered: known.registered,
            engine_healthy: known.is_healthy(),
            engine_fault: known.fault,
            synced_ago: known.synced_at.map(|at| now.saturating_sub(at)),
            sync_fault: known.sync_fault,
            held: counts.held,
            instances: counts.instances,
            running: counts.running,
            quarantined: counts.quarantined,
            busy: counts.busy,
            unreported: counts.unreported,
        }
    }

    /// Returns when it has ended after its shutdown; its journal is closed then.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    async fn run(&self, bus: Bus, incarnation: Option<Uuid>, shutdown: CancellationToken) {
        let (driver, health) = (&self.driver, &self.health);
        if recover::recover(driver, health, &shutdown).await {
            let watch = tokio::spawn(supervise::supervise(driver.clone(), health.clone(), shutdown.clone()));
            let probe = tokio::spawn(supervise::probe(driver.clone(), health.clone(), shutdown.clone()));
            let serving = bus.serve(Address::Host(driver.config.host), service(driver.clone()), TAILS);
            let end = CancellationToken::new();
            let sync = Sync::new(driver.clone(), health.clone(), bus, incarnation);
            let sync = tokio::spawn(sync.run(end.clone()));
            shutdown.cancelled().await;
            serving.stop(Duration::from_secs(1)).await;
            self.drain().await;
            end.cancel();
            for task in [watch, probe, sync] {
                if let Err(why) = task.await {
                    tracing::error!(%why, "a part of the agent failed");
                }
            }
        } else {
            self.drain().await;
        }
        if let Err(fault) = driver.journal.close().await {
            tracing::error!(%fault, "the journal's last entries may be lost");
        }
    }

    async fn drain(&self) {
        if !self.driver.drain(DRAIN).await {
            tracing::warn!("not everything that was begun could be finished; it is in the journal");
        }
    }
}

fn service(driver: Arc<Driver>) -> Service {
    Service::new().on(move |_, call: ConsoleTail| {
        let driver = driver.clone();
        async move {
            let name = current(&driver, call.instance)?;
            Ok(Tail { text: driver.engine.tail(name, call.lines).await? })
        }
    })
}

fn current(driver: &Driver, id: InstanceId) -> Result<Name, Fault> {
    let inner = driver.table.lock();
    let slot = inner.slots.get(&id).filter(|slot| slot.is_live());
    let name = slot.and_then(|slot| match slot.copies.last_key_value() {
        Some(((epoch, placement), _)) if !slot.wish.is_some() => {
            Some(Name { instance: id, epoch: *epoch, placement: *placement })
        }
        _ => slot.wish.is_some().then(|| slot.name(id)),
    });
    name.ok_or_else(|| Fault::not_found(format!("instance {id} is not on this host")))
}
