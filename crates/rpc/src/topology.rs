//! Queues and exchanges: the one place that names them and states their limits, for both transports.
//!
//! Whoever has a cell's own credentials publishes to queues by their names, through the default exchange, which a
//! user of RabbitMQ may write to as a whole or not at all. Hosts' agents therefore publish to [`AGENTS`] and to nothing
//! else: a host that has a user of its own may write there, and read its own two queues.

use std::time::Duration;

use model::{HostId, WorkerId};

use crate::contract::{Address, Bell};

/// The fanout exchange behind [`Bell::Up`].
pub(crate) const UP: &str = "up";
/// The direct exchange that hosts' agents publish to: calls to conductors, and answers to calls.
pub(crate) const AGENTS: &str = "agents";
/// Where requests to conductors go that nobody could read.
pub(crate) const PARKING: &str = "parking";
/// A queue that nobody consumes is deleted after this time, so that hosts and workers which are gone
/// leave nothing behind, and a call to them is refused at once.
const UNUSED: Duration = Duration::from_secs(60);

/// How the broker keeps a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Replicated. A message that was delivered more often than this is dropped; the default before
    /// RabbitMQ 4.0 is to deliver for ever.
    Quorum { delivery_limit: u32 },
    /// On one node.
    Classic,
}

/// What happens to a message that finds its queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// It is refused.
    RejectPublish,
    /// The oldest message makes room.
    DropHead,
}

/// A queue as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    pub name: String,
    pub kind: Kind,
    pub max_length: u32,
    pub overflow: Overflow,
    /// Deleted after so long without a consumer.
    pub expires: Option<Duration>,
    /// The exchange that it is bound to by its name, beside the default one.
    pub exchange: Option<&'static str>,
    /// Whether what cannot be read is copied to [`PARKING`].
    pub parks: bool,
}

impl Queue {
    fn classic(name: String, max_length: u32, overflow: Overflow) -> Self {
        let kind = Kind::Classic;
        Self { name, kind, max_length, overflow, expires: None, exchange: None, parks: false }
    }
}

/// The name of the inbox behind an address.
pub(crate) fn inbox_name(at: Address) -> String {
    match at {
        Address::Conductors => "conductors".into(),
        Address::Host(host) => format!("host.{host}.calls"),
    }
}

/// The inbox behind an address.
pub(crate) fn inbox(at: Address) -> Queue {
    match at {
        Address::Conductors => Queue {
            kind: Kind::Quorum { delivery_limit: 5 },
            parks: true,
            exchange: Some(AGENTS),
            ..Queue::classic(inbox_name(at), 10_000, Overflow::RejectPublish)
        },
        Address::Host(_) => {
            Queue { expires: Some(UNUSED), ..Queue::classic(inbox_name(at), 256, Overflow::RejectPublish) }
        }
    }
}

/// Where the calls to an address are sent: an exchange, empty for the default one, and a routing key.
pub(crate) fn route(to: Address) -> (&'static str, String) {
    match to {
        Address::Conductors => (AGENTS, inbox_name(to)),
        Address::Host(_) => ("", inbox_name(to)),
    }
}

/// What a host's user may do in its cell's vhost, as regular expressions: configure, write, read
/// (<https://www.rabbitmq.com/docs/access-control#authorisation>).
pub(crate) fn permissions(host: HostId) -> [String; 3] {
    let own = format!(r"^host\.{host}\.(calls|bell)$");
    [own.clone(), format!("^{AGENTS}$"), own]
}

/// The queue on which `worker` hears a bell.
pub(crate) fn doorbell(bell: Bell, worker: WorkerId) -> Queue {
    let queue = |name: String, max_length| Queue::classic(name, max_length, Overflow::DropHead);
    match bell {
        Bell::Conductors => queue("conductors.bell".into(), 4),
        Bell::Superconductors => queue("superconductors.bell".into(), 4),
        Bell::Host(host) => Queue { expires: Some(UNUSED), ..queue(format!("host.{host}.bell"), 2) },
        Bell::Up => Queue { expires: Some(UNUSED), exchange: Some(UP), ..queue(format!("up.{worker}"), 1) },
    }
}

/// Where requests go that nobody could read.
pub(crate) fn parking() -> Queue {
    Queue::classic(PARKING.into(), 1_000, Overflow::DropHead)
}

/// The queues of a cell that outlive whoever consumes them. All others come and go with hosts and workers.
pub(crate) fn lasting() -> [Queue; 3] {
    [inbox(Address::Conductors), doorbell(Bell::Conductors, WorkerId(uuid::Uuid::nil())), parking()]
}

/// Where a bell's rings are sent: an exchange, empty for the default one, and a routing key.
pub(crate) fn target(bell: Bell) -> (&'static str, String) {
    match bell {
        Bell::Conductors => ("", "conductors.bell".into()),
        Bell::Superconductors => ("", "superconductors.bell".into()),
        Bell::Host(host) => ("", format!("host.{host}.bell")),
        Bell::Up => (UP, String::new()),
    }
}
