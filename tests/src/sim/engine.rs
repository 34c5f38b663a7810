//! The engine of a simulated host: the scripted one, that is slow, hangs, and whose replies get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use agent::engine::scripted::{Script, Scripted};
use agent::engine::{Answer, Container, Created, Engine, Exit, Name, Order};
use futures::stream::BoxStream;
use model::drill::Drill;
use model::image::ImageRef;
use model::{Env, Fault, FaultKind, HostId};
use tokio::sync::Notify;

use super::clock::Dice;
use super::fired::Fired;

/// What a lost reply looks like.
const BROKE: &str = "the connection to the engine broke (simulated)";

/// What an engine says that refuses to make a container.
pub const NO_ROOM: &str = "no room for this (simulated)";

/// The engine of one host. Clones share it.
#[derive(Clone)]
pub struct Flaky {
    /// The engine that does the work.
    pub scripted: Scripted,
    dice: Arc<Dice>,
    latency: Arc<AtomicU64>,
    losing: Arc<AtomicU64>,
    held: Arc<AtomicBool>,
    let_go: Arc<Notify>,
    fired: Arc<Fired>,
}

impl Flaky {
    /// An engine without containers.
    pub fn new(env: Env, seed: u64, name: &str, fired: Arc<Fired>) -> Self {
        let dice = Dice::new(seed, name);
        let script = Script { seed: dice.below(u64::MAX), ..Script::default() };
        Self {
            scripted: Scripted::new(env, script),
            dice: Arc::new(dice),
            latency: Arc::new(AtomicU64::new(30)),
            losing: Arc::default(),
            held: Arc::default(),
            let_go: Arc::default(),
            fired,
        }
    }

    /// Calls take up to so long from now on.
    pub fn slow(&self, latency: Duration) {
        self.latency.store(latency.as_millis() as u64, Ordering::Relaxed);
    }

    /// So many percent of the calls have their effect and no reply.
    pub fn lose(&self, percent: u64) {
        self.losing.store(percent, Ordering::Relaxed);
    }

    /// Lets calls stand still, or go on, as a stopped daemon does.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
        self.let_go.notify_waiters();
    }

    fn through<'a, T: Send + 'a>(&'a self, call: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            let limit = Duration::from_millis(self.latency.load(Ordering::Relaxed));
            let (before, after) = (self.dice.time(limit), self.dice.time(limit / 2));
            tokio::time::sleep(before).await;
            if self.held.load(Ordering::SeqCst) {
                self.fired.once("an engine stands still");
            }
            while self.held.load(Ordering::SeqCst) {
                self.let_go.notified().await;
            }
            if self.scripted.gate().get() == Drill::Refuse {
                self.fired.once("an engine refuses connections");
            }
            let answer = call.await;
            tokio::time::sleep(after).await;
            match self.dice.percent(self.losing.load(Ordering::Relaxed)) {
                true => {
                    self.fired.once("an engine's reply is lost");
                    Err(Fault::unavailable(BROKE))
                }
                false => answer,
            }
        })
    }
}

impl Engine for Flaky {
    fn probe(&self, host: HostId) -> Answer<'_, ()> {
        self.through(self.scripted.probe(host))
    }
    fn create<'a>(&'a self, order: &'a Order) -> Answer<'a, Created> {
        Box::pin(async move {
            let created = self.through(self.scripted.create(order)).await;
            if matches!(&created, Err(fault) if fault.message == NO_ROOM) {
                self.fired.once("an engine refuses to make a container");
            }
            created
        })
    }
    fn pull<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, ()> {
        self.through(self.scripted.pull(image))
    }
    fn start(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            let found = self.scripted.inspect(name).await;
            let first = matches!(found, Ok(Some(container)) if !container.has_run);
            let started = self.through(self.scripted.start(name)).await;
            // An engine may say that a first start failed, and the container runs.
            match started {
                Err(fault) if first && fault.message == BROKE && self.dice.percent(50) => {
                    self.fired.once("an engine says that a start failed, and it did not");
                    Err(Fault::new(FaultKind::Engine, "the container could not be started (simulated)"))
                }
                started => started,
            }
        })
    }
    fn stop(&self, name: Name, grace: Duration) -> Answer<'_, ()> {
        self.through(self.scripted.stop(name, grace))
    }
    fn kill(&self, name: Name) -> Answer<'_, ()> {
        self.through(self.scripted.kill(name))
    }
    fn freeze(&self, name: Name) -> Answer<'_, ()> {
        self.through(self.scripted.freeze(name))
    }
    fn thaw(&self, name: Name) -> Answer<'_, ()> {
        self.through(self.scripted.thaw(name))
    }
    fn remove(&self, name: Name) -> Answer<'_, ()> {
        self.through(self.scripted.remove(name))
    }
    fn inspect(&self, name: Name) -> Answer<'_, Option<Container>> {
        self.through(self.scripted.inspect(name))
    }
    fn list(&self, host: HostId) -> Answer<'_, Vec<Container>> {
        self.through(self.scripted.list(host))
    }
    fn tail(&self, name: Name, lines: Option<u32>) -> Answer<'_, String> {
        self.through(self.scripted.tail(name, lines))
    }
    fn exits(&self, host: HostId) -> BoxStream<'static, Result<Exit, Fault>> {
        self.scripted.exits(host)
    }
}
