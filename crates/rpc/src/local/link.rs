//! One bus's way to a vhost.

use std::sync::Arc;
use std::time::Duration;

use model::Fault;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::vhost::{Routed, Vhost};
use crate::contract::{Address, Bell};
use crate::pending::{Bytes, Pending};
use crate::topology::{self, Queue};

/// How long a publisher that is blocked waits.
const BLOCKED: Duration = Duration::from_secs(5);

pub(crate) struct Link {
    pub(super) vhost: Arc<Vhost>,
    pub(super) closed: CancellationToken,
    pending: Arc<Pending>,
    address: String,
}

impl Link {
    pub(crate) fn new(vhost: Arc<Vhost>) -> Self {
        let pending = Arc::new(Pending::default());
        let address = vhost.register(&pending);
        Self { vhost, closed: CancellationToken::new(), pending, address }
    }

    pub(crate) fn pending(&self) -> &Arc<Pending> {
        &self.pending
    }

    async fn may_publish(&self) -> Result<(), Fault> {
        if self.closed.is_cancelled() {
            return Err(closed());
        }
        tokio::time::timeout(BLOCKED, self.vhost.unblocked()).await.map_err(|_| {
            Fault::unavailable("the message broker takes no messages; it may be short of memory or disk")
        })
    }

    pub(crate) async fn send(&self, to: Address, id: Uuid, body: Bytes, ttl: Duration) -> Result<(), Fault> {
        self.may_publish().await?;
        let queue = &topology::inbox_name(to);
        match self.vhost.request(queue, id, &self.address, body, ttl) {
            Routed::Taken => Ok(()),
            Routed::NoQueue => Err(nobody(queue)),
            Routed::Full => Err(full(queue)),
        }
    }

    pub(crate) fn reply(&self, to: &str, id: Uuid, body: Bytes) {
        self.vhost.reply(to, id, body);
    }

    pub(crate) async fn ring(&self, bell: Bell) -> Result<(), Fault> {
        self.may_publish().await?;
        let (exchange, key) = topology::target(bell);
        // As with a broker, a ring that nobody hears is not an error.
        self.vhost.ring(exchange, key);
        Ok(())
    }

    pub(crate) fn park(&self, body: Bytes) {
        self.vhost.park(body);
    }

    pub(crate) fn declare(&self, queues: &[Queue], passive: bool) -> Result<(), Fault> {
        for queue in queues {
            match passive {
                true if self.vhost.depth(&queue.name).is_none() => return Err(nobody(&queue.name)),
                true => {}
                false => self.vhost.declare(queue),
            }
        }
        Ok(())
    }

    pub(crate) fn is_connected(&self) -> bool {
        !self.closed.is_cancelled()
    }

    pub(crate) fn close(&self) {
        self.closed.cancel();
        self.pending.fail_all(&closed());
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.vhost.unregister(&self.address);
    }
}

/// Nobody declared this queue.
pub(crate) fn nobody(queue: &str) -> Fault {
    Fault::unavailable(format!(
        "nobody listens on '{queue}': no conductor or agent is there; try again later"
    ))
}

/// This queue refuses more.
pub(crate) fn full(queue: &str) -> Fault {
    Fault::unavailable(format!("'{queue}' is full: its conductors or agent do not keep up; try again later"))
}

/// This bus was closed.
pub(crate) fn closed() -> Fault {
    Fault::unavailable("the bus is closed")
}
