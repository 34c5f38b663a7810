//! Making buses from URLs.

use std::sync::Arc;

use lapin::uri::AMQPUri;
use model::drill::Gate;
use model::{Env, Fault};

use crate::bus::Bus;
use crate::transport::Link;
use crate::{amqp, local};

/// Makes buses. It holds the in-process hub, so that every bus to `local:NAME` made by one connector
/// meets in the same vhost.
#[derive(Clone, Debug)]
pub struct Connector {
    env: Env,
    hub: local::Hub,
}

impl Connector {
    /// A connector with an in-process hub of its own.
    pub fn new(env: Env) -> Self {
        Self { hub: local::Hub::new(env.clone()), env }
    }

    /// The in-process hub behind `local:` URLs.
    pub fn hub(&self) -> &local::Hub {
        &self.hub
    }

    /// A bus to `local:NAME`, `amqp://…` or `amqps://…`. Never waits for the broker: the connection is made
    /// in the background, and again for ever when it is lost. `gate` is asked at every operation.
    ///
    /// Fails with `Invalid` if the URL is none of these, and with `Internal` outside a tokio runtime.
    pub fn connect(&self, url: &str, gate: Gate) -> Result<Bus, Fault> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Fault::internal("a bus can only be made inside a tokio runtime"));
        }
        if let Some(name) = url.strip_prefix("local:") {
            let link = local::Link::new(self.hub.vhost(name));
            return Ok(Bus::new(self.env.clone(), gate, Link::Local(Arc::new(link))));
        }
        let link = amqp::Link::new(self.env.clone(), read(url)?);
        Ok(Bus::new(self.env.clone(), gate, Link::Amqp(Arc::new(link))))
    }
}

/// Reads the URL of a RabbitMQ.
pub(crate) fn read(url: &str) -> Result<AMQPUri, Fault> {
    if !url.starts_with("amqp://") && !url.starts_with("amqps://") {
        return Err(Fault::invalid(
            "a transport URL is local:NAME, amqp://USER:PASSWORD@HOST:PORT/VHOST or the same with amqps",
        ));
    }
    // The parser's error may quote the URL, which holds a password: it is not shown.
    url.parse().map_err(|_| {
        Fault::invalid("the transport URL cannot be read; write amqp://USER:PASSWORD@HOST:PORT/VHOST and escape '/' in VHOST as %2f")
    })
}
