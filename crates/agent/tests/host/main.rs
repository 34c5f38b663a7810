//! One agent against a pretended cell and a pretended engine: every rule of the protocol.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cell;
mod cells_word;
mod life;
mod load;
mod policy;
mod restart;
mod storm;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::engine::scripted::{Script, Scripted};
use agent::engine::{Engine, Name};
use agent::{Agent, Config};
use cell::Cell;
use model::sync::{Observation, Outcome, Wanted};
use model::{At, ContainerSpec, Env, Flavor, HostId, InstanceId, Intent, Power, RequestSpec, Resources};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(60);

/// Everything around one host.
struct Desk {
    env: Env,
    cell: Cell,
    engine: Scripted,
    host: HostId,
    boot: Uuid,
    dir: PathBuf,
    agent: Option<(Agent, CancellationToken)>,
}

impl Desk {
    async fn new() -> Self {
        Self::scripted(Script::default()).await
    }

    async fn scripted(script: Script) -> Self {
        let mut desk = Self::without_agent(script).await;
        desk.start().await;
        desk
    }

    async fn without_agent(script: Script) -> Self {
        let env = Env::system();
        let cell = Cell::start(&env).await;
        let engine = Scripted::new(env.clone(), script);
        let dir = std::env::temp_dir().join(format!("skep-agent-{}", env.uuid()));
        Self { cell, engine, host: env.id(), boot: env.uuid(), dir, agent: None, env }
    }

    fn config(&self) -> Config {
        Config {
            host: self.host,
            key: rpc::HostKey::from_seed(&[7; 32]).unwrap(),
            join_token_file: None,
            name: "host-1".into(),
            zone: "az".into(),
            engine_name: "engine-1".into(),
            address: "192.0.2.7".into(),
            capacity: Resources { vcpus_milli: 8000, memory_mib: 8000, slots: 1000 },
            cell_name: "c1".into(),
            heartbeat: Duration::from_secs(1),
            parallel_starts: 4,
            state_dir: self.dir.clone(),
            stop_grace: Duration::from_secs(5),
            boot: self.boot,
        }
    }

    async fn start(&mut self) {
        let shutdown = CancellationToken::new();
        let engine: Arc<dyn Engine> = Arc::new(self.engine.clone());
        let (env, bus) = (self.env.clone(), self.cell.bus_for_agent());
        let agent = Agent::start(self.config(), env, bus, engine, shutdown.clone()).await.unwrap();
        self.agent = Some((agent, shutdown));
    }

    async fn stop(&mut self) {
        let (agent, shutdown) = self.agent.take().expect("an agent runs");
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(60), agent.ended()).await.expect("the agent ends");
    }

    fn agent(&self) -> &Agent {
        &self.agent.as_ref().expect("an agent runs").0
    }

    fn want(&self, wanted: &Wanted) {
        self.cell.want(self.host, wanted.clone());
    }

    async fn observed(&self, id: InstanceId, what: &str, is: impl Fn(&Observation) -> bool) -> Observation {
        let found = || self.cell.observed(id).filter(&is);
        eventually(what, || found().is_some(), || format!("{:?}", self.cell.observed(id))).await;
        found().expect("it was just there")
    }

    /// Has the wish carried out and returns what was told of it.
    async fn carry_out(&self, wanted: &Wanted) -> Observation {
        self.want(wanted);
        self.settled(wanted).await
    }

    async fn settled(&self, wanted: &Wanted) -> Observation {
        let end = if wanted.intent == Intent::Gone { Outcome::Gone } else { Outcome::Done };
        self.observed(wanted.instance, "the wish is carried out", |o| {
            o.at == wanted.at
                && o.restart_seq >= wanted.restart_seq
                && (o.outcome == end || o.outcome == Outcome::Changed)
        })
        .await
    }

    fn power(&self, wanted: &Wanted) -> Option<Power> {
        let name = Name::new(wanted.instance, wanted.at);
        self.engine.containers().into_iter().find(|c| c.name == name).map(|c| c.power)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn eventually(what: &str, is: impl Fn() -> bool, tell: impl Fn() -> String) {
    let env = Env::system();
    let until = env.monotonic() + DEADLINE;
    while !is() {
        assert!(env.monotonic() < until, "not within {DEADLINE:?}: {what}; last {}", tell());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn spec(container: ContainerSpec) -> RequestSpec {
    RequestSpec {
        name: "web".into(),
        project: "p".into(),
        user: "u".into(),
        request_id: String::new(),
        region: String::new(),
        zone: None,
        image: "skep/web:1".parse().unwrap(),
        flavor: Flavor {
            id: "1".into(),
            name: "small".into(),
            vcpus: 1,
            memory_mib: 64,
            disk_gib: 1,
            pids: 100,
        },
        container,
        metadata: Default::default(),
        description: None,
        extra: Default::default(),
        deadline: model::Timestamp(i64::MAX),
    }
}

fn run(container: ContainerSpec) -> Wanted {
    Wanted {
        instance: Env::system().id(),
        at: At { epoch: 1, placement: 1, generation: 1 },
        intent: Intent::Run,
        restart_seq: 0,
        restart_hard: false,
        freeze: None,
        spec: Some(Box::new(spec(container))),
        request_id: "req-1".into(),
    }
}

fn image(image: &str) -> Wanted {
    let mut wanted = run(ContainerSpec::default());
    wanted.spec.as_mut().unwrap().image = image.parse().unwrap();
    wanted
}

fn command(words: &[&str], restart: &str) -> Wanted {
    run(ContainerSpec {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        restart: model::RestartPolicy::parse(restart).unwrap(),
        ..ContainerSpec::default()
    })
}

/// The next intent about the same placement.
fn next(wanted: &Wanted, intent: Intent) -> Wanted {
    let mut next = wanted.clone();
    next.at.generation += 1;
    next.intent = intent;
    if intent == Intent::Gone {
        next.spec = None;
    }
    next
}

fn reboot(wanted: &Wanted, hard: bool) -> Wanted {
    let restart_seq = wanted.restart_seq + 1;
    Wanted { restart_seq, restart_hard: hard, ..next(wanted, Intent::Run) }
}
