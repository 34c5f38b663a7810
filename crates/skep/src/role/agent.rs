//! `skep agent`: one host's hands.

use std::sync::Arc;
use std::time::Duration;

use agent::engine::Engine;
use agent::engine::docker::Docker;
use agent::engine::scripted::{Script, Scripted};
use model::drill::Gate;
use model::{Env, Resources};
use tokio_util::sync::CancellationToken;

use super::slots::{Slots, Urls};
use super::{Ground, Running, needed};
use crate::config::{Agent as Section, Config, Engine as Kind};
use crate::exit::Failure;

/// The socket of Docker Engine.
const DOCKER: &str = "unix:///var/run/docker.sock";

/// Starts the agent. It waits neither for its cell nor for its engine.
pub async fn start(config: &Config, ground: &Ground) -> Result<Running, Failure> {
    start_on(engine(&config.agent, &ground.env)?, config, ground).await
}

/// Starts the agent on an engine.
pub async fn start_on(engine: Arc<dyn Engine>, config: &Config, ground: &Ground) -> Result<Running, Failure> {
    let url = needed(config.cell.transport.url.as_ref(), "cell.transport.url")?;
    let told = told(config, &ground.env)?;
    let bus = ground.connector.connect(url, Gate::default())?;
    let shutdown = CancellationToken::new();
    let slots = Slots::<cell_db::Cell>::open(Urls::of_cell, config, None, Some(bus.clone()))?;
    tokio::spawn(slots.follow(ground.source.clone(), shutdown.clone()));
    tracing::info!(host = %told.host, name = told.name, cell = told.cell_name, "this host");
    let running =
        agent::Agent::start(told, ground.env.clone(), bus.clone(), engine, shutdown.clone()).await?;
    let (status, ending) = (running.clone(), running.clone());
    let unasked = shutdown.clone();
    Ok(Running {
        ready: Arc::new(move || {
            let ready = status.status().ready();
            Box::pin(async move { ready })
        }),
        ended: Box::pin(async move {
            ending.ended().await;
            // Whoever asked for it does not look here any more.
            if unasked.is_cancelled() {
                std::future::pending::<()>().await;
            }
            "see the log".to_owned()
        }),
        drain: Box::new(move || {
            Box::pin(async move {
                shutdown.cancel();
                running.ended().await;
                bus.close().await;
            })
        }),
    })
}

/// What the agent is told, from its section and its machine.
fn told(config: &Config, env: &Env) -> Result<agent::Config, Failure> {
    let section = &config.agent;
    let amounts = section.capacity;
    if amounts.vcpus < 1 || amounts.memory_mib < 1 || amounts.instances < 1 {
        return Err(Failure::usage(
            "agent.capacity is not set: give vcpus, memory_mib and instances, each at least 1 (it is never probed)",
        ));
    }
    let name = match &section.host_name {
        Some(name) => name.clone(),
        None => own_name()?,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(agent::Config {
        host: agent::host_id(&section.state_dir, env)?,
        key: agent::host_key(&section.state_dir, env)?,
        join_token_file: section.join_token_file.clone(),
        engine_name: section.engine_name.clone().unwrap_or_else(|| name.clone()),
        name,
        zone: section.zone.clone(),
        address: section.address.clone(),
        capacity: Resources {
            vcpus_milli: amounts.vcpus.saturating_mul(1_000),
            memory_mib: amounts.memory_mib,
            slots: amounts.instances,
        },
        cell_name: config.cell.name.clone(),
        heartbeat: Duration::from_millis(section.heartbeat_ms.max(100)),
        parallel_starts: section.parallel_starts.unwrap_or(2 * cores).max(1),
        state_dir: section.state_dir.clone(),
        stop_grace: Duration::from_millis(section.stop_grace_ms),
        boot: agent::boot_id()?,
    })
}

/// The machine's name (`proc(5)`, `/proc/sys/kernel/hostname`).
fn own_name() -> Result<String, Failure> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => Err(Failure::usage("agent.host_name is not set, and the machine's own name cannot be read")),
        name => Ok(name.to_owned()),
    }
}

/// The engine that the section names. Nothing is connected yet.
fn engine(section: &Section, env: &Env) -> Result<Arc<dyn Engine>, Failure> {
    let wrong = |why: model::Fault| Failure::usage(format!("agent.engine_url: {why}"));
    Ok(match section.engine {
        Kind::Docker => {
            Arc::new(Docker::new(section.engine_url.as_deref().unwrap_or(DOCKER)).map_err(wrong)?)
        }
        Kind::Scripted => {
            Arc::new(Scripted::new(env.clone(), Script { seed: env.random(), ..Script::default() }))
        }
    })
}
