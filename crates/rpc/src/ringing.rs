//! Doorbells: ringing them and hearing them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::drill::{Drill, Gate};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::contract::Bell;
use crate::gate;
use crate::topology;
use crate::transport::{Inbox, Link, Received};

/// How long one ring may take to be sent.
const SEND: Duration = Duration::from_secs(5);

/// Sends rings in the background, each bell at most once for all rings that wait.
pub(crate) struct Ringer {
    waiting: Arc<Waiting>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Waiting {
    /// By target, in which equal bells are equal.
    bells: Mutex<BTreeMap<(&'static str, String), Bell>>,
    more: Notify,
}

impl Ringer {
    pub(crate) fn start(link: Link, gate: Gate) -> Self {
        let waiting = Arc::new(Waiting::default());
        let task = tokio::spawn(send(waiting.clone(), link, gate));
        Self { waiting, task }
    }

    pub(crate) fn ring(&self, bell: Bell) {
        let mut bells = self.waiting.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if bells.insert(topology::target(bell), bell).is_none() {
            self.waiting.more.notify_one();
        }
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(waiting: Arc<Waiting>, link: Link, gate: Gate) {
    loop {
        waiting.more.notified().await;
        loop {
            let next = waiting.bells.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            let Some((_, bell)) = next else { break };
            let sent = match gate.get() {
                Drill::Off => tokio::time::timeout(SEND, link.ring(bell)).await,
                Drill::Refuse | Drill::Hang => Ok(gate::refused()),
            };
            match sent {
                Ok(Ok(())) => metrics::counter!("skep_rpc_rings_total", "outcome" => "sent").increment(1),
                failed => {
                    metrics::counter!("skep_rpc_rings_total", "outcome" => "failed").increment(1);
                    tracing::debug!(?bell, ?failed, "a ring was not sent");
                }
            }
        }
    }
}

/// Hears one bell for as long as it lives.
pub struct Ringing {
    heard: Arc<Notify>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Ringing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ringing")
    }
}

impl Ringing {
    pub(crate) fn start(mut inbox: Inbox, gate: Gate) -> Self {
        let heard = Arc::new(Notify::new());
        let notify = heard.clone();
        let task = tokio::spawn(async move {
            while let Some(received) = inbox.next().await {
                gate::opened(&gate).await;
                if let Received::Message(delivery) = received {
                    delivery.ack().await;
                }
                notify.notify_one();
            }
        });
        Self { heard, task }
    }

    /// Returns when the bell was rung since the last call, once however often. It also returns once when
    /// the listener is in place, at first and after a lost connection, because rings may have been lost
    /// until then. Cancelling it loses nothing.
    pub async fn rung(&mut self) {
        self.heard.notified().await;
    }
}

impl Drop for Ringing {
    fn drop(&mut self) {
        self.task.abort();
    }
}
