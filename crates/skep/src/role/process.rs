//! A process that plays one role: configuration, logging, health, signals, drain.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Ground, RoleArgs, Running};
use crate::config::{self, Config, Source};
use crate::exit::{Code, Failure, print};
use crate::health::{Health, Metrics, Ready};
use crate::log;

/// Longest that a drain may take.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Plays a role until it is told to end.
///
/// `start` may take long, where a database does not answer yet; the health service tells so meanwhile.
pub fn play<F>(args: RoleArgs, name: &'static str, start: F) -> Result<Code, Failure>
where
    F: AsyncFnOnce(&Config, &Ground) -> Result<Running, Failure>,
{
    let source = Source::new(args.config);
    let config = config::load(&source)?;
    if args.dump_config {
        let dump = toml::to_string_pretty(&config).map_err(|why| Failure::new(why.to_string()))?;
        print(&dump)?;
        return Ok(Code::Done);
    }
    let runtime = runtime()?;
    let level = {
        let _inside = runtime.enter();
        log::start(&config.log, name)?
    };
    let done = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let metrics = Metrics::start()?;
        let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
        let _stop = stop.clone().drop_guard();
        let ready = Arc::new(OnceLock::<Ready>::new());
        if let Some(listen) = config.health.listen {
            let health = Health::bind(listen, metrics.clone(), later(ready.clone())).await?;
            tokio::spawn(health.serve(draining.clone(), stop));
        }
        tokio::spawn(metrics.upkeep());
        tokio::spawn(level.clone().follow(source.clone(), config.log.level.clone()));
        tracing::info!(role = name, version = env!("CARGO_PKG_VERSION"), "starting");
        let ground = Ground { source: Some(source), ..Ground::system() };
        let running = tokio::select! {
            running = start(&config, &ground) => running?,
            () = signals.asked() => return Ok(Code::Done),
        };
        let _ = ready.set(running.ready);
        tracing::info!(role = name, "started");
        let ended = tokio::select! {
            () = signals.asked() => None,
            why = running.ended => Some(why),
        };
        draining.cancel();
        tracing::info!(role = name, "draining");
        tokio::select! {
            late = tokio::time::timeout(DRAIN, (running.drain)()) => {
                match late {
                    Ok(()) => tracing::info!(role = name, "drained"),
                    Err(_) => tracing::warn!(role = name, "not drained within {DRAIN:?}; ending all the same"),
                }
            }
            () = signals.asked() => tracing::warn!(role = name, "asked again: ending at once"),
        }
        match ended {
            None => Ok(Code::Done),
            Some(why) => Err(Failure::new(format!("{name} ended by itself: {why}"))),
        }
    });
    level.end();
    // Whatever still runs is not waited for: every promise is a row.
    runtime.shutdown_background();
    done
}

/// A runtime with a thread for each core.
pub fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::new(format!("cannot start: {why}")))
}

/// Ready once the role is there and says so.
fn later(slot: Arc<OnceLock<Ready>>) -> Ready {
    Arc::new(move || match slot.get() {
        Some(ready) => ready(),
        None => Box::pin(async { Err("starting".to_owned()) }),
    })
}

/// SIGTERM and SIGINT.
pub struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Takes both signals from now on.
    pub fn listen() -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(|why| Failure::new(format!("cannot take signals: {why}")));
        Ok(Self { term: take(SignalKind::terminate())?, int: take(SignalKind::interrupt())? })
    }

    /// Returns when the process is asked to end.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
