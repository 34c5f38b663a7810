//! `skep conductor`: one cell's brain.

use std::sync::Arc;
use std::time::Duration;

use model::drill::Gate;
use rpc::Management;
use tokio_util::sync::CancellationToken;

use super::process::DRAIN;
use super::slots::{Slots, Urls};
use super::{Ground, Running, database, ended, life, needed};
use crate::client::tls;
use crate::config::{Config, Join};
use crate::exit::Failure;

/// The way to the broker's management API.
fn management(url: &str) -> Result<Management, Failure> {
    // As for Keystone, certificates are read only where they are needed.
    let trusted = match url.starts_with("https://") {
        true => tls::trusted(None)?,
        false => rustls::RootCertStore::empty(),
    };
    Management::new(url, tls::config(trusted)?)
        .map_err(|why| Failure::usage(format!("conductor.broker_admin: {why}")))
}

/// Starts a conductor as soon as its cell's database answers.
pub async fn start(config: &Config, ground: &Ground) -> Result<Running, Failure> {
    let url = needed(config.cell.transport.url.as_ref(), "cell.transport.url")?;
    let db: cell_db::Db = database::open(&config.cell.database, "cell.database")?;
    let mut bus = ground.connector.connect(url, Gate::default())?;
    if let Some(admin) = &config.conductor.broker_admin {
        bus = bus.managed_by(management(admin.reveal())?);
    }
    let slots = Slots::open(Urls::of_cell, config, Some(db.clone()), Some(bus.clone()))?;
    let section = &config.conductor;
    let settings = conductor::Settings {
        batch: section.batch.max(1),
        concurrency: section.concurrency.max(1),
        heartbeat: Duration::from_millis(section.heartbeat_ms.max(100)),
        silence: Duration::from_millis(section.silence_ms.max(1_000)),
        join: match section.join {
            Join::Token => conductor::Join::Token,
            Join::Open => conductor::Join::Open,
        },
    };
    let shutdown = CancellationToken::new();
    // At once: the database may refuse what the configuration named first.
    tokio::spawn(slots.follow(ground.source.clone(), shutdown.clone()));
    database::wait_for(&db, &cell_db::SCHEMA, "cell.database").await?;
    let mut loops =
        conductor::start(settings, ground.env.clone(), db.clone(), bus.clone(), shutdown.clone()).await?;
    let stop = shutdown.clone();
    let life = life(async move {
        let why = stop.run_until_cancelled(loops.ended()).await;
        stop.cancel();
        loops.drain(DRAIN / 2).await;
        why
    });
    let (asked, heard) = (db.clone(), bus.clone());
    Ok(Running {
        ready: Arc::new(move || {
            let (db, bus) = (asked.clone(), heard.clone());
            Box::pin(async move {
                database::usable(&db, &cell_db::SCHEMA, "cell.database").await?;
                if bus.is_connected() { Ok(()) } else { Err("cell.transport: not connected".to_owned()) }
            })
        }),
        ended: Box::pin(ended(life.clone())),
        drain: Box::new(move || {
            Box::pin(async move {
                shutdown.cancel();
                life.await;
                bus.close().await;
                db.close().await;
            })
        }),
    })
}
