//! Calls and their answers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use model::{Context, Fault, FaultKind};
use rpc::{Address, Service};
use tokio::sync::{Barrier, Mutex, Notify};

use crate::world::{Echo, World, echo, echoing};

pub async fn call_and_reply(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    for at in [Address::Conductors, Address::Host(world.host())] {
        let _serving = world.serve(&server, at, echoing(), 4).await;
        assert_eq!(world.echo(&client, at, "hé\u{1f41d}").await, Ok(echo("hé\u{1f41d}")));
        // A process may call itself.
        assert_eq!(world.echo(&server, at, "self").await, Ok(echo("self")));
    }
    assert!(client.is_connected());
}

pub async fn fault_passes(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let fault = Fault::new(FaultKind::OverQuota, "too many \"bees\"");
    let answer = fault.clone();
    let service = Service::new().on(move |_, _: Echo| std::future::ready(Err(answer.clone())));
    let _serving = world.serve(&server, Address::Conductors, service, 1).await;
    assert_eq!(world.echo(&client, Address::Conductors, "").await, Err(fault));
}

pub async fn unroutable_is_refused_at_once(world: &World) {
    let client = world.bus();
    for to in [Address::Host(world.host()), Address::Conductors] {
        let (call, context) = (echo(""), Context::default());
        let refused = client.call_within(to, &context, &call, Duration::from_secs(30));
        let fault =
            tokio::time::timeout(Duration::from_secs(60), refused).await.expect("at once").unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
        assert!(fault.message.contains("nobody listens"), "{fault}");
    }
}

pub async fn deadline_holds(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let at = Address::Host(world.host());
    let service = Service::new().on(|_, _: Echo| std::future::pending());
    let _serving = world.serve(&server, at, service, 1).await;
    let start = world.env.monotonic();
    let call = echo("");
    let outcome = client.call_within(at, &Context::default(), &call, Duration::from_millis(300)).await;
    let took = world.env.monotonic() - start;
    assert_eq!(outcome.unwrap_err().kind, FaultKind::Timeout);
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(20), "{took:?}");
}

pub async fn context_travels(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let seen = Arc::new(Mutex::new(Context::default()));
    let store = seen.clone();
    let service = Service::new().on(move |context, call: Echo| {
        let store = store.clone();
        async move {
            *store.lock().await = context;
            Ok(call)
        }
    });
    let _serving = world.serve(&server, Address::Conductors, service, 1).await;
    let trace_parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
    let context = Context { request_id: "req-1".into(), trace_parent };
    client.call(Address::Conductors, &context, &echo("")).await.unwrap();
    assert_eq!(*seen.lock().await, context);
}

pub async fn panic_is_internal(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let at = Address::Host(world.host());
    let service = Service::new().on(|_, call: Echo| async move {
        assert_ne!(call.text, "panic", "as the test wants");
        Ok(call)
    });
    let _serving = world.serve(&server, at, service, 1).await;
    assert_eq!(world.echo(&client, at, "panic").await.unwrap_err().kind, FaultKind::Internal);
    assert_eq!(world.echo(&client, at, "fine").await, Ok(echo("fine")));
}

pub async fn handlers_run_side_by_side(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let barrier = Arc::new(Barrier::new(8));
    let service = Service::new().on(move |_, call: Echo| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            Ok(call)
        }
    });
    let _serving = world.serve(&server, Address::Conductors, service, 8).await;
    let calls = (0..8).map(|_| world.echo(&client, Address::Conductors, "x"));
    assert!(join_all(calls).await.iter().all(Result::is_ok));
}

pub async fn concurrency_is_bounded(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let service = Service::new().on(move |_, call: Echo| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(call)
        }
    });
    let _serving = world.serve(&server, Address::Conductors, service, 2).await;
    let calls = (0..12).map(|_| world.echo(&client, Address::Conductors, "x"));
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

pub async fn many_calls_in_flight(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let _serving = world.serve(&server, Address::Conductors, echoing(), 32).await;
    let texts: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    let calls = texts.iter().map(|text| world.echo(&client, Address::Conductors, text));
    for (text, outcome) in texts.iter().zip(join_all(calls).await) {
        assert_eq!(outcome, Ok(echo(text)));
    }
}

pub async fn two_servers_share(world: &World) {
    let client = world.bus();
    let service = |name: &'static str| Service::new().on(move |_, _: Echo| async move { Ok(echo(name)) });
    let (one, two) = (world.bus(), world.bus());
    let _one = world.serve(&one, Address::Conductors, service("one"), 1).await;
    let _two = world.serve(&two, Address::Conductors, service("two"), 1).await;
    let calls = (0..100).map(|_| world.echo(&client, Address::Conductors, ""));
    let names: HashSet<String> = join_all(calls).await.into_iter().map(|reply| reply.unwrap().text).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

pub async fn closed_bus_refuses(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    let at = Address::Host(world.host());
    let entered = Arc::new(Notify::new());
    let tell = entered.clone();
    let service = Service::new().on(move |_, _: Echo| {
        tell.notify_one();
        std::future::pending()
    });
    let _serving = world.serve(&server, at, service, 1).await;
    let (waiting, ()) = tokio::join!(world.echo(&client, at, ""), async {
        entered.notified().await;
        client.close().await;
    });
    assert_eq!(waiting.unwrap_err().kind, FaultKind::Unavailable);
    assert_eq!(world.echo(&client, at, "").await.unwrap_err().kind, FaultKind::Unavailable);
    assert!(!client.is_connected());
}
