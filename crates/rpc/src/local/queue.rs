//! One queue of a vhost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::pending::Bytes;
use crate::topology::{self, Kind, Overflow};

/// A message as it lies in a queue.
#[derive(Clone)]
pub(super) struct Stored {
    pub id: Option<Uuid>,
    pub reply_to: Option<String>,
    pub body: Bytes,
    /// When it expires, on the monotonic clock.
    pub expires: Option<Duration>,
    /// How often it was delivered.
    pub deliveries: u32,
}

/// A queue's declaration, its messages and its consumers.
pub(super) struct Queue {
    pub declared: topology::Queue,
    /// Tells a queue from a later one of the same name.
    pub serial: u64,
    pub ready: VecDeque<Stored>,
    pub consumers: usize,
    /// Since when there has been no consumer.
    pub idle_since: Duration,
    pub more: Arc<Notify>,
}

impl Queue {
    pub(super) fn new(declared: topology::Queue, serial: u64, now: Duration) -> Self {
        let (ready, more) = (VecDeque::new(), Arc::default());
        Self { declared, serial, ready, consumers: 0, idle_since: now, more }
    }

    /// Whether the broker would have deleted it by now.
    pub(super) fn is_unused(&self, now: Duration) -> bool {
        self.consumers == 0
            && self.declared.expires.is_some_and(|expires| now.saturating_sub(self.idle_since) > expires)
    }

    fn drop_expired(&mut self, now: Duration) {
        self.ready.retain(|message| message.expires.is_none_or(|at| now < at));
    }

    /// Appends a message, or inserts it at `place`; `false` if the queue is full and refuses.
    pub(super) fn push(&mut self, message: Stored, place: Option<usize>, now: Duration) -> bool {
        let limit = self.declared.max_length as usize;
        if self.ready.len() >= limit {
            self.drop_expired(now);
        }
        if self.ready.len() >= limit {
            match self.declared.overflow {
                Overflow::RejectPublish => return false,
                Overflow::DropHead => {
                    self.ready.pop_front();
                }
            }
        }
        let end = self.ready.len();
        self.ready.insert(place.unwrap_or(end).min(end), message);
        self.more.notify_one();
        true
    }

    /// Takes the oldest message that has not expired. Where more remain, another consumer is woken.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Stored> {
        while let Some(mut message) = self.ready.pop_front() {
            if message.expires.is_some_and(|at| at <= now) {
                continue;
            }
            message.deliveries += 1;
            if !self.ready.is_empty() {
                self.more.notify_one();
            }
            return Some(message);
        }
        None
    }

    /// Takes back a message that was not acknowledged, to the front; `false` if its delivery limit is reached.
    pub(super) fn requeue(&mut self, message: Stored) -> bool {
        if matches!(self.declared.kind, Kind::Quorum { delivery_limit } if message.deliveries > delivery_limit)
        {
            return false;
        }
        self.ready.push_front(message);
        self.more.notify_one();
        true
    }
}
