//! The in-process transport: vhosts that behave as the broker's, and misbehave on demand.
//!
//! It moves the same encoded bytes as RabbitMQ does, keeps what is not acknowledged, and passes the same
//! suite. Without faults it costs microseconds and waits for nothing but wake-ups.

mod faults;
mod inbox;
mod link;
mod queue;
mod vhost;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use model::Env;

pub use faults::{Faults, Misdeeds};
pub(crate) use inbox::{Inbox, Ticket};
pub(crate) use link::{Link, closed, full, nobody};
use vhost::Vhost;

/// The vhosts of one process, by name. Clones share them.
#[derive(Clone)]
pub struct Hub {
    env: Env,
    vhosts: Arc<Mutex<HashMap<String, Arc<Vhost>>>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

impl Hub {
    pub(crate) fn new(env: Env) -> Self {
        Self { env, vhosts: Arc::default() }
    }

    pub(crate) fn vhost(&self, name: &str) -> Arc<Vhost> {
        let mut vhosts = self.vhosts.lock().unwrap_or_else(PoisonError::into_inner);
        vhosts.entry(name.into()).or_insert_with(|| Arc::new(Vhost::new(self.env.clone()))).clone()
    }

    /// From now on the vhost loses, doubles, delays and reorders messages so; [`Faults::default`] ends it.
    pub fn set_faults(&self, vhost: &str, faults: Faults) {
        self.vhost(vhost).set_faults(faults);
    }

    /// How often the vhost has misbehaved so far.
    pub fn misdeeds(&self, vhost: &str) -> Misdeeds {
        self.vhost(vhost).misdeeds()
    }

    /// Delivers what the vhost has held back and is due. Otherwise its sender's runtime sees to that; a message whose
    /// sender is gone waits for this, or for the next that is due.
    pub fn carry(&self, vhost: &str) {
        self.vhost(vhost).carry();
    }

    /// Drops every message that lies in a queue of the vhost; what is delivered and not acknowledged stays.
    /// Returns how many were dropped.
    pub fn purge_all(&self, vhost: &str) -> usize {
        self.vhost(vhost).purge_all()
    }

    /// Holds up everything that is published, as a broker does on a memory or disk alarm, until it is called
    /// with `false`. Consumers go on.
    pub fn block_publishers(&self, vhost: &str, blocked: bool) {
        self.vhost(vhost).block(blocked);
    }

    /// How many messages lie in a queue of the vhost, ready to be delivered; `None` if there is no such queue.
    pub fn depth(&self, vhost: &str, queue: &str) -> Option<usize> {
        self.vhost(vhost).depth(queue)
    }

    /// Puts raw bytes into a queue of the vhost, as a foreign publisher would; `false` if there is no such
    /// queue or it is full.
    pub fn inject(&self, vhost: &str, queue: &str, body: &[u8]) -> bool {
        self.vhost(vhost).inject(queue, body.into())
    }
}
