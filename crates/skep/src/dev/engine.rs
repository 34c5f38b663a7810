//! Which engine a development cloud runs on, and the removal of what it made there.

use std::sync::Arc;
use std::time::Duration;

use agent::engine::Engine;
use agent::engine::docker::Docker;
use futures::stream::{self, StreamExt};
use model::HostId;

use super::{Wanted, docker};
use crate::config::environment;
use crate::exit::Failure;

/// Longest that the first probe may take; the engine may have to make a network for it.
const PROBE: Duration = Duration::from_secs(10);
/// Longest that the removal of all containers may take.
const REMOVAL: Duration = Duration::from_secs(60);
/// Removals at a time; more only wait for each other in the engine.
const PARALLEL: usize = 8;

/// The engine that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Docker Engine, at this URL.
    Docker(String),
    /// None; why, if one was looked for.
    Scripted(Option<String>),
}

impl Found {
    /// The word in the plan.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Scripted(_) => "scripted",
        }
    }
}

/// Where the engine would be.
pub fn url(given: Option<&str>) -> String {
    let given = given.map(str::to_owned).or_else(|| environment::var("DOCKER_HOST"));
    given.filter(|url| !url.is_empty()).unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
}

/// Looks for the wanted engine. `host` is one of ours: the probe's container and network are its.
pub async fn find(wanted: Wanted, url: &str, host: HostId) -> Result<Found, Failure> {
    if wanted == Wanted::Scripted {
        return Ok(Found::Scripted(None));
    }
    match probe(url, host).await {
        Ok(()) => Ok(Found::Docker(url.to_owned())),
        Err(why) if wanted == Wanted::Auto => Ok(Found::Scripted(Some(why))),
        Err(why) => {
            Err(Failure::new(format!("{why}; give --engine-url, or --engine scripted to go without")))
        }
    }
}

async fn probe(url: &str, host: HostId) -> Result<(), String> {
    if let Some(path) = url.strip_prefix("unix://")
        && !std::path::Path::new(path).exists()
    {
        return Err(format!("there is no engine at {url}"));
    }
    let docker = Docker::new(url).map_err(|why| why.message)?;
    match tokio::time::timeout(PROBE, docker.probe(host)).await {
        Ok(done) => done.map_err(|why| why.message),
        Err(_) => Err(format!("the engine at {url} ran no probe container within {PROBE:?}")),
    }
}

/// Removes every container and network of these hosts. Returns how many containers were
/// removed and how many are left.
pub async fn remove_all(url: &str, hosts: Vec<HostId>) -> Result<(usize, usize), Failure> {
    let docker: Arc<Docker> = Arc::new(Docker::new(url)?);
    let (mut removed, mut left) = (0, 0);
    let work = async {
        for host in hosts {
            let names: Vec<_> =
                docker.list(host).await?.into_iter().map(|container| container.name).collect();
            let docker = &docker;
            let mut done = stream::iter(names)
                .map(|name| async move { docker.remove(name).await })
                .buffer_unordered(PARALLEL);
            while let Some(one) = done.next().await {
                match one {
                    Ok(()) => removed += 1,
                    Err(why) => {
                        left += 1;
                        tracing::warn!(%why, "a container could not be removed");
                    }
                }
            }
            if let Err(why) = docker::remove_networks(url, host).await {
                tracing::warn!(why, "a network could not be removed");
            }
        }
        Ok::<(), Failure>(())
    };
    match tokio::time::timeout(REMOVAL, work).await {
        Ok(done) => done.map(|()| (removed, left)),
        Err(_) => Err(Failure::timeout(format!("not all containers were removed within {REMOVAL:?}"))),
    }
}
