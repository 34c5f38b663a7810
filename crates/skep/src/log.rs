//! Logging: text for people or JSON for machines, on standard error, with a level that can be changed
//! while the process runs. In builds with the feature `otlp` spans can be sent to a collector as well.

#[cfg(feature = "otlp")]
mod otlp;

use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{self, Format, Log, Source};
use crate::exit::Failure;

/// How often the configuration's file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The running log's level.
#[derive(Clone)]
pub struct Level {
    filter: reload::Handle<Targets, Registry>,
    #[cfg(feature = "otlp")]
    traces: Option<otlp::Traces>,
}

/// Starts logging, once for the process, which is `role`. Fields of a line's spans, such as `request_id`, are
/// part of it. With `otlp_endpoint` it must run inside a runtime.
pub fn start(log: &Log, role: &str) -> Result<Level, Failure> {
    let (filter, handle) = reload::Layer::new(filter(&log.level).map_err(Failure::usage)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        Format::Text => lines.with_ansi(false).boxed(),
        Format::Json => {
            lines.json().with_current_span(true).with_span_list(false).flatten_event(true).boxed()
        }
    };
    let registry = tracing_subscriber::registry().with(filter).with(lines);
    #[cfg(feature = "otlp")]
    let (traces, spans) = log.otlp_endpoint.as_deref().map(|to| otlp::start(to, role)).transpose()?.unzip();
    #[cfg(feature = "otlp")]
    let registry = registry.with(spans);
    #[cfg(not(feature = "otlp"))]
    if log.otlp_endpoint.is_some() {
        return Err(Failure::usage(format!(
            "log.otlp_endpoint: this skep {role} was built without OTLP; remove it, or build with --features otlp"
        )));
    }
    registry.try_init().map_err(|why| Failure::new(format!("cannot start logging: {why}")))?;
    Ok(Level {
        filter: handle,
        #[cfg(feature = "otlp")]
        traces,
    })
}

/// What lets a request's span continue the trace of its `traceparent`, if spans can be sent at all.
pub fn continues() -> Option<fn(&tracing::Span, &str)> {
    #[cfg(feature = "otlp")]
    return Some(otlp::continues);
    #[cfg(not(feature = "otlp"))]
    None
}

/// By module alone: a filter that also looks at spans is asked whenever a task goes on.
fn filter(level: &str) -> Result<Targets, String> {
    level.parse::<Targets>().map_err(|why| format!("log.level '{level}': {why}"))
}

impl Level {
    /// Sends what spans are not sent yet, for at most a few seconds.
    pub fn end(&self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = &self.traces {
            traces.end();
        }
    }

    fn set(&self, level: &str) -> Result<(), String> {
        self.filter.reload(filter(level)?).map_err(|why| why.to_string())
    }

    /// Reads the configuration again on SIGHUP, and when its file has changed; takes over the level alone.
    /// A bad file changes nothing and is complained of. Runs until it is dropped.
    pub async fn follow(self, source: Source, mut level: String) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut seen = stamp(&source).await;
        loop {
            let asked = tokio::select! {
                () = received(&mut hangup) => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let stamp = stamp(&source).await;
            if !asked && stamp == seen {
                continue;
            }
            seen = stamp;
            match config::load(&source).map_err(|why| why.message) {
                Ok(new) if new.log.level == level => {}
                Ok(new) => match self.set(&new.log.level) {
                    Ok(()) => {
                        level = new.log.level;
                        tracing::info!(level, "log level changed");
                    }
                    Err(why) => tracing::error!(why, "configuration not reloaded; the old level stays"),
                },
                Err(why) => tracing::error!(why, "configuration not reloaded; the old level stays"),
            }
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn stamp(source: &Source) -> Option<(SystemTime, u64)> {
    let data = tokio::fs::metadata(source.file.as_ref()?).await.ok()?;
    Some((data.modified().ok()?, data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives() {
        for good in ["info", "warn,router=debug", "off"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        assert!(filter("info,router=loud").is_err_and(|why| why.contains("log.level")));
    }
}
