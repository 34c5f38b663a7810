//! What the two transports have in common: a link carries requests, replies and rings; an inbox receives.

use std::sync::Arc;
use std::time::Duration;

use model::Fault;
use uuid::Uuid;

use crate::contract::{Address, Bell};
use crate::pending::{Bytes, Pending};
use crate::topology::Queue;
use crate::{amqp, local};

/// One bus's way to its broker.
#[derive(Clone)]
pub(crate) enum Link {
    Local(Arc<local::Link>),
    Amqp(Arc<amqp::Link>),
}

impl Link {
    /// The calls that wait for an answer.
    pub(crate) fn pending(&self) -> &Arc<Pending> {
        match self {
            Self::Local(link) => link.pending(),
            Self::Amqp(link) => link.pending(),
        }
    }

    /// Hands over a request that may lie in its queue for `ttl`. Refusals that arrive later settle the
    /// pending call.
    pub(crate) async fn send(&self, to: Address, id: Uuid, body: Bytes, ttl: Duration) -> Result<(), Fault> {
        match self {
            Self::Local(link) => link.send(to, id, body, ttl).await,
            Self::Amqp(link) => link.send(to, id, body, ttl).await,
        }
    }

    /// Hands over a reply.
    pub(crate) async fn reply(&self, to: &str, id: Uuid, body: Bytes) -> Result<(), Fault> {
        match self {
            Self::Local(link) => {
                link.reply(to, id, body);
                Ok(())
            }
            Self::Amqp(link) => link.reply(to, id, body).await,
        }
    }

    /// Hands over a ring.
    pub(crate) async fn ring(&self, bell: Bell) -> Result<(), Fault> {
        match self {
            Self::Local(link) => link.ring(bell).await,
            Self::Amqp(link) => link.ring(bell).await,
        }
    }

    /// Keeps a copy of a request that nobody could read.
    pub(crate) async fn park(&self, body: Bytes) -> Result<(), Fault> {
        match self {
            Self::Local(link) => {
                link.park(body);
                Ok(())
            }
            Self::Amqp(link) => link.park(body).await,
        }
    }

    /// Starts to consume `queue`, holding at most `prefetch` messages unacknowledged.
    pub(crate) fn inbox(&self, queue: Queue, prefetch: u16) -> Inbox {
        match self {
            Self::Local(link) => Inbox::Local(local::Inbox::new(link.clone(), queue, prefetch)),
            Self::Amqp(link) => Inbox::Amqp(Box::new(amqp::Inbox::new(link.clone(), queue, prefetch))),
        }
    }

    /// Declares queues, or with `passive` only looks whether they are there.
    pub(crate) async fn declare(&self, queues: &[Queue], passive: bool) -> Result<(), Fault> {
        match self {
            Self::Local(link) => link.declare(queues, passive),
            Self::Amqp(link) => link.declare(queues, passive).await,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Local(link) => link.is_connected(),
            Self::Amqp(link) => link.is_connected(),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Local(link) => link.close(),
            Self::Amqp(link) => link.close().await,
        }
    }
}

/// A consumer of one queue.
pub(crate) enum Inbox {
    Local(local::Inbox),
    Amqp(Box<amqp::Inbox>),
}

/// What an inbox receives.
pub(crate) enum Received {
    /// The queue is consumed from now on, at first or again: what was sent before may be lost.
    Opened,
    /// A message.
    Message(Delivery),
}

impl Inbox {
    /// The next message; `None` once the bus is closed.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        match self {
            Self::Local(inbox) => inbox.next().await,
            Self::Amqp(inbox) => inbox.next().await,
        }
    }

    /// Stops receiving; messages that were received can still be acknowledged.
    pub(crate) async fn stop(&mut self) {
        match self {
            Self::Local(inbox) => inbox.stop(),
            Self::Amqp(inbox) => inbox.stop().await,
        }
    }
}

/// A message that its queue keeps until it is acknowledged.
pub(crate) struct Delivery {
    pub id: Option<Uuid>,
    pub reply_to: Option<String>,
    pub body: Bytes,
    pub ticket: Ticket,
}

/// The right to acknowledge a message.
pub(crate) enum Ticket {
    Local(local::Ticket),
    Amqp(lapin::Acker),
}

impl Delivery {
    /// Tells the queue that the message is done with.
    pub(crate) async fn ack(self) {
        match self.ticket {
            Ticket::Local(ticket) => ticket.ack(),
            Ticket::Amqp(acker) => amqp::ack(&acker).await,
        }
    }
}
