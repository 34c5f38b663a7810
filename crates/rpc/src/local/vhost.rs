//! One vhost: queues, bindings, reply addresses and faults behind one lock that is never held over a wait.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use model::Env;
use tokio::sync::Notify;
use uuid::Uuid;

use super::faults::{Dice, Faults, Misdeeds};
use super::queue::{Queue, Stored};
use crate::pending::{Bytes, Pending};
use crate::topology;

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routed {
    Taken,
    NoQueue,
    Full,
}

/// Where a message goes.
#[derive(Clone)]
enum Target {
    Queue(String),
    Exchange(&'static str),
    Reply(String),
}

pub(crate) struct Vhost {
    env: Env,
    state: Mutex<State>,
    blocked: AtomicBool,
    /// Wakes blocked publishers, in the order in which they came.
    unblocked: Notify,
}

#[derive(Default)]
struct State {
    queues: HashMap<String, Queue>,
    bindings: HashMap<&'static str, BTreeSet<String>>,
    replies: HashMap<String, Weak<Pending>>,
    serial: u64,
    faults: Faults,
    dice: Dice,
    /// What is held back, by when it is due and the order in which it came. It is the broker's: it arrives although
    /// its sender is gone.
    late: BTreeMap<(Duration, u64), Late>,
    misdeeds: Misdeeds,
}

struct Late {
    target: Target,
    message: Stored,
    overtakes: bool,
}

impl Vhost {
    pub(super) fn new(env: Env) -> Self {
        Self { env, state: Mutex::default(), blocked: AtomicBool::new(false), unblocked: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        let mut state = self.lock();
        state.faults = faults;
        state.dice = Dice::new(faults.seed);
    }

    pub(super) fn purge_all(&self) -> usize {
        self.lock().queues.values_mut().map(|queue| std::mem::take(&mut queue.ready).len()).sum()
    }

    pub(super) fn block(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::SeqCst);
        self.unblocked.notify_waiters();
    }

    /// Waits until publishers are not blocked.
    pub(super) async fn unblocked(&self) {
        loop {
            // Registered before the look, so that no wake-up falls between the two.
            let mut woken = std::pin::pin!(self.unblocked.notified());
            woken.as_mut().enable();
            if !self.blocked.load(Ordering::SeqCst) {
                return;
            }
            self.lock().misdeeds.blocked += 1;
            woken.await;
        }
    }

    pub(super) fn depth(&self, queue: &str) -> Option<usize> {
        self.lock().queues.get(queue).map(|queue| queue.ready.len())
    }

    pub(super) fn inject(&self, queue: &str, body: Bytes) -> bool {
        let message = Stored { id: None, reply_to: None, body, expires: None, deliveries: 0 };
        let now = self.env.monotonic();
        self.lock().deliver(&Target::Queue(queue.into()), message, false, now) == Routed::Taken
    }

    /// Registers who waits for replies; returns the reply address.
    pub(super) fn register(&self, pending: &Arc<Pending>) -> String {
        let mut state = self.lock();
        state.serial += 1;
        let address = format!("reply.{}", state.serial);
        state.replies.insert(address.clone(), Arc::downgrade(pending));
        address
    }

    pub(super) fn unregister(&self, address: &str) {
        self.lock().replies.remove(address);
    }

    /// Publishes a request.
    pub(super) fn request(
        self: &Arc<Self>,
        queue: &str,
        id: Uuid,
        reply_to: &str,
        body: Bytes,
        ttl: Duration,
    ) -> Routed {
        let expires = Some(self.env.monotonic() + ttl);
        let message = Stored { id: Some(id), reply_to: Some(reply_to.into()), body, expires, deliveries: 0 };
        self.publish(Target::Queue(queue.into()), message)
    }

    /// Publishes a ring to an exchange, or to a queue where `exchange` is empty.
    pub(super) fn ring(self: &Arc<Self>, exchange: &'static str, key: String) -> Routed {
        let message =
            Stored { id: None, reply_to: None, body: Bytes::from([]), expires: None, deliveries: 0 };
        self.publish(
            if exchange.is_empty() { Target::Queue(key) } else { Target::Exchange(exchange) },
            message,
        )
    }

    /// Sends a reply.
    pub(super) fn reply(self: &Arc<Self>, to: &str, id: Uuid, body: Bytes) {
        let message = Stored { id: Some(id), reply_to: None, body, expires: None, deliveries: 0 };
        self.publish(Target::Reply(to.into()), message);
    }

    /// Keeps a copy of what nobody could read.
    pub(super) fn park(&self, body: Bytes) {
        let now = self.env.monotonic();
        self.lock().declare(topology::parking(), now);
        self.inject(topology::PARKING, body);
    }

    fn publish(self: &Arc<Self>, target: Target, message: Stored) -> Routed {
        let now = self.env.monotonic();
        let mut state = self.lock();
        let faults = state.faults;
        if faults == Faults::default() {
            return state.deliver(&target, message, false, now);
        }
        if let Target::Queue(name) = &target
            && state.queue(name, now).is_none()
        {
            return Routed::NoQueue;
        }
        if state.dice.roll(faults.loss) {
            state.misdeeds.lost += 1;
            return Routed::Taken;
        }
        let copies = if state.dice.roll(faults.duplication) { 2 } else { 1 };
        state.misdeeds.doubled += copies - 1;
        for _ in 0..copies {
            let overtakes = state.dice.roll(faults.reorder);
            let delay = state.dice.time(faults.delay);
            state.misdeeds.overtook += u64::from(overtakes);
            let (target, message) = (target.clone(), message.clone());
            if delay.is_zero() {
                state.deliver(&target, message, overtakes, now);
                continue;
            }
            state.misdeeds.late += 1;
            state.serial += 1;
            let place = (now + delay, state.serial);
            state.late.insert(place, Late { target, message, overtakes });
            // It may die with its sender; then whoever comes next brings what is due.
            let vhost = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                vhost.carry();
            });
        }
        Routed::Taken
    }

    /// Delivers what was held back and is due.
    pub(super) fn carry(&self) {
        let now = self.env.monotonic();
        let mut state = self.lock();
        while let Some(first) = state.late.first_entry().filter(|first| first.key().0 <= now) {
            let Late { target, message, overtakes } = first.remove();
            state.deliver(&target, message, overtakes, now);
        }
    }

    /// How often it has misbehaved.
    pub(super) fn misdeeds(&self) -> Misdeeds {
        self.lock().misdeeds
    }

    /// Declares a queue.
    pub(super) fn declare(&self, queue: &topology::Queue) {
        let now = self.env.monotonic();
        self.lock().declare(queue.clone(), now);
    }

    /// Declares a queue and adds a consumer; returns what wakes it.
    pub(super) fn consume(&self, queue: &topology::Queue) -> Arc<Notify> {
        let now = self.env.monotonic();
        let mut state = self.lock();
        let queue = state.declare(queue.clone(), now);
        queue.consumers += 1;
        queue.more.clone()
    }

    /// Removes a consumer.
    pub(super) fn leave(&self, queue: &str) {
        let now = self.env.monotonic();
        if let Some(queue) = self.lock().queues.get_mut(queue) {
            queue.consumers = queue.consumers.saturating_sub(1);
            queue.idle_since = now;
            // A wake-up may have gone to the consumer that left.
            queue.more.notify_one();
        }
    }

    /// The oldest message of a queue, and the queue's serial number.
    pub(super) fn take(&self, queue: &str) -> Option<(Stored, u64)> {
        let now = self.env.monotonic();
        let mut state = self.lock();
        let queue = state.queues.get_mut(queue)?;
        queue.pop(now).map(|message| (message, queue.serial))
    }

    /// Takes back what was delivered and not acknowledged.
    pub(super) fn requeue(&self, queue: &str, serial: u64, message: Stored) {
        let mut state = self.lock();
        let Some(queue) = state.queues.get_mut(queue).filter(|queue| queue.serial == serial) else { return };
        if !queue.requeue(message) {
            metrics::counter!("skep_rpc_dropped_total").increment(1);
            tracing::error!(queue = queue.declared.name, "a message was delivered too often and is dropped");
        }
    }
}

impl State {
    fn declare(&mut self, declared: topology::Queue, now: Duration) -> &mut Queue {
        self.queue(&declared.name, now);
        if let Some(exchange) = declared.exchange {
            self.bindings.entry(exchange).or_default().insert(declared.name.clone());
        }
        self.serial += 1;
        let serial = self.serial;
        let queue =
            self.queues.entry(declared.name.clone()).or_insert_with(|| Queue::new(declared, serial, now));
        queue.idle_since = now;
        queue
    }

    /// A queue that exists, after deleting it if it has been unused for too long.
    fn queue(&mut self, name: &str, now: Duration) -> Option<&mut Queue> {
        if self.queues.get(name).is_some_and(|queue| queue.is_unused(now)) {
            self.queues.remove(name);
            for bound in self.bindings.values_mut() {
                bound.remove(name);
            }
        }
        self.queues.get_mut(name)
    }

    fn deliver(&mut self, target: &Target, message: Stored, overtakes: bool, now: Duration) -> Routed {
        match target {
            Target::Reply(address) => {
                if let (Some(pending), Some(id)) =
                    (self.replies.get(address).and_then(Weak::upgrade), message.id)
                {
                    pending.settle(id, Ok(message.body));
                }
                Routed::Taken
            }
            Target::Exchange(exchange) => {
                let bound: Vec<String> = self.bindings.get(exchange).into_iter().flatten().cloned().collect();
                for name in bound {
                    self.deliver(&Target::Queue(name), message.clone(), overtakes, now);
                }
                Routed::Taken
            }
            Target::Queue(name) => {
                let length = self.queue(name, now).map(|queue| queue.ready.len());
                let Some(length) = length else { return Routed::NoQueue };
                let place = overtakes.then(|| self.dice.place(length));
                let Some(queue) = self.queue(name, now) else { return Routed::NoQueue };
                if queue.push(message, place, now) { Routed::Taken } else { Routed::Full }
            }
        }
    }
}
