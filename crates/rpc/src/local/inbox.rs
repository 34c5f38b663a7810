//! A consumer of one queue of a vhost.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::link::Link;
use super::queue::Stored;
use super::vhost::Vhost;
use crate::topology;
use crate::transport::{self, Delivery, Received};

pub(crate) struct Inbox {
    link: Arc<Link>,
    queue: String,
    more: Arc<Notify>,
    /// As many as may be unacknowledged.
    room: Arc<Semaphore>,
    opened: bool,
    stopped: bool,
}

impl Inbox {
    pub(crate) fn new(link: Arc<Link>, queue: topology::Queue, prefetch: u16) -> Self {
        let more = link.vhost.consume(&queue);
        let room = Arc::new(Semaphore::new(usize::from(prefetch)));
        Self { link, queue: queue.name, more, room, opened: false, stopped: false }
    }

    pub(crate) async fn next(&mut self) -> Option<Received> {
        if !std::mem::replace(&mut self.opened, true) {
            return Some(Received::Opened);
        }
        let closed = self.link.closed.clone();
        let room = tokio::select! {
            biased;
            () = closed.cancelled() => return None,
            room = self.room.clone().acquire_owned() => room.ok()?,
        };
        loop {
            if closed.is_cancelled() || self.stopped {
                return None;
            }
            if let Some((message, serial)) = self.link.vhost.take(&self.queue) {
                return Some(Received::Message(self.delivery(message, serial, room)));
            }
            tokio::select! {
                biased;
                () = closed.cancelled() => return None,
                () = self.more.notified() => {}
            }
        }
    }

    fn delivery(&self, message: Stored, serial: u64, room: OwnedSemaphorePermit) -> Delivery {
        let (id, reply_to, body) = (message.id, message.reply_to.clone(), message.body.clone());
        let (vhost, queue) = (self.link.vhost.clone(), self.queue.clone());
        let ticket = Ticket { vhost, queue, serial, message: Some(message), _room: room };
        Delivery { id, reply_to, body, ticket: transport::Ticket::Local(ticket) }
    }

    pub(crate) fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.link.vhost.leave(&self.queue);
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A message that goes back to its queue unless it is acknowledged.
pub(crate) struct Ticket {
    vhost: Arc<Vhost>,
    queue: String,
    serial: u64,
    message: Option<Stored>,
    _room: OwnedSemaphorePermit,
}

impl Ticket {
    pub(crate) fn ack(mut self) {
        self.message = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            self.vhost.requeue(&self.queue, self.serial, message);
        }
    }
}
