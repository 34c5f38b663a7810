//! What queues keep, give back, limit and forget.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use model::{Context, FaultKind};
use rpc::{Address, Service};
use tokio::sync::Notify;

use crate::world::{Echo, World, echo, echoing, name, until};

/// A service that counts its calls and never answers.
fn stuck(count: &Arc<AtomicUsize>) -> Service {
    let count = count.clone();
    Service::new().on(move |_, _: Echo| {
        count.fetch_add(1, Ordering::SeqCst);
        pending()
    })
}

async fn reaches(count: &AtomicUsize, number: usize) {
    until("the handler runs", async || count.load(Ordering::SeqCst) >= number).await;
}

pub async fn dead_servers_calls_go_to_another(world: &World) {
    let client = world.bus();
    for at in [Address::Conductors, Address::Host(world.host())] {
        let (dead, count) = (world.bus(), Arc::new(AtomicUsize::new(0)));
        let serving = world.serve(&dead, at, stuck(&count), 2).await;
        let alive = world.bus();
        let (reply, _alive) = tokio::join!(world.echo(&client, at, "kept"), async {
            reaches(&count, 1).await;
            drop(serving);
            world.serve(&alive, at, echoing(), 1).await
        });
        assert_eq!(reply, Ok(echo("kept")), "{at:?}");
    }
}

pub async fn stop_drains(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let at = Address::Host(world.host());
    let (count, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (entered, wait) = (count.clone(), go.clone());
    let service = Service::new().on(move |_, call: Echo| {
        let (entered, wait) = (entered.clone(), wait.clone());
        async move {
            entered.fetch_add(1, Ordering::SeqCst);
            wait.notified().await;
            Ok(call)
        }
    });
    let serving = world.serve(&server, at, service, 4).await;
    let (reply, ()) = tokio::join!(world.echo(&client, at, "drained"), async {
        reaches(&count, 1).await;
        // The stop is polled first: it is under way when the handler goes on.
        tokio::join!(serving.stop(Duration::from_secs(10)), async { go.notify_one() });
    });
    assert_eq!(reply, Ok(echo("drained")));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

pub async fn stop_is_bounded(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let (at, count) = (Address::Conductors, Arc::new(AtomicUsize::new(0)));
    let serving = world.serve(&server, at, stuck(&count), 1).await;
    let (reply, _other) = tokio::join!(world.echo(&client, at, "again"), async {
        reaches(&count, 1).await;
        let start = world.env.monotonic();
        serving.stop(Duration::from_millis(200)).await;
        assert!(world.env.monotonic() - start < Duration::from_secs(3));
        world.serve(&server, at, echoing(), 1).await
    });
    assert_eq!(reply, Ok(echo("again")));
}

pub async fn poison_is_survived(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    for at in [Address::Conductors, Address::Host(world.host())] {
        let _serving = world.serve(&server, at, echoing(), 1).await;
        for body in [&b"\xff\x00rubbish"[..], b"{}", br#"{"call":"test-echo","body":{"text":7}}"#, b""] {
            world.inject(&name(at), body).await;
        }
        assert_eq!(world.echo(&client, at, "alive").await, Ok(echo("alive")));
    }
    until("what conductors could not read is parked", async || world.depth("parking").await == Some(4)).await;
}

pub async fn deliveries_are_limited(world: &World) {
    let (client, texts) = (world.bus(), Arc::new(Mutex::new(Vec::new())));
    let at = Address::Conductors;
    world.deserted(at).await;
    let deadly = || {
        let texts = texts.clone();
        Service::new().on(move |_, call: Echo| {
            texts.lock().unwrap().push(call.text);
            pending()
        })
    };
    let seen = || texts.lock().unwrap().clone();
    let scenario = async {
        // The sixth delivery is the last: five may be given back.
        for delivery in 1..=6 {
            let server = world.bus();
            let serving = world.serve(&server, at, deadly(), 2).await;
            until("it is delivered", async || seen().len() == delivery).await;
            drop(serving);
            server.close().await;
        }
        let server = world.bus();
        let _serving = world.serve(&server, at, deadly(), 2).await;
        tokio::select! {
            _ = world.echo(&client, at, "next") => panic!("nobody answers"),
            () = until("the next is delivered", async || seen().contains(&"next".to_owned())) => {}
        }
        assert_eq!(seen(), ["deadly"; 6].into_iter().chain(["next"]).collect::<Vec<_>>());
    };
    let (call, context) = (echo("deadly"), Context::default());
    tokio::select! {
        _ = client.call_within(at, &context, &call, Duration::from_secs(50)) => panic!("nobody answers"),
        () = scenario => {}
    }
}

pub async fn purged_calls_are_lost(world: &World) {
    let client = world.bus();
    for at in [Address::Conductors, Address::Host(world.host())] {
        world.deserted(at).await;
        let (call, context) = (echo("lost"), Context::default());
        let server = world.bus();
        let (outcome, _serving) =
            tokio::join!(client.call_within(at, &context, &call, Duration::from_secs(2)), async {
                until("the call lies in its queue", async || world.depth(&name(at)).await == Some(1)).await;
                world.purge(&name(at)).await;
                world.serve(&server, at, echoing(), 1).await
            });
        assert_eq!(outcome.unwrap_err().kind, FaultKind::Timeout, "{at:?}");
        assert_eq!(world.echo(&client, at, "next").await, Ok(echo("next")));
    }
}

pub async fn expired_calls_are_not_run(world: &World) {
    let client = world.bus();
    for at in [Address::Conductors, Address::Host(world.host())] {
        world.deserted(at).await;
        let call = echo("late");
        let outcome = client.call_within(at, &Context::default(), &call, Duration::from_millis(200)).await;
        assert_eq!(outcome.unwrap_err().kind, FaultKind::Timeout);
        let (server, count) = (world.bus(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        let service = Service::new().on(move |_, call: Echo| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(call))
        });
        let _serving = world.serve(&server, at, service, 1).await;
        assert_eq!(world.echo(&client, at, "next").await, Ok(echo("next")));
        assert_eq!(count.load(Ordering::SeqCst), 1, "{at:?}: the expired call was run");
    }
}

pub async fn full_inbox_refuses(world: &World) {
    let client = world.bus();
    let at = Address::Host(world.host());
    world.deserted(at).await;
    let (call, context) = (echo("x"), Context::default());
    let calls = (0..300).map(|_| client.call_within(at, &context, &call, Duration::from_secs(3)));
    let kinds: Vec<FaultKind> =
        join_all(calls).await.into_iter().map(|outcome| outcome.unwrap_err().kind).collect();
    let count = |kind| kinds.iter().filter(|other| **other == kind).count();
    assert_eq!((count(FaultKind::Timeout), count(FaultKind::Unavailable)), (256, 44));
}
