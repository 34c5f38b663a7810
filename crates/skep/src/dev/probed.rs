//! An engine that has just run a probe container, so that the hosts which share it need not each wait
//! for one of their own before they are ready. Every later probe is a real one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent::engine::docker::Docker;
use agent::engine::{Answer, Container, Created, Engine, Exit, Name, Order};
use futures::stream::BoxStream;
use model::HostId;
use model::image::ImageRef;

/// Docker Engine after a probe.
pub struct Probed {
    docker: Docker,
    fresh: AtomicBool,
}

impl Probed {
    /// `docker`'s engine has just run a probe container.
    pub fn new(docker: Docker) -> Self {
        Self { docker, fresh: AtomicBool::new(true) }
    }
}

impl Engine for Probed {
    fn probe(&self, host: HostId) -> Answer<'_, ()> {
        match self.fresh.swap(false, Ordering::SeqCst) {
            true => Box::pin(async { Ok(()) }),
            false => self.docker.probe(host),
        }
    }

    fn create<'a>(&'a self, order: &'a Order) -> Answer<'a, Created> {
        self.docker.create(order)
    }

    fn pull<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, ()> {
        self.docker.pull(image)
    }

    fn start(&self, name: Name) -> Answer<'_, ()> {
        self.docker.start(name)
    }

    fn stop(&self, name: Name, grace: Duration) -> Answer<'_, ()> {
        self.docker.stop(name, grace)
    }

    fn kill(&self, name: Name) -> Answer<'_, ()> {
        self.docker.kill(name)
    }

    fn freeze(&self, name: Name) -> Answer<'_, ()> {
        self.docker.freeze(name)
    }

    fn thaw(&self, name: Name) -> Answer<'_, ()> {
        self.docker.thaw(name)
    }

    fn remove(&self, name: Name) -> Answer<'_, ()> {
        self.docker.remove(name)
    }

    fn inspect(&self, name: Name) -> Answer<'_, Option<Container>> {
        self.docker.inspect(name)
    }

    fn list(&self, host: HostId) -> Answer<'_, Vec<Container>> {
        self.docker.list(host)
    }

    fn tail(&self, name: Name, lines: Option<u32>) -> Answer<'_, String> {
        self.docker.tail(name, lines)
    }

    fn exits(&self, host: HostId) -> BoxStream<'static, Result<Exit, model::Fault>> {
        self.docker.exits(host)
    }
}
