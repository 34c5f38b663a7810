//! Docker Engine, through `bollard`.
//!
//! Several agents may share one engine: each touches only containers and networks that carry its own
//! `skep.host` label.

mod exits;
mod facts;
mod fault;
mod network;
mod order;
mod probe;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, KillContainerOptions, ListContainersOptions, LogsOptions,
    RemoveContainerOptions, StartContainerOptions, StopContainerOptions, WaitContainerOptions,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use model::image::ImageRef;
use model::{Fault, FaultKind, HostId, Power};
use tokio::sync::OnceCell;

use super::{Answer, Container, Created, Engine, Exit, Name, Order, TAIL_MAX, last_bytes};
use facts::Facts;
use fault::words;
use network::Networks;

/// Longest wait of one request on the wire, in seconds; the callers' deadlines are shorter.
const REQUEST_SECONDS: u64 = 900;
/// How often a removal that somebody else has begun is looked at.
const REMOVAL_POLL: Duration = Duration::from_millis(100);

/// A Docker Engine, reached over a Unix socket or TCP. It need not be up when this is made.
pub struct Docker {
    url: String,
    connected: OnceCell<Connected>,
    networks: Networks,
    /// Whether the probe found that it can limit what containers write.
    disk: AtomicBool,
}

struct Connected {
    client: bollard::Docker,
    facts: Facts,
}

impl Docker {
    /// An engine at `unix:///path/to/socket` or `tcp://host:port`. `Invalid` for other URLs.
    pub fn new(url: &str) -> Result<Self, Fault> {
        if !["unix:///", "tcp://", "http://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Fault::invalid(format!(
                "engine URL '{url}' is neither unix:///path/to/socket nor tcp://host:port"
            )));
        }
        let url = url.to_owned();
        Ok(Self {
            url,
            connected: OnceCell::new(),
            networks: Networks::default(),
            disk: AtomicBool::new(false),
        })
    }

    /// Removes the networks of `host` that have no containers, for a host that leaves.
    pub async fn clear_networks(&self, host: HostId) -> Result<(), Fault> {
        self.networks.clear(self.client().await?, host).await
    }

    async fn connected(&self) -> Result<&Connected, Fault> {
        let connect = || async {
            let version = bollard::API_DEFAULT_VERSION;
            let client = if self.url.starts_with("unix://") {
                bollard::Docker::connect_with_socket(&self.url, REQUEST_SECONDS, version)
            } else {
                bollard::Docker::connect_with_http(&self.url, REQUEST_SECONDS, version)
            };
            let away = |fault: bollard::errors::Error| {
                Fault::unavailable(format!("cannot reach the engine at {}: {}", self.url, words(fault)))
            };
            let client = client.map_err(away)?.negotiate_version().await.map_err(away)?;
            let facts = Facts::read(&client).await?;
            Ok(Connected { client, facts })
        };
        self.connected.get_or_try_init(connect).await
    }

    async fn client(&self) -> Result<&bollard::Docker, Fault> {
        Ok(&self.connected().await?.client)
    }

    async fn create_one(&self, order: &Order) -> Result<Created, Fault> {
        let Connected { client, facts } = self.connected().await?;
        let network = match order.spec.container.no_network {
            true => "none".to_owned(),
            false => self.networks.ensure(client, facts, order.host, &order.spec.project).await?,
        };
        let options = CreateContainerOptions { name: Some(order.name().to_string()), ..Default::default() };
        let body = order::body(order, facts, self.disk.load(Ordering::SeqCst), network);
        match client.create_container(Some(options), body).await {
            Ok(_) => Ok(Created::New),
            Err(why) if fault::status(&why) == Some(409) => self.adopt(order, words(why)).await,
            Err(why) if fault::is_no_image(&why) => Ok(Created::NoImage),
            Err(why) if fault::is_no_network(&why) => {
                self.networks.forget_all();
                Err(Fault::unavailable(words(why).message))
            }
            Err(why) => Err(words(why)),
        }
    }

    async fn adopt(&self, order: &Order, conflict: Fault) -> Result<Created, Fault> {
        let inspected = match self.client().await?.inspect_container(&order.name().to_string(), None).await {
            Ok(inspected) => inspected,
            // It was there a moment ago: somebody removes it.
            Err(why) if fault::status(&why) == Some(404) => {
                return Err(Fault::unavailable(conflict.message));
            }
            Err(why) => return Err(words(why)),
        };
        let labels = inspected.config.and_then(|config| config.labels).unwrap_or_default();
        let ours = ["skep.instance", "skep.epoch", "skep.placement", "skep.host", "skep.spec-hash"];
        let wanted: HashMap<_, _> = order.labels().into_iter().collect();
        match ours.iter().find(|key| labels.get(**key) != wanted.get(**key)) {
            None => Ok(Created::Adopted),
            Some(key) => Err(Fault::new(
                FaultKind::Engine,
                format!("a container named {} exists with another {key}: {conflict}", order.name()),
            )),
        }
    }

    async fn stop_one(&self, name: Name, seconds: i32) -> Result<(), Fault> {
        let options = StopContainerOptions { signal: None, t: Some(seconds) };
        match self.client().await?.stop_container(&name.to_string(), Some(options)).await {
            Err(why) if fault::status(&why) != Some(404) => Err(words(why)),
            _ => Ok(()),
        }
    }

    async fn kill_one(&self, name: Name) -> Result<(), Fault> {
        let (client, name) = (self.client().await?, name.to_string());
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        match client.kill_container(&name, Some(options)).await {
            Ok(()) => {}
            // There is none, or it does not run.
            Err(why) if matches!(fault::status(&why), Some(404 | 409)) => return Ok(()),
            Err(why) => return Err(words(why)),
        }
        // A kill is answered before the container has ended. Its code is no fault of this call.
        match client.wait_container(&name, None::<WaitContainerOptions>).next().await {
            None | Some(Ok(_)) | Some(Err(bollard::errors::Error::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(why)) if fault::status(&why) == Some(404) => Ok(()),
            Some(Err(why)) => Err(words(why)),
        }
    }
}

impl Engine for Docker {
    fn probe(&self, host: HostId) -> Answer<'_, ()> {
        Box::pin(async move {
            let Connected { client, facts } = self.connected().await?;
            let disk = probe::run(client, facts, &self.networks, host).await?;
            self.disk.store(disk, Ordering::SeqCst);
            Ok(())
        })
    }

    fn create<'a>(&'a self, order: &'a Order) -> Answer<'a, Created> {
        Box::pin(self.create_one(order))
    }

    fn pull<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, ()> {
        Box::pin(async move {
            // Without a tag the engine would pull all of them.
            let text = image.as_str();
            let last = text.rfind('/').map_or(0, |at| at + 1);
            let tagged = text[last..].contains([':', '@']);
            let from = if tagged { text.to_owned() } else { format!("{text}:latest") };
            let options = CreateImageOptions { from_image: Some(from), ..Default::default() };
            let mut progress = self.client().await?.create_image(Some(options), None, None);
            while let Some(step) = progress.next().await {
                step.map_err(|why| fault::pull(image, why))?;
            }
            Ok(())
        })
    }

    fn start(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            let client = self.client().await?;
            match client.start_container(&name.to_string(), None::<StartContainerOptions>).await {
                Ok(()) => Ok(()),
                Err(why) if fault::is_no_network(&why) => {
                    // Its network was removed under it. It never ran there: make both anew.
                    self.networks.forget_all();
                    self.remove(name).await?;
                    Err(Fault::not_found(words(why).message))
                }
                Err(why) => Err(words(why)),
            }
        })
    }

    fn stop(&self, name: Name, grace: Duration) -> Answer<'_, ()> {
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        Box::pin(self.stop_one(name, seconds))
    }

    fn kill(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(self.kill_one(name))
    }

    fn freeze(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            let client = self.client().await?;
            match client.pause_container(&name.to_string()).await {
                Ok(()) => Ok(()),
                Err(why) if fault::status(&why) == Some(404) => {
                    Err(Fault::not_found(format!("no such container: {name}")))
                }
                // It is frozen already, or does not run; Docker has answered both.
                Err(why) if matches!(fault::status(&why), Some(304 | 409 | 500)) => {
                    match self.inspect(name).await? {
                        Some(found) if found.power == Power::Paused => Ok(()),
                        Some(found) if found.power == Power::Running => Err(words(why)),
                        _ => Err(Fault::conflict(words(why).message)),
                    }
                }
                Err(why) => Err(words(why)),
            }
        })
    }

    fn thaw(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            let client = self.client().await?;
            match client.unpause_container(&name.to_string()).await {
                Ok(()) => Ok(()),
                Err(why) if fault::status(&why) == Some(404) => {
                    Err(Fault::not_found(format!("no such container: {name}")))
                }
                // It is not frozen.
                Err(why) if matches!(fault::status(&why), Some(304 | 409 | 500)) => {
                    match self.inspect(name).await? {
                        Some(found) if found.power == Power::Paused => Err(words(why)),
                        _ => Ok(()),
                    }
                }
                Err(why) => Err(words(why)),
            }
        })
    }

    fn remove(&self, name: Name) -> Answer<'_, ()> {
        Box::pin(async move {
            let client = self.client().await?;
            let name = name.to_string();
            loop {
                let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
                match client.remove_container(&name, Some(options)).await {
                    Ok(()) => return Ok(()),
                    Err(why) => match fault::status(&why) {
                        Some(404) => return Ok(()),
                        Some(409) => tokio::time::sleep(REMOVAL_POLL).await,
                        // Whatever stands in the way, a removal is tried again.
                        _ => return Err(Fault::unavailable(words(why).message)),
                    },
                }
            }
        })
    }

    fn inspect(&self, name: Name) -> Answer<'_, Option<Container>> {
        Box::pin(async move {
            match self.client().await?.inspect_container(&name.to_string(), None).await {
                Ok(inspected) => facts::container(name, inspected).map(Some),
                Err(why) if fault::status(&why) == Some(404) => Ok(None),
                Err(why) => Err(words(why)),
            }
        })
    }

    fn list(&self, host: HostId) -> Answer<'_, Vec<Container>> {
        Box::pin(async move {
            let client = self.client().await?;
            let filters = HashMap::from([("label".to_owned(), vec![format!("skep.host={host}")])]);
            let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
            let listed = client.list_containers(Some(options)).await.map_err(words)?;
            self.networks.sweep(client, host, &listed).await;
            Ok(listed.into_iter().filter_map(facts::listed).collect())
        })
    }

    fn tail(&self, name: Name, lines: Option<u32>) -> Answer<'_, String> {
        Box::pin(async move {
            // No log line is shorter than its end, so that more lines than bytes are never needed.
            let lines = lines.map_or(TAIL_MAX, |lines| (lines as usize).min(TAIL_MAX));
            let options =
                LogsOptions { stdout: true, stderr: true, tail: lines.to_string(), ..Default::default() };
            let mut log = self.client().await?.logs(&name.to_string(), Some(options));
            let mut bytes = Vec::new();
            while let Some(piece) = log.next().await {
                let piece = piece.map_err(|why| match fault::status(&why) {
                    Some(404) => Fault::not_found("the container has no log on its host"),
                    _ => words(why),
                })?;
                bytes.extend_from_slice(&piece.into_bytes());
                if bytes.len() > 4 * TAIL_MAX {
                    bytes.drain(..bytes.len() - TAIL_MAX);
                }
            }
            Ok(last_bytes(&bytes, TAIL_MAX))
        })
    }

    fn exits(&self, host: HostId) -> BoxStream<'static, Result<Exit, Fault>> {
        match self.connected.get() {
            Some(connected) => exits::stream(connected.client.clone(), host),
            None => {
                futures::stream::iter([Err(Fault::unavailable("the engine was not reached yet"))]).boxed()
            }
        }
    }
}
