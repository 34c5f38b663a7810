//! Lost connections to RabbitMQ: everything comes back by itself, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use lapin::uri::AMQPUri;
use model::drill::Gate;
use model::{Context, FaultKind};
use rpc::{Address, Bell, Bus, Service};
use tokio::sync::Notify;

use crate::bells::{hears, listen};
use crate::proxy::{Mode, Proxy};
use crate::world::{Echo, World, bounded, echo, echoing, name, until};

/// A bus through a proxy of its own.
async fn behind_proxy(world: &World) -> (Bus, Proxy) {
    let mut uri: AMQPUri = world.url.parse().unwrap();
    let proxy = Proxy::start(format!("{}:{}", uri.authority.host, uri.authority.port)).await;
    uri.authority.host = proxy.address.ip().to_string();
    uri.authority.port = proxy.address.port();
    (world.connector.connect(&uri.to_string(), Gate::default()).unwrap(), proxy)
}

/// The echo, called again until it is answered.
async fn echoed(world: &World, bus: &Bus, at: Address) {
    until("the echo", async || world.echo(bus, at, "back").await.is_ok()).await;
}

#[tokio::test]
async fn servers_and_listeners_come_back_once() {
    let Some(world) = World::amqp().await else { return };
    bounded(async {
        let (server, proxy) = behind_proxy(&world).await;
        let (client, at, bell) = (world.bus(), Address::Host(world.host()), Bell::Host(world.host()));
        let _serving = world.serve(&server, at, echoing(), 2).await;
        let mut ringing = listen(&world, &server, bell).await;
        for _ in 0..3 {
            proxy.cut(Mode::Pass);
            // The listener tells that it is back; what was rung meanwhile may be lost.
            assert!(hears(&mut ringing).await);
            echoed(&world, &client, at).await;
            until("one consumer", async || world.consumers(&name(at)).await == 1).await;
            client.ring(bell);
            assert!(hears(&mut ringing).await);
        }
        assert!(server.is_connected());
    })
    .await;
}

#[tokio::test]
async fn calls_in_flight_fail_at_once_and_later_ones_work() {
    let Some(world) = World::amqp().await else { return };
    bounded(async {
        let (client, proxy) = behind_proxy(&world).await;
        let (server, at) = (world.bus(), Address::Host(world.host()));
        let entered = Arc::new(AtomicUsize::new(0));
        let count = entered.clone();
        let service = Service::new().on(move |_, call: Echo| {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                Ok(call)
            }
        });
        let _serving = world.serve(&server, at, service, 4).await;
        let (call, context) = (echo(""), Context::default());
        let start = world.env.monotonic();
        let (outcome, ()) =
            tokio::join!(client.call_within(at, &context, &call, Duration::from_secs(30)), async {
                until("the handler runs", async || entered.load(Ordering::SeqCst) == 1).await;
                proxy.cut(Mode::Refuse);
            });
        assert_eq!(outcome.unwrap_err().kind, FaultKind::Unavailable);
        assert!(world.env.monotonic() - start < Duration::from_secs(3));
        until("it is seen to be away", async || !client.is_connected()).await;
        let refused = tokio::time::timeout(Duration::from_secs(1), world.echo(&client, at, "")).await;
        assert_eq!(refused.expect("at once").unwrap_err().kind, FaultKind::Unavailable);
        proxy.set(Mode::Pass);
        echoed(&world, &client, at).await;
    })
    .await;
}

#[tokio::test]
async fn a_call_delivered_again_while_it_runs_runs_once() {
    let Some(world) = World::amqp().await else { return };
    bounded(async {
        let (server, proxy) = behind_proxy(&world).await;
        let (client, at) = (world.bus(), Address::Host(world.host()));
        let (runs, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (count, wait) = (runs.clone(), go.clone());
        let service = Service::new().on(move |_, call: Echo| {
            let (count, wait) = (count.clone(), wait.clone());
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                wait.notified().await;
                Ok(call)
            }
        });
        let serving = world.serve(&server, at, service, 2).await;
        let (reply, ()) = tokio::join!(world.echo(&client, at, "once"), async {
            until("the handler runs", async || runs.load(Ordering::SeqCst) == 1).await;
            proxy.cut(Mode::Refuse);
            until("the broker has it again", async || world.depth(&name(at)).await == Some(1)).await;
            proxy.set(Mode::Pass);
            until("it is delivered again", async || {
                world.consumers(&name(at)).await == 1 && world.depth(&name(at)).await == Some(0)
            })
            .await;
            go.notify_waiters();
        });
        assert_eq!(reply, Ok(echo("once")));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        // Both deliveries were acknowledged: nothing comes back when the server leaves.
        serving.stop(Duration::from_secs(5)).await;
        server.close().await;
        until("the server left", async || world.consumers(&name(at)).await == 0).await;
        assert_eq!(world.depth(&name(at)).await, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_frozen_broker_costs_a_deadline() {
    let Some(world) = World::amqp().await else { return };
    bounded(async {
        let (client, proxy) = behind_proxy(&world).await;
        let (server, at) = (world.bus(), Address::Host(world.host()));
        let _serving = world.serve(&server, at, echoing(), 1).await;
        echoed(&world, &client, at).await;
        proxy.set(Mode::Freeze);
        let (call, start) = (echo(""), world.env.monotonic());
        let outcome = client.call_within(at, &Context::default(), &call, Duration::from_millis(500)).await;
        assert_eq!(outcome.unwrap_err().kind, FaultKind::Timeout);
        assert!(world.env.monotonic() - start < Duration::from_secs(2));
        proxy.set(Mode::Pass);
        echoed(&world, &client, at).await;
    })
    .await;
}

#[tokio::test]
async fn a_bus_waits_for_a_broker_that_is_not_there_yet() {
    let Some(world) = World::amqp().await else { return };
    bounded(async {
        let (bus, proxy) = behind_proxy(&world).await;
        proxy.cut(Mode::Refuse);
        let at = Address::Host(world.host());
        let serving = bus.serve(at, echoing(), 1);
        let early = tokio::time::timeout(Duration::from_secs(12), world.echo(&bus, at, "")).await;
        assert_eq!(early.expect("bounded").unwrap_err().kind, FaultKind::Unavailable);
        assert!(!bus.is_connected());
        proxy.set(Mode::Pass);
        serving.ready().await;
        echoed(&world, &bus, at).await;
    })
    .await;
}

#[tokio::test]
async fn every_call_is_answered_in_the_end_under_cuts() {
    let Some(world) = World::amqp().await else { return };
    bounded(async {
        let (client, one) = behind_proxy(&world).await;
        let (server, two) = behind_proxy(&world).await;
        let _serving = world.serve(&server, Address::Conductors, echoing(), 16).await;
        let (client, answered) = (&client, &AtomicUsize::new(0));
        let texts: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let calls = texts.iter().map(|text| async move {
            loop {
                let (call, context) = (echo(text), Context::default());
                let call = client.call_within(Address::Conductors, &context, &call, Duration::from_secs(2));
                match call.await {
                    Ok(reply) => {
                        assert_eq!(reply, echo(text));
                        answered.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    Err(fault) => {
                        assert!(fault.is_passing(), "{fault:?}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        });
        tokio::join!(join_all(calls), async {
            for proxy in [&one, &two, &one, &two] {
                let before = answered.load(Ordering::SeqCst);
                proxy.cut(Mode::Pass);
                until("calls go on", async || {
                    let now = answered.load(Ordering::SeqCst);
                    now > before || now == texts.len()
                })
                .await;
            }
        });
        assert_eq!(answered.load(Ordering::SeqCst), texts.len());
        until("one consumer", async || world.consumers("conductors").await == 1).await;
    })
    .await;
}

#[tokio::test]
async fn credentials_change_while_a_call_is_under_way() {
    let Some(world) = World::amqp().await else { return };
    bounded(async {
        let (client, server, at) = (world.bus(), world.bus(), Address::Host(world.host()));
        let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (inside, leave) = (entered.clone(), go.clone());
        let service = Service::new().on(move |_, call: Echo| {
            let (inside, leave) = (inside.clone(), leave.clone());
            async move {
                if call.text == "slow" {
                    inside.notify_one();
                    leave.notified().await;
                }
                Ok(call)
            }
        });
        let _serving = world.serve(&server, at, service, 2).await;
        let slow = client.clone();
        let slow = tokio::spawn(async move { slow.call(at, &Context::default(), &echo("slow")).await });
        entered.notified().await;

        // The first are refused, the second lead through a proxy, so that it can be seen which way is used.
        let mut uri: AMQPUri = world.url.parse().unwrap();
        let proxy = Proxy::start(format!("{}:{}", uri.authority.host, uri.authority.port)).await;
        let mut nobody = uri.clone();
        nobody.authority.userinfo.username = "nobody".to_owned();
        uri.authority.host = proxy.address.ip().to_string();
        uri.authority.port = proxy.address.port();
        assert!(client.change_credentials(&["mysql://x".to_owned()]).is_err());
        client.change_credentials(&[nobody.to_string(), uri.to_string()]).unwrap();
        until("the new way is used, and no call fails meanwhile", async || {
            world.echo(&client, at, "fast").await.unwrap();
            proxy.connections() > 0
        })
        .await;
        world.echo(&client, at, "fast").await.unwrap();
        go.notify_one();
        assert_eq!(slow.await.unwrap().unwrap().text, "slow", "its answer came by the old way");
        // If it is still being made, cutting it leaves the old in use, and it is made again.
        until("the old way is left", async || {
            proxy.cut(Mode::Refuse);
            let lost = async {
                while client.is_connected() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let lost = tokio::time::timeout(Duration::from_secs(2), lost).await.is_ok();
            proxy.set(Mode::Pass);
            if !lost {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            lost
        })
        .await;
        echoed(&world, &client, at).await;
        // New credentials that do not work leave the present ones in use.
        client.change_credentials(&[nobody.to_string()]).unwrap();
        for _ in 0..20 {
            world.echo(&client, at, "fast").await.unwrap();
        }
    })
    .await;
}
