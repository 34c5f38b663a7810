//! Watching the engine: exits as they happen, a list every few seconds, and what falls due. It needs no
//! cell: the user's restart policy is carried out from the journal alone.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, OptionFuture};
use futures::stream::BoxStream;
use model::Fault;
use tokio_util::sync::CancellationToken;

use crate::drive::Driver;
use crate::engine::{Container, Exit};
use crate::health::Health;
use crate::recover::compare;

/// How often the engine is asked for everything, in case that an exit was not told.
const LIST: Duration = Duration::from_secs(5);
/// Pause before a broken stream of exits is opened again.
const REOPEN: Duration = Duration::from_secs(1);
/// Pause before an engine is probed again that failed a probe; it doubles.
const PROBE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between probes.
const PROBE_LONGEST: Duration = Duration::from_secs(60);

type Listing = BoxFuture<'static, (Duration, Result<Vec<Container>, Fault>)>;

/// Watches until the shutdown.
pub(crate) async fn supervise(driver: Arc<Driver>, health: Arc<Health>, shutdown: CancellationToken) {
    let (table, host) = (driver.table.clone(), driver.config.host);
    let mut exits: Option<BoxStream<'static, Result<Exit, Fault>>> = Some(driver.engine.exits(host));
    let mut listing: Option<Listing> = None;
    let mut list_at = table.env.monotonic() + table.env.jitter(LIST);
    let mut reopen_at = Duration::ZERO;
    loop {
        let now = table.env.monotonic();
        if exits.is_none() && reopen_at <= now {
            exits = Some(driver.engine.exits(host));
            // What ended while nobody listened is found by a list.
            list_at = now;
        }
        if listing.is_none() && list_at <= now {
            list_at = now + table.env.jitter(LIST);
            listing = Some(list(driver.clone()));
        }
        let (ready, next_due) = table.take_due(now);
        for id in ready {
            driver.wake(id);
        }
        let mut wake_at = next_due.unwrap_or(Duration::MAX).min(list_at);
        if exits.is_none() {
            wake_at = wake_at.min(reopen_at);
        }
        if listing.is_some() && list_at <= now {
            wake_at = next_due.unwrap_or(now + LIST);
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = table.sooner.notified() => {}
            () = tokio::time::sleep(wake_at.saturating_sub(now)) => {}
            Some((asked, listed)) = OptionFuture::from(listing.as_mut()) => {
                listing = None;
                match listed {
                    Ok(listed) => {
                        compare(&driver, listed, asked);
                        health.answered();
                    }
                    Err(fault) => health.failed(fault),
                }
            }
            Some(exit) = OptionFuture::from(exits.as_mut().map(StreamExt::next)) => match exit {
                Some(Ok(exit)) => ended(&driver, exit),
                broken => {
                    if let Some(Err(fault)) = broken {
                        tracing::info!(%fault, "the engine's events broke off");
                    }
                    (exits, reopen_at) = (None, table.env.monotonic() + table.env.jitter(REOPEN));
                }
            }
        }
    }
}

fn list(driver: Arc<Driver>) -> Listing {
    let asked = driver.table.env.monotonic();
    async move { (asked, driver.engine.list(driver.config.host).await) }.boxed()
}

/// An exit is a hint, like a doorbell: the engine is asked what is.
fn ended(driver: &Arc<Driver>, exit: Exit) {
    let mut inner = driver.table.lock();
    let wished = inner.slots.get(&exit.name.instance).is_some_and(|slot| {
        slot.copies.contains_key(&exit.name.place())
            && (!slot.wish.is_some() || slot.wish.place() == exit.name.place())
    });
    if wished {
        driver.look(&mut inner, exit.name.instance);
    }
}

/// Probes the engine until a container ran, and again whenever it came back after a failure.
pub(crate) async fn probe(driver: Arc<Driver>, health: Arc<Health>, shutdown: CancellationToken) {
    let mut pause = PROBE_FIRST;
    loop {
        let result = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            result = driver.engine.probe(driver.config.host) => result,
        };
        let ran = result.is_ok();
        if let Err(fault) = &result {
            tracing::warn!(%fault, "the probe failed; nothing will be placed here");
        }
        health.probed(result);
        if ran {
            pause = PROBE_FIRST;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = health.suspect() => {}
            }
        } else {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(driver.table.env.jitter(pause)) => {}
            }
            pause = (pause * 2).min(PROBE_LONGEST);
        }
    }
}
