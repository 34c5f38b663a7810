//! A consumer of one queue, on whatever session is up.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use uuid::Uuid;

use super::link::Link;
use super::session::{self, Session};
use super::within;
use crate::topology::{self, Queue};
use crate::transport::{Delivery, Received, Ticket};

/// The wait before consuming is tried again, plus up to half at random; it doubles so many times. An agent that has no
/// user of its own yet may be refused for long.
const RETRY: Duration = Duration::from_millis(300);
const DOUBLED: u32 = 3;
/// Names the consumer on its own channel.
const TAG: &str = "skep";

pub(crate) struct Inbox {
    link: Arc<Link>,
    queue: Queue,
    prefetch: u16,
    failures: u32,
    open: Option<(Channel, Consumer)>,
}

impl Inbox {
    pub(crate) fn new(link: Arc<Link>, queue: Queue, prefetch: u16) -> Self {
        Self { link, queue, prefetch, failures: 0, open: None }
    }

    pub(crate) async fn next(&mut self) -> Option<Received> {
        loop {
            let Some((_, consumer)) = &mut self.open else {
                let session = self.link.up().await?;
                match self.consume(&session).await {
                    Ok(open) => {
                        (self.open, self.failures) = (Some(open), 0);
                        return Some(Received::Opened);
                    }
                    Err(why) => {
                        tracing::warn!(
                            queue = self.queue.name,
                            why,
                            "a queue cannot be consumed; trying again"
                        );
                        metrics::counter!("skep_rpc_consumers_failed_total").increment(1);
                        let wait = RETRY * (1 << self.failures.min(DOUBLED));
                        self.failures += 1;
                        tokio::time::sleep(self.link.env().jitter(wait)).await;
                        continue;
                    }
                }
            };
            match consumer.next().await {
                Some(Ok(delivery)) => return Some(Received::Message(convert(delivery))),
                Some(Err(error)) => {
                    tracing::debug!(queue = self.queue.name, %error, "a consumer failed");
                    self.open = None;
                }
                // The connection was closed, or the queue was deleted.
                None => self.open = None,
            }
        }
    }

    async fn consume(&self, session: &Session) -> Result<(Channel, Consumer), String> {
        let channel = session.channel().await?;
        session::declare(&channel, &self.queue).await?;
        if self.queue.parks {
            session::declare(&channel, &topology::parking()).await?;
        }
        within(channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(
            self.queue.name.as_str().into(),
            TAG.into(),
            options,
            FieldTable::default(),
        );
        let consumer = within(consume).await?;
        Ok((channel, consumer))
    }

    pub(crate) async fn stop(&mut self) {
        // The channel stays open for acknowledgements; what was prefetched goes back when it closes.
        if let Some((channel, _)) = &self.open {
            let _ = within(channel.basic_cancel(TAG.into(), BasicCancelOptions::default())).await;
        }
    }
}

fn convert(delivery: lapin::message::Delivery) -> Delivery {
    let properties = &delivery.properties;
    let id = properties.message_id().as_ref().and_then(|id| Uuid::parse_str(id.as_str()).ok());
    let reply_to = properties.reply_to().as_ref().map(|to| to.as_str().to_owned());
    Delivery { id, reply_to, body: delivery.data.into(), ticket: Ticket::Amqp(delivery.acker) }
}
