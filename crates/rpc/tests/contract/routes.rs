//! What of RabbitMQ calls and their answers go through: a host's user needs no other permission than these.

use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicPublishOptions, ExchangeDeleteOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use rpc::Address;

use crate::world::{World, bounded, echo, name};

/// What lies in a queue: from which exchange, and where its answer is to go.
async fn lies_in(channel: &Channel, queue: &str) -> (String, BasicProperties) {
    let got = async || channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap();
    for _ in 0..4_500 {
        if let Some(message) = got().await {
            return (message.exchange.to_string(), message.properties.clone());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing came into {queue} within 45 s");
}

/// Answers a request through an exchange.
async fn answer(channel: &Channel, exchange: &str, asked: &BasicProperties) {
    let to = asked.reply_to().clone().unwrap();
    let properties = BasicProperties::default().with_correlation_id(asked.message_id().clone().unwrap());
    let (body, options) = (br#"{"ok":{"text":"by hand"}}"#, BasicPublishOptions::default());
    channel.basic_publish(exchange.into(), to, options, body, properties).await.unwrap();
}

#[tokio::test]
async fn a_host_answers_through_the_exchange_of_agents() {
    let Some(world) = World::amqp().await else { return };
    bounded(async {
        let (client, at, channel) = (world.bus(), Address::Host(world.host()), world.channel());
        let queue = name(at);
        let own = QueueDeclareOptions { exclusive: true, ..Default::default() };
        channel.queue_declare(queue.as_str().into(), own, FieldTable::default()).await.unwrap();
        let (reply, ()) = tokio::join!(world.echo(&client, at, "x"), async {
            let (from, properties) = lies_in(&channel, &queue).await;
            let to = properties.reply_to().clone().unwrap();
            assert!(from.is_empty() && to.as_str().starts_with("replies."), "{from} {to}");
            answer(&channel, "agents", &properties).await;
        });
        assert_eq!(reply, Ok(echo("by hand")));
        // The queue is its session's, and goes with it.
        client.close().await;
    })
    .await;
}

#[tokio::test]
async fn calls_to_conductors_go_through_the_exchange_of_agents() {
    let Some(world) = World::amqp().await else { return };
    bounded(async {
        let (first, channel) = (world.bus(), world.channel());
        first.declare().await.unwrap();
        // As it was before there was such an exchange: the conductors' inbox is bound to nothing.
        first.close().await;
        channel.exchange_delete("agents".into(), ExchangeDeleteOptions::default()).await.unwrap();
        let client = world.bus();
        let refused = world.echo(&client, Address::Conductors, "x").await.unwrap_err();
        assert!(refused.message.contains("nobody listens"), "{refused}");
        // That has put it right.
        let (reply, ()) = tokio::join!(world.echo(&client, Address::Conductors, "x"), async {
            let (from, properties) = lies_in(&channel, "conductors").await;
            let to = properties.reply_to().clone().unwrap();
            assert!(from == "agents" && to.as_str().starts_with("amq.rabbitmq.reply-to"), "{from} {to}");
            answer(&channel, "", &properties).await;
        });
        assert_eq!(reply, Ok(echo("by hand")));
    })
    .await;
}
