//! One pair of connections and its channels, from being made to being lost.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, Event, ExchangeKind,
    PublisherConfirm,
};
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::within;
use crate::contract::Address;
use crate::pending::Pending;
use crate::topology::{self, AGENTS, Kind, Overflow, Queue, UP};
use crate::user::BrokerUser;

/// Direct reply-to: <https://www.rabbitmq.com/docs/direct-reply-to>. A queue for replies would do too, but costs
/// declarations for each connection; calls to hosts have one, see [`Session::replies`].
pub(super) const DIRECT: &str = "amq.rabbitmq.reply-to";
/// How often a session's state is looked at, beside the events that tell of most losses at once.
const LOOK: Duration = Duration::from_secs(1);

/// Two connections and the channels that all calls share.
pub(super) struct Session {
    publish: Connection,
    consume: Connection,
    /// Requests, confirmed; replies come in on it.
    calls: Channel,
    /// Replies and rings, not confirmed.
    casts: Channel,
    /// The queue to which hosts reply, once one was called, and who receives from it: it ends with the session, as its
    /// channel would keep the connection.
    replies: OnceCell<(String, AbortOnDropHandle<()>)>,
    /// How it was opened.
    pub(super) way: Way,
}

/// A way to open a session: as the host's own user, or by the credentials of the URL.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub uri: AMQPUri,
    pub own: bool,
    /// The host's own user, if it had one then.
    pub user: Option<BrokerUser>,
}

impl Session {
    /// Connects, and starts to receive replies.
    pub(super) async fn open(way: &Way) -> Result<(Self, Consumer), String> {
        let uri = &way.uri;
        // Asked first, because lapin gives each attempt a thread that cannot be called back while the
        // network swallows it.
        within(async {
            let address = (uri.authority.host.as_str(), uri.authority.port);
            tokio::net::TcpStream::connect(address).await.map(drop).map_err(lapin::Error::from)
        })
        .await?;
        let connect = |part: &str| {
            let properties =
                ConnectionProperties::default().with_connection_name(format!("skep {part}").into());
            within(Connection::connect_uri(uri.clone(), properties))
        };
        let (publish, consume) = futures::try_join!(connect("publish"), connect("consume"))?;
        let calls = within(publish.create_channel()).await?;
        within(calls.confirm_select(ConfirmSelectOptions::default())).await?;
        let no_ack = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let replies =
            within(calls.basic_consume(DIRECT.into(), "replies".into(), no_ack, FieldTable::default()))
                .await?;
        let casts = exchanges(&publish, way.own).await?;
        let (way, none) = (way.clone(), OnceCell::new());
        Ok((Self { publish, consume, calls, casts, replies: none, way }, replies))
    }

    fn is_up(&self) -> bool {
        self.publish.status().connected()
            && self.consume.status().connected()
            && self.calls.status().connected()
            && self.casts.status().connected()
    }

    /// Hands replies to the calls that wait for them; returns why when the session is lost.
    pub(super) async fn run(&self, replies: &mut Consumer, pending: &Pending) -> String {
        let mut publish = self.publish.events_listener().fuse();
        let mut consume = self.consume.events_listener().fuse();
        let mut why = String::from("the connection was lost");
        loop {
            tokio::select! {
                reply = replies.next() => match reply {
                    Some(Ok(reply)) => {
                        settle(reply, pending);
                        continue;
                    }
                    Some(Err(error)) => return error.to_string(),
                    None => return "the broker ended the reply consumer".into(),
                },
                event = publish.select_next_some() => if let Event::Error(error) = event { why = error.to_string() },
                event = consume.select_next_some() => if let Event::Error(error) = event { why = error.to_string() },
                () = tokio::time::sleep(LOOK) => {}
            }
            // An error may concern one listener's channel only, which its inbox mends.
            if !self.is_up() {
                return why;
            }
        }
    }

    /// A new channel for a consumer.
    pub(super) async fn channel(&self) -> Result<Channel, String> {
        within(self.consume.create_channel()).await
    }

    /// Whether the broker takes no messages for now (memory or disk alarm).
    pub(super) fn is_blocked(&self) -> bool {
        self.publish.status().blocked()
    }

    /// Publishes a request that may lie in its queue for `ttl`.
    pub(super) async fn request(
        &self,
        to: Address,
        id: Uuid,
        body: &[u8],
        ttl: Duration,
        pending: &Arc<Pending>,
    ) -> Result<PublisherConfirm, String> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (exchange, key) = topology::route(to);
        let reply_to = match to {
            Address::Conductors => DIRECT,
            Address::Host(_) => self.replies(id, pending).await?,
        };
        let id = ShortString::from(id.to_string());
        let properties = BasicProperties::default()
            .with_reply_to(reply_to.into())
            .with_message_id(id.clone())
            .with_correlation_id(id)
            .with_expiration(ttl.as_millis().max(1).to_string().into());
        within(self.calls.basic_publish(exchange.into(), key.into(), options, body, properties)).await
    }

    /// The name of the queue to which hosts reply, made at the first call to one. Direct replies go through the default
    /// exchange, which hosts may not publish to.
    async fn replies(&self, id: Uuid, pending: &Arc<Pending>) -> Result<&str, String> {
        let made = self.replies.get_or_try_init(async || {
            let channel = self.channel().await?;
            let name = format!("replies.{id}");
            let queue = || ShortString::from(name.as_str());
            let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
            within(channel.queue_declare(queue(), own, FieldTable::default())).await?;
            bind(&channel, &name, AGENTS).await?;
            let no_ack = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
            let consume = channel.basic_consume(queue(), "replies".into(), no_ack, FieldTable::default());
            let mut replies = within(consume).await?;
            let (pending, calls) = (pending.clone(), self.calls.clone());
            let receive = tokio::spawn(async move {
                while let Some(Ok(reply)) = replies.next().await {
                    settle(reply, &pending);
                }
                // Without its queue the session is of no use: another is made.
                leave(&channel).await;
                leave(&calls).await;
            });
            Ok::<_, String>((name, AbortOnDropHandle::new(receive)))
        });
        made.await.map(|(name, _)| name.as_str())
    }

    /// Publishes a persistent copy of something, confirmed.
    pub(super) async fn keep(&self, queue: &str, body: &[u8]) -> Result<(), String> {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let publish = self.calls.basic_publish(
            "".into(),
            queue.into(),
            BasicPublishOptions::default(),
            body,
            properties,
        );
        within(within(publish).await?).await.map(drop)
    }

    /// Publishes without confirmation: a ring, or a reply to message `id`.
    pub(super) async fn cast(
        &self,
        exchange: &str,
        key: &str,
        id: Option<Uuid>,
        body: &[u8],
    ) -> Result<(), String> {
        let mut properties = BasicProperties::default();
        if let Some(id) = id {
            properties = properties.with_correlation_id(id.to_string().into());
        }
        let options = BasicPublishOptions::default();
        within(self.casts.basic_publish(exchange.into(), key.into(), options, body, properties))
            .await
            .map(drop)
    }

    /// Binds the conductors' inbox where agents' calls come by, as those do not who are of the release before and behind
    /// their agents.
    pub(super) async fn bind_conductors(&self) -> Result<(), String> {
        let channel = self.channel().await?;
        bind(&channel, &topology::inbox_name(Address::Conductors), AGENTS).await?;
        leave(&channel).await;
        Ok(())
    }

    /// Closes both connections; the broker takes back what is not acknowledged.
    pub(super) async fn close(&self) {
        let (publish, consume) = (self.publish.close(200, "OK".into()), self.consume.close(200, "OK".into()));
        let _ = futures::join!(within(publish), within(consume));
    }
}

/// Hands an answer to the call that waits for it.
fn settle(reply: Delivery, pending: &Pending) {
    let id = reply.properties.correlation_id().as_ref();
    if let Some(id) = id.and_then(|id| Uuid::parse_str(id.as_str()).ok()) {
        pending.settle(id, Ok(reply.data.into()));
    }
}

/// Sees to it that our exchanges are there, and gives a channel. Who may not declare them finds them, which needs no
/// permission: a host's own user.
async fn exchanges(publish: &Connection, own: bool) -> Result<Channel, String> {
    let declare = async |passive| {
        let channel = within(publish.create_channel()).await?;
        for (name, kind) in [(UP, ExchangeKind::Fanout), (AGENTS, ExchangeKind::Direct)] {
            let options = ExchangeDeclareOptions { durable: true, passive, ..Default::default() };
            within(channel.exchange_declare(name.into(), kind, options, FieldTable::default())).await?;
        }
        Ok::<_, String>(channel)
    };
    if own {
        return declare(true).await;
    }
    match declare(false).await {
        Ok(channel) => Ok(channel),
        Err(why) => declare(true).await.map_err(|_| why),
    }
}

/// Binds a queue to an exchange by its name.
async fn bind(channel: &Channel, queue: &str, exchange: &str) -> Result<(), String> {
    let options = QueueBindOptions::default();
    within(channel.queue_bind(queue.into(), exchange.into(), queue.into(), options, FieldTable::default()))
        .await
}

/// Closes a channel that is not needed any more.
pub(super) async fn leave(channel: &Channel) {
    let _ = within(channel.close(200, "OK".into())).await;
}

/// Fails if the queue is not there.
pub(super) async fn find(channel: &Channel, queue: &Queue) -> Result<(), String> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let name = ShortString::from(queue.name.as_str());
    within(channel.queue_declare(name, options, FieldTable::default())).await.map(drop)
}

/// Declares a queue, durable, with its limits and its binding. Fails if it exists with other limits.
pub(super) async fn declare(channel: &Channel, queue: &Queue) -> Result<(), String> {
    let kind = match queue.kind {
        Kind::Quorum { .. } => "quorum",
        Kind::Classic => "classic",
    };
    let overflow = match queue.overflow {
        Overflow::RejectPublish => "reject-publish",
        Overflow::DropHead => "drop-head",
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    arguments.insert("x-overflow".into(), AMQPValue::LongString(overflow.into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(queue.max_length.into()));
    if let Kind::Quorum { delivery_limit } = queue.kind {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(delivery_limit.into()));
    }
    if let Some(expires) = queue.expires {
        arguments.insert("x-expires".into(), AMQPValue::LongLongInt(expires.as_millis() as i64));
    }
    let name = ShortString::from(queue.name.as_str());
    within(channel.queue_declare(name, QueueDeclareOptions::durable(), arguments)).await?;
    match queue.exchange {
        Some(exchange) => bind(channel, &queue.name, exchange).await,
        None => Ok(()),
    }
}
