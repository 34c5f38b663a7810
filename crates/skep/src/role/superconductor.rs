//! `skep superconductor`: the API level's worker.

use std::sync::Arc;

use router::Router;

use super::level::{Level, Process};
use super::process::DRAIN;
use super::{Ground, Running, database, ended, life};
use crate::config::Config;
use crate::exit::Failure;

/// How much longer than a user's call one of its own to a cell may take.
const PATIENCE: u32 = 3;

/// Starts a superconductor as soon as the API database answers.
pub async fn start(config: &Config, ground: &Ground) -> Result<Running, Failure> {
    Ok(open(config, ground).await?.0)
}

/// Starts a superconductor; a development cloud also wants its way to the cells.
pub async fn open(config: &Config, ground: &Ground) -> Result<(Running, Router), Failure> {
    let name = config.superconductor.name.clone();
    let level =
        Level::open(config, ground, Process { kind: "superconductor", name, patience: PATIENCE }).await?;
    database::wait_for(&level.db, &api_db::SCHEMA, "api_database").await?;
    let section = &config.superconductor;
    let settings = superconductor::Settings {
        name: section.name.clone(),
        batch: section.batch.max(1),
        in_flight: section.in_flight.max(1),
        cell_cap: section.cell_cap.max(1),
        ..superconductor::Settings::default()
    };
    let (env, db, router) = (ground.env.clone(), level.db.clone(), level.router.clone());
    let (bus, shutdown) = (level.bus.clone(), level.shutdown.clone());
    let stop = shutdown.clone();
    let mut loops = superconductor::start(settings, env, db.clone(), router.clone(), bus, shutdown).await?;
    let life = life(async move {
        let why = stop.run_until_cancelled(loops.ended()).await;
        stop.cancel();
        loops.drain(DRAIN / 2).await;
        why
    });
    let running = Running {
        ready: Arc::new(move || {
            let db = db.clone();
            Box::pin(async move { database::usable(&db, &api_db::SCHEMA, "api_database").await })
        }),
        ended: Box::pin(ended(life.clone())),
        drain: Box::new(move || {
            Box::pin(async move {
                level.shutdown.cancel();
                life.await;
                level.close().await;
            })
        }),
    };
    Ok((running, router))
}
