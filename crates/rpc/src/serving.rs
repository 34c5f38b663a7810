//! The server's side of calls: receive, run handlers, reply, acknowledge.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::Fault;
use model::drill::Gate;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::contract::Address;
use crate::service::Service;
use crate::transport::{Delivery, Inbox, Link, Received};
use crate::{gate, topology, wire};

/// A server; it ends when this is stopped or dropped.
pub struct Serving {
    stop: CancellationToken,
    ready: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serving")
    }
}

impl Serving {
    pub(crate) fn start(link: Link, gate: Gate, at: Address, service: Service, concurrency: usize) -> Self {
        let queue = topology::inbox(at);
        let concurrency = concurrency.clamp(1, usize::from(u16::MAX));
        let desk = Arc::new(Desk {
            parks: queue.parks,
            link: link.clone(),
            gate,
            service,
            permits: Semaphore::new(concurrency),
            running: Mutex::default(),
        });
        let inbox = link.inbox(queue, concurrency as u16);
        let stop = CancellationToken::new();
        let (is_ready, ready) = watch::channel(false);
        let task = tokio::spawn(receive(inbox, desk, stop.clone(), is_ready));
        Self { stop, ready, task }
    }

    /// Returns once calls are being received (at first; not after a lost connection), or the bus is closed.
    pub async fn ready(&self) {
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }

    /// Takes no more calls and waits for the handlers that run, at most `within`; what is not finished then
    /// is delivered to another server.
    pub async fn stop(mut self, within: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(within, &mut self.task).await.is_err() {
            tracing::warn!(?within, "handlers did not end in time and are dropped");
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(mut inbox: Inbox, desk: Arc<Desk>, stop: CancellationToken, ready: watch::Sender<bool>) {
    let mut handlers = JoinSet::new();
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            received = inbox.next() => received,
        };
        match received {
            None => break,
            Some(Received::Opened) => {
                ready.send_replace(true);
            }
            Some(Received::Message(delivery)) => {
                while handlers.try_join_next().is_some() {}
                handlers.spawn(desk.clone().handle(delivery));
            }
        }
    }
    inbox.stop().await;
    while handlers.join_next().await.is_some() {}
}

/// What the handlers of one server share.
struct Desk {
    parks: bool,
    link: Link,
    gate: Gate,
    service: Service,
    permits: Semaphore,
    /// Requests whose handler runs, each with the copies that were delivered meanwhile.
    running: Mutex<HashMap<Uuid, Vec<Delivery>>>,
}

impl Desk {
    async fn handle(self: Arc<Self>, delivery: Delivery) {
        gate::opened(&self.gate).await;
        let Some(delivery) = self.begin(delivery) else { return };
        let Ok(_permit) = self.permits.acquire().await else { return };
        let outcome = match self.service.answer(&delivery.body).await {
            Ok(outcome) => outcome,
            Err(error) => self.unreadable(&delivery, &error).await,
        };
        let reply: Arc<[u8]> = wire::reply(&outcome).into();
        gate::opened(&self.gate).await;
        let copies = self.end(&delivery);
        for delivery in std::iter::once(delivery).chain(copies) {
            if let (Some(to), Some(id)) = (&delivery.reply_to, delivery.id)
                && let Err(fault) = self.link.reply(to, id, reply.clone()).await
            {
                metrics::counter!("skep_rpc_replies_lost_total").increment(1);
                tracing::debug!(%fault, "a reply was not sent");
            }
            delivery.ack().await;
        }
    }

    /// Puts a copy of a request whose handler runs aside; it gets the same answer.
    fn begin(&self, delivery: Delivery) -> Option<Delivery> {
        let Some(id) = delivery.id else { return Some(delivery) };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copies) = running.get_mut(&id) {
            copies.push(delivery);
            metrics::counter!("skep_rpc_copies_total").increment(1);
            return None;
        }
        running.insert(id, Vec::new());
        Some(delivery)
    }

    fn end(&self, delivery: &Delivery) -> Vec<Delivery> {
        let Some(id) = delivery.id else { return Vec::new() };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default()
    }

    /// Counts, logs and parks a request that cannot be read; its sender is told.
    async fn unreadable(&self, delivery: &Delivery, error: &serde_json::Error) -> crate::service::Outcome {
        metrics::counter!("skep_rpc_unreadable_total").increment(1);
        tracing::error!(%error, bytes = delivery.body.len(), "a request cannot be read");
        if self.parks
            && let Err(fault) = self.link.park(delivery.body.clone()).await
        {
            tracing::error!(%fault, "an unreadable request could not be parked");
        }
        Err(Fault::invalid(format!("the request cannot be read: {error}; check the versions of both sides")))
    }
}
