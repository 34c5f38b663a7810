//! A deadline on every call to an engine, whatever the engine.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use model::image::ImageRef;
use model::{Fault, FaultKind, HostId};

use super::{Answer, Container, Created, Engine, Exit, Name, Order};

const INSPECT: Duration = Duration::from_secs(10);
const LIST: Duration = Duration::from_secs(20);
const TAIL: Duration = Duration::from_secs(4);
const KILL: Duration = Duration::from_secs(20);
const CHANGE: Duration = Duration::from_secs(60);
const PULL: Duration = Duration::from_secs(600);

/// An engine whose calls all end. What runs out of time is told as `Timeout`: it may have happened.
#[derive(Clone)]
pub(crate) struct Bounded(Arc<dyn Engine>);

async fn within<T>(limit: Duration, what: &'static str, answer: Answer<'_, T>) -> Result<T, Fault> {
    let result = match tokio::time::timeout(limit, answer).await {
        Ok(result) => result,
        Err(_) => Err(Fault::new(
            FaultKind::Timeout,
            format!("the engine did not answer {what} within {} s", limit.as_secs()),
        )),
    };
    let word = if result.is_ok() { "ok" } else { "fault" };
    metrics::counter!("skep_agent_engine_calls_total", "call" => what, "result" => word).increment(1);
    result
}

impl Bounded {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Self(engine)
    }

    pub(crate) async fn probe(&self, host: HostId) -> Result<(), Fault> {
        within(CHANGE, "probe", self.0.probe(host)).await
    }

    pub(crate) async fn create(&self, order: &Order) -> Result<Created, Fault> {
        within(CHANGE, "create", self.0.create(order)).await
    }

    pub(crate) async fn pull(&self, image: &ImageRef) -> Result<(), Fault> {
        within(PULL, "pull", self.0.pull(image)).await
    }

    pub(crate) async fn start(&self, name: Name) -> Result<(), Fault> {
        within(CHANGE, "start", self.0.start(name)).await
    }

    pub(crate) async fn stop(&self, name: Name, grace: Duration) -> Result<(), Fault> {
        within(grace + KILL, "stop", self.0.stop(name, grace)).await
    }

    pub(crate) async fn kill(&self, name: Name) -> Result<(), Fault> {
        within(KILL, "kill", self.0.kill(name)).await
    }

    pub(crate) async fn freeze(&self, name: Name) -> Result<(), Fault> {
        within(KILL, "freeze", self.0.freeze(name)).await
    }

    pub(crate) async fn thaw(&self, name: Name) -> Result<(), Fault> {
        within(KILL, "thaw", self.0.thaw(name)).await
    }

    pub(crate) async fn remove(&self, name: Name) -> Result<(), Fault> {
        within(CHANGE, "remove", self.0.remove(name)).await
    }

    pub(crate) async fn inspect(&self, name: Name) -> Result<Option<Container>, Fault> {
        within(INSPECT, "inspect", self.0.inspect(name)).await
    }

    pub(crate) async fn list(&self, host: HostId) -> Result<Vec<Container>, Fault> {
        within(LIST, "list", self.0.list(host)).await
    }

    pub(crate) async fn tail(&self, name: Name, lines: Option<u32>) -> Result<String, Fault> {
        within(TAIL, "tail", self.0.tail(name, lines)).await
    }

    pub(crate) fn exits(&self, host: HostId) -> BoxStream<'static, Result<Exit, Fault>> {
        self.0.exits(host)
    }
}
