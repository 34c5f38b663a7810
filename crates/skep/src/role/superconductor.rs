//! `skep superconductor`: the API level's worker.

use std::sync::Arc;

use router::Router;

use super::level::Level;
use super::process::DRAIN;
use super::{Ground, Running, database};
use crate::config::Config;
use crate::exit::Failure;

/// Starts a superconductor as soon as the API database answers.
pub async fn start(config: &Config, ground: &Ground) -> Result<Running, Failure> {
    Ok(open(config, ground).await?.0)
}

/// Starts a superconductor; a development cloud also wants its way to the cells.
pub async fn open(config: &Config, ground: &Ground) -> Result<(Running, Router), Failure> {
    let level = Level::open(config, ground).await?;
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
    let running = superconductor::start(settings, env, db.clone(), router.clone(), bus, shutdown).await?;
    let running = Running {
        ready: Arc::new(move || {
            let db = db.clone();
            Box::pin(async move { database::usable(&db, &api_db::SCHEMA, "api_database").await })
        }),
        ended: Box::pin(std::future::pending()),
        drain: Box::new(move || {
            Box::pin(async move {
                level.shutdown.cancel();
                running.drain(DRAIN / 2).await;
                level.close().await;
            })
        }),
    };
    Ok((running, router))
}
