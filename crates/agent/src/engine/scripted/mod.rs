//! An engine that only pretends: for tests, and for hosts by the thousand in one process.
//!
//! Containers are entries of a map. No task and no timer belongs to any of them: what ends by itself
//! ends when somebody looks, or when the stream of exits falls due. Clones share the containers, so that
//! an agent that starts again finds them.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use model::drill::{Drill, Gate};
use model::image::ImageRef;
use model::{Env, Fault, FaultKind, HostId, Power};

use super::{Answer, Container, Created, Engine, Exit, Name, Order, TAIL_MAX, last_bytes};
use state::State;

/// How the engine behaves.
///
/// Some images and commands behave in a way of their own: an image whose name contains `missing` cannot
/// be pulled; one whose name contains `remote` has to be pulled first; the command `exit CODE
/// [MILLISECONDS]` ends with that code after that time; the command `stubborn` ignores TERM.
#[derive(Clone, Copy, Debug, Default)]
pub struct Script {
    /// All chance comes from here.
    pub seed: u64,
    /// How long a create takes.
    pub create: Duration,
    /// How long a start takes.
    pub start: Duration,
    /// How long a stop takes, unless it takes the whole grace.
    pub stop: Duration,
    /// How long a removal takes.
    pub remove: Duration,
    /// How long a pull takes.
    pub pull: Duration,
    /// How many of a million creates and starts fail in passing.
    pub failing_ppm: u32,
    /// How many of a million runs end by themselves, within [`Script::lifetime`], with code 1.
    pub exiting_ppm: u32,
    /// How long a run that ends by itself lasts at most.
    pub lifetime: Duration,
}

/// The calls that can be made to fail, and that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// [`Engine::probe`].
    Probe,
    /// [`Engine::create`].
    Create,
    /// [`Engine::pull`].
    Pull,
    /// [`Engine::start`].
    Start,
    /// [`Engine::stop`] and [`Engine::kill`].
    Stop,
    /// [`Engine::freeze`] and [`Engine::thaw`].
    Freeze,
    /// [`Engine::remove`].
    Remove,
    /// [`Engine::inspect`].
    Inspect,
    /// [`Engine::list`].
    List,
}

/// The pretended engine. Clones share it.
#[derive(Clone)]
pub struct Scripted {
    env: Env,
    script: Script,
    gate: Gate,
    state: Arc<Mutex<State>>,
}

impl Scripted {
    /// An engine without containers.
    pub fn new(env: Env, script: Script) -> Self {
        let state = Arc::new(Mutex::new(State::new(script)));
        Self { env, script, gate: Gate::default(), state }
    }

    /// Makes the engine refuse connections, or hang.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Lets the next `times` calls of `verb` fail with `fault`, without any effect.
    pub fn fail(&self, verb: Verb, fault: Fault, times: u32) {
        self.lock().failures.insert(verb, (fault, times));
    }

    /// How often `verb` was called.
    pub fn calls(&self, verb: Verb) -> u64 {
        self.lock().calls.get(&verb).copied().unwrap_or_default()
    }

    /// Ends a container, as if its process had. Says whether it ran.
    pub fn exit(&self, name: Name, code: i64) -> bool {
        let now = self.env.monotonic();
        self.lock().end(name, code, now, true)
    }

    /// Ends all containers without telling anyone, as a reboot of the machine does.
    pub fn reboot(&self) {
        let now = self.env.monotonic();
        let mut state = self.lock();
        for name in state.names() {
            state.end(name, 255, now, false);
        }
    }

    /// All containers of all hosts, by name.
    pub fn containers(&self) -> Vec<Container> {
        let now = self.env.monotonic();
        let mut state = self.lock();
        state.names().into_iter().filter_map(|name| state.container(name, now)).collect()
    }

    /// The containers that run, by name; cheaper than [`Scripted::containers`].
    pub fn running(&self) -> Vec<Name> {
        let now = self.env.monotonic();
        self.lock().running(now)
    }

    async fn enter(&self, verb: Verb, takes: Duration) -> Result<MutexGuard<'_, State>, Fault> {
        match self.gate.get() {
            Drill::Off => {}
            Drill::Refuse => return Err(Fault::unavailable("the engine's socket refuses connections")),
            Drill::Hang => std::future::pending().await,
        }
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let mut state = self.lock();
        *state.calls.entry(verb).or_default() += 1;
        if let Some((fault, times)) = state.failures.get_mut(&verb).filter(|(_, times)| *times > 0) {
            *times -= 1;
            return Err(fault.clone());
        }
        if matches!(verb, Verb::Create | Verb::Start) && state.chance(self.script.failing_ppm) {
            return Err(Fault::unavailable("the script lets this call fail"));
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Scripted {
    fn probe(&self, _host: HostId) -> Answer<'_, ()> {
        Box::pin(async move { self.enter(Verb::Probe, self.script.start).await.map(drop) })
    }

    fn create<'a>(&'a self, order: &'a Order) -> Answer<'a, Created> {
        Box::pin(async move { self.enter(Verb::Create, self.script.create).await?.create(order) })
    }

    fn pull<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut state = self.enter(Verb::Pull, self.script.pull).await?;
            if image.as_str().contains("missing") {
                let message = format!("cannot pull image {image}: repository does not exist");
                return Err(Fault::new(FaultKind::Engine, message));
            }
            state.images.insert(image.as_str().to_owned());
            Ok(())
        })
    }

    fn start(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut state = self.enter(Verb::Start, self.script.start).await?;
            state.start(name, self.env.monotonic())
        })
    }

    fn stop(&self, name: Name, grace: Duration) -> Answer<'_, ()> {
        Box::pin(async move {
            let stubborn = self.lock().is_stubborn(name);
            let mut state = self.enter(Verb::Stop, if stubborn { grace } else { self.script.stop }).await?;
            state.end(name, if stubborn { 137 } else { 143 }, self.env.monotonic(), true);
            Ok(())
        })
    }

    fn kill(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut state = self.enter(Verb::Stop, Duration::ZERO).await?;
            state.end(name, 137, self.env.monotonic(), true);
            Ok(())
        })
    }

    fn freeze(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            self.enter(Verb::Freeze, Duration::ZERO).await?.freeze(name, true, self.env.monotonic())
        })
    }

    fn thaw(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            self.enter(Verb::Freeze, Duration::ZERO).await?.freeze(name, false, self.env.monotonic())
        })
    }

    fn remove(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut state = self.enter(Verb::Remove, self.script.remove).await?;
            state.remove(name, self.env.monotonic());
            Ok(())
        })
    }

    fn inspect(&self, name: Name) -> Answer<'_, Option<Container>> {
        Box::pin(async move {
            let mut state = self.enter(Verb::Inspect, Duration::ZERO).await?;
            Ok(state.container(name, self.env.monotonic()))
        })
    }

    fn list(&self, host: HostId) -> Answer<'_, Vec<Container>> {
        Box::pin(async move {
            let now = self.env.monotonic();
            let mut state = self.enter(Verb::List, Duration::ZERO).await?;
            let names = state.names_of(host);
            Ok(names.into_iter().filter_map(|name| state.container(name, now)).collect())
        })
    }

    fn tail(&self, name: Name, lines: Option<u32>) -> Answer<'_, String> {
        Box::pin(async move {
            let mut state = self.enter(Verb::Inspect, Duration::ZERO).await?;
            let Some(container) = state.container(name, self.env.monotonic()) else {
                return Err(Fault::not_found("the container has no log on its host"));
            };
            let ended = if container.power == Power::Stopped { "ended\n" } else { "" };
            let log = format!("{name} started\n{ended}");
            let skip = lines.map_or(0, |lines| log.lines().count().saturating_sub(lines as usize));
            let kept: String = log.split_inclusive('\n').skip(skip).collect();
            Ok(last_bytes(kept.as_bytes(), TAIL_MAX))
        })
    }

    fn exits(&self, host: HostId) -> BoxStream<'static, Result<Exit, Fault>> {
        let (exits, sooner) = self.lock().watch(host);
        let streaming = (self.clone(), exits, sooner);
        futures::stream::unfold(streaming, move |(engine, mut exits, sooner)| async move {
            loop {
                if engine.gate.get() == Drill::Refuse {
                    return None;
                }
                let now = engine.env.monotonic();
                let next = engine.lock().settle(host, now);
                tokio::select! {
                    biased;
                    exit = exits.recv() => return exit.map(|exit| (Ok(exit), (engine, exits, sooner))),
                    () = sooner.notified() => {}
                    () = tokio::time::sleep(next.saturating_sub(now)) => {}
                }
            }
        })
        .boxed()
    }
}
